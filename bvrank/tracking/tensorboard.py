"""TensorBoard: event files below `<run>/tensorboard`, under the names of metrics.jsonl.

A resumed run purges what an earlier session wrote beyond the step it goes on from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bvrank.protocols import Tracker
from bvrank.records import StepReport
from bvrank.tracking.installed import check_installed
from bvrank.tracking.tables import figures, tables

FOLDER = "tensorboard"


@dataclass(frozen=True)
class TensorBoard:
    """The node of tracker=tensorboard."""

    def __post_init__(self) -> None:
        check_installed("tensorboard")

    def tracker(self, done: int) -> Tracker:
        """The tracker of a run that goes on behind step `done` (0: a new one)."""
        return Events(done)


class Events:
    """Writes event files; each step is on disk when `log` returns."""

    def __init__(self, done: int) -> None:
        self._done = self._step = done
        self._writer: Any = None

    def start(self, config: Mapping[str, Any], folder: Path) -> None:
        """Opens a file of events and shows the configuration under Text."""
        from torch.utils.tensorboard import SummaryWriter

        purge = self._done + 1 if (folder / FOLDER).exists() else None
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=purge)
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        self._text("config", f"```yaml\n{text}```")

    def log(self, report: StepReport) -> None:
        """One scalar per figure."""
        self._step = report.step
        for name, value in report.values.items():
            self._writer.add_scalar(name, value, report.step)
        self._writer.flush()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Adds the summary's figures and tables at the last step, and closes the file."""
        if self._writer is None:
            return
        for name, value in figures(summary).items():
            self._writer.add_scalar(name, value, self._step)
        for name, table in tables(summary).items():
            self._text(name, table.markdown())
        self._writer.close()

    def _text(self, name: str, text: str) -> None:
        self._writer.add_text(name, text, self._step)
        self._writer.flush()
