from __future__ import annotations

import random

import pytest

from bvrank.answers import Response
from bvrank.data.refusals import Unfit
from bvrank.data.views import Partners, merged, only, pair, reused, view_of
from bvrank.records import BARE, FULL, Example, Message, Refused

ASK = (Message("user", "q"),)


def said(trace: str | None, answer: str) -> Response:
    return Response(trace, answer, True)


@pytest.mark.parametrize(
    ("view", "traces", "modes"),
    [
        (FULL, ("x", "y"), ("thinking", "thinking")),
        (FULL, (None, None), ("plain", "plain")),
        (FULL, ("", ""), ("nothinking", "nothinking")),
        (FULL, ("x", ""), ("thinking", "thinking")),  # an empty trace is what the model thought
        (FULL, ("x", None), ("thinking", "plain")),
        (BARE, (None, ""), ("nothinking", "nothinking")),
    ],
)
def test_how_a_response_is_rendered(view: str, traces: tuple, modes: tuple[str, ...]) -> None:
    example = pair("a:1", ASK, [[said(traces[0], "1")], [said(traces[1], "2")]], view)
    assert tuple(c.mode for c in example.candidates) == modes
    assert [c.relevance for c in example.candidates] == [1.0, 0.0]
    assert {c.view for c in example.candidates} == {view} and view_of(example) == view


@pytest.mark.parametrize(
    ("both", "view", "reason"),
    [
        ((said(None, "1"), said(None, "1")), FULL, "equal_sides"),
        ((said("x", "1"), said("x", "1")), FULL, "equal_sides"),
        ((said("", "1"), said(None, "1")), BARE, "equal_sides"),
        ((said("x", "1"), said(None, "2")), BARE, "trace_in_bare"),
    ],
)
def test_pairs_that_are_none(both: tuple, view: str, reason: str) -> None:
    with pytest.raises(Unfit) as caught:
        pair("a:1", ASK, [[side] for side in both], view)
    assert caught.value.reason == reason


def test_equal_answers_share_an_id_and_may_differ_in_their_traces() -> None:
    example = pair("a:1", ASK, [[said("x", "1")], [said("y", "1")]], FULL)
    assert [c.answer_id for c in example.candidates] == [0, 0]
    full, lost = reused(example)
    assert full == example and isinstance(lost, Refused) and lost.reason == "equal_answers"


def test_a_side_of_several_traces_shares_its_answer_and_is_reused_once() -> None:
    example = pair("a:1", ASK, [[said("x", "1"), said("y", "1"), said("x", "1")],
                                [said("z", "2")]], FULL)  # fmt: skip
    assert [c.answer_id for c in example.candidates] == [0, 0, 0, 1]
    assert [c.relevance for c in example.candidates] == [1.0, 1.0, 1.0, 0.0]
    (both,) = reused(example)
    assert isinstance(both, Example)
    assert [c.answer for c in only(both, BARE).candidates] == ["1", "2"]
    assert only(both, FULL).candidates == example.candidates
    with pytest.raises(Unfit, match="share a response"):
        pair("a:1", ASK, [[said("x", "1"), said("y", "1")], [said("y", "1")]], FULL)


def test_views_taken_apart_are_the_examples_they_were_made_of() -> None:
    full = pair("a:1", ASK, [[said("x", "1")], [said("y", "2")]], FULL)
    bare = pair("b:2", ASK, [[said(None, "3")], [said(None, "2")]], BARE)
    both = merged(full, bare)
    assert both.where == "a:1 + b:2" and [c.answer_id for c in both.candidates] == [0, 1, 2, 1]
    assert only(both, FULL).candidates == full.candidates
    assert only(both, BARE).candidates == bare.candidates
    assert merged(full, only(both, FULL)).where == "a:1 + a:1 + b:2"


def test_partners_are_handed_out_in_turn() -> None:
    bare = [pair(f"b:{i}", ASK, [[said(None, str(i))], [said(None, "x")]], BARE) for i in range(3)]
    full = pair("a:1", ASK, [[said(None, "1")], [said(None, "2")]], FULL)
    partners = Partners(bare)
    assert len(partners) == 3 and list(partners.left()) == bare
    assert partners.join(full).where == "a:1 + b:0" and list(partners.left()) == bare[1:]
    assert [partners.join(full).where[-1] for _ in range(4)] == ["1", "2", "0", "1"]
    assert not list(partners.left())
    other = Example("a:2", (Message("user", "other"),), full.candidates)
    assert partners.join(other) == other


class Waiting:
    """What Partners does, in a dict: the slow oracle."""

    def __init__(self, *tables: list[Example]) -> None:
        self.waiting: dict[tuple[Message, ...], list[Example]] = {}
        for bare in (b for table in tables for b in table):
            self.waiting.setdefault(bare.prompt, []).append(bare)
        self.given = dict.fromkeys(self.waiting, 0)

    def join(self, full: Example) -> Example:
        if full.prompt not in self.waiting:
            return full
        self.given[full.prompt] += 1
        found = self.waiting[full.prompt]
        return merged(full, found[(self.given[full.prompt] - 1) % len(found)])

    def left(self) -> list[Example]:
        return [b for p, found in self.waiting.items() for b in found[self.given[p] :]]


@pytest.mark.parametrize("seed", range(20))
def test_partners_on_disk_are_those_of_a_dict(seed: int) -> None:
    draw = random.Random(seed)

    def some(view: str, name: str) -> list[Example]:
        return [
            pair(f"{name}:{n}", (Message("user", f"p{draw.randrange(6)}"),),
                 ((Response(None, f"a{n}", True),), (Response(None, f"b{n}", True),)), view)
            for n in range(draw.randrange(15))
        ]  # fmt: skip

    tables = [some(BARE, name) for name in "ab"[: draw.randrange(3)]]
    found, wanted = Partners(*map(iter, tables)), Waiting(*tables)
    assert len(found) == sum(map(len, tables))
    for full in some(FULL, "f"):
        assert found.join(full) == wanted.join(full)
    assert list(found.left()) == wanted.left()
