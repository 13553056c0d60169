"""One training run from loaded parts to its summary."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.utils.logging import disable_progress_bar

from bvrank import checkpoint
from bvrank.checkpoint import TrainState
from bvrank.commands import assemble, prepare
from bvrank.commands.hooks import Recorder, Saver, Stopping
from bvrank.data.arithmetic import Arithmetic
from bvrank.data.batches import Stream
from bvrank.data.refusals import summarise
from bvrank.data.templates import Template
from bvrank.errors import (
    ConfigError,
    Interrupted,
    RunError,
    TrainingError,
    did_you_mean,
)
from bvrank.evaluation.arithmetic import compared
from bvrank.models.corpus import Corpus
from bvrank.models.tiny import Tiny
from bvrank.run import RunFolder, read_jsonl
from bvrank.scoring.reference import Reference, branch_keys, read_values, write_values
from bvrank.scoring.verify import verify_scorer
from bvrank.tracking.jsonl import Jsonl
from bvrank.tracking.progress import Progress
from bvrank.tracking.several import Several
from bvrank.trainer import check_against_reference, evaluate, train

if TYPE_CHECKING:
    from bvrank.commands.train import Request


FELL = 5.0  # nats by which chosen answers may lose log-prob before it is remarked on


@dataclass(frozen=True)
class Session:
    """Data and model, loaded and checked; no file of the run exists yet."""

    asked: Request
    template: Template
    model: Any
    source: Any
    rows: assemble.Rows
    engine: Any

    @classmethod
    def load(cls, asked: Request) -> Session:
        """Tokenizer, rows, weights, in this order: what is cheap to refuse comes first. Before the
        engine is there a mistake leaves no run folder."""
        disable_progress_bar()  # type: ignore[no-untyped-call]
        corpus = Corpus(lambda: assemble.texts_of(asked.source), asked.store)
        tokenizer = asked.model.tokenizer(corpus)
        template = asked.settings.template.template(tokenizer)
        own = isinstance(asked.source, Arithmetic) and asked.source.path is None
        rows = None if own else _rows(asked, asked.source, template)
        model = asked.model.model(tokenizer, asked.settings.seed)
        if isinstance(asked.model, Tiny):
            prepare.teach(asked.model, model, tokenizer, asked.store)
        lora, seed = asked.model.lora, asked.settings.seed
        model = assemble.ready_model(model, asked.settings, seed, lora, tokenizer)
        if lora.path is not None:
            print("LoRA: the reference is the adapter as loaded.", file=sys.stderr)
        source = prepare.own(asked.source, model, template, asked.store) if own else asked.source
        rows = rows or _rows(asked, source, template)
        assemble.check_positions(rows, model)
        _check_best(asked, rows)
        return cls(asked, template, model, source, rows, _engine(asked, model))

    def run(self, run: RunFolder) -> None:
        """Trains in `run` and writes its summary."""
        settings = self.asked.settings
        self._tell_rows(run)
        engine = self.engine
        before = self._accuracy("accuracy before")
        train_rows = self._stream(engine, run)
        held_out = self._held_out(engine)
        state, jsonl = TrainState(), Jsonl()
        torch.manual_seed(settings.seed)  # dropout; everything else draws from streams of its own
        if run.resumed:
            state = _restored(run, engine)
        elif self.asked.needs_reference:
            self._check(engine, train_rows, run)
        tracker = Several([jsonl, Progress(done=state.step)])
        recorder = Recorder(
            tracker, settings.steps, settings.log.every, settings.eval.every, held_out
        )
        saver = Saver(run.checkpoints, engine, settings.checkpoint, settings.steps, recorder)
        tracker.start(self.asked.config, run.path)
        jsonl.truncate(state.step)
        try:
            self._steps(engine, train_rows, state, recorder, saver)
        except TrainingError as error:
            run.update(rows_at_fault=list(error.rows))
            raise
        finally:
            tracker.finish({})
        _warn_of_displacement(recorder.latest)
        recorder.latest = recorder.latest or _last_logged(run)
        summary = self._summary(recorder, state, before)
        run.finish(summary)

    def _steps(self, engine: Any, batches: Stream, state: TrainState, recorder: Recorder,
               saver: Saver) -> None:  # fmt: skip
        plan = assemble.plan_of(self.asked.schedule, self.asked.settings)
        stopping = Stopping()
        with stopping.listening():
            try:
                train(plan, batches, engine, state, [recorder, saver], stopping)
                if stopping():  # during the last step or its save: what follows can wait
                    raise Interrupted("stopped")
            except Interrupted:
                saver.save(state)
                raise Interrupted(
                    f"stopped after step {state.step} of {plan.steps}; it is saved",
                    repair="The same command with resume=true goes on.",
                ) from None

    def _stream(self, engine: Any, run: RunFolder) -> Stream:
        settings, rows = self.asked.settings, self.rows
        collate, reference = assemble.collator(self.model, settings), None
        if self.asked.needs_reference:
            drawn = self._drawn()
            own = self._own_reference(engine, [rows.train[i] for i in drawn], run)
            reference = own.at(drawn, len(rows.train))
        return assemble.stream(
            rows.train, reference, collate, self.asked.views, settings, independent=rows.independent
        )

    def _own_reference(self, engine: Any, rows: Any, run: RunFolder) -> Reference:
        """The reference of the rows drawn; a resumed run goes on with the bits it began with."""
        path, told = run.path / "reference.values", run.manifest.get("reference") or {}
        digest = told.get("digest") if run.resumed else None
        if digest and (kept := read_values(path, rows, digest)) is not None:
            return kept
        reference = self._reference(engine, rows, "reference")
        if digest and reference.digest != digest:
            raise RunError("the run's reference log-probs are gone or changed for good",
                           where=str(path), repair="Start anew with force=true.")  # fmt: skip
        if digest:
            print(f"{path}: is not what was written; it is made again", file=sys.stderr)
        write_values(path, reference)
        run.update(reference={"digest": reference.digest, "computed": reference.computed,
                              "from_store": reference.found})  # fmt: skip
        return reference

    def _drawn(self) -> list[int]:
        """The rows that the run's steps draw, in file order: no other needs a reference."""
        stream = assemble.stream(
            self.rows.train, None, assemble.collator(self.model, self.asked.settings),
            self.asked.views, self.asked.settings, independent=self.rows.independent,
        )  # fmt: skip
        return sorted(stream.order.drawn(self.asked.settings.steps))

    def _reference(self, engine: Any, rows: Any, title: str) -> Reference:
        settings, store = self.asked.settings, self.asked.store
        collate = assemble.collator(self.model, settings)
        return assemble.reference_of(rows, engine, collate, settings, store, title)

    def _held_out(self, engine: Any) -> Any:
        """step -> figures on the held-out rows; None when there are none."""
        settings = self.asked.settings
        rows = self.rows.some_held_out(self.asked.views, settings.eval.rows)
        if not rows:
            return None
        needs = self.asked.needs_reference
        reference = self._reference(engine, rows, "reference (held out)") if needs else None
        collate = assemble.collator(self.model, settings)
        stream = assemble.stream(rows, reference, collate, self.asked.views, settings)
        plan = assemble.plan_of(self.asked.schedule, settings)

        def figures(step: int) -> dict[str, float]:
            objective = plan.objective(step)
            return evaluate(engine, objective, stream.once(objective.views))

        return figures

    def _check(self, engine: Any, batches: Stream, run: RunFolder) -> None:
        """The objective-free check: before step 1 the policy is its reference."""
        first = next(iter(batches.step(1, self.asked.views)))
        tolerance = assemble.TOLERANCE[self.asked.settings.precision]
        run.update(policy_against_reference=check_against_reference(engine, first, tolerance))

    def _accuracy(self, title: str) -> Any:
        if not isinstance(self.source, Arithmetic):
            return None
        return prepare.measured(self.source, self.model, self.template, self.asked.store, title)

    def _summary(self, recorder: Recorder, state: TrainState, before: Any) -> dict[str, Any]:
        refused = Counter(r.reason for r in self.rows.refused)
        summary: dict[str, Any] = {
            "final": recorder.latest,
            "rows": {"kept": len(self.rows.train), "refused": dict(refused)},
            "next": _next(self.asked),
        }  # fmt: skip
        if state.best_step is not None:
            name = self.asked.settings.checkpoint.best
            summary["best"] = {"metric": name, "value": state.best, "step": state.best_step}
        if before is not None:
            after = self._accuracy("accuracy after")
            samples = self.source.test_samples
            summary["accuracy"] = {m: compared(before[m], after[m], samples) for m in before}
        return summary

    def _tell_rows(self, run: RunFolder) -> None:
        rows = self.rows
        keys = [key for row in rows.train for key in branch_keys(row)]
        content = hashlib.sha256(repr(keys).encode()).hexdigest()[:16]
        run.record_data(fingerprint=self.asked.content, kept=len(rows.train), refused=rows.refused)
        run.update(rows_digest=content)
        held = f", {len(rows.held_out):,} held out" if rows.held_out else ""
        views = Counter(v for r in rows.train for v in {b.view for b in r.branches})
        told = ", ".join(f"{view} {n:,}" for view, n in sorted(views.items(), reverse=True))
        print(
            f"rows: {summarise(len(rows.train), rows.refused)}{held}; views: {told}; "
            f"{len(self._drawn()):,} are drawn in {self.asked.settings.steps} steps",
            file=sys.stderr,
        )


