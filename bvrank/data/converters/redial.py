"""ReDial (arXiv 1812.07617): movie recommendation, a list for each turn that recommends.

    {"dialog_id": "16162", "turn_id": 2, "context": ["", "Hi! ...", ...], "entity": [...],
     "rec": ["The Shining (1980)"]}
    {"conversationId": ..., "messages": [{"senderWorkerId": 0, "text": "I like @123"}],
     "movieMentions": {"123": "The Shining (1980)"}, "initiatorWorkerId": 0, ...}

Either the turns of iEvaLM (arXiv 2305.13112), or the original dialogues: there the recommended
titles are those the respondent names, but for those the seeker says were not suggested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bvrank.data.converters import Draft
from bvrank.data.converters.dialogues import Dialogues, Turn
from bvrank.data.lines import read_lines
from bvrank.data.refusals import NO_TRUTH, Unfit
from bvrank.data.turns import shown, text
from bvrank.errors import ConfigError, DataError
from bvrank.records import Refused

_MENTION = re.compile(r"@(\d+)")


@dataclass(frozen=True)
class ReDial(Dialogues):
    """Lists of titles of which those that the recommender names next are relevant.

    entities, movies: iEvaLM's entity2id.json and item_ids.json: more titles to draw from.
    """

    entities: str | None = None
    movies: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.entities is None) != (self.movies is None):
            name = "entities" if self.entities is None else "movies"
            raise ConfigError(
                "must be set too: entities names what movies numbers", where=name,
                repair="Name entity2id.json and item_ids.json, or neither.",
            )  # fmt: skip

    def convert(self, where: str, row: Any) -> list[Draft | Refused]:
        """The draft of a turn, or of each turn of a dialogue that recommends."""
        try:
            if "messages" in row:
                group, turns = _dialogue(row)
                return self.lists(where, group, turns)
            return [self._processed(where, row)]
        except Unfit as error:
            return [error.refused(where)]

    def _processed(self, where: str, row: Mapping[str, Any]) -> Draft:
        """iEvaLM's turn: what was said before, ending with the seeker, and what is recommended."""
        said = [text(v, f"context[{i}]") for i, v in enumerate(_texts(row, "context"))]
        named = tuple(_texts(row, "entity"))
        sides = reversed([i % 2 == 1 for i in range(len(said))])
        turns = [Turn(side, s, ()) for side, s in zip(sides, said, strict=True) if s.strip()]
        if turns:
            turns[-1] = Turn(turns[-1].recommender, turns[-1].said, named)
        right = tuple(t.strip() for t in _texts(row, "rec") if t.strip())
        if not right:
            raise Unfit(NO_TRUTH, "'rec' is empty")
        group, number = row.get("dialog_id"), row.get("turn_id")
        if not isinstance(group, str | int) or not isinstance(number, int):
            raise Unfit("wrong_type", "'dialog_id' and 'turn_id' do not name the turn")
        return self.one(where, str(group), number, turns, Turn(True, "", right), named)

    def _catalogue(self) -> Iterator[str]:
        yield from super()._catalogue()
        if self.entities is None or self.movies is None:
            return
        names = _json(self.entities, dict)
        numbers = {n for n in _json(self.movies, list) if isinstance(n, int)}
        yield from (name for name, number in names.items() if number in numbers and name.strip())


def _texts(row: Mapping[str, Any], name: str) -> list[str]:
    values = row.get(name)
    if not isinstance(values, list):
        raise Unfit("missing" if values is None else "wrong_type", f"'{name}' is not a list")
    return [text(v, f"{name}[{i}]") for i, v in enumerate(values)]


def _dialogue(row: Mapping[str, Any]) -> tuple[str, list[Turn]]:
    """An original dialogue: its id and its turns, @ids in them replaced by titles."""
    mentions, group = row.get("movieMentions") or {}, row.get("conversationId")
    answers = row.get("initiatorQuestions") or {}
    if not isinstance(mentions, dict) or not isinstance(answers, dict):
        raise Unfit("wrong_type", "'movieMentions' or 'initiatorQuestions' is no object")
    if not isinstance(group, str | int) or not isinstance(row["messages"], list):
        raise Unfit("wrong_type", "'conversationId' or 'messages' is of another type")
    names = {k: v.strip() for k, v in mentions.items() if isinstance(v, str) and v.strip()}
    return str(group), [
        _turn(m, row.get("respondentWorkerId"), names, answers) for m in row["messages"]
    ]


def _turn(
    message: Any, respondent: Any, names: Mapping[str, str], answers: Mapping[str, Any]
) -> Turn:
    if not isinstance(message, dict):
        raise Unfit("wrong_type", f"a message is {shown(str(message))}, no object")
    said = text(message.get("text"), "text")
    ids = [i for i in _MENTION.findall(said) if i in names]
    recommends = message.get("senderWorkerId") == respondent
    if recommends:
        ids = [i for i in ids if _suggested(answers.get(i))]
    titled = _MENTION.sub(lambda m: names.get(m[1], m[0]), said)
    return Turn(recommends, titled, tuple(dict.fromkeys(names[i] for i in ids)))


def _suggested(answer: Any) -> bool:
    """Whether the seeker's form leaves it a recommendation (suggested: 1), or says nothing."""
    return not isinstance(answer, dict) or answer.get("suggested") != 0


def _json(path: str, kind: type) -> Any:
    try:
        value = json.loads("\n".join(line for _, line in read_lines(path)))
    except ValueError as error:
        raise DataError("is no valid JSON", where=path) from error
    if not isinstance(value, kind):
        raise DataError(f"is no {'object' if kind is dict else 'array'}", where=path)
    return value
