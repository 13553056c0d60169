"""What `bvrank evaluate` measures: a run's policy, any model, or whatever a server holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bvrank import checkpoint
from bvrank.commands.build import build
from bvrank.data.fingerprint import fingerprint
from bvrank.errors import ConfigError, RunError
from bvrank.run.record import read_run

TINY = "bvrank.models.tiny.Tiny"


@dataclass(frozen=True)
class Subject:
    """`node`: the config node of its model, None of a server. `run`: the run folder it is of, with
    the `step` of its checkpoint; `label` names it in tables and folders."""

    node: Mapping[str, Any] | None
    label: str
    run: Path | None = None
    step: int | None = None

    def built(self, trusted: Any) -> Any:
        """The model's settings; None of a server."""
        return None if self.node is None else build(self.node, "model", trusted)

    @property
    def content(self) -> str:
        """Of the files that the node names."""
        return "" if self.node is None else fingerprint(self.node)


def subject(config: Mapping[str, Any], weights: bool) -> Subject:
    """Of the keys run, checkpoint, model and sampler; `weights`: whether a model is loaded here.
    RunError for a run that has no such checkpoint."""
    if not weights:
        if config["run"] is not None:
            raise ConfigError(
                "has no effect: no policy is loaded here", where="run",
                repair="sampler.server.model names what the server holds.",
            )  # fmt: skip
        _check_checkpoint(config["checkpoint"])
        server = config["sampler"].get("server") or {}
        return Subject(None, str(server.get("model") or "files"))
    if config["run"] is None:
        _check_checkpoint(config["checkpoint"])
        node = config["model"]
        path = str(node.get("path") or str(node["_target_"]).rpartition(".")[2].lower())
        return Subject(node, Path(path).name)
    return _of_run(Path(str(config["run"])).expanduser(), config["checkpoint"])


def _check_checkpoint(which: Any) -> None:
    if which != "final":
        raise ConfigError("has no effect: no run is measured", where="checkpoint",
                          repair="run=... names one.")  # fmt: skip


def _of_run(folder: Path, which: Any) -> Subject:
    record = read_run(folder)
    place = _checkpoint(folder, which, record.summary)
    broken = checkpoint.damage(place)
    if broken:
        raise RunError(f"damaged checkpoint: {broken}", where=str(place))
    policy, own = place / "policy", record.config["model"]
    step = int(place.name.removeprefix("step-"))
    if (policy / "adapter_config.json").is_file():
        node = {**own, "lora": {"_target_": own["lora"]["_target_"], "path": str(policy)}}
    else:
        node = {"_target_": "bvrank.models.hf.HF", "path": str(policy)}
    return Subject(node, folder.name, folder, step)


def _checkpoint(folder: Path, which: Any, summary: Mapping[str, Any]) -> Path:
    """The folder of a checkpoint: `final`, `best`, or a step."""
    steps = {int(p.name.removeprefix("step-")): p for p in (folder / "checkpoints").glob("step-*")}
    if not steps:
        raise RunError("has no checkpoint to evaluate", where=str(folder),
                       repair="Runs keep one when they finish.")  # fmt: skip
    if which == "final":
        return steps[max(steps)]
    wanted = summary.get("best", {}).get("step") if which == "best" else which
    if wanted in steps:
        return steps[wanted]
    known = ", ".join(map(str, sorted(steps)))
    raise ConfigError(f"{folder} has no checkpoint {which}", where="checkpoint",
                      repair=f"There are final and {known}.")  # fmt: skip
