"""task=alpaca_eval: AlpacaEval 2, a win rate against a baseline and its length-controlled sibling.

    win_rate      mean preference for the model's answer over the baseline's, in [0, 1]; equal
                  answers are a tie, 0.5
    lc_win_rate   the same as if both were equally long: see lengths.py; lc_win_rate_minimal where
                  the difficulty of instructions is not known

The judge sees both answers under the names m and M, in an order that the instruction decides, and
says one of the names. Where its server gives log-probs (`weighted`) the preference is the share
P(M) / (P(m) + P(M)) of the first token, as official; else what it said, and a note tells so.

Reads and writes the official files: the baseline's `model_outputs.json`, the model's own as
`model_outputs.<mode>.json`, the preferences as `annotations.<mode>.json`, which judge=replay reads
as it does official ones.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import numpy as np

from bvrank.errors import ConfigError, DataError
from bvrank.evaluation.annotations import Baseline, Row, annotation, recorded
from bvrank.evaluation.contest import (
    Contest,
    Entrant,
    contest,
    digest,
    export,
    unjudged,
    worded,
    wording,
)
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.judging import OpenAI, Question, Replay, Verdict, judged
from bvrank.evaluation.lengths import Gamed, controlled
from bvrank.evaluation.result import Measured
from bvrank.records import Message
from bvrank.run.files import to_json
from bvrank.sampling.chat import Decoding
from bvrank.sampling.prompts import rendered

SLOTS = re.compile(r"\{(instruction|output_1|output_2)\}")
ALTERNATIVES = 5  # first tokens whose log-probs are asked for
FIRST, SECOND = "m", "M"
AROUND = " \t\n\"'`*."  # what may stand around a name
SHORT = ("lc_win_rate_minimal knows no difficulty of instructions (the official package's "
         "length_controlled_minimal) and is not the leaderboard's figure: task.difficulty_path "
         "takes the official df_gamed.csv")  # fmt: skip


@dataclass(frozen=True)
class AlpacaEval:
    """`path`: the baseline's outputs. `judge`: who judges. `prompt`: what it is asked, with
    {instruction}, {output_1} and {output_2} in it; `prompt_file`: the official template in its
    place. `weighted`: whether log-probs are asked for. `difficulty_path`: the official
    `df_gamed.csv`, for the official length control."""

    name: str
    path: str | None
    judge: Any
    prompt: str
    prompt_file: str | None = None
    weighted: bool = True
    decoding: Decoding = field(default_factory=lambda: Decoding(0.0, 1.0, 1))
    difficulty_path: str | None = None
    version: ClassVar[int] = 3

    def __post_init__(self) -> None:
        replayed = isinstance(judged(self.judge), Replay)
        if replayed and self.path is not None:
            raise ConfigError("has no effect: the recorded file holds all", where="path")
        if replayed and self.judge.answers_path is not None:
            raise ConfigError("has no effect here", where="judge.answers_path")
        if not replayed and self.path is None:
            raise ConfigError("needs a value", where="path",
                              repair="Name the baseline's model_outputs.json.")  # fmt: skip
        for turn in ("instruction", "output_1", "output_2"):
            if not any(f"{{{turn}}}" in m.content for m in self._turns):
                where = "prompt" if self.prompt_file is None else "prompt_file"
                raise ConfigError(f"has no {{{turn}}} in it", where=where)

    @property
    def needs(self) -> Literal["responses", "policy", "nothing"]:
        """Recorded judgments hold the answers too."""
        return "nothing" if isinstance(self.judge, Replay) else "responses"

    def measure(self, desk: Desk) -> Measured:
        """Responses, verdicts, figures."""
        gamed = None if self.difficulty_path is None else Gamed.read(self.difficulty_path)
        if isinstance(self.judge, Replay):
            return _replayed(self.judge, gamed, desk)
        baseline = Baseline(str(self.path))
        if gamed is not None:
            gamed.whole(baseline.size, baseline.path)
            gamed.of(row.index for row in baseline.rows.values())
        taking = contest(desk, baseline)
        rows_of, reasons, plain = self._judged(desk, taking, baseline)
        cells: dict[str, dict[str, float]] = {}
        intervals: dict[str, Any] = {}
        notes = [*taking.notes, *unjudged(reasons, "comparisons")]
        notes += _plainly(plain) if self.weighted else []
        notes += [] if self.prompt_file else [worded("task.prompt_file", "task.prompt")]
        for mode in desk.modes:
            rows = [rows_of[mode, e.prompt.row] for e in taking.of(mode)]
            _write(desk, mode, rows, self.judge.server.model)
            found, sure, more = _figures(f"{mode}/", rows, gamed, desk.seed)
            cells |= found | taking.rates(mode)
            intervals |= sure
            notes += [n for n in more if n not in notes]
        samples = (_sample(e, rows_of[e.mode, e.prompt.row]) for e in taking.entrants)
        return Measured(cells, samples, taking.counts + reasons, notes, intervals)

    @cached_property
    def _turns(self) -> tuple[Message, ...]:
        text = self.prompt if self.prompt_file is None else wording(self.prompt_file, "prompt_file")
        turns = rendered(text.lstrip()) or (Message("user", text),)
        return tuple(Message(m.role, m.content.strip()) for m in turns)

    def _judged(self, desk: Desk, taking: Contest, baseline: Baseline
                ) -> tuple[dict[Any, Row], Counter[str], Counter[bool]]:  # fmt: skip
        """A row for everybody, why some have no preference, and how many said it plainly."""
        rows = {(e.mode, e.prompt.row): self._row(desk, e, baseline) for e in taking.entrants}
        asked = {k: self._question(r) for k, r in rows.items() if r.preference is None}
        judge: OpenAI = self.judge
        alternatives = ALTERNATIVES if self.weighted else 0
        read = partial(preference, limit=self.decoding.max_tokens)
        said, reasons = judge.hear(desk, asked, read, alternatives)
        plain = Counter(weighted for _, weighted in said.values())
        for key, (second, _) in said.items():
            row = rows[key]
            rows[key] = _with(row, 1 - second if switched(row) else second)
        return rows, reasons, plain

    def _row(self, desk: Desk, entrant: Entrant, baseline: Baseline) -> Row:
        """With the preference that takes no judge: nothing loses, the same is a tie."""
        base = baseline.rows[entrant.prompt.messages[-1].content]
        answer = entrant.answer
        known = 0.0 if not answer else 0.5 if answer == base.output_1 else None
        return Row(base.instruction, base.output_1, answer, base.generator_1,
                   f"{desk.label}-{entrant.mode}", base.dataset, base.index, known)  # fmt: skip

    def _question(self, row: Row) -> Question:
        """The template with its slots filled in one pass: text that is filled in has no slots."""
        outputs = (row.output_2, row.output_1) if switched(row) else (row.output_1, row.output_2)
        told = dict(zip(("instruction", "output_1", "output_2"), (row.instruction, *outputs),
                        strict=True))  # fmt: skip
        filled = (
            Message(m.role, SLOTS.sub(lambda found: told[found[1]], m.content)) for m in self._turns
        )
        return Question(tuple(filled), self.decoding)


def _replayed(replay: Replay, gamed: Gamed | None, desk: Desk) -> Measured:
    found = recorded(replay.path, desk.limit, replay.model)
    if gamed is not None and found.size is not None:
        gamed.whole(found.size, replay.path)
    cells, intervals, notes = _figures("", found.rows, gamed, desk.seed)
    notes = [*unjudged(found.reasons, "comparisons", recorded=True), *notes]
    return Measured(cells, map(annotation, found.rows), found.reasons, notes, intervals)


def preference(verdict: Verdict, limit: int = 1) -> tuple[float, bool] | None:
    """For the answer that was shown second, in [0, 1], and whether log-probs say so; None where the
    verdict is none. `limit`: of its tokens; of several, one that was cut off has to be a name."""
    whole = (verdict.answer or "").strip(AROUND)
    if verdict.cut and limit > 1 and whole not in (FIRST, SECOND):
        return None
    odds = [math.exp(verdict.odds.get(name, -math.inf)) for name in (FIRST, SECOND)]
    if sum(odds) > 0:
        return odds[1] / sum(odds), True
    lines = (verdict.answer or "").strip().splitlines()
    said = lines[-1].strip(AROUND) if lines else ""
    return (float(said == SECOND), False) if said in (FIRST, SECOND) else None


def switched(row: Row) -> bool:
    """Whether the model's answer is shown first: of half of the instructions."""
    return int(digest(row.instruction), 16) % 2 == 1


