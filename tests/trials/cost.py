"""What DeepSpeed costs on one process: seconds a step against plain torch, arms interleaved."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from tests.commands.fast import pair_rows, write
from tests.trials import Request, Table
from tests.trials.many import silence

BOUNDS = {"zero0": 1.2, "zero1": 1.2, "zero2": 1.2, "zero3": 1.5}
STEPS, WARM = 40, 5


def table(request: Request) -> Table:
    """Ratios of medians, and the median of the ratios step by step."""
    made = Table(
        f"seconds a step on the tiny model, one process, {STEPS} interleaved steps (asked: at most "
        "1.2x local, stage 3 at most 1.5x)",
        ["engine", "median ms", "x local (medians)", "x local (step by step)", "asked"],
    )
    seconds = measured(request.folder)
    base = seconds["local"]
    for engine, own in seconds.items():
        ratio = statistics.median(own) / statistics.median(base)
        paired = statistics.median(a / b for a, b in zip(own, base, strict=True))
        bound = BOUNDS.get(engine, 1.0)
        made.add(engine, f"{1000 * statistics.median(own):.1f}", f"{ratio:.2f}", f"{paired:.2f}",
                 f"{bound:g}", right=ratio <= bound)  # fmt: skip
    return made


def measured(folder: Path, steps: int = STEPS) -> dict[str, list[float]]:
    """Seconds of each step by engine; in every round each engine makes one step, in turn."""
    from bvrank.commands.session import Session
    from bvrank.commands.train import request
    from bvrank.trainer import optimise

    write(folder / "pairs.jsonl", pair_rows(64))
    arms: dict[str, tuple[Any, Any, Any]] = {}
    with silence():
        for engine in ("local", *BOUNDS):
            session = Session.load(request(_config(folder, engine)))
            stream = session.batching._stream(session.loaded.rows.train, None, False)
            arms[engine] = (session.engine, session.asked.objective, stream)
    seconds: dict[str, list[float]] = {engine: [] for engine in arms}
    for step in range(1, steps + WARM + 1):
        for name, (engine, objective, stream) in arms.items():
            batches = list(stream.step(step, objective.views))
            began = time.perf_counter()
            optimise(engine, objective, batches, 1e-5, lambda: False)
            if step > WARM:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def _config(folder: Path, engine: str) -> dict[str, Any]:
    """The default shape and batch, untaught: what a step costs does not depend on the weights."""
    from bvrank.commands.compose import composed, frozen

    words = ("data=pairs", f"data.path={folder}/pairs.jsonl", "objective=bvpo",
             "model.teach.steps=0", f"store={folder}/store", f"engine={engine}")  # fmt: skip
    return frozen(composed("train", words))
