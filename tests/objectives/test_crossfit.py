"""alpha* from gradients: against sums over all traces, and what a same-trace plug-in would say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bvrank.objectives.crossfit import Phase, Running, Scale, figures, inner, phase
from tests.objectives.enumerable import ROWS, World, coverage, estimates


def drawn(*shape: int, seed: int = 0) -> Tensor:
    make = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=make, dtype=torch.float64)


@pytest.mark.parametrize("bias", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("phases", [1, 4])
def test_intervals_cover_alpha_at_the_reference(bias: float, phases: int) -> None:
    """200 repeats of `phases` phases of 16 rows with two traces of each answer."""
    world = World.of(1, bias=bias)
    found = estimates(world, traces=2, repeats=200, phases=phases, batch=16, groups=8, seed=5)
    assert 0.9 <= coverage(found, world.alpha(16)) <= 0.99


def test_the_reference_is_where_a_is_the_share_of_the_bias() -> None:
    """a = |b_e|^2 / (|b_e|^2 + tr S_t): the means over rows of all traces say so exactly."""
    bare, mu, trace, spread = World.of(2).moments()
    torch.testing.assert_close(trace, mu)
    square = (bare - mu).square().sum(-1)
    whole = float(square.mean() / (square.mean() + spread.mean()))
    assert World.of(2).alpha(1) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("batch", [4, 16, 64])
def test_numerator_and_denominator_are_unbiased(batch: int) -> None:
    """For steps of any size, from groups of two rows: within four standard errors of the mean."""
    world = World.of(3, bias=0.4)
    make = torch.Generator().manual_seed(0)
    rows = torch.randint(0, ROWS, (2000 * 4 * 2,), generator=make)
    made = [x.view(len(x), 2000, 4, 2, -1).mean(3) for x in world.gradients(2, rows, make)]
    found = [phase(*(x[:, r] for x in made), Scale(2 / batch), None) for r in range(2000)]
    bare, mu, trace, spread = world.moments()

    def exact(x: Tensor, y: Tensor) -> float:
        own, across = (x * y).sum(-1).mean(), x.mean(0) @ y.mean(0)
        return float(own / batch + (1 - 1 / batch) * across)

    n = torch.tensor([f.numerator for f in found])
    d = torch.tensor([f.denominator for f in found])
    right = exact(bare - mu, bare - trace), exact(bare - trace, bare - trace)
    for values, truth in ((n, right[0]), (d, right[1] + float(spread.mean()) / batch)):
        assert abs(float(values.mean()) - truth) < 4 * float(values.std()) / 2000**0.5


def test_the_same_trace_in_both_parts_would_take_noise_for_signal() -> None:
    world = World.of(1, bias=0.2)
    make = torch.Generator().manual_seed(1)
    rows = torch.randint(0, ROWS, (16 * 500,), generator=make)
    bare, trace, marginal = world.gradients(2, rows, make)
    whole = [x.view(len(x), 500, 16, -1).mean(2) for x in (bare, trace, marginal)]
    e, t, m = whole[0][0], whole[1].mean(0), whole[2].mean(0)
    plug_in = ((e - m) * (e - t)).sum() / (e - t).square().sum()
    assert float(plug_in) - world.alpha(16) > 0.1
    found = estimates(world, traces=2, repeats=100, phases=5, batch=16, groups=8, seed=2)
    mean = sum(f.alpha for f in found) / 100
    assert abs(mean - world.alpha(16)) < 0.03


def test_away_from_the_reference_more_traces_lie_nearer() -> None:
    """The bias of the S-trace marginal, not of cross-fitting: it falls with S."""
    world = World.of(1, away=2.0, bias=0.4)
    few, many = (
        sum(f.alpha for f in estimates(
            world, traces=s, repeats=200, phases=8, batch=16, groups=8, seed=3)) / 200
        for s in (2, 16)
    )  # fmt: skip
    assert few - world.alpha(16) > 0.02 > abs(many - world.alpha(16))


def test_leaving_a_group_out_is_to_compute_without_it() -> None:
    x, y, scale = drawn(2, 6, 5), drawn(2, 6, 5, seed=1), Scale(0.3, 0.5)
    left = inner(x, y, scale).without()
    squares = inner(x, x, scale, traced=True).without()
    for g in range(6):
        rest = [i for i in range(6) if i != g]
        assert left[g] == pytest.approx(float(inner(x[:, rest], y[:, rest], scale).value()))
        alone = inner(x[:, rest], x[:, rest], scale, traced=True).value()
        assert squares[g] == pytest.approx(float(alone))


@given(st.floats(0.05, 20))
def test_the_scale_of_the_loss_does_not_matter(by: float) -> None:
    parts = drawn(1, 6, 5), drawn(2, 6, 5, seed=1), drawn(2, 6, 5, seed=2)
    one = Running.after(None, phase(*parts, Scale(0.2), 50), 0.9, 6)
    other = Running.after(None, phase(*(by * p for p in parts), Scale(0.2), 50), 0.9, 6)
    assert other.alpha == pytest.approx(one.alpha)
    assert other.stderr == pytest.approx(one.stderr)


def test_a_projection_adds_to_the_error() -> None:
    parts = drawn(1, 6, 5), drawn(2, 6, 5, seed=1), drawn(2, 6, 5, seed=2)
    lossy, exact = (phase(*parts, Scale(0.2), d) for d in (10, None))
    assert lossy.nn > exact.nn and lossy.numerator == exact.numerator


def test_phases_are_averaged_evenly_and_then_forgotten() -> None:
    phases = [Phase(float(i), 1.0, 1.0, 0.0, 0.0) for i in range(30)]
    running: Running | None = None
    for number, new in enumerate(phases):
        running = Running.after(running, new, 0.9, 8)
        if number < 10:
            assert running.alpha == pytest.approx(number / 2)
            assert running.stderr == pytest.approx((number + 1) ** -0.5)
            assert running.freedom == pytest.approx(7 * (number + 1))
    assert running is not None and running.alpha > 18 and running.stderr > 0.2
    assert Running.of(running.kept()) == running and Running.of({}) is None


def test_without_a_denominator_there_is_no_alpha() -> None:
    running = Running.after(None, Phase(1.0, -0.1, 1.0, 0.0, 1.0), 0.9, 8)
    assert running.alpha != running.alpha and running.stderr != running.stderr


def test_figures_are_those_of_many_batches() -> None:
    """Norm, cosine and variances of a step of 8 rows, against the spread of 4,000 such steps."""
    world = World.of(4)
    make = torch.Generator().manual_seed(0)
    rows = torch.randint(0, ROWS, (4000 * 8,), generator=make)
    bare, trace, _ = (x.view(len(x), 4000, 8, -1) for x in world.gradients(2, rows, make))
    scales = {"full": Scale(1 / 8), "bare": Scale(1 / 8)}
    some = [figures({"full": trace[:, r], "bare": bare[:, r]}, scales) for r in range(500)]
    found = {k: sum(f[k] for f in some) / 500 for k in some[0]}
    steps = trace[0].mean(1)
    assert float(steps.square().sum(-1).mean()) ** 0.5 == pytest.approx(
        found["full/grad_norm"], 0.1
    )
    both = found["full/prompt_variance"] + found["full/trace_variance"]
    assert float(steps.var(0).sum()) == pytest.approx(both, rel=0.1)
    noise = float(world.moments()[3].mean()) / 8
    assert noise == pytest.approx(found["full/trace_variance"], rel=0.1)
    assert "bare/trace_variance" not in found and -1 < found["cosine"] < 1
