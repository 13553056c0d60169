"""The batches of a run with their reference log-probs: stored, or scored as they come."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bvrank.commands import assemble, policy
from bvrank.commands.measuring import wanted
from bvrank.commands.probing import Drawing, drawing_of, probe_of, reads_one_pair, told
from bvrank.data.batches import Ahead, Stream
from bvrank.data.shelf import taken
from bvrank.engines.live import Live, base_below, second_model
from bvrank.errors import RunError
from bvrank.protocols import Measure
from bvrank.ranks import Ranks
from bvrank.run import RunFolder
from bvrank.scoring.collate import Collator
from bvrank.scoring.reference import (
    Reference,
    base_identity,
    model_identity,
    read_values,
    write_values,
)
from bvrank.trainer import evaluate, with_fields

if TYPE_CHECKING:
    from bvrank.commands.train import Request

Evaluate = Callable[[int, Mapping[str, float]], dict[str, float]]


@dataclass(frozen=True)
class Batching:
    """Rows to batches. Made before an engine takes the model, which may leave it in parts:
    `identity` names the model as loaded, `frozen` is a scorer of its own (reference=live)."""

    asked: Request
    rows: assemble.Rows
    collate: Collator
    ranks: Ranks
    identity: str
    frozen: Any
    drawing: Drawing | None = None

    @classmethod
    def of(cls, asked: Request, rows: assemble.Rows, model: Any, ranks: Ranks) -> Batching:
        """For `model`, which has not been trained yet."""
        settings, place = asked.settings, asked.engine.place(ranks)
        live, stored = asked.reference == "live", asked.reference == "stored" and ranks.first
        frozen = policy.scorer_of(copy.deepcopy(model), settings, place) if live else None
        # A new adapter adds exactly 0: whatever its draw or its shape, the base is the reference.
        identify = base_identity if asked.model.lora.new else model_identity
        identity = identify(model) if stored else ""
        made = cls(asked, rows, assemble.collator(model, settings, place), ranks, identity, frozen)
        return replace(made, drawing=made._drawing())

    def training(self, engine: Any, run: RunFolder) -> tuple[Any, Measure | None]:
        """protocols.Batches of the training rows, laid out a step ahead; and what is measured on
        the way."""
        rows, apart, reference = self.rows.train, self.rows.independent, None
        if self.asked.reference == "stored":
            drawn = self.drawn()
            own = self._own(engine, taken(rows, drawn), run)
            reference = own.at(drawn, len(rows))
        elif self.asked.reference:
            run.update(reference={"by": self.asked.reference, "computed": 0, "from_store": 0})
        batches = self._live(Ahead(self._stream(rows, reference, apart)), engine)
        return batches, self._measure(batches, reference)

    def held_out(self, engine: Any) -> Evaluate | None:
        """(step, fields of the objective) -> figures on the held-out rows; None when there are
        none."""
        settings = self.asked.settings
        rows = self.rows.some_held_out(self.asked.views, settings.eval.rows)
        if not len(rows):
            return None
        reference = None
        if self.asked.reference == "stored":
            reference = self._stored(engine, rows, "reference (held out)")
        batches = self._live(self._stream(rows, reference, False), engine)
        plan = assemble.plan_of(self.asked.schedule, settings)

        def figures(step: int, fields: Mapping[str, float]) -> dict[str, float]:
            objective = with_fields(plan.objective(step), fields)
            return evaluate(engine, objective, batches.once(objective.views))

        return figures

    def drawn(self) -> np.ndarray:
        """The rows that the run's steps draw, in file order: no other needs a reference."""
        stream = self._stream(self.rows.train, None, self.rows.independent)
        return stream.order.drawn(self.asked.settings.steps)

    def _drawing(self) -> Drawing | None:
        """What measurements draw; None without any. ConfigError where there is too little."""
        asked, drawn = self.asked, self.drawn()
        if not wanted(asked.settings, asked.objective):
            return None
        found = drawing_of(self.rows.train, drawn, asked.settings, asked.objective, asked.views,
                           independent=self.rows.independent)  # fmt: skip
        remark = told(found, self.rows.train, drawn)
        if remark and self.ranks.first:
            print(remark, file=sys.stderr)
        return found

    def _stream(self, rows: Any, reference: Reference | None, independent: bool) -> Stream:
        return assemble.stream(
            rows, reference, self.collate, self.asked.views, self.asked.settings,
            independent=independent, ranks=self.ranks,
            one_pair=reads_one_pair(self.asked.objective, self.asked.views),
        )  # fmt: skip

    def _measure(self, batches: Any, reference: Reference | None) -> Measure | None:
        if self.drawing is None:
            return None
        filled = batches.filled if isinstance(batches, Live) else list
        values = None if reference is None else reference.values
        found = probe_of(self.drawing, self.rows.train, values, filled, self.collate,
                         self.asked.settings, self.asked.objective, self.ranks.world)  # fmt: skip
        if found.auto and self.asked.settings.auto.every is None and self.ranks.first:
            every, steps = found.auto.every, self.asked.settings.steps
            often = f"every {every:,} steps" if every < steps else "once, before the first step"
            print(f"alpha: estimated {often}, for 4 % of the tokens (auto.every sets it)",
                  file=sys.stderr)  # fmt: skip
        return found

    def _live(self, stream: Stream | Ahead, engine: Any) -> Any:
        """`stream` with the reference of each batch, where that is scored as the batch comes."""
        if self.asked.reference == "adapter_off":
            return Live(stream, base_below(engine))
        if self.asked.reference == "live":
            precision = self.asked.settings.precision
            return Live(stream, second_model(self.frozen, engine.device, precision))
        return stream

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
        run.update(reference={
            "by": "stored", "digest": reference.digest, "computed": reference.computed,
            "from_store": reference.found,
        })  # fmt: skip
        return reference

    def _stored(self, engine: Any, rows: Any, title: str) -> Reference:
        settings, store = self.asked.settings, self.asked.store
        return assemble.reference_of(
            rows, engine, self.collate, settings, store, self.identity, title
        )
