"""metrics.jsonl: one strict JSON object per logged step, `{"step": 12, "loss": 0.61, ...}`.

Keys are flat. NaN and infinities stand as "NaN", "Infinity", "-Infinity" (bvrank.run.files). Each
line is flushed as it is written; a line cut short by a crash is dropped by `truncate` or `start`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from bvrank.records import StepReport
from bvrank.run.files import read_jsonl, to_json, write_atomic
from bvrank.run.folder import told
from bvrank.run.record import METRICS


class Jsonl:
    """The tracker that is always there. Raises OSError when the disk does: hand it to `Several`."""

    def __init__(self) -> None:
        self._file: IO[str] | None = None
        self._path: Path | None = None

    def start(self, config: Mapping[str, Any], folder: Path) -> None:
        """Opens `folder`/metrics.jsonl for appending, after what an earlier session wrote."""
        self._path = folder / METRICS
        if _torn(self._path):
            _keep(self._path, None)
        self._file = self._path.open("a", encoding="utf-8")

    def truncate(self, after_step: int) -> int:
        """Removes the lines beyond step `after_step`, the checkpoint a run resumes from.

        Returns how many went. Call it after `start` and before the first `log`. RunError when the
        file cannot be rewritten: a run that resumes must not log a step twice.
        """
        if self._path is None:
            raise RuntimeError("truncate() before start()")
        self.finish({})
        with told(self._path.parent):
            removed = _keep(self._path, after_step)
            self._file = self._path.open("a", encoding="utf-8")
        return removed

    def log(self, report: StepReport) -> None:
        """Appends one line."""
        if self._file is None:
            raise RuntimeError("log() before start()")
        self._file.write(to_json({"step": report.step, **report.values}) + "\n")
        self._file.flush()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _torn(path: Path) -> bool:
    content = path.read_bytes() if path.is_file() else b""
    return bool(content) and not content.endswith(b"\n")


def _keep(path: Path, last_step: int | None) -> int:
    """Rewrites `path` with its readable lines up to `last_step`; returns how many it lost."""
    rows, torn = read_jsonl(path)
    kept = [r for r in rows if last_step is None or r.get("step", 0) <= last_step]
    removed = len(rows) - len(kept) + torn
    if removed:
        write_atomic(path, "".join(to_json(r) + "\n" for r in kept))
    return removed
