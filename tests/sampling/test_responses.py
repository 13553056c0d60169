"""A log holds each response once, whatever happens to the process that writes it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bvrank.errors import DataError
from bvrank.sampling.responses import Judged, Log, Made, Shelf


def made(row: int, copy: int = 0, **more: object) -> Made:
    return Made("thinking", row, copy, "so", "é\u2028\n7", **more)  # type: ignore[arg-type]


def test_what_was_added_is_found_by_its_key(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    given = [made(1, 0, ids=(1, 2), logp=-0.1), made(0, 1, detail="x", end="failed"), made(0, 0)]
    with Log(path) as log:
        log.add(given[:2])
        log.add(given[2:])
    shelf = Shelf([path], Made)
    assert list(shelf.ordered()) == [("thinking", 0, 0), ("thinking", 0, 1), ("thinking", 1, 0)]
    assert list(shelf.get([given[0].key, given[1].key])) == given[:2]
    assert len(shelf) == 3 and ("nothinking", 0, 0) not in shelf and given[2].key in shelf


def test_half_a_surrogate_pair_is_replaced_and_lines_agree(tmp_path: Path) -> None:
    """Text, reasons and what failed are read back as they were written, and only once replaced."""
    path = tmp_path / "a.jsonl"
    given = [Made("thinking", 0, 0, "\ud83d\ude00", "a\ud800b\udc00"), made(1, detail="\udfff"),
             made(2)]  # fmt: skip
    with Log(path) as log:
        log.add(given)
        log.add([made(3)])
    found = list(Shelf([path], Made).get([*(g.key for g in given), made(3).key]))
    assert (found[0].think, found[0].answer) == ("\U0001f600", "a\ufffdb\ufffd")
    assert found[1].detail == "\ufffd" and found[2:] == [made(2), made(3)]
    with Log(tmp_path / "b.jsonl") as log:
        log.add(found)
    assert (tmp_path / "b.jsonl").read_bytes() == path.read_bytes()


def test_thinking_comes_before_nothinking(tmp_path: Path) -> None:
    with Log(tmp_path / "a.jsonl") as log:
        log.add([Made("nothinking", 0, 0), Made("thinking", 9, 0)])
    assert [k[0] for k in Shelf([tmp_path / "a.jsonl"], Made).ordered()] == [
        "thinking",
        "nothinking",
    ]


def test_a_log_cut_anywhere_goes_on_after_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Log(path) as log:
        log.add([made(n, tokens=n) if n % 2 else made(n) for n in range(30)])
    whole = path.read_bytes()
    ends = [0, *[i + 1 for i, byte in enumerate(whole) if byte == 10]]
    draw = random.Random(0)
    for cut in [0, 1, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(50))]:
        path.write_bytes(whole[:cut])
        there = sum(end <= cut for end in ends) - 1
        assert len(Shelf([path], Made)) == there
        with Log(path) as log:
            log.add([made(n) for n in range(there, 30)])
        assert len(Shelf([path], Made)) == 30 and path.read_bytes().count(b"\n") == 30


def test_a_line_longer_than_a_block_is_cut_as_well(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Log(path) as log:
        log.add([made(0), made(1, detail="x" * 200_000)])
    path.write_bytes(path.read_bytes()[:-1])
    with Log(path) as log:
        log.add([made(1)])
    assert len(Shelf([path], Made)) == 2 and path.stat().st_size < 1000


@pytest.mark.parametrize("line", ['{"mode": "thinking"}', "[]", "no json", '{"a": 1}'])
def test_a_line_that_is_none_of_ours_is_told(line: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match="byte 0 begins no line"):
        Shelf([path], Made)


def test_two_lines_of_one_key_are_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with Log(tmp_path / name) as log:
            log.add([Judged("thinking", 0, 0, 1.0)])
    with pytest.raises(DataError, match="twice"):
        Shelf([tmp_path / "a", tmp_path / "b"], Judged)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_what_came_after_all_stands_in_the_place_of_what_failed(order: str, tmp_path: Path) -> None:
    """Whichever rank's log has it; what failed is known, but not settled."""
    lost = made(0, end="failed", detail="timeout")
    parts = {"a": [lost, made(1, end="failed"), made(2)], "b": [made(0), made(1, end="failed")]}
    for name, place in zip(order, "ab", strict=True):
        with Log(tmp_path / place) as log:
            log.add(parts[name])
    shelf = Shelf([tmp_path / "a", tmp_path / "b"], Made)
    assert len(shelf) == 3 and shelf.away == {made(1).key}
    assert {*shelf.settled()} == {made(0).key, made(2).key}
    assert [m.end for m in shelf.get(shelf.ordered())] == ["stop", "failed", "stop"]


def test_a_verdict_that_never_came_is_not_settled() -> None:
    reasons = {
        "judge_timeout": True,
        "judge_refused": False,
        "verdict_unparsable": False,
        "": False,
    }
    for reason, away in reasons.items():
        assert Judged("thinking", 0, 0, None, reason).away is away


@pytest.mark.parametrize(
    ("response", "whole"),
    [(made(0), True), (made(0, end="length"), False), (Made("thinking", 0, 0, "x", " "), False),
     (Made("thinking", 0, 0, "x", None, False), False)],
)  # fmt: skip
def test_whole_is_what_ended_with_an_answer(response: Made, whole: bool) -> None:
    assert response.whole is whole
