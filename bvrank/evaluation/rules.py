"""By whose answers and in which words a category of Arena-Hard is judged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bvrank.errors import ConfigError
from bvrank.evaluation.boards import Answer, answers
from bvrank.evaluation.contest import wording


@dataclass(frozen=True)
class Rules:
    """Of a category: the answers of the baseline, and the judge's system prompt (`system_file`: a
    file with it)."""

    baseline_path: str | None
    system: str
    system_file: str | None = None

    @property
    def words(self) -> str:
        """The system prompt."""
        return (
            self.system
            if self.system_file is None
            else wording(self.system_file, "task.rules.system_file").strip()
        )

    @cached_property
    def baseline(self) -> dict[str, Answer]:
        """By uid. ConfigError where no file is named."""
        if self.baseline_path is None:
            raise ConfigError("names no file with the answers of the baseline",
                              where="task.rules.baseline_path")  # fmt: skip
        return answers(self.baseline_path)
