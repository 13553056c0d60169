"""The batches of a run with their reference log-probs: stored, or scored as they come."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bvrank.commands import assemble, policy
from bvrank.data.batches import Ahead, Stream
from bvrank.data.shelf import taken
from bvrank.engines.live import Live, Score, adapter_off, second_model
from bvrank.errors import RunError
from bvrank.ranks import Ranks
from bvrank.run import RunFolder
from bvrank.scoring.collate import Collator
from bvrank.scoring.reference import Reference, model_identity, read_values, write_values
from bvrank.trainer import evaluate

if TYPE_CHECKING:
    from bvrank.commands.train import Request


@dataclass(frozen=True)
class Batching:
    """Rows to batches. Made before an engine takes the model, which may leave it in parts:
    `identity` names the model as loaded, `live` scores the reference where none is stored."""

    asked: Request
    rows: assemble.Rows
    collate: Collator
    ranks: Ranks
    identity: str
    live: Score | None

    @classmethod
    def of(cls, asked: Request, rows: assemble.Rows, model: Any, ranks: Ranks) -> Batching:
        """For `model`, which has not been trained yet."""
        settings, place = asked.settings, asked.engine.place(ranks)
        way = settings.scoring.reference if asked.needs_reference else "none"
        live = None
        if way == "live":
            live = second_model(policy.scorer_of(copy.deepcopy(model), settings, place))
        if way == "adapter_off":
            live = adapter_off(policy.scorer_of(model, settings, place))
        identity = model_identity(model) if way == "stored" and ranks.first else ""
        return cls(asked, rows, assemble.collator(model, settings, place), ranks, identity, live)

    def training(self, engine: Any, run: RunFolder) -> Any:
        """protocols.Batches of the training rows, laid out a step ahead."""
        rows, apart, reference = self.rows.train, self.rows.independent, None
        if self.asked.needs_reference and self.live is None:
            drawn = self.drawn()
            own = self._own(engine, taken(rows, drawn), run)
            reference = own.at(drawn, len(rows))
        ahead = Ahead(self._stream(rows, reference, apart))
        return self._scored(ahead, self.live, engine) if self.live else ahead

    def held_out(self, engine: Any) -> Callable[[int], dict[str, float]] | None:
        """step -> figures on the held-out rows; None when there are none."""
        settings = self.asked.settings
        rows = self.rows.some_held_out(self.asked.views, settings.eval.rows)
        if not len(rows):
            return None
        reference = None
        if self.asked.needs_reference and self.live is None:
            reference = self._stored(engine, rows, "reference (held out)")
        stream: Any = self._stream(rows, reference, False)
        batches = self._scored(stream, self.live, engine) if self.live else stream
        plan = assemble.plan_of(self.asked.schedule, settings)

        def figures(step: int) -> dict[str, float]:
            objective = plan.objective(step)
            return evaluate(engine, objective, batches.once(objective.views))

        return figures

    def drawn(self) -> np.ndarray:
        """The rows that the run's steps draw, in file order: no other needs a reference."""
        stream = self._stream(self.rows.train, None, self.rows.independent)
        return stream.order.drawn(self.asked.settings.steps)

    def _stream(self, rows: Any, reference: Reference | None, independent: bool) -> Stream:
        return assemble.stream(
            rows, reference, self.collate, self.asked.views, self.asked.settings,
            independent=independent, ranks=self.ranks,
        )  # fmt: skip

    def _scored(self, stream: Stream | Ahead, score: Score, engine: Any) -> Live:
        return Live(stream, score, engine.device, self.asked.settings.precision)

    def _own(self, engine: Any, rows: Any, run: RunFolder) -> Reference:
        """The reference of the rows drawn; a resumed run goes on with the bits it began with."""
        path, told = run.path / "reference.values", run.manifest.get("reference") or {}
        digest = told.get("digest") if run.resumed else None
        kept = read_values(path, rows, digest) if digest and self.ranks.first else None
        if (kept := self.ranks.agree(kept)) is not None:
            return kept
        reference = self._stored(engine, rows, "reference")
        if digest and reference.digest != digest:
            raise RunError("the run's reference log-probs are gone or changed for good",
                           where=str(path), repair="Start anew with force=true.")  # fmt: skip
        if digest and self.ranks.first:
            print(f"{path}: is not what was written; it is made again", file=sys.stderr)
        if self.ranks.first:
            write_values(path, reference)
        run.update(reference={"digest": reference.digest, "computed": reference.computed,
                              "from_store": reference.found})  # fmt: skip
        return reference

    def _stored(self, engine: Any, rows: Any, title: str) -> Reference:
        settings, store = self.asked.settings, self.asked.store
        return assemble.reference_of(
            rows, engine, self.collate, settings, store, self.identity, title
        )
