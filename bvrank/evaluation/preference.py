"""task=preference: what a policy's likelihoods say of held-out pairs, and how far it has moved.

With s(y) = log pi(y|x) - log pi_ref(y|x) (log pi(y|x) alone without a reference), the margin is
s(chosen) - s(rejected), in nats, and p = sigma(beta * margin) the chance that the policy's reward
gives to the choice. By view (full: with traces, bare: without), a cell for each row:

    accuracy             whether the margin is above 0; a tie (within rounding) counts one half
    brier                (1 - p)^2
    calibration_error    |mean p - share| in 10 bins of p, weighted by what lies in them. Which side
                         is written first says nothing, so each pair counts in both orders: as p
                         with outcome 1 and as 1 - p with outcome 0. The interval resamples rows;
                         few rows to a bin make the error look larger than it is
    margin               its mean
    chosen_displacement, rejected_displacement    log pi - log pi_ref of that side

of a row with several pairs their mean. Of the policy's own samples y (temperature 1, top_p 1), n to
each of the pairs' prompts in each mode, a cell for each prompt:

    kl         mean of log pi(y|x) - log pi_ref(y|x), nats a response: the estimator k1, unbiased,
               of KL(pi || pi_ref) of responses as far as max_new_tokens reaches

The shift of the empty trace, what is lost or changed where thinking is disabled:

    accuracy_drop    accuracy of the full view minus that of the bare one, on rows that have both
    kl_modes         mean of log pi(a | x, z) - log pi(a | x, empty trace) over traces and answers
                     (z, a) that the policy drew in thinking mode and finished: the mean over traces
                     of the KL from the answers behind a trace to those of mode nothinking, nats a
                     prompt. It is no less than the KL of the answers with traces summed out, by the
                     information that the trace holds on the answer
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bvrank.data.encoding import encode
from bvrank.data.refusals import NO_FAULT
from bvrank.errors import ConfigError, DataError
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.drawn import Drawn
from bvrank.evaluation.likelihood import VIEWS, likelihoods
from bvrank.evaluation.margins import Margins, of_view
from bvrank.evaluation.result import Measured
from bvrank.models.hf import HF
from bvrank.records import BARE, FULL, Encoded, Example, Refused
from bvrank.sampling.local import positions

Cells = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Preference:
    """`pairs`: a source of held-out pairs. `reference`: a model's node, the folder or hub id of
    one, `start` (what the measured run was trained from), or None. `beta`: of the reward, as
    trained. `n`: samples to each prompt in each mode (0: nothing is drawn, and no figure told that
    needs draws), of the first `prompts` (None: all)."""

    name: str
    pairs: Any
    reference: Any = None
    beta: float = 0.1
    n: int = 4
    prompts: int | None = None
    max_length: int = 4096
    version: ClassVar[int] = 2
    needs: ClassVar[Literal["responses", "policy", "nothing"]] = "policy"

    def __post_init__(self) -> None:
        if not 0 < self.beta < float("inf"):
            raise ConfigError(f"must be above 0, got {self.beta}", where="beta")
        for name, least in (("n", 0), ("prompts", 1), ("max_length", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"must be at least {least}, got {value}", where=name)
        if isinstance(self.reference, str) and self.reference != "start":
            HF(self.reference)
        if not hasattr(self.pairs, "rows"):
            raise ConfigError("is no source of pairs", where="pairs",
                              repair="data@task.pairs=pairs task.pairs.path=...")  # fmt: skip

    @property
    def draws(self) -> bool:
        """Whether responses are drawn."""
        return self.n > 0

    def measure(self, desk: Desk) -> Measured:
        """Log-probs of pairs and samples, figures."""
        if self.n:
            _check_drawing(desk.sampler)
        examples, refused = self._examples(desk)
        length = min(self.max_length, positions(desk.policy.model))
        rows, unfit = encode(examples, desk.policy.template, views=VIEWS, max_length=length)
        unfit = [r for r in unfit if r.reason not in NO_FAULT]
        if not rows:
            raise DataError(f"holds no pair that can be scored; {_first([*refused, *unfit])}",
                            where=str(getattr(self.pairs, "path", "pairs")))  # fmt: skip
        other = self._reference(desk.policy)
        found = self._margins(desk, rows, other)
        cells: Cells = {}
        for view, margins in found.items():
            cells |= {f"{view}/{name}": c for name, c in margins.cells(other is not None).items()}
        drawn = Drawn.of(desk, examples, self.prompts, self.n) if self.n else None
        cells |= drawn.kl(other) if drawn and other else {}
        cells |= drop(cells)
        cells |= drawn.between_modes() if drawn else {}
        counts = Counter(r.reason for r in (*refused, *unfit))
        counts += Counter({"no_pair": sum(m.unpaired for m in found.values())})
        counts += drawn.counts if drawn else Counter()
        intervals = {f"{view}/calibration_error": m.interval(desk.seed)
                     for view, m in found.items()}  # fmt: skip
        notes = [*_notes([*refused, *unfit], other is not None), *(drawn.notes() if drawn else ())]
        return Measured({k: c for k, c in cells.items() if c}, _samples(found), counts, notes,
                        intervals)  # fmt: skip

    def _examples(self, desk: Desk) -> tuple[list[Example], list[Refused]]:
        """The first rows, up to the command's limit, and those refused on the way."""
        kept: list[Example] = []
        refused: list[Refused] = []
        for found in self.pairs.rows():
            if len(kept) == desk.limit:
                break
            if isinstance(found, Example):
                kept.append(found)
            elif found.reason not in NO_FAULT:
                refused.append(found)
        return kept, refused

    def _reference(self, policy: Any) -> Any:
        if self.reference is None:
            return None
        if self.reference == "start":
            return policy.start()
        node = HF(self.reference) if isinstance(self.reference, str) else self.reference
        return policy.other(node)

    def _margins(self, desk: Desk, rows: Sequence[Encoded], other: Any) -> dict[str, Margins]:
        """Of each view that is there."""
        trees = dict(enumerate(rows))
        own = likelihoods(desk.folder, "pairs-policy", trees, desk.policy)
        before = likelihoods(desk.folder, "pairs-reference", trees, other) if other else {}
        found = {v: of_view(v, self.beta, [(t, own[i], before.get(i)) for i, t in trees.items()])
                 for v in VIEWS}  # fmt: skip
        return {view: margins for view, margins in found.items() if margins is not None}


