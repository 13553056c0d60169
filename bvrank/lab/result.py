"""What the lab found: lab.json with every figure, lab.npz with every array.

lab.json   settings, cells (a world at a distance each), checks, training (or null)
lab.npz    <world>/<distance>/<array>, and training/<rule>/<arm>/<array>
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bvrank.errors import RunError
from bvrank.lab.check import Check
from bvrank.run import from_json, to_json, write_atomic

FIGURES, ARRAYS, PAGE = "lab.json", "lab.npz", "lab.html"


@dataclass(frozen=True)
class Result:
    """As it is kept. `arrays` by name."""

    settings: Mapping[str, Any]
    cells: Sequence[Mapping[str, Any]]
    checks: Sequence[Check]
    training: Mapping[str, Any] | None
    arrays: Mapping[str, np.ndarray]

    @property
    def holds(self) -> bool:
        """Whether no check is violated."""
        return not any(check.violated for check in self.checks)


def key(cell: Mapping[str, Any], name: str) -> str:
    """Of an array of a cell, which needs a world and a distance."""
    return f"{cell['world']}/{distance(cell)}/{name}"


def distance(cell: Mapping[str, Any]) -> str:
    """A cell's, in as few digits as tell it from any other."""
    short = f"{cell['distance']:g}"
    return short if float(short) == cell["distance"] else repr(cell["distance"])


def write_result(folder: Path, result: Result) -> None:
    """OSError when it cannot."""
    told = {k: v for k, v in vars(result).items() if k != "arrays"}
    told["checks"] = [asdict(c) | {"holds": c.holds} for c in result.checks]
    packed = io.BytesIO()
    np.savez_compressed(packed, **dict(result.arrays))  # type: ignore[arg-type]
    write_atomic(folder / ARRAYS, packed.getvalue())
    write_atomic(folder / FIGURES, to_json(told, indent=1) + "\n")


def read_result(folder: Path) -> Result:
    """What `write_result` wrote. RunError when it is damaged or missing."""
    try:
        told = from_json((folder / FIGURES).read_bytes())
        with np.load(folder / ARRAYS) as packed:
            arrays = {name: packed[name] for name in packed.files}
        checks = [Check(c["theorem"], c["says"], float(c["largest"]), float(c["tolerance"]),
                        c.get("why", "")) for c in told["checks"]]  # fmt: skip
        return Result(told["settings"], told["cells"], checks, told["training"], arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise RunError(f"cannot be read ({' '.join(str(error).split())})", where=str(folder),
                       repair="force=true measures again.") from error  # fmt: skip
