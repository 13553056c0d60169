"""What decides the responses of `bvrank sample`: by it, folders are named, and one takes over what
another one holds."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bvrank.data.fingerprint import fingerprint
from bvrank.errors import RunError
from bvrank.paths import conf_dir
from bvrank.run.files import to_json
from bvrank.run.identity import canonical, flatten
from bvrank.run.record import is_run, read_run
from bvrank.sampling.local import VERSION
from bvrank.sampling.responses import Prompt

# How a server is asked; the rest of its node decides what it answers.
SERVER = ("concurrency", "requests_per_minute", "tokens_per_minute", "timeout", "retries",
          "backoff", "api_key_env", "stream")  # fmt: skip
HOW = ("sampler.max_failed", "reward.max_failed",
       *(f"{group}.server.{key}" for group in ("sampler", "reward") for key in SERVER))  # fmt: skip
ASKED = ("max_failed", *(f"server.{key}" for key in SERVER))
HOW_TASK = tuple(f"{part}.{key}" for part in ("judge", "reward") for key in ASKED)
# What only a policy in this process follows.
POLICY = ("model", "template", "precision", "device", "check")
DRAWN = ("seed", "n", "modes", "sampler", "model", "template", "precision")
CHECKED = 2  # of which copies are compared
NOTHING = object()
UNCHECKED = ("check.rows", 0)  # asks for nothing
ASIDE = re.compile(r"\.old-\d+$")  # what force=true puts behind a name


@dataclass(frozen=True)
class Origin:
    """Hashes: folders with the same `responses` ask for the same ones, and with the same `golds`
    every reward scores them alike."""

    responses: str
    golds: str


def in_force(config: Mapping[str, Any], needs_model: bool) -> dict[str, Any]:
    """The config less what decides nothing: how a server is asked and, where no policy is loaded
    here, all that is said of one."""
    kept = config if needs_model else {k: v for k, v in config.items() if k not in POLICY}
    return less(kept, HOW)


def task_in_force(node: Mapping[str, Any]) -> dict[str, Any]:
    """A task less how its judge, or the server of its reward, is asked."""
    return less(node, HOW_TASK)


def unheeded(config: Mapping[str, Any], command: str = "sample",
             groups: Sequence[str] = POLICY) -> str | None:  # fmt: skip
    """The first key of a command that is set and that nothing follows where no policy is loaded, or
    of some `groups` of its keys; of a group of which another option was chosen the group."""
    usual = yaml.safe_load((conf_dir() / f"{command}.yaml").read_text("utf-8"))
    usual["model"] = yaml.safe_load((conf_dir() / "model" / "tiny.yaml").read_text("utf-8"))
    for group in (key for key in groups if key in usual):
        own, given = flatten({group: usual[group]}), flatten({group: config[group]})
        for key, value in given.items():
            follows = "${" in str(own.get(key))  # another key
            if value != own.get(key, NOTHING) and not follows and (key, value) != UNCHECKED:
                return key.removesuffix("._target_")
    return None


def origin(config: Mapping[str, Any], prompts: Iterable[Prompt]) -> Origin:
    """Of the prompts that are answered, by a config that is `in_force`."""
    node = {k: config[k] for k in DRAWN if k in config}
    if "check" in config:  # which responses keep what is compared
        rows = config["check"]["rows"]
        node["check"] = {"rows": rows, "version": CHECKED} if rows else 0
    parts = [VERSION if "model" in node else 0, canonical(node), fingerprint(node)]
    responses, golds = hashlib.sha256(to_json(parts).encode()), hashlib.sha256()
    for prompt in prompts:
        turns = [[m.role, m.content] for m in prompt.messages]
        responses.update(_line([prompt.row, turns]))
        golds.update(_line([prompt.row, prompt.gold]))
    return Origin(responses.hexdigest(), golds.hexdigest())


def holder(folder: Path, asked: Origin) -> tuple[Path, bool] | None:
    """The folder beside this one that holds most of the same responses, and whether its scores are
    the same too; None where there is none."""
    best, most = None, 0
    for other in sorted(folder.parent.iterdir()) if folder.parent.is_dir() else ():
        if other == folder or ASIDE.search(other.name) or not is_run(other):
            continue
        manifest = read_run(other).manifest
        size = sum(log.stat().st_size for log in other.glob("responses-*.jsonl"))
        if manifest.get("responses") == asked.responses and size > most:
            best, most = (other, manifest.get("golds") == asked.golds), size
    return best


def check_own(folder: Path, had: str | None, asked: Origin) -> None:
    """RunError where the folder to go on in holds other responses (`had`) than are asked for."""
    if had not in (None, asked.responses):
        raise RunError(
            "holds responses to other prompts, or drawn by another version", where=str(folder),
            repair="force=true moves the folder aside and samples again.",
        )  # fmt: skip


def adopt(folder: Path, asked: Origin) -> Path | None:
    """Copies what the `holder` has of the responses, and their scores where those are the same too;
    that folder, None where there is none."""
    if (found := holder(folder, asked)) is None:
        return None
    best, scored = found
    # Scores are read first: of a folder that is being written, each is then of a response that is
    # read too. They are put into place last: without its response a score would be of another one.
    kinds = ("scores-*.jsonl", "responses-*.jsonl")[not scored :]
    parts = [_copied(log, folder) for kind in kinds for log in sorted(best.glob(kind))]
    for part in reversed(parts):
        part.rename(folder / part.name.removeprefix(".").removesuffix(".part"))
    return best


def _copied(log: Path, folder: Path) -> Path:
    part = folder / f".{log.name}.part"
    shutil.copyfile(log, part)
    return part


def less(node: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """`node` without the dotted `keys`."""
    kept = {}
    for name, value in node.items():
        below = [key.removeprefix(f"{name}.") for key in keys if key.startswith(f"{name}.")]
        if name not in keys:
            kept[name] = less(value, below) if isinstance(value, Mapping) else value
    return kept


def _line(value: Any) -> bytes:
    return to_json(value).encode("utf-8", "surrogatepass") + b"\n"
