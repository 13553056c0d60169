"""Batched sampling from any Hugging Face causal language model, with a key-value cache.

Prompts of similar length share a batch, padded on the left; a prompt is read once for all of its
samples; sequences that have ended leave the batch. Each sample draws from a random stream of its
own, keyed by (seed, row, sample): batch mates and batch size change a row by float rounding only,
which can turn a draw that falls within about 1e-6 of the border between two tokens.

Shape letters: P prompts of a batch, R sequences in flight, T positions, W vocabulary.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bvrank.sampling.cache import roomy_cache
from bvrank.sampling.drawing import StreamKeys, draw, stream_keys, uniforms

# Ended sequences ride along until an eighth of the batch has ended: dropping them copies the cache.
COMPACT_AT = 7 / 8


@dataclass(frozen=True)
class Sampling:
    """How to draw. temperature 0 is greedy: the n samples are then equal and computed once."""

    temperature: float = 1.0
    top_p: float = 1.0  # smallest set of most likely tokens whose probability reaches this
    max_new_tokens: int = 256  # stop token included
    n: int = 4  # samples per prompt

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"temperature={self.temperature}, top_p={self.top_p}: "
                "temperature must be >= 0 and top_p in (0, 1]."
            )
        if self.max_new_tokens < 1 or self.n < 1:
            raise ValueError(
                f"max_new_tokens={self.max_new_tokens}, n={self.n}: both must be >= 1."
            )


@dataclass(frozen=True)
class Sample:
    """One continuation: its tokens without the prompt, with the stop token where one was drawn."""

    ids: tuple[int, ...]
    logp: float  # nats, summed over ids, under the model at temperature 1 and top_p 1
    finished: bool  # a stop token was drawn


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    stop_ids: Collection[int],
    pad_id: int,
    seed: int,
    batch_size: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[list[Sample]]:
    """`sampling.n` continuations of every prompt, in the order of `prompts`.

    batch_size counts sequences in flight (prompts x n; never fewer than n). on_progress receives
    (prompts done, prompts in all) after every batch. Raises ValueError on an empty prompt and
    FloatingPointError when the model's log-probabilities are not numbers.
    """
    found: list[list[Sample]] = [[] for _ in prompts]
    done = 0
    batches = in_batches(prompts, sampling, batch_size)
    for rows, groups in sampled(
        model, prompts, batches, sampling, stop_ids=stop_ids, pad_id=pad_id, seed=seed
    ):
        for row, samples in zip(rows, groups, strict=True):
            found[row] = samples
        done += len(rows)
        if on_progress is not None:
            on_progress(done, len(prompts))
    return found


def sampled(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    batches: Iterable[list[int]],
    sampling: Sampling,
    *,
    stop_ids: Collection[int],
    pad_id: int,
    seed: int,
) -> Iterator[tuple[list[int], list[list[Sample]]]]:
    """For each batch of row numbers, them and their continuations; errors as of `generate`."""
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompts[{row}] is empty: a prompt needs at least one token.")
    copies = copies_of(sampling)
    for rows in batches:
        with _evaluating(model), torch.inference_mode():
            flight = _Flight(model, [prompts[row] for row in rows], copies, sampling, pad_id)
            flight.run(stream_keys(seed, rows, copies), stop_ids)
            groups = flight.samples()
        yield rows, [samples * (sampling.n // copies) for samples in groups]


def copies_of(sampling: Sampling) -> int:
    """How many continuations of a prompt are computed."""
    return 1 if sampling.temperature == 0 else sampling.n


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.train(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def in_batches(prompts: Sequence[Sequence[int]], sampling: Sampling, sequences: int
               ) -> Iterator[list[int]]:  # fmt: skip
    """Row numbers, longest prompts first: what does not fit in memory fails at once. `sequences`
    are in flight together (prompts x n; never fewer than n)."""
    size = max(1, sequences // copies_of(sampling))
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


class _Flight:
    """The sequences of one batch: P x copies slots, of which `live` [R] are still decoded."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: list[Sequence[int]],
        copies: int,
        sampling: Sampling,
        pad_id: int,
    ) -> None:
        self.model, self.copies, self.sampling = model, copies, sampling
        ids, mask = _left_padded(prompts, pad_id, model.device)  # [P,T] each
        slots, self.width = len(prompts) * copies, ids.shape[1]
        self.tokens = ids.new_zeros(slots, sampling.max_new_tokens)
        self.logps = torch.zeros(slots, dtype=torch.float64, device=ids.device)
        self.lengths = ids.new_zeros(slots)
        self.finished = torch.zeros(slots, dtype=torch.bool, device=ids.device)
        self.live = torch.arange(slots, device=ids.device)
        self.mask: Tensor | None = None
        if not mask.all():
            new = mask.new_ones(slots, sampling.max_new_tokens)
            self.mask = torch.cat([mask.repeat_interleave(copies, 0), new], 1)
        self.cache = roomy_cache(model)
        self.logits = self._forward(ids, mask if self.mask is not None else None)  # [P,W]
        if copies > 1:
            self.logits = self.logits.repeat_interleave(copies, 0)  # [R,W]
            self.cache.batch_repeat_interleave(copies)

    def run(self, keys: StreamKeys, stop_ids: Collection[int]) -> None:
        """Draw tokens until every sequence has ended or is max_new_tokens long."""
        stops = torch.tensor(sorted(stop_ids), dtype=torch.int64, device=self.live.device)
        how = self.sampling
        for step in range(how.max_new_tokens):
            places = uniforms(keys, step).to(self.live.device)[self.live]  # [R]
            drawn = draw(self.logits, places, how.temperature, how.top_p)  # [R]
            self._record(step, drawn, stops)
            running = ~self.finished[self.live]
            left = int(running.sum())
            if left == 0 or step + 1 == how.max_new_tokens:
                return
            if left <= COMPACT_AT * len(running):
                kept = running.nonzero().squeeze(1)
                self.live, drawn = self.live[kept], drawn[kept]
                self.cache.batch_select_indices(kept)
            mask = None if self.mask is None else self.mask[self.live, : self.width + step + 1]
            self.logits = self._forward(drawn[:, None], mask)

    def samples(self) -> list[list[Sample]]:
        """What was drawn, a list of `copies` per prompt."""
        found = [
            Sample(tuple(ids[:length]), logp, finished)
            for ids, length, logp, finished in zip(
                self.tokens.tolist(),
                self.lengths.tolist(),
                self.logps.tolist(),
                self.finished.tolist(),
                strict=True,
            )
        ]
        return [found[at : at + self.copies] for at in range(0, len(found), self.copies)]

    def _forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Logits of the last position [R,W]; the cache grows by ids [R,T]."""
        places = None if mask is None else (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1].float()
        return logits

    def _record(self, step: int, drawn: Tensor, stops: Tensor) -> None:
        logps = self.logits.log_softmax(-1).gather(1, drawn[:, None]).squeeze(1).double()  # [R]
        running = ~self.finished[self.live]
        slots, drawn, logps = self.live[running], drawn[running], logps[running]
        if logps.isnan().any():
            raise FloatingPointError(
                f"the model's log-probabilities are not numbers at new token {step + 1}: "
                "its weights or its precision are at fault, not the sampling."
            )
        self.tokens[slots, step] = drawn
        self.logps[slots] += logps
        self.lengths[slots] = step + 1
        self.finished[slots] = torch.isin(drawn, stops)


def _left_padded(
    prompts: list[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """ids int64 [P,T] and mask int64 [P,T], 0 on padding: the last token of all prompts aligns."""
    width = max(map(len, prompts))
    ids = [[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
