"""Who is chosen, who is rejected, and what is left out: laws over drawn scores."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.data.pairs import Pairs
from bvrank.errors import ConfigError
from bvrank.records import Example, Message
from bvrank.sampling.responses import Made, Prompt
from bvrank.sampling.selection import Scored, Selection, pool, repeated, row_of

PROMPT = Prompt(0, "a:1", (Message("user", "why?"),))
SCORES = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 7.25]), min_size=2, max_size=6)


def scored(scores: list[float]) -> list[Scored]:
    return [(Made("thinking", 0, n, f"t{n}", f"a{n}"), s) for n, s in enumerate(scores)]


def pair(selection: Selection, scores: list[float], seed: int = 0) -> Any:
    found = selection.pair(PROMPT, "thinking", scored(scores), seed)
    return found if isinstance(found, str) else (found[0][1], found[1][1])


@given(SCORES)
def test_best_against_worst(scores: list[float]) -> None:
    expected: Any = (max(scores), min(scores)) if max(scores) > min(scores) else "tie"
    assert pair(Selection(), scores) == expected


@given(SCORES, st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.integers(0, 99))
def test_no_rule_pairs_what_lies_within_the_margin(
    scores: list[float], margin: float, seed: int
) -> None:
    widest = max(scores) - min(scores)
    for rule in ("best_worst", "random", "margin"):
        found = pair(Selection(rule, margin), scores, seed)  # type: ignore[arg-type]
        if isinstance(found, str):
            assert found in ("tie", "margin")
            assert rule == "random" or widest <= margin
        else:
            assert found[0] - found[1] > margin
    wide = pair(Selection("margin", margin), scores, seed)
    assert isinstance(wide, str) == (widest <= margin)


def test_the_draw_among_equals_reaches_all_of_them_and_depends_on_the_seed() -> None:
    given_scores = scored([1.0, 1.0, 1.0, 0.0, 0.0])
    seen = set()
    for seed in range(60):
        found = Selection().pair(PROMPT, "thinking", given_scores, seed)
        assert not isinstance(found, str)
        assert found == Selection().pair(PROMPT, "thinking", given_scores, seed)
        seen.add((found[0][0].copy, found[1][0].copy))
    assert seen == {(a, b) for a in (0, 1, 2) for b in (3, 4)}


@pytest.mark.parametrize("rule", ["random", "margin"])
def test_the_other_rules_reach_every_pair(rule: Any) -> None:
    scores = [0.0, 1.0, 2.0]
    seen = {pair(Selection(rule), scores, seed) for seed in range(80)}
    assert seen == {(a, b) for a, b in permutations(scores, 2) if a > b}


@pytest.mark.parametrize("rule", ["best_worst", "random", "margin"])
def test_each_prompt_mode_and_seed_has_a_draw_of_its_own(rule: Any) -> None:
    """A pair of each mode is drawn without regard to the other's: they meet by chance alone."""
    scores = [1.0] * 6 + [0.0] * 6 if rule == "best_worst" else [float(n) for n in range(12)]

    def drawn(prompt: Prompt = PROMPT, mode: Any = "thinking", first: int = 0) -> list[Any]:
        found = (Selection(rule).pair(prompt, mode, scored(scores), s)
                 for s in range(first, first + 60))  # fmt: skip
        return [tuple(made.copy for made, _ in sides) for sides in found]  # type: ignore[misc]

    here, other = drawn(), replace(PROMPT, messages=(Message("user", "why not?"),))
    assert here == drawn(replace(PROMPT, row=7, where="b:8"))
    longer = replace(PROMPT, messages=(Message("system", "be"), *PROMPT.messages))
    for elsewhere in (drawn(mode="nothinking"), drawn(other), drawn(longer), drawn(first=1)):
        assert sum(a == b for a, b in zip(here, elsewhere, strict=True)) < 10


@pytest.mark.parametrize("rule", ["best_worst", "margin"])
def test_two_scores_of_one_text_are_no_preference(rule: Any) -> None:
    """What a side says is its text: of a bare one the answer alone."""

    def found(mode: Any, traces: int) -> Any:
        sides = [(Made(mode, 0, n, f"t{n}", "a"), float(n)) for n in range(2)]
        return Selection(rule, traces=traces).pair(PROMPT, mode, sides, 0)

    assert found("nothinking", 1) == found("thinking", 2) == "same_text"
    assert [made.copy for made, _ in found("thinking", 1)] == [1, 0]


def test_what_is_left_out_makes_no_duplicate() -> None:
    """Else neither of the two would be a side; which of them came first is no matter."""
    cut, whole = Made("thinking", 0, 0, "a", "1", end="length"), Made("thinking", 0, 1, "a", "1")
    for group in ([cut, whole], [whole, cut]):
        found = pool(Selection(duplicates="drop"), group, lambda made: None)
        assert found.usable == [whole] and found.left_out == {"unfinished_answer": 1}
    kept = pool(Selection(unfinished="keep", duplicates="drop"), [cut, whole], lambda made: None)
    assert kept.usable == [cut] and kept.left_out == {"duplicate": 1}


