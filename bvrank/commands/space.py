"""Checks of the places a run writes to: room for its checkpoints, and a store that is whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bvrank.commands.diagnosis import Check
from bvrank.commands.settings import TrainSettings
from bvrank.commands.surroundings import AREA, size
from bvrank.data.flaws import Finding
from bvrank.run.shelf import entries, left_behind
from bvrank.scoring.values import torn_files

PROBE = 64  # rows and columns of the weight whose moments are counted


@dataclass(frozen=True)
class Weights:
    """How many numbers a model has, and how many of them train (and are saved)."""

    whole: int
    trained: int


def weights_of(node: Any, tokenizer: Any) -> tuple[Any, Weights]:
    """The model without weights (on torch's meta device), its adapter on it, and its size."""
    import torch

    if hasattr(node, "skeleton"):
        model = node.skeleton()
    else:
        with torch.device("meta"):
            model = node.model(tokenizer, 0)
    whole = sum(p.numel() for p in model.parameters())
    with torch.device("meta"):
        model = node.lora.wrap(model, 0)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return model, Weights(whole, trained)


def checkpoint_bytes(weights: Weights, settings: TrainSettings) -> int:
    """Of one checkpoint: the weights that train and the optimizer's moments."""
    width = 8 if settings.precision == "fp64" else 4
    return int(weights.trained * width * (1 + moments(settings)))


def moments(settings: TrainSettings) -> float:
    """Numbers that the optimizer keeps for each weight, counted after a step: 2 for AdamW."""
    import torch

    weight = torch.nn.Parameter(torch.zeros(PROBE, PROBE))
    weight.grad = torch.ones(PROBE, PROBE)
    kind: Any = settings.optimizer.kind()
    optimizer = kind([weight], lr=settings.optimizer.lr, **settings.optimizer.options)
    optimizer.step()
    kept = (v for v in optimizer.state[weight].values() if isinstance(v, torch.Tensor))
    return sum(v.numel() for v in kept if v.numel() > 1) / weight.numel()


def check_disk(settings: TrainSettings, store: Path, weights: Weights | None) -> Check:
    """Room and permission at `outputs` and at the store."""
    outputs = Path(settings.outputs)
    kept = settings.checkpoint.keep + 1 + (settings.checkpoint.best is not None)
    each = 0 if weights is None else checkpoint_bytes(weights, settings)
    found = [*_unwritable(outputs, "outputs"), *_unwritable(store, "store")]
    free = shutil.disk_usage(_standing(outputs)).free
    if kept * each > free:
        found.append(Finding(
            "disk", "full", "problem",
            f"{kept} checkpoints of {size(each)} need {size(kept * each)}, {size(free)} are free",
            "Make room, choose another place with outputs=..., or lower checkpoint.keep.",
        ))  # fmt: skip
    unknown = "checkpoints of unknown size"
    told = f"{kept} checkpoints of {size(each)}" if weights is not None else unknown
    return Check(AREA, "disk", f"{told} at most, {size(free)} free at {outputs}", tuple(found))


def _standing(path: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    whole = path.expanduser().absolute()
    return next(p for p in (whole, *whole.parents) if p.is_dir())


def _unwritable(path: Path, key: str) -> Iterator[Finding]:
    """Whether a file can be made there; it has no name and leaves nothing behind."""
    place = _standing(path)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0")
    except OSError as error:
        yield Finding("disk", "unwritable", "problem",
                      f"{place} cannot be written to ({error.strerror or error})",
                      f"Change its permissions, or name another place with {key}=...")  # fmt: skip


def check_store(store: Path) -> Check:
    """Entries that are torn, and what writers left behind."""
    if not store.is_dir():
        return Check(AREA, "store", f"{store} will be made")
    found: list[Finding] = []
    all_of_them = entries(store)
    torn = [e.name for e in all_of_them if e.problem(torn_files)]
    if torn:
        more = f" and {len(torn) - 3} more" if len(torn) > 3 else ""
        found.append(Finding("store", "torn", "warning", f"torn: {', '.join(torn[:3])}{more}",
                             "They are made again when needed; bvrank store gc deletes them.",
                             len(torn)))  # fmt: skip
    if left := left_behind(store):
        found.append(Finding("store", "left_behind", "note",
                             f"{len(left)} unfinished, of writers that died, e.g. {left[0]}",
                             "bvrank store gc deletes them.", len(left)))  # fmt: skip
    n = len(all_of_them)
    told = f"{n} entr{'y' if n == 1 else 'ies'} at {store}" + ("" if torn else ", all whole")
    return Check(AREA, "store", told, tuple(found))
