"""Gradients as short vectors: a seeded random projection that keeps inner products on average."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from bvrank.records import TokenBatch

Losses = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Sketch:
    """Every entry of a gradient gets a random sign and falls into one of `dimension` buckets, in
    turn; a bucket holds the sum (a count sketch, Charikar et al. 2002). E<Px, Py> = <x, y>, with a
    standard error of about sqrt((|x|^2 |y|^2 + <x, y>^2) / dimension). A gradient that is no longer
    than `dimension` stays as it is. Signs depend on `seed`, and on the kind of device."""

    dimension: int
    seed: int
    _signs: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def size(self, module: nn.Module) -> int:
        """D, for the weights of `module` that train."""
        return min(self.dimension, sum(w.numel() for w in trained(module)))

    def __call__(self, gradients: Sequence[Tensor | None], weights: Sequence[Tensor]) -> Tensor:
        """float64 [D] on the weights' device; None is a gradient of zeros."""
        if sum(w.numel() for w in weights) <= self.dimension:
            return torch.cat([_flat(g, w) for g, w in zip(gradients, weights, strict=True)])
        total = torch.zeros(self.dimension, dtype=torch.float64, device=weights[0].device)
        for number, gradient in enumerate(gradients):
            if gradient is not None:
                total += self._part(gradient.flatten(), number)
        return total

    def _part(self, values: Tensor, number: int) -> Tensor:
        """One weight's share. Small ones begin at other buckets, so as not to share the first."""
        signed = values * self._sign(values, number)
        whole = len(signed) // self.dimension * self.dimension
        found = signed[:whole].view(-1, self.dimension).sum(0, dtype=torch.float64)
        found[: len(signed) - whole] += signed[whole:]
        return found.roll(number * 7919)

    def _sign(self, values: Tensor, number: int) -> Tensor:
        if number not in self._signs:
            state = np.random.SeedSequence((self.seed, number)).generate_state(1, np.uint64)
            make = torch.Generator(values.device).manual_seed(int(state[0] >> np.uint64(1)))
            bits = torch.randint(0, 2, values.shape, generator=make, device=values.device,
                                 dtype=torch.int8)  # fmt: skip
            self._signs[number] = bits * 2 - 1
        return self._signs[number]


def gradients_of(score: Callable[[TokenBatch], Tensor], module: nn.Module, batch: TokenBatch,
                 losses: Losses, sketch: Sketch) -> Tensor:  # fmt: skip
    """float64 [L,D] on the CPU: the projected gradient of each loss of the log-probs [V,B,K].

    By torch.autograd.grad: nothing is added to a weight's `grad`, and no hook that an engine put
    there to reduce gradients is called.
    """
    weights = trained(module)
    given = losses(score(batch))
    found = []
    for loss, last in zip(given, [False] * (len(given) - 1) + [True], strict=True):
        parts = torch.autograd.grad(loss, weights, retain_graph=not last, allow_unused=True)
        found.append(sketch(parts, weights))
    return torch.stack(found).cpu()


def trained(module: nn.Module) -> list[Tensor]:
    """The weights that train."""
    return [p for p in module.parameters() if p.requires_grad]


def _flat(gradient: Tensor | None, weight: Tensor) -> Tensor:
    given = torch.zeros_like(weight) if gradient is None else gradient
    return given.detach().flatten().double()
