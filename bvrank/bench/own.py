"""bvrank's arm of a benchmark: the trainer's own step on rows of token ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bvrank.bench.worker import Turns
from bvrank.data.batches import Stream
from bvrank.data.loader import Order
from bvrank.engines.local import Local, autocast
from bvrank.objectives.bvpo import BVPO
from bvrank.objectives.dpo import DPO
from bvrank.records import Branch, Encoded, Segment
from bvrank.scoring.collate import Collator
from bvrank.scoring.compiling import compile_layers
from bvrank.scoring.recompute import checkpoint_activations
from bvrank.scoring.reference import ReferenceStore
from bvrank.scoring.scorer import Scorer, cost_of, packing
from bvrank.trainer import optimise


def steps(job: Mapping[str, Any], turns: Turns) -> None:
    """Steps in file order, for ever."""
    torch.set_num_threads(job["threads"])
    device = torch.device(job["device"])
    model = loaded(job["model"])
    if job["recompute"]:
        checkpoint_activations(model)
    if job["compile"]:
        compile_layers(model)
    scorer = Scorer(model, chunk=job["chunk"]).to(device)
    fused = torch.optim.AdamW(model.parameters(), lr=job["lr"], weight_decay=0.0, fused=True)
    engine = Local(job["device"]).start(
        scorer, fused, precision=job["precision"], max_grad_norm=1.0
    )
    objective = objective_of(job["views"], job["beta"], job["alpha"])
    rows = [tree_of(row) for row in json.loads(Path(job["rows"]).read_text())]
    collate = Collator(packing(model, job["layout"], device), cost_of(model))
    reference = None
    if objective.needs_reference:
        store = ReferenceStore(Path(job["store"]), job["model"])
        with torch.no_grad(), autocast(device, job["precision"]):
            engine.module.eval()
            reference = store.fill(rows, engine.score, collate).values
    order = Order((np.arange(len(rows)),), 0, job["batch"])
    stream = InOrder(rows, reference, order, collate, job["micro"])
    engine.module.train()
    number = 0
    turns.ready(unique=sum(len(s.ids) for row in rows for s in row.segments))
    while True:
        number += 1
        batches = list(stream.step(number, objective.views))
        values = optimise(engine, objective, batches, job["lr"], lambda: False)
        turns.done(values["loss"])


class InOrder(Stream):
    """Rows one after another, as the other arms take them."""

    def step(self, number: int, views: tuple[str, ...]) -> Any:
        """Step `number` (1-based)."""
        start, size = (number - 1) * self.order.batch, len(self.rows)
        numbers = [i % size for i in range(start, start + self.order.batch)]
        for at in range(0, len(numbers), self.micro):
            part = numbers[at : at + self.micro]
            yield self.collate([[self.row(i)] for i in part], views)


def loaded(folder: str) -> Any:
    """The model in fp32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def objective_of(views: list[str], beta: float, alpha: float = 0.5) -> Any:
    """DPO, or BVPO where there are two views, `alpha` of it on the full one."""
    return BVPO(alpha=alpha, beta=beta) if len(views) > 1 else DPO(beta=beta)


def tree_of(row: Mapping[str, list[list[int]]]) -> Encoded:
    """Prompt, chosen and rejected ids of each view, as one tree that shares what prompts share."""
    prompts = [ids[0] for ids in row.values()]
    same = common(prompts)
    segments = [_segment(-1, prompts[0][:same])] if same else []
    stem = len(segments) - 1
    branches = []
    for view, (prompt, *answers) in row.items():
        parent = stem
        if prompt[same:]:
            segments.append(_segment(stem, prompt[same:]))
            parent = len(segments) - 1
        for k, ids in enumerate(answers):
            segments.append(_segment(parent, ids))
            branches.append(Branch(view, (len(segments) - 1,), float(k == 0), k + 1, k))
    return Encoded("row", tuple(segments), tuple(branches))


def common(runs: list[list[int]]) -> int:
    """How many ids all runs begin with."""
    same = 0
    while all(len(r) > same and r[same] == runs[0][same] for r in runs):
        same += 1
    return same


def _segment(parent: int, ids: list[int]) -> Segment:
    return Segment(parent, np.asarray(ids, np.int32))
