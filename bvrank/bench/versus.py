"""Training steps on pairs: bvrank's against TRL's, each arm in a process of its own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bvrank.bench.material import Row
from bvrank.bench.own import tree_of
from bvrank.bench.result import Arm
from bvrank.bench.rounds import Step, interleaved
from bvrank.bench.work import Work
from bvrank.bench.worker import Done, Worker, started
from bvrank.errors import ConfigError, ModelError, RunError

SAME = 1e-3  # nats by which the losses of arms may differ after as many steps on the same rows
SAME_NARROW = 0.1  # the same in bf16
Job = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """How TRL is run: pairs per forward, and where its reference comes from."""

    micro: int
    reference: str  # live | precomputed

    @property
    def name(self) -> str:
        return f"trl micro {self.micro} {self.reference}"


def check_peer() -> None:
    """ConfigError when TRL is not there."""
    if importlib.util.find_spec("trl") is None:
        raise ConfigError("the package trl is not installed", where="peer",
                          repair="pip install 'bvrank[bench]', or peer=false.")  # fmt: skip


def own_jobs(common: Mapping[str, Any], micros: Sequence[int], recompute: Sequence[int] = ()
             ) -> dict[str, Job]:  # fmt: skip
    """bvrank's arms, one for each number of examples per forward, and of those that compute
    activations again, whose layers are not compiled."""
    given = {**common, "library": "bvrank", "layout": "forest", "chunk": 1024}
    jobs = {f"bvrank micro {m}": {**given, "micro": m, "recompute": False} for m in micros}
    for micro in recompute:
        name = f"bvrank micro {micro} recomputed" + (", uncompiled" if given["compile"] else "")
        jobs[name] = {**given, "micro": micro, "recompute": True, "compile": False}
    return jobs


def peer_jobs(common: Mapping[str, Any], setting: Setting) -> dict[str, Job]:
    """TRL's arms of a setting: a pass for each view."""
    job = {**common, "library": "trl", "micro": setting.micro, "reference": setting.reference}
    views = common["views"]
    names = [setting.name] if len(views) == 1 else [f"{setting.name} {view}" for view in views]
    return {name: {**job, "views": [view]} for name, view in zip(names, views, strict=True)}


def screened(common: Mapping[str, Any], micros: Sequence[int], folder: Path,
             on_setting: Callable[[], None]) -> list[tuple[Setting, float]]:  # fmt: skip
    """Every setting of TRL with the seconds of its faster of two steps, the fastest first. One that
    does not run (for want of memory, say) is named on stderr. RunError when none does."""
    found: list[tuple[Setting, float]] = []
    last: RunError | None = None
    for micro in micros:
        for reference in ("live", "precomputed"):
            setting = Setting(micro, reference)
            try:
                found.append((setting, _two_steps(peer_jobs(common, setting), folder)))
            except RunError as error:
                print(f"bench: left out: {error}", file=sys.stderr)
                last = error
            on_setting()
    if not found and last is not None:
        raise last
    return sorted(found, key=lambda pair: pair[1])


def _two_steps(jobs: Mapping[str, Job], folder: Path) -> float:
    """Seconds of the faster of two steps, over all passes."""
    with started(jobs, folder) as workers:
        return sum(min(w.step().seconds for _ in range(2)) for w in workers.values())


def chosen(screen: Sequence[tuple[Setting, float]], micro: int) -> list[Setting]:
    """The two fastest, and the faster one of `micro` pairs per forward."""
    best = [setting for setting, _ in screen[:2]]
    naive = next((s for s, _ in screen if s.micro == micro), None)
    return [*best, naive] if naive is not None and naive not in best else best


def measured(jobs: Mapping[str, Mapping[str, Job]], folder: Path, *, rounds: int, steps: int,
             limit: float, on_round: Callable[[int], None]) -> dict[str, Arm]:  # fmt: skip
    """Every arm, in turn; an arm of several jobs takes a step of each. On an accelerator, whose
    memory would not hold them side by side, one arm after another. ModelError when arms that took
    the same steps report other losses."""
    every = {name: job for group in jobs.values() for name, job in group.items()}
    done: dict[str, list[Done]] = {name: [] for name in every}

    def arm(group: Mapping[str, Job], workers: Mapping[str, Worker]) -> Step:
        def step() -> None:
            for name in group:
                done[name].append(workers[name].step())

        return step

    for part in turns_of(jobs):
        own = {name: job for group in part.values() for name, job in group.items()}
        with started(own, folder) as workers:
            arms = {name: arm(group, workers) for name, group in part.items()}
            interleaved(arms, rounds=rounds, steps=steps, limit=limit, on_round=on_round)
    least = min(map(len, done.values()))  # the limit may have cut arms that ran alone
    done = {name: steps_done[:least] for name, steps_done in done.items()}
    narrow = any(job["precision"] == "bf16" for job in every.values())
    alike = {n: done[n] for n, group in jobs.items() if n in group}
    _check_losses(alike, SAME_NARROW if narrow else SAME)
    return {name: _joined([done[n] for n in group]) for name, group in jobs.items()}


def turns_of(jobs: Mapping[str, Mapping[str, Job]]) -> list[Mapping[str, Mapping[str, Job]]]:
    """The arms that are measured side by side."""
    if any(job["device"] != "cpu" for group in jobs.values() for job in group.values()):
        return [{name: group} for name, group in jobs.items()]
    return [jobs]


def _joined(parts: Sequence[Sequence[Done]]) -> Arm:
    """One arm of several passes: their seconds together, the memory of the larger one. The first
    step does not count."""
    seconds = tuple(sum(d.seconds for d in step) for step in zip(*parts, strict=True))
    peak = max((p[-1] for p in parts), key=lambda d: d.peak)
    return Arm(seconds[1:], peak.peak, peak.above)


def _check_losses(done: Mapping[str, Sequence[Done]], same: float) -> None:
    for losses in zip(*([d.loss for d in own] for own in done.values()), strict=True):
        if not all(abs(loss - losses[0]) <= same for loss in losses):  # nan neither
            told = ", ".join(f"{n} {x:.5f}" for n, x in zip(done, losses, strict=True))
            raise ModelError(f"the arms train different things: losses {told}", where="bench")


def work_of(rows: Sequence[Row], batch: int, steps: int) -> list[Work]:
    """The work of steps 2 to `steps`: the first does not count."""
    every = [Work.of(tree_of(row)) for row in rows]
    return [sum((every[i % len(every)] for i in _step(n, batch)), Work())
            for n in range(1, steps)]  # fmt: skip


def _step(number: int, batch: int) -> Iterator[int]:
    return iter(range(number * batch, (number + 1) * batch))


def precision_of(name: str) -> torch.dtype:
    """What a matrix product is computed in."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]
