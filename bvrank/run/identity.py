"""Which configurations are the same run: the name by content, and what differs between two."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from bvrank.run.files import to_json

# Top-level keys that change where or how often something is written, or what to do with a folder
# that exists, and leave the trajectory as it is. Every other key matters. How many processes share
# the work moves last bits (and, with dropout, draws other units): a resumed run must have as many.
IGNORED = (
    "outputs", "store", "resume", "force", "name", "checkpoint", "log", "examples", "trusted",
    "launcher", "tracker",
)  # fmt: skip
WRITTEN = ("checkpoint", "log", "examples", "tracker", "launcher")
ABSENT = "(absent)"


def run_name(config: Mapping[str, Any], *, objective: str, data: str, content: str = "") -> str:
    """`<objective>-<data>-s<seed>-<8 hex>`: equal for equal trajectories, different otherwise.

    `objective` and `data` are `_target_`s (or labels already). `content` is the fingerprint of the
    data's files, so that an edited file is another run under the same path.
    """
    matters = {k: v for k, v in config.items() if k not in IGNORED}
    text = to_json({"config": canonical(matters), "content": content})
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{label(objective)}-{label(data)}-s{config.get('seed', 0)}-{digest}"


def group_name(config: Mapping[str, Any]) -> str:
    """`<objective>-<data>-<8 hex>`: one name for the seeds of a configuration."""
    seed = config.get("seed")
    matters = {k: v for k, v in config.items() if k not in (*IGNORED, "seed")}
    text = to_json(canonical(without_seeds(matters, seed)))
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    parts = [str((config.get(g) or {}).get("_target_", "")) for g in ("objective", "data")]
    return "-".join([*map(label, parts), digest[:8]])


def without_seeds(node: Any, seed: Any) -> Any:
    """`node` less every key `seed` that follows the run's own, as data.seed does by default."""
    if not isinstance(node, dict):
        return node
    kept = {k: v for k, v in node.items() if k != "seed" or v != seed}
    return {k: without_seeds(v, seed) for k, v in kept.items()}


def label(target: str) -> str:
    """The last part of a target's module: `bvrank.objectives.bvpo.BVPO` gives `bvpo`."""
    parts = target.split(".")
    name = parts[-2] if len(parts) > 1 else parts[0]
    return re.sub(r"[^a-z0-9_]+", "_", name.lower()) or "unnamed"


def plain(value: Any) -> Any:
    """`value` in the types that YAML and JSON have; a path or another object becomes its `str`."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, PurePath) or not isinstance(value, str | bool | int | float | None):
        return str(value)
    return value


def canonical(value: Any) -> Any:
    """`plain`, with sorted keys and 1.0 as 1: one form for every way to write the same setting."""
    if isinstance(value, Mapping):
        return {k: canonical(value[k]) for k in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return plain(value)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys to leaves: `{"eval": {"every": 5}}` is `{"eval.every": 5}`. Lists are leaves."""
    return dict(_leaves(config, prefix))


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], *, matters: bool
) -> list[tuple[str, Any, Any]]:
    """(dotted key, old value, new value) wherever two configurations differ.

    `matters=True` looks at the keys that shape the trajectory; `matters=False` at what else is
    written and by how many processes (WRITTEN), not at the keys that only find the folder.
    """
    before, after = flatten(canonical(old)), flatten(canonical(new))
    found = []
    for key in sorted({**before, **after}):
        top = key.partition(".")[0]
        looked_at = top not in IGNORED if matters else top in WRITTEN
        a, b = before.get(key, ABSENT), after.get(key, ABSENT)
        if looked_at and (a != b or isinstance(a, bool) is not isinstance(b, bool)):
            found.append((key, a, b))
    return found


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
