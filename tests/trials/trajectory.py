"""The same 20 steps whatever the engine, the number of processes and the split of a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.commands.fast import config, list_rows, pair_rows, write
from tests.trials import Request, Table
from tests.trials.many import run_all

BATCH = 8
OBJECTIVES = ("dpo", "bvpo", "irpo")
SPLITS = {1: (8, 4, 1), 2: (4, 2, 1)}  # ranks -> examples per forward
WAYS = ("stored", "live")  # where reference log-probs come from
MORE = {"LoRA": ("adapter_off",)}  # ways that a kind has beside them
# Largest difference of a step's loss from the local engine's with (micro, accumulation) = (8, 1).
# fp32 sums in another order; bf16 has 8 bits, and 20 steps of Adam carry them on.
BOUNDS = {"fp32": 1e-5, "LoRA": 1e-5, "bf16": 2e-2}
WORDS = {"fp32": (), "LoRA": ("model.lora.r=4",), "bf16": ("precision=bf16",)}
WHOLE = "engine.ds.zero_optimization.stage3_param_persistence_threshold=0"


@dataclass(frozen=True)
class Arm:
    """One row of the table: an engine, how many processes, and examples per forward."""

    engine: str
    ranks: int
    micro: int
    kind: str = "fp32"

    def job(self, objective: str, way: str, folder: Path) -> dict[str, Any]:
        """Its frozen config. `name` keeps arms apart whose content has one name."""
        lists = objective == "irpo"
        rows = folder / ("lists.jsonl" if lists else "pairs.jsonl")
        return config(
            folder, f"data={'lists' if lists else 'pairs'}", f"data.path={rows}",
            f"objective={objective}", f"scoring.reference={way}", "steps=20", f"batch={BATCH}",
            f"micro={self.micro}", f"engine={self.engine}", f"launcher.processes={self.ranks}",
            "data.eval_fraction=0.2", "eval.every=5", "optimizer.lr=0.001", *WORDS[self.kind],
            *((WHOLE,) if self.engine == "zero3" else ()),
            f"name={self.engine}-{self.ranks}-{self.micro}-{self.kind}-{objective}-{way}",
        )  # fmt: skip


BASE = {kind: Arm("local", 1, BATCH, kind) for kind in BOUNDS}


def arms(engines: Sequence[str] = ("local", "zero0", "zero1", "zero2", "zero3")) -> Iterator[Arm]:
    """Every engine, number of processes and split in fp32; one split of each with LoRA and bf16."""
    for kind in BOUNDS:
        for engine in engines:
            for ranks, splits in SPLITS.items():
                if engine == "local" and ranks > 1:
                    continue
                for micro in splits if kind == "fp32" else splits[1:2]:
                    yield Arm(engine, ranks, micro, kind)


def differences(wanted: Sequence[Arm], folder: Path, objectives: Sequence[str] = OBJECTIVES,
                ways: Sequence[str] = WAYS) -> dict[tuple[Arm, str], float]:  # fmt: skip
    """Largest difference of any step's loss, held-out loss included, from the base arm's with
    stored reference log-probs; by arm and objective, over `ways` and those of its kind."""

    def of(arm: Arm) -> tuple[str, ...]:
        return (*ways, *MORE.get(arm.kind, ()))

    write(folder / "pairs.jsonl", pair_rows(24))
    write(folder / "lists.jsonl", list_rows(24))
    base = [(BASE[k], o, "stored") for k in {a.kind for a in wanted} for o in objectives]
    every = list(
        dict.fromkeys([*base, *((a, o, w) for a in wanted for o in objectives for w in of(a))])
    )
    found: dict[tuple[Arm, str, str], list[dict[str, Any]]] = {}
    for ranks in sorted({arm.ranks for arm, _, _ in every}):
        mine = [key for key in every if key[0].ranks == ranks]
        lines = run_all([arm.job(o, way, folder) for arm, o, way in mine], ranks, folder)
        found |= dict(zip(mine, lines, strict=True))
    return {
        (arm, o): max(_gap(found[arm, o, w], found[BASE[arm.kind], o, "stored"]) for w in of(arm))
        for arm in wanted
        for o in objectives
    }


def table(request: Request) -> Table:
    """The whole table."""
    made = Table(
        f"largest difference of the loss over 20 steps from local, (micro, accumulation, ranks) = "
        f"({BATCH}, 1, 1); bounds: {', '.join(f'{k} {b:g}' for k, b in BOUNDS.items())}",
        ["kind", "engine", "ranks", "micro", "accumulation", *OBJECTIVES],
    )
    wanted = [arm for arm in arms() if request.only in f"{arm.engine}-{arm.kind}"]
    gaps = differences(wanted, request.folder)
    for arm in wanted:
        own = [gaps[arm, o] for o in OBJECTIVES]
        split = (arm.ranks, arm.micro, BATCH // arm.ranks // arm.micro)
        made.add(arm.kind, arm.engine, *split, *(f"{gap:.1e}" for gap in own),
                 right=max(own) <= BOUNDS[arm.kind])  # fmt: skip
    return made


def _gap(one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> float:
    """Over all steps; infinite when a step or a figure is missing."""
    if len(one) != len(other) or len(one) != 20:
        return float("inf")
    names = [n for n in ("loss", "eval/loss")]
    pairs = [(a.get(n), b.get(n)) for a, b in zip(one, other, strict=True) for n in names]
    if any((a is None) is not (b is None) for a, b in pairs):
        return float("inf")
    return max(abs(float(a) - float(b)) for a, b in pairs if a is not None and b is not None)
