"""`bvrank bench`: what a step costs, arm by arm, on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from bvrank.bench.options import Growth, Lists, Memory, Ranks, Versus
from bvrank.commands.build import construct
from bvrank.commands.ranges import at_least
from bvrank.errors import ConfigError, RunError
from bvrank.models.corpus import check_vocabulary
from bvrank.paths import conf_dir, store_dir

if TYPE_CHECKING:
    from bvrank.bench.result import Cell, Result
    from bvrank.bench.tables import Table

Suite = Literal["lists", "pairs", "views", "memory", "growth", "start", "ranks"]
IDLE = {  # keys that a suite does not read
    "lists": ("compile",),
    "memory": ("rounds", "steps", "limit"),
    "growth": ("compile",),
    "start": ("steps", "shape"),
    "ranks": ("steps",),
}
REPAIR = {("ranks", "steps"): "Write ranks.steps=..., the steps of each run."}

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
    ConfigError for a key that would be ignored; RunError when `out` cannot be written."""
    from bvrank.bench.result import PARTIAL

    asked: Options = construct(Options, config, "")
    _refuse_idle(asked)
    out = Path(asked.out).expanduser()
    if asked.action == "report":
        return _report(out)
    _place(out)
    path = None
    try:
        for result in _measured(asked):  # each one with a cell more: what is measured is kept
            path = result.save(out)
    finally:
        if path is not None and path.name.endswith(PARTIAL):
            print(f"bench: stopped before its end: {out / asked.suite}.json is still the earlier "
                  f"result, what was measured now is in {path}", file=sys.stderr)  # fmt: skip
    _show(result)
    print(f"\nbench: {path}")
    return 0


def _refuse_idle(asked: Options) -> None:
    """ConfigError for a key that is set to another value than conf/bench.yaml gives it, though
    nothing that was asked for reads it."""
    told, usual = asdict(asked), yaml.safe_load((conf_dir() / "bench.yaml").read_text("utf-8"))
    report = asked.action == "report"
    what = "a report" if report else f"suite={asked.suite}"
    for key, value in told.items():
        if value == usual[key] or key in ("action", "out", "store"):
            continue
        if report or key in IDLE.get(asked.suite, ()):
            raise ConfigError(f"means nothing to {what}", where=key,
                              repair=REPAIR.get((asked.suite, key), "Leave it out."))  # fmt: skip
        if isinstance(usual[key], dict) and key not in (asked.suite, "shape"):
            name = next(k for k in value if value[k] != usual[key][k])
            raise ConfigError(f"means nothing to {what}", where=f"{key}.{name}",
                              repair=f"Write suite={key}, or leave it out.")  # fmt: skip
    if asked.suite == "ranks" and asked.device not in ("auto", "cpu") and not report:
        raise ConfigError("ranks are measured on the processor's cores", where="device",
                          repair="Leave it out.")  # fmt: skip


def _measured(asked: Options) -> Iterator[Result]:
    import torch

    from bvrank.bench.material import check_shape
    from bvrank.bench.result import Result, machine
    from bvrank.bench.suites import Bench
    from bvrank.engines.local import device

    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    ranks = asked.suite == "ranks"  # of one thread each unless more are asked for
    threads = asked.threads or 1 if ranks else torch.get_num_threads()
    where = "cpu" if ranks else str(device(asked.device))
    if asked.suite != "start":
        check_shape(asked.shape)
    bench = Bench(
        asked.shape, asked.seed, asked.rounds, asked.steps, asked.limit, threads, where,
        asked.precision, asked.compile, asked.peer, store_dir(asked.store),
    )  # fmt: skip
    found: list[Cell] = []
    told = machine(bench.threads, where)
    for cell in _cells(asked, bench):
        found.append(cell)
        yield Result(asked.suite, asdict(asked), told, tuple(found), whole=False)
    yield Result(asked.suite, asdict(asked), told, tuple(found))


def _cells(asked: Options, bench: Any) -> Iterator[Cell]:
    from bvrank.bench import suites, whole

    run: Iterator[Cell]
    if asked.suite == "start":
        run = whole.start(bench)
    elif asked.suite == "ranks":
        run = whole.ranks(bench, asked.ranks)
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
    from bvrank.bench.result import PARTIAL, loaded

    results = loaded(out)
    path = write(results, out)  # a damaged one is told before the first table
    for result in results:
        _show(result)
    for left in sorted(out.glob(f"*{PARTIAL}")):
        print(f"bench: left out: {left}, of a run that was stopped", file=sys.stderr)
    print(f"\nreport: {path}")
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
