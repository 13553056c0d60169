"""How often alpha is estimated, unless that is set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import train
from bvrank.commands.probing import COST, LEAST, interval, reads_one_pair
from bvrank.engines.probing import Auto, Probe, _clipped
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.objectives.irpo import IRPO
from bvrank.objectives.marginal import Marginal
from bvrank.scoring.scorer import Scorer
from tests.commands.fast import config, go, metrics, on_traces


def probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *words: str, traces: int) -> Probe:
    """The measurement of a run on rows with so many traces of each answer."""
    seen: list[Probe] = []
    asked = Probe.__call__

    def keep(self: Probe, *args: Any) -> Any:
        seen.append(self)
        return asked(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Probe, "__call__", keep)
        go(on_traces(tmp_path, "objective.alpha=auto", "steps=8", *words, traces=traces,
                     count=16))  # fmt: skip
    return seen[0]


@pytest.mark.parametrize(("batch", "traces"), [(16, 2), (16, 8), (2, 2)])
def test_estimates_take_few_of_the_tokens(
    batch: int, traces: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted as they pass: those of one estimate against those of the steps up to the next."""
    passed = [0]
    forward = Scorer.forward

    def counted(self: Scorer, batch: Any) -> Any:
        passed[0] += batch.tokens if self.training or probing[0] else 0
        return forward(self, batch)

    probing = [False]
    probe = probed(tmp_path, monkeypatch, f"batch={batch}", traces=traces)
    every = probe.auto.every if probe.auto else 0
    monkeypatch.setattr(Scorer, "forward", counted)
    words = (f"batch={batch}", "steps=8", "name=counted", "auto.every=9")
    asked = Probe.__call__

    def alone(self: Probe, number: int, *rest: Any) -> Any:
        probing[0], before = True, passed[0]
        found = asked(self, number, *rest)
        told.append(passed[0] - before)
        probing[0] = False
        return found

    told: list[int] = []
    monkeypatch.setattr(Probe, "__call__", alone)
    train.main(on_traces(tmp_path, "objective.alpha=auto", *words, traces=traces, count=16))
    measured, step = told[0], (passed[0] - sum(told)) / 8
    backwards = 5 / 3 if traces > 3 else 1  # of the marginal's loss, for most of the tokens
    assert every == LEAST or measured <= COST * 1.05 * every * step
    assert every == LEAST or measured * backwards >= COST * 0.9 * (every - 1) * step


def test_more_traces_or_a_smaller_batch_are_measured_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [probed(tmp_path / str(n), monkeypatch, f"batch={batch}", traces=traces)
             for n, (batch, traces) in enumerate([(16, 2), (16, 8), (2, 8)])
             if not (tmp_path / str(n)).mkdir()]  # fmt: skip
    everies = [p.auto.every for p in found if p.auto]
    assert LEAST <= everies[0] < everies[1] < everies[2]
    assert everies[1] == interval(found[1].halves, BVPO(alpha="auto"), 16)


@pytest.mark.parametrize(
    ("objective", "one"),
    [(DPO(), True), (BVPO(), True), (DPO(pairs="whole_list"), False), (DPO(pairs="random"), False),
     (BVPO(loss=DPO(pairs="whole_list")), False), (Marginal(), False), (IRPO(), False)],
)  # fmt: skip
def test_what_reads_one_pair_alone(objective: Any, one: bool) -> None:
    assert reads_one_pair(objective, objective.views) is one


def test_what_an_objective_of_somebody_else_reads_is_not_known() -> None:
    class Centred(DPO):
        def scores(self, prefs: Any) -> Any:
            scores = super().scores(prefs)
            return scores - scores.mean(-1, keepdim=True)

    assert not reads_one_pair(Centred(), ("full",))


def test_what_is_not_known_is_clipped_as_well() -> None:
    auto = Auto(30, 0.9, 0.7, 0.9)
    assert [_clipped(a, auto) for a in (math.nan, -3.0, 0.8, 2.0)] == [0.7, 0.7, 0.8, 0.9]


def test_any_seed_that_trains_is_measured(tmp_path: Path) -> None:
    words = ("objective.alpha=auto", "seed=20000000000000", "probe.gradients.dimension=99",
             "probe.gradients.groups=4")  # fmt: skip
    assert metrics(go(on_traces(tmp_path, *words)))[0]["probe/full/grad_norm"] > 0
    assert config(tmp_path, *words)["seed"] == 20000000000000
