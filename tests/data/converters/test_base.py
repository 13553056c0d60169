from __future__ import annotations

from pathlib import Path

import pytest

from bvrank.data.converters import finished
from bvrank.data.converters.arc import ARC
from bvrank.errors import ConfigError
from tests.data.converters.raw import choice, made, one, reasons

FULL = ARC(list_size=9)
ROWS = [choice(i) for i in range(8)]


def test_distractors_come_from_other_questions_and_keep_the_rows_own() -> None:
    kept, refused = made(FULL, *ROWS)
    assert not refused
    for number, row in enumerate(kept):
        own = {f"thing {number} {i}" for i in range(4)}
        assert own < set(row["candidates"]) and len(row["candidates"]) == 9
        right = row["candidates"][row["relevance"].index(1)]
        assert right == f"thing {number} 1" and sum(row["relevance"]) == 1


def test_the_right_item_stands_anywhere() -> None:
    kept, _ = made(FULL, *(choice(i) for i in range(60)))
    assert len({row["relevance"].index(1) for row in kept}) == 9


def test_what_is_drawn_depends_on_the_seed_and_the_corpus_alone() -> None:
    kept, _ = made(FULL, *ROWS)
    back, _ = made(FULL, *ROWS[::-1])
    assert kept == back[::-1] and kept != made(ARC(list_size=9, seed=1), *ROWS)[0]


def test_longer_lists_are_cut_and_keep_what_is_right() -> None:
    kept, _ = made(ARC(list_size=3), *(choice(i) for i in range(40)))
    assert all(len(r["candidates"]) == 3 and sum(r["relevance"]) == 1 for r in kept)
    assert len({r["candidates"].index(f"thing {i} 1") for i, r in enumerate(kept)}) == 3


def test_a_small_corpus_refuses_and_says_what_to_do() -> None:
    _, refused = made(FULL, choice(1), choice(2))
    assert [r.reason for r in refused] == ["few_distractors"] * 2
    assert "list_size" in refused[0].detail


def test_what_is_right_elsewhere_for_the_same_question_is_no_distractor() -> None:
    """The same question twice, with other options: neither list holds the other's answer."""
    twin = choice(2)
    twin["question"]["stem"] = choice(1)["question"]["stem"].upper()
    for how in ("random", "frequency"):
        kept, refused = made(ARC(list_size=7, distractors=how), choice(1), twin)
        assert not refused
        assert "thing 2 1" not in kept[0]["candidates"]
        assert "thing 1 1" not in kept[1]["candidates"]


def test_items_that_differ_in_case_or_a_full_stop_are_not_drawn_twice() -> None:
    same, other = choice(1), choice(2)
    for i, option in enumerate(other["question"]["choices"]):
        option["text"] = f"THING 1 {i}."
    assert reasons(ARC(list_size=5), same, other) == ["few_distractors"] * 2


def test_train_rows_draw_nothing_from_rows_that_are_not_known() -> None:
    drafts = [d for r in ROWS for d in FULL.convert("a:1", r)]
    few = finished(FULL, drafts[:4], drafts[:4])  # type: ignore[arg-type]
    drawn = {c for row in few for c in row["candidates"]}  # type: ignore[union-attr]
    assert drawn <= {f"thing {n} {i}" for n in range(4) for i in range(4)}


def test_shown_candidates_stand_in_the_order_of_their_rank() -> None:
    arc = ARC(candidates_in_prompt=True, list_size=8)
    for row in made(arc, *ROWS)[0]:
        assert row["prompt"].splitlines()[1:] == [f"- {c}" for c in row["candidates"]]
        assert row["rank"] == [*range(1, 9)]


def test_braces_inside_a_question_are_text() -> None:
    odd = choice(1)
    odd["question"]["stem"] = "What is {question}?"
    assert one(ARC("{question} {x}", distractors="given"), odd)["prompt"] == (
        "What is {question}? {x}"
    )


def test_a_library_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"bvrank\[bm25\]"):
        ARC(distractors="bm25")


def test_a_corpus_is_of_no_use_to_lists_that_are_not_filled() -> None:
    with pytest.raises(ConfigError, match="list_size=null"):
        ARC(list_size=None, distractors="frequency")
