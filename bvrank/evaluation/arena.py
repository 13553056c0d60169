"""task=arena_hard, arena_hard_v2: Arena-Hard, five-point verdicts against a baseline, twice each.

    score              win rate against the baseline: mean of all battles, where a strong verdict
                       ([[A>>B]], [[B>>A]]) counts as three; with one model against one baseline
                       this is the official Bradley-Terry estimate. An answer that is not there
                       loses both battles, plainly
    style_controlled   the same at equal style: see style.py

A judge sees both orders; what counts where it gives no verdict in one of them is the edition's rule
(see boards.py). A judgment that was cut off is no verdict. With several categories each has its own
figures, `score@<category>`. Intervals resample questions (the official ones resample battles, and
so are narrower).

Writes the official files of answers (`model_answer.<mode>.jsonl`) and of judgments
(`model_judgment.<mode>.jsonl`), which judge=replay reads as it does official ones.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

from bvrank.errors import ConfigError, DataError
from bvrank.evaluation.boards import (
    Answer,
    Edition,
    Judgment,
    Questions,
    answer_row,
    answers,
    difference,
    judgments,
    label_of,
)
from bvrank.evaluation.contest import (
    Contest,
    Entrant,
    contest,
    digest,
    export,
    unjudged,
    worded,
)
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.judging import Question, Replay, Verdict, judged
from bvrank.evaluation.result import Measured
from bvrank.evaluation.rules import Rules
from bvrank.evaluation.style import Battles, score, style_of
from bvrank.records import Message
from bvrank.run.files import to_json
from bvrank.sampling.chat import Decoding

SLOTS = re.compile(r"\{(question|answer_a|answer_b)\}")
LOST = ("A>B", "B>A")  # both games of a model that says nothing
Games = dict[tuple[str, int, int], tuple[str, str]]  # mode, row, order -> label and what was said


@dataclass(frozen=True)
class ArenaHard:
    """`path`: the questions. `rules`: baseline and system prompt; those of some categories are in
    `others`. `categories`: those that count (None: all). `prompt`: what the judge is shown, with
    {question}, {answer_a} and {answer_b} in it. `edition`: whose rules read a judgment (see
    boards.py). `style`: whether style is controlled for."""

    name: str
    path: str | None
    judge: Any
    rules: Rules
    prompt: str
    edition: Edition = "v2"
    others: dict[str, Any] = field(default_factory=dict)
    categories: list[str] | None = None
    style: bool = False
    decoding: Decoding = field(default_factory=lambda: Decoding(0.0, 1.0, 4096))
    version: ClassVar[int] = 3

    def __post_init__(self) -> None:
        for slot in ("question", "answer_a", "answer_b"):
            if f"{{{slot}}}" not in self.prompt:
                raise ConfigError(f"has no {{{slot}}} in it", where="prompt")
        judge = judged(self.judge)
        if not isinstance(judge, Replay):
            if self.path is None:
                raise ConfigError("needs a value", where="path", repair="Name the questions.")
            return
        if self.path is not None:
            raise ConfigError("has no effect: the recorded file holds all", where="path")
        if (judge.answers_path is None) == self.style:
            raise ConfigError(
                "the answers that were judged belong to control of style",
                where="judge.answers_path",
                repair="Name them with judge.answers_path=..., or say task.style=false."
                if self.style else "Leave it out.",
            )  # fmt: skip

    @property
    def needs(self) -> Literal["responses", "policy", "nothing"]:
        """Recorded judgments are all it takes."""
        return "nothing" if isinstance(self.judge, Replay) else "responses"

    def measure(self, desk: Desk) -> Measured:
        """Responses, verdicts, figures."""
        if isinstance(self.judge, Replay):
            return self._replayed(self.judge, desk)
        questions = Questions(str(self.path), self.categories)
        official = self._read_rules(questions)
        taking = self._matched(contest(desk, questions), questions)
        games, reasons = self._heard(desk, taking, questions)
        cells: dict[str, dict[str, float]] = {}
        intervals: dict[str, Any] = {}
        for mode in desk.modes:
            found = [_judgment(e, games, questions) for e in taking.of(mode)]
            styles = {e.prompt.where: self._style(e, questions) for e in taking.of(mode)}
            self._write(desk, mode, taking.of(mode), games, questions)
            own, sure = self._figures(f"{mode}/", found, styles, desk.seed)
            cells |= own | taking.rates(mode)
            intervals |= sure
        notes = [*taking.notes, *unjudged(reasons, self._unit)]
        notes += [] if official else [worded("task.rules.system_file", "task.rules.system")]
        samples = (_sample(e, games) for e in taking.entrants)
        return Measured(cells, samples, taking.counts + reasons, notes, intervals)

    def _replayed(self, replay: Replay, desk: Desk) -> Measured:
        found = judgments(replay.path, self.edition, desk.limit, replay.model, self.categories)
        styles = self._recorded_styles(replay, found) if self.style else {}
        reasons = Counter({"no_verdict": sum(j.silent(self.edition) for j in found)})
        cells, intervals = self._figures("", found, styles, desk.seed)
        samples = ({"key": j.uid, "category": j.category, "labels": j.labels} for j in found)
        return Measured(
            cells, samples, +reasons, unjudged(+reasons, self._unit, recorded=True), intervals
        )

    @property
    def _unit(self) -> str:
        """What is left out for want of a verdict."""
        return "games" if self.edition == "v0.1" else "questions with games"

    def _recorded_styles(self, replay: Replay, found: Sequence[Judgment]) -> dict[str, Any]:
        """By the metadata of both files, where both have it; counted here otherwise."""
        own = answers(str(replay.answers_path), replay.model, "judge.model")
        styles = {}
        for judgment in found:
            base = self._rules(judgment.category).baseline
            for name, known in ((str(replay.answers_path), own), ("the baseline", base)):
                if judgment.uid not in known:
                    raise DataError(f"has no answer to {judgment.uid}", where=name)
            answer = own[judgment.uid]
            there = bool(answer.text.strip())
            styles[judgment.uid] = difference(answer, base[judgment.uid]) if there else None
        return styles

    def _rules(self, category: str) -> Rules:
        found: Rules = self.others.get(category, self.rules)
        return found

    def _read_rules(self, questions: Questions) -> bool:
        """Reads the files of all rules, before anything is made; whether all prompts are files."""
        rules = [self._rules(c) for c in {a.category for a in questions.asked.values()}]
        read = [(r.baseline, r.words) for r in rules]
        return bool(read) and all(r.system_file is not None for r in rules)

    def _matched(self, taking: Contest, questions: Questions) -> Contest:
        """Those that the baseline answered as well."""
        kept = [e for e in taking.entrants if self._base(e, questions) is not None]
        lone = len(taking.entrants) - len(kept)
        notes = [f"the baseline gave no answer to {lone:,} of them, which are left out"]
        counts = taking.counts + Counter({"no_baseline": lone})
        return Contest(kept, counts, [*taking.notes, *(notes if lone else [])])

    def _base(self, entrant: Entrant, questions: Questions) -> Answer | None:
        asked = questions.asked[entrant.prompt.where]
        return self._rules(asked.category).baseline.get(asked.uid)

    def _style(self, entrant: Entrant, questions: Questions) -> tuple[float, ...] | None:
        if not entrant.answer:
            return None
        base = self._base(entrant, questions)
        return difference(Answer("", entrant.answer), Answer("", base.text if base else ""))

    def _heard(self, desk: Desk, taking: Contest, questions: Questions
               ) -> tuple[Games, Counter[str]]:  # fmt: skip
        """Both games of everybody; an answer that is not there loses both unheard."""
        asked, games = {}, {}
        for e in taking.entrants:
            for order, lost in enumerate(LOST):
                key = (e.mode, e.prompt.row, order)
                if e.answer:
                    asked[key] = self._question(e, questions, order)
                else:
                    games[key] = (lost, "")
        said, reasons = self.judge.hear(desk, asked, partial(label, edition=self.edition))
        return games | said, reasons

    def _question(self, entrant: Entrant, questions: Questions, order: int) -> Question:
        asked, base = questions.asked[entrant.prompt.where], self._base(entrant, questions)
        shown = [base.text if base else "", entrant.answer]
        first, second = shown[::-1] if order else shown
        told = {"question": asked.prompt, "answer_a": first, "answer_b": second}
        user = SLOTS.sub(lambda found: told[found[1]], self.prompt)
        system = self._rules(asked.category).words
        return Question((Message("system", system), Message("user", user)), self.decoding)

    def _figures(self, prefix: str, found: Sequence[Judgment], styles: Mapping[str, Any], seed: int
                 ) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:  # fmt: skip
        """Cells and intervals, by category. DataError where one was never judged."""
        cells, intervals = {}, {}
        categories = list(dict.fromkeys(j.category for j in found))
        for category in categories:
            own = [(j, j.outcomes(self.edition)) for j in found if j.category == category]
            known = [(j.uid, o) for j, o in own if o is not None]
            if not known:
                raise DataError(f"no {prefix}{category} question counts: no verdicts",
                                where="task.judge")  # fmt: skip
            battles = [Battles(o, styles.get(uid, ())) for uid, o in known]
            for styled in (True, False) if self.style else (False,):
                name = "style_controlled" if styled else "score"
                name = f"{prefix}{name}" + (f"@{category}" if len(categories) > 1 else "")
                s = score(battles, styled, seed)
                uids = [uid for uid, _ in known]
                cells[name] = dict(zip(uids, s.cells.tolist(), strict=True))
                intervals[name] = (s.value, s.stderr, *s.interval)
        if not cells:
            raise DataError("nothing was judged", where="task.judge")
        return cells, intervals

    def _write(self, desk: Desk, mode: str, entrants: Sequence[Entrant], games: Games,
               questions: Questions) -> None:  # fmt: skip
        """Both official files of a mode."""
        model, now = f"{desk.label}-{mode}", time.time()
        rows = [
            answer_row(e.prompt.where, e.prompt.messages, model, e.answer,
                       digest(e.prompt.where, model, e.answer), style_of(e.answer), now)
            for e in entrants
        ]  # fmt: skip
        export(desk.folder / f"model_answer.{mode}.jsonl", _lines(rows))
        told = (self._row(e, model, games, questions) for e in entrants)
        export(desk.folder / f"model_judgment.{mode}.jsonl", _lines(told))

    def _row(self, entrant: Entrant, model: str, games: Games, questions: Questions
             ) -> dict[str, Any]:  # fmt: skip
        """An official judgment."""
        asked, base = questions.asked[entrant.prompt.where], self._base(entrant, questions)
        told: list[dict[str, Any] | None] = []
        for order in range(2):
            game = games.get((entrant.mode, entrant.prompt.row, order))
            messages = self._question(entrant, questions, order).messages
            shown = [{"role": m.role, "content": m.content} for m in messages]
            told.append(game and {"score": game[0], "judgment": {"answer": game[1]},
                                  "prompt": shown})  # fmt: skip
        return {"uid": asked.uid, "category": asked.category, "judge": self.judge.server.model,
                "model": model, "baseline": base.model if base else "", "games": told}  # fmt: skip


def label(verdict: Verdict, edition: Edition) -> tuple[str, str] | None:
    """The label, and all that was said; None where there is none, or more might have followed."""
    found = None if verdict.cut else label_of(verdict.answer or "", edition)
    return None if found is None else (found, verdict.answer or "")


def _judgment(entrant: Entrant, games: Games, questions: Questions) -> Judgment:
    asked = questions.asked[entrant.prompt.where]
    first, second = (games.get((entrant.mode, entrant.prompt.row, n), (None,))[0] for n in range(2))
    return Judgment(asked.uid, asked.category, (first, second))


def _sample(entrant: Entrant, games: Games) -> dict[str, Any]:
    made = entrant.made
    labels = [games.get((entrant.mode, entrant.prompt.row, n), (None,))[0] for n in range(2)]
    told = {} if made is None else {"end": made.end, "closed": made.closed, "tokens": made.tokens,
                                    "think": made.think}  # fmt: skip
    return {"key": entrant.prompt.where, "mode": entrant.mode, "labels": labels,
            "answer": entrant.answer, **told}  # fmt: skip


def _lines(rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> str:
    return "".join(to_json(row) + "\n" for row in rows)
