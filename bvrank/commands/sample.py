"""`bvrank sample`: prompts -> responses -> scores -> preference pairs, and a card about them."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bvrank.commands.absence import too_many
from bvrank.commands.launch import launch
from bvrank.commands.origin import adopt, origin
from bvrank.commands.outcome import write_outcome
from bvrank.commands.sampling import Request, request
from bvrank.data.refusals import NO_FAULT, check_refused
from bvrank.errors import BvrankError, ConfigError, DataError, RunError
from bvrank.ranks import ALONE, Ranks
from bvrank.records import Refused
from bvrank.run import Follower, RunFolder, open_run
from bvrank.run.folder import GO_ON, check_outputs, told
from bvrank.run.record import SUMMARY, is_run, read_manifest, read_run
from bvrank.sampling.meeting import Meeting
from bvrank.sampling.prompts import TWICE
from bvrank.sampling.responses import Prompt
from bvrank.sampling.writing import SUMS, damaged


def main(config: dict[str, Any]) -> int:
    """Samples, or goes on where the folder of this very config was left; 0 when all is there."""
    asked = request(config)
    if asked.settings.dry_run:
        from bvrank.commands.forecast import forecast

        return forecast(asked)
    there = is_run(asked.folder) and read_run(asked.folder).status == "finished"
    if not there:
        check_outputs(asked.folder.parent)
    code = work(config, ALONE) if asked.launcher.world == 1 else _launched(config, asked)
    if code == 0 and is_run(asked.folder):
        status = "skipped" if there and not asked.settings.force else "done"
        pairs = read_run(asked.folder).summary["final"]
        write_outcome({"status": status, "folder": str(asked.folder), "headline": pairs})
    return code


def _launched(config: dict[str, Any], asked: Request) -> int:
    """All of it in several processes."""
    if asked.model is not None:
        from bvrank.commands.policies import ready

        ready(asked)  # what all processes would make at once is made before
    frozen = config["launcher"] | {"processes": asked.launcher.here}
    return launch(asked.launcher, config | {"launcher": frozen}, asked.name, "sample")


def work(config: dict[str, Any], ranks: Ranks) -> int:
    """All stages in this process, one of `ranks`."""
    asked = request(config)
    before = ranks.first and _is_finished(asked)
    if ranks.first and not before:
        check_outputs(asked.folder.parent)
    made = None if ranks.agree(before) else _Work.of(asked, ranks)
    run = _opened(asked, ranks, made)
    try:
        with run:
            if made is not None:
                _stages(made, run, ranks)
            return _told(run) if ranks.first else 0
    except BvrankError:
        if ranks.world == 1:
            _leave_nothing(run)
        raise


def _stages(made: _Work, run: RunFolder, ranks: Ranks) -> None:
    with told(run.path):
        meeting = Meeting(run.path, ranks)
        made.generate(run)
        meeting.wait()
        made.score(run)
        meeting.wait()
        if ranks.first:
            made.select(run)
        meeting.wait()


def _leave_nothing(run: RunFolder) -> None:
    """Takes a new folder away in which nothing came about: a wrong column, a server that is not
    there."""
    logs = [p for kind in ("responses-*", "scores-*") for p in run.path.glob(f"{kind}.jsonl")]
    if not run.resumed and not run.finished and not any(p.stat().st_size for p in logs):
        shutil.rmtree(run.path, ignore_errors=True)


def _is_finished(asked: Request) -> bool:
    """Whether there is nothing to do. RunError when a log is damaged: what was made of it cannot be
    told from what is to be made."""
    folder = asked.folder
    if asked.settings.force or not is_run(folder):
        return False
    manifest = read_manifest(folder)
    if manifest.get("status") != "finished" or too_many(manifest, asked.parts):
        return False
    lost = damaged(folder)
    if not (folder / SUMMARY).is_file():
        lost.append(SUMMARY)
    logs = [name for name in lost if name.startswith(("responses-", "scores-"))]
    if logs:
        raise RunError(f"{', '.join(logs)}: gone, or not what SHA256SUMS says", where=str(folder),
                       repair="force=true moves the folder aside and samples again.")  # fmt: skip
    for name in lost:
        print(f"{folder / name}: gone, or not what {SUMS} says; made again", file=sys.stderr)
    return not lost


def _opened(asked: Request, ranks: Ranks, made: _Work | None) -> RunFolder:
    """The first rank opens the folder, and the others follow. It always goes on: what was made by
    this very config is what would be made again."""
    run, found = None, None
    if ranks.first:
        there = is_run(asked.folder) and not asked.settings.force
        run = open_run(
            asked.folder.parent, asked.name, asked.kept, resume=there, again=made is not None,
            force=asked.settings.force, content="" if there and _mended(asked) else asked.content,
            holds="the files, or the code of the reward",
        )  # fmt: skip
        for note in run.notes:
            print(note, file=sys.stderr)
        found = (run.path, run.finished, run.resumed)
        if made is not None:
            _begin(asked, run, made)
    path, finished, resumed = ranks.agree(found) or (Path(), False, False)
    run = run or Follower(path, finished=finished, resumed=resumed)
    run.go_on = GO_ON["sample"]
    return run


def _mended(asked: Request) -> bool:
    """Whether only the reward is another than in the folder, which is unfinished: its responses are
    those that are asked for."""
    manifest = read_manifest(asked.folder)
    files = (manifest.get("data") or {}).get("files")
    return manifest.get("status") != "finished" and files == asked.files


def _begin(asked: Request, run: RunFolder, made: _Work) -> None:
    """Notes where the responses come from, and takes those over that were asked for before: another
    reward, or another selection, needs none anew. RunError for other ones than it holds."""
    own = origin(asked.kept, made.prompts)
    had = run.manifest.get("responses")
    if run.resumed and had not in (None, own.responses):
        run.close()
        raise RunError(
            "holds responses to other prompts, or drawn by another version", where=str(run.path),
            repair="force=true moves the folder aside and samples again.",
        )  # fmt: skip
    data = {"fingerprint": asked.content, "files": asked.files}
    run.update(**asdict(own), prompts=len(made.prompts), processes=made.ranks.world, data=data)
    begun = any(run.path.glob("responses-*.jsonl"))
    if not (begun or asked.settings.force) and (other := adopt(run.path, own)) is not None:
        print(f"responses: those of {other}", file=sys.stderr)


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
    if getattr(asked.reward, "needs_gold", False) and all(p.gold is None for p in prompts):
        raise ConfigError(
            "no prompt has a known answer, and the reward compares with it",
            where="prompts.gold_column", repair="Name the column that holds it.",
        )  # fmt: skip
    return prompts, refused


def checked_rows(prompts: list[Prompt], count: int) -> frozenset[int]:
    """`count` rows, spread evenly."""
    count = min(count, len(prompts))
    return frozenset(prompts[i * len(prompts) // count].row for i in range(count))


def _told(run: RunFolder) -> int:
    from bvrank.commands.closing import show

    if run.finished:
        print(f"{run.path}: finished before, nothing ran (force=true samples again)",
              file=sys.stderr)  # fmt: skip
    return show(run.path)