def _rows(asked: Request, source: Any, template: Template) -> assemble.Rows:
    return assemble.encoded_rows(
        source, asked.held_source, asked.intake, template, asked.schedule,
        asked.settings, asked.where,
    )  # fmt: skip


def _check_best(asked: Request, rows: assemble.Rows) -> None:
    """ConfigError when checkpoint.best names no figure of this run."""
    best = asked.settings.checkpoint.best
    names = assemble.metric_names(asked.schedule, rows)
    if best is not None and best not in names:
        raise ConfigError(
            f"'{best}' is not a metric of this run", where="checkpoint.best",
            repair=did_you_mean(best, names),
        )  # fmt: skip


def _engine(asked: Request, model: Any) -> Any:
    settings = asked.settings
    scorer = assemble.scorer_of(model, settings)
    optimizer = assemble.optimizer_of(model, settings)
    engine = asked.engine.start(
        scorer, optimizer, precision=settings.precision, max_grad_norm=settings.max_grad_norm
    )
    verify_scorer(engine.module, settings.scoring.layout)
    return engine


def _last_logged(run: RunFolder) -> dict[str, float]:
    """The figures of the last line of metrics.jsonl, for a run resumed behind its last step."""
    lines, _ = read_jsonl(run.metrics_path)
    return {k: v for k, v in lines[-1].items() if k != "step"} if lines else {}


