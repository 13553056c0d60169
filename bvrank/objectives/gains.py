"""Rank weights w(i) = gain(relevance) * discount(rank): what a place in the list is worth."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Weight = Literal["dcg", "p_at_k", "map", "mrr", "edcg", "no_relevance", "reciprocal"]
Ranks = Literal["ideal", "shown", "model"]
Ties = Literal["averaged", "order"]
WEIGHTS: tuple[str, ...] = get_args(Weight)


def ideal_ranks(relevance: Tensor, valid: Tensor) -> Tensor:
    """A key that sorts by relevance, best first (padding sorts last in `rank_weights`)."""
    return torch.where(valid, relevance, 0.0)


def rank_weights(relevance: Tensor, key: Tensor, valid: Tensor, weight: Weight,
                 ties: Ties, k: int, decay: float) -> Tensor:  # fmt: skip
    """w [..., K], float64, 0 on padding: candidates take ranks 1, 2, ... by falling `key`.

    dcg (2^y - 1)/log2(1 + i) | p_at_k [y >= 1][i <= k] | map [y >= 1] Prec@i / #relevant | mrr 1/i
    at the first relevant | edcg (2^y - 1) exp(-decay (i - 1)) | no_relevance 1/log2(1 + i) |
    reciprocal (2^y - 1)/i. `averaged`: equal keys share the mean of their discounts; `order`: the
    one that stands first keeps the better place.
    """
    order = torch.where(valid, key, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    relevant = valid & (relevance >= 1)
    discount_at = _discounts(relevant.gather(-1, order).double(), weight, k, decay)  # by place
    discount = torch.zeros_like(discount_at).scatter(-1, order, discount_at)  # by candidate
    if ties == "averaged":
        discount = _averaged(discount, key, valid)
    if weight == "no_relevance":
        gain = torch.ones_like(relevance)
    elif weight in ("p_at_k", "map", "mrr"):
        gain = relevant.double()
    else:
        gain = torch.exp2(relevance) - 1
    return torch.where(valid, gain * discount, 0.0)


def _discounts(relevant: Tensor, weight: Weight, k: int, decay: float) -> Tensor:
    """The discount of each place [..., K], given which places hold a relevant candidate."""
    place = torch.arange(1, relevant.shape[-1] + 1, dtype=torch.float64, device=relevant.device)
    found = relevant.cumsum(-1)
    if weight == "map":
        return found / place / found[..., -1:].clamp(min=1)
    if weight == "mrr":
        return torch.where((found == 1) & (relevant > 0), 1 / place, 0.0)
    discount = {
        "p_at_k": (place <= k).double(),
        "edcg": torch.exp(-decay * (place - 1)),
        "reciprocal": 1 / place,
    }.get(weight, 1 / torch.log2(1 + place))
    return discount.expand_as(relevant)


def _averaged(discount: Tensor, key: Tensor, valid: Tensor) -> Tensor:
    """Each candidate's discount replaced by the mean over valid candidates of equal key."""
    same = (key.unsqueeze(-1) == key.unsqueeze(-2)) & valid.unsqueeze(-2)
    return (same * discount.unsqueeze(-2)).sum(-1) / same.sum(-1).clamp(min=1)
