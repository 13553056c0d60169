"""Rank weights w(i) = gain(relevance) * discount(rank): what a place in the list is worth."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Weight = Literal["dcg", "p_at_k", "map", "mrr", "edcg", "no_relevance", "reciprocal"]
Ranks = Literal["ideal", "shown", "model"]
Ties = Literal["averaged", "order"]
WEIGHTS: tuple[str, ...] = get_args(Weight)


def rank_weights(relevance: Tensor, key: Tensor, valid: Tensor, weight: Weight,
                 ties: Ties, k: int, decay: float) -> Tensor:  # fmt: skip
    """w [..., K], float64, 0 on padding: candidates take ranks 1, 2, ... by falling `key`.

    dcg (2^y - 1)/log2(1 + i) | p_at_k [y >= 1][i <= k] | map [y >= 1] Prec@i / #relevant | mrr 1/i
    at the first relevant | edcg (2^y - 1) exp(-decay (i - 1)) | no_relevance 1/log2(1 + i), 0 in a
    list with nothing relevant | reciprocal (2^y - 1)/i.

    Ties `averaged`: the mean of w over all orders of equal keys; `order`: the one that stands first
    keeps the better place.
    """
    key = torch.where(valid, key, -torch.inf)
    if ties == "order":
        key = -key.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1).double()
    discount = _discounts(valid & (relevance >= 1), key, valid, weight, k, decay)
    if weight == "no_relevance":
        gain = (valid & (relevance > 0)).any(-1, keepdim=True).double()
    elif weight in ("p_at_k", "map", "mrr"):
        gain = (relevance >= 1).double()
    else:
        gain = gain_of(relevance)
    return torch.where(valid, gain * discount, 0.0)


def gain_of(relevance: Tensor) -> Tensor:
    """2^y - 1, exact for small y as well."""
    return torch.expm1(relevance.double() * math.log(2))


def _discounts(relevant: Tensor, key: Tensor, valid: Tensor, weight: Weight, k: int, decay: float
               ) -> Tensor:  # fmt: skip
    """Each candidate's discount [..., K], the mean over the places that its equals share."""
    ahead = valid.unsqueeze(-2) & (key.unsqueeze(-2) > key.unsqueeze(-1))  # [..., K, K]
    equal = valid.unsqueeze(-2) & (key.unsqueeze(-2) == key.unsqueeze(-1))
    first, seats = ahead.sum(-1, keepdim=True).double(), equal.sum(-1, keepdim=True).double()
    before = (ahead & relevant.unsqueeze(-2)).sum(-1, keepdim=True).double()  # relevant ones
    among = (equal & relevant.unsqueeze(-2)).sum(-1, keepdim=True).double()
    place = torch.arange(1, key.shape[-1] + 1, dtype=torch.float64, device=key.device)
    seat = place - first  # [..., K, K]: 1 .. seats inside the tie
    if weight == "map":
        # A relevant candidate on this seat; the tie's others are spread evenly over the rest.
        found = before + 1 + (seat - 1) * (among - 1) / (seats - 1).clamp(min=1)
        values = found / place / relevant.sum(-1)[..., None, None].clamp(min=1)
    elif weight == "mrr":
        values = (before == 0) * _none_earlier(seat, seats, among) / place
    else:
        values = {
            "p_at_k": (place <= k).double(),
            "edcg": torch.exp(-decay * (place - 1)),
            "reciprocal": 1 / place,
        }.get(weight, 1 / torch.log2(1 + place)).expand_as(seat)
    inside = (seat >= 1) & (seat <= seats)
    return torch.where(inside, values, 0.0).sum(-1) / seats.squeeze(-1).clamp(min=1)


def _none_earlier(seat: Tensor, seats: Tensor, among: Tensor) -> Tensor:
    """Chance that all other relevant ones of a tie stand behind `seat`: C(seats - seat, r) over
    C(seats - 1, r) with r = among - 1."""
    r = (among - 1).clamp(min=0)

    def log_choices(n: Tensor) -> Tensor:
        return torch.lgamma(n.clamp(min=0) + 1) - torch.lgamma((n - r).clamp(min=0) + 1)

    chance = torch.exp(log_choices(seats - seat) - log_choices(seats - 1))
    return torch.where(seats - seat >= r, chance, 0.0)
