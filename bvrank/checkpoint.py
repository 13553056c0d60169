"""Checkpoints: written beside their place, renamed when whole, verified when read.

step-000500/policy/     weights, loads with transformers
step-000500/engine/     optimizer, one file a rank
step-000500/state.json  trainer's state, the hash of every other file, and that of the two
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from bvrank.errors import RunError
from bvrank.protocols import Engine
from bvrank.run.files import hash_of, sync


@dataclass
class TrainState:
    """All that continues a run besides weights and moments. `rng` maps a device to the hex of its
    random state after `step` steps (of this rank; the file has those of all); `fields` holds
    scheduled values of that step, `known` what an estimator has gathered so far."""

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    rng: dict[str, str] = field(default_factory=dict)
    fields: dict[str, float] = field(default_factory=dict)
    best_name: str | None = None
    known: dict[str, float] = field(default_factory=dict)


def save(folder: Path, engine: Engine, state: TrainState) -> Path:
    """Writes `folder`/step-NNNNNN whole or not at all and returns it. RunError on every rank when
    one's disk does not take it; what a crash left of an earlier attempt is removed."""
    final = folder / f"step-{state.step:06d}"
    part, ranks = folder / f".{final.name}.part", engine.ranks
    whole = asdict(state) | {"rng": ranks.gather(state.rng)}
    try:
        _together(engine, folder, lambda: _begin(folder, part) if ranks.first else {})
        hashes = _together(engine, folder, lambda: _written(part, engine))
        _together(engine, folder, lambda: _end(part, final, whole, hashes) if ranks.first else {})
    except BaseException:
        if ranks.first:
            shutil.rmtree(part, ignore_errors=True)
        raise
    return final


def load(folder: Path, engine: Engine) -> TrainState:
    """Verifies `folder`, restores the engine from it and returns the trainer's state. RunError
    when it is damaged or of another version."""
    broken = engine.ranks.agree(damage(folder) if engine.ranks.first else None)
    if broken:
        raise RunError(f"damaged checkpoint: {broken}", where=str(folder))
    return _restored(folder, engine)


def load_newest(folder: Path, engine: Engine) -> tuple[TrainState | None, list[str]]:
    """Restores the newest whole checkpoint below `folder`, if there is one; and what is wrong with
    newer ones. Each file is read for its hash once, by one rank."""
    ranks = engine.ranks
    path, broken = ranks.agree(newest_whole(folder) if ranks.first else (None, []))
    return (None if path is None else _restored(path, engine)), broken


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files are all as written, and what is wrong with newer ones."""
    broken: list[str] = []
    for path in reversed(_steps(folder)):
        problem = damage(path)
        if problem is None:
            return path, broken
        broken.append(f"{path.name}: {problem}")
    return None, broken


def damage(folder: Path) -> str | None:
    """Names the first file that is missing or altered; None when all are as written."""
    try:
        whole = json.loads((folder / "state.json").read_text())
        hashes: dict[str, str] = whole["files"]
        if whole["sha256"] != _sealed(whole["state"], hashes):
            return "state.json is not what was written"
    except (OSError, ValueError, KeyError, TypeError):
        return "state.json is missing or torn"
    for name, expected in hashes.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if hash_of(folder / name) != expected:
            return f"{name} is not what was written"
    return None


def prune(folder: Path, keep: int, best_step: int | None) -> None:
    """Deletes all but the newest `keep` checkpoints and the best one."""
    paths = _steps(folder)
    for path in paths[: max(len(paths) - keep, 0)]:
        if _number(path) != best_step:
            shutil.rmtree(path, ignore_errors=True)


def rng_state() -> dict[str, str]:
    """Random state of the CPU and of each CUDA device, as hex."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return {name: bytes(state.tolist()).hex() for name, state in states.items()}


def set_rng(states: dict[str, str]) -> None:
    """Restores what `rng_state` returned."""
    for name, text in states.items():
        state = torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)
        if name == "cpu":
            torch.set_rng_state(state)
        elif torch.cuda.is_available():  # a run may go on without the device it began on
            torch.cuda.set_rng_state(state, name)


def _restored(folder: Path, engine: Engine) -> TrainState:
    found = json.loads((folder / "state.json").read_text())["state"]
    odd = sorted(set(found) ^ {f.name for f in fields(TrainState)})
    if odd:
        raise RunError(
            f"its state was written by another version, see {', '.join(odd)}", where=str(folder),
            repair="Resume with the version in the run's manifest, or start anew with force=true.",
        )  # fmt: skip
    engine.load(folder)
    state = TrainState(**found | {"rng": found["rng"][engine.ranks.rank]})
    set_rng(state.rng)
    return state


def _together(engine: Engine, folder: Path, action: Callable[[], dict[str, str]]
              ) -> dict[str, str]:  # fmt: skip
    """What the actions of all ranks return, joined. RunError on each when one's failed."""
    found: dict[str, str] = {}
    why = ""
    try:
        found = action()
    # A full disk is a SafetensorError to safetensors and a RuntimeError to torch.save (2.13).
    except (OSError, SafetensorError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0] or "no reason given"
    every = engine.ranks.gather((found, why))
    reasons = [why for _, why in every if why]
    if reasons:
        raise RunError(
            f"the checkpoint could not be written ({reasons[0]})", where=str(folder),
            repair="Make room or change permissions, then resume=true; older ones are whole.",
        )  # fmt: skip
    return {name: value for found, _ in every for name, value in found.items()}


def _begin(folder: Path, part: Path) -> dict[str, str]:
    for stale in folder.glob(".step-*"):
        shutil.rmtree(stale)
    part.mkdir(parents=True)
    return {}


def _written(part: Path, engine: Engine) -> dict[str, str]:
    """Has this rank write its files; returns their hashes."""
    hashes: dict[str, str] = {}
    for path in engine.save(part):
        sync(path)
        hashes[str(path.relative_to(part))] = hash_of(path)
    return hashes


def _end(part: Path, final: Path, state: dict[str, Any], hashes: dict[str, str]
         ) -> dict[str, str]:  # fmt: skip
    """Seals `part` and puts it in its place."""
    whole = {"state": state, "files": hashes, "sha256": _sealed(state, hashes)}
    (part / "state.json").write_text(json.dumps(whole, indent=1))
    for path in (part / "state.json", part):
        sync(path)
    old = final.with_name(f".{final.name}.old")
    if final.exists():
        os.replace(final, old)
    os.replace(part, final)
    shutil.rmtree(old, ignore_errors=True)
    sync(final.parent)
    return {}


def _sealed(state: Any, files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps([state, files], sort_keys=True).encode()).hexdigest()


def _steps(folder: Path) -> list[Path]:
    """Checkpoints from oldest to newest; from a million steps on names do not sort."""
    named = [p for p in folder.glob("step-*") if p.name.removeprefix("step-").isdigit()]
    return sorted(named, key=_number)


def _number(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
