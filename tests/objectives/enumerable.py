"""A model whose traces can all be listed: alpha* exactly, and what the estimator makes of samples.

Row i has two answers of R traces each, log pi(r, y | x) = theta . phi(i, y, r) - log Z; traces are
drawn from the reference given the answer, exactly. The empty-trace pair has features of its own.
`python -m tests.objectives.enumerable` prints coverage at the reference and bias away from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bvrank.objectives.crossfit import Running, Scale, phase
from bvrank.objectives.dpo import DPO
from bvrank.objectives.marginal import over_traces
from bvrank.records import Preferences

BETA, ROWS, TRACES, WIDTH = 0.5, 40, 6, 12


@dataclass(frozen=True)
class World:
    """phi [I,2,R,W] of the traces of both answers, `bare` [I,W] the difference of the empty-trace
    pair, `theta` and `reference` [W]."""

    phi: Tensor
    bare: Tensor
    theta: Tensor
    reference: Tensor

    @classmethod
    def of(cls, seed: int, away: float = 0.0, bias: float = 0.7) -> World:
        """`away`: how far theta lies from the reference; `bias`: of the empty trace."""
        make = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=make, dtype=torch.float64)

        phi = normal(ROWS, 2, TRACES, WIDTH) + 0.7 * normal(ROWS, 2, 1, WIDTH)
        reference = 0.5 * normal(WIDTH)
        moved = reference + away * normal(WIDTH) / WIDTH**0.5
        mean = (_posterior(phi, reference).unsqueeze(-1) * phi).sum(-2)  # [I,2,W]
        bare = mean[:, 0] - mean[:, 1] + bias * (normal(WIDTH) + normal(ROWS, WIDTH))
        return cls(phi, bare, moved, reference)

    def moments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of each row: g_e, mu, E g_t [I,W], and the trace of Cov g_t [I]."""
        posterior = _posterior(self.phi, self.reference)
        both = posterior[:, 0, :, None] * posterior[:, 1, None, :]  # [I,R,R]
        ratio = self.phi @ (self.theta - self.reference)  # [I,2,R]
        gap = ratio[:, 0, :, None] - ratio[:, 1, None, :]
        pull = -BETA * torch.sigmoid(-BETA * gap)  # [I,R,R]
        each = pull.unsqueeze(-1) * (self.phi[:, 0, :, None] - self.phi[:, 1, None, :])
        mean = (both.unsqueeze(-1) * each).sum((1, 2))
        spread = (both * each.square().sum(-1)).sum((1, 2)) - mean.square().sum(-1)
        own = (_posterior(self.phi, self.theta).unsqueeze(-1) * self.phi).sum(-2)
        whole = (posterior.log() + ratio).logsumexp(-1)  # log pi(y)/pi_ref(y), up to log Z
        summed = -BETA * torch.sigmoid(-BETA * (whole[:, 0] - whole[:, 1]))
        mu = summed.unsqueeze(-1) * (own[:, 0] - own[:, 1])
        gone = self.bare @ (self.theta - self.reference)
        bare = (-BETA * torch.sigmoid(-BETA * gone)).unsqueeze(-1) * self.bare
        return bare, mu, mean, spread

    def alpha(self, batch: int) -> float:
        """a for batches of rows drawn with replacement."""
        bare, mu, trace, spread = self.moments()

        def inner(x: Tensor, y: Tensor) -> Tensor:
            own, across = (x * y).sum(-1).mean(), x.mean(0) @ y.mean(0)
            return own / batch + (1 - 1 / batch) * across

        p, q = bare - mu, bare - trace
        return float(inner(p, q) / (inner(q, q) + spread.mean() / batch))

    def gradients(self, traces: int, rows: Tensor, make: torch.Generator
                  ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Of the rows [N]: bare [1,N,W], trace and marginal [2,N,W], by the losses themselves."""
        bare, *_ = self.moments()
        posterior = _posterior(self.phi, self.reference)[rows].flatten(0, 1)
        drawn = torch.multinomial(posterior, traces, replacement=True, generator=make)
        drawn = drawn.view(len(rows), 2, 2, traces // 2)  # row, answer, half, trace
        parts = [self._of_half(rows, drawn[:, :, h]) for h in (0, 1)]
        trace, marginal = (torch.stack([p[i] for p in parts]) for i in (0, 1))
        return bare[rows].unsqueeze(0), trace, marginal

    def _of_half(self, rows: Tensor, drawn: Tensor) -> list[Tensor]:
        phi = (
            self.phi[rows].gather(2, drawn.unsqueeze(-1).expand(*drawn.shape, WIDTH)).flatten(1, 2)
        )
        policy, reference = (phi @ t for t in (self.theta, self.reference))  # [N,K]
        found = []
        for loss in (DPO(BETA), lambda p: DPO(BETA)(over_traces(p))):
            leaf = policy.unsqueeze(0).clone().requires_grad_()
            loss(_preferences(leaf, reference, drawn.shape[-1])).loss.sum().backward()
            assert leaf.grad is not None
            found.append((leaf.grad[0].unsqueeze(-1) * phi).sum(1))
        return found


def estimates(world: World, *, traces: int, repeats: int, phases: int, batch: int, groups: int,
              seed: int, memory: float = 0.9) -> list[Running]:  # fmt: skip
    """What `phases` phases of a run leave behind, over and over."""
    make = torch.Generator().manual_seed(seed)
    size = batch // groups
    rows = torch.randint(0, ROWS, (repeats * phases * groups * size,), generator=make)
    made = [x.view(len(x), repeats, phases, groups, size, WIDTH).mean(-2)
            for x in world.gradients(traces, rows, make)]  # fmt: skip
    found = []
    for r in range(repeats):
        running = None
        for k in range(phases):
            new = phase(*(x[:, r, k] for x in made), Scale(size / batch), None)
            running = Running.after(running, new, memory, groups)
        assert running is not None
        found.append(running)
    return found


def coverage(found: list[Running], truth: float) -> float:
    """How often the 95 % interval holds the truth."""
    return sum(f.interval[0] <= truth <= f.interval[1] for f in found) / len(found)


def _posterior(phi: Tensor, theta: Tensor) -> Tensor:
    """pi(r | x, y) [I,2,R]."""
    return (phi @ theta).softmax(-1)


def _preferences(policy: Tensor, reference: Tensor, traces: int) -> Preferences:
    """Candidates of two answers, the better one first."""
    side = torch.arange(2).repeat_interleave(traces).expand(policy.shape)
    return Preferences(
        policy, reference.unsqueeze(0), 1.0 - side.float(), side + 1, torch.ones_like(side),
        torch.ones_like(side, dtype=torch.bool), side, torch.zeros_like(policy),
    )  # fmt: skip


def table() -> str:
    """At the reference by phases, and away from it by traces; 95 % intervals of 400 repeats."""
    lines = ["at the reference, two traces: bias  phases  alpha*  mean  sd  mean stderr  coverage"]
    for bias in (0.2, 0.5, 1.0):
        world = World.of(1, bias=bias)
        for phases in (1, 3, 8):
            lines.append(f"{bias}  {phases}  " + _told(world, 2, phases, spread=True))
    lines.append("away from it, 8 phases: distance  traces  alpha*  bias of the estimate")
    for away in (0.0, 1.0, 2.0, 4.0):
        world = World.of(1, away=away, bias=0.4)
        lines += [f"{away}  {s}  " + _told(world, s, 8, spread=False) for s in (2, 4, 8, 16, 32)]
    return "\n".join(lines)


def _told(world: World, traces: int, phases: int, *, spread: bool) -> str:
    truth = world.alpha(16)
    found = estimates(world, traces=traces, repeats=400, phases=phases, batch=16, groups=8, seed=7)
    alpha = torch.tensor([f.alpha for f in found])
    if not spread:
        return f"{truth:.3f}  {alpha.mean() - truth:+.3f} +- {1.96 * alpha.std() / 20:.3f}"
    stderr = sum(f.stderr for f in found) / len(found)
    told = f"{truth:.3f}  {alpha.mean():.3f}  {alpha.std():.3f}  {stderr:.3f}"
    return f"{told}  {coverage(found, truth):.3f}"


if __name__ == "__main__":
    print(table())
