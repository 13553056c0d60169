"""Seeds of requests, and the text that a server took apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvrank.answers import Response, join, split
from bvrank.errors import ConfigError
from bvrank.records import Message
from bvrank.sampling.chat import Decoding, Request, whole_text

WORDS = st.text("ab <>/\n", max_size=12)


def request(key: str, seed: int | None = 0) -> Request:
    return Request(key, (Message("user", "?"),), Decoding(seed=seed))


def test_a_seed_follows_from_the_runs_and_the_key_alone() -> None:
    seeds = [request(f"row-{n}").seed for n in range(1000)]
    assert len({*seeds}) == 1000 and all(s is not None and 0 <= s < 2**31 for s in seeds)
    assert seeds == [request(f"row-{n}").seed for n in range(1000)]
    assert request("row-0", 1).seed != seeds[0]
    assert request("row-0").seed == 885341868
    assert request("row-0", None).seed is None


@given(WORDS.filter(str.strip), WORDS.filter(str.strip))
def test_what_was_taken_apart_at_the_tags_is_whole_again(trace: str, answer: str) -> None:
    """A server that cuts at the tags keeps the newlines around them, or strips them."""
    whole = join(trace, answer)
    for thought, rest in ((f"\n{trace}\n", f"\n\n{answer}"), (trace.strip(), answer.strip())):
        found = split(whole_text(thought, rest))
        assert found.closed and found.answer and found.trace
        assert (found.trace.strip(), found.answer.strip()) == (trace.strip(), answer.strip())
    assert whole_text(f"\n{trace}\n", f"\n\n{answer}") == whole


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_thought_without_an_answer_stays_open(content: str) -> None:
    text = whole_text("\nso far", content)
    assert text == "<think>\nso far"
    assert split(text) == Response("so far", None, False)


@pytest.mark.parametrize("reasoning", [None, ""])
def test_without_a_thought_the_content_is_the_text(reasoning: str | None) -> None:
    for content in ("42", "", "<think>\na\n</think>\n\n42"):
        assert whole_text(reasoning, content) == content


def test_tags_in_the_content_are_judged_as_ever() -> None:
    assert split(whole_text("a", "b</think>\n\n42")).answer == "42"
    assert split(whole_text("a", "42 <think> again")) == Response("a</think>42 <think> again", None,
                                                                  False)  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", -0.1), ("top_p", 0.0), ("top_p", 1.1), ("max_tokens", 0)]
)
def test_decoding_out_of_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        Decoding(**{field: value})
