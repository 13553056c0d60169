"""The official files of Arena-Hard, of 2024 and later."""

from __future__ import annotations

import gzip
import json
import math
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bvrank.errors import DataError
from bvrank.evaluation.boards import (
    LABELS,
    Answer,
    Judgment,
    Questions,
    answer_row,
    answers,
    difference,
    judgments,
)
from bvrank.evaluation.style import style_of
from bvrank.records import Message, Refused
from bvrank.sampling.responses import Prompt
from tests.evaluation.judges import save

REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent")) / "alignment/arena_hard_v0.1"


def test_questions_of_both_forms(tmp_path: Path) -> None:
    rows = [{"uid": "a", "category": "x", "prompt": "A?"}, {"uid": "b", "prompt": " "},
            {"question_id": "c", "category": "y", "turns": [{"content": "C?"}]},
            {"uid": "a", "category": "x", "prompt": "again"}, {"prompt": "no uid"}]  # fmt: skip
    path = str(save(tmp_path / "q.jsonl", rows))
    found = Questions(path)
    prompts = [p for p in found.prompts() if isinstance(p, Prompt)]
    assert [(p.where, p.messages[-1].content) for p in prompts] == [("a", "A?"), ("c", "C?")]
    reasons = [r.reason for r in found.prompts() if isinstance(r, Refused)]
    assert reasons == ["no_text", "duplicate_prompt", "no_uid"]
    assert [*Questions(path, ["y"]).asked] == ["c"]


def test_answers_of_both_forms(tmp_path: Path) -> None:
    new = answer_row("a", (Message("user", "A?"),), "own", "text", "id", style_of("text"), 1.0)
    old = {"question_id": "b", "model_id": "old", "choices": [{"turns": [{"content": "B"}]}],
           "conv_metadata": {"token_len": 3}}  # fmt: skip
    plain = {"uid": "c", "model": "m", "messages": [{"role": "assistant", "content": "C"}]}
    found = {}
    for row in (new, old, plain):
        found |= answers(str(save(tmp_path / "a.jsonl", [row])))
    assert {k: (a.model, a.text) for k, a in found.items()} == {
        "a": ("own", "text"), "b": ("old", "B"), "c": ("m", "C"),
    }  # fmt: skip
    assert found["b"].metadata == {"token_len": 3} and found["c"].metadata is None


@pytest.mark.parametrize("row", [{"uid": "a"}, {"uid": "a", "messages": []}, {"messages": "x"},
                                 {"uid": "a", "messages": [{"content": None}]}])  # fmt: skip
