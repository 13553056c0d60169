"""A policy that says what a test wants, in place of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from bvrank.data.templates import Template
from bvrank.models.tiny import UNTHINK, tiny_tokenizer
from bvrank.sampling import local
from bvrank.sampling.local import Local, Transformers
from bvrank.sampling.transformers import Sample, Sampling

TOKENIZER = tiny_tokenizer()
TEMPLATE = Template(TOKENIZER)
Say = Callable[[str, bool, int], tuple[str, bool]]


def sample(text: str, finished: bool) -> Sample:
    ids = TOKENIZER(text)["input_ids"]
    return Sample(tuple(ids) + (TEMPLATE.end_id,) * finished, -1.0, finished)


def saying(monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    """Replaces the model: say(answer, thinking, turn) gives the text and whether it ended."""

    def generate(model: Any, prompts: Sequence[list[int]], sampling: Sampling, **_: Any) -> Any:
        out = []
        for ids in prompts:
            text = TOKENIZER.decode(ids)
            digits = text.partition("user\n")[2].partition("=?")[0]
            answer = str(sum(map(int, digits.split("+"))))
            out.append([sample(*say(answer, UNTHINK not in text, i)) for i in range(sampling.n)])
        return out

    def sampled(model: Any, prompts: Sequence[list[int]], batches: Iterable[list[int]],
                sampling: Sampling, **_: Any) -> Iterator[Any]:  # fmt: skip
        for rows in batches:
            yield rows, generate(model, [prompts[r] for r in rows], sampling)

    monkeypatch.setattr(local, "generate", generate)
    monkeypatch.setattr(local, "sampled", sampled)


def usual(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
    lead = f"<think>\nthought {turn}\n</think>\n\n" if thinking else ""
    return f"{lead}{answer if turn % 2 else int(answer) + turn + 1}", True


class Config:
    """As much of a model as is asked for."""

    max_position_embeddings = 4096

    def get_text_config(self) -> Config:
        return self


class Model:
    """Says nothing: `saying` replaces what would ask it."""

    config = Config()


def drawer(**how: Any) -> Local:
    return Local(Model(), TEMPLATE, Transformers(**{"sequences": 16, "max_new_tokens": 48, **how}))
