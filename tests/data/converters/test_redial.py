from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bvrank.data.converters.redial import ReDial
from bvrank.data.files import read_rows
from bvrank.errors import ConfigError, DataError
from tests.data.converters.raw import made, real, reasons, redial

SMALL = ReDial(list_size=6, truth=2, suggested=1)
ROWS = [redial(i) for i in range(9)]


def original(number: int, **more: Any) -> dict[str, Any]:
    """A dialogue as ReDial has it: 1 seeks, 2 recommends."""
    said = [(2, f"Hi {number}"), (1, "I liked @1"), (2, f"See @1 or @{number}2 or @99"), (1, "ok")]
    return {
        "conversationId": str(number), "initiatorWorkerId": 1, "respondentWorkerId": 2,
        "messages": [{"senderWorkerId": w, "text": t, "messageId": 0} for w, t in said],
        "movieMentions": {"1": "Alien (1979)", f"{number}2": f"Film {number} (2001)"},
        "initiatorQuestions": {"1": {"suggested": 0, "liked": 1, "seen": 1}}, **more,
    }  # fmt: skip


def test_a_turn_is_a_list() -> None:
    kept, refused = made(SMALL, *ROWS)
    row = kept[3]
    assert not refused and len(kept) == 9
    assert row["prompt"] == "Assistant: Hi 3\nUser: Like Seen 3?"
    assert (row["group"], row["id"]) == ("3", "3:2")
    gains = dict(zip(row["candidates"], row["relevance"], strict=True))
    assert {t for t, g in gains.items() if g == 2} == {"Film 3 (2001)", "Other 3 (2002)"}
    assert "Seen 3 (1999)" not in gains


def test_other_turns_of_a_dialogue_give_no_distractors() -> None:
    late = redial(3, 4) | {"rec": ["Late 3"], "context": ["", "Hi", "Go", "See X", "More"]}
    for _ in range(3):
        kept, _ = made(ReDial(list_size=12, truth=2, suggested=1), *ROWS, late)
        assert "Late 3" not in kept[3]["candidates"]
        assert "Film 3 (2001)" not in kept[-1]["candidates"]


def test_what_is_recommended_beyond_the_truth_of_a_list_is_no_distractor() -> None:
    """Titles that would have been right: four are recommended, and truth=2 takes the first two."""
    more = [redial(i) | {"rec": [f"{i} {word}" for word in "abcd"]} for i in range(4)]
    for how in ("random", "frequency"):
        for seed in range(4):
            small = ReDial(list_size=14, truth=2, suggested=1, distractors=how, seed=seed)  # type: ignore[arg-type]
            kept, refused = made(small, *more)
            assert not refused
            for i, row in enumerate(kept):
                own = {c for c in row["candidates"] if c.startswith(f"{i} ")}
                assert own == {f"{i} a", f"{i} b"} and row["relevance"].count(2) == 2


def test_what_another_turn_recommends_beyond_its_truth_is_no_distractor_either() -> None:
    rows = [redial(i) | {"rec": [f"{i} {word}" for word in "abcd"]} for i in range(4)]
    late = [redial(i, 4) | {"rec": [f"Late {i}"], "context": ["", "Hi", "Go", "See X", "More"]}
            for i in range(4)]  # fmt: skip
    kept, refused = made(ReDial(list_size=12, truth=2, suggested=1), *rows, *late)
    assert not refused
    for i, row in enumerate(kept[4:]):
        assert not [c for c in row["candidates"] if c.startswith(f"{i} ")]


def test_original_dialogues_recommend_what_the_form_does_not_deny() -> None:
    kept, refused = made(SMALL, *(original(i) for i in range(2, 10)))
    assert not refused and len(kept) == 8
    row = kept[0]
    assert row["prompt"] == "Assistant: Hi 2\nUser: I liked Alien (1979)"
    right = {c for c, g in zip(row["candidates"], row["relevance"], strict=True) if g == 2}
    assert right == {"Film 2 (2001)"} and row["id"] == "2:3"
    kept, _ = made(SMALL, *(original(i, initiatorQuestions=[]) for i in range(2, 10)))
    assert kept[0]["relevance"].count(2) == 2  # without a form all count


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rec": []}, "no_truth"),
        ({"rec": None}, "missing"),
        ({"context": "x"}, "wrong_type"),
        ({"context": ["", ""]}, "empty_prompt"),
        ({"dialog_id": None}, "wrong_type"),
        ({"messages": 3}, "wrong_type"),
        (original(2, messages=[3]), "wrong_type"),
        (original(2, movieMentions=[]), "no_truth"),
        (original(2, movieMentions=3), "wrong_type"),
    ],
)
def test_rows_without_a_list_are_refused(change: dict[str, Any], reason: str) -> None:
    assert reasons(SMALL, redial(1) | change) == [reason]


def test_entities_and_movies_go_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be set too"):
        ReDial(entities="x")
    (tmp_path / "a.json").write_text('{"A": 1')
    (tmp_path / "b.json").write_text('{"A": 1}')
    for names, numbers in (("a", "b"), ("b", "b")):
        files = [str(tmp_path / f"{n}.json") for n in (names, numbers)]
        with pytest.raises(DataError):
            made(ReDial(entities=files[0], movies=files[1]), *ROWS)


def test_real_turns() -> None:
    folder = real("ranking", "redial", "valid_data_processed.jsonl.gz").parent
    rows = [r for _, r in read_rows(folder / "valid_data_processed.jsonl.gz")]
    files = [str(folder / f"{n}.json.gz") for n in ("entity2id", "item_ids")]
    for converter in (ReDial(), ReDial(entities=files[0], movies=files[1])):
        kept, refused = made(converter, *rows)
        assert (len(kept), refused) == (2716, [])
        assert len({r["group"] for r in kept}) == 985
        assert all(len(r["candidates"]) == 20 and r["relevance"].count(1) == 5 for r in kept)
    assert sum(r["relevance"].count(2) > 1 for r in kept) == 675
