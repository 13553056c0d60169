"""The tokenizer is exact on any text; the model is a function of its seed."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from bvrank.models.tiny import CHAT_TEMPLATE, tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>"]
# Lone surrogates are not text: they have no UTF-8 form.
texts = st.text(st.characters(exclude_categories=["Cs"]))
ASK = [{"role": "user", "content": " 1+1=? "}]


@given(texts)
def test_any_text_is_its_bytes_and_back(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    if not any(special in text for special in SPECIALS):
        assert ids == list(text.encode())
    assert TOKENIZER.decode(ids) == text


@given(st.lists(st.one_of(texts, st.sampled_from(SPECIALS))))
def test_special_tokens_among_text_survive(parts: list[str]) -> None:
    text = "".join(parts)
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


@given(texts, texts)
def test_joining_texts_joins_their_ids(left: str, right: str) -> None:
    whole = TOKENIZER(left + right)["input_ids"]
    if not any(special in left + right for special in SPECIALS):
        assert whole == TOKENIZER(left)["input_ids"] + TOKENIZER(right)["input_ids"]


def test_each_special_is_one_token_and_nothing_is_added() -> None:
    assert [TOKENIZER(s)["input_ids"] for s in SPECIALS] == [[256], [257], [258], [259], [260]]
    assert len(TOKENIZER) == 261
    assert (TOKENIZER.eos_token, TOKENIZER.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert TOKENIZER.bos_token is None
    assert (
        TOKENIZER.decode([259, 49, 260, 50, 257], skip_special_tokens=True) == "<think>1</think>2"
    )


def test_the_template_renders_each_role_verbatim() -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        *ASK,
        {"role": "assistant", "content": "<think>\n1+1=2\n</think>\n\n2"},
    ]
    assert TOKENIZER.apply_chat_template(chat, tokenize=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n 1+1=? <|im_end|>\n"
        "<|im_start|>assistant\n<think>\n1+1=2\n</think>\n\n2<|im_end|>\n"
    )


@pytest.mark.parametrize(
    ("option", "tail"),
    [
        ({}, ""),
        ({"enable_thinking": True}, ""),
        ({"enable_thinking": False}, "<think>\n\n</think>\n\n"),
    ],
)
def test_the_generation_prompt_closes_thinking_on_request(
    option: dict[str, bool], tail: str
) -> None:
    prompt = "<|im_start|>user\n 1+1=? <|im_end|>\n<|im_start|>assistant\n" + tail
    render = TOKENIZER.apply_chat_template
    assert render(ASK, tokenize=False, add_generation_prompt=True, **option) == prompt
    ids = render(ASK, add_generation_prompt=True, return_dict=False, **option)
    assert ids == TOKENIZER(prompt)["input_ids"]


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(Exception, match="role 'tool'"):
        TOKENIZER.apply_chat_template([{"role": "tool", "content": ""}], tokenize=False)


def test_weights_follow_the_seed_and_leave_the_global_random_state() -> None:
    state = torch.random.get_rng_state()
    one, same, other = tiny_model(1), tiny_model(1), tiny_model(2)
    assert torch.equal(state, torch.random.get_rng_state())
    pairs = list(zip(one.parameters(), same.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_the_shape_is_as_promised() -> None:
    model = tiny_model(0)
    assert 400_000 <= sum(p.numel() for p in model.parameters()) <= 1_000_000
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config._attn_implementation == "sdpa"
    assert model.config.max_position_embeddings == 32_768
    assert model.config.eos_token_id == TOKENIZER.eos_token_id


def test_a_width_the_heads_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden_size=100 with heads=4.*multiple of 8"):
        tiny_model(0, hidden_size=100)


def test_save_and_load_give_the_same_back(tmp_path: Path) -> None:
    model = tiny_model(5, hidden_size=32, layers=1, intermediate_size=32)
    model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = torch.tensor([TOKENIZER("3+5=? \x00 é 😀 <think>")["input_ids"]])
    assert torch.equal(loaded(ids).logits, model.eval()(ids).logits)
    assert tokenizer("3+5=? \x00 é 😀 <think>")["input_ids"] == ids[0].tolist()
    assert tokenizer.decode(ids[0]) == "3+5=? \x00 é 😀 <think>"
    assert tokenizer.chat_template.rstrip() == CHAT_TEMPLATE.rstrip()
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (257, 258)
