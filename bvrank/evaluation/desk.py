"""What a task is given: a policy or a server to ask, a folder to go on in, and the settings that
all tasks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bvrank.data.refusals import NO_FAULT
from bvrank.errors import DataError
from bvrank.protocols import Reward
from bvrank.ranks import ALONE, Ranks
from bvrank.records import Mode, Refused
from bvrank.sampling.local import Work
from bvrank.sampling.pipeline import generate, responses_of, score, scores_of
from bvrank.sampling.prompts import TWICE
from bvrank.sampling.responses import Prompt, Shelf


@dataclass(frozen=True)
class Desk:
    """`folder`: of this task alone. `policy`: weights, template, scorer and collator (see
    commands.policies.Policy), None of a server. `sampler`: how responses are drawn. `limit`: the
    first so many prompts (None: all); `n`: responses to each, in place of the task's own. `store`:
    where artifacts are shared, None for nowhere. `label`: what the model is called. `away`: see
    `lacks`."""

    folder: Path
    modes: tuple[Mode, ...]
    seed: int
    sampler: Any
    policy: Any = None
    limit: int | None = None
    n: int | None = None
    store: Path | None = None
    label: str = "model"
    ranks: Ranks = ALONE
    away: dict[str, float] = field(default_factory=dict)

    def lacks(self, part: str, share: float) -> None:
        """Notes the `share` of what a part (sampler, reward, judge) gives that did not come."""
        self.away[part] = max(share, self.away.get(part, 0.0))

    def prompts(self, source: Any) -> tuple[list[Prompt], list[Refused]]:
        """The first `limit` prompts of a source of prompts, and the refused rows; repeated ones are
        neither. DataError when none is left."""
        kept: list[Prompt] = []
        refused: list[Refused] = []
        for found in source.prompts():
            if isinstance(found, Refused):
                refused += [found] if found.reason not in (TWICE, *NO_FAULT) else []
            elif len(kept) == self.limit:
                break
            else:
                kept.append(found)
        if not kept:
            first = f"; first {refused[0].where}: {refused[0].detail}" if refused else ""
            raise DataError(
                f"holds no prompt{first}", where=str(getattr(source, "path", "prompts"))
            )
        return kept, refused

    def respond(self, prompts: Sequence[Prompt], n: int, ids: bool = False
                ) -> tuple[Shelf, list[Refused]]:  # fmt: skip
        """`n` responses (or as many as were asked for) to each prompt in each mode, with the `ids`
        that were drawn or without, and the prompts that the model has no room for. What the folder
        holds is not made again."""
        generator = self.sampler.generator(self.policy)
        refused: list[Refused] = []
        if hasattr(generator, "fitting"):
            prompts, refused = generator.fitting(list(prompts), self.modes)
        if prompts:
            work = Work(prompts, self.modes, self.n or n, self.seed, ids=ids)
            generate(self.folder, work, generator, self.ranks)
        if hasattr(generator, "close"):
            generator.close()
        made = responses_of(self.folder)
        self.lacks("sampler", made.missing)
        return made, refused

    def score(self, prompts: Sequence[Prompt], made: Shelf, reward: Reward) -> Shelf:
        """The score of every final answer; what the folder holds is not asked again."""
        score(self.folder, prompts, made, reward, self.ranks)
        found = scores_of(self.folder, reward)
        self.lacks("reward", found.missing)
        return found

    def within(self, name: str) -> Desk:
        """The same desk, in a folder below."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return replace(self, folder=folder)
