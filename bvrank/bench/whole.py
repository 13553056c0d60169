"""The suites that time whole commands: how soon they answer, and two ranks against one."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bvrank.bench import outside
from bvrank.bench.options import Ranks
from bvrank.bench.outside import word
from bvrank.bench.result import Arm, Cell
from bvrank.bench.suites import Bench
from bvrank.tracking.progress import phase


def start(bench: Bench) -> Iterator[Cell]:
    """How soon commands answer; the default run from a warm store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm = ["objective=bvpo", *_shared(bench, folder), word("engine.device", bench.device)]
        _say("a store of its own is filled by one run of the default first; that run says:")
        outside.first_step(warm, folder, bench.threads, lambda line: _say(f"  {line}"))
        found: dict[str, list[float]] = {"--help": [], "train --cfg job": [], "first step": []}
        with phase("commands", bench.rounds) as shown:
            for _ in _rounds(bench):
                found["--help"].append(outside.answered(["--help"], folder, bench.threads))
                composed = outside.answered(["train", "--cfg", "job"], folder, bench.threads)
                found["train --cfg job"].append(composed)
                found["first step"].append(outside.first_step(warm, folder, bench.threads))
                shown.advance(1)
        for command, seconds in found.items():
            yield Cell({"command": command}, {"bvrank": Arm(tuple(seconds))})


def ranks(bench: Bench, asked: Ranks) -> Iterator[Cell]:
    """One rank against two, of `bench.threads` each, on the same pairs and on the processor."""
    shape = {k: v for k, v in bench.shape.items() if k != "vocab_size"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [
            "objective=dpo", "data=pairs", word("data.path", _place(asked.file("ranks"))),
            "data.max_refused=1", "model=scratch", word("model.vocabulary", bench.vocabulary),
            word("engine", asked.engine), "engine.device=cpu",
            *(word(f"++model.shape.{k}", v) for k, v in shape.items()), "examples.count=0",
            word("steps", asked.steps), word("batch", asked.batch), *_shared(bench, folder),
        ]  # fmt: skip
        found: dict[int, list[float]] = {1: [], 2: []}
        with phase("ranks", 2 * bench.rounds) as shown:
            for _ in _rounds(bench):
                for count in found:
                    own = [*words, f"launcher.processes={count}"]
                    found[count] += outside.steps(own, folder, bench.threads)
                    shown.advance(1)
        arms = {f"{n} rank{'s' if n > 1 else ''}": Arm(tuple(s)) for n, s in found.items()}
        setting = {"batch": asked.batch, "engine": asked.engine, "threads": bench.threads}
        yield Cell(setting, arms)


def _shared(bench: Bench, folder: Path) -> list[str]:
    """What both suites tell `bvrank train`."""
    return [word("seed", bench.seed), word("precision", bench.precision),
            word("compile", bench.compile), word("store", str(folder / "store"))]  # fmt: skip


def _rounds(bench: Bench) -> Iterator[int]:
    """Their numbers; none but the first begins after the limit."""
    began = time.monotonic()
    for number in range(bench.rounds):
        if number and time.monotonic() - began > bench.limit:
            return
        yield number


def _place(path: str) -> str:
    """A file as it is found from another folder; what is no file here stays as it is."""
    place = Path(path).expanduser()
    return str(place.resolve()) if place.exists() else path


def _say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)
