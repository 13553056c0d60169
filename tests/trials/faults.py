"""Each fault by its name: what is said, with which code, what is left, and where it ends."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bvrank.commands.guard import STOPS
from bvrank.tracking.progress import phase
from tests.trials import Request, Table, disk_faults
from tests.trials.bench import Bench, Fault, Place, Row, told
from tests.trials.disks import NotPermitted
from tests.trials.ends import last_step, unlike
from tests.trials.process import Running

COLUMNS = ("fault", "stage", "what was said", "exit", "what was left", "end after the repair")
JOBS = 2
TRIES = 6
WARM = ("training", "saving")  # stages that a run with a warm store goes through too
# Stage of the default run -> whether it has come to it.
STAGES: dict[str, Callable[[Place, Running], bool]] = {
    "composing": lambda place, running: running.hears(signal.SIGUSR1),
    "teaching": lambda place, running: "teaching:" in running.err,
    "sampling": lambda place, running: "sampling:" in running.err,
    "accuracy before": lambda place, running: "accuracy before:" in running.err,
    "reference": lambda place, running: "accuracy before: 4/4" in running.err,
    "training": lambda place, running: last_step(place.run) >= 2,
    "saving": lambda place, running: any(place.run.glob("checkpoints/.step-*.part")),
    "accuracy after": lambda place, running: "accuracy after:" in running.err,
    "summary": lambda place, running: any(place.run.glob(".summary.json.*.tmp")),
}


def interrupted(stage: str, number: signal.Signals, bench: Bench, row: Row) -> Row:
    """A signal at a stage; a run that was faster than the signal is tried again."""
    draw = random.Random(f"{stage}|{number}")
    for attempt in range(TRIES):
        place = bench.place(f"{row.name}-{attempt}", warm=stage in WARM)
        running = place.start()
        arrived = running.wait_for(partial(STAGES[stage], place, running))
        time.sleep(draw.random() * 0.5 if stage in ("composing", "teaching") else 0.0)
        if arrived:
            running.process.send_signal(number)
        done = running.finish()
        if done.code != 0:
            break
    told(row, place, done, 130, "stopped")
    row.stage += f" ({attempt + 1} tries)" if attempt else ""
    return bench.ends(place, row, "resume=true")


def raced(bench: Bench, row: Row) -> Row:
    """Two runs that start on one empty store."""
    one = bench.place(row.name, warm=False)
    two = Place(one.folder, one.folder / "two", one.store, bench.overrides)
    running = [one.start(), two.start()]
    ends = [r.finish() for r in running]
    told(row, one, max(ends, key=lambda done: done.code), 0)
    row.left = f"{row.left} | {two.left()}"
    differ = [d for place in (one, two) for d in unlike(bench.whole, place.run)]
    bench.ends(one, row)  # finished already: says so, and looks at the store
    row.end, row.wrong = (", ".join(differ), "another end") if differ else (row.end, row.wrong)
    return row


def twice(more: tuple[str, ...], bench: Bench, row: Row) -> Row:
    """A second run in the folder of a living one."""
    place = bench.place(row.name)
    first = place.start()
    first.wait_for(lambda: last_step(place.run) >= 1)
    with first.held():
        told(row, place, place.once(*more), 2, "is working in this folder")
    row.left = f"the first ends with exit code {first.finish().code}"
    return bench.ends(place, row)


def changed(bench: Bench, row: Row) -> Row:
    """Resume with another learning rate, and with another number of steps."""
    place = bench.place(row.name, half=True)
    done = place.once("resume=true", "optimizer.lr=0.1", "steps=9")
    told(row, place, done, 2, "optimizer.lr 6e-05 -> 0.1; steps 8 -> 9")
    return bench.ends(place, row, "resume=true")


def no_file(kind: str, bench: Bench, row: Row) -> Row:
    """data.path names what cannot be read twice."""
    place = bench.place(row.name)
    path = place.folder / "pairs.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    running = place.start(f"data.path={path}")
    told(row, place, running.finish(60), 2, "pairs.jsonl")
    return bench.ends(place, row)


def faults() -> dict[tuple[str, str], Fault]:
    """(fault, stage) -> the trial."""
    found = disk_faults.faults()
    for i, stage in enumerate(STAGES):
        for number in STOPS if stage == "training" else (STOPS[i % len(STOPS)],):
            found[number.name, stage] = partial(interrupted, stage, number)
    found["two runs", "one empty store"] = raced
    found["two runs", "one folder"] = partial(twice, ())
    found["two runs", "one folder, resume=true"] = partial(twice, ("resume=true",))
    found["changed key", "resume=true"] = changed
    for kind in ("pipe", "device", "folder"):
        found[f"data.path is a {kind}", "reading"] = partial(no_file, kind)
    return found


def table(request: Request) -> Table:
    """Every fault whose name `request.only` is found in."""
    asked = {n: f for n, f in faults().items() if re.search(request.only, " ".join(n))}
    made = Table(f"Faults ({' '.join(request.overrides) or 'default engine'})", COLUMNS)
    bench = Bench(request)
    _ = bench.half  # made once, before there are threads
    with phase("faults", len(asked)) as shown, ThreadPoolExecutor(JOBS) as pool:

        def tried(name: tuple[str, str]) -> Row:
            row = tried_once(bench, name, asked[name])
            shown.advance()
            return row

        try:
            rows = list(pool.map(tried, asked))
        except BaseException:  # Ctrl-C: what has not begun does not begin
            pool.shutdown(cancel_futures=True)
            raise
    for row in rows:
        end = f"WRONG: {row.wrong} ({row.end})" if row.wrong else row.skipped or row.end
        said = row.said.replace(f"{request.folder}/", "").replace(f"{row.name}/", "")
        made.add(row.fault, row.stage, said, row.code, row.left, end, right=not row.wrong)
    return made


def tried_once(bench: Bench, name: tuple[str, str], fault: Fault) -> Row:
    """One trial; one that lacks a right is skipped with the reason."""
    row = Row(*name)
    try:
        return fault(bench, row)
    except NotPermitted as error:
        row.skipped = f"skipped: {error}"
    except Exception as error:  # the table is worth more than one row of it
        row.wrong = f"{type(error).__name__}: {error}"
    return row
