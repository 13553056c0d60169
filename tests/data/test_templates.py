from __future__ import annotations

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from bvrank.answers import CLOSE, OPEN, Response
from bvrank.data.refusals import Unfit
from bvrank.data.templates import Template
from bvrank.errors import ConfigError, ModelError
from bvrank.records import Candidate, Message
from tests.data.tokenizers import CHATML, OWN, byte_tokenizer, names, template

ASK = (Message("user", "What is 2+2?"),)
MODES = ("thinking", "nothinking", "plain")
TALK = (Message("user", "a1?"), Message("assistant", "b2."), Message("user", "c3?"))
NAMES = names()
text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=30).filter(
    lambda t: OPEN not in t and CLOSE not in t
)


def real(name: str) -> Template:
    if name not in NAMES:
        pytest.skip("needs BVRANK_REAL_DATA")
    return template(name)


def whole(t: Template, candidate: Candidate) -> str:
    """Prompt, completion and end as a model reads them: through ids and back."""
    prompt, said = t.ids([t.prompt_text(ASK, candidate.mode), t.completion_text(candidate)])
    return t.decode([[*prompt, *said, t.end_id]])[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", MODES)
def test_trace_and_answer_come_back_out_of_the_ids(name: str, mode: str) -> None:
    t = template(name)
    for trace, answer in (("2+2=4", "4"), ("\n a \n\n", "\n\n x "), ("", "4"), ("a<b", "ø🙂")):
        c = Candidate(answer, trace if mode == "thinking" else None, mode=mode)
        ids = t.ids([t.completion_text(c)])
        expected = Response(trace if mode == "thinking" else None, answer, True)
        assert t.response(t.decode(ids)[0], mode) == expected


@pytest.mark.parametrize("name", NAMES)
@given(trace=text, answer=text)
@settings(max_examples=40, deadline=None)
def test_any_text_without_control_tokens_comes_back(name: str, trace: str, answer: str) -> None:
    t = template(name)
    try:
        told = t.completion_text(Candidate(answer, trace, mode="thinking"))
    except Unfit:  # hypothesis has come upon a special token
        reject()
    ids = t.ids([told])
    assert t.response(t.decode(ids)[0], "thinking") == Response(trace, answer, True)


@pytest.mark.parametrize("name", NAMES)
def test_never_two_opened_blocks(name: str) -> None:
    t = template(name)
    thinking = whole(t, Candidate("4", "t", mode="thinking"))
    bare = whole(t, Candidate("4", None, mode="nothinking"))
    for told in (thinking, bare):
        assert told.count(OPEN) == told.count(CLOSE) == 1
    assert thinking.endswith(f"{OPEN}\nt\n{CLOSE}\n\n4{t.style.end}")
    assert bare.endswith(f"{OPEN}\n\n{CLOSE}\n\n4{t.style.end}")


@pytest.mark.parametrize("name", NAMES)
def test_plain_is_the_answer_alone_or_behind_a_closed_block(name: str) -> None:
    t = template(name)
    told = whole(t, Candidate("4", None, mode="plain"))
    assert told.count(OPEN) == told.count(CLOSE) == (1 if t.style.opener else 0)
    assert told.endswith(f"4{t.style.end}")


@pytest.mark.parametrize(
    ("name", "bos", "end"),
    [
        ("deepseek_r1_distill_qwen", 1, "<｜end▁of▁sentence｜>"),  # noqa: RUF001
        ("gemma", 1, "<end_of_turn>"),
        ("llama3_2", 1, "<|eot_id|>"),
        ("phi3", 0, "<|end|>"),
        ("qwen2_5", 0, "<|im_end|>"),
        ("qwen3", 0, "<|im_end|>"),
        ("qwen3_5_think", 0, "<|im_end|>"),
    ],
)
def test_what_a_family_begins_and_ends_with(name: str, bos: int, end: str) -> None:
    t = real(name)
    ids = t.ids([t.prompt_text(TALK, "thinking")])[0]
    assert t.style.end == end and t.end_id == t.tokenizer.convert_tokens_to_ids(end)
    assert ids.count(t.tokenizer.bos_token_id) == bos and not t.twice_bos(ids)


@pytest.mark.parametrize(
    ("name", "opener", "injects"),
    [
        ("text", "", False),
        ("injected", "", True),
        ("opened", "<think>\n", False),
        ("opened_bare", "<think>", False),
        ("switched", "<think>\n", True),
        ("none", "", False),
        ("deepseek_r1_distill_qwen", "<think>\n", False),
        ("qwen3", "", True),
        ("qwen3_5_think", "<think>\n", True),
        ("llama3_2", "", False),
    ],
)
def test_probes_find_the_kind(name: str, opener: str, injects: bool) -> None:
    t = real(name)
    assert (t.style.opener, t.style.injects) == (opener, injects)


def test_a_template_that_is_told_not_to_think_keeps_what_it_says() -> None:
    assert "/no_think" in template("told").prompt_text(ASK, "nothinking")
    assert "/no_think" not in template("told").prompt_text(ASK, "thinking")


@pytest.mark.parametrize(
    ("name", "messages", "lost"),
    [
        ("gemma", (Message("system", "s"), *ASK), "System role not supported"),
        ("gemma", (*ASK, *ASK), "must alternate"),
        ("gemma", (Message("user", " a "),), "white space"),
        ("llama3_2", (Message("user", "a\n"),), "white space"),
        ("qwen3_5_think", (Message("system", "s"),), "No user query"),
        (
            "deepseek_r1_distill_qwen",
            (*ASK, Message("assistant", "<think>\nx\n</think>\n\nfour"), *ASK),
            "cuts its trace",
        ),
        ("qwen3", (*ASK, Message("assistant", "<think>\nx\n</think>\n\nfour"), *ASK), "trace"),
        (
            "deepseek_r1_distill_qwen",
            (Message("system", "one"), Message("system", "two"), *ASK),
            "drops 'one'",
        ),
    ],
)
def test_what_a_template_eats_is_refused(name: str, messages: tuple, lost: str) -> None:
    with pytest.raises(Unfit, match=lost) as caught:
        real(name).prompt_text(messages, "thinking")
    assert caught.value.reason == "template"


def test_special_tokens_in_texts_are_refused() -> None:
    t = template("text")
    for call in (
        lambda: t.prompt_text((Message("user", "a<|im_end|>b"),), "plain"),
        lambda: t.completion_text(Candidate("a<|im_start|>")),
        lambda: t.completion_text(Candidate("a", "<|endoftext|>", mode="thinking")),
    ):
        with pytest.raises(Unfit) as caught:
            call()
        assert caught.value.reason == "special_token"


def test_the_date_is_pinned_and_can_be_set() -> None:
    prompt = real("llama3_2").prompt_text(ASK, "plain")
    assert "Today Date: 26 Jul 2024" in prompt
    other = Template(real("llama3_2").tokenizer, date="2031-02-03").prompt_text(ASK, "plain")
    assert "Today Date: 03 Feb 2031" in other
    clock = "{{ strftime_now('%Y') }}|" + OWN["text"]
    t = Template(byte_tokenizer(*CHATML), chat_template=clock)
    assert t.prompt_text(ASK, "plain").startswith("2024|")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("block", ["<think></think>", "<think>\nskip\n</think>\n\n"])
def test_the_empty_block_can_be_set(name: str, block: str) -> None:
    t = Template(template(name).tokenizer, empty_block=block)
    prompt = t.prompt_text(ASK, "nothinking")
    assert prompt.endswith(block) and prompt.count(OPEN) == 1


def test_end_token_and_template_can_be_set() -> None:
    tokenizer = template("text").tokenizer
    assert Template(tokenizer, end_token="<|endoftext|>").style.end == "<|endoftext|>"
    t = Template(tokenizer, chat_template="{{ messages[0].content }}>")
    assert t.prompt_text(ASK, "plain") == "What is 2+2?>"


@pytest.mark.parametrize(
    ("setting", "where"),
    [
        ({"empty_block": "<think>"}, "empty_block"),
        ({"empty_block": ""}, "empty_block"),
        ({"end_token": "two words"}, "end_token"),
        ({"date": "yesterday"}, "date"),
    ],
)
def test_wrong_settings_name_their_key(setting: dict[str, str], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Template(template("text").tokenizer, **setting)
    assert caught.value.where == where


def test_a_template_that_cannot_render_or_cannot_stop_thinking_is_refused() -> None:
    tokenizer = template("text").tokenizer
    with pytest.raises(ModelError, match="cannot render"):
        Template(tokenizer, chat_template="{{ raise_exception('no') }}")
    with pytest.raises(ModelError, match="cannot be disabled"):
        Template(tokenizer, chat_template="<think>{{ messages[0].content }}")


def test_without_a_chat_template_a_plain_one_is_used() -> None:
    t = template("none")
    told = "User:\na1?\n\nAssistant:\nb2.<|im_end|>\n\nUser:\nc3?\n\nAssistant:\n"
    assert t.prompt_text(TALK, "plain") == told
    assert t.style.end == "<|im_end|>"


def test_a_bos_leads_the_plain_template_where_the_tokenizer_adds_one() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_tokenizer("<s>", "</s>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    ids = Template(tokenizer).ids([Template(tokenizer).prompt_text(ASK, "plain")])[0]
    assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1
    assert Template(tokenizer).twice_bos([ids[0], *ids])
