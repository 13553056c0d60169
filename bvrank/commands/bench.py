"""`bvrank bench`: what a step costs, side by side, on this machine."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bvrank.bench.rounds import Timing, interleaved, ratios
from bvrank.commands.build import construct
from bvrank.commands.ranges import at_least
from bvrank.errors import ConfigError, RunError
from bvrank.run import write_atomic
from bvrank.tracking.progress import phase

if TYPE_CHECKING:
    from bvrank.bench.lists import Cell


@dataclass(frozen=True)
class Options:
    """The keys of conf/bench.yaml; the comments there say what each means."""

    suite: Literal["lists"]
    items: list[int]
    prompts: list[int]
    item_tokens: int
    budget: int
    rounds: int
    steps: int
    limit: float
    threads: int | None
    seed: int
    out: str
    shape: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("item_tokens", "budget", "rounds", "steps", "threads"):
            at_least(name, getattr(self, name), 1)
        for name in ("seed", "limit"):
            at_least(name, getattr(self, name), 0)
        for name in ("items", "prompts"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ConfigError("must be one or more whole numbers from 1", where=name)
        if not self.out.strip():
            raise ConfigError("must name a folder", where="out")


@dataclass(frozen=True)
class Measured:
    """A setting and the seconds of each arm's steps."""

    cell: Cell
    timings: dict[str, Timing]


def main(config: dict[str, Any]) -> int:
    """Measures, prints a table, and keeps every measured second. RunError when `out` cannot be
    written."""
    import torch

    asked: Options = construct(Options, config, "")
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    _place(asked.out)
    found = list(_measured(asked))
    path = _kept(asked, found)
    _show(found, torch.get_num_threads())
    print(f"\nbench: {path}")
    return 0


def _measured(asked: Options) -> Iterator[Measured]:
    from bvrank.bench.lists import Cell, arms, model

    longest = max(asked.prompts) + max(asked.items) * asked.item_tokens
    try:
        policy = model({"max_position_embeddings": longest, **asked.shape}, asked.seed)
    except Exception as error:  # transformers checks a shape in many ways of its own
        why = " ".join(str(error).split())
        raise ConfigError(f"makes no model ({why})", where="shape") from error
    cells = [Cell(n, prompt, asked.item_tokens) for prompt in asked.prompts for n in asked.items]
    with phase("lists", len(cells) * asked.rounds) as shown:
        for cell in cells:
            done = 0

            def advance(number: int) -> None:
                nonlocal done
                shown.advance(1)
                done = number

            made = arms(cell, policy, asked.seed, asked.budget)
            timings = interleaved(made, rounds=asked.rounds, steps=asked.steps,
                                  limit=asked.limit, on_round=advance)  # fmt: skip
            shown.advance(asked.rounds - done)
            yield Measured(cell, timings)


def _place(out: str) -> None:
    try:
        Path(out).expanduser().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot be made ({error.strerror or error})", where=out,
                       repair="Choose another folder with out=...") from error  # fmt: skip


def _kept(asked: Options, found: Sequence[Measured]) -> Path:
    """Every second, with what they were measured on."""
    import torch
    import transformers

    whole = {
        "suite": asked.suite, "settings": asdict(asked),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(),
                    "threads": torch.get_num_threads(), "torch": torch.__version__,
                    "transformers": transformers.__version__},
        "cells": [
            {**asdict(m.cell), "unique_tokens": m.cell.unique, "row_tokens": m.cell.repeated,
             "seconds": {name: list(t.seconds) for name, t in m.timings.items()}}
            for m in found
        ],
    }  # fmt: skip
    path = Path(asked.out).expanduser() / f"{asked.suite}.json"
    try:
        write_atomic(path, json.dumps(whole, indent=1))
    except OSError as error:
        raise RunError(f"cannot be written ({error.strerror or error})", where=str(path),
                       repair="Choose another folder with out=...") from error  # fmt: skip
    return path


def _show(found: Sequence[Measured], threads: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    table = Table(title=f"A step on a list, forward and backward, {threads} threads",
                  title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False,
                  padding=(0, 1, 0, 0))  # fmt: skip
    for head in ("prompt", "items", "forest ms", "a row per item", "and all logits",
                 "over one causal pass", "steps"):  # fmt: skip
        table.add_column(head, justify="right", no_wrap=True)
    for m in found:
        forest, causal = m.timings["forest"], m.timings["causal"]
        table.add_row(
            str(m.cell.prompt), str(m.cell.items), f"{1000 * forest.median:,.0f}",
            _times(ratios(m.timings["rows"], forest)), _times(ratios(m.timings["dense"], forest)),
            _times(ratios(forest, causal)), str(len(forest.seconds)),
        )  # fmt: skip
    console.print(table)
    told = "  times by medians [least, most of the steps' own ratios]"
    console.print(told, style="dim", markup=False)


def _times(found: tuple[float, float, float]) -> str:
    middle, low, high = found
    return f"{middle:.2f}x [{low:.2f}, {high:.2f}]"
