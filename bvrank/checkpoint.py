"""Checkpoints: written beside their place, renamed when whole, verified when read.

step-000500/policy/     weights, loads with transformers
step-000500/engine/     optimizer
step-000500/state.json  trainer's state, and the hash of every other file
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from bvrank.errors import RunError
from bvrank.protocols import Engine


@dataclass
class TrainState:
    """All that continues a run besides weights and moments. `rng` maps a device to the hex of its
    random state after `step` steps; `fields` holds scheduled values of that step."""

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    rng: dict[str, str] = field(default_factory=dict)
    fields: dict[str, float] = field(default_factory=dict)


def save(folder: Path, engine: Engine, state: TrainState) -> Path:
    """Writes `folder`/step-NNNNNN whole or not at all and returns it."""
    final = folder / f"step-{state.step:06d}"
    part = folder / f".{final.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        engine.save(part)
        hashes = {str(p.relative_to(part)): _hash(p) for p in _files(part)}
        text = json.dumps({"state": asdict(state), "files": hashes}, indent=1)
        (part / "state.json").write_text(text)
        for path in [*_files(part), part]:
            _sync(path)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(part, final)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise RunError(
            f"the checkpoint could not be written ({error.strerror})", where=str(folder),
            repair="Make room or change permissions, then resume=true; older checkpoints are whole.",
        ) from error  # fmt: skip
    return final


def load(folder: Path, engine: Engine) -> TrainState:
    """Verifies `folder`, restores the engine from it and returns the trainer's state."""
    broken = damage(folder)
    if broken:
        raise RunError(f"damaged checkpoint: {broken}", where=str(folder))
    state = TrainState(**json.loads((folder / "state.json").read_text())["state"])
    engine.load(folder)
    set_rng(state.rng)
    return state


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files are all as written, and what is wrong with newer ones."""
    broken = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        problem = damage(path)
        if problem is None:
            return path, broken
        broken.append(f"{path.name}: {problem}")
    return None, broken


def damage(folder: Path) -> str | None:
    """Names the first file that is missing or altered; None when all are as written."""
    try:
        hashes: dict[str, str] = json.loads((folder / "state.json").read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "state.json is missing or torn"
    for name, expected in hashes.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _hash(folder / name) != expected:
            return f"{name} is not what was written"
    return None


def prune(folder: Path, keep: int, best_step: int | None) -> None:
    """Deletes all but the newest `keep` checkpoints and the best one."""
    for path in sorted(folder.glob("step-*"))[:-keep]:
        if path.name != f"step-{best_step or 0:06d}":
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
        else:
            torch.cuda.set_rng_state(state, name)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
