"""task=aime24, gsm8k, arithmetic, ...: final answers against known ones, drawn several times.

    avg@k        mean score of k responses; pass@1 is avg@1
    pass@k       chance that one of k is right (Chen et al., 2021), from all that were drawn
    maj@k        whether the most frequent value is right; the share of right ones where several are
                 as frequent (see voting.py)

An answer that is not there (thinking never closed, nothing behind it, cut off before it) is wrong.
One that could not be graded counts as wrong too and is told; where nothing could be graded there is
no figure but an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, ClassVar, Literal

from bvrank.errors import ConfigError, DataError
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.result import Measured
from bvrank.evaluation.telling import away, left_out, thoughtless
from bvrank.evaluation.voting import by_text, votes
from bvrank.records import Message
from bvrank.sampling.responses import Judged, Made, Prompt
from bvrank.statistics import majority, pass_at


@dataclass(frozen=True)
class Answers:
    """`prompts`: a source of prompts with known answers; `reward`: the verifier. `n`: responses to
    each in each mode. `pass_at`: each k of pass@k (None: none; what a config's null means says
    commands.suites). `maj`: whether maj@n is told. `template`: what is asked, with {prompt} in it,
    in place of the last user turn."""

    name: str
    prompts: Any
    reward: Any
    n: int = 1
    pass_at: list[int] | None = None
    maj: bool = True
    template: str = "{prompt}"
    version: ClassVar[int] = 3
    needs: ClassVar[Literal["responses", "policy", "nothing"]] = "responses"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"must be at least 1, got {self.n}", where="n")
        asked = self.pass_at or []
        if min(asked, default=1) < 1 or len(set(asked)) < len(asked):
            raise ConfigError(f"must be numbers from 1 on, each once, got {asked}", where="pass_at")
        if "{prompt}" not in self.template:
            raise ConfigError("has no {prompt} in it", where="template")

    def measure(self, desk: Desk) -> Measured:
        """Responses, verdicts, figures."""
        self.check(desk.n)
        found, refused = desk.prompts(self.prompts)
        prompts = [self._asked(p) for p in found]
        if all(p.gold is None for p in prompts):
            raise ConfigError("no prompt has a known answer", where="task.prompts.gold_column")
        made, unfit = desk.respond(prompts, self.n)
        verdicts = desk.score(prompts, made, self.reward)
        groups = _groups(prompts, made, verdicts)
        reasons = Counter(j.reason for g in groups for j in g.verdicts.values() if j.score is None)
        if reasons and not any(j.score is not None for g in groups for j in g.verdicts.values()):
            raise DataError(f"no answer could be graded ({_told(reasons)})", where="task.reward")
        voting = self.maj and (desk.n or self.n) > 1
        if voting:
            groups = _voted(groups, self.reward)
        short = {p.where: p for p in prompts if p.where in {r.where for r in unfit}}
        cells = self._cells(groups, short, desk)
        counts = Counter(r.reason for r in (*refused, *unfit)) + reasons
        counts["failed"] += (failed := sum(m.end == "failed" for g in groups for m in g.made))
        notes = by_text(self.reward) if voting else []
        notes += [*left_out(refused, unfit, "wrong"), *_ungraded(reasons)]
        notes += away(failed, sum(not g.there for g in groups))
        notes += _few(groups, max(self.pass_at or [0]))
        notes += thoughtless(m for g in groups for m in g.made)
        return Measured(cells, _samples(groups), +counts, notes)

    def check(self, n: int | None, key: str = "task") -> None:
        """ConfigError where `n` responses (None: the task's own) are too few for a pass@k."""
        n = self.n if n is None else n
        if over := [k for k in self.pass_at or () if k > n]:
            raise ConfigError(
                f"pass@{over[0]} needs {over[0]} responses, and n={n} of them are drawn",
                where=f"{key}.pass_at",
                repair=f"Say {key}.pass_at=[{n}], or draw more with n={over[0]}.",
            )

    def _asked(self, prompt: Prompt) -> Prompt:
        """The prompt as the task words it."""
        if self.template == "{prompt}":
            return prompt
        *before, last = prompt.messages
        words = Message(last.role, self.template.replace("{prompt}", last.content))
        return replace(prompt, messages=(*before, words))

    def _cells(self, groups: Sequence[Group], short: Mapping[str, Prompt], desk: Desk
               ) -> dict[str, dict[str, float]]:  # fmt: skip
        n = desk.n or self.n
        cells: dict[str, dict[str, float]] = {}
        for mode in desk.modes:
            own = [g for g in groups if g.mode == mode]
            named = {f"avg@{n}": Group.mean}
            named |= {f"pass@{k}": _passing(k) for k in self.pass_at or ()}
            named |= {f"maj@{n}": Group.majority} if self.maj and n > 1 else {}
            for name, measure in named.items():
                values = {g.prompt.where: measure(g) for g in own if g.there}
                cells[f"{mode}/{name}"] = {**values, **{where: 0.0 for where in short}}
            for name in ("unclosed", "truncated", "no_answer", "tokens"):
                cells[f"{mode}/{name}"] = {
                    g.prompt.where: v for g in own if (v := g.rate(name)) is not None
                }
        return {name: values for name, values in cells.items() if values}


@dataclass(frozen=True)
class Group:
    """The responses to one prompt in one mode; those that never came are not among `there`."""

    mode: str
    prompt: Prompt
    made: list[Made]
    verdicts: Mapping[Any, Judged]
    votes: Sequence[Hashable] = ()

    @property
    def there(self) -> list[Made]:
        return [m for m in self.made if m.end != "failed"]

    def score(self, made: Made) -> float:
        """Of one response; 0 where there is no answer, or none that could be graded."""
        judged = self.verdicts.get(made.key)
        return judged.score if judged is not None and judged.score is not None else 0.0

    def mean(self) -> float:
        return sum(map(self.score, self.there)) / len(self.there)

    @property
    def answered(self) -> list[Made]:
        """Those that vote."""
        return [m for m in self.there if m.closed and (m.answer or "").strip()]

    def readable(self, made: Made) -> bool:
        """Whether the verifier could grade it."""
        judged = self.verdicts.get(made.key)
        return judged is not None and judged.score is not None

    def majority(self) -> float:
        """By the votes of `voted`."""
        return majority(self.votes, [self.score(m) for m in self.answered])

    def rate(self, name: str) -> float | None:
        """A share of the responses, or their mean length; None where nobody counted tokens."""
        if name == "tokens":
            counted = [m.tokens for m in self.there if m.tokens is not None]
            return sum(counted) / len(counted) if counted else None
        tests = {
            "unclosed": lambda m: not m.closed, "truncated": lambda m: m.end == "length",
            "no_answer": lambda m: m.closed and not (m.answer or "").strip(),
        }  # fmt: skip
        there = self.there
        return sum(map(tests[name], there)) / len(there) if there else None


def _passing(k: int) -> Any:
    def measure(group: Group) -> float:
        right = sum(group.score(m) >= 1 for m in group.there)
        return pass_at(right, len(group.there), min(k, len(group.there)))

    return measure


def _groups(prompts: Sequence[Prompt], made: Any, verdicts: Any) -> list[Group]:
    by_row = {p.row: p for p in prompts}
    found = []
    for (mode, row), keys in groupby(made.ordered(), key=lambda key: key[:2]):
        if row in by_row:
            own = list(made.get(keys))
            keyed = [m.key for m in own if m.key in verdicts]
            judged = dict(zip(keyed, verdicts.get(keyed), strict=True))
            found.append(Group(mode, by_row[row], own, judged))
    return found


def _voted(groups: Sequence[Group], reward: Any) -> list[Group]:
    """The groups with the vote of each answer."""
    told = votes(
        [[m.answer or "" for m in g.answered] for g in groups],
        [[g.score(m) if g.readable(m) else None for m in g.answered] for g in groups], reward,
    )  # fmt: skip
    return [replace(group, votes=own) for group, own in zip(groups, told, strict=True)]


def _samples(groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    for group in groups:
        for made in group.made:
            judged = group.verdicts.get(made.key)
            yield {
                "key": group.prompt.where, "mode": made.mode, "copy": made.copy,
                "score": group.score(made), "reason": judged.reason if judged else "",
                "gold": group.prompt.gold, "end": made.end, "closed": made.closed,
                "tokens": made.tokens, "think": made.think, "answer": made.answer,
            }  # fmt: skip


def _few(groups: Sequence[Group], most: int) -> list[str]:
    """Where pass@k is that of a smaller k, for want of responses."""
    few = [len(g.there) for g in groups if 0 < len(g.there) < most]
    if not few:
        return []
    return [f"pass@k of {len(few):,} prompts rests on fewer than k={most} responses, "
            f"{min(few)} at the fewest"]  # fmt: skip


def _ungraded(reasons: Mapping[str, int]) -> list[str]:
    if not reasons:
        return []
    return [f"answers that could not be graded count as wrong: {_told(reasons)}"]


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in Counter(counts).most_common())
