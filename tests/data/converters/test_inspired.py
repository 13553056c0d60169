from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bvrank.data.converters.dialogues import Dialogues
from bvrank.data.converters.inspired import INSPIRED
from bvrank.errors import ConfigError, DataError
from tests.data.converters.raw import inspired, made, real, reasons, said

SMALL = INSPIRED(list_size=6, truth=2, suggested=1)
HEADER = "dialog_id\tutt_id\tspeaker\ttext\tmovies"


def gains(row: dict[str, Any]) -> dict[str, int]:
    return dict(zip(row["candidates"], row["relevance"], strict=True))


def test_each_turn_that_recommends_is_a_list() -> None:
    kept, refused = made(SMALL, *(inspired(i) for i in range(5)))
    assert not refused and len(kept) == 10
    first, second = kept[:2]
    assert first["prompt"] == "Assistant: Hi 0\nUser: I liked Alien"
    assert second["prompt"].endswith("Assistant: See Film 0\nUser: More")
    assert first["group"] == second["group"] and first["id"] == f"{first['group']}:3"
    assert {t for t, g in gains(first).items() if g == 2} == {"Film 0"}
    assert {t for t, g in gains(second).items() if g == 2} == {"Alien", "Late 0"}
    for row in kept:
        assert sorted(row["relevance"])[-3 if row in kept[1::2] else -2 :].count(1) == 1


def test_titles_of_the_dialogue_are_no_distractors() -> None:
    for number, row in enumerate(made(SMALL, *(inspired(i) for i in range(5)))[0]):
        others = {t for t, g in gains(row).items() if g < 2}
        named = {"Alien", *(f"{w} {number // 2}" for w in ("Film", "Late", "Later"))}
        assert not others & named


def test_what_was_named_before_can_be_left_out() -> None:
    converter = INSPIRED(list_size=5, truth=3, suggested=1, repeats=False)
    kept, _ = made(converter, *(inspired(i) for i in range(5)))
    assert {t for t, g in gains(kept[1]).items() if g == 2} == {"Late 0", "Later 0"}
    again = [said("SEEKER", "Alien?", "Alien"), said("RECOMMENDER", "Alien!", "Alien")]
    assert reasons(converter, again) == ["no_truth"]


def test_suggestions_come_from_a_file_and_the_rest_by_frequency(tmp_path: Path) -> None:
    kept, _ = made(SMALL, *(inspired(i) for i in range(5)))
    file = tmp_path / "ideas.jsonl"
    ideas = ["alien", "Solaris", "SOLARIS (1972)", "Stalker", "Mirror"]
    file.write_text(json.dumps({"id": kept[0]["id"], "titles": ideas}))
    converter = INSPIRED(list_size=6, truth=2, suggested=2, suggestions=str(file))
    told, _ = made(converter, *(inspired(i) for i in range(5)))
    assert {t for t, g in gains(told[0]).items() if g == 1} == {"Solaris", "Stalker"}
    assert [list(r["relevance"]).count(1) for r in told] == [2] * 10
    file.write_text(json.dumps({"id": "other:3", "titles": ideas}))
    with pytest.raises(DataError, match="suggests nothing for any list"):
        made(converter, inspired(1))
    file.write_text(json.dumps({"id": 3, "titles": ideas}))
    with pytest.raises(DataError, match="is no suggestion"):
        made(INSPIRED(suggestions=str(file)), inspired(1))


def test_a_catalogue_adds_titles(tmp_path: Path) -> None:
    file = tmp_path / "movies.tsv"
    file.write_text("title\tyear\n" + "".join(f"Movie {i}\t1999\n" for i in range(30)))
    kept, refused = made(INSPIRED(catalogue=str(file)), inspired(1))
    assert not refused and {len(r["candidates"]) for r in kept} == {20}
    file.write_text("name\nx\n")
    with pytest.raises(DataError, match="title"):
        made(INSPIRED(catalogue=str(file)), inspired(1))


def test_the_original_tsv_says_the_same(tmp_path: Path) -> None:
    lines, linked = [HEADER], tmp_path / "linked.jsonl"
    for number in range(5):
        for turn, value in enumerate(inspired(number)):
            movies = "; ".join(value["movie_name"])
            lines.append(f"d{number}\t{turn}\t{value['role']}\t{value['text']}\t{movies}")
    linked.write_text("\n".join(json.dumps(inspired(i)) for i in range(5)))
    tsv = tmp_path / "dev.tsv"
    tsv.write_text("\n".join(lines) + "\n")
    assert made(SMALL, path=tsv) == made(SMALL, path=linked)
    tsv.write_text(HEADER + "\nd0\t1\tSEEKER\tonly four\n")
    with pytest.raises(DataError, match=r"dev\.tsv:2: 4 cells under 5"):
        made(SMALL, path=tsv)
    tsv.write_text("dialog_id\ttext\n")
    with pytest.raises(DataError, match="speaker"):
        made(SMALL, path=tsv)
    linked.write_text("[{]\n")
    with pytest.raises(DataError, match="JSON"):
        made(SMALL, path=linked)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "wrong_type"),
        ([], "wrong_type"),
        ([3], "wrong_type"),
        ([said("WIZARD", "x")], "role"),
        ([said("SEEKER", "x") | {"text": None}], "missing"),
        ([said("SEEKER", "x") | {"movie_name": "x"}], "wrong_type"),
        ([said("SEEKER", "x", "Alien"), said("RECOMMENDER", "y")], "no_truth"),
        ([said("RECOMMENDER", "Alien!", "Alien")], "empty_prompt"),
    ],
)
def test_dialogues_without_a_list_are_refused(row: Any, reason: str) -> None:
    assert reasons(SMALL, row) == [reason]


@pytest.mark.parametrize(
    ("field", "value"),
    [("truth", 0), ("suggested", -1), ("list_size", 7), ("template", "{question}")],
)
def test_settings_out_of_range_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        INSPIRED(**{field: value})
    assert caught.value.where == field
    with pytest.raises(ConfigError, match="suggested=0"):
        Dialogues(suggested=0, suggestions="x")


@pytest.mark.parametrize(
    ("split", "lists", "none", "silent"), [("dev", 245, 5, 1), ("test", 227, 8, 1)]
)
def test_real_dialogues(split: str, lists: int, none: int, silent: int) -> None:
    """dev: 246 turns of the recommender name a movie, one of them before anything is said."""
    path = real("ranking", "inspired", f"{split}.jsonl.gz")
    kept, refused = made(INSPIRED(), path=path)
    why = [r.reason for r in refused]
    assert (len(kept), why.count("no_truth"), why.count("empty_prompt")) == (lists, none, silent)
    assert all(len(r["candidates"]) == 20 and r["relevance"].count(1) == 5 for r in kept)
    assert {r["relevance"].count(2) for r in kept} <= {1, 2, 3}