def _figures(prefix: str, rows: Sequence[Row], gamed: Gamed | None, seed: int) -> Any:
    """Cells, intervals and notes; DataError where nothing was judged."""
    known = [(r, r.preference) for r in rows if r.preference is not None]
    if not known:
        raise DataError(f"no {prefix}comparison has a verdict", where="task.judge")
    wins = np.array([p for _, p in known])
    longer = np.array([float(len(r.output_1) - len(r.output_2)) for r, _ in known])
    length = controlled(wins, longer, [r.index for r, _ in known], gamed, seed)
    keys = [r.key for r, _ in known]
    name = f"{prefix}lc_win_rate" + ("" if gamed else "_minimal")
    cells = {name: dict(zip(keys, length.cells.tolist(), strict=True)),
             f"{prefix}win_rate": dict(zip(keys, wins.tolist(), strict=True))}  # fmt: skip
    cells = cells if gamed else dict(reversed(cells.items()))  # what can be compared comes first
    return cells, {name: (length.value, length.stderr, *length.interval)}, [] if gamed else [SHORT]


def _plainly(plain: Counter[bool]) -> list[str]:
    if not plain[False]:
        return []
    return [f"{plain[False]:,} of {plain.total():,} verdicts came without log-probs of m and M: "
            "what was said counts, 0 or 1"]  # fmt: skip


def _with(row: Row, known: float) -> Row:
    return Row(**{**vars(row), "preference": known})


def _write(desk: Desk, mode: str, rows: Sequence[Row], judge: str) -> None:
    """Both official files of a mode."""
    outputs = [{"dataset": r.dataset, "instruction": r.instruction, "output": r.output_2,
                "generator": r.generator_2} for r in rows]  # fmt: skip
    told = [{**annotation(r), "annotator": judge} for r in rows]
    export(desk.folder / f"model_outputs.{mode}.json", to_json(outputs, indent=2) + "\n")
    export(desk.folder / f"annotations.{mode}.json", to_json(told, indent=2) + "\n")


def _sample(entrant: Entrant, row: Row) -> dict[str, Any]:
    made = entrant.made
    told = {} if made is None else {"end": made.end, "closed": made.closed, "tokens": made.tokens,
                                    "think": made.think}  # fmt: skip
    return {"key": row.key, "mode": entrant.mode, "score": row.preference,
            "instruction": row.instruction, "answer": row.output_2, **told}  # fmt: skip
