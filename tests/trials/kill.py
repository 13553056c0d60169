"""kill -9 at random moments of training and of saving, then resume: the end is bit-equal."""

from __future__ import annotations

import random
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bvrank.tracking.progress import phase
from tests.commands.fast import pair_rows, write
from tests.trials import Request, Table
from tests.trials.ends import last_step, status, unlike
from tests.trials.process import Done, Running, run

# A save that takes a while beside steps that do not.
SHAPE = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4}
STEPS, EVERY = 40, 3
TRIES = 8
COLUMNS = ("kill", "where", "step", "tries", "left behind", "resumed from", "bit-equal")
JOBS = 2
Row = tuple[tuple[object, ...], bool]
STARTS = re.compile(r"going on after step (\d+)|(no checkpoint to go on|nothing to resume)")


@dataclass
class Chain:
    """One run that is killed again and again; `words` start it and go on with it."""

    request: Request
    run: Path
    words: tuple[str, ...]
    draw: random.Random
    save_seconds: float = 0.1
    step_seconds: float = 0.1

    @property
    def logs(self) -> Path:
        return self.run.parent / "logs"

    def parts(self) -> set[tuple[str, int]]:
        """The half-written checkpoints there, each with the time of its last change: a name may
        come again, and one that a kill left changes no more."""
        found = set()
        for path in (self.run / "checkpoints").glob(".step-*.part"):
            try:
                found.add((path.name, path.stat().st_ctime_ns))
            except FileNotFoundError:
                continue
        return found

    def new(self, before: set[tuple[str, int]]) -> set[str]:
        """The names of those that were not there, or not alike, before."""
        return {name for name, _ in self.parts() - before}

    def strike(self, where: str) -> tuple[int, str, int]:
        """Kills once within training or a save: step, what was left behind, tries. RuntimeError
        when every try missed."""
        for attempt in range(1, TRIES + 1):
            before = self.parts()
            running = Running(self.logs, (*self.words, "resume=true"))
            aimed = self._save(running, before) if where == "save" else self._step(running, before)
            there = self.new(before)
            done = running.kill(self.request.victim, self.draw) if aimed else running.finish()
            # Where one process was killed the others clean up: what counts is what was there.
            left = there if self.request.victim == "one" else self.new(before)
            if not aimed or done.code == 0 or status(self.run) == "finished":
                raise RuntimeError(f"the run ended before it was killed\n{done.err}")
            if bool(left) is (where == "save"):
                return last_step(self.run), ", ".join(left) or "nothing", attempt
        raise RuntimeError(f"{TRIES} kills missed the {where}")

    def _step(self, running: Running, before: set[tuple[str, int]]) -> bool:
        """Waits for a random moment of a random step of this session."""
        if not running.wait_for(lambda: "training:" in running.err):
            return False
        goal = started(running.err) + self.draw.randint(1, 3 * EVERY)
        reached = running.wait_for(lambda: last_step(self.run) >= goal)
        reached = reached and running.wait_for(lambda: not self.new(before))
        time.sleep(self.draw.random() * 2 * self.step_seconds)
        return reached

    def _save(self, running: Running, before: set[tuple[str, int]]) -> bool:
        """Waits for a random moment of the first, second or third save of this session."""
        seen: set[str] = set()
        for _ in range(self.draw.randint(1, 3)):
            if not running.wait_for(lambda: bool(self.new(before) - seen)):
                return False
            seen.update(self.new(before))
        time.sleep(self.draw.random() * self.save_seconds)
        return True


def table(request: Request, kills: int = 20, per_run: int = 2) -> Table:
    """Half of the kills in training, half in a save; `per_run` in a row, then on to the end."""
    whole = whole_run(request)
    how = " ".join((f"victim={request.victim}", f"seed={request.seed}", *request.overrides))
    made = Table(f"Kill -9, then resume ({how})", COLUMNS)
    with phase("kill", kills) as shown, ThreadPoolExecutor(JOBS) as pool:

        def one(number: int) -> list[Row]:
            rows = struck(
                whole_chain(request, whole, f"{request.seed}|{number}"), per_run, whole.run
            )
            shown.advance(per_run)
            return rows

        try:
            found = list(pool.map(one, range(0, kills, per_run)))
        except BaseException:  # Ctrl-C: what has not begun does not begin
            pool.shutdown(cancel_futures=True)
            raise
    for number, (cells, right) in enumerate((row for rows in found for row in rows), start=1):
        made.add(number, *cells, right=right)
    return made


def struck(chain: Chain, kills: int, whole: Path) -> list[Row]:
    """The rows of one run that is killed a few times and then goes on to its end."""
    places = [("training", "save")[i % 2] for i in range(kills)]
    try:
        hits = [(where, *chain.strike(where)) for where in chain.draw.sample(places, kills)]
        done = run(chain.logs, (*chain.words, "resume=true"))
    except (RuntimeError, TimeoutError) as error:
        return [(("", "", "", "", "", f"no: {error}"), False)]
    rows = _rows(hits, chain, done, whole)
    shutil.rmtree(chain.run.parent)
    return rows


def whole_run(request: Request) -> Chain:
    """The run that nobody kills, and how long its saves and steps take."""
    data = write(request.folder / "pairs.jsonl", pair_rows(64))
    words = (
        "train", "objective=dpo", "data=pairs", f"data.path={data}", "model=scratch",
        "model.vocabulary=512", *(f"model.shape.{k}={v}" for k, v in SHAPE.items()),
        f"steps={STEPS}", "batch=2", f"checkpoint.every={EVERY}", "name=run",
        f"store={request.folder}/store", *request.overrides,
    )  # fmt: skip
    outputs = request.folder / "whole"
    chain = Chain(request, outputs / "run", (*words, f"outputs={outputs}"), random.Random(0))
    running, saves = Running(chain.logs, chain.words), []
    while running.wait_for(lambda: bool(chain.parts())):
        began = time.monotonic()
        running.wait_for(lambda: not chain.parts())
        saves.append(time.monotonic() - began)
    done = running.finish()
    if done.code:
        raise RuntimeError(done.err)
    took = re.search(r'"speed/seconds": ([0-9.e-]+)', (chain.run / "metrics.jsonl").read_text())
    chain.save_seconds = sorted(saves)[len(saves) // 2]
    chain.step_seconds = float(took.group(1)) if took else 0.1
    return chain


def whole_chain(request: Request, whole: Chain, seed: str) -> Chain:
    """A run to be killed, like the whole one."""
    outputs = request.folder / f"killed-{seed.replace('|', '-')}"
    words = (*whole.words[:-1], f"outputs={outputs}")
    return Chain(request, outputs / "run", words, random.Random(seed), whole.save_seconds,
                 whole.step_seconds)  # fmt: skip


def started(err: str) -> int:
    """The step that a session went on after."""
    found = STARTS.search(err)
    return int(found.group(1) or 0) if found else 0


def _rows(hits: list[tuple[str, int, str, int]], chain: Chain, done: Done, whole: Path
          ) -> list[Row]:  # fmt: skip
    differ = unlike(whole, chain.run) if done.code == 0 else [done.said or f"exit {done.code}"]
    end = "yes" if not differ else f"no: {', '.join(differ)}"
    sessions = sorted(chain.logs.glob("*.err"), key=lambda p: int(p.stem))
    tries = [attempts for *_, attempts in hits]
    rows: list[Row] = []
    for i, (where, step, left, attempts) in enumerate(hits):
        after = sum(tries[: i + 1])  # the session that came after this hit
        resumed = started(sessions[after].read_text())
        rows.append(((where, step, attempts, left, resumed, end), not differ))
    return rows
