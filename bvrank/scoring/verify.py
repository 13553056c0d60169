"""Does this model follow a token tree? Asked once, on random ids, before anything is trusted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bvrank.errors import ModelError
from bvrank.records import Branch, Encoded, Segment
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Cost, Layout
from bvrank.scoring.precision import exact
from bvrank.scoring.scorer import Scorer, causal_lm, packing

TOLERANCE = 1e-3  # nats per token, fp32; a wrong mask or head is off by more than 0.1
CALLS = (5.0, 1e9)  # attended pairs a call costs: a forest of many blocks, and of one


def verify_scorer(scorer: Scorer, layout: Layout) -> float:
    """max difference per token between the scorer and the model's own logits on whole sequences.

    ModelError above TOLERANCE: a kind of attention or head that the scorer does not know.
    """
    tree, ids = _probe(causal_lm(scorer.model).get_input_embeddings().weight.shape[0])
    device = next(scorer.parameters()).device
    packed = packing(scorer.model, layout, device)
    batches = [Collator(packed, Cost(1.0, 0.0, call))([[Row(tree)]], ("full",)) for call in CALLS]
    was_training = scorer.training
    scorer.eval()
    with torch.no_grad():
        values = torch.stack([scorer(batch.to(device)).flatten().cpu() for batch in batches])
        truth = torch.stack([_plain(scorer.model, row.to(device)) for row in ids])
    scorer.train(was_training)
    worst = float(((values - truth).abs() / 6).max())
    if not worst <= TOLERANCE:
        padded = "Set scoring.layout=padded."
        raise ModelError(
            f"its log-probs differ by {worst:.2g} nats per token between scoring.layout={layout} "
            "and its own forward pass", where="model",
            repair=padded if layout != "padded" else "Its head is unknown here.",
        )  # fmt: skip
    return worst


def _probe(vocabulary: int) -> tuple[Encoded, list[torch.Tensor]]:
    """Two branches of 6 tokens on a prompt of 11, and the two whole sequences."""
    rng = np.random.default_rng(0)
    prompt, *tails = (rng.integers(0, vocabulary, n).astype(np.int32) for n in (11, 6, 6))
    segments = (Segment(-1, prompt), Segment(0, tails[0]), Segment(0, tails[1]))
    branches = tuple(Branch("full", (i,), 0.0, i, i) for i in (1, 2))
    whole = [torch.from_numpy(np.concatenate([prompt, t])).long() for t in tails]
    return Encoded("probe", segments, branches), whole


def _plain(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with exact(next(model.parameters()).dtype):
        logits = model(ids[None, :-1], use_cache=False).logits[0, -6:]
    logps = logits.double().log_softmax(-1)
    total: torch.Tensor = logps.gather(-1, ids[-6:, None]).sum().cpu()
    return total
