"""What was drawn is as likely to the scorer as to the sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from bvrank.errors import ModelError
from bvrank.models.tiny import tiny_model
from bvrank.sampling.agreement import Agreement, agreement
from bvrank.sampling.local import Local, Transformers, Work
from bvrank.sampling.prompts import Arithmetic
from bvrank.sampling.responses import MODES, Made, Prompt
from bvrank.scoring.collate import Collator
from bvrank.scoring.scorer import Scorer, cost_of, packing
from tests.sampling.saying import TEMPLATE, TOKENIZER

PROMPTS = [p for p in Arithmetic(6, 0).prompts() if isinstance(p, Prompt)]


@pytest.fixture(scope="module")
def drawn() -> tuple[Any, list[tuple[Prompt, Made]]]:
    """A model that answers in form, and what it drew with its ids."""
    model = tiny_model(0, hidden_size=16, layers=2, heads=2, intermediate_size=16)
    generator = Local(model, TEMPLATE, Transformers(1.0, 0.9, 24, sequences=8))
    work = Work(PROMPTS, MODES, 2, 0, checked={(n, n % 2) for n in range(6)})
    made = [m for mode in MODES for b in generator.responses(work, mode, (), 0, 1) for m in b]
    return model, [(PROMPTS[m.row], m) for m in made if m.ids is not None]


def compared(model: Any, pairs: list[tuple[Prompt, Made]], tolerance: float = 1e-4) -> Agreement:
    module = Scorer(model).eval()
    collate = Collator(packing(model, "forest", torch.device("cpu")), cost_of(model))
    return agreement(pairs, collate, TEMPLATE, module, tolerance)


def in_form(model: Any, prompt: Prompt, text: str, mode: Any) -> Made:
    """A response of these ids, with the likelihood that the model gives them one by one."""
    front = TEMPLATE.ids([TEMPLATE.prompt_text(prompt.messages, mode)])[0]
    ids = [*TOKENIZER(text)["input_ids"], TEMPLATE.end_id]
    with torch.no_grad():
        logps = model(torch.tensor([front + ids])).logits.double().log_softmax(-1)[0]
    total = sum(float(logps[len(front) + i - 1, token]) for i, token in enumerate(ids))
    found = TEMPLATE.response(text, mode)
    return Made(mode, prompt.row, 0, found.trace, found.answer, True, "stop", logp=total,
                ids=tuple(ids))  # fmt: skip


def test_both_modes_agree(drawn: tuple[Any, Any]) -> None:
    model, _ = drawn
    pairs = [(p, in_form(model, p, "<think>\nso\n</think>\n\n7", "thinking")) for p in PROMPTS]
    pairs += [(p, in_form(model, p, "42", "nothinking")) for p in PROMPTS]
    pairs += [(p, in_form(model, p, "3", "thinking")) for p in PROMPTS]  # without a block
    found = compared(model, pairs)
    assert (found.compared, found.respelled) == (18, 0) and 0 < found.gap < 1e-5


def test_a_likelihood_that_is_off_is_an_error(drawn: tuple[Any, Any]) -> None:
    model, _ = drawn
    made = in_form(model, PROMPTS[0], "42", "nothinking")
    wrong = replace(made, logp=made.logp + 0.01)  # type: ignore[operator]
    with pytest.raises(ModelError, match=r"problem:1, nothinking.*a token, more than"):
        compared(model, [(PROMPTS[0], wrong)])
    assert compared(model, [(PROMPTS[0], wrong)], tolerance=0.1).compared == 1
    broken = replace(made, logp=float("nan"))
    with pytest.raises(ModelError):
        compared(model, [(PROMPTS[0], broken)])


def test_the_gap_is_that_of_the_whole_response_over_its_tokens(drawn: tuple[Any, Any]) -> None:
    """Of several responses the widest counts: 0.6 nats over 3 tokens, the end among them, are 0.2
    a token; 0.3 nats over 18 are less."""
    model, _ = drawn
    short = in_form(model, PROMPTS[0], "42", "nothinking")
    long = in_form(model, PROMPTS[1], "<think>\nso\n</think>\n\n7", "thinking")
    assert len(short.ids) == 3 < len(long.ids)  # type: ignore[arg-type]
    off = [(PROMPTS[0], replace(short, logp=short.logp - 0.6)),  # type: ignore[operator]
           (PROMPTS[1], replace(long, logp=long.logp + 0.3))]  # type: ignore[operator]  # fmt: skip
    for pairs in (off, off[::-1]):
        assert compared(model, pairs, 0.21).gap == pytest.approx(0.2, abs=1e-5)
    with pytest.raises(ModelError, match=r": 0\.2 a token, more than 0\.1"):
        compared(model, off, 0.1)


def test_other_weights_are_told(drawn: tuple[Any, Any]) -> None:
    model, _ = drawn
    other = tiny_model(1, hidden_size=16, layers=2, heads=2, intermediate_size=16)
    with pytest.raises(ModelError, match="scorer"):
        compared(other, [(PROMPTS[0], in_form(model, PROMPTS[0], "42", "nothinking"))])


def test_what_comes_back_as_other_tokens_is_counted(drawn: tuple[Any, Any]) -> None:
    """Without the newline of the form behind the block, the ids differ."""
    model, _ = drawn
    made = in_form(model, PROMPTS[0], "<think>\nso\n</think>7", "thinking")
    assert compared(model, [(PROMPTS[0], made)]) == Agreement({"thinking": (0, 1, 0)}, 0.0, 1e-4)


def test_what_has_no_end_or_no_answer_is_left_out_and_counted(drawn: tuple[Any, Any]) -> None:
    model, _ = drawn
    made = in_form(model, PROMPTS[0], "42", "nothinking")
    pairs = [(PROMPTS[0], replace(made, **how)) for how in ({"end": "length"}, {"answer": " "})]
    assert compared(model, pairs) == Agreement({"nothinking": (0, 0, 2)}, 0.0, 1e-4)


def test_the_samplers_own_log_probabilities_are_those_of_its_ids(drawn: tuple[Any, Any]) -> None:
    """What a draw says of itself, against one plain forward pass."""
    model, pairs = drawn
    for prompt, made in pairs:
        front = TEMPLATE.ids([TEMPLATE.prompt_text(prompt.messages, made.mode)])[0]
        with torch.no_grad():
            logps = model(torch.tensor([front + list(made.ids)])).logits.double().log_softmax(-1)[0]
        total = sum(float(logps[len(front) + i - 1, t]) for i, t in enumerate(made.ids))
        assert made.logp == pytest.approx(total, abs=1e-4 * len(made.ids))
