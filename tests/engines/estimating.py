"""alpha = auto once more, an example and a half of its traces at a time, without the product's own
formulas: the slow reference of what a run measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bvrank.engines.live import untouched
from bvrank.engines.probing import Probe

Parts = list[Tensor]  # [H][G,P]


def alone(probe: Probe, number: int, objective: Any, engine: Any, every: bool) -> dict[str, float]:
    """What the measurement before step `number` should find; `every`: the loss is the mean over all
    pairs of traces, and not that of the first traces."""
    weights = [p for p in engine.module.parameters() if p.requires_grad]
    groups = probe.halves.phase(number)
    bare, trace, marginal = [], [], []
    with untouched(engine.module, engine.device):
        for group in groups:
            found = [_example(probe, row, objective, engine, weights, every) for (row,) in group]
            e, t, m = zip(*found, strict=True)
            bare.append(torch.stack(e).mean(0))
            trace.append(torch.stack(t).mean(0))  # [2,P]
            marginal.append(torch.stack(m).mean(0))
    e, t, m = torch.stack(bare), _halves(trace), _halves(marginal)
    share = len(groups[0]) / probe.batch
    # A whole row has twice as many traces as a half: a mean over them has half its variance.
    noise = float((t[0] - t[1]).square().sum(-1).mean()) / 2 * (0.5 if every else 1.0)
    p, q = [e - h for h in m], [e - h for h in t]
    over, under = _inner(p, q, share), _inner(q, q, share) + share * noise
    return {"alpha": over / under, "full/grad_norm": (_inner(t, t, share) + share * noise) ** 0.5,
            "full/trace_variance": share * noise,
            "bare/grad_norm": _inner([e, e], [e, e], share) ** 0.5}  # fmt: skip


def _example(probe: Probe, row: Any, objective: Any, engine: Any, weights: Sequence[Tensor],
             every: bool) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of the empty-trace loss [P], of the trace loss and of the marginal loss [2,P]."""
    beta = objective.loss.beta if objective.beta is None else objective.beta

    def gradient(gap: Tensor) -> Tensor:
        found = torch.autograd.grad(-logsigmoid(beta * gap).mean(), weights, retain_graph=True,
                                    allow_unused=True)  # fmt: skip
        return torch.cat([(torch.zeros_like(w) if g is None else g).flatten().double()
                          for g, w in zip(found, weights, strict=True)])  # fmt: skip

    won, lost = _ratios(probe, row, engine, "bare")
    bare = gradient(won[0] - lost[0])
    won, lost = _ratios(probe, row, engine, "full")
    trace, marginal = [], []
    for half in (0, 1):
        w, l = won[half::2], lost[half::2]  # noqa: E741
        trace.append(gradient((w[:, None] - l[None]).flatten() if every else w[0] - l[0]))
        marginal.append(gradient(w.logsumexp(0) - l.logsumexp(0) - np.log(len(w) / len(l))))
    return bare, torch.stack(trace), torch.stack(marginal)


def _ratios(probe: Probe, row: Any, engine: Any, view: str) -> tuple[Tensor, Tensor]:
    """log pi - log pi_ref of the traces of the better answer, and of the worse."""
    (batch,) = probe.filled([probe.halves.collate([[row]], (view,))])
    ratio = engine.score(batch)[0, 0] - batch.labels.reference[0, 0]
    relevance = batch.labels.relevance[0, 0]
    return ratio[relevance > 0], ratio[relevance == 0]


def _halves(values: list[Tensor]) -> Parts:
    return list(torch.stack(values).unbind(1))


def _inner(x: Sequence[Tensor], y: Sequence[Tensor], share: float) -> float:
    """<x, y> of a step: within a group across its halves, and between different groups."""
    groups = range(len(x[0]))
    own = [(float(x[0][g] @ y[1][g]) + float(x[1][g] @ y[0][g])) / 2 for g in groups]
    means = [sum(v) / 2 for v in (x, y)]
    apart = [float(means[0][i] @ means[1][j]) for i in groups for j in groups if i != j]  # type: ignore[index]
    return share * float(np.mean(own)) + (1 - share) * float(np.mean(apart))
