"""Several trackers as one, none of which can stop the run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bvrank.protocols import Tracker
from bvrank.records import StepReport
from bvrank.run.identity import plain
from bvrank.secrets import redact


class Several:
    """Hands everything to each tracker in turn. One that raises is reported once, on stderr.

    It keeps being called: a disk that was full or a server that was away may come back. One that
    fails to start is not called again.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._live: list[Tracker] = list(trackers)
        self._reported: set[str] = set()

    def start(self, config: Mapping[str, Any], folder: Path) -> None:
        """Starts each; the ones that fail stay out."""
        shown = redact(plain(config))  # some of them send it elsewhere
        self._live = [t for t in self._live if self._try(t, lambda t: t.start(shown, folder))]

    def log(self, report: StepReport) -> None:
        """Logs to each."""
        for tracker in self._live:
            self._try(tracker, lambda t: t.log(report))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Finishes each."""
        for tracker in self._live:
            self._try(tracker, lambda t: t.finish(summary))

    def _try(self, tracker: Tracker, call: Callable[[Tracker], None]) -> bool:
        try:
            call(tracker)
        except Exception as error:
            self._report(type(tracker).__name__, error)
            return False
        return True

    def _report(self, name: str, error: Exception) -> None:
        if name not in self._reported:
            self._reported.add(name)
            text = f"warning: tracker {name}: {error or type(error).__name__}; training goes on"
            print(redact(text), file=sys.stderr, flush=True)
