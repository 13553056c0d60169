"""metrics.jsonl: one strict JSON object per logged step, `{"step": 12, "loss": 0.61, ...}`.

Keys are flat. NaN and infinities stand as "NaN", "Infinity", "-Infinity" (bvrank.run.files). Each
line is written at once; a line cut short by a crash is dropped by `truncate` or `start`, and what
a full disk did not take is written, in order, with the next line that finds room.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from bvrank.records import StepReport
from bvrank.run.files import read_jsonl, to_json, write_atomic
from bvrank.run.folder import told
from bvrank.run.record import METRICS


class Jsonl:
    """The tracker that is always there. Raises OSError when the disk does: hand it to `Several`."""

    def __init__(self) -> None:
        self._file: FileIO | None = None
        self._waiting = b""
        self._path: Path | None = None

    def start(self, config: Mapping[str, Any], folder: Path) -> None:
        """Opens `folder`/metrics.jsonl for appending, after what an earlier session wrote."""
        self._path = folder / METRICS
        if _torn(self._path):
            _keep(self._path, None)
        self._file = FileIO(self._path, "a")

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
            self._file = FileIO(self._path, "a")
        return removed

    def log(self, report: StepReport) -> None:
        """Appends one line."""
        if self._file is None:
            raise RuntimeError("log() before start()")
        self._waiting += (to_json({"step": report.step, **report.values}) + "\n").encode()
        self._write(self._file)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Closes the file. OSError when a full disk still does not take what was logged."""
        if self._file is not None:
            try:
                self._write(self._file)
            finally:
                self._file.close()
                self._file, self._waiting = None, b""

    def _write(self, file: FileIO) -> None:
        while self._waiting:  # a disk that is nearly full takes a part
            self._waiting = self._waiting[file.write(self._waiting) :]


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
