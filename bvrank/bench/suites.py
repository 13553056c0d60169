"""The suites: which settings are measured, and with which arms."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from bvrank.bench import cost, outside, versus
from bvrank.bench.agreement import agreement, tolerance
from bvrank.bench.lists import Cell as ListCell
from bvrank.bench.lists import arms as list_arms
from bvrank.bench.material import model, random_rows, real_rows, saved_model, saved_rows
from bvrank.bench.options import Growth, Lists, Memory, Versus
from bvrank.bench.own import tree_of
from bvrank.bench.result import Arm, Cell
from bvrank.bench.rounds import interleaved
from bvrank.bench.work import Work, flops, matmul_rate
from bvrank.records import BARE, FULL
from bvrank.tracking.progress import Phase, phase


@dataclass(frozen=True)
class Bench:
    """What all suites share: the keys of conf/bench.yaml outside their sections."""

    shape: dict[str, Any]
    seed: int
    rounds: int
    steps: int
    limit: float
    threads: int
    device: str
    precision: Literal["fp32", "bf16"]
    compile: bool
    peer: bool
    store: Path

    @property
    def vocabulary(self) -> int:
        """Tokens of the shape."""
        return int(self.shape["vocab_size"])

    def job(self, rows: str, weights: str, batch: int, views: tuple[str, ...]) -> dict[str, Any]:
        """What every arm is told."""
        return {"rows": rows, "model": weights, "batch": batch, "views": list(views), "beta": 0.1,
                "lr": 1e-5, "threads": self.threads, "device": self.device,
                "precision": self.precision, "compile": self.compile,
                "store": str(Path(weights).parent / "store")}  # fmt: skip

    def policy(self, more: dict[str, Any]) -> Any:
        """A model of the shape, where it is measured."""
        return model({**more, **self.shape}, self.seed).to(self.device)

    def timed(self, arms: dict[str, Any], shown: Phase) -> dict[str, Arm]:
        """Arms in this process, in turn; `shown` advances by `rounds`."""
        found = interleaved(arms, rounds=self.rounds, steps=self.steps, limit=self.limit,
                            on_round=lambda _: shown.advance(1))  # fmt: skip
        shown.advance(self.rounds - len(next(iter(found.values())).seconds) // self.steps)
        return {name: Arm(timing.seconds) for name, timing in found.items()}


def lists(bench: Bench, asked: Lists) -> Iterator[Cell]:
    """A packed tree against a row for each item."""
    longest = max(asked.prompts) + max(asked.items) * asked.item_tokens
    policy = bench.policy({"max_position_embeddings": longest})
    cells = [ListCell(n, p, asked.item_tokens) for p in asked.prompts for n in asked.items]
    with phase("lists", len(cells) * bench.rounds) as shown:
        for cell in cells:
            arms = bench.timed(list_arms(cell, policy, bench.seed, asked.budget, bench.precision),
                               shown)  # fmt: skip
            facts = {"unique_tokens": cell.unique, "row_tokens": cell.repeated}
            yield Cell({"prompt": cell.prompt, "items": cell.items}, arms, facts)


def pairs(bench: Bench, asked: Versus, views: tuple[str, ...] = (FULL,)) -> Iterator[Cell]:
    """DPO on the full view, or BVPO on both, against TRL's DPO on each."""
    path = asked.file("pairs" if len(views) == 1 else "views")
    if bench.peer:
        versus.check_peer()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows, tokenizer = real_rows(path, bench.vocabulary, views, asked.max_length,
                                    bench.seed, asked.rows, asked.batch, bench.store)  # fmt: skip
        shape = {"max_position_embeddings": 2 * asked.max_length, **bench.shape}
        weights = saved_model(shape, bench.seed, tokenizer, folder / "model")
        job = bench.job(saved_rows(rows, folder), weights, asked.batch, views)
        jobs = {n: {n: j} for n, j in versus.own_jobs(job, asked.micro, asked.recompute).items()}
        facts: dict[str, float] = {}
        for setting, seconds in _screen(bench, job, asked, folder):
            facts[f"screen/{setting.name}"] = seconds
        peers = {s.name: versus.peer_jobs(job, s) for s in _settings(facts, asked.batch)}
        allowed = tolerance(rows, asked.batch, job["beta"], bench.precision)
        with phase("rounds", bench.rounds * len(versus.turns_of(jobs | peers))) as shown:
            found = versus.measured(
                jobs | peers, folder, rounds=bench.rounds, steps=bench.steps, limit=bench.limit,
                allowed=allowed, on_round=lambda _: shown.advance(1),
            )  # fmt: skip
        if len(jobs) + len(peers) * (len(views) == 1) > 1:  # else there is nothing to agree with
            facts |= found.agreed.facts("losses")
        if peers and len(views) > 1:
            told = versus.witnessed(job, peers, found.losses, folder, allowed)
            facts |= told.facts("passes")
        arms = found.arms
        count = len(next(iter(arms.values())).seconds)
        steps = versus.work_of(rows, asked.batch, count + 1)
        facts |= _speed(bench, shape, steps)
        yield Cell({"views": " ".join(views), "batch": asked.batch}, arms, facts)


