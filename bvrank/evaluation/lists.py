"""task=lists: held-out lists ranked by likelihood, each item alone behind the prompt.

ndcg@k    sum of (2^relevance - 1) / log2(1 + place) over the first k places, over that of the
          best order; items of equal likelihood share their places. A list with nothing relevant
          has none
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar, Literal

import numpy as np

from bvrank.data.encoding import encode
from bvrank.data.refusals import NO_FAULT
from bvrank.errors import ConfigError, DataError
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.likelihood import VIEWS, likelihoods
from bvrank.evaluation.result import Measured
from bvrank.records import Example
from bvrank.sampling.local import positions


@dataclass(frozen=True)
class Lists:
    """`lists`: a source of ranked lists. `k`: each k of ndcg@k."""

    name: str
    lists: Any
    k: list[int] = field(default_factory=lambda: [1, 5, 10])
    version: ClassVar[int] = 1
    needs: ClassVar[Literal["responses", "policy", "nothing"]] = "policy"

    def __post_init__(self) -> None:
        if not self.k or min(self.k) < 1:
            raise ConfigError("must name one or more, from 1", where="k")

    def measure(self, desk: Desk) -> Measured:
        """Log-probs, figures."""
        found = list(self.lists.rows())
        examples = list(islice((e for e in found if isinstance(e, Example)), desk.limit))
        rows, unfit = encode(examples, desk.policy.template, views=VIEWS,
                             max_length=positions(desk.policy.model),
                             listing=self.lists.listing)  # fmt: skip
        refused = [r for r in (*found, *unfit) if not isinstance(r, Example)]
        counts = Counter(r.reason for r in refused if r.reason not in NO_FAULT)
        relevance = {e.where: [c.relevance for c in e.candidates] for e in examples}
        trees = {i: r for i, r in enumerate(rows) if max(relevance[r.where]) > 0}
        if not trees:
            raise DataError("holds no list that can be ranked", where=str(self.lists.path))
        counts["nothing_relevant"] = len(rows) - len(trees)
        logps = likelihoods(desk.folder, "lists", trees, desk.policy)
        cells = {
            f"ndcg@{k}": {t.where: ndcg([b.relevance for b in t.branches], logps[i], k)
                          for i, t in trees.items()} for k in self.k
        }  # fmt: skip
        samples = [{"key": t.where, "relevance": [b.relevance for b in t.branches],
                    "logps": list(logps[i])} for i, t in trees.items()]  # fmt: skip
        return Measured(cells, samples, +counts)


def ndcg(relevance: Sequence[float], scores: Sequence[float], k: int) -> float:
    """Of one list, by falling score."""
    gains = 2.0 ** np.array(relevance) - 1
    values = np.array(scores)
    places = 1 / np.log2(np.arange(2, len(gains) + 2))
    places[k:] = 0
    above = (values[None] > values[:, None]).sum(1)  # items before each
    equal = (values[None] == values[:, None]).sum(1)
    sums = np.concatenate([[0.0], np.cumsum(places)])
    discounts = (sums[above + equal] - sums[above]) / equal
    best = np.sort(gains)[::-1] @ places
    return float(gains @ discounts / best)
