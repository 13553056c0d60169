"""The enumerable reasoning model: every trace there can be, and its exact probability.

    prompt -> <think> -> trace of `length` symbols -> </think> -> answer, one symbol
    prompt -> <think> -> </think> -> answer                        the trace disabled

Traces and answers are written in `alphabet` symbols; the output head knows no others, and the two
tags are context that is not scored. So the alphabet^length traces are all there are, and
sum over r and y of pi(r,y|x) is 1. Everything is float64.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from bvrank.lab.shape import BareFrom, Shape
from bvrank.records import BARE, FULL, Branch, Encoded, Segment

_DRAWING = threading.Lock()  # transformers draws from the one global generator


def model(shape: Shape, seed: int) -> Any:
    """Random float64 weights drawn from `seed`; the head knows the alphabet alone."""
    config = Qwen3Config(
        vocab_size=shape.alphabet + 2 + shape.prompts, hidden_size=shape.hidden_size,
        intermediate_size=2 * shape.hidden_size, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.heads,
        head_dim=shape.hidden_size // shape.heads, initializer_range=shape.hidden_size**-0.5,
        max_position_embeddings=shape.length + 5, tie_word_embeddings=False,
    )  # fmt: skip
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        made: Any = Qwen3ForCausalLM(config)
        head = nn.Linear(shape.hidden_size, shape.alphabet, bias=False)
        nn.init.normal_(head.weight, std=shape.spread * shape.hidden_size**-0.5)
    made.lm_head = head
    made.set_attn_implementation("eager")  # torch.func maps it
    return made.double().eval()


@dataclass(frozen=True)
class Pairs:
    """Two answers of each prompt, better and worse, as symbols: `full` [N,2] of D_t, `bare` [N,2]
    of D_e."""

    full: np.ndarray
    bare: np.ndarray


@dataclass(frozen=True)
class Language:
    """What can be said in a world: ids and trees of every candidate."""

    shape: Shape

    @cached_property
    def traces(self) -> np.ndarray:
        """Every trace [R,length], in the order of counting."""
        symbols = range(self.shape.alphabet)
        return np.array(list(itertools.product(symbols, repeat=self.shape.length)), np.int32)

    def tree(self, prompt: int, full: np.ndarray, bare: np.ndarray,
             traces: Sequence[np.ndarray]) -> Encoded:  # fmt: skip
        """The prompt's candidates: in view full each answer of `full` [F] behind each of its own
        `traces` (F of [S,length]), in view bare the answers of `bare`; the better ones first."""
        grown = _Grown([Segment(-1, self._ids(self._prompt(prompt), self._think))])
        closed: dict[bytes, int] = {}  # a trace that two answers share stands once
        for side, (answer, own) in enumerate(zip(full, traces, strict=True)):
            for trace in own:
                if trace.tobytes() not in closed:
                    body = grown.segment(0, trace)
                    closed[trace.tobytes()] = grown.segment(body, self._ids(self._unthink))
                end = closed[trace.tobytes()]
                body = grown.segments[end].parent
                grown.branch(FULL, (body, grown.segment(end, self._ids(answer))), side)
        empty = 0
        for side, answer in enumerate(bare):
            empty = empty or grown.segment(0, self._ids(self._unthink))
            grown.branch(BARE, (grown.segment(empty, self._ids(answer)),), side)
        return Encoded(f"prompt {prompt}", tuple(grown.segments), tuple(grown.branches))

    @property
    def _think(self) -> int:
        return self.shape.alphabet

    @property
    def _unthink(self) -> int:
        return self.shape.alphabet + 1

    def _prompt(self, number: int) -> int:
        return self.shape.alphabet + 2 + number

    @staticmethod
    def _ids(*ids: int) -> np.ndarray:
        return np.array(ids, np.int32)


class _Grown:
    """A tree that grows."""

    def __init__(self, segments: list[Segment]) -> None:
        self.segments, self.branches = segments, list[Branch]()

    def segment(self, parent: int, ids: np.ndarray) -> int:
        self.segments.append(Segment(parent, ids))
        return len(self.segments) - 1

    def branch(self, view: str, segments: tuple[int, ...], side: int) -> None:
        """`side` 0 is the better answer."""
        self.branches.append(Branch(view, segments, 1.0 - side, side + 1, side))


def drawn_pairs(answers: Tensor, bare: Tensor, bare_from: BareFrom, seed: int) -> Pairs:
    """Two different answers of each prompt, drawn from the reference's pi(y|x) [N,A] and, with the
    trace disabled, [N,A]; ranked by a hidden quality of (prompt, answer). `reuse`: D_e has the
    answers of D_t."""
    generator = np.random.default_rng([seed, 1])
    quality = generator.standard_normal(tuple(answers.shape))

    def two(chances: np.ndarray, prompt: int) -> np.ndarray:
        pair = generator.choice(len(chances), 2, replace=False, p=chances / chances.sum())
        return pair[np.argsort(-quality[prompt, pair])]

    full = np.array([two(p, i) for i, p in enumerate(answers.numpy())])
    fresh = np.array([two(p, i) for i, p in enumerate(bare.numpy())])
    return Pairs(full, full if bare_from == "reuse" else fresh)