def _screen(bench: Bench, job: dict[str, Any], asked: Versus, folder: Path
            ) -> list[tuple[versus.Setting, float]]:  # fmt: skip
    if not bench.peer:
        return []
    with phase("screening TRL", 2 * len(asked.screen)) as shown:
        return versus.screened(job, asked.screen, folder, lambda: shown.advance(1))


def _settings(facts: dict[str, float], batch: int) -> list[versus.Setting]:
    screen = []
    for name, seconds in facts.items():
        _, _, micro, reference = name.split()
        screen.append((versus.Setting(int(micro), reference), seconds))
    return versus.chosen(screen, batch)


def _speed(bench: Bench, shape: dict[str, Any], steps: list[Work]) -> dict[str, float]:
    """Work of the measured steps, and how fast this machine multiplies matrices."""
    with torch.device("meta"):  # its sizes are all that is asked
        policy = model(shape, bench.seed)
    total = sum(steps, Work())
    device = torch.device(bench.device)
    rates = [matmul_rate(device, versus.precision_of(bench.precision)) for _ in range(5)]
    return {"tokens": total.tokens, "scored": total.scored, "flops": flops(total, policy),
            "matmul": outside.middle(rates)}  # fmt: skip


def views(bench: Bench, asked: Versus) -> Iterator[Cell]:
    """BVPO against two passes of TRL."""
    return pairs(bench, asked, (FULL, BARE))


def memory(bench: Bench, asked: Memory) -> Iterator[Cell]:
    """One pair a step: what it takes beside the weights, by vocabulary and scored tokens."""
    if bench.peer:
        versus.check_peer()
    cells = [(v, n) for v in asked.vocabularies for n in asked.scored]
    with phase("memory", len(cells)) as shown:
        for vocabulary, scored in cells:
            with tempfile.TemporaryDirectory() as name:
                yield _memory(bench, asked, vocabulary, scored, Path(name))
            shown.advance(1)


def _memory(bench: Bench, asked: Memory, vocabulary: int, scored: int, folder: Path) -> Cell:
    long = {"max_position_embeddings": asked.prompt + scored}
    shape = {**long, **bench.shape, "vocab_size": vocabulary}
    rows = random_rows(1, vocabulary, asked.prompt, scored // 2, bench.seed)
    tokenizer = _any_tokenizer()
    weights = saved_model(shape, bench.seed, tokenizer, folder / "model")
    job = bench.job(saved_rows(rows, folder), weights, 1, (FULL,))
    arms: dict[str, Arm] = {}
    every = versus.own_jobs(job, [1], [1] if asked.recompute else [])
    for again in (False, True)[: (1 + asked.recompute) * bench.peer]:
        every |= versus.peer_jobs(job, versus.Setting(1, "precomputed", again))
    allowed = tolerance(rows, 1, job["beta"], bench.precision)
    losses: dict[str, list[float]] = {}
    for name, one in every.items():  # alone: memory does not have to be shared
        found = versus.measured({name: {name: one}}, folder, rounds=1, steps=2, limit=bench.limit,
                                allowed=allowed, on_round=lambda _: None)  # fmt: skip
        arms |= found.arms
        losses |= found.losses
    facts: dict[str, float] = {"tokens": Work.of(tree_of(rows[0])).tokens}
    if len(losses) > 1:
        facts |= agreement(losses, allowed).facts("losses")
    return Cell({"vocabulary": vocabulary, "scored": scored}, arms, facts)


def _any_tokenizer() -> Any:
    """TRL wants one, though rows are ids already."""
    from bvrank.models.tiny import tiny_tokenizer

    return tiny_tokenizer()


def growth(bench: Bench, asked: Growth) -> Iterator[Cell]:
    """Seconds by size, of lists, traces and data sets."""
    longest = max(512 + 8 * max(asked.items), 256 + max(asked.traces) + 64)
    policy = bench.policy({"max_position_embeddings": longest})
    with tempfile.TemporaryDirectory() as folder:
        points = [*cost.lists(policy, asked.items, 512, 8, bench.seed, bench.precision),
                  *cost.traces(policy, asked.traces, 128, 64, bench.seed, bench.precision),
                  *cost.rows(policy, asked.rows, 64, bench.seed, Path(folder))]  # fmt: skip
        with phase("sizes", bench.rounds) as shown:
            arms = bench.timed({str(n): point.step for n, point in enumerate(points)}, shown)
    for number, point in enumerate(points):
        facts = {"tokens": point.work.tokens, "pairs": point.work.pairs}
        yield Cell(point.setting, {"step": arms[str(number)]}, facts)
