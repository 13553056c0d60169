"""`bvrank bench`: what a step costs, side by side, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bvrank.bench.options import Growth, Lists, Memory, Ranks, Versus
from bvrank.commands.build import construct
from bvrank.commands.ranges import at_least
from bvrank.errors import ConfigError, RunError
from bvrank.models.corpus import check_vocabulary
from bvrank.paths import store_dir

if TYPE_CHECKING:
    from bvrank.bench.result import Cell, Result
    from bvrank.bench.tables import Table

Suite = Literal["lists", "pairs", "views", "memory", "growth", "start", "ranks"]

ON_TEXT = ("pairs", "views", "ranks")  # suites whose tokenizer is trained on a file


@dataclass(frozen=True)
class Options:
    """The keys of conf/bench.yaml; the comments there say what each means."""

    action: Literal["run", "report"]
    suite: Suite
    rounds: int
    steps: int
    limit: float
    threads: int | None
    device: str
    precision: Literal["fp32", "bf16"]
    compile: bool
    peer: bool
    seed: int
    out: str
    store: str | None
    shape: dict[str, Any]
    lists: Lists
    pairs: Versus
    views: Versus
    memory: Memory
    growth: Growth
    ranks: Ranks

    def __post_init__(self) -> None:
        for name in ("rounds", "steps", "threads"):
            at_least(name, getattr(self, name), 1)
        for name in ("seed", "limit"):
            at_least(name, getattr(self, name), 0)
        if not self.out.strip():
            raise ConfigError("must name a folder", where="out")
        vocabulary = self.shape.get("vocab_size")
        if not isinstance(vocabulary, int) or vocabulary < 4:
            raise ConfigError("must be a whole number from 4", where="shape.vocab_size")
        if self.suite in ON_TEXT and self.action == "run":
            check_vocabulary(vocabulary, "shape.vocab_size")


def main(config: dict[str, Any]) -> int:
    """Measures and keeps every measured second, or reports on all that was; prints tables.
    RunError when `out` cannot be written."""
    asked: Options = construct(Options, config, "")
    out = Path(asked.out).expanduser()
    if asked.action == "report":
        return _report(out)
    _place(out)
    for result in _measured(asked):  # each one with a cell more: what is measured is kept
        path = result.save(out)
    _show(result)
    print(f"\nbench: {path}")
    return 0


def _measured(asked: Options) -> Iterator[Result]:
    import torch

    from bvrank.bench.result import Result, machine
    from bvrank.bench.suites import Bench
    from bvrank.engines.local import device

    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    where = str(device(asked.device))
    bench = Bench(
        asked.shape, asked.seed, asked.rounds, asked.steps, asked.limit,
        torch.get_num_threads(), where, asked.precision, asked.compile, asked.peer,
        store_dir(asked.store),
    )  # fmt: skip
    found: list[Cell] = []
    for cell in _cells(asked, bench):
        found.append(cell)
        told = machine(bench.threads, where)
        yield Result(asked.suite, asdict(asked), told, tuple(found))


def _cells(asked: Options, bench: Any) -> Iterator[Cell]:
    from bvrank.bench import suites

    run: Iterator[Cell]
    if asked.suite == "start":
        run = suites.start(bench)
    else:
        run = getattr(suites, asked.suite)(bench, getattr(asked, asked.suite))
    return run


def _place(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot be made ({error.strerror or error})", where=str(out),
                       repair="Choose another folder with out=...") from error  # fmt: skip


def _report(out: Path) -> int:
    from bvrank.bench.page import write
    from bvrank.bench.result import loaded

    results = list(loaded(out))
    for result in results:
        _show(result)
    print(f"\nreport: {write(results, out)}")
    return 0


def _show(result: Result) -> None:
    from rich.console import Console

    from bvrank.bench.tables import tables

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    for table in tables(result):
        console.print(table.title, style="bold", markup=False)
        console.print(_drawn(table))
        for note in table.notes:
            console.print(f"  {note}", style="dim", markup=False)


def _drawn(table: Table) -> Any:
    from rich import box
    from rich.table import Table as Drawn

    drawn = Drawn(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for number, head in enumerate(table.heads):
        drawn.add_column(head, justify="left" if number < table.names else "right", no_wrap=True)
    for line in table.lines:
        drawn.add_row(*line)
    return drawn
