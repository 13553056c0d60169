from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from bvrank.data.checks import (
    Rendered,
    boundary_shifts,
    cut_traces,
    loose_key,
    missing_bos,
    near_leaks,
    rendered,
    repeated,
    think_blocks,
)
from bvrank.data.encoding import encode
from bvrank.data.templates import Template
from bvrank.records import Candidate, Example, Message
from tests.data.tokenizers import OWN, names, template

THINK = Candidate("a", "t", "full", "thinking", 1.0)
PLAIN = Candidate("yes", None, "full", "plain", 1.0)


def example(prompt: str, *candidates: Candidate, where: str = "f:1") -> Example:
    return Example(where, (Message("user", prompt),), candidates)


def merging(bos: bool = False, chat: str = OWN["text"]) -> Template:
    """Bytes, and one token for two newlines; with a BOS before any text where asked for."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate([*alphabet, "\u010a\u010a"])}
    core = Tokenizer(BPE(vocab=vocabulary, merges=[("\u010a", "\u010a")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(t, special=True) for t in ("<s>", "<|im_end|>")])
    if bos:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="<|im_end|>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = chat
    return Template(tokenizer)


@pytest.mark.parametrize("name", names())
def test_the_adapter_gives_no_cause_in_any_template(name: str) -> None:
    """Of what it renders itself: traces, none, and an empty one."""
    made = template(name)
    rows = list(rendered([
        example("q", THINK, replace(THINK, trace="", answer="b")),
        example("q", Candidate("a", None, "bare", "nothinking"), where="f:2"),
        example("q", PLAIN, where="f:3"),
    ], made))  # fmt: skip
    assert len(rows) == 4
    assert not [*boundary_shifts(rows), *think_blocks(rows), *missing_bos(rows, made)]


def test_ids_are_those_that_encoding_trains_on() -> None:
    made = merging()
    row = example("q", THINK, PLAIN)
    (tree,), _ = encode([row], made, views=("full",), max_length=99)
    for r, branch, path in zip(
        rendered([row], made), tree.branches, tree.paths()[-2:], strict=True
    ):
        ids = [int(i) for s in path for i in tree.segments[s].ids]
        assert tuple(ids) == (*r.prompt_ids, *r.ids, made.end_id)
        assert branch.segments[-1] == path[-1]


def test_a_token_across_the_boundary_is_found() -> None:
    made = merging()
    rows = [example("q", PLAIN), example("q", replace(PLAIN, answer="\nyes"), where="f:2")]
    (flaw,) = boundary_shifts(rendered(rows, made))
    assert (flaw.where, flaw.reason) == ("f:2", "boundary_shift")


def test_a_bos_that_is_missing_and_one_too_many() -> None:
    rows = [example("q", PLAIN)]
    without, once, twice = (merging(True, start + OWN["text"]) for start in
                            ("", "{{ bos_token }}", "{{ bos_token }}{{ bos_token }}"))  # fmt: skip
    assert [f.where for f in missing_bos(rendered(rows, without), without)] == ["f:1"]
    assert not list(missing_bos(rendered(rows, once), once))
    assert not list(missing_bos(rendered(rows, merging()), merging()))  # adds none by itself
    _, refused = encode(rows, twice, views=("full",), max_length=99)
    assert [r.reason for r in refused] == ["double_bos"]


def read(prompt: str, text: str, mode: Any = "thinking") -> Rendered:
    return Rendered("f:1", Candidate("a", "t", "full", mode), prompt, text, (), (), ())


@pytest.mark.parametrize(
    ("prompt", "text", "mode", "reason"),
    [
        ("A:", "<think>\nt\n</think>\n\na", "thinking", None),
        ("A:<think>\n", "t\n</think>\n\na", "thinking", None),
        ("A:<think>\n\n</think>\n\n", "a", "nothinking", None),
        ("A:", "a", "plain", None),
        ("U: <think>x</think> A:", "a", "plain", None),
        ("A:<think>\n", "<think>\nt\n</think>\n\na", "thinking", "opened_twice"),
        ("A:", "<think>\n<think>\nt\n</think>\n\na", "thinking", "opened_twice"),
        ("A:", "<think>\nt</think>u\n</think>\n\na", "thinking", "closed_twice"),
        ("A:<think>\n", "a", "nothinking", "left_open"),
        ("A:<think>\n", "a", "plain", "left_open"),
        ("A:", "a", "nothinking", "left_open"),
        ("U: <think>x A:<think>\n", "t\n</think>\n\na", "thinking", "left_open"),
    ],
)
def test_blocks_open_and_close_once(prompt: str, text: str, mode: Any, reason: str | None) -> None:
    assert [f.reason for f in think_blocks([read(prompt, text, mode)])] == ([reason] * bool(reason))


def test_traces_that_are_cut_are_those_that_encoding_cuts() -> None:
    made = template("text")
    rows = [example("q", replace(THINK, trace="t" * n), where=f"f:{n}") for n in range(1, 60, 7)]
    kept, _ = encode(rows, made, views=("full",), max_length=60, overlong="truncate_trace_middle")
    longer = {r.where: len(r.prompt_ids) + len(r.ids) + 1 for r in rendered(rows, made)}
    cut = {row.where for row in kept if row.longest < longer[row.where]}
    assert {f.where for f in cut_traces(rows, rendered(rows, made), 60)} == cut != set(longer)


def pair(where: str, better: str, worse: str, prompt: str = "Who?") -> Example:
    return example(
        prompt, Candidate(better, None, "full", "plain", 1.0), Candidate(worse), where=where
    )


def test_repetition_and_contradiction() -> None:
    rows = [
        pair("f:1", "x", "y"), pair("f:2", "X ", " y", "who?"), pair("f:3", "y", "x"),
        pair("f:4", "x", "z"), pair("f:5", "x", "y", "Whom?"), pair("f:1", "x", "y"),
    ]  # fmt: skip
    assert [(f.where, f.reason, f.detail) for f in repeated(rows)] == [
        ("f:2", "duplicate", "as f:1"), ("f:3", "contradiction", "against f:1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What is it?", "what  is it", True), ("\u201cIt\u201d, then", '"It" then', True),
        ("\ufb01x", "fix", True), ("2+2?", "2+2 ?", True),
        ("3.5", "35", False), ("-5", "5", False), ("5!", "5", False), ("(3+5)*2", "3+(5*2)", False),
        ("f'(x)", "f(x)", False), ("", "a", False),
    ],
)  # fmt: skip
def test_near_is_near_and_not_more(one: str, other: str, same: bool) -> None:
    assert (loose_key(example(one)) == loose_key(example(other))) is same


def test_near_leaks_are_those_that_the_split_lets_through() -> None:
    train = [example("What is it", where="t:1"), example("what IS it?", where="t:2"),
             example("Else", where="t:3")]  # fmt: skip
    held = [example("What is it?", where="h:1")]
    assert [(f.where, f.detail) for f in near_leaks(train, held)] == [("t:1", "near h:1")]
    assert not list(near_leaks(train, []))
