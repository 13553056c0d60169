"""Pairs of the policy's own responses: right against wrong, and every one of them trains."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from bvrank.data.arithmetic import correct, problems
from bvrank.data.encoding import encode
from bvrank.data.pairs import Pairs
from bvrank.errors import ConfigError
from bvrank.evaluation.arithmetic import is_right
from bvrank.records import Message
from bvrank.rewards.arithmetic import Arithmetic as Sums
from bvrank.sampling import pipeline
from bvrank.sampling.local import Local, Transformers, Work, respond
from bvrank.sampling.prompts import Arithmetic
from bvrank.sampling.responses import MODES, Prompt
from bvrank.sampling.selection import Selection
from bvrank.sampling.transformers import Sampling
from tests.sampling.saying import TEMPLATE, Config, Model, Say, drawer, saying, usual

PROBLEMS = problems(40, 0, "train")
PROMPTS = [p for p in Arithmetic(40, 0).prompts() if isinstance(p, Prompt)]
SAMPLING = Sampling(n=4)


def rows(folder: Path, traces: int = 1) -> list[dict[str, Any]]:
    """The pairs that all stages make of 4 responses, without their bookkeeping."""
    place = folder / str(random.random())
    place.mkdir()
    generator, reward = drawer(), Sums()
    pipeline.generate(place, Work(PROMPTS, MODES, 4, 5), generator)
    made = pipeline.responses_of(place)
    pipeline.score(place, PROMPTS, made, reward)
    found = pipeline.select(PROMPTS, made, pipeline.scores_of(place, reward),
                            Selection(traces=traces), generator.fits, 5, {})  # fmt: skip
    return [{k: r[k] for k in ("prompt", "view", "chosen", "rejected")} for r in found]


def test_right_against_wrong_in_both_views(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    saying(monkeypatch, usual)
    by_question = {p.question: p for p in PROBLEMS}
    made = rows(tmp_path)
    assert [r["view"] for r in made] == ["full"] * 40 + ["bare"] * 40
    for row in made:
        problem = by_question[row["prompt"]]
        assert correct(row["chosen"]["answer"], problem)
        assert not correct(row["rejected"]["answer"], problem)
        assert (row["chosen"]["think"] is None) == (row["view"] == "bare")
    assert made == rows(tmp_path)
    assert len({json.dumps(r["chosen"]) for r in made if r["view"] == "full"}) > 20


def test_traces_of_one_right_and_one_wrong_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Three of the four samples are right or share one wrong answer: never more than there are."""

    def say(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
        said = answer if turn < 2 else str(int(answer) + 1 + (turn == 3 and int(answer) % 2))
        return (f"<think>\nthought {turn}\n</think>\n\n{said}" if thinking else said), True

    saying(monkeypatch, say)
    single, several = rows(tmp_path), rows(tmp_path, traces=3)
    for one, row in zip(single, several, strict=True):
        for side in ("chosen", "rejected"):
            assert row[side][0] == one[side]  # the same draw leads
            assert len({s["answer"] for s in row[side]}) == 1
            if row["view"] == "full":
                assert len({s["think"] for s in row[side]}) == len(row[side])
        if row["view"] == "bare":
            assert len(row["chosen"]) == len(row["rejected"]) == 1
            continue
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
def test_what_cannot_be_a_side_makes_no_pair(
    broken: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saying(monkeypatch, broken)
    assert [r for r in rows(tmp_path) if r["view"] == "full"] == []


def test_every_pair_trains(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever bytes and tags a model writes, what is kept is not refused later."""
    rng = random.Random(0)
    parts = ["<think>", "</think>", "<|im_end|>", "<|endoftext|>", "\n", " ", "\x00", "é", "7", "x"]

    def say(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
        noise = "".join(rng.choices(parts, k=rng.randrange(6)))
        lead = f"<think>\n{noise}\n</think>\n\n" if thinking and rng.random() < 0.8 else noise
        return lead + (answer if rng.random() < 0.5 else rng.choice(parts)), rng.random() < 0.9

    saying(monkeypatch, say)
    made = [*rows(tmp_path), *rows(tmp_path, traces=4)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in made))
    found = Pairs(str(path)).rows()
    kept, refused = encode(found, TEMPLATE, views=("full", "bare"), max_length=4096)
    assert len(made) > 20 and kept and refused == []


def test_a_trace_is_counted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, usual)
    questions = [p.question for p in PROBLEMS[:3]]
    for mode, tokens in (("thinking", len("thought 0")), ("nothinking", 0)):
        groups = respond(None, TEMPLATE, questions, mode, SAMPLING, 0)  # type: ignore[arg-type]
        assert {s.trace_tokens for group in groups for s in group} == {tokens}
        assert [is_right(s, PROBLEMS[0]) for s in groups[0]] == [False, True, False, True]


def test_an_answer_that_did_not_end_is_not_right(monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, lambda answer, *_: (answer, False))
    (group,) = respond(None, TEMPLATE, [PROBLEMS[0].question], "nothinking", SAMPLING, 0)
    assert not any(is_right(s, PROBLEMS[0]) for s in group)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_the_batches(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every response is some rank's, and nobody else's."""
    saying(monkeypatch, usual)
    work, generator = Work(PROMPTS, MODES, 4, 0), drawer()
    keys = [
        made.key for mode in MODES for rank in range(world)
        for batch in generator.responses(work, mode, (), rank, world) for made in batch
    ]  # fmt: skip
    assert len(keys) == len(set(keys)) == work.total


def test_a_batch_that_is_known_is_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, usual)
    work, generator = Work(PROMPTS, MODES, 4, 0), drawer()
    first, *others = generator.responses(work, "thinking", (), 0, 1)
    known = {m.key for m in first} | {others[0][0].key}
    again = list(generator.responses(work, "thinking", known, 0, 1))
    assert again == others  # the batch of which one is missing comes whole


def test_prompts_that_leave_no_room_are_refused() -> None:
    long = Prompt(1, "b", (Message("user", "x" * 5000),))
    odd = Prompt(2, "c", (Message("user", "<|im_end|>"),))
    kept, refused = drawer().fitting([PROMPTS[0], long, odd], MODES)
    assert kept == [PROMPTS[0]]
    assert [(r.where, r.reason) for r in refused] == [("b", "too_long"), ("c", "special_token")]


@pytest.mark.parametrize("modes", [MODES, ("nothinking",)])
def test_a_prompt_leaves_room_for_its_response(modes: Any) -> None:
    """In the mode that renders it longest, and to the last token."""
    texts = [TEMPLATE.prompt_text(PROMPTS[0].messages, mode) for mode in modes]
    room = Config.max_position_embeddings - max(map(len, TEMPLATE.ids(texts)))
    kept, refused = drawer(max_new_tokens=room).fitting(PROMPTS[:1], modes)
    assert kept == PROMPTS[:1] and not refused
    kept, refused = drawer(max_new_tokens=room + 1).fitting(PROMPTS[:1], modes)
    assert not kept and [r.reason for r in refused] == ["too_long"]
    assert f"and {room + 1} new ones are more than" in refused[0].detail


def test_only_responses_that_are_checked_keep_their_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saying(monkeypatch, usual)
    work = Work(PROMPTS, MODES, 4, 0, checked={(3, 2), (5, 0)})
    made = [m for b in drawer().responses(work, "thinking", (), 0, 1) for m in b]
    assert {m.key[1:] for m in made if m.ids is not None} == {(3, 2), (5, 0)}
    assert all((m.ids is None) == (m.logp is None) for m in made)


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -1.0), ("temperature", float("nan")), ("top_p", 0.0), ("top_p", 1.1),
     ("max_new_tokens", 0), ("sequences", 0)],
)  # fmt: skip
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: must"):
        Transformers(**{name: value})  # type: ignore[arg-type]


def test_the_node_makes_the_generator() -> None:
    policy = Model()
    policy.model, policy.template = Model(), TEMPLATE  # type: ignore[attr-defined]
    assert isinstance(Transformers().generator(policy), Local)
