"""A small world for trainer tests: a little model, random trees, and a run of some steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from bvrank.checkpoint import TrainState
from bvrank.data.batches import Stream
from bvrank.data.loader import Order, streams_of
from bvrank.engines.local import LocalEngine
from bvrank.objectives.apo_down import APODown
from bvrank.objectives.apo_zero import APOZero
from bvrank.objectives.approx_ndcg import ApproxNDCG
from bvrank.objectives.base import Listwise
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.objectives.hinge import Hinge
from bvrank.objectives.ipo import IPO
from bvrank.objectives.irpo import IRPO
from bvrank.objectives.lipo import LiPO
from bvrank.objectives.listmle import ListMLE
from bvrank.objectives.listnet import ListNet
from bvrank.objectives.marginal import Marginal
from bvrank.objectives.orpo import ORPO
from bvrank.objectives.robust import Robust
from bvrank.objectives.schedule import Schedule
from bvrank.objectives.sdpo import SDPO
from bvrank.objectives.sft import SFT
from bvrank.objectives.simpo import SimPO
from bvrank.records import Encoded
from bvrank.scoring.collate import Collator
from bvrank.scoring.layout import Cost
from bvrank.scoring.reference import ReferenceStore
from bvrank.scoring.scorer import Scorer
from bvrank.trainer import Plan, train
from tests.scoring.trees import VOCABULARY, list_tree, pair_tree

OBJECTIVES: dict[str, Any] = {
    "sft": SFT(view="both"),
    "dpo": DPO(beta=0.5, label_smoothing=0.1),
    "robust": Robust(beta=0.5, label_smoothing=0.2, sft_weight=0.1),
    "ipo": IPO(beta=0.5),
    "hinge": Hinge(beta=0.5),
    "apo_zero": APOZero(beta=0.5),
    "apo_down": APODown(beta=0.5),
    "simpo": SimPO(beta=2.0, gamma=0.5),
    "orpo": ORPO(beta=0.3),
    "marginal": Marginal(beta=0.5),
    "bvpo": BVPO(alpha=0.3, beta=0.5),
    "sdpo": SDPO(beta=0.3),
    "listmle": ListMLE(beta=0.3),
    "listnet": ListNet(beta=0.3),
    "lipo": LiPO(beta=0.3),
    "approx_ndcg": ApproxNDCG(beta=0.3, steepness=2.0),
    "irpo": IRPO(beta=0.3),
}
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0,
    "max_position_embeddings": 256, "tie_word_embeddings": True,
}  # fmt: skip


def model(dtype: torch.dtype = torch.float64, seed: int = 0) -> Any:
    """Qwen3 of a few thousand weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(Qwen3Config(**SHAPE)).to(dtype)


def rows(objective: Any, count: int = 24) -> list[Encoded]:
    """Trees that suit the objective: ragged lists for a listwise one, pairs in two views else."""
    rng = np.random.default_rng(5)
    size = rng.integers
    if isinstance(objective, Listwise):
        return [
            list_tree(rng, prompt=int(size(3, 9)), items=[int(i) for i in size(1, 4, size(2, 6))],
                      inlist=bool(i % 2))
            for i in range(count)
        ]  # fmt: skip
    sides = 4 if isinstance(objective, Marginal) else 2
    trees = [
        pair_tree(rng, prompt=int(size(3, 9)), answers=[int(x) for x in size(1, 8, sides)])
        for _ in range(count)
    ]
    return [_two_traces_each(t) for t in trees] if sides == 4 else trees


@dataclass
class Small:
    """One assembled run. `log` collects what each step reports."""

    engine: LocalEngine
    batches: Stream
    plan: Plan
    state: TrainState
    log: list[dict[str, float]]

    def go(self, steps: int, stop: Callable[[], bool] = lambda: False) -> Small:
        """Trains up to step `steps`."""
        plan = replace(self.plan, steps=steps)
        train(plan, self.batches, self.engine, self.state, [self._hear], stop)
        return self

    def weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.engine.module.parameters()])

    def moments(self) -> list[torch.Tensor]:
        states = self.engine.optimizer.state_dict()["state"].values()
        return [v for s in states for v in s.values() if isinstance(v, torch.Tensor)]

    def _hear(self, state: TrainState, report: Any) -> None:
        values = {k: v for k, v in report.values.items() if not k.startswith("speed/")}
        self.log.append({"step": report.step, **values})


def small(objective: Any, store: Path, *, micro: int = 8, batch: int = 8, layout: str = "forest",
          dtype: torch.dtype = torch.float64, points: dict[str, Sequence[float]] | None = None,
          lr: float = 1e-2, dropout: float = 0.0, independent: bool = False,
          reduction: Any = "global", budget: int | None = None) -> Small:  # fmt: skip
    """Assembles a run of `objective` in fp64 or fp32 on this process."""
    policy = model(dtype)
    for layer in policy.model.layers:
        layer.self_attn.attention_dropout = dropout
    schedule = Schedule(objective, {k: tuple(v) for k, v in (points or {}).items()})
    trees = rows(objective)
    if independent:
        trees = [_only(t, v) for t in trees for v in ("full", "bare")]
    precision = "fp64" if dtype == torch.float64 else "fp32"
    optimizer = torch.optim.AdamW(policy.parameters(), lr=lr)
    engine = LocalEngine(Scorer(policy, chunk=16), optimizer, torch.device("cpu"), precision, 1.0)  # type: ignore[arg-type]
    kind = "masked" if dropout and layout == "forest" else layout  # no block drops anything
    collate = Collator(kind, Cost(1.0, 0.0))  # type: ignore[arg-type]
    views = schedule.views()
    engine.module.eval()
    with torch.no_grad():
        reference = ReferenceStore(store, "small").fill(trees, engine.score, collate)
    order = Order(streams_of(trees, views, independent=independent), 3, batch)
    values = reference.values if objective.needs_reference else None
    batches = Stream(trees, values, order, collate, micro, budget=budget)
    plan = Plan(
        steps=20,
        learning_rate=lambda step: lr / (1 + step / 10),
        objective=lambda step: schedule.at((step - 1) / 19),
        fields=lambda step: schedule.values((step - 1) / 19),
        reduction=reduction,
    )
    torch.manual_seed(0)
    return Small(engine, batches, plan, TrainState(), [])


def _two_traces_each(tree: Encoded) -> Encoded:
    """Of four candidates the first two share the better answer, the last two the worse one."""
    branches = (
        replace(b, answer=b.answer // 2, relevance=float(b.answer < 2)) for b in tree.branches
    )
    return replace(tree, branches=tuple(branches))


def _only(tree: Encoded, view: str) -> Encoded:
    branches = tuple(b for b in tree.branches if b.view == view)
    return replace(tree, branches=branches, where=f"{tree.where}-{view}")
