"""The length-controlled win rate: closed forms, the official procedure, planted coefficients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bvrank.errors import DataError
from bvrank.evaluation import lengths
from bvrank.evaluation.lengths import Gamed, controlled
from bvrank.evaluation.logistic import sigmoid
from bvrank.statistics import unseen

N = 120
STEPS = np.arange(N)
WINS = np.clip(0.65 + 0.5 * np.sin(1.7 * STEPS + 0.3) * np.cos(0.1 * STEPS), 0, 1)
RAW = 0.5 + 0.5 * np.sin(1.7 * STEPS + 0.3) * np.cos(0.1 * STEPS)
LONGER = np.round(800 * np.cos(2.3 * STEPS) + 300 * (1 - 2 * RAW) - 150)
DIFFICULTY = np.sin(0.9 * STEPS) * 2
G = np.arange(60)
ROWS = np.stack([0.5 + 0.4 * np.sin(3.1 * G), np.cos(1.3 * G) * 1.5, np.sin(0.9 * (G % 30)) * 2], 1)
GAMED = Gamed(dict(enumerate(DIFFICULTY.tolist())), ROWS)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a penalty to speak of."""
    monkeypatch.setattr(lengths, "CS", np.array([1e9]))


def test_it_is_what_the_official_procedure_gives() -> None:
    """scikit-learn's LogisticRegressionCV (l1, liblinear, tol=1e-12) on the same folds."""
    alone, beside = controlled(WINS, LONGER), controlled(WINS, LONGER, range(N), GAMED)
    assert alone.value == pytest.approx(0.6378649036515166, abs=1e-9)
    assert alone.coefficients == pytest.approx([-0.3464223446107432, 0.5661091746212166], abs=1e-8)
    assert beside.value == pytest.approx(0.61942097004302, abs=1e-9)
    assert beside.coefficients == pytest.approx(
        [-0.14366560207415957, 0.0, 0.4870912663631765], abs=1e-8
    )


@pytest.mark.parametrize("longer", [np.zeros(N), np.full(N, 300.0)])
def test_where_lengths_do_not_differ_it_is_the_win_rate(free: None, longer: np.ndarray) -> None:
    found = controlled(WINS, longer)
    assert found.value == pytest.approx(WINS.mean(), abs=1e-7)
    assert found.cells == pytest.approx(WINS, abs=1e-6)


def test_a_length_without_effect_changes_nothing(free: None) -> None:
    """Each pair of rows has the same preference at opposite lengths."""
    wins, longer = np.repeat(WINS, 2), np.tile([500.0, -500.0], N)
    assert controlled(wins, longer).value == pytest.approx(WINS.mean(), abs=1e-7)


def test_sides_can_be_exchanged() -> None:
    one, other = controlled(WINS, LONGER), controlled(1 - WINS, -LONGER)
    assert one.value + other.value == pytest.approx(1, abs=1e-9)
    assert one.stderr == pytest.approx(other.stderr, rel=1e-6)


def test_planted_coefficients_are_found(free: None) -> None:
    x = np.stack([np.tanh(LONGER / LONGER.std(ddof=1)), np.ones(N)], 1)
    found = controlled(sigmoid(x @ np.array([-1.2, 0.4])), LONGER)
    assert found.coefficients == pytest.approx([-1.2, 0.4], abs=1e-6)
    assert found.value == pytest.approx(1 / (1 + np.exp(-0.4)), abs=1e-7)


def test_longer_answers_that_win_by_length_are_worth_less(free: None) -> None:
    """A model that is always longer than the baseline, and preferred for it."""
    longer = -np.abs(LONGER) - 10
    x = np.stack([np.tanh(longer / longer.std(ddof=1)), np.ones(N)], 1)
    wins = sigmoid(x @ np.array([-2.0, -0.5]))
    assert wins.mean() > 0.6 and controlled(wins, longer).value == pytest.approx(0.3775, abs=1e-4)


def test_difficulty_counts_in_the_mean(free: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "GAMED", 0.0)
    x = np.stack([np.tanh(LONGER / LONGER.std(ddof=1)), DIFFICULTY, np.ones(N)], 1)
    found = controlled(sigmoid(x @ np.array([-1.2, 0.9, 0.4])), LONGER, range(N), GAMED)
    assert found.value == pytest.approx(sigmoid(0.9 * DIFFICULTY + 0.4).mean(), abs=1e-7)


def test_cells_have_its_mean_and_its_error() -> None:
    for found in (controlled(WINS, LONGER), controlled(WINS, LONGER, range(N), GAMED)):
        assert found.cells.mean() == pytest.approx(found.value, abs=1e-12)
        assert found.cells.std(ddof=1) / N**0.5 == pytest.approx(found.stderr, rel=0.1)
        assert found.interval[0] < found.value < found.interval[1]


def test_a_penalty_that_leaves_nothing_does_not_feign_certainty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lengths, "CS", np.array([1e-4]))
    found = controlled(WINS, LONGER)
    assert found.value == 0.5 and not found.coefficients.any()
    assert found.stderr == pytest.approx(WINS.std() / N**0.5, rel=0.5)


@pytest.mark.parametrize("gamed", [None, GAMED])
@pytest.mark.parametrize("won", [0.0, 0.5, 1.0])
def test_all_alike_is_no_certainty(won: float, gamed: Gamed | None) -> None:
    """20 of 20 say of others what they say of any share: 0.025^(1/20) = 0.832 and more."""
    found = controlled(np.full(20, won), LONGER[:20], range(20), gamed)
    wanted = unseen(found.value, 20, (0, 1))
    assert found.interval == pytest.approx(wanted) and wanted[1] - wanted[0] > 0.16


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_few_instructions_are_enough_for_a_figure(n: int) -> None:
    found = controlled(WINS[:n], LONGER[:n])
    assert 0 <= found.value <= 1 and len(found.cells) == n
    assert np.isnan(found.stderr) == (n == 1)


def test_the_official_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "df_gamed.csv"
    path.write_text("model,preference,index,std_delta_len,instruction_difficulty,"
                    "not_gamed_baseline\nconcise,0.25,0,1.5,-0.5,False\nverbose,0.75,0,-1.5,-0.5,"
                    "False\nconcise,0.5,1,0.5,2.0,False\nverbose,,1,0.5,2.0,False\n")  # fmt: skip
    found = Gamed.read(str(path))
    assert found.difficulty == {0: -0.5, 1: 2.0}
    assert found.rows.tolist() == [[0.25, 1.5, -0.5], [0.75, -1.5, -0.5], [0.5, 0.5, 2.0]]
    with pytest.raises(DataError, match="instruction 2"):
        controlled(WINS[:3], LONGER[:3], [0, 1, 2], found)
    path.write_text("index,preference\n0,0.5\n")
    with pytest.raises(DataError, match="std_delta_len"):
        Gamed.read(str(path))
