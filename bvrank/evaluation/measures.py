"""Measures of rankings by ir-measures (pytrec_eval, so trec_eval's own code), query by query.

    ndcg@k, ndcg          linear gain, rel / log2(1 + rank): trec_eval's ndcg_cut and ndcg
    ndcg_exp@k, ndcg_exp  exponential gain, (2^rel - 1) / log2(1 + rank) (Burges et al., 2005)
    recall@k, p@k, map, mrr   relevant is what has relevance 1 or more

Documents of equal score stand in the order of their names, falling, as trec_eval has them.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bvrank.errors import ConfigError

NAMES = {"ndcg": "nDCG", "ndcg_exp": "nDCG", "recall": "R", "p": "P", "map": "AP", "mrr": "RR"}
CUT = ("recall", "p")  # that need a depth
MOST = 30  # of an exponential gain: 2^rel has to stay an integer of 32 bits
_NAME = re.compile(r"([a-z_]+)(?:@([1-9]\d*))?")

Judged = Mapping[str, Mapping[str, int]]  # query -> document -> relevance
Ranked = Mapping[str, Mapping[str, float]]  # query -> document -> score


def check_measures(names: Sequence[str], where: str) -> None:
    """ConfigError for a name that is none, and where ir-measures is not installed."""
    for name in names or [""]:
        found = _NAME.fullmatch(name)
        if not found or found[1] not in NAMES or (found[1] in CUT and not found[2]):
            raise ConfigError(f"{name!r} is no measure", where=where,
                              repair="There are ndcg, ndcg_exp, map and mrr, each also @k, "
                              "recall@k and p@k.")  # fmt: skip
    if importlib.util.find_spec("ir_measures") is None:
        raise ConfigError("ir-measures is not installed",
                          repair="Install it: pip install 'bvrank[ranking]'")  # fmt: skip


def per_query(names: Sequence[str], judged: Judged, ranked: Ranked) -> dict[str, dict[str, float]]:
    """Measure -> query -> value, of the queries that are in both. A query without a relevant
    document has 0. ConfigError for a relevance that an exponential gain has no integer for."""
    import ir_measures

    both = [query for query in judged if query in ranked]
    runs = [ir_measures.ScoredDoc(q, d, s) for q in both for d, s in ranked[q].items()]
    plain = [ir_measures.Qrel(q, d, r) for q in both for d, r in judged[q].items()]
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for exponential in (False, True):
        own = {name: _measure(name) for name in names if name.startswith("ndcg_exp") == exponential}
        if own and both:
            qrels = _exponential(plain) if exponential else plain
            back = {str(measure): name for name, measure in own.items()}
            for m in ir_measures.iter_calc([*own.values()], qrels, runs):
                found[back[str(m.measure)]][m.query_id] = m.value
    return {name: {q: found[name][q] for q in both} for name in names}


def _measure(name: str) -> Any:
    import ir_measures

    kind, _, depth = name.partition("@")
    measure = getattr(ir_measures, NAMES[kind])
    return measure @ int(depth) if depth else measure


def _exponential(qrels: Iterable[Any]) -> list[Any]:
    """The gain 2^rel - 1 in place of rel: then a linear measure is the exponential one."""
    found = []
    for qrel in qrels:
        if qrel.relevance > MOST:
            raise ConfigError(f"relevance {qrel.relevance} is too large for an exponential gain",
                              where="measures", repair="Use ndcg, of linear gain.")  # fmt: skip
        found.append(qrel._replace(relevance=2 ** max(qrel.relevance, 0) - 1))
    return found
