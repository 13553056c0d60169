"""A run folder held by the process that works in it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from bvrank.errors import BvrankError, Interrupted, RunError
from bvrank.records import Refused
from bvrank.run.files import to_json, write_atomic
from bvrank.run.lock import Lock
from bvrank.run.record import (
    CONFIG,
    MANIFEST,
    METRICS,
    REFUSED,
    SUMMARY,
    read_config,
    read_manifest,
)
from bvrank.secrets import redact

GO_ON = {
    "train": "The same command with resume=true goes on.",
    "sample": "The same command goes on.",  # it always does
    "evaluate": "The same command goes on.",
    "lab": "The same command measures again.",
}


class RunFolder:
    """An open run folder; use it in a `with` block.

    Leaving the block by an exception records that as the exit status; leaving it gives the lock
    back. `finished` is True for a run that needs nothing more, `resumed` for one that continues;
    `notes` are lines for the user, `go_on` says how a stopped one is continued.
    """

    go_on = GO_ON["train"]

    def __init__(
        self,
        path: Path,
        *,
        lock: Lock | None = None,
        finished: bool = False,
        resumed: bool = False,
        notes: Sequence[str] = (),
    ) -> None:
        self.path, self.finished, self.resumed, self.notes = path, finished, resumed, tuple(notes)
        self.config, self.manifest = read_config(path), read_manifest(path)
        self._lock = lock
        self._began, self._before = monotonic(), float(self.manifest.get("seconds") or 0.0)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    @property
    def config_path(self) -> Path:
        """The resolved configuration."""
        return self.path / CONFIG

    @property
    def manifest_path(self) -> Path:
        """Where the run comes from and how it ended."""
        return self.path / MANIFEST

    @property
    def metrics_path(self) -> Path:
        """One line per logged step."""
        return self.path / METRICS

    @property
    def refused_path(self) -> Path:
        """The rows that could not train."""
        return self.path / REFUSED

    @property
    def summary_path(self) -> Path:
        """The figures of a finished run."""
        return self.path / SUMMARY

    @property
    def checkpoints(self) -> Path:
        """Where step-<number> folders go; made by whoever writes the first."""
        return self.path / "checkpoints"

    @property
    def evals(self) -> Path:
        """Where measured figures go; made by whoever writes the first."""
        return self.path / "evals"

    def update(self, **fields: Any) -> None:
        """Sets fields of the manifest (`world_size=2`) and writes it. RunError when it cannot."""
        self.manifest |= fields
        self.manifest["seconds"] = round(self._before + monotonic() - self._began, 3)
        with told(self.path):
            write_atomic(self.manifest_path, to_json(self.manifest, indent=2) + "\n")

    def record_data(self, *, fingerprint: str, kept: int, refused: Sequence[Refused]) -> None:
        """Writes refused.jsonl, and the counts by reason to the manifest's `data`."""
        with told(self.path):
            lines = "".join(to_json(vars(row)) + "\n" for row in refused)
            write_atomic(self.refused_path, lines)
        counts = Counter(row.reason for row in refused)
        data = {"fingerprint": fingerprint, "kept": kept, "refused": dict(counts.most_common())}
        self.update(data=data)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Writes summary.json, and only then the status finished."""
        with told(self.path):
            write_atomic(self.summary_path, to_json(summary, indent=2) + "\n")
        self.update(status="finished", message="", ended=now())

    def fail(self, error: BaseException) -> None:
        """Records why the run stopped: interrupted from outside, or failed."""
        outside = isinstance(error, Interrupted | KeyboardInterrupt | SystemExit)
        status = "interrupted" if outside else "failed"
        self.update(status=status, message=_one_line(error), ended=now())

    def close(self) -> None:
        """Gives the lock back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        unfinished = self.manifest.get("status") == "running"
        stopped = isinstance(error, KeyboardInterrupt) and unfinished
        if stopped:
            error = Interrupted(str(error) or "stopped", repair=self.go_on)
        if error is not None and unfinished:
            with contextlib.suppress(RunError):  # a full disk must not hide what went wrong first
                self.fail(error)
        self.close()
        if stopped and error is not None:
            raise error from None


class Follower(RunFolder):
    """The same folder for a rank that does not write there: it reads, and is silent."""

    def update(self, **fields: Any) -> None:
        """Sets fields of the manifest in memory."""
        self.manifest |= fields

    def record_data(self, *, fingerprint: str, kept: int, refused: Sequence[Refused]) -> None:
        """Nothing: the first rank does."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Nothing: the first rank does."""

    def fail(self, error: BaseException) -> None:
        """Nothing: the first rank does."""


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turns an OSError below into a RunError that names `path` and what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise RunError(
            f"the run folder cannot be written: {error.strerror or error}",
            where=str(path),
            repair="Free some space, or choose another place with outputs=..."
            if full
            else "Choose a place that you can write to with outputs=...",
        ) from error


def check_outputs(outputs: Path) -> None:
    """RunError when no folder can be made there: said before anything is taught or loaded."""
    whole = outputs.expanduser().absolute()
    standing = next(p for p in (whole, *whole.parents) if p.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        raise RunError(
            f"no run folder can be made in it: {standing} "
            + ("cannot be written to" if standing.is_dir() else "is no folder"),
            where=str(outputs), repair="Choose a place that you can write to with outputs=...",
        )  # fmt: skip


def now() -> str:
    """The time in UTC, as in 2026-01-31T12:00:00+00:00."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if not isinstance(error, BvrankError):
        text = f"{type(error).__name__}: {text}".rstrip(": ")
    return str(redact(text))
