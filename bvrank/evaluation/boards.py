"""The official files of Arena-Hard: questions, answers and judgments, read and written.

    questions   {uid, category, cluster | subcategory, prompt}
    answers     {uid, ans_id, model, messages: [.., {role, content: {answer}}], tstamp, metadata}
    judgments   {uid, category, judge, model, baseline, games: [{score, judgment, prompt}, ...]}

The first game shows the baseline as assistant A, the second the model. Files of 2024 call uid
`question_id`, and hold `turns` and `choices`.

Two editions read a judgment differently, each as its official code does:

    v0.1   several different labels in one judgment are no verdict; a game without a verdict counts
           for nothing, and the other game of its question counts
    v2     the last label counts; a question of which one game has no verdict is left out

What differs: the official v0.1 asks a judge that gave no label to go on, once; here nobody is asked
twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from bvrank.data.files import read_rows
from bvrank.data.refusals import Unfit
from bvrank.errors import ConfigError, DataError, did_you_mean
from bvrank.evaluation.recordings import chosen, once
from bvrank.evaluation.style import STRONG, counted, relative, style_of
from bvrank.records import Message, Refused
from bvrank.sampling.prompts import TWICE
from bvrank.sampling.responses import Prompt

LABELS = {  # for assistant A
    "A>B": (1.0,), "A>>B": (1.0,) * STRONG, "A=B": (0.5,), "B=A": (0.5,),
    "A<B": (0.0,), "A<<B": (0.0,) * STRONG, "B>A": (0.0,), "B>>A": (0.0,) * STRONG,
    "B<A": (1.0,), "B<<A": (1.0,) * STRONG,
}  # fmt: skip
FIVE = ("A>B", "A>>B", "A=B", "B>A", "B>>A")  # all that v0.1 knows
Edition = Literal["v0.1", "v2"]
PATTERNS = (re.compile(r"\[\[([AB<>=]+)\]\]"), re.compile(r"\[([AB<>=]+)\]"))  # official


@dataclass(frozen=True)
class Asked:
    """A question of the benchmark."""

    uid: str
    prompt: str
    category: str


@dataclass(frozen=True)
class Answer:
    """What a model answered; `metadata` is its style as the official files count it."""

    model: str
    text: str
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Judgment:
    """Both games of a question: labels, None where the judge gave none."""

    uid: str
    category: str
    labels: tuple[str | None, str | None]

    def silent(self, edition: Edition) -> int:
        """Games without a verdict."""
        known = FIVE if edition == "v0.1" else LABELS
        return sum(label not in known for label in self.labels)

    def outcomes(self, edition: Edition) -> tuple[float, ...] | None:
        """For the model, strong verdicts three times; None where no game counts."""
        silent = self.silent(edition)
        if silent == 2 or (silent and edition == "v2"):
            return None
        known = FIVE if edition == "v0.1" else LABELS
        as_b, as_a = (LABELS[s] if s is not None and s in known else () for s in self.labels)
        return *as_a, *(1 - s for s in as_b)


@dataclass(frozen=True)
class Questions:
    """`question.jsonl`; of the `categories` alone, where they are given."""

    path: str
    categories: Sequence[str] | None = None

    def prompts(self) -> Iterator[Prompt | Refused]:
        """Every question once."""
        for n, asked in enumerate(self.asked.values()):
            yield Prompt(n, asked.uid, (Message("user", asked.prompt),))
        yield from self._read[1]

    @property
    def asked(self) -> dict[str, Asked]:
        return self._read[0]

    @cached_property
    def _read(self) -> tuple[dict[str, Asked], list[Refused]]:
        found: dict[str, Asked] = {}
        refused = []
        there: dict[str, None] = {}
        for where, row in read_rows(self.path):
            try:
                asked = Asked(_uid(row), _prompt(row), str(row.get("category") or ""))
            except Unfit as error:
                refused.append(error.refused(where))
                continue
            there[asked.category] = None
            if asked.uid in found:
                refused.append(Refused(where, TWICE, f"uid {asked.uid} stands in an earlier row"))
            elif self.categories is None or asked.category in self.categories:
                found[asked.uid] = asked
        check_categories(self.categories, there)
        return found, refused


def answers(path: str, model: str | None = None, key: str | None = None) -> dict[str, Answer]:
    """A file of answers, by uid; those of `model` where it holds several. DataError for a row that
    holds none, a second row of a uid, and several models of which none is chosen by `key`."""
    found: list[tuple[str, tuple[str, Answer]]] = []
    for where, row in read_rows(path):
        try:
            answer = _answer(row)
            found.append((answer.model, (_uid(row), answer)))
        except Unfit as error:
            raise DataError(error.detail, where=where) from None
    alone = len({name for name, _ in found}) < 2  # whatever it is called there
    own = chosen(found, None if alone else model, path, key)
    once((uid for uid, _ in own), path)
    return dict(own)


def judgments(path: str, edition: Edition, limit: int | None = None, model: str | None = None,
              categories: Sequence[str] | None = None) -> list[Judgment]:  # fmt: skip
    """Those of a file: of `model` where it holds several, and of these the first `limit` of the
    `categories` (None: all). DataError for a row without two games, a score that is no text, a
    label that v2 does not know, a second row of a uid, several models; ConfigError for a category
    that no row has."""
    found: list[tuple[str, Judgment]] = []
    for where, row in read_rows(path):
        try:
            games = row.get("games")
            if not isinstance(games, list) or len(games) != 2:
                raise Unfit("no_games", "'games' does not hold both orders")
            labels = (_label(games[0], edition), _label(games[1], edition))
            own = Judgment(_uid(row), str(row.get("category") or ""), labels)
            found.append((str(row.get("model") or ""), own))
        except Unfit as error:
            raise DataError(error.detail, where=where) from None
    kept = chosen(found, model, path)
    once((j.uid for j in kept), path)
    check_categories(categories, (j.category for j in kept))
    return [j for j in kept if categories is None or j.category in categories][:limit]


def check_categories(wanted: Sequence[str] | None, there: Iterable[str]) -> None:
    """ConfigError for one of those `wanted` that is not `there`."""
    known = {*there}
    if odd := [name for name in wanted or () if name not in known]:
        raise ConfigError(f"there is no question of category {odd[0]!r}", where="task.categories",
                          repair=did_you_mean(odd[0], known - {""}))  # fmt: skip


def label_of(text: str, edition: Edition) -> str | None:
    """The label of a judgment, as official; None where there is none."""
    if edition == "v0.1":
        told = set(PATTERNS[0].findall(text))
        return told.pop() if len(told) == 1 and told <= {*FIVE} else None
    for pattern in PATTERNS:
        if found := pattern.findall(text.upper()):
            return str(found[-1]) if found[-1] in LABELS else None
    return None


def difference(model: Answer, baseline: Answer) -> tuple[float, ...]:
    """Of style, by the metadata of both where both have it."""
    told = (model.metadata, baseline.metadata)
    if None not in told:
        try:
            found = relative(*(counted(m or {}) for m in told))
            if all(map(math.isfinite, found)):
                return found
        except (KeyError, TypeError, ValueError, ArithmeticError):
            pass  # of another form: both are counted here
    return relative(*(counted(style_of(a.text)) for a in (model, baseline)))


def _uid(row: Mapping[str, Any]) -> str:
    uid = row.get("uid") or row.get("question_id")
    if not isinstance(uid, str):
        raise Unfit("no_uid", "has no uid")
    return uid


def _prompt(row: Mapping[str, Any]) -> str:
    text = row.get("prompt")
    turns = row.get("turns")
    if text is None and isinstance(turns, list) and len(turns) == 1:
        text = turns[0].get("content") if isinstance(turns[0], Mapping) else turns[0]
    if not isinstance(text, str) or not text.strip():
        raise Unfit("no_text", "holds no prompt of one turn")
    return text


def _answer(row: Mapping[str, Any]) -> Answer:
    try:
        if "messages" in row:
            content = row["messages"][-1]["content"]
            text = content["answer"] if isinstance(content, Mapping) else content
        else:
            text = row["choices"][0]["turns"][0]["content"]
        style = row.get("metadata") or row.get("conv_metadata")
        model = row.get("model") or row.get("model_id")
    except (KeyError, IndexError, TypeError) as error:
        raise Unfit("no_text", f"holds no answer ({error!r})") from None
    if not isinstance(text, str):
        raise Unfit("no_text", "holds no answer")
    return Answer(str(model), text, style if isinstance(style, Mapping) else None)


def _label(game: Any, edition: Edition) -> str | None:
    label = game.get("score") if isinstance(game, Mapping) else None
    if label is None or (isinstance(label, str) and (label in LABELS or edition == "v0.1")):
        return label
    raise Unfit("no_label", f"score {label!r} is no verdict")


def answer_row(uid: str, asked: Sequence[Message], model: str, text: str, name: str,
               style: Mapping[str, Any], when: float) -> dict[str, Any]:  # fmt: skip
    """A line of a file of answers."""
    turns: list[dict[str, Any]] = [{"role": m.role, "content": m.content} for m in asked]
    turns.append({"role": "assistant", "content": {"answer": text}})
    return {"uid": uid, "ans_id": name, "model": model, "messages": turns, "tstamp": when,
            "metadata": dict(style)}  # fmt: skip
