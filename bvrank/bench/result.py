"""What a suite yields, and its file: every second of every step, and what it was measured on."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bvrank.bench.rounds import Timing, ratios
from bvrank.errors import DataError, RunError
from bvrank.run import write_atomic

PARTIAL = ".partial.json"  # of a run that was stopped, beside the whole result of an earlier one
DAMAGE = (
    ArithmeticError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)  # what reading raises


@dataclass(frozen=True)
class Arm:
    """Seconds of every step in the order they were run; the process's peak memory in bytes, and
    that above what was resident before the first step (0: not measured)."""

    seconds: tuple[float, ...]
    peak: int = 0
    above: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def over(self, other: Arm) -> tuple[float, float, float]:
        """How many times slower than `other`: by the medians, and the range over steps of the same
        number."""
        return ratios(Timing(self.seconds), Timing(other.seconds))


def recomputes(name: str) -> bool:
    """Whether the arm of that name computes activations again (precomputed is its reference)."""
    return " recomputed" in name


@dataclass(frozen=True)
class Cell:
    """One setting: what it is called, its arms, and figures that are no arm's (tokens, flops)."""

    setting: Mapping[str, int | str]
    arms: Mapping[str, Arm]
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One run of a suite; `whole` unless it was stopped before its last setting."""

    suite: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    cells: tuple[Cell, ...]
    whole: bool = True

    def save(self, folder: Path) -> Path:
        """`<folder>/<suite>.json`. A result that is not whole gives way to an earlier one that is,
        or that has more settings: it is then `<suite>.partial.json`. RunError when it cannot be
        written."""
        path, beside = folder / f"{self.suite}.json", folder / f"{self.suite}{PARTIAL}"
        target = path if self.whole or self._covers(path) else beside
        try:
            write_atomic(target, json.dumps(asdict(self), indent=1) + "\n")
            if self.whole:  # then what an earlier stop left is covered
                beside.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"cannot be written ({error.strerror or error})", where=str(target),
                           repair="Choose another folder with out=...") from error  # fmt: skip
        return target

    def _covers(self, path: Path) -> bool:
        try:
            earlier = Result.load(path)
        except DataError:  # nothing that could be lost
            return True
        return not earlier.whole and len(earlier.cells) <= len(self.cells)

    @classmethod
    def load(cls, path: Path) -> Result:
        """What `save` wrote. DataError when it is something else, or of another suite."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict) or not {"suite", "cells"} <= set(found):
                raise ValueError("not written by bvrank bench")
            if found["suite"] != path.name.split(".")[0]:
                raise ValueError(f"it is of suite {found['suite']!r}")
            cells = tuple(_cell(c) for c in found["cells"])
            if not cells:
                raise ValueError("no setting")
            return cls(found["suite"], dict(found["settings"]), dict(found["machine"]), cells,
                       bool(found.get("whole", True)))  # fmt: skip
        except (*DAMAGE, OSError, AttributeError) as error:
            raise not_a_measurement(error, path) from error


def not_a_measurement(error: Exception, path: Path) -> DataError:
    """Names the file and what is wrong with it."""
    kind = "" if str(error) and type(error) is ValueError else f"{type(error).__name__}: "
    return DataError(f"holds no measurement ({kind}{' '.join(str(error).split())})",
                     where=str(path), repair="Run that suite again, or take the file out of the "
                     "folder.")  # fmt: skip


def machine(threads: int, device: str) -> dict[str, Any]:
    """What was measured on, without its name."""
    import torch
    import transformers

    told = {"processor": _processor(), "cores": os.cpu_count(), "threads": threads,
            "torch": torch.__version__, "transformers": transformers.__version__}  # fmt: skip
    if device != "cpu":
        told["accelerator"] = torch.cuda.get_device_name(device)
    return told


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _cell(found: Mapping[str, Any]) -> Cell:
    arms = {name: Arm(tuple(_number(s) for s in arm["seconds"]), int(_number(arm["peak"])),
                      int(_number(arm["above"])))
            for name, arm in found["arms"].items()}  # fmt: skip
    if not arms or not all(arm.seconds and min(arm.seconds) > 0 for arm in arms.values()):
        raise ValueError("an arm without a step")
    facts = {name: _number(value) for name, value in found["facts"].items()}
    return Cell(dict(found["setting"]), arms, facts)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a figure of {number}")
    return number


def loaded(folder: Path) -> list[Result]:
    """Every suite measured into `folder`, what a stopped run left beside a whole one apart.
    DataError when there is none."""
    paths = [p for p in sorted(folder.glob("*.json")) if not p.name.endswith(PARTIAL)]
    if not paths:
        raise DataError("holds no measurement", where=str(folder),
                        repair="Measure first, for instance bvrank bench.")  # fmt: skip
    return [Result.load(path) for path in paths]