def test_one_response_is_no_pair() -> None:
    assert pair(Selection(), [1.0]) == pair(Selection(), []) == "one_response"


GROUP = [
    Made("thinking", 0, 0, "a", "1"),
    Made("thinking", 0, 1, "a", "1"),
    Made("thinking", 0, 2, "b", "2", end="length"),
    Made("thinking", 0, 3, "cut", None, closed=False, end="length"),
    Made("thinking", 0, 4, "b", "  "),
    Made("thinking", 0, 5, end="failed", detail="500"),
    Made("thinking", 0, 6, "b", "3", end="content_filter"),
    Made("thinking", 0, 7, "b", "odd"),
]


def test_a_response_that_thought_with_thinking_off_is_no_side() -> None:
    group = [Made("nothinking", 0, n, think, "x") for n, think in enumerate([None, "", " ", "hm"])]
    found = pool(Selection(), group, lambda made: None)
    assert [m.copy for m in found.usable] == [0, 1, 2] and found.left_out == {"thought": 1}


ENDS: tuple[Literal["stop", "length"], ...] = ("stop", "length")


def odd(made: Made) -> str | None:
    return "special_token" if made.answer == "odd" else None


def test_every_response_is_a_side_or_left_out_for_a_reason() -> None:
    found = pool(Selection(), GROUP, odd)
    assert [m.copy for m in found.usable] == [0, 1] and not found.whole_prompt
    assert found.left_out == {
        "unfinished_answer": 1, "unfinished_thinking": 1, "no_answer": 1, "failed": 1,
        "filtered": 1, "special_token": 1,
    }  # fmt: skip


def test_a_thought_that_ended_by_itself_did_not_run_out_of_tokens() -> None:
    group = [Made("thinking", 0, n, "hm", None, False, end) for n, end in enumerate(ENDS)]
    assert pool(Selection(), group, odd).left_out == {"unclosed": 1, "unfinished_thinking": 1}
    strict = pool(Selection(unfinished="drop_prompt"), group[:1], odd)
    assert strict.whole_prompt and strict.left_out == {"unclosed": 1}


def test_how_unfinished_and_repeated_ones_are_taken() -> None:
    kept = pool(Selection(unfinished="keep"), GROUP, odd)
    assert [m.copy for m in kept.usable] == [0, 1, 2]
    assert kept.left_out["unfinished_thinking"] == 1  # nothing to compare: never a side
    strict = Selection(unfinished="drop_prompt")
    for unfinished in GROUP[2:4]:  # either kind by itself: an answer cut off, or a trace
        assert pool(strict, [*GROUP[:2], unfinished], odd).whole_prompt
        assert not pool(Selection(), [*GROUP[:2], unfinished], odd).whole_prompt
    assert not pool(strict, [*GROUP[:2], *GROUP[4:]], odd).whole_prompt
    single = pool(Selection(duplicates="drop"), GROUP, odd)
    assert [m.copy for m in single.usable] == [0] and single.left_out["duplicate"] == 1
    assert repeated(GROUP) == 1


def test_a_row_says_who_its_sides_are() -> None:
    one, other = (Made("thinking", 4, 2, "t", "x"), 1.5), (Made("thinking", 4, 0, "u", "y"), 0.5)
    turns = (Message("system", "be"), Message("user", "why?"))
    row = row_of(Selection(), Prompt(4, "a", turns), "thinking", (one, other), [])
    assert row == {
        "prompt": [{"role": "system", "content": "be"}, {"role": "user", "content": "why?"}],
        "view": "full", "chosen": {"think": "t", "answer": "x"},
        "rejected": {"think": "u", "answer": "y"}, "chosen_score": 1.5, "rejected_score": 0.5,
        "row": 4, "chosen_copy": 2, "rejected_copy": 0,
    }  # fmt: skip
    x, y = ((Made("nothinking", 0, n, "", text), 1.0 - n) for n, text in enumerate("xy"))
    bare = row_of(Selection(), PROMPT, "nothinking", (x, y), [])
    assert bare["prompt"] == "why?" and bare["chosen"] == {"think": None, "answer": "x"}
    assert bare["view"] == "bare"


def test_a_question_that_reads_like_a_dialogue_stays_one_turn(tmp_path: Path) -> None:
    asked = (Message("user", "\n\nHuman: go on\n\nAssistant: ok\n\nHuman: what?"),)
    sides = tuple((Made("thinking", 0, n, "t", text), 1.0 - n) for n, text in enumerate("xy"))
    row = row_of(Selection(), Prompt(0, "a", asked), "thinking", sides, [])
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row))
    (found,) = Pairs(str(path)).rows()
    assert isinstance(found, Example) and found.prompt == asked


@pytest.mark.parametrize(("name", "value"), [("margin", -1.0), ("margin", float("inf")),
                                             ("traces", 0)])  # fmt: skip
def test_settings_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: must be at least"):
        Selection(**{name: value})
