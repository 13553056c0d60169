"""A paper's arms, trained and evaluated small, beside its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bvrank.commands import reproduce
from bvrank.commands.build import build
from bvrank.commands.compose import composed, frozen
from bvrank.errors import ConfigError
from bvrank.evaluation.result import Result
from bvrank.statistics import difference, estimate
from tests.commands.fast import TINY

PAPERS = ("bvpo", "irpo")


def config(place: Path, paper: str, *words: str) -> dict[str, Any]:
    asked = [f"paper={paper}", f"outputs={place / 'out'}", f"store={place / 'store'}", *words]
    found = frozen(composed("reproduce", asked))
    found["paper"]["teach"] = list(TINY)
    found["paper"]["train"] += ["steps=2", "batch=2"]
    return found


def result(values: dict[str, float], name: str = "a@1") -> Result:
    return Result("t", 1, 1, "m", {}, {}, {name: values}, {}, ())


def paper(**values: Any) -> Any:
    node = frozen(composed("reproduce", ["paper=bvpo"]))["paper"]
    return build(node | values, "paper")


def test_lists_are_ranked_and_scored_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reproduce, "LISTS", {"train": 6, "test": 5})
    asked = config(tmp_path, "irpo")
    assert reproduce.main(asked) == 0
    first = capsys.readouterr().out
    assert "not comparable with the paper's" in first and "5 prompts, 2 seeds" in first
    assert "Student's t, by the scatter of prompts and of seeds" in first
    assert "ours: ndcg_exp@1" in first and "94.6" in first
    assert len(list((tmp_path / "out").glob("*-lists-s*"))) == 4
    monkeypatch.setattr("bvrank.commands.train.run", None, raising=False)
    assert reproduce.main(asked) == 0
    assert capsys.readouterr().out == first


def test_rows_are_estimates_over_prompts_and_seeds() -> None:
    said = {"p": {"one": 10.0, "two": None}, "q": {"one": 1.0, "two": 3.5}}
    told = paper(arms={"one": ["x"], "two": ["y"]}, measured=["a@1"], reported=said)
    one = [result({"k": 0.1, "l": 0.5, "m": 0.0}), result({"k": 0.3, "l": 0.6, "m": 0.2})]
    two = [result({"k": 0.2, "l": 0.9, "m": 0.1}), result({"k": 0.3, "l": 0.9, "m": 0.4})]
    lines = reproduce.rows(told, {"one": one, "two": two})
    assert lines[0] == ["paper: p", "10.0", "?", "?", "", ""]
    assert lines[1][:4] == ["paper: q", "1.0", "3.5", "+2.5"]
    a, b = (
        np.array([[0.1, 0.3], [0.5, 0.6], [0, 0.2]]),
        np.array([[0.2, 0.3], [0.9, 0.9], [0.1, 0.4]]),
    )
    d, e = difference(a, b), estimate(a)
    low, high = d.estimate.interval
    assert lines[2] == [
        "ours: a@1", f"{100 * e.value:.1f} [{100 * e.interval[0]:.1f}, {100 * e.interval[1]:.1f}]",
        lines[2][2], f"{100 * d.estimate.value:+.1f}", f"[{100 * low:+.1f}, {100 * high:+.1f}]",
        f"{d.p:.3f}",
    ]  # fmt: skip


def test_one_seed_says_nothing_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    told = paper(arms={"one": ["x"], "two": ["y"]}, measured=["a@1"], reported={})
    values = [result({"k": 0.1, "l": 0.5})]
    reproduce.show(told, {"one": values, "two": values})
    said = " ".join(capsys.readouterr().out.split())
    assert "2 prompts, 1 seed; intervals: over prompts alone: one seed says nothing" in said


def test_a_figure_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no figure 'b@1'.*There are a@1"):
        reproduce.cells([result({"k": 1.0})], "b@1")


@pytest.mark.parametrize("name", PAPERS)
def test_what_a_paper_asks_for_composes(name: str) -> None:
    node = frozen(composed("reproduce", [f"paper={name}"]))["paper"]
    built = build(node, "paper")
    assert all(set(values) == set(built.arms) for values in built.reported.values())
    for words in filter(None, built.arms.values()):
        frozen(composed("train", ["model=tiny", *built.teach, *built.train, *words]))
    frozen(composed("evaluate", ["model=tiny", *built.teach, *built.evaluate]))


def test_lists_hold_the_sum_and_its_neighbours_once(tmp_path: Path) -> None:
    reproduce.write_lists(tmp_path)
    seen: dict[str, set[str]] = {}
    for split, count in reproduce.LISTS.items():
        rows = [json.loads(line) for line in (tmp_path / f"{split}.jsonl").read_text().splitlines()]
        assert len(rows) == count
        seen[split] = {row["prompt"] for row in rows}
        for row in rows:
            answer = sum(map(int, row["prompt"].removesuffix("=?").split("+")))
            graded = dict(zip(row["candidates"], row["relevance"], strict=True))
            assert len(graded) == 10 and graded[str(answer)] == 2
            ones = {int(c) for c, y in graded.items() if y == 1}
            assert ones == {abs(answer - 1), answer + 1}
    assert not seen["train"] & seen["test"]


@pytest.mark.parametrize(
    ("word", "where"), [("seeds=[]", "seeds"), ("seeds=[0,0]", "seeds"), ("tier=full", "tier"),
                        ("paper.measured=[]", "measured"), ("paper.arms.bvpo=null", "arms")],
)  # fmt: skip
def test_settings_that_cannot_be(word: str, where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        reproduce.main(frozen(composed("reproduce", ["paper=bvpo", word])))