def test_what_is_no_answer(row: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        answers(str(save(tmp_path / "a.jsonl", [row])))
    assert error.value.where == "a.jsonl:1"


@pytest.mark.parametrize(
    ("first", "second", "outcomes"),
    [
        ("A>B", "A>B", (1, 0)), ("B>A", "A>B", (1, 1)), ("A=B", "B=A", (0.5, 0.5)),
        ("B>>A", "A>>B", (1,) * 6), ("A>>B", "B>>A", (0,) * 6), ("A>>B", "A=B", (0.5, 0, 0, 0)),
        ("A<<B", "A<B", (0, 1, 1, 1)), ("B<A", "B<<A", (1, 1, 1, 0)),
    ],
)  # fmt: skip
def test_labels_count_for_the_model(first: str, second: str, outcomes: Any) -> None:
    """The first game shows the baseline as A, the second the model; strong ones count thrice."""
    assert Judgment("a", "x", (first, second)).outcomes("v2") == outcomes


def test_a_question_without_both_verdicts_has_no_outcome() -> None:
    assert Judgment("a", "x", ("A>B", None)).outcomes("v2") is None
    assert Judgment("a", "x", (None, "A>B")).outcomes("v2") is None
    assert {len(scores) for scores in LABELS.values()} == {1, 3}


@pytest.mark.parametrize(
    ("first", "second", "outcomes"),
    [
        ("A>B", None, (0,)), (None, "A>>B", (1, 1, 1)), ("B>>A", "A=B", (0.5, 1, 1, 1)),
        ("A<B", "A>B", (1,)), ("A?B", None, None), (None, None, None),
    ],
)  # fmt: skip
def test_the_first_edition_leaves_out_single_games(first: Any, second: Any, outcomes: Any) -> None:
    found = Judgment("a", "x", (first, second))
    assert found.outcomes("v0.1") == outcomes
    assert found.silent("v0.1") == sum(s in (None, "A<B", "A?B") for s in (first, second))


def test_judgments(tmp_path: Path) -> None:
    rows = [{"uid": "a", "category": "x", "games": [{"score": "A>B"}, {"score": None}]},
            {"question_id": "b", "games": [None, {"score": "A=B", "judgment": "..."}]}]  # fmt: skip
    path = str(save(tmp_path / "j.jsonl", rows))
    assert judgments(path, "v2") == [
        Judgment("a", "x", ("A>B", None)), Judgment("b", "", (None, "A=B")),
    ]  # fmt: skip
    assert len(judgments(path, "v2", 1)) == 1
    for games in (None, [{"score": "A>B"}], [{"score": "A"}, {"score": "A>B"}]):
        with pytest.raises(DataError):
            judgments(str(save(tmp_path / "k.jsonl", [{"uid": "a", "games": games}])), "v2")
    assert judgments(str(tmp_path / "k.jsonl"), "v0.1")[0].labels == ("A", "A>B")


@pytest.mark.parametrize("edition", ["v0.1", "v2"])
@pytest.mark.parametrize("score", [["A>B"], {"label": "A>B"}, 1, True])
def test_a_score_that_is_no_text_is_told(edition: Any, score: Any, tmp_path: Path) -> None:
    rows = [{"uid": "a", "games": [{"score": "A>B"}, {"score": score}]}]
    with pytest.raises(DataError, match="is no verdict") as error:
        judgments(str(save(tmp_path / "j.jsonl", rows)), edition)
    assert error.value.where == "j.jsonl:1"


@pytest.mark.parametrize(
    "odd", [*({"token_len": value} for value in ("x", 10**400, -1, math.nan)),
            {"header_count": "h"}, {"list_count": {"ordered": None}}],
)  # fmt: skip
def test_style_of_another_form_is_counted_here(odd: dict[str, Any]) -> None:
    own, base = Answer("m", "# a\n\nb"), Answer("b", "some more words")
    whole = style_of("x " * 30)
    strange = replace(own, metadata={**whole, **odd})
    assert difference(strange, replace(base, metadata=whole)) == difference(own, base)


def test_several_models_are_never_one(tmp_path: Path) -> None:
    """Two models of one file are not twice as many questions, nor is one answer the other's."""
    games = [{"score": "A>B"}, {"score": "B>A"}]
    told = [{"uid": f"u{i}", "model": m, "games": games} for m in ("a", "b") for i in range(2)]
    said = [{"uid": r["uid"], "model": r["model"], "messages": [{"content": r["model"]}]}
            for r in told]  # fmt: skip
    paths = str(save(tmp_path / "j.jsonl", told)), str(save(tmp_path / "a.jsonl", said))
    reads = partial(judgments, edition="v2"), answers
    for read, path in zip(reads, paths, strict=True):
        with pytest.raises(DataError, match="2 models: a, b"):
            read(path)
    assert [j.uid for j in judgments(paths[0], "v2", 1, "b")] == ["u0"]
    assert {a.text for a in answers(paths[1], "b").values()} == {"b"}
    for read, rows in zip(reads, (told, said), strict=True):
        path = str(save(tmp_path / "t.jsonl", [rows[0], rows[0]]))
        with pytest.raises(DataError, match="'u0' twice"):
            read(path)  # type: ignore[operator]
    assert answers(str(save(tmp_path / "o.jsonl", said[:2])), "renamed").keys() == {"u0", "u1"}


@pytest.mark.skipif(not REAL.is_dir(), reason="needs BVRANK_REAL_DATA")
def test_the_official_files() -> None:
    questions = Questions(str(REAL / "question_v0.1.jsonl"))
    found = answers(str(REAL / "gpt-3.5-turbo-0125.jsonl.gz"))
    assert len(list(questions.prompts())) == 500 and {*found} == {*questions.asked}
    assert {a.category for a in questions.asked.values()} == {"arena-hard-v0.1"}
    with gzip.open(REAL / "gpt-3.5-turbo-0125.jsonl.gz", "rt", encoding="utf-8") as file:
        official = json.loads(file.readline())
    asked = (Message("user", questions.asked[official["uid"]].prompt),)
    own = answer_row(official["uid"], asked, official["model"], found[official["uid"]].text,
                     official["ans_id"], {}, official["tstamp"])  # fmt: skip
    own.pop("metadata")
    assert own == {**official, "messages": own["messages"]}
    assert [dict(sorted(m.items())) for m in own["messages"]] == [
        dict(sorted(m.items())) for m in official["messages"]
    ]
