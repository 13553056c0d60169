"""Pairs set right against wrong, and every one of them trains."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bvrank.data.arithmetic import correct, problems
from bvrank.data.encoding import encode
from bvrank.data.pairs import Pairs
from bvrank.data.templates import Template
from bvrank.models.tiny import UNTHINK, tiny_tokenizer
from bvrank.sampling import pairs
from bvrank.sampling.pairs import is_right, own_pairs, respond
from bvrank.sampling.transformers import Sample, Sampling

TOKENIZER = tiny_tokenizer()
TEMPLATE = Template(TOKENIZER)
PROBLEMS = problems(40, 0, "train")
SAMPLING = Sampling(n=4)
Say = Callable[[str, bool, int], tuple[str, bool]]


def sample(text: str, finished: bool) -> Sample:
    ids = TOKENIZER(text)["input_ids"]
    return Sample(tuple(ids) + (TEMPLATE.end_id,) * finished, -1.0, finished)


def saying(monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    """Replaces the model: say(answer, thinking, turn) gives the text and whether it ended."""

    def generate(model: Any, prompts: Sequence[list[int]], sampling: Sampling, **_: Any) -> Any:
        out = []
        for ids in prompts:
            text = TOKENIZER.decode(ids)
            digits = text.partition("user\n")[2].partition("=?")[0]
            answer = str(sum(map(int, digits.split("+"))))
            out.append([sample(*say(answer, UNTHINK not in text, i)) for i in range(sampling.n)])
        return out

    monkeypatch.setattr(pairs, "generate", generate)


def usual(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
    lead = f"<think>\nthought {turn}\n</think>\n\n" if thinking else ""
    return f"{lead}{answer if turn % 2 else int(answer) + turn + 1}", True


def rows(traces: int = 1) -> list[dict[str, Any]]:
    return list(own_pairs(None, TEMPLATE, PROBLEMS, SAMPLING, 5, traces=traces))


def test_right_against_wrong_in_both_views(monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, usual)
    by_question = {p.question: p for p in PROBLEMS}
    made = rows()
    assert [r["view"] for r in made] == ["full"] * 40 + ["bare"] * 40
    for row in made:
        problem = by_question[row["prompt"]]
        assert correct(row["chosen"]["answer"], problem)
        assert not correct(row["rejected"]["answer"], problem)
        assert (row["chosen"]["think"] is None) == (row["view"] == "bare")
    assert made == rows()
    assert len({json.dumps(r["chosen"]) for r in made if r["view"] == "full"}) > 20


def test_traces_of_one_right_and_one_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of the four samples are right or share one wrong answer: never more than there are."""

    def say(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
        said = answer if turn < 2 else str(int(answer) + 1 + (turn == 3 and int(answer) % 2))
        return (f"<think>\nthought {turn}\n</think>\n\n{said}" if thinking else said), True

    saying(monkeypatch, say)
    single, several = rows(), rows(traces=3)
    for one, row in zip(single, several, strict=True):
        if row["view"] == "bare":
            assert row == one
            continue
        for side in ("chosen", "rejected"):
            assert row[side][0] == one[side]  # the same draw leads
            assert len({s["answer"] for s in row[side]}) == 1
            assert len({s["think"] for s in row[side]}) == len(row[side])
        assert len(row["chosen"]) == 2
        even = int(row["chosen"][0]["answer"]) % 2 == 0
        assert len(row["rejected"]) == (2 if even else 1)


@pytest.mark.parametrize(
    "broken",
    [
        lambda a, thinking, turn: (usual(a, thinking, turn)[0], False),
        lambda a, thinking, turn: ("<think>\nwithout end" if thinking else "", True),
        lambda a, thinking, turn: (f"{usual(a, thinking, turn)[0]}<|im_start|>", True),
        lambda a, thinking, turn: (f"<think>\n<|endoftext|>\n</think>\n\n{a}", True),
        lambda a, thinking, turn: ("<think>\nx\n</think>\n\n \n", True),
        lambda a, thinking, turn: usual(a, thinking, 1),
        lambda a, thinking, turn: usual(a, thinking, 0),
    ],
    ids=["unfinished", "no answer", "special", "special trace", "blank", "all right", "all wrong"],
)
def test_what_cannot_be_a_side_makes_no_pair(broken: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, broken)
    made = [r for r in rows() if r["view"] == "full"]
    assert made == []


def test_every_pair_trains(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever bytes and tags a model writes, what is kept is not refused later."""
    rng = random.Random(0)
    parts = ["<think>", "</think>", "<|im_end|>", "<|endoftext|>", "\n", " ", "\x00", "é", "7", "x"]

    def say(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
        noise = "".join(rng.choices(parts, k=rng.randrange(6)))
        lead = f"<think>\n{noise}\n</think>\n\n" if thinking and rng.random() < 0.8 else noise
        return lead + (answer if rng.random() < 0.5 else rng.choice(parts)), rng.random() < 0.9

    saying(monkeypatch, say)
    made = [*rows(), *rows(traces=4)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in made))
    found = Pairs(str(path)).rows()
    kept, refused = encode(found, TEMPLATE, views=("full", "bare"), max_length=4096)
    assert len(made) > 20 and kept and refused == []


def test_a_trace_is_counted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, usual)
    for mode, tokens in (("thinking", len("thought 0")), ("nothinking", 0)):
        groups = respond(None, TEMPLATE, PROBLEMS[:3], mode, SAMPLING, 0)  # type: ignore[arg-type]
        assert {s.trace_tokens for group in groups for s in group} == {tokens}
        assert [is_right(s, PROBLEMS[0]) for s in groups[0]] == [False, True, False, True]


def test_an_answer_that_did_not_end_is_not_right(monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, lambda answer, *_: (answer, False))
    (group,) = respond(None, TEMPLATE, PROBLEMS[:1], "nothinking", SAMPLING, 0)
    assert not any(is_right(s, PROBLEMS[0]) for s in group)
