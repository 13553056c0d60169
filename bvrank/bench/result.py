"""What a suite yields, and its file: every second of every step, and what it was measured on."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bvrank.bench.rounds import Timing, ratios
from bvrank.errors import DataError, RunError
from bvrank.run import write_atomic


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
        """How many times slower than `other`: by the medians, and the range over steps taken side
        by side."""
        return ratios(Timing(self.seconds), Timing(other.seconds))


@dataclass(frozen=True)
class Cell:
    """One setting: what it is called, its arms, and figures that are no arm's (tokens, flops)."""

    setting: Mapping[str, int | str]
    arms: Mapping[str, Arm]
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One run of a suite."""

    suite: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    cells: tuple[Cell, ...]

    def save(self, folder: Path) -> Path:
        """`<folder>/<suite>.json`. RunError when it cannot be written."""
        path = folder / f"{self.suite}.json"
        try:
            write_atomic(path, json.dumps(asdict(self), indent=1) + "\n")
        except OSError as error:
            raise RunError(f"cannot be written ({error.strerror or error})", where=str(path),
                           repair="Choose another folder with out=...") from error  # fmt: skip
        return path

    @classmethod
    def load(cls, path: Path) -> Result:
        """What `save` wrote. DataError when it is something else."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            cells = tuple(_cell(c) for c in found["cells"])
            if not cells:
                raise ValueError("no setting")
            return cls(found["suite"], dict(found["settings"]), dict(found["machine"]), cells)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"holds no measurement ({type(error).__name__}: {error})",
                            where=str(path), repair="Run that suite again.") from error  # fmt: skip


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
    arms = {name: Arm(tuple(map(float, arm["seconds"])), int(arm["peak"]), int(arm["above"]))
            for name, arm in found["arms"].items()}  # fmt: skip
    if not all(arm.seconds for arm in arms.values()):
        raise ValueError("an arm without a step")
    facts = {name: float(value) for name, value in found["facts"].items()}
    return Cell(dict(found["setting"]), arms, facts)


def loaded(folder: Path) -> Iterable[Result]:
    """Every suite measured into `folder`. DataError when there is none."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise DataError("holds no measurement", where=str(folder),
                        repair="Measure first, for instance bvrank bench.")  # fmt: skip
    return [Result.load(path) for path in paths]
