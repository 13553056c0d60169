from __future__ import annotations

from typing import Any

import pytest

from bvrank.data.converters.openai import OpenAI
from bvrank.errors import ConfigError
from tests.data.converters.raw import one, raw, reasons, talk

TUNING = raw("openai")[0]
SUMMARY = raw("openai")[-1]


def test_what_fine_tuning_takes() -> None:
    assert one(OpenAI(), TUNING) == {"prompt": "Do 0", "chosen": "y", "rejected": "n"}


def test_content_in_parts_and_a_developer() -> None:
    turns = [{"role": "developer", "content": [{"type": "text", "text": "Be"},
                                               {"type": "text", "text": " kind"}]}]  # fmt: skip
    row = TUNING | {"input": {"messages": [*turns, *talk("Q")]}}
    assert one(OpenAI(), row)["prompt"] == [
        {"role": "system", "content": "Be kind"}, *talk("Q"),
    ]  # fmt: skip


def test_summaries_of_posts_and_of_articles() -> None:
    assert one(OpenAI(), SUMMARY) == {
        "prompt": "T5\n\np5\n\nTL;DR:", "chosen": "short", "rejected": "long", "group": "t5",
    }  # fmt: skip
    shaped = OpenAI("r/{subreddit}: {post}")
    assert one(shaped, SUMMARY)["prompt"] == "r/r: p5"
    news = SUMMARY | {"info": {"id": "n", "article": "News."}}
    assert one(OpenAI(), news)["prompt"] == "News.\n\nTL;DR:"
    with pytest.raises(ConfigError, match=r"\{post\}"):
        OpenAI("none")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (TUNING | {"input": None}, "missing"),
        (TUNING | {"input": {"messages": None}}, "missing"),
        (TUNING | {"input": {"messages": talk("a", "b")}}, "prompt_end"),
        (TUNING | {"input": TUNING["input"] | {"tools": [{}]}}, "role"),
        (TUNING | {"preferred_output": talk("a")}, "role"),
        (TUNING | {"preferred_output": []}, "wrong_type"),
        (TUNING | {"preferred_output": [{"role": "assistant", "content": [{"type": "image"}]}]},
         "wrong_type"),
        (SUMMARY | {"choice": 2}, "bad_answer"),
        (SUMMARY | {"choice": None}, "bad_answer"),
        (SUMMARY | {"summaries": []}, "wrong_type"),
        (SUMMARY | {"info": {}}, "missing"),
        ({}, "missing"),
    ],
)  # fmt: skip
def test_rows_without_a_pair_are_refused(row: dict[str, Any], reason: str) -> None:
    assert reasons(OpenAI(), row) == [reason]
