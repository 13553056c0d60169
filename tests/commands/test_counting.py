"""Of rows of one kind one says for all whether they count, unless their order says it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bvrank.commands.counting import counted, teaching
from bvrank.data.shelf import Shelf, Writer
from bvrank.objectives.irpo import IRPO
from bvrank.objectives.schedule import Schedule
from bvrank.records import Branch, Encoded, Outcome, Preferences, Segment
from bvrank.scoring.collate import Collator


def rows(count: int, items: int = 5) -> list[Encoded]:
    """Lists in an order of their own each; every third has nothing to prefer."""
    rng = np.random.default_rng(0)
    segments = tuple(Segment(min(k, 1) - 1, np.asarray([k], np.int32)) for k in range(items + 1))
    return [
        Encoded(f"l:{n}", segments, tuple(
            Branch("full", (k,), float(k == 1 and n % 3 > 0), int(rank), k)
            for k, rank in enumerate(rng.permutation(items) + 1, start=1)
        ))
        for n in range(count)
    ]  # fmt: skip


def shelf(folder: Path, given: list[Encoded]) -> Shelf:
    with Writer(folder) as writer:
        writer.add(given)
        writer.close()
    return Shelf(folder)


def by_the_row(given: list[Encoded], schedule: Schedule) -> list[bool]:
    """The slow oracle: each row on its own."""
    return [bool(teaching([row], schedule)[0]) for row in given]


@dataclass(frozen=True)
class FirstShown:
    """Counts a list when what is relevant was shown in front."""

    inner: Any = field(default_factory=IRPO)
    views: tuple[str, ...] = ("full",)

    def __call__(self, prefs: Preferences) -> Outcome:
        outcome: Outcome = self.inner(prefs)
        front = ((prefs.rank == 1) & (prefs.relevance > 0)).any(-1)
        return replace(outcome, count=outcome.count * front)


@pytest.mark.parametrize("objective", [IRPO(), IRPO(ranks="shown"), FirstShown()])
def test_it_is_what_each_row_says_for_itself(objective: Any, tmp_path: Path) -> None:
    given, schedule = rows(60), Schedule(objective, {})
    found = counted(shelf(tmp_path, given), schedule).tolist()
    assert found == by_the_row(given, schedule) and True in found and False in found


def test_work_does_not_grow_with_shuffled_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = Collator.labels

    def labels(self: Collator, examples: Any, views: Any) -> Preferences:
        seen.append(len(examples))
        return real(self, examples, views)

    monkeypatch.setattr(Collator, "labels", labels)
    counted(shelf(tmp_path, rows(300)), Schedule(IRPO(), {}))
    assert sum(seen) == 2 * 3  # two kinds, in three orders


def test_no_row_counts_in_no_row(tmp_path: Path) -> None:
    assert counted(shelf(tmp_path, []), Schedule(IRPO(), {})).shape == (0,)
