"""What `bvrank sample` stands on: the prompts that can be answered, and what is refused of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bvrank.commands.sampling import Request
from bvrank.data.refusals import NO_FAULT, check_refused
from bvrank.errors import ConfigError, DataError
from bvrank.records import Refused
from bvrank.sampling.pipeline import Fits
from bvrank.sampling.prompts import TWICE
from bvrank.sampling.recorded import Survey
from bvrank.sampling.responses import Prompt


@dataclass(frozen=True)
class Ground:
    """`n`: responses to each prompt in each mode, the most of any where all recorded ones are
    taken; `survey`: of the file that holds them, None where they are made."""

    generator: Any
    prompts: list[Prompt]
    refused: list[Refused]
    n: int
    survey: Survey | None = None

    @property
    def fits(self) -> Fits:
        """Why a response cannot be a side, None where it can."""
        fits: Fits = getattr(self.generator, "fits", lambda made: None)
        return fits


def ground_of(asked: Request, policy: Any) -> Ground:
    """The prompts that can be answered, and the others. DataError when too many are refused."""
    generator = asked.sampler.generator(policy)
    found = list(asked.prompts.prompts())
    refused = [item for item in found if isinstance(item, Refused)]
    prompts = [item for item in found if isinstance(item, Prompt)]
    if hasattr(generator, "fitting"):
        prompts, unfit = generator.fitting(prompts, asked.settings.modes)
        refused += unfit
    where = str(asked.config["prompts"].get("path") or "prompts")
    if not prompts:
        first = f"; first {refused[0].where}: {refused[0].detail}" if refused else ""
        raise DataError(f"no prompt is left to answer{first}", where=where)
    if hasattr(generator, "survey"):
        ground = _surveyed(asked, generator, prompts, refused)
    else:
        _check(asked, len(prompts), refused, where)
        assert asked.settings.n is not None  # request: all there are is said of recorded ones
        ground = Ground(generator, prompts, refused, asked.settings.n)
    if getattr(asked.reward, "needs_gold", False) and all(p.gold is None for p in prompts):
        raise ConfigError(
            "no prompt has a known answer, and the reward compares with it",
            where="prompts.gold_column", repair="Name the column that holds it.",
        )  # fmt: skip
    return ground


def checked(asked: Request, ground: Ground) -> frozenset[tuple[int, int]]:
    """(row, copy) of the responses of each mode that are compared with the scorer: of `check.rows`
    prompts, spread evenly, one copy each. A seeded draw says which, every copy as often as any
    other, or once more."""
    count = min(asked.settings.check.rows, len(ground.prompts))
    draw = random.Random(f"{asked.settings.seed}|check")
    copies: list[int] = []
    while len(copies) < count:
        copies += draw.sample(range(ground.n), ground.n)
    rows = (ground.prompts[i * len(ground.prompts) // count].row for i in range(count))
    return frozenset(zip(rows, copies, strict=False))


def _surveyed(asked: Request, recorded: Any, prompts: list[Prompt], refused: list[Refused]
              ) -> Ground:  # fmt: skip
    """Of responses that were recorded: a share of their rows may be refused. Where the prompts are
    the same rows, each is refused once, and one whose prompt came before is no repetition."""
    path = str(recorded.path)
    own = recorded.of(asked.prompts)
    limited = own and asked.prompts.limit is not None
    survey = recorded.survey(prompts, asked.settings.n, limited)
    if own:
        fresh = [r for r in refused if r.reason != TWICE]
        refused = list(dict.fromkeys([*fresh, *survey.refused]))
        faults: Sequence[Refused] = refused
    else:
        _check(asked, len(prompts), refused, str(asked.config["prompts"].get("path") or "prompts"))
        refused, faults = [*refused, *survey.refused], survey.refused
    if not survey.taken:
        first = f"; first {faults[0].where}: {faults[0].detail}" if faults else ""
        raise DataError(
            f"holds no response to any of {len(prompts):,} prompts{first}", where=path,
            repair="sampler.prompt_column and sampler.system say how its prompts read.",
        )  # fmt: skip
    _check(asked, survey.kept, faults, path)
    n = asked.settings.n or survey.most
    return Ground(recorded.lenient(), prompts, refused, n, survey)


def _check(asked: Request, kept: int, refused: Sequence[Refused], where: str) -> None:
    faults = [r for r in refused if r.reason not in (TWICE, *NO_FAULT)]
    check_refused(kept, faults, asked.settings.max_refused, where, "max_refused")
