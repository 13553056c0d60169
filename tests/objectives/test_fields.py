"""The checks of fields that objectives share, and of what a mix takes."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest

from bvrank.errors import ConfigError
from bvrank.objectives.base import Preference, check_mixed
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.objectives.listnet import ListNet
from bvrank.objectives.marginal import Marginal
from bvrank.objectives.orpo import ORPO
from bvrank.objectives.sft import SFT
from bvrank.objectives.simpo import SimPO
from tests.objectives.loops import CASES

preferences = pytest.mark.parametrize(
    "name", [n for n, c in CASES.items() if isinstance(c.objective, Preference)]
)


@preferences
@pytest.mark.parametrize(("field", "value"), [
    ("beta", 0.0), ("beta", -1.0), ("beta", math.inf), ("sft_weight", -0.1),
    ("sft_weight", math.nan), ("view", "both"),
])  # fmt: skip
def test_a_field_out_of_range_is_named(name: str, field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(CASES[name].objective, **{field: value})
    assert caught.value.where == field


@pytest.mark.parametrize(("field", "value"), [
    ("pairs", "all"), ("reduce", "max"), ("weight", "ndcg"), ("ranks", "best"), ("ties", "mean"),
    ("k", 0), ("decay", -1.0),
])  # fmt: skip
def test_a_field_of_its_kind_out_of_range_is_named(field: str, value: Any) -> None:
    for case in CASES.values():
        if field in {f.name for f in fields(case.objective)}:
            with pytest.raises(ConfigError) as caught:
                replace(case.objective, **{field: value})
            assert caught.value.where == field


@preferences
def test_it_reads_its_view(name: str) -> None:
    objective = CASES[name].objective
    assert objective.views == ("full",) and replace(objective, view="bare").views == ("bare",)
    assert objective.candidates == 2


@pytest.mark.parametrize(("loss", "beta", "bare_beta", "where"), [
    (1.0, None, None, "loss"), (BVPO(), None, None, "loss"), (DPO(view="bare"), None, None,
     "loss.view"), (SFT("both"), None, None, "loss.view"), (SFT(), 0.1, None, "beta"),
    (SFT(), None, 0.1, "bare_beta"), (DPO(0.3), 0.2, None, "beta"), (DPO(), -1.0, None, "beta"),
    (DPO(), None, 0.0, "bare_beta"), (SimPO(3.0), 2.0, None, "beta"),
])  # fmt: skip
def test_what_cannot_be_mixed(loss: Any, beta: Any, bare_beta: Any, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_mixed(loss, beta, bare_beta)
    assert caught.value.where == where


@pytest.mark.parametrize(("loss", "beta", "bare_beta"), [
    (DPO(), 0.7, None), (DPO(0.7), 0.7, 0.2), (DPO(0.7), None, 0.2), (SFT(), None, None),
    (SimPO(), 3.0, None), (ORPO(), 0.5, 0.1), (ListNet(), 0.2, None), (Marginal(), None, None),
])  # fmt: skip
def test_what_can_be_mixed(loss: Any, beta: Any, bare_beta: Any) -> None:
    check_mixed(loss, beta, bare_beta)
