"""log pi(token) of scored tokens, without ever holding scored tokens x vocabulary at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]


def token_logprobs(hidden: Tensor, target: Tensor, head: Head, *, chunk: int, parts: int = 0
                   ) -> Tensor:  # fmt: skip
    """Log-probs [M], natural, fp32 (fp64 for an fp64 model), of `target` [M].

    `hidden` [M,H] are the states that predict; `head` maps them to logits [.,vocabulary]. Chunks of
    `chunk` tokens go through the head one after another and are recomputed in backward. Are there
    fewer than `parts`, the tokens are spread over as many, some of them empty.
    """
    chunks = zip(_split(hidden, chunk, parts), _split(target, chunk, parts), strict=True)
    found = [
        checkpoint(_chunk, h, t, head, use_reentrant=False)
        if torch.is_grad_enabled()
        else _chunk(h, t, head)
        for h, t in chunks
    ]
    return torch.cat(found) if found else hidden.new_zeros(0)


def dense_logprobs(hidden: Tensor, target: Tensor, head: Head) -> Tensor:
    """The same from one whole matrix of logits: the oracle of `token_logprobs`."""
    return _exact(head(hidden)).log_softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)


def _split(values: Tensor, size: int, parts: int) -> tuple[Tensor, ...]:
    spread = math.ceil(len(values) / size) < parts
    return torch.tensor_split(values, parts) if spread else torch.split(values, size)


def _chunk(hidden: Tensor, target: Tensor, head: Head) -> Tensor:
    logits = _exact(head(hidden))
    return logits.gather(-1, target.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)


def _exact(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
