"""The processes of one run: which one this is, and what all of them know together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # a run of one process does not pay for torch.distributed
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """Process `rank` of `world`, the `local`-th of its machine. Alone, every call is free.

    Sums and messages travel over gloo on the CPU: they are few and small, and a rank that computes
    on an accelerator can take part in them at any time.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    group: Any = field(default=None, compare=False, repr=False)

    @property
    def first(self) -> bool:
        """Whether this is the rank that speaks and writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all ranks, on the device of `values`; the same bits on every rank."""
        if self.world == 1:
            return values
        import torch.distributed as dist

        total = values.detach().to("cpu", copy=True)
        dist.all_reduce(total, group=self.group)
        return total.to(values.device)

    def gather(self, value: T) -> list[T]:
        """The `value` of each rank, in their order; also a barrier."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value, group=self.group)
        return found

    def agree(self, value: T) -> T:
        """What the first rank says."""
        return self.gather(value if self.first else None)[0]  # type: ignore[return-value]


ALONE = Ranks()


@contextlib.contextmanager
def joined(timeout: float, kind: str) -> Iterator[Ranks]:
    """The ranks that torchrun started, as its variables RANK, WORLD_SIZE and LOCAL_RANK say.

    `timeout`: seconds that a rank waits for the others before it gives up; `kind`: of the devices
    that compute, cpu or cuda.
    """
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    rank, world, local = (int(os.environ[n]) for n in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    wait = timedelta(seconds=timeout)
    if kind == "cuda":
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=wait)
    ranks = Ranks(rank, world, local, dist.new_group(backend="gloo", timeout=wait))
    yield ranks
    ranks.gather(None)
    dist.destroy_process_group()  # not after an error: the others may be gone


def process_group(kind: str) -> None:
    """Makes sure that there is a process group, for libraries that want one of a single process."""
    import torch.distributed as dist

    if not dist.is_initialized():
        backend = "nccl" if kind == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
