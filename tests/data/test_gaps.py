from __future__ import annotations

from bvrank.data.gaps import Lengths, lengths
from bvrank.data.views import numbered
from bvrank.records import Candidate, Message
from tests.data.tokenizers import template


def test_tokens_of_traces_and_answers_side_by_side() -> None:
    """One token per byte here, so that lengths can be read off."""
    prompt = (Message("user", "q"),)
    thought = [Candidate("abc", "tt", mode="thinking", relevance=1.0),
               Candidate("d", "uuuu", mode="thinking")]  # fmt: skip
    one_trace = [Candidate("aa", "tt", mode="thinking"),
                 Candidate("b", "", mode="thinking", relevance=1.0)]  # fmt: skip
    bare = [Candidate("xy", None, "bare", "nothinking", 1.0),
            Candidate("z", None, "bare", "nothinking")]  # fmt: skip
    rows = [
        numbered("f:1", prompt, [*thought, *bare]),
        numbered("f:2", prompt, one_trace),
        numbered("f:3", prompt, [Candidate("a"), Candidate("b"), Candidate("c", relevance=1.0)]),
        numbered("f:4", prompt, [Candidate("a"), Candidate("b")]),
    ]
    assert lengths(rows, template("text")) == {
        ("full", "answer"): [Lengths("f:1", 3, 1), Lengths("f:2", 1, 2), Lengths("f:3", 1, 1)],
        ("full", "trace"): [Lengths("f:1", 2, 4)],
        ("bare", "answer"): [Lengths("f:1", 2, 1)],
    }
    assert Lengths("f:1", 2, 4).difference == -2
