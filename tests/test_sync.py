"""Between the first forward and the optimiser's step nothing is read back from the device: on a GPU
each such read would wait for all that was queued."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bvrank.trainer import Totals, global_counts, score, share
from tests.small import OBJECTIVES, small

_aten = torch.ops.aten
# What brings a number, or a shape that depends on numbers, to the host.
READS = {
    _aten._local_scalar_dense.default, _aten.nonzero.default, _aten.is_nonzero.default,
    _aten.equal.default, _aten.masked_select.default, _aten.unique_consecutive.default,
    _aten._unique2.default, _aten.unique_dim.default, _aten.item.default,
}  # fmt: skip


class Reads(TorchDispatchMode):
    """The operations of READS that run inside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func in (_aten.index.Tensor, _aten.index_put_.default) and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if func in READS or by_mask:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_micro_step_reads_a_number(name: str, tmp_path: Path) -> None:
    run = small(OBJECTIVES[name], tmp_path, micro=2)
    objective = run.plan.objective(1)
    batches = list(run.batches.step(1, objective.views))
    counts = global_counts(run.engine, objective, batches)
    totals = Totals(objective.views)
    for batch in batches:
        score(run.engine, objective, batch)  # what is made once, such as constants
    with Reads() as reads:
        for batch in batches:
            outcome = score(run.engine, objective, batch)
            run.engine.backward(share(outcome, counts))
            totals.add(outcome, batch)
    assert len(batches) > 1 and reads.found == []


def test_a_read_is_seen() -> None:
    value = torch.ones(3)
    with Reads() as reads:
        float(value.sum())
        value[value > 0]
        value.nonzero()
    assert len(reads.found) == 3


def test_counts_are_where_losses_are_before_the_first_micro_step(tmp_path: Path) -> None:
    """To bring them there at each would wait for its forward: what divides a loss is there."""
    run = small(OBJECTIVES["bvpo"], tmp_path, micro=2)
    objective = run.plan.objective(1)
    batches = list(run.batches.step(1, objective.views))
    counts = global_counts(run.engine, objective, batches)
    outcome = score(run.engine, objective, batches[0])
    with pytest.raises(RuntimeError, match="device"):
        share(replace(outcome, loss=outcome.loss.to("meta")), counts)


def test_only_labels_are_moved_to_where_losses_are(tmp_path: Path) -> None:
    """The ids of a batch are on the device already when its labels are asked for."""
    run = small(OBJECTIVES["bvpo"], tmp_path, micro=2)
    objective = run.plan.objective(1)
    batch = next(run.batches.step(1, objective.views))
    moved: list[int] = []

    class Watched(type(batch)):  # type: ignore[misc]
        def to(self, device: Any) -> Any:
            moved.append(len(self.rows))
            return super().to(device)

    watched = Watched(**vars(batch))
    run.engine.score = lambda given: given.labels.reference * 1.0  # type: ignore[method-assign]
    score(run.engine, objective, watched)
    assert moved == [0]
