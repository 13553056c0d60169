"""Drawing a token: inverse transform sampling from random streams that need no state.

Shape letters: R sequences in flight, W vocabulary.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

StreamKeys = NDArray[np.uint64]


def draw(logits: Tensor, places: Tensor, temperature: float, top_p: float) -> Tensor:
    """The token [R] where the cumulative probability of logits [R,W] passes places [R]."""
    if temperature == 0:
        return logits.argmax(-1)
    probs = (logits / temperature).softmax(-1)
    if top_p == 1:
        return _invert(probs, places)
    probs, order = probs.sort(-1, descending=True)
    probs[probs.cumsum(-1) - probs >= top_p] = 0  # the first is always kept
    return order.gather(1, _invert(probs, places)[:, None]).squeeze(1)


def _invert(probs: Tensor, places: Tensor) -> Tensor:
    """Inverse of the cumulative distribution; float64, as 150,000 float32 terms lose 1e-4."""
    cumulative = probs.cumsum(-1, dtype=torch.float64)  # [R,W], need not end at 1
    target = places[:, None] * cumulative[:, -1:]
    found = torch.searchsorted(cumulative, target, right=True).squeeze(1)
    # A row of NaN finds no place: its token is any, its log-probability tells.
    return found.clamp(max=probs.shape[-1] - 1)


def stream_keys(seed: int, rows: list[int], copies: int) -> StreamKeys:
    """One key per sequence [R]; rows are positions in `prompts`, so batching does not matter."""
    row = np.repeat(np.array(rows, dtype=np.uint64), copies)
    copy = np.tile(np.arange(copies, dtype=np.uint64), len(rows))
    start = np.full(len(row), seed % 2**64, dtype=np.uint64)
    return _mix(_mix(_mix(start) + row) + copy)


def uniforms(keys: StreamKeys, step: int) -> Tensor:
    """The `step`-th uniform [R] of every stream; 40 bits: a sum times it stays below the sum."""
    bits = _mix(keys + np.uint64(step)) >> np.uint64(24)
    return torch.from_numpy(bits.astype(np.float64) * 2.0**-40)


def _mix(state: StreamKeys) -> StreamKeys:
    """SplitMix64 (Steele et al., 2014): a counter-based generator, so streams need no state."""
    state = (state + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