def _restored(run: RunFolder, engine: Any) -> TrainState:
    """The newest whole checkpoint's state; a fresh one when there is none."""
    path, broken = checkpoint.newest_whole(Path(run.checkpoints))
    for problem in broken:
        print(f"skipped a damaged checkpoint: {problem}", file=sys.stderr)
    if path is None:
        print("no checkpoint to go on from: starting at step 1", file=sys.stderr)
        return TrainState()
    state = checkpoint.load(path, engine)
    print(f"going on after step {state.step}", file=sys.stderr)
    return state


def _warn_of_displacement(final: Mapping[str, float]) -> None:
    """Tells whoever wonders why chosen answers became less likely, and what holds them."""
    for name, moved in final.items():
        if name.endswith("/displacement/chosen") and moved < -FELL:
            view = name.partition("/")[0]
            print(
                f"view {view}: the log-prob of chosen answers fell by {-moved:.1f} nats. "
                "Preference losses ask for a gap only; a lower optimizer.lr, a higher "
                "objective.beta or fewer steps hold it.", file=sys.stderr,
            )  # fmt: skip


def _next(asked: Request) -> str:
    """The command to try after this one."""
    if isinstance(asked.source, Arithmetic):
        return "bvrank train -m objective=dpo,bvpo seed=0,1"
    return f"bvrank report runs='{asked.settings.outputs}/*'"
