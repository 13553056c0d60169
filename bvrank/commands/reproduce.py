"""`bvrank reproduce paper=bvpo`: a paper's arms in a small size, its figures beside ours."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bvrank.commands import evaluate, train
from bvrank.commands.build import build, construct
from bvrank.commands.compose import composed, frozen
from bvrank.data.arithmetic import Problem, problems
from bvrank.errors import ConfigError
from bvrank.evaluation.metrics import bounds
from bvrank.evaluation.result import Result, read_result
from bvrank.run.files import to_json, write_atomic
from bvrank.statistics import Cells, difference, estimate

APART = (
    "Ours is a model of under a million weights on another task, trained for a minute: its figures "
    "are not comparable with the paper's. What may be compared is whether the last two arms "
    "differ, and which way; an interval that holds 0 says that so few prompts and seeds cannot "
    "tell."
)
LISTS = {"train": 300, "test": 100}


@dataclass(frozen=True)
class Paper:
    """conf/paper/<x>.yaml; the comments there say what each key means."""

    title: str
    arms: dict[str, list[str] | None]
    reported: dict[str, dict[str, float | None]]
    measured: list[str]
    of: str
    teach: list[str]
    train: list[str]
    evaluate: list[str]
    lists: str | None = None

    def __post_init__(self) -> None:
        if len(self.arms) < 2 or None in [*self.arms.values()][-2:]:
            raise ConfigError("must end with two arms that are trained", where="arms")
        if not self.measured:
            raise ConfigError("must name a figure", where="measured")


@dataclass(frozen=True)
class Settings:
    """conf/reproduce.yaml without its group."""

    tier: Literal["smoke"]
    seeds: list[int]
    outputs: str
    store: str | None

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError("must name one or more, each once", where="seeds")


def main(config: dict[str, Any]) -> int:
    """Trains and evaluates every arm with every seed, or finds it finished; prints the table."""
    settings: Settings = construct(Settings, {k: v for k, v in config.items() if k != "paper"}, "")
    paper: Paper = build(config["paper"], "paper")
    if paper.lists is not None:
        write_lists(Path(paper.lists).expanduser())
    with redirect_stdout(sys.stderr):  # the tables of runs and evaluations
        found = {arm: [_measured(paper, settings, words, seed) for seed in settings.seeds]
                 for arm, words in paper.arms.items()}  # fmt: skip
    show(paper, found)
    return 0


def _measured(paper: Paper, settings: Settings, words: Sequence[str] | None, seed: int) -> Result:
    """The evaluation of one run, or of the model before training."""
    common = [f"seed={seed}"] + ([] if settings.store is None else [f"store={settings.store}"])
    model = ["model=tiny", *paper.teach]
    if words is None:
        about = [*model, f"outputs={settings.outputs}/base"]
    else:
        asked = frozen(composed("train", [*model, *paper.train, *words, *common, "resume=true",
                                          f"outputs={settings.outputs}"]))  # fmt: skip
        train.main(asked)
        about = [f"run={Path(settings.outputs).expanduser() / train.request(asked).name}"]
    wanted = frozen(composed("evaluate", [*paper.evaluate, *about, *common]))
    evaluate.main(wanted)
    request = evaluate.request(wanted)
    return read_result(request.folder(next(iter(request.tasks))))


def show(paper: Paper, found: Mapping[str, Sequence[Result]]) -> None:
    """The table on the terminal, and what may be read out of it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    *_, before, last = paper.arms
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), title=paper.title,
                  title_justify="left")  # fmt: skip
    for head in ("in per cent", *paper.arms, f"{last} - {before}", "95 %", "p"):
        table.add_column(head, justify="left" if head == "in per cent" else "right")
    for row in rows(paper, found):
        table.add_row(*row)
    console.print(table)
    results = next(iter(found.values()))
    n = len(results[0].cells[paper.measured[0]])
    seeds = len(results)
    how = ("Student's t, by the scatter of prompts and of seeds" if seeds > 1 else
           "over prompts alone: one seed says nothing of others")  # fmt: skip
    console.print(f"ours: {paper.of}; {n:,} prompts, {seeds} seed{'s' * (seeds > 1)}; intervals: "
                  f"{how}", markup=False)  # fmt: skip
    console.print(APART, markup=False)


def rows(paper: Paper, found: Mapping[str, Sequence[Result]]) -> list[list[str]]:
    """A line for each figure of the paper, and of ours: every arm, the last over the one before."""
    *_, before, last = paper.arms
    lines = []
    for name, values in paper.reported.items():
        one, other = values.get(before), values.get(last)
        gap = "?" if one is None or other is None else f"{other - one:+.1f}"
        own = [_told(values.get(arm)) for arm in paper.arms]
        lines.append([f"paper: {name}", *own, gap, "", ""])
    for name in paper.measured:
        arms = {arm: cells(results, name) for arm, results in found.items()}
        d = difference(arms[before], arms[last], bounds=bounds(name))
        low, high = (f"{100 * bound:+.1f}" for bound in d.estimate.interval)
        own = [_estimated(arms[arm], name) for arm in paper.arms]
        lines.append([f"ours: {name}", *own, f"{100 * d.estimate.value:+.1f}", f"[{low}, {high}]",
                      f"{d.p:.3f}"])  # fmt: skip
    return lines


def _estimated(values: Cells, name: str) -> str:
    e = estimate(values, bounds=bounds(name))
    low, high = e.interval
    return f"{100 * e.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def cells(results: Sequence[Result], name: str) -> Cells:
    """Values [P,R] of a figure, a run each. ConfigError where there is no such figure."""
    for result in results:
        if name not in result.cells:
            raise ConfigError(f"there is no figure '{name}'", where="paper.measured",
                              repair=f"There are {', '.join(result.cells)}.")  # fmt: skip
    return np.array([[r.cells[name][key] for r in results] for key in results[0].cells[name]])


def _told(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f}"


def write_lists(folder: Path) -> None:
    """train.jsonl and test.jsonl: sums of digits, each with ten numbers to choose from. The sum has
    relevance 2, the numbers beside it 1, seven others 0."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in LISTS.items():
        found = problems(count, 0, split)  # type: ignore[arg-type]
        text = "".join(to_json(_list(p)) + "\n" for p in found)
        write_atomic(folder / f"{split}.jsonl", text)


def _list(problem: Problem) -> dict[str, Any]:
    answer = int(problem.answer)
    far = sorted(range(2, 45), key=lambda n: (n * 7919 + answer * 104_729) % 1009)
    others = [n for n in far if abs(n - answer) > 1 and n >= 0][:7]
    numbers = [answer, abs(answer - 1), answer + 1, *others]
    return {"prompt": problem.question, "candidates": [str(n) for n in numbers],
            "relevance": [2, 1, 1] + [0] * 7}  # fmt: skip
