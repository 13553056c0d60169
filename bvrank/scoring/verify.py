"""Does this model follow a token tree? Asked once, on random ids, before anything is trusted."""

from __future__ import annotations

import copy
import math
from typing import Any, get_args

import numpy as np
import torch

from bvrank.errors import ModelError
from bvrank.records import Branch, Encoded, Segment
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.layout import Cost, Layout
from bvrank.scoring.precision import exact
from bvrank.scoring.scorer import Scorer, causal_lm, packing, text_config

TOLERANCE = 1e-3  # nats per token, fp32; a wrong mask or head is off by more than 0.1
CALLS = (5.0, 1e9)  # attended pairs a call costs: a forest of many blocks, and of one
PLAINER: tuple[Layout, ...] = get_args(Layout)  # each asks less of a model than the one before it
SAID = 200  # characters of another library's message


def verify_scorer(scorer: Scorer, layout: Layout) -> float:
    """max difference per token between the scorer and the model's own logits on whole sequences.

    ModelError above TOLERANCE, and for a model that fails in either: a kind of attention or head
    that the scorer does not know. Its repair was tried.
    """
    was_training = scorer.training
    scorer.eval()
    try:
        worst, why = _compared(scorer, layout)
        if why:
            raise ModelError(why, where="model", repair=_repair(scorer, layout))
    finally:
        scorer.train(was_training)
    return worst


def _compared(scorer: Scorer, layout: Layout) -> tuple[float, str]:
    """The difference, and why the model cannot be scored so; "" if it can. ModelError where the
    scorer itself refuses; what ran out of memory is raised."""
    tree, ids = _probe(causal_lm(scorer.model).get_input_embeddings().weight.shape[0])
    device = next(scorer.parameters()).device
    packed = packing(scorer.model, layout, device)
    batches = [Collator(packed, Cost(1.0, 0.0, call))([[Row(tree)]], ("full",)) for call in CALLS]
    stage, family = "its own forward pass", text_config(scorer.model).model_type
    try:
        with torch.no_grad():
            truth = torch.stack([_plain(scorer.model, row.to(device)) for row in ids])
            stage = f"scoring.layout={layout}"
            values = torch.stack([scorer(batch.to(device)).flatten().cpu() for batch in batches])
    except (ModelError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever the family's code trips over
        said = " ".join(str(error).split())[:SAID]
        told = f"{type(error).__name__}: {said}" if said else type(error).__name__
        return math.nan, f"{family} fails in {stage} ({told})"
    worst = float(((values - truth).abs() / 6).max())
    return worst, "" if worst <= TOLERANCE else (
        f"log-probs of {family} differ by {worst:.2g} nats per token between {stage} "
        "and its own forward pass"
    )


def _repair(scorer: Scorer, layout: Layout) -> str:
    """A layout, or a precision, with which the same check passes."""
    for other in PLAINER[PLAINER.index(layout) + 1 :]:
        if _passes(scorer, other):
            return f"Set scoring.layout={other}."
    if next(scorer.parameters()).dtype == torch.float64:
        narrow = Scorer(copy.deepcopy(scorer.model).float(), chunk=scorer.chunk).eval()
        fitting = [other for other in PLAINER if _passes(narrow, other)]
        if layout in fitting:
            return "Set precision=fp32."
        if fitting:
            return f"Set precision=fp32 scoring.layout={fitting[0]}."
    return "No scoring.layout fits it: choose another model."


def _passes(scorer: Scorer, layout: Layout) -> bool:
    try:
        return not _compared(scorer, layout)[1]
    except (ModelError, RuntimeError):
        return False


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
