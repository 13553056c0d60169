"""One training run from loaded parts to its summary."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bvrank import checkpoint
from bvrank.checkpoint import TrainState
from bvrank.commands import assemble, policy, prepare
from bvrank.commands.hooks import Recorder, Saver, Stopping
from bvrank.commands.loading import Loaded, load
from bvrank.commands.references import Batching
from bvrank.data.mix import worlds
from bvrank.data.refusals import summarise
from bvrank.data.shelf import has_view
from bvrank.errors import ConfigError, Interrupted, Stopped, TrainingError
from bvrank.evaluation.arithmetic import compared
from bvrank.protocols import Measure
from bvrank.ranks import ALONE, Ranks
from bvrank.records import Encoded
from bvrank.run import RunFolder, read_jsonl
from bvrank.run.folder import GO_ON
from bvrank.sampling import examples
from bvrank.scoring.reference import all_keys
from bvrank.scoring.scorer import obstacle
from bvrank.scoring.verify import verify_scorer
from bvrank.tracking.jsonl import Jsonl
from bvrank.tracking.progress import Progress
from bvrank.tracking.several import Several
from bvrank.trainer import check_against_reference, train

if TYPE_CHECKING:
    from bvrank.commands.settings import TrainSettings
    from bvrank.commands.train import Request


FELL = 5.0  # nats by which chosen answers may lose log-prob before it is remarked on


@dataclass(frozen=True)
class Session:
    """Data and model in an engine, checked; no file of the run exists yet."""

    asked: Request
    loaded: Loaded
    batching: Batching
    engine: Any
    ranks: Ranks

    @classmethod
    def load(cls, asked: Request, ranks: Ranks = ALONE) -> Session:
        """Before the engine is there a mistake leaves no run folder."""
        loaded = load(asked)
        batching = Batching.of(asked, loaded.rows, loaded.model, ranks)
        return cls(asked, loaded, batching, _engine(asked, loaded.model, ranks), ranks)

    def run(self, run: RunFolder) -> None:
        """Trains in `run`; the first rank writes its summary."""
        settings, first = self.asked.settings, self.ranks.first
        self._tell_rows(run)
        engine = self.engine
        prompts, longest = self._prompts(), settings.examples.max_new_tokens
        before, policy = None, self._plain()
        if first:
            before = self._accuracy(policy, "accuracy before")
            examples.before(run.path, policy, self.loaded.template, prompts, longest)
        del policy
        batches, measure = self.batching.training(engine, run)
        held_out = self.batching.held_out(engine)
        state, jsonl = TrainState(), Jsonl()
        # Dropout alone draws from it; everything else draws from streams of its own.
        torch.manual_seed(_dropout_seed(settings.seed, self.ranks.rank))
        if run.resumed:
            state = _restored(run, engine)
        elif self.asked.needs_reference:
            self._check(engine, batches, run)
        others = [asked.tracker(state.step) for asked in self.asked.trackers] if first else []
        tracker = Several([jsonl, Progress(done=state.step), *others] if first else [])
        recorder = Recorder(
            tracker, settings.steps, settings.log.every, settings.eval.every, held_out
        )
        saver = Saver(run.checkpoints, engine, settings.checkpoint, settings.steps, recorder)
        tracker.start(self.asked.config, run.path)
        if first:
            jsonl.truncate(state.step)
        summary: dict[str, Any] = {}  # of a run that did not get to its end
        try:
            self._steps(engine, batches, state, measure, (recorder, saver))
            policy = self._plain()
            if first:
                _warn_of_displacement(recorder.latest)
                recorder.latest = recorder.latest or _last_logged(run)
                examples.after(run.path, policy, self.loaded.template, prompts, longest)
                summary = self._summary(recorder, state, before, policy)
        except TrainingError as error:
            run.update(rows_at_fault=list(error.rows))
            raise
        finally:
            tracker.finish(summary)
        run.finish(summary)

    def _steps(self, engine: Any, batches: Any, state: TrainState, measure: Measure | None,
               hooks: tuple[Recorder, Saver]) -> None:  # fmt: skip
        plan = assemble.plan_of(self.asked.schedule, self.asked.settings, measure)
        stopping = Stopping(self.ranks)
        with stopping.listening():
            try:
                train(plan, batches, engine, state, hooks, stopping)
                if stopping():  # during the last step or its save: what follows can wait
                    raise Interrupted("stopped")
            except Interrupted:
                hooks[1].save(state)
                raise Stopped(
                    f"stopped after step {state.step} of {plan.steps}; it is saved",
                    repair=GO_ON["train"],
                ) from None

    def _check(self, engine: Any, batches: Any, run: RunFolder) -> None:
        """The objective-free check: before step 1 the policy is its reference."""
        first = next(iter(batches.step(1, self.asked.views)))
        tolerance = assemble.TOLERANCE[self.asked.settings.precision]
        run.update(policy_against_reference=check_against_reference(engine, first, tolerance))

    def _plain(self) -> Any:
        """The policy as it is now, for what is generated; None where nothing is."""
        if not self.asked.settings.examples.count and not worlds(self.loaded.source):
            return None
        return self.engine.plain(self.loaded.fresh)

    def _prompts(self) -> list[examples.Prompt]:
        loaded, count = self.loaded, self.asked.settings.examples.count
        rows = loaded.rows.held_out if len(loaded.rows.held_out) else loaded.rows.train
        return examples.prompts_of(loaded.source, rows, self.asked.views, loaded.template, count)

    def _accuracy(self, model: Any, title: str) -> Any:
        found, store = worlds(self.loaded.source), self.asked.store
        if not found:
            return None
        return prepare.measured(found[0], model, self.loaded.template, store, title)

    def _summary(self, recorder: Recorder, state: TrainState, before: Any, policy: Any
                 ) -> dict[str, Any]:  # fmt: skip
        rows = self.loaded.rows
        refused = Counter(r.reason for r in rows.refused)
        summary: dict[str, Any] = {
            "final": recorder.latest,
            "rows": {"kept": len(rows.train), "refused": dict(refused)},
            "next": _next(self.asked),
        }  # fmt: skip
        if state.best_step is not None:
            name = self.asked.settings.checkpoint.best
            summary["best"] = {"metric": name, "value": state.best, "step": state.best_step}
        if before is not None:
            after = self._accuracy(policy, "accuracy after")
            samples = worlds(self.loaded.source)[0].test_samples
            summary["accuracy"] = {m: compared(before[m], after[m], samples) for m in before}
        return summary

    def _tell_rows(self, run: RunFolder) -> None:
        rows = self.loaded.rows
        if not self.ranks.first:
            return
        content = hashlib.sha256(all_keys(rows.train)[0].tobytes()).hexdigest()[:16]
        run.record_data(fingerprint=self.asked.content, kept=len(rows.train), refused=rows.refused)
        run.update(rows_digest=content)
        held = f", {len(rows.held_out):,} held out" if rows.held_out else ""
        if _wants_traces(self.asked.objective) and not any(map(_has_traces, rows.train)):
            print(
                "marginal: no answer has two traces, so that it is dpo here. Raise data.traces, or "
                "give lists of {think, answer} as chosen and rejected.", file=sys.stderr,
            )  # fmt: skip
        views = {view: int(has_view(rows.train, view).sum()) for view in self.asked.views}
        told = ", ".join(f"{view} {n:,}" for view, n in sorted(views.items(), reverse=True) if n)
        print(
            f"rows: {summarise(len(rows.train), rows.refused)}{held}; views: {told}; "
            f"{len(self.batching.drawn()):,} are drawn in {self.asked.settings.steps} steps",
            file=sys.stderr,
        )


def _engine(asked: Request, model: Any, ranks: Ranks) -> Any:
    settings = asked.settings
    place = asked.engine.place(ranks)
    scorer = policy.scorer_of(model, settings, place)
    _check_layout(model, settings, place, told=ranks.first)
    verify_scorer(scorer, settings.scoring.layout)  # while its weights are whole
    return asked.engine.start(
        scorer, policy.optimizer_of(model, settings, place), precision=settings.precision,
        max_grad_norm=settings.max_grad_norm, ranks=ranks,
        forwards=settings.forwards(ranks.world),
    )  # fmt: skip


def _check_layout(model: Any, settings: TrainSettings, place: torch.device, told: bool) -> None:
    """Says so where a forest has to be computed under dense masks. ConfigError where FlexAttention
    would go on without its kernels: it does under the watch of selective recomputation."""
    if settings.scoring.layout != "forest":
        return
    why = obstacle(model, place)
    if why is None and place.type == "cuda" and settings.activation_checkpointing == "selective":
        raise ConfigError("FlexAttention is not for it", where="activation_checkpointing",
                          repair="Set it to true, or scoring.layout=masked.")  # fmt: skip
    if why and told:
        print(f"scoring: {why}, so that the forest goes under dense masks: slower where rows are "
              "long (scoring.layout=masked asks for it).", file=sys.stderr)  # fmt: skip


def _last_logged(run: RunFolder) -> dict[str, float]:
    """The figures of the last line of metrics.jsonl, for a run resumed behind its last step."""
    lines, _ = read_jsonl(run.metrics_path)
    return {k: v for k, v in lines[-1].items() if k != "step"} if lines else {}


def _restored(run: RunFolder, engine: Any) -> TrainState:
    """The newest whole checkpoint's state; a fresh one when there is none."""
    state, broken = checkpoint.load_newest(Path(run.checkpoints), engine)
    if engine.ranks.first:
        for problem in broken:
            print(f"skipped a damaged checkpoint: {problem}", file=sys.stderr)
        told = f"going on after step {state.step}" if state else (
            "no checkpoint to go on from: starting at step 1"
        )  # fmt: skip
        print(told, file=sys.stderr)
    return state or TrainState()


def _dropout_seed(seed: int, rank: int) -> int:
    """The run's own on the first rank, one unlike any other run's on each of the others."""
    return seed if rank == 0 else int(np.random.SeedSequence((seed, rank)).generate_state(1)[0])


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


def _wants_traces(objective: Any) -> bool:
    """Of an objective, or of the one inside of it."""
    return any(getattr(o, "wants_traces", False) for o in (objective, vars(objective).get("loss")))


def _has_traces(row: Encoded) -> bool:
    answers = [(b.view, b.answer) for b in row.branches]
    return len(set(answers)) < len(answers)


def _next(asked: Request) -> str:
    """The command to try after this one."""
    if worlds(asked.source):
        return "bvrank train -m objective=dpo,bvpo seed=0,1"
    return f"bvrank report runs='{asked.settings.outputs}/*'"
