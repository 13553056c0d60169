"""Style is counted as the official code counts it, and controlled for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bvrank.evaluation.style import Battles, counted, relative, score, style_of
from bvrank.statistics import estimate

TEXT = """# Head
some **bold** and __more__ text
## Second
1. one
 2. two
- three
* four
+ five
```
# no header
- no item **no bold**
```
#no header
####### none
"""


def test_style_is_counted_outside_of_code() -> None:
    found = style_of(TEXT)
    assert found["header_count"] == {"h1": 1, "h2": 1, "h3": 0, "h4": 0, "h5": 0, "h6": 0}
    assert found["list_count"] == {"ordered": 2, "unordered": 3}
    assert found["bold_count"] == {"**": 1, "__": 1}
    assert style_of("two words, and 1 sign")["token_len"] == 6
    assert counted({**found, "token_len": 7}) == (7.0, 2.0, 5.0, 2.0)
    assert counted({"token_len": 7, "header_count": 2, "list_count": 5, "bold_count": 2})[1:] == (
        2.0, 5.0, 2.0,
    )  # fmt: skip


def test_differences_of_style() -> None:
    found = relative((30.0, 3.0, 0.0, 31.0), (10.0, 0.0, 11.0, 11.0))
    dense = [3 / 31, 0.0, 1.0], [0.0, 1.0, 1.0]
    assert found == pytest.approx(
        [0.5, *((a - b) / (a + b + 1) for a, b in zip(*dense, strict=True))]
    )
    assert relative((0.0, 0, 0, 0), (0.0, 0, 0, 0)) == (0.0, 0.0, 0.0, 0.0)


def test_a_score_by_hand() -> None:
    """Strong verdicts count three times: (1 + 0.5 + 3 * 1 + 0) / (2 + 4)."""
    found = score([Battles((1.0, 0.5)), Battles((1.0, 1.0, 1.0, 0.0))], styled=False)
    assert found.value == pytest.approx(4.5 / 6)
    assert found.cells.mean() == pytest.approx(found.value)


def battles(n: int = 80, seed: int = 0) -> list[Battles]:
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        style = generator.normal(0.3, [0.4, 0.05, 0.1, 0.08])
        p = 1 / (1 + math.exp(-(-0.4 + 2 * style[0])))
        outcomes: list[float] = []
        for _ in range(2):
            strong = generator.uniform() < 0.4
            outcomes += [float(generator.uniform() < p)] * (3 if strong else 1)
        found.append(Battles(tuple(outcomes), tuple(style)))
    return found


def brute(found: list[Battles]) -> float:
    """Bradley-Terry over every single battle, as the official code fits it: a column for the model
    and one for the baseline, style in units of its deviation, by gradient descent."""
    rows = [(b.style, o) for b in found for o in b.outcomes]
    style = torch.tensor([s for s, _ in rows], dtype=torch.float64)
    y = torch.tensor([o for _, o in rows], dtype=torch.float64)
    ones = torch.ones(len(rows), 1, dtype=torch.float64)
    x = torch.cat([ones, -ones, style / style.std(0)], dim=1)
    b = torch.full((6,), 0.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([b], max_iter=1000, tolerance_grad=1e-11, tolerance_change=1e-15,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(x @ b, y, reduction="sum")
        value.backward()
        return value

    optimizer.step(loss)
    model, baseline = b.detach()[:2].exp()
    return float(model / (model + baseline))


def test_control_is_what_brute_force_finds() -> None:
    found = battles()
    assert score(found, styled=True).value == pytest.approx(brute(found), abs=1e-6)


def test_without_features_brute_force_finds_the_mean() -> None:
    """Bradley-Terry with one opponent is the mean: no other formula is needed."""
    plain = [Battles(b.outcomes, (0.0,) * 4) for b in battles()]
    outcomes = [o for b in plain for o in b.outcomes]
    assert score(plain, styled=False).value == pytest.approx(np.mean(outcomes))
    assert score(plain, styled=True).value == pytest.approx(np.mean(outcomes), abs=1e-7)


def test_answers_that_are_not_there_lose_by_their_share() -> None:
    """They take nothing from the others, and style is not to blame for them."""
    judged = battles(90)
    lost = [Battles((0.0, 0.0), None)] * 10
    weight = sum(len(b.outcomes) for b in judged)
    for styled in (False, True):
        alone, found = score(judged, styled), score([*judged, *lost], styled)
        assert found.value == pytest.approx(alone.value * weight / (weight + 20))
        assert found.cells.mean() == pytest.approx(found.value)
        assert found.cells.std(ddof=1) / 10 == pytest.approx(found.stderr, rel=0.3)
    assert score(lost, True).value == score(lost, False).value == 0.0


def test_longer_answers_that_win_by_length_are_worth_less() -> None:
    found = battles(400)
    plain, styled = score(found, styled=False), score(found, styled=True)
    truth = 1 / (1 + math.exp(0.4))
    assert plain.value > 0.5 and styled.interval[0] < truth < styled.interval[1]


@pytest.mark.parametrize("styled", [False, True])
def test_cells_have_its_mean_and_its_error(styled: bool) -> None:
    found = score(battles(400), styled)
    assert found.cells.mean() == pytest.approx(found.value)
    assert found.cells.std(ddof=1) / 400**0.5 == pytest.approx(found.stderr, rel=0.15)
    assert found.interval[0] < found.value < found.interval[1]


def test_battles_of_a_question_are_resampled_together() -> None:
    """Both games always agree: n questions are not 2 n battles."""
    twice = [Battles((float(i % 2),) * 2) for i in range(100)]
    assert score(twice, styled=False).stderr == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("styled", [False, True])
@pytest.mark.parametrize("won", [0.0, 0.5, 1.0])
def test_all_alike_is_no_certainty(styled: bool, won: float) -> None:
    """The interval of n such questions, as that of a mean of them."""
    found = score([Battles((won, won), (0.1 * i, 0, 0, 0)) for i in range(5)], styled)
    wanted = estimate(np.full(5, won), bounds=(0, 1)).interval
    assert found.interval == pytest.approx(wanted, abs=1e-4)
    assert wanted == pytest.approx({0.0: (0, 0.5218), 0.5: (0.2391, 0.7609), 1.0: (0.4782, 1)}[won],
                                   abs=1e-4)  # fmt: skip


def test_all_won_is_one() -> None:
    assert score([Battles((1.0, 1.0))] * 3, styled=False).value == 1.0
    assert score([Battles((1.0,), (0.1, 0, 0, 0)), Battles((1.0,), (0.2, 0, 0, 0))], True).value > (
        0.99
    )
