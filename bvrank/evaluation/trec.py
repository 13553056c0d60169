"""task=ranking_run: a run as TREC has it (query Q0 document rank score name) against judgments
(query 0 document relevance), both plain or gzipped. The order is that of the scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from bvrank.data.lines import read_lines
from bvrank.errors import ConfigError, DataError
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.measures import check_measures, per_query
from bvrank.evaluation.result import Measured

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Run:
    """`run_file`, `qrels`: the two files. `measures`: names of bvrank.evaluation.measures, the
    headline first. `no_relevant`: a query without a relevant document counts 0, as with trec_eval,
    or is skipped."""

    name: str
    run_file: str
    qrels: str
    measures: list[str]
    no_relevant: Literal["zero", "skip"] = "zero"
    version: ClassVar[int] = 1
    needs: ClassVar[Literal["responses", "policy", "nothing"]] = "nothing"

    def __post_init__(self) -> None:
        check_measures(self.measures, "measures")
        if self.no_relevant not in ("zero", "skip"):
            raise ConfigError("choose zero or skip", where="no_relevant")

    def measure(self, desk: Desk) -> Measured:
        """Every measure of every query that is in both files."""
        judged = _table(self.qrels, 4, "query 0 document relevance", 3, _relevance)
        ranked = _table(self.run_file, 6, "query Q0 document rank score name", 4, _score)
        both = [query for query in judged if query in ranked][: desk.limit]
        if not both:
            firsts = f"Its first is {_first(ranked)}, theirs {_first(judged)}."
            raise DataError("has no query of the judgments", where=self.run_file, repair=firsts)
        bare = [q for q in both if not any(r > 0 for r in judged[q].values())]
        kept = [q for q in both if self.no_relevant == "zero" or q not in bare]
        if not kept:
            raise DataError("has no relevant document of any query", where=self.qrels)
        cells = per_query(self.measures, {q: judged[q] for q in kept}, ranked)
        counts = Counter(
            judged_alone=len(judged.keys() - ranked.keys()),
            ranked_alone=len(ranked.keys() - judged.keys()), no_relevant=len(bare),
        )  # fmt: skip
        rows = ({"key": q, **{name: cells[name][q] for name in self.measures}} for q in kept)
        return Measured(cells, rows, +counts, list(self._notes(counts)))

    def _notes(self, counts: Mapping[str, int]) -> Iterator[str]:
        if n := counts["judged_alone"]:
            yield f"{n:,} judged queries are not in the run and are left out"
        if n := counts["ranked_alone"]:
            yield f"{n:,} queries of the run have no judgments and are left out"
        if n := counts["no_relevant"]:
            how = "count 0" if self.no_relevant == "zero" else "are skipped"
            yield f"{n:,} queries without a relevant document {how}"


def _table(path: str, width: int, form: str, column: int, read: Callable[[str], T]
           ) -> dict[str, dict[str, T]]:  # fmt: skip
    """Query -> document -> the number of `column`. DataError with the line for anything else."""
    found: dict[str, dict[str, T]] = {}
    for where, line in read_lines(path):
        parts = line.split()
        if len(parts) != width:
            raise DataError(f"has {len(parts)} columns, not {width}", where=where,
                            repair=f"A line is: {form}.")  # fmt: skip
        query, document = parts[0], parts[2]
        try:
            value = read(parts[column])
        except ValueError:
            raise DataError(f"{parts[column]!r} is no number here", where=where,
                            repair=f"A line is: {form}.") from None  # fmt: skip
        if document in found.setdefault(query, {}):
            raise DataError(f"names document {document} of query {query} a second time",
                            where=where)  # fmt: skip
        found[query][document] = value
    return found


def _relevance(text: str) -> int:
    return int(text)


def _score(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _first(table: Mapping[str, Any]) -> str:
    return next(iter(table), "none")
