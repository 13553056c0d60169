"""task=preference: laws of its figures, refusals, and going on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bvrank.data.pairs import Pairs
from bvrank.errors import ConfigError, DataError
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.preference import Preference
from bvrank.evaluation.result import Measured, figures
from bvrank.records import FULL, Candidate, Example, Message, Refused
from bvrank.sampling.local import Transformers
from tests.commands.fast import pair_rows, write
from tests.evaluation.test_likelihood import Weights, examples, plainly, trees

DRAWS = Transformers(1.0, 1.0, 4, 16)


@dataclass(frozen=True)
class Source:
    """Examples, and rows that are none."""

    found: Any = field(default_factory=lambda: examples(3))

    def rows(self) -> Iterator[Example | Refused]:
        yield from self.found
        yield Refused("p:9", "missing", "has no chosen")
        yield Refused("p:10", "other_view", "has no view")


def measured(folder: Path, task: Preference, policy: Any = None, **desk: Any) -> Measured:
    folder.mkdir(exist_ok=True)
    modes = desk.pop("modes", ("thinking", "nothinking"))
    sampler = desk.pop("sampler", DRAWS)
    return task.measure(Desk(folder, modes, 0, sampler, policy or Weights(), **desk))


def test_a_policy_that_is_its_reference_has_not_moved(tmp_path: Path) -> None:
    task = Preference("t", Source(), reference=Weights(), n=2)
    found = {name: {*cells.values()} for name, cells in measured(tmp_path, task).cells.items()}
    for view in ("full", "bare"):
        assert found[f"{view}/accuracy"] == {0.5} and found[f"{view}/margin"] == {0.0}
        assert found[f"{view}/brier"] == {0.25} and found[f"{view}/calibration_error"] == {0.0}
        assert found[f"{view}/chosen_displacement"] == {0.0}
        assert found[f"{view}/rejected_displacement"] == {0.0}
    assert found["thinking/kl"] == found["nothinking/kl"] == {0.0}
    assert found["accuracy_drop"] == {0.0}


def test_figures_are_of_plain_log_probs(tmp_path: Path) -> None:
    policy, other = Weights(0), Weights(1)
    found = measured(tmp_path, Preference("t", Source(), other, n=0), policy).cells
    assert next(iter(found)) == "full/accuracy"
    for tree in trees().values():
        own, before = plainly(policy, tree), plainly(other, tree)
        for at, view in ((0, "full"), (2, "bare")):
            chosen, rejected = (own[at + i] - before[at + i] for i in (0, 1))
            names = ("accuracy", "margin", "chosen_displacement", "rejected_displacement")
            values = {name: found[f"{view}/{name}"][tree.where] for name in names}
            assert values == pytest.approx({
                "accuracy": float(chosen > rejected), "margin": chosen - rejected,
                "chosen_displacement": chosen, "rejected_displacement": rejected,
            }, abs=2e-4)  # fmt: skip
        gap = found["full/accuracy"][tree.where] - found["bare/accuracy"][tree.where]
        assert found["accuracy_drop"][tree.where] == gap


def test_without_a_reference_log_probs_alone_decide(tmp_path: Path) -> None:
    policy = Weights()
    found = measured(tmp_path, Preference("t", Source(), n=1), policy)
    for tree in trees().values():
        own = plainly(policy, tree)
        assert found.cells["full/margin"][tree.where] == pytest.approx(own[0] - own[1], abs=2e-4)
    assert not any("displacement" in name or name.endswith("/kl") for name in found.cells)
    assert any("no reference" in note for note in found.notes)


def test_what_is_left_out_is_counted_and_told(tmp_path: Path) -> None:
    long = Candidate("9" * 300, "x", FULL, "thinking", 1.0)
    odd = Example("p:5", (Message("user", "?"),), (long, Candidate("1", "", FULL, "thinking")))
    task = Preference("t", Source([*examples(2), odd]), max_length=200, n=0)
    found = measured(tmp_path, task)
    assert found.counts == {"missing": 1, "too_long": 1}
    assert "2 rows or views are left out; first p:9" in found.notes[0]
    assert list(found.cells["full/accuracy"]) == ["p:0", "p:1"]


def test_the_limit_is_of_rows(tmp_path: Path) -> None:
    found = measured(tmp_path, Preference("t", Source(), n=1), limit=2)
    assert list(found.cells["bare/accuracy"]) == ["p:0", "p:1"] and not found.counts["missing"]


def test_no_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no pair that can be scored; first p:9: has no chosen"):
        measured(tmp_path, Preference("t", Source([]), n=0))


def test_a_second_call_computes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, policy = Preference("t", Source(), Weights(1), n=2), Weights()
    first = measured(tmp_path, task, policy)
    policy.open = task.reference.open = False
    monkeypatch.setattr("bvrank.sampling.local.sampled", None)
    again = measured(tmp_path, task, policy)
    assert again.cells == first.cells and figures(again) == figures(first)


def test_the_calibration_error_has_an_interval_of_its_own(tmp_path: Path) -> None:
    found = measured(tmp_path, Preference("t", Source(), n=0))
    value = figures(found)["full/calibration_error"].value
    cells = [*found.cells["full/calibration_error"].values()]
    assert value == pytest.approx(sum(cells) / 3)
    assert set(found.intervals) == {"full/calibration_error", "bare/calibration_error"}


def test_one_view_has_no_drop(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", pair_rows(4, bare=False))
    found = measured(tmp_path / "out", Preference("t", Pairs(str(path)), n=0))
    assert {name.partition("/")[0] for name in found.cells} == {"full"}
    rows = list(found.samples)
    assert len(rows) == 4 and rows[0]["view"] == "full" and "margin" in rows[0]


@pytest.mark.parametrize(
    ("sampler", "where"),
    [(Transformers(0.6, 1.0, 4), "sampler.temperature"),
     (Transformers(1.0, 0.9, 4), "sampler.top_p"), (SimpleNamespace(needs_model=False), "sampler")],
)  # fmt: skip
def test_draws_from_another_distribution_are_refused(
    tmp_path: Path, sampler: Any, where: str
) -> None:
    with pytest.raises(ConfigError) as stop:
        measured(tmp_path, Preference("t", Source()), sampler=sampler)
    assert stop.value.where == where and "task.n=0" in (stop.value.repair or "")
    assert not list(tmp_path.iterdir())
    assert measured(tmp_path, Preference("t", Source(), n=0), sampler=sampler).cells


@pytest.mark.parametrize(
    ("values", "where"),
    [({"beta": 0.0}, "beta"), ({"beta": float("inf")}, "beta"), ({"n": -1}, "n"),
     ({"prompts": 0}, "prompts"), ({"max_length": 1}, "max_length"), ({"pairs": 1}, "pairs")],
)  # fmt: skip
def test_settings_that_cannot_be(values: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as stop:
        Preference("t", **({"pairs": Source()} | values))
    assert stop.value.where == where
