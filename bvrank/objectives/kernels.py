"""Masked building blocks that carry the objectives. All take and return float64 [V,B,K...]."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bvrank.errors import ConfigError, did_you_mean
from bvrank.records import Preferences

Pairs = Literal["best_worst", "random", "whole_list"]
View = Literal["full", "bare"]
# Stands for log 0 where a true -inf would turn gradients into NaN; exp of it is 0 in float64.
LOG_ZERO = -1e30
# Nats per token that fp32 is not sure of: one model scored in two layouts differs by up to 5e-7.
ROUNDING = 2e-6


def in_range(name: str, value: float, low: float, high: float = float("inf"), *,
             open_low: bool = False, open_high: bool = False) -> None:  # fmt: skip
    """Raises ConfigError naming the field unless low <= value <= high (less than, where open)."""
    open_high = open_high or high == float("inf")
    inside = low <= value <= high
    if inside and not (open_low and value == low) and not (open_high and value == high):
        return
    left, right = ("(" if open_low else "["), (")" if open_high else "]")
    raise ConfigError(f"must lie in {left}{low:g}, {high:g}{right}, got {value!r}", where=name)


def check_choices(objective: Any) -> None:
    """Raises ConfigError naming the field whose value its Literal annotation does not list."""
    for name, hint in get_type_hints(type(objective)).items():
        value, known = getattr(objective, name), get_args(hint)
        if get_origin(hint) is Literal and value not in known:
            raise ConfigError(
                f"must be one of {', '.join(known)}, got {value!r}",
                where=name,
                repair=did_you_mean(str(value), known),
            )


def one_view(prefs: Preferences, number: int) -> Preferences:
    """Entry `number` of axis V, which stays."""
    parts = {f.name: getattr(prefs, f.name)[number : number + 1] for f in fields(prefs)}
    return Preferences(**parts)


def log_ratio(prefs: Preferences, *, per_token: bool = False) -> Tensor:
    """log pi(c|x) - log pi_ref(c|x) [V,B,K], 0 on padding; `per_token`: divided by length."""
    ratio = torch.where(prefs.valid, prefs.policy - prefs.reference, 0.0)
    return ratio / prefs.length.clamp(min=1) if per_token else ratio


def pair_weights(prefs: Preferences, pairs: Pairs) -> Tensor:
    """Weights [V,B,K,K] over ordered pairs (better i, worse j), summing to 1 in each row that has
    two candidates of different relevance and to 0 in others.

    best_worst: the first best against the first worst. random: one pair, drawn by (seed, pass,
    row). whole_list: every pair equally, so that a long list weighs no more than a short one.
    """
    y = prefs.relevance.double()
    both = prefs.valid.unsqueeze(-1) & prefs.valid.unsqueeze(-2)
    better = both & (y.unsqueeze(-1) > y.unsqueeze(-2))  # [V,B,K,K]
    if pairs == "whole_list":
        return better.double() / better.sum((-2, -1), keepdim=True).clamp(min=1)
    flat = better.flatten(-2)
    if pairs == "random":
        wanted = (prefs.draw[..., 0] * flat.sum(-1)).floor() + 1  # 1-based among the true ones
        chosen = flat & (flat.cumsum(-1) == wanted.unsqueeze(-1))
        return chosen.view_as(better).double()
    k = y.shape[-1]
    best = torch.where(prefs.valid, y, -torch.inf).argmax(-1, keepdim=True)
    worst = torch.where(prefs.valid, y, torch.inf).argmin(-1, keepdim=True)
    at = torch.zeros_like(flat, dtype=torch.float64).scatter_(-1, best * k + worst, 1.0)
    return (at * flat).view_as(better)


def pair_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean [V,B] of values [V,B,K,K] over pairs."""
    return torch.where(weights > 0, values * weights, 0.0).sum((-2, -1))


def gaps(scores: Tensor) -> Tensor:
    """scores_i - scores_j [V,B,K,K]."""
    return scores.unsqueeze(-1) - scores.unsqueeze(-2)


def logistic(gap: Tensor, smoothing: float) -> Tensor:
    """-(1-e) log sigma(gap) - e log sigma(-gap), finite for any finite gap."""
    return -(1 - smoothing) * logsigmoid(gap) - smoothing * logsigmoid(-gap)


def ranked_right(gap: Tensor, tie: Tensor) -> Tensor:
    """1 where the better side leads, 1/2 within `tie` of a tie, 0 elsewhere. Before step 1 every
    gap is rounding noise around 0, and its sign says nothing."""
    return (gap > tie).double() + (gap.abs() <= tie).double() / 2


