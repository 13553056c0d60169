"""Checkpoints: written beside their place, renamed when whole, verified when read.

step-000500/policy/     weights, loads with transformers
step-000500/engine/     optimizer
step-000500/state.json  trainer's state, the hash of every other file, and that of the two
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

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
    best_name: str | None = None


def save(folder: Path, engine: Engine, state: TrainState) -> Path:
    """Writes `folder`/step-NNNNNN whole or not at all and returns it. RunError when the disk does
    not take it; what a crash left of an earlier attempt is removed."""
    final = folder / f"step-{state.step:06d}"
    part = folder / f".{final.name}.part"
    try:
        for stale in folder.glob(".step-*"):
            shutil.rmtree(stale)
        part.mkdir(parents=True)
        _write(part, engine, state)
        if final.exists():
            os.replace(final, folder / f".{final.name}.old")
        os.replace(part, final)
        shutil.rmtree(folder / f".{final.name}.old", ignore_errors=True)
        _sync(folder)
    # A full disk is a SafetensorError to safetensors and a RuntimeError to torch.save (2.13).
    except (OSError, SafetensorError, RuntimeError) as error:
        shutil.rmtree(part, ignore_errors=True)
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0] or "no reason given"
        raise RunError(
            f"the checkpoint could not be written ({why})", where=str(folder),
            repair="Make room or change permissions, then resume=true; older ones are whole.",
        ) from error  # fmt: skip
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return final


def load(folder: Path, engine: Engine) -> TrainState:
    """Verifies `folder`, restores the engine from it and returns the trainer's state. RunError
    when it is damaged or of another version."""
    broken = damage(folder)
    if broken:
        raise RunError(f"damaged checkpoint: {broken}", where=str(folder))
    found = json.loads((folder / "state.json").read_text())["state"]
    odd = sorted(set(found) ^ {f.name for f in fields(TrainState)})
    if odd:
        raise RunError(
            f"its state was written by another version, see {', '.join(odd)}", where=str(folder),
            repair="Resume with the version in the run's manifest, or start anew with force=true.",
        )  # fmt: skip
    state = TrainState(**found)
    engine.load(folder)
    set_rng(state.rng)
    return state


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
        if _hash(folder / name) != expected:
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


def _write(part: Path, engine: Engine, state: TrainState) -> None:
    engine.save(part)
    hashes = {str(p.relative_to(part)): _hash(p) for p in _files(part)}
    whole = {"state": asdict(state), "files": hashes, "sha256": _sealed(asdict(state), hashes)}
    (part / "state.json").write_text(json.dumps(whole, indent=1))
    for path in [*_files(part), part]:
        _sync(path)


def _sealed(state: Any, files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps([state, files], sort_keys=True).encode()).hexdigest()


def _steps(folder: Path) -> list[Path]:
    """Checkpoints from oldest to newest; from a million steps on names do not sort."""
    named = [p for p in folder.glob("step-*") if p.name.removeprefix("step-").isdigit()]
    return sorted(named, key=_number)


def _number(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


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
