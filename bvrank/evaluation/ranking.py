"""task=ranking: held-out lists, ranked by a decoder that is the same for every method.

    likelihood.independent  an item's log-prob alone behind the prompt
    likelihood.inlist       its log-prob inside the list, behind the items before it, averaged over
                            permutations of the list
    generate                the policy writes the list; what it does not name shares the last place,
                            and invented, missing and repeated items are told beside

Measures are those of bvrank.evaluation.measures; where items have equal scores, the mean over drawn
orders of them. `audit` shows each list in several orders and tells how the ranking moves
(bvrank.evaluation.orders.sensitivity).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Any, ClassVar, Literal

from bvrank.data.encoding import Listing
from bvrank.data.refusals import NO_FAULT
from bvrank.errors import ConfigError, DataError
from bvrank.evaluation.decoders import (
    SLOTS,
    Decoded,
    Reduce,
    Shuffle,
    averaged,
    by_likelihood,
    by_writing,
    reasons,
)
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.measures import check_measures, per_query
from bvrank.evaluation.orders import ranked, sensitivity, shown_orders
from bvrank.evaluation.result import Measured
from bvrank.records import Example, Refused

Decoder = Literal["likelihood.independent", "likelihood.inlist", "generate"]
ALONE, INSIDE, WRITTEN = "likelihood.independent", "likelihood.inlist", "generate"
# Keys that some decoders read, and what they are where they are null.
OWN: dict[str, tuple[tuple[str, ...], Any]] = {
    "reduce": ((ALONE, INSIDE), "sum"), "permutations": ((INSIDE,), 4),
    "separator": ((INSIDE,), ", "), "n": ((WRITTEN,), 1), "end_token": ((ALONE,), None),
}  # fmt: skip
WRITE = (
    "{prompt}\n\nCandidates:\n{candidates}\n\nRank all candidates from the most to the least "
    "suitable. Write each candidate on a line of its own, exactly as it stands above, the best "
    "first, and nothing else."
)
MUCH = 0.02  # share of candidates that are not named, which is remarked on
Key = tuple[str, str, int]  # mode, list, number


@dataclass(frozen=True)
class Ranking:
    """`lists`: a source of ranked lists; `measures`: the headline first. `template`: what is asked,
    with {prompt} and perhaps {candidates} in it, in place of the last turn (None: {prompt} alone;
    generate: WRITE). `audit`: orders in which each list is shown (0: none). The rest is for some
    decoders alone (None: as OWN has it); ConfigError where another one is given it."""

    name: str
    lists: Any
    measures: list[str]
    decoder: Decoder = "likelihood.independent"
    template: str | None = None
    reduce: Reduce | None = None
    end_token: bool | None = None
    permutations: int | None = None
    separator: str | None = None
    n: int | None = None
    audit: int = 0
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_measures(self.measures, "measures")
        for key, (decoders, _) in OWN.items():
            if getattr(self, key) is not None and self.decoder not in decoders:
                raise ConfigError(f"has no effect with decoder={self.decoder}", where=key,
                                  repair=f"It is read by {' and '.join(decoders)}.")  # fmt: skip
        for key in ("permutations", "n"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise ConfigError(f"must be at least 1, got {getattr(self, key)}", where=key)
        if self.audit < 0 or self.audit == 1:
            raise ConfigError(f"must be 0 or at least 2, got {self.audit}", where="audit")
        if self.separator == "":
            raise ConfigError("must not be empty", where="separator")
        slots = set(SLOTS.findall(self.asked))
        wanted = {"prompt", "candidates"} if self.decoder == WRITTEN else {"prompt"}
        if missing := wanted - slots:
            raise ConfigError(f"has no {{{min(missing)}}} in it", where="template")

    @property
    def asked(self) -> str:
        """What is asked, with its slots."""
        usual = WRITE if self.decoder == WRITTEN else "{prompt}"
        return usual if self.template is None else self.template

    @property
    def needs(self) -> Literal["responses", "policy", "nothing"]:
        """Weights for likelihoods; for a list that is written a server does."""
        return "responses" if self.decoder == WRITTEN else "policy"

    @property
    def draws(self) -> bool:
        """Whether responses are drawn."""
        return self.decoder == WRITTEN

    def of(self, key: str) -> Any:
        """A key of some decoders, or what stands for its null."""
        given = getattr(self, key)
        return OWN[key][1] if given is None else given

    def measure(self, desk: Desk) -> Measured:
        """Scores, measures, audit."""
        if desk.n is not None and self.decoder != WRITTEN:
            raise ConfigError(f"has no effect with decoder={self.decoder}", where="n",
                              repair="Nothing is sampled: leave it out.")  # fmt: skip
        examples, counts, left = self._examples(desk.limit)
        orders = {e.where: self._orders(e, desk.seed) for e in examples}
        shuffles = [Shuffle(e, o, i) for e in examples for i, o in enumerate(orders[e.where])]
        decoded, audits = self._decoded(desk, shuffles, orders)
        counts += reasons(decoded.refused)
        counts["failed"] += decoded.failed
        main = {k: v for k, v in decoded.scores.items() if k[2] == 0}
        if not main:
            raise DataError("there is no list that could be ranked", where="task.lists")
        relevance = {e.where: [int(c.relevance) for c in e.candidates] for e in examples}
        values = self._values({**main, **audits}, relevance, desk.seed)
        cells = _cells(values, [*main], self.measures)
        for mode, rates in decoded.rates.items():
            cells |= {f"{mode}/{name}": each for name, each in rates.items()}
        if self.audit:
            cells |= self._audited(values, audits, orders)
        samples = decoded.samples or [
            {"key": where, "relevance": relevance[where], "scores": scores[0],
             "shown": list(orders[where][number])}
            for (_, where, number), scores in decoded.scores.items()
        ]  # fmt: skip
        return Measured(cells, samples, +counts, [*left, *self._notes(decoded, len(main))])

    def _examples(self, limit: int | None) -> tuple[list[Example], Counter[str], list[str]]:
        """Lists that can be ranked, what was left out, and words on it."""
        found = list(self.lists.rows())
        refused = [r for r in found if isinstance(r, Refused) and r.reason not in NO_FAULT]
        first = f"first {refused[0].where}: {refused[0].detail}" if refused else ""
        counts = Counter(r.reason for r in refused)
        kept = list(islice((e for e in found if isinstance(e, Example)), limit))
        useful = [e for e in kept if max(c.relevance for c in e.candidates) > 0]
        whole = [e for e in useful if all(c.relevance == int(c.relevance) for c in e.candidates)]
        counts["nothing_relevant"] += len(kept) - len(useful)
        counts["relevance_fraction"] += len(useful) - len(whole)
        if not whole:
            told = f"; {len(refused):,} rows are refused, {first}" if refused else ""
            raise DataError(f"holds no list that can be ranked{told}", where=str(self.lists.path),
                            repair="Relevances are whole numbers, one above 0.")  # fmt: skip
        left = counts.total()
        more = f"; {first}" if first else ""
        return whole, counts, [f"{left:,} of {left + len(whole):,} lists are left out ("
                               + ", ".join(f"{n:,} {why}" for why, n in counts.most_common() if n)
                               + f"){more}"] if left else []  # fmt: skip

    def _orders(self, example: Example, seed: int) -> list[tuple[int, ...]]:
        number = max(1, self.audit, self.of("permutations") if self.decoder == INSIDE else 1)
        count = len(example.candidates)
        return shown_orders(example.where, count, example.shown, number, seed)

    def _decoded(self, desk: Desk, shuffles: Sequence[Shuffle],
                 orders: Mapping[str, Sequence[Any]]
                 ) -> tuple[Decoded, dict[Key, Any]]:  # fmt: skip
        """What counts under number 0, and the scores of every shuffle of the audit."""
        if self.decoder == WRITTEN:
            found = by_writing(desk, shuffles, self.asked, self.of("n"))
        else:
            inside = self.decoder == INSIDE
            listing = Listing("inlist", self.of("separator")) if inside else Listing(
                "independent", None, self.end_token)  # fmt: skip
            found = by_likelihood(desk, shuffles, self.asked, listing, self.of("reduce"))
        audits = {
            (mode, where, 1 + number): scores
            for (mode, where, number), scores in found.scores.items() if number < self.audit
        }  # fmt: skip
        if self.decoder == INSIDE:
            numbers = range(self.of("permutations"))
            found = averaged(found, {(where, 0): numbers for where in orders})
        return found, audits

    def _values(self, scores: Mapping[Key, list[list[float]]],
                relevance: Mapping[str, Sequence[int]], seed: int
                ) -> dict[str, dict[Key, float]]:  # fmt: skip
        """Measure -> key -> its mean over responses, and over drawn orders of equal items."""
        judged: dict[str, dict[str, int]] = {}
        run: dict[str, dict[str, float]] = {}
        parts: dict[Key, list[str]] = {}
        for key, responses in scores.items():
            for own in responses:
                for order in ranked(own, key[1], seed):
                    query = f"q{len(run)}"
                    run[query] = {f"d{c}": -float(place) for place, c in enumerate(order)}
                    judged[query] = {f"d{c}": y for c, y in enumerate(relevance[key[1]])}
                    parts.setdefault(key, []).append(query)
        found = per_query(self.measures, judged, run)
        return {
            name: {key: fmean(values[q] for q in queries) for key, queries in parts.items()}
            for name, values in found.items()
        }

    def _audited(self, values: Mapping[str, Mapping[Key, float]], audits: Mapping[Key, Any],
                 orders: Mapping[str, Sequence[tuple[int, ...]]]) -> dict[str, Any]:  # fmt: skip
        """Cells of the audit, of the first measure."""
        cells: dict[str, dict[str, float]] = {}
        for mode, where in dict.fromkeys(key[:2] for key in audits):
            keys = [k for i in range(self.audit) if (k := (mode, where, 1 + i)) in audits]
            if len(keys) < 2:
                continue
            own = [values[self.measures[0]][k] for k in keys]
            means = [[fmean(column) for column in zip(*audits[k], strict=True)] for k in keys]
            shown = [orders[where][k[2] - 1] for k in keys]
            for name, value in sensitivity(own, means, shown).items():
                cells.setdefault(_figure(mode, name), {})[where] = value
        return cells

    def _notes(self, decoded: Decoded, lists: int) -> Iterator[str]:
        if self.audit:
            yield (f"order_sd and order_range: of {self.measures[0]} over {self.audit} orders in "
                   "which each list was shown; order_tau: how far two of its rankings agree; "
                   "position_bias: above 0 what is shown first is ranked first")  # fmt: skip
        if decoded.refused:
            first = decoded.refused[0]
            yield (f"{len(decoded.refused)} lists could not be shown and are left out; first "
                   f"{first.where}: {first.detail}")  # fmt: skip
        for mode, rates in decoded.rates.items():
            lost = fmean(rates["missing"].values())
            if lost > MUCH:
                yield (f"{100 * lost:.1f} % of the candidates are not named ({mode}): they share "
                       "the last place, so that chance orders them")  # fmt: skip
        if decoded.failed:
            yield f"{decoded.failed:,} responses never came and are left out"


def _cells(values: Mapping[str, Mapping[Key, float]], main: Sequence[Key], names: Sequence[str]
           ) -> dict[str, dict[str, float]]:  # fmt: skip
    cells: dict[str, dict[str, float]] = {}
    for mode in dict.fromkeys(key[0] for key in main):
        for name in names:
            own = {key[1]: values[name][key] for key in main if key[0] == mode}
            cells[_figure(mode, name)] = own
    return cells


def _figure(mode: str, name: str) -> str:
    return f"{mode}/{name}" if mode else name
