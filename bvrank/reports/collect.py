"""From patterns to run records."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from bvrank.errors import RunError
from bvrank.run import RunRecord, is_aside, is_run, read_run


def collect(patterns: str | Sequence[str]) -> list[RunRecord]:
    """The runs that `patterns` match, finished or not, by name; each once.

    A pattern is a glob (`outputs/*`), a run folder, or a folder of run folders. What is no run is
    passed over, and so are folders moved aside (`.old-1`) unless the pattern asks for them.
    RunError when nothing is left.
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    found: dict[Path, Path] = {}
    for pattern in wanted:
        for folder in _folders(pattern):
            if is_run(folder) and not is_aside(folder, pattern):
                found.setdefault(folder.resolve(), folder)
    if not found:
        raise RunError(
            f"no run folder matches {', '.join(map(repr, wanted)) or 'nothing'}",
            where="runs",
            repair="Name run folders or a pattern in quotes: runs='outputs/*'.",
        )
    return [read_run(folder) for folder in sorted(found.values(), key=lambda f: (f.name, str(f)))]


def _folders(pattern: str) -> Iterator[Path]:
    path = Path(pattern).expanduser()
    if not path.exists():
        yield from (Path(match) for match in glob.glob(str(path), recursive=True))
    elif path.is_dir() and not is_run(path):
        yield from path.iterdir()
    else:
        yield path
