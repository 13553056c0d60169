"""Cached, batched, compacted generation is plain ancestral sampling, row by row."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from bvrank.models.tiny import tiny_model
from bvrank.sampling.transformers import Sample, Sampling, generate

SHAPE = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 32}
PROMPTS = [[7, 8, 9], [1], [4, 5, 6, 7, 8, 9, 10], [1, 2, 3], [250, 3]]
STOPS = tuple(range(0, 261, 12))  # a random model ends after about a dozen tokens


def sharp(model: PreTrainedModel) -> PreTrainedModel:
    """Random weights are nearly uniform over tokens: larger ones make the context matter."""
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            if weight.ndim == 2:
                weight.normal_(std=0.12, generator=torch.Generator().manual_seed(number))
    return model.eval()


def models() -> dict[str, PreTrainedModel]:
    base = {"vocab_size": 261, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    sliding = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    torch.manual_seed(0)
    return {
        "tiny": sharp(tiny_model(0, **SHAPE)),
        "learned positions": sharp(
            GPT2LMHeadModel(GPT2Config(vocab_size=261, n_embd=32, n_layer=2, n_head=2))
        ),
        "sliding, grouped": sharp(Qwen2ForCausalLM(Qwen2Config(**base, **heads, **sliding))),
    }


MODELS = models()
TINY = MODELS["tiny"]


def draw(model: PreTrainedModel = TINY, prompts: Any = PROMPTS, **change: Any) -> Any:
    options = {"stop_ids": STOPS, "pad_id": 258, "seed": 11} | {
        key: change.pop(key) for key in ("stop_ids", "seed", "batch_size") if key in change
    }
    sampling = replace(Sampling(max_new_tokens=40, n=3), **change)
    return generate(model, prompts, sampling, **options)


@torch.inference_mode()
def log_probs(model: PreTrainedModel, prompt: list[int], sample: Sample) -> torch.Tensor:
    """[new tokens, vocabulary] from one uncached, unpadded pass."""
    logits = model(torch.tensor([[*prompt, *sample.ids]])).logits[0].double()
    return logits.log_softmax(-1)[len(prompt) - 1 : -1]


def ids(found: list[list[Sample]]) -> list[list[tuple[int, ...]]]:
    return [[sample.ids for sample in row] for row in found]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_log_probs_are_those_of_a_pass_without_cache(name: str, batch_size: int) -> None:
    model = MODELS[name]
    for prompt, row in zip(PROMPTS, draw(model, batch_size=batch_size), strict=True):
        for sample in row:
            tokens = torch.tensor(sample.ids)[:, None]
            expected = log_probs(model, prompt, sample).gather(1, tokens).sum()
            assert sample.logp == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_greedy_is_the_argmax_of_every_step(name: str) -> None:
    for prompt, row in zip(PROMPTS, draw(MODELS[name], temperature=0), strict=True):
        assert len(row) == 3 and len(set(row)) == 1
        assert log_probs(MODELS[name], prompt, row[0]).argmax(-1).tolist() == list(row[0].ids)


def test_a_sample_ends_at_its_first_stop_token_or_at_the_limit() -> None:
    found = [sample for row in draw(prompts=PROMPTS * 10) for sample in row]
    for sample in found:
        hits = [at for at, token in enumerate(sample.ids) if token in STOPS]
        assert hits == ([len(sample.ids) - 1] if sample.finished else [])
        assert sample.finished or len(sample.ids) == 40
    assert {sample.finished for sample in found} == {True, False}


def test_without_stop_tokens_all_run_to_the_limit() -> None:
    found = draw(stop_ids=())
    assert {(len(s.ids), s.finished) for row in found for s in row} == {(40, False)}


def test_the_seed_decides_and_samples_differ() -> None:
    assert draw() == draw()
    assert ids(draw()) != ids(draw(seed=12))
    assert all(len(set(row)) == 3 for row in ids(draw()))


@pytest.mark.parametrize("batch_size", [1, 2, 6, 9, 15])
def test_batching_changes_no_token(batch_size: int) -> None:
    assert ids(draw(batch_size=batch_size)) == ids(draw(batch_size=256))


def test_batch_mates_change_no_token() -> None:
    mates = [PROMPTS[0], [9] * 30, PROMPTS[2], [3], PROMPTS[4]]
    assert ids(draw(prompts=mates))[::2] == ids(draw())[::2]


def test_more_samples_begin_with_the_fewer() -> None:
    assert [row[:2] for row in ids(draw(n=5))] == ids(draw(n=2))


def tokens_drawn(**change: Any) -> Counter[int]:
    found = draw(prompts=[[5, 6]], max_new_tokens=1, n=20_000, **change)
    return Counter(sample.ids[0] for sample in found[0])


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_frequencies_are_the_probabilities(temperature: float) -> None:
    with torch.inference_mode():
        logits = TINY(torch.tensor([[5, 6]])).logits[0, -1].double()
    probs = (logits / temperature).softmax(-1)
    counts = tokens_drawn(temperature=temperature)
    # z is standard normal where np is large; 261 tokens stay below 4.5 but once in 600 trials
    z = [
        (counts[t] - 20_000 * p) / (20_000 * p) ** 0.5
        for t, p in enumerate(probs.tolist())
        if p > 1e-3
    ]
    assert len(z) > 10 and max(map(abs, z)) < 4.5


def test_top_p_keeps_the_smallest_sufficient_set() -> None:
    with torch.inference_mode():
        probs = TINY(torch.tensor([[5, 6]])).logits[0, -1].double().softmax(-1)
    best = probs.sort(descending=True)
    kept = int((best.values.cumsum(0) < 0.6).sum()) + 1
    counts = tokens_drawn(top_p=0.6)
    assert set(counts) == set(best.indices[:kept].tolist())
    share = best.values[0] / best.values[:kept].sum()
    assert counts[int(best.indices[0])] / 20_000 == pytest.approx(float(share), abs=0.02)


def test_logp_is_at_temperature_one_whatever_was_drawn_at() -> None:
    [[sample]] = draw(prompts=[[5, 6]], temperature=0.3, top_p=0.9, n=1)
    tokens = torch.tensor(sample.ids)[:, None]
    expected = log_probs(TINY, [5, 6], sample).gather(1, tokens).sum()
    assert sample.logp == pytest.approx(float(expected), abs=1e-4)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model(0, **SHAPE).train()
    model.model.layers[0].eval()
    before = [module.training for module in model.modules()]
    draw(model)
    assert [module.training for module in model.modules()] == before
    assert not any(p.is_inference() for p in model.parameters())


def test_progress_counts_prompts() -> None:
    seen: list[tuple[int, int]] = []
    generate(
        TINY,
        PROMPTS,
        Sampling(n=2, max_new_tokens=2),
        stop_ids=(),
        pad_id=258,
        seed=0,
        batch_size=4,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_nothing_asked_nothing_drawn() -> None:
    assert draw(prompts=[]) == []


def test_an_empty_prompt_is_named() -> None:
    with pytest.raises(ValueError, match=r"prompts\[1\] is empty"):
        draw(prompts=[[1], []])


def test_broken_weights_are_told() -> None:
    model = tiny_model(0, **SHAPE)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="new token 1"):
        draw(model)


@pytest.mark.parametrize(
    "bad", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"max_new_tokens": 0}, {"n": 0}]
)
def test_settings_out_of_range_are_named(bad: dict[str, Any]) -> None:
    [(name, value)] = bad.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        Sampling(**bad)
