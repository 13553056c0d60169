"""Training steps on pairs: bvrank's against TRL's, each arm in a process of its own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bvrank.bench.agreement import Agreement, agreement
from bvrank.bench.material import Row
from bvrank.bench.own import tree_of
from bvrank.bench.result import Arm
from bvrank.bench.rounds import Step, interleaved
from bvrank.bench.work import Work
from bvrank.bench.worker import Done, Worker, started
from bvrank.errors import ConfigError, RunError
from bvrank.records import FULL

WITNESSED = 3  # steps that a pass of TRL on one view is compared on
Job = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """How TRL is run: pairs per forward, where its reference comes from, and whether activations
    are computed again (`gradient_checkpointing`, on unless TRL is told otherwise)."""

    micro: int
    reference: str  # live | precomputed
    recompute: bool = False

    @property
    def name(self) -> str:
        again = " recomputed" if self.recompute else ""
        return f"trl micro {self.micro} {self.reference}{again}"


@dataclass(frozen=True)
class Measured:
    """The arms, the loss of every step of each job, and how far the losses of those agree that
    trained the same."""

    arms: dict[str, Arm]
    losses: dict[str, list[float]]
    agreed: Agreement


def check_peer() -> None:
    """ConfigError when TRL is not there."""
    if importlib.util.find_spec("trl") is None:
        raise ConfigError("the package trl is not installed", where="peer",
                          repair="pip install 'bvrank[bench]', or peer=false.")  # fmt: skip


def own_jobs(common: Mapping[str, Any], micros: Sequence[int], recompute: Sequence[int] = ()
             ) -> dict[str, Job]:  # fmt: skip
    """bvrank's arms, one for each number of examples per forward, and of those that compute
    activations again, whose layers are not compiled."""
    given = {**common, "library": "bvrank", "layout": "forest", "chunk": 1024, "alpha": 0.5}
    jobs = {f"bvrank micro {m}": {**given, "micro": m, "recompute": False} for m in micros}
    for micro in recompute:
        name = f"bvrank micro {micro} recomputed" + (", uncompiled" if given["compile"] else "")
        jobs[name] = {**given, "micro": micro, "recompute": True, "compile": False}
    return jobs


def peer_jobs(common: Mapping[str, Any], setting: Setting) -> dict[str, Job]:
    """TRL's arms of a setting: a pass for each view."""
    job = {**common, "library": "trl", "micro": setting.micro, "reference": setting.reference,
           "recompute": setting.recompute}  # fmt: skip
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


def measured(
    jobs: Mapping[str, Mapping[str, Job]], folder: Path, *, rounds: int, steps: int, limit: float,
    allowed: float, on_round: Callable[[int], None],
) -> Measured:  # fmt: skip
    """Every arm, in turn; an arm of several jobs takes a step of each. On an accelerator, whose
    memory would not hold them side by side, one arm after another. ModelError when arms that took
    the same steps report losses further apart than `allowed` nats."""
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
    losses = {name: [d.loss for d in own] for name, own in done.items()}
    agreed = agreement({n: losses[n] for n, group in jobs.items() if n in group}, allowed)
    found = {name: _joined([done[n] for n in group]) for name, group in jobs.items()}
    return Measured(found, losses, agreed)


def witnessed(
    common: Mapping[str, Any], peers: Mapping[str, Mapping[str, Job]],
    losses: Mapping[str, Sequence[float]], folder: Path, allowed: float,
) -> Agreement:  # fmt: skip
    """TRL's passes on one view against bvrank's own arm with all weight on that view.

    A pass trains weights of its own, BVPO one set on both views, so past step 1 their losses have
    no law. At an endpoint, alpha 1 or 0, BVPO is a pass: WITNESSED steps of it, untimed, have to
    have the losses of TRL's. ModelError when they do not."""
    found: Agreement | None = None
    (job,) = own_jobs(
        common, [min(j["micro"] for g in peers.values() for j in g.values())]
    ).values()
    for view in common["views"]:
        name = f"bvrank {view} alone"
        own = {name: {**job, "alpha": float(view == FULL), "compile": False}}
        passes = [
            n for group in peers.values() for n, job in group.items() if job["views"] == [view]
        ]
        steps = min(WITNESSED, *(len(losses[n]) for n in passes))
        with started(own, folder) as workers:
            told = {name: [workers[name].step().loss for _ in range(steps)]}
        same = agreement(told | {n: losses[n][:steps] for n in passes}, allowed)
        found = same if found is None else found.joined(same)
    assert found is not None  # there are two views
    return found


def turns_of(jobs: Mapping[str, Mapping[str, Job]]) -> list[Mapping[str, Mapping[str, Job]]]:
    """The arms that take turns; the groups are measured one after another."""
    if any(job["device"] != "cpu" for group in jobs.values() for job in group.values()):
        return [{name: group} for name, group in jobs.items()]
    return [jobs]


def _joined(parts: Sequence[Sequence[Done]]) -> Arm:
    """One arm of several passes: their seconds together, the memory of the larger one. The first
    step does not count."""
    seconds = tuple(sum(d.seconds for d in step) for step in zip(*parts, strict=True))
    peak = max((p[-1] for p in parts), key=lambda d: d.peak)
    return Arm(seconds[1:], peak.peak, peak.above)


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