def pair_metrics(prefs: Preferences, scores: Tensor, weights: Tensor, tie: Tensor
                 ) -> dict[str, Tensor]:  # fmt: skip
    """TRL's names: rewards and log-probs of the better and worse side, their gap, its sign (scores
    within `tie` [V,B,1] are level); and how far the better side moved from the reference (nats).
    NaN in a row without a pair."""
    scores, policy = scores.detach(), prefs.policy.detach()
    better, worse = weights.sum(-1), weights.sum(-2)  # [V,B,K]
    chosen, rejected = (better * scores).sum(-1), (worse * scores).sum(-1)
    found = {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": pair_mean(ranked_right(gaps(scores), tie.unsqueeze(-1)), weights),
        "logps/chosen": (better * policy).sum(-1),
        "logps/rejected": (worse * policy).sum(-1),
        "displacement/chosen": (better * (policy - prefs.reference)).sum(-1),
        "displacement/rejected": (worse * (policy - prefs.reference)).sum(-1),
    }
    paired = better.sum(-1) > 0
    return {name: torch.where(paired, metric, torch.nan) for name, metric in found.items()}


def masked_logsumexp(values: Tensor, mask: Tensor) -> Tensor:
    """log sum of exp(values) over the last axis where `mask`; LOG_ZERO where nothing is."""
    return torch.where(mask, values, LOG_ZERO).logsumexp(-1)


def log_softmax(scores: Tensor, valid: Tensor) -> Tensor:
    """log softmax over the valid candidates; LOG_ZERO on padding."""
    whole = masked_logsumexp(scores, valid).unsqueeze(-1)
    return torch.where(valid, scores - whole, LOG_ZERO)


def logsumexp_of_others(scores: Tensor, valid: Tensor) -> Tensor:
    """log sum over j != i of exp(scores_j), for every i, in O(K): the sum before i plus the sum
    after i, which keeps its digits when one candidate holds nearly all the mass."""
    masked = torch.where(valid, scores, LOG_ZERO)
    none = torch.full_like(masked[..., :1], LOG_ZERO)
    before = torch.cat([none, masked[..., :-1].logcumsumexp(-1)], -1)
    after = torch.cat([none, masked.flip(-1)[..., :-1].logcumsumexp(-1)], -1).flip(-1)
    return torch.logaddexp(before, after)


def soft_ranks(scores: Tensor, valid: Tensor, steepness: float) -> Tensor:
    """1 + sum over the other candidates of sigma(-steepness (s_i - s_j)) [...,K]: the rank of i by
    falling score, smoothed."""
    own = torch.eye(scores.shape[-1], dtype=torch.bool, device=valid.device)
    ahead = torch.sigmoid(-steepness * gaps(torch.where(valid, scores, 0.0)))
    return 1 + torch.where(valid.unsqueeze(-2) & ~own, ahead, 0.0).sum(-1)


def settled(scores: Tensor, tie: Tensor) -> Tensor:
    """Scores, detached, on a grid of `tie` [V,B,1]: what ranks by them may see. Candidates that
    differ by fp32's rounding alone, as all do before step 1, tie and do not rank by chance."""
    return (scores.detach() / tie).round()


def rounding(prefs: Preferences, *, per_token: bool) -> Tensor:
    """What fp32 is not sure of in a list's log-probs [V,B,1], nats: of its longest candidate, or
    of means over tokens."""
    longest = torch.where(prefs.valid, prefs.length, 1).amax(-1, keepdim=True)
    return ROUNDING * (torch.ones_like(longest) if per_token else longest).double()


def places(key: Tensor, draw: Tensor, valid: Tensor) -> Tensor:
    """1-based place [...,K] by falling `key`; the smaller `draw` breaks a tie, padding is last."""
    key = torch.where(valid, key, -torch.inf)
    by_draw = draw.argsort(dim=-1, stable=True)
    by_key = key.gather(-1, by_draw).argsort(dim=-1, descending=True, stable=True)
    return by_draw.gather(-1, by_key).argsort(-1) + 1


def shares_of_best(relevance: Tensor, valid: Tensor) -> Tensor:
    """1/n [...,K] for each of the n candidates of the highest relevance, 0 for the others."""
    best = torch.where(valid, relevance.double(), -torch.inf)
    top = valid & (best == best.amax(-1, keepdim=True))
    return top.double() / top.sum(-1, keepdim=True).clamp(min=1)


def nll_per_token(prefs: Preferences, shares: Tensor) -> Tensor:
    """-log pi / scored tokens [V,B], the mean over candidates by `shares` [V,B,K]."""
    policy = torch.where(prefs.valid & (shares > 0), prefs.policy, 0.0)
    return -(shares * policy / prefs.length.clamp(min=1)).sum(-1)


def mean_log_prob(prefs: Preferences) -> Tensor:
    """m = log pi(c|x) / scored tokens [V,B,K], 0 on padding."""
    return torch.where(prefs.valid, prefs.policy, 0.0) / prefs.length.clamp(min=1)
