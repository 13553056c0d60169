"""`bvrank doctor resume=true`: 2N steps against N, stop, N, on the user's own configuration.

A run of 2N steps goes the way of every job: a process of its own, with the user's model, data,
engine and launcher. Then its folder is made what a stop after step N leaves, and a fresh process
resumes it. Every file of the last checkpoint and every logged figure behind step N must be equal,
bit for bit. The runs' reference log-probs go to a store of their own, since values kept there
would be read by later runs; taught models, tokenizers and pairs are shared.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bvrank.commands import compare
from bvrank.commands.diagnosis import Check
from bvrank.commands.sweep import Point, Sweep
from bvrank.data.flaws import Finding, Flaw
from bvrank.errors import Interrupted, RunError
from bvrank.paths import store_dir
from bvrank.run import from_json, read_jsonl, to_json, write_atomic

AREA, NAME = "resume", "proof"
SHARED = ("models", "tokenizers", "pairs")  # of the store
HELD = 16  # held-out rows that are evaluated
PROBLEMS, SAMPLES = 8, 2  # of the arithmetic world, per mode
STEPS = {"whole": "without a stop", "cut": "stopped and resumed in a new process"}


@dataclass(frozen=True)
class Outcome:
    """What the unbroken run left, kept beside the folder that the resumed one worked in."""

    run: Path
    expected: Path
    half: int

    @property
    def last(self) -> str:
        """The last checkpoint's name."""
        return f"step-{2 * self.half:06d}"