def drop(cells: Cells) -> Cells:
    """What accuracy loses without a trace, on rows that have both views."""
    full, bare = (cells.get(f"{view}/accuracy", {}) for view in (FULL, BARE))
    return {"accuracy_drop": {key: full[key] - bare[key] for key in full if key in bare}}


def _check_drawing(sampler: Any) -> None:
    """ConfigError unless samples are the policy's own, and from its own distribution."""
    leave = "Or task.n=0, and nothing is drawn."
    if not sampler.needs_model:
        raise ConfigError("draws from another model than the one that is scored", where="sampler",
                          repair=f"sampler=transformers. {leave}")  # fmt: skip
    for name in ("temperature", "top_p"):
        if getattr(sampler, name) != 1:
            raise ConfigError(
                f"must be 1, got {getattr(sampler, name)}: the KL is a mean over the policy's own "
                "distribution", where=f"sampler.{name}", repair=f"sampler.{name}=1. {leave}",
            )  # fmt: skip


def _samples(found: Mapping[str, Margins]) -> Iterator[dict[str, Any]]:
    for view, margins in found.items():
        yield from margins.samples(view)


def _first(refused: Sequence[Refused]) -> str:
    return f"first {refused[0].where}: {refused[0].detail}" if refused else "there are no rows"


def _notes(refused: Sequence[Refused], moved: bool) -> list[str]:
    notes = [f"{len(refused)} rows or views are left out; {_first(refused)}"] if refused else []
    if not moved:
        notes.append("no reference: accuracy and calibration are of log pi alone, and there is no "
                     "displacement and no KL to one (task.reference=...)")  # fmt: skip
    return notes
