"""Batched sampling from any Hugging Face causal language model, with a key-value cache.

Prompts of similar length share a batch, padded on the left; a prompt is read once for all of its
samples; sequences that have ended leave the batch. Each sample draws from a random stream of its
own, keyed by (seed, row, sample): batch mates and batch size change a row by float rounding only,
which can turn a draw that falls within about 1e-6 of the border between two tokens.

Shape letters: P prompts of a batch, R sequences in flight, T positions, W vocabulary.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

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
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompts[{row}] is empty: a prompt needs at least one token.")
    copies = 1 if sampling.temperature == 0 else sampling.n
    found: list[list[Sample]] = [[] for _ in prompts]
    done = 0
    with _evaluating(model), torch.inference_mode():
        for rows in _batches(prompts, max(1, batch_size // copies)):
            flight = _Flight(model, [prompts[row] for row in rows], copies, sampling, pad_id)
            flight.run(_stream_keys(seed, rows, copies), stop_ids)
            for row, samples in zip(rows, flight.samples(), strict=True):
                found[row] = samples * (sampling.n // copies)
            done += len(rows)
            if on_progress is not None:
                on_progress(done, len(prompts))
    return found


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.train(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _batches(prompts: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Row numbers, longest prompts first: what does not fit in memory fails at once."""
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


class _Flight:
    """The sequences of one batch: R = P x copies slots, of which those in `live` are still decoded."""

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
        self.cache = _roomy_cache(model)
        self.logits = self._forward(ids, mask if self.mask is not None else None)  # [P,W]
        if copies > 1:
            self.logits = self.logits.repeat_interleave(copies, 0)  # [R,W]
            self.cache.batch_repeat_interleave(copies)

    def run(self, keys: NDArray[np.uint64], stop_ids: Collection[int]) -> None:
        """Draw tokens until every sequence has ended or is max_new_tokens long."""
        stops = torch.tensor(sorted(stop_ids), dtype=torch.int64, device=self.live.device)
        for step in range(self.sampling.max_new_tokens):
            uniforms = torch.from_numpy(_uniforms(keys, step)).to(self.live.device)
            drawn = _draw(self.logits, uniforms[self.live], self.sampling)  # [R]
            self._record(step, drawn, stops)
            running = ~self.finished[self.live]
            left = int(running.sum())
            if left == 0 or step + 1 == self.sampling.max_new_tokens:
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


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A cache layer with room to spare: DynamicLayer copies all it holds for every new token.

    `keys` and `values` [R,heads,T,width] stay views of the rooms, so everything else is inherited.
    """

    rooms: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        past = self.get_seq_length()
        if past == 0:
            return super().update(key_states, value_states, *args, **kwargs)
        total = past + key_states.shape[-2]
        if self.rooms is None or self.rooms[0].shape[-2] < total:
            assert self.keys is not None and self.values is not None  # past > 0
            self.rooms = _room(self.keys, total), _room(self.values, total)
        for room, new in zip(self.rooms, (key_states, value_states), strict=True):
            room[..., past:total, :] = new
        self.keys, self.values = (room[..., :total, :] for room in self.rooms)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.rooms = None

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self.rooms = None


def _room(held: Tensor, total: int) -> Tensor:
    """held [R,heads,T,width] at the start of a buffer with half as many positions again as total."""
    room = held.new_empty(*held.shape[:2], total + total // 2, held.shape[3])
    room[..., : held.shape[2], :] = held
    return room


def _roomy_cache(model: PreTrainedModel) -> DynamicCache:
    """The cache the model would build; layers of other kinds (sliding, linear) stay as they are."""
    cache = DynamicCache(config=model.config)
    roomy: Callable[[], DynamicLayer] = _RoomyLayer
    cache.layers = [roomy() if type(x) is DynamicLayer else x for x in cache.layers]
    return cache


def _left_padded(
    prompts: list[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """ids int64 [P,T] and mask int64 [P,T], 0 on padding: the last token of all prompts aligns."""
    width = max(map(len, prompts))
    ids = [[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _draw(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """The token [R] at which the cumulative probability of logits [R,W] passes uniforms [R]."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probs = (logits / sampling.temperature).softmax(-1)
    if sampling.top_p == 1:
        return _invert(probs, uniforms)
    probs, order = probs.sort(-1, descending=True)
    probs[probs.cumsum(-1) - probs >= sampling.top_p] = 0  # the first is always kept
    return order.gather(1, _invert(probs, uniforms)[:, None]).squeeze(1)


def _invert(probs: Tensor, uniforms: Tensor) -> Tensor:
    """Inverse of the cumulative distribution; float64, as 150,000 float32 terms lose 1e-4."""
    cumulative = probs.cumsum(-1, dtype=torch.float64)  # [R,W], need not end at 1
    target = uniforms[:, None] * cumulative[:, -1:]
    found = torch.searchsorted(cumulative, target, right=True).squeeze(1)
    return found.clamp(
        max=probs.shape[-1] - 1
    )  # a row of NaN finds no place: reported with its logp


def _stream_keys(seed: int, rows: list[int], copies: int) -> NDArray[np.uint64]:
    """One key per sequence [R]; rows are positions in `prompts`, so batching does not matter."""
    row = np.repeat(np.array(rows, dtype=np.uint64), copies)
    copy = np.tile(np.arange(copies, dtype=np.uint64), len(rows))
    start = np.full(len(row), seed % 2**64, dtype=np.uint64)
    return _mix(_mix(_mix(start) + row) + copy)


def _uniforms(keys: NDArray[np.uint64], step: int) -> NDArray[np.float64]:
    """The `step`-th uniform of every stream, in [0, 1) with 40 bits: times a sum it stays below it."""
    return (_mix(keys + np.uint64(step)) >> np.uint64(24)).astype(np.float64) * 2.0**-40


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele et al., 2014): a counter-based generator, so streams need no state."""
    state = (state + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
