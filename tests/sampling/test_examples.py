"""What a run keeps of its policy's words, and that keeping it changes nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from bvrank.data.arithmetic import Arithmetic, problems
from bvrank.data.encoding import Listing, encode
from bvrank.data.lists import Lists
from bvrank.data.pairs import Pairs
from bvrank.data.templates import Template
from bvrank.errors import RunError
from bvrank.models.tiny import tiny_model, tiny_tokenizer
from bvrank.records import Encoded
from bvrank.run import read_jsonl
from bvrank.sampling.examples import Prompt, after, before, prompts_of
from tests.commands.fast import list_rows, pair_rows, write

TEMPLATE = Template(tiny_tokenizer())
SHAPE = {"hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 32}
VIEWS = ("full", "bare")


def model(seed: int = 0) -> Any:
    made = tiny_model(seed, **SHAPE)
    with torch.no_grad():  # nearly uniform weights would say one token only
        for number, weight in enumerate(made.parameters()):
            if weight.ndim == 2:
                drawn = torch.Generator().manual_seed(100 * seed + number)
                weight.normal_(std=0.3, generator=drawn)
    return made


def trees(tmp_path: Path, rows: Sequence[Any], views: Sequence[str] = VIEWS) -> list[Encoded]:
    source = Pairs(str(write(tmp_path / "pairs.jsonl", rows)))
    return encode(source.rows(), TEMPLATE, views=views, max_length=512)[0]


@pytest.fixture
def prompts(tmp_path: Path) -> list[Prompt]:
    return prompts_of(None, trees(tmp_path, pair_rows(6)), VIEWS, TEMPLATE, 2)


def lines(folder: Path) -> list[dict[str, Any]]:
    found, torn = read_jsonl(folder / "examples.jsonl")
    assert torn == 0
    return found


def test_prompts_of_pairs_as_the_model_sees_them(prompts: list[Prompt]) -> None:
    assert [p.view for p in prompts] == ["full", "full", "bare", "bare"]
    full, bare = prompts[0], prompts[2]
    asked = "<|im_start|>user\n0+1=?<|im_end|>\n<|im_start|>assistant\n"
    assert full.prompt == asked
    assert bare.prompt.startswith(asked) and bare.prompt.endswith("</think>\n\n")
    assert full.chosen == "<think>\n0 and 1\n</think>\n\n1"
    assert (bare.chosen, bare.rejected, bare.gold) == ("1", "2!", None)
    assert TEMPLATE.decode([full.ids]) == [full.prompt]


def test_a_view_has_its_own_rows(tmp_path: Path) -> None:
    rows = [r for r in pair_rows(6) if r["view"] == "full" or r["prompt"].startswith("5")]
    found = prompts_of(None, trees(tmp_path, rows), VIEWS, TEMPLATE, 2)
    assert [(p.view, "5+6" in p.prompt) for p in found] == [
        ("full", False), ("full", False), ("bare", True),
    ]  # fmt: skip


def test_the_prompt_of_a_list_is_what_stands_before_its_first_item(tmp_path: Path) -> None:
    source = Lists(str(write(tmp_path / "lists.jsonl", list_rows(3))), context="inlist")
    found, _ = encode(source.rows(), TEMPLATE, views=("full",), max_length=512,
                      listing=Listing("inlist"))  # fmt: skip
    (first, *_) = prompts_of(None, found, ("full",), TEMPLATE, 1)
    assert "query 0" in first.prompt and "title" not in first.prompt
    assert first.chosen == "title 01" and first.rejected == "title 00"


def test_problems_of_the_arithmetic_world_are_unseen_and_have_an_answer() -> None:
    found = prompts_of(Arithmetic(seed=3), [], ("full",), TEMPLATE, 3)
    assert [p.view for p in found] == ["full"] * 3 + ["bare"] * 3
    unseen = problems(3, 3, "test")
    assert [p.gold for p in found] == 2 * [p.answer for p in unseen]
    assert all(q.question in p.prompt for p, q in zip(found, 2 * unseen, strict=True))
    assert len(prompts_of(Arithmetic(test_problems=2), [], (), TEMPLATE, 9)) == 4


@torch.inference_mode()
def greedy(policy: Any, ids: Sequence[int], limit: int) -> tuple[str, bool]:
    """The likeliest token again and again, without a cache."""
    said = list(ids)
    for _ in range(limit):
        said.append(int(policy(torch.tensor([said])).logits[0, -1].argmax()))
        if said[-1] == TEMPLATE.end_id:
            return TEMPLATE.decode([said[len(ids) : -1]])[0], True
    return TEMPLATE.decode([said[len(ids) :]])[0], False


def test_completions_are_greedy_before_and_after(tmp_path: Path, prompts: list[Prompt]) -> None:
    first, last = model(0), model(1)
    before(tmp_path, first, TEMPLATE, prompts, 12)
    assert all(line["after"] is None for line in lines(tmp_path))
    after(tmp_path, last, TEMPLATE, prompts, 12)
    for prompt, line in zip(prompts, lines(tmp_path), strict=True):
        for policy, name in ((first, "before"), (last, "after")):
            text, ended = greedy(policy, prompt.ids, 12)
            assert line[name] == {"text": text, "ended": ended}
        assert (line["prompt"], line["view"]) == (prompt.prompt, prompt.view)
    assert any(line["before"] != line["after"] for line in lines(tmp_path))


def test_nothing_is_drawn_and_no_switch_is_left_turned(
    tmp_path: Path, prompts: list[Prompt]
) -> None:
    policy = model().train()
    policy.model.layers[0].eval()
    modes = [m.training for m in policy.modules()]
    states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    before(tmp_path, policy, TEMPLATE, prompts, 5)
    after(tmp_path, policy, TEMPLATE, prompts, 5)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all() and states[2] == random.getstate()
    assert modes == [m.training for m in policy.modules()]
    assert all(p.grad is None for p in policy.parameters())


def test_what_was_said_before_is_kept(tmp_path: Path, prompts: list[Prompt]) -> None:
    before(tmp_path, model(0), TEMPLATE, prompts[:2], 8)
    first = lines(tmp_path)
    before(tmp_path, model(1), TEMPLATE, prompts, 8)
    assert lines(tmp_path)[:2] == first
    assert all(line["before"] for line in lines(tmp_path)[2:])
    before(tmp_path, model(1), TEMPLATE, prompts[:2], 9)  # another length: not comparable
    assert all(line["max_new_tokens"] == 9 for line in lines(tmp_path))


def test_a_torn_file_is_made_again(tmp_path: Path, prompts: list[Prompt]) -> None:
    before(tmp_path, model(), TEMPLATE, prompts, 4)
    whole = (tmp_path / "examples.jsonl").read_bytes()
    (tmp_path / "examples.jsonl").write_bytes(whole[: len(whole) // 2])
    before(tmp_path, model(), TEMPLATE, prompts, 4)
    assert (tmp_path / "examples.jsonl").read_bytes() == whole


def test_no_prompts_no_file(tmp_path: Path) -> None:
    before(tmp_path, None, TEMPLATE, [], 4)
    after(tmp_path, None, TEMPLATE, [], 4)
    assert list(tmp_path.iterdir()) == []


def test_a_model_whose_positions_end(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=261, n_embd=32, n_layer=1, n_head=2, n_positions=20)
    policy = GPT2LMHeadModel(config).eval()
    asked = [Prompt(tuple(range(1, n + 1)), f"p{n}", "full") for n in (20, 17, 5)]
    before(tmp_path, policy, TEMPLATE, asked, 6)
    none, short, whole = (line["before"] for line in lines(tmp_path))
    assert none is None
    assert short == dict(zip(("text", "ended"), greedy(policy, asked[1].ids, 3), strict=True))
    assert whole == dict(zip(("text", "ended"), greedy(policy, asked[2].ids, 6), strict=True))


def test_a_broken_model_costs_the_examples_and_not_the_run(
    tmp_path: Path, prompts: list[Prompt], capsys: pytest.CaptureFixture[str]
) -> None:
    policy = model()
    before(tmp_path, policy, TEMPLATE, prompts, 4)
    with torch.no_grad():
        next(policy.parameters()).fill_(float("nan"))
    after(tmp_path, policy, TEMPLATE, prompts, 4)
    assert all(line["before"] and line["after"] is None for line in lines(tmp_path))
    assert (
        "examples after: the model's log-probabilities are not numbers" in capsys.readouterr().err
    )


def test_a_folder_that_cannot_be_written(tmp_path: Path, prompts: list[Prompt]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        before(tmp_path / "file", model(), TEMPLATE, prompts, 4)
    with pytest.raises(RunError, match="cannot be written"):
        after(tmp_path / "absent", model(), TEMPLATE, prompts, 4)


def test_any_text_is_one_line_of_json(tmp_path: Path) -> None:
    odd = Prompt((1, 2), 'a\n"<b>\x1b\u2028', "full", chosen="\x00")
    before(tmp_path, model(), TEMPLATE, [odd], 2)
    (line,) = (tmp_path / "examples.jsonl").read_bytes().splitlines()
    assert json.loads(line)["prompt"] == odd.prompt
