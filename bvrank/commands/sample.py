"""`bvrank sample`: prompts -> responses -> scores -> preference pairs, and a card about them."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bvrank.commands.launch import launch
from bvrank.commands.sampling import Request, request
from bvrank.data.refusals import NO_FAULT, check_refused
from bvrank.errors import DataError
from bvrank.ranks import ALONE, Ranks
from bvrank.records import Refused
from bvrank.run import Follower, RunFolder, open_run
from bvrank.run.record import is_run, read_manifest
from bvrank.sampling.responses import Prompt

TWICE = "duplicate_prompt"


def main(config: dict[str, Any]) -> int:
    """Samples, or goes on where the folder of this very config was left; 0 when all is there."""
    asked = request(config)
    if asked.settings.dry_run:
        from bvrank.commands.forecast import forecast

        return forecast(asked)
    if asked.launcher.world == 1:
        return work(config, ALONE)
    if asked.model is not None:
        from bvrank.commands.policies import ready

        ready(asked)  # what all processes would make at once is made before
    frozen = config["launcher"] | {"processes": asked.launcher.here}
    return launch(asked.launcher, config | {"launcher": frozen}, asked.name, "sample")


def work(config: dict[str, Any], ranks: Ranks) -> int:
    """All stages in this process, one of `ranks`."""
    asked = request(config)
    before = ranks.first and _is_finished(asked)
    made = None if ranks.agree(before) else _Work.of(asked, ranks)
    with _opened(asked, ranks) as run:
        if made is None or run.finished:
            return _told(run) if ranks.first else 0
        made.generate(run)
        made.score(run)
        if ranks.first:
            made.select(run)
            return _told(run)
    return 0


def _is_finished(asked: Request) -> bool:
    if asked.settings.force or not is_run(asked.folder):
        return False
    return read_manifest(asked.folder).get("status") == "finished"


def _opened(asked: Request, ranks: Ranks) -> RunFolder:
    """The first rank opens the folder, and the others follow. It always goes on: what was made by
    this very config is what would be made again."""
    run, found = None, None
    if ranks.first:
        there = is_run(asked.folder) and not asked.settings.force
        run = open_run(
            asked.folder.parent, asked.name, asked.kept, resume=there,
            force=asked.settings.force, content=asked.content,
        )  # fmt: skip
        for note in run.notes:
            print(note, file=sys.stderr)
        found = (run.path, run.finished, run.resumed)
        if not (run.finished or run.resumed or asked.settings.force):
            _adopt(asked, run.path)
    path, finished, resumed = ranks.agree(found) or (Path(), False, False)
    return run or Follower(path, finished=finished, resumed=resumed)


def _adopt(asked: Request, folder: Path) -> None:
    """Takes the responses of a finished folder beside this one that was asked for the same ones:
    another reward, or another selection, needs none anew."""
    for other in sorted(folder.parent.iterdir()):
        if other == folder or not is_run(other):
            continue
        if read_manifest(other).get("responses") != asked.responses:
            continue
        logs = sorted(other.glob("responses-*.jsonl"))
        for log in logs:
            part = folder / f".{log.name}.part"
            shutil.copyfile(log, part)
            part.rename(folder / log.name)
        print(f"responses: those of {other}", file=sys.stderr)
        return


@dataclass
class _Work:
    """The stages, over what they share."""

    asked: Request
    ranks: Ranks
    prompts: list[Prompt]
    refused: list[Refused]
    policy: Any  # commands.policies.Policy, or None
    generator: Any
    work: Any

    @classmethod
    def of(cls, asked: Request, ranks: Ranks) -> _Work:
        """Prompts and generator, loaded; DataError when too many prompts are refused."""
        from bvrank.commands.policies import load
        from bvrank.sampling.local import Work

        settings = asked.settings
        policy = load(asked, ranks) if asked.model is not None else None
        generator = asked.sampler.generator(policy)
        prompts, refused = prompts_of(asked, generator)
        checked = checked_rows(prompts, settings.check.rows) if policy is not None else frozenset()
        work = Work(prompts, tuple(settings.modes), settings.n, settings.seed, checked)
        return cls(asked, ranks, prompts, refused, policy, generator, work)

    def generate(self, run: RunFolder) -> None:
        from bvrank.sampling.pipeline import generate

        generate(run.path, self.work, self.generator, self.ranks)
        if hasattr(self.generator, "close"):
            self.generator.close()
        run.update(responses=self.asked.responses, prompts=len(self.prompts),
                   processes=self.ranks.world)  # fmt: skip

    def score(self, run: RunFolder) -> None:
        from bvrank.sampling.pipeline import responses_of, score

        made = responses_of(run.path)
        score(run.path, self.prompts, made, self.asked.reward, self.ranks)

    def select(self, run: RunFolder) -> None:
        from bvrank.commands.closing import close

        close(self.asked, run, self.prompts, self.refused, self.policy, self.generator)


def prompts_of(asked: Request, generator: Any) -> tuple[list[Prompt], list[Refused]]:
    """The prompts that can be answered, and the others. DataError when too many are refused."""
    found = list(asked.prompts.prompts())
    refused = [item for item in found if isinstance(item, Refused)]
    prompts = [item for item in found if isinstance(item, Prompt)]
    if hasattr(generator, "fitting"):
        prompts, unfit = generator.fitting(prompts, asked.settings.modes)
        refused += unfit
    faults = [r for r in refused if r.reason not in (TWICE, *NO_FAULT)]
    where = str(asked.config["prompts"].get("path") or "prompts")
    if not prompts:
        first = f"; first {refused[0].where}: {refused[0].detail}" if refused else ""
        raise DataError(f"no prompt is left to answer{first}", where=where)
    check_refused(len(prompts), faults, asked.settings.max_refused, where, "max_refused")
    return prompts, refused


def checked_rows(prompts: list[Prompt], count: int) -> frozenset[int]:
    """`count` rows, spread evenly."""
    step = max(1, len(prompts) // max(count, 1))
    return frozenset(p.row for p in prompts[::step][:count])


def _told(run: RunFolder) -> int:
    from bvrank.commands.closing import show

    if run.finished:
        print(f"{run.path}: finished before, nothing ran (force=true samples again)",
              file=sys.stderr)  # fmt: skip
    return show(run.path)