def proven(config: dict[str, Any], steps: int) -> list[Check]:
    """The checks of `resume`. Interrupted when the user stops it; nothing is left behind."""
    with _scratch(Path(config["outputs"])) as place:
        short = shortened(config, steps, place)
        _say(f"run 1 of 2: {steps} steps {STEPS['whole']}")
        first = _run(short, place)
        if first.status != "done":
            return [_failed("whole run", first)]
        found = _broken_off(place, steps // 2)
        _say(f"run 2 of 2: {steps // 2} steps, {STEPS['cut']}")
        second = _run({**short, "resume": True}, place)
        if second.status != "done":
            return [_told_run("whole run", first, steps), _failed("resumed run", second)]
        return [
            _told_run("whole run", first, steps),
            _resumed(found, second),
            _files(found),
            _figures(found),
        ]


def shortened(config: Mapping[str, Any], steps: int, place: Path) -> dict[str, Any]:
    """The configuration of the short run: everything that shapes a step is left as it is."""
    half = steps // 2
    checkpoint = {**config["checkpoint"], "every": half}
    checkpoint["keep"] = max(2, checkpoint["keep"])
    evaluation, data = dict(config["eval"]), dict(config["data"])
    if data.get("eval_path") or data.get("eval_fraction"):
        evaluation["rows"] = min(evaluation["rows"] or HELD, HELD)
        evaluation["every"] = min(evaluation["every"], half)
    if "test_problems" in data:
        data |= {"test_problems": min(data["test_problems"], PROBLEMS),
                 "test_samples": min(data["test_samples"], SAMPLES)}  # fmt: skip
    return {
        **config, "steps": steps, "checkpoint": checkpoint, "eval": evaluation, "data": data,
        "log": {"every": 1}, "tracker": {}, "resume": False, "force": False, "name": NAME,
        "outputs": str(place), "store": str(_own_store(store_dir(config["store"]), place)),
    }  # fmt: skip


def _own_store(store: Path, place: Path) -> Path:
    own = place / "store"
    own.mkdir()
    for name in SHARED:
        (store / name).mkdir(parents=True, exist_ok=True)
        (own / name).symlink_to((store / name).absolute())
    return own


@contextmanager
def _scratch(outputs: Path) -> Iterator[Path]:
    """A hidden folder on the disk of `outputs`, removed whatever happens."""
    whole = outputs.expanduser().absolute()
    standing = next(p for p in (whole, *whole.parents) if p.is_dir())
    place = Path(tempfile.mkdtemp(prefix=".bvrank-doctor-", dir=standing))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(config: dict[str, Any], place: Path) -> Point:
    """One job. Its closing table goes nowhere; its progress stays on stderr."""
    with tempfile.TemporaryDirectory(dir=place) as folder, open(os.devnull, "wb") as nowhere:
        sweep = Sweep("train", folder, stdout=nowhere.fileno())
        point = sweep.ran(config, ("resume=true",) if config["resume"] else ())
    if sweep.stopped:
        raise Interrupted("stopped; what it had written is removed")
    return point


def _broken_off(place: Path, half: int) -> Outcome:
    """Makes the finished run what a stop after step `half` would have left."""
    found = Outcome(place / NAME, place / "expected", half)
    found.expected.mkdir()
    (found.run / "checkpoints" / found.last).rename(found.expected / found.last)
    shutil.copy(found.run / "metrics.jsonl", found.expected / "metrics.jsonl")
    (found.run / "summary.json").unlink()
    shutil.rmtree(found.run / "evals", ignore_errors=True)
    manifest = from_json((found.run / "manifest.json").read_bytes())
    manifest |= {"status": "interrupted", "message": f"stopped after step {half}"}
    write_atomic(found.run / "manifest.json", to_json(manifest, indent=2) + "\n")
    if not (found.run / "checkpoints" / f"step-{half:06d}").is_dir():
        raise RunError(f"the run left no checkpoint of step {half}", where=str(found.run))
    return found


def _told_run(name: str, point: Point, steps: int) -> Check:
    return Check(AREA, name, f"{steps} steps without a stop, {point.seconds:.0f} s")


def _failed(name: str, point: Point) -> Check:
    problem = Finding("run", "failed", "problem", f"the {name} failed: {point.message}",
                      "The lines above say more; `bvrank train` would fail alike.")  # fmt: skip
    return Check(AREA, name, point.status, (problem,))


def _resumed(found: Outcome, point: Point) -> Check:
    """Whether it went on behind step N: a run begun anew would log the first half again."""
    before, after = (_lines(f, 1, found.half) for f in (found.expected, found.run))
    told = f"went on behind step {found.half} in a new process, {point.seconds:.0f} s"
    if before == after:
        return Check(AREA, "resumed run", told)
    anew = Finding("resumed run", "anew", "problem",
                   f"it did not go on behind step {found.half}, but began anew",
                   "The lines above say why the checkpoint could not be used.")  # fmt: skip
    return Check(AREA, "resumed run", "began anew", (anew,))


def _files(found: Outcome) -> Check:
    one, other = found.expected / found.last, found.run / "checkpoints" / found.last
    count = sum(p.is_file() for p in one.rglob("*"))
    differ = compare.differing_files(one, other)
    return _compared("checkpoint", f"{count} files of {found.last} are bit-equal", differ, "file")


def _figures(found: Outcome) -> Check:
    one, other = (_lines(f, found.half + 1, 2 * found.half) for f in (found.expected, found.run))
    count = sum(not name.startswith("speed/") for row in one for name in row)
    told = f"{count} of steps {found.half + 1} to {2 * found.half} are bit-equal (speed/* aside)"
    return _compared("figures", told, compare.differing_figures(one, other), "figure")


def _lines(folder: Path, first: int, last: int) -> list[dict[str, Any]]:
    rows, _ = read_jsonl(folder / "metrics.jsonl")
    return [row for row in rows if first <= row.get("step", 0) <= last]


def _compared(name: str, told: str, differ: Sequence[compare.Different], unit: str) -> Check:
    if not differ:
        return Check(AREA, name, told)
    problem = Finding(
        name, "differs", "problem", "the resumed run differs from the unbroken one",
        "On a GPU try engine and precision one by one; sums there may depend on timing.",
        len(differ), tuple(Flaw(what, "differs", how) for what, how in differ), unit,
    )  # fmt: skip
    return Check(AREA, name, f"{len(differ)} differ", (problem,))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
