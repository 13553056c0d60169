"""`bvrank sample`: prompts -> responses -> scores -> preference pairs, and a card about them."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bvrank.commands.absence import too_many
from bvrank.commands.ground import Ground, checked, ground_of
from bvrank.commands.launch import launch
from bvrank.commands.origin import adopt, check_own, origin
from bvrank.commands.outcome import write_outcome
from bvrank.commands.sampling import Request, request
from bvrank.errors import BvrankError, RunError
from bvrank.ranks import ALONE, Ranks
from bvrank.run import Follower, RunFolder, open_run
from bvrank.run.folder import GO_ON, check_outputs, told
from bvrank.run.record import SUMMARY, is_run, read_manifest, read_run
from bvrank.sampling.meeting import Meeting
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
    own = origin(asked.kept, made.ground.prompts)
    if run.resumed:
        try:
            check_own(run.path, run.manifest.get("responses"), own)
        except RunError:
            run.close()
            raise
    data = {"fingerprint": asked.content, "files": asked.files}
    run.update(
        **asdict(own), prompts=len(made.ground.prompts), processes=made.ranks.world, data=data
    )
    begun = any(run.path.glob("responses-*.jsonl"))
    if not (begun or asked.settings.force) and (other := adopt(run.path, own)) is not None:
        print(f"responses: those of {other}", file=sys.stderr)


@dataclass
class _Work:
    """The stages, over what they share."""

    asked: Request
    ranks: Ranks
    policy: Any  # commands.policies.Policy, or None
    ground: Ground
    work: Any

    @classmethod
    def of(cls, asked: Request, ranks: Ranks) -> _Work:
        """Prompts and generator, loaded; DataError when too many prompts are refused."""
        from bvrank.commands.policies import load
        from bvrank.sampling.local import Work

        settings = asked.settings
        policy = load(asked, ranks) if asked.model is not None else None
        ground = ground_of(asked, policy)
        kept = checked(asked, ground) if policy is not None else ()
        work = Work(ground.prompts, tuple(settings.modes), ground.n, settings.seed, kept)
        return cls(asked, ranks, policy, ground, work)

    def generate(self, run: RunFolder) -> None:
        from bvrank.sampling.pipeline import generate

        generate(run.path, self.work, self.ground.generator, self.ranks)
        if hasattr(self.ground.generator, "close"):
            self.ground.generator.close()

    def score(self, run: RunFolder) -> None:
        from bvrank.sampling.pipeline import candidates, responses_of, score

        made, ground = responses_of(run.path), self.ground
        wanted = candidates(made, self.asked.settings.select, ground.fits)
        score(run.path, ground.prompts, made, self.asked.reward, self.ranks, wanted)

    def select(self, run: RunFolder) -> None:
        from bvrank.commands.closing import close

        close(self.asked, run, self.ground, self.policy)


def _told(run: RunFolder) -> int:
    from bvrank.commands.closing import show

    if run.finished:
        print(f"{run.path}: finished before, nothing ran (force=true samples again)",
              file=sys.stderr)  # fmt: skip
    return show(run.path)
