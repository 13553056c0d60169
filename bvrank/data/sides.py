"""The forms in which preference pairs are stored, each read into a prompt and two responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bvrank.answers import Response, split
from bvrank.data.refusals import Unfit
from bvrank.data.turns import ASSISTANT, HUMAN, as_prompt, dialogue, messages, shown, text
from bvrank.errors import DataError, did_you_mean
from bvrank.records import Message

Turns = tuple[Message, ...]
TRACE_KEYS = ("think", "thinking", "trace", "reasoning", "reasoning_content")
ANSWER_KEYS = ("answer", "content")
FORMS = (
    "prompt, chosen, rejected (each a text, a list of messages or {think, answer}; "
    "a list of texts or of {think, answer} is several responses); "
    "instruction[, input], chosen, rejected; "
    'chosen, rejected (messages, or "\\n\\nHuman: ... \\n\\nAssistant: ..." with the prompt inside)'
)


@dataclass(frozen=True)
class Columns:
    """Which column holds what. `prompt` and `system` need not exist."""

    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    system: str | None = None

    @property
    def bare(self) -> Columns:
        """Where a row keeps the pair of its bare view, if it brings one."""
        return replace(self, chosen=f"{self.chosen}_bare", rejected=f"{self.rejected}_bare")


def detect(columns: Columns, seen: Iterable[str], where: str) -> str:
    """The form of a file: "prompt", "instruction" or "implicit". DataError when it is none."""
    names = set(seen)
    found = ", ".join(sorted(names)) or "none"
    for name in filter(None, (columns.chosen, columns.rejected, columns.system)):
        if name not in names:
            raise DataError(
                f"has no column '{name}'; its columns are: {found}",
                where=where,
                repair=f"{did_you_mean(name, names)} Known forms: {FORMS}.",
            )
    if columns.prompt in names:
        return "prompt"
    if columns.prompt != Columns.prompt:
        raise DataError(
            f"has no column '{columns.prompt}'; its columns are: {found}",
            where=where,
            repair=did_you_mean(columns.prompt, names),
        )
    return "instruction" if "instruction" in names else "implicit"


def read_pair(row: Mapping[str, Any], form: str, columns: Columns
              ) -> tuple[Turns, list[list[Response]]]:  # fmt: skip
    """The prompt of a row, and its chosen and its rejected responses. Raises Unfit."""
    names = (columns.chosen, columns.rejected)
    for name in names:
        if row.get(name) is None:
            raise Unfit("missing", f"'{name}' is missing")
    prompt = _prompt(row, form, columns)
    read = [_side(row[name], name, prompt) for name in names]
    if read[0][0] != read[1][0]:
        raise Unfit("prompt_mismatch", f"the prompts of {names[0]} and {names[1]} differ")
    turns = as_prompt(_with_system(read[0][0], row, columns), columns.prompt)
    return turns, [
        [checked(r, f"{name}[{i}]" if responses[1:] else name) for i, r in enumerate(responses)]
        for (_, responses), name in zip(read, names, strict=True)
    ]


def checked(response: Response, name: str) -> Response:
    """`response` if it ends in an answer."""
    if response.answer is None:
        raise Unfit("unfinished", f"'{name}' opens a think block and never closes it")
    if not response.answer.strip():
        raise Unfit("empty_answer", f"'{name}' has no final answer")
    return response


def _prompt(row: Mapping[str, Any], form: str, columns: Columns) -> Turns | None:
    """The prompt of its own columns, None where it stands inside the sides."""
    if form == "implicit":
        return None
    if form == "instruction":
        told, given = text(row.get("instruction"), "instruction"), row.get("input")
        if given is None or given == "":
            return (Message("user", told),)
        return (Message("user", f"{told}\n\n{text(given, 'input')}"),)
    value = row.get(columns.prompt)
    if value == "":
        raise Unfit("empty_prompt", f"'{columns.prompt}' is empty")
    return messages(value, columns.prompt)


def _with_system(prompt: Turns, row: Mapping[str, Any], columns: Columns) -> Turns:
    value = row.get(columns.system) if columns.system else None
    if value is None or value == "":
        return prompt
    return (Message("system", text(value, columns.system or "")), *prompt)


def _side(value: Any, name: str, prompt: Turns | None) -> tuple[Turns, list[Response]]:
    """One side: the prompt it implies and its responses, of which a list may hold several."""
    if _several(value):
        found = [_one(v, f"{name}[{i}]", prompt) for i, v in enumerate(value)]
        if any(turns != found[0][0] for turns, _ in found):
            raise Unfit("prompt_mismatch", f"the prompts inside '{name}' differ")
        return found[0][0], [response for _, response in found]
    turns, response = _one(value, name, prompt)
    return turns, [response]


def _several(value: Any) -> bool:
    """Whether it is a list of responses, not one of messages."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(v, str) or (isinstance(v, dict) and not {"role", "from"} & set(v))
            for v in value
        )
    )


def _one(value: Any, name: str, prompt: Turns | None) -> tuple[Turns, Response]:
    """One response and the prompt it implies."""
    if isinstance(value, dict) and ("role" in value or "from" in value):
        value = [value]
    if isinstance(value, list):
        return _conversation(value, name, prompt)
    if isinstance(value, dict):
        return _given(prompt, name), _parts(value, name)
    written = text(value, name)
    if prompt is None and written.startswith(HUMAN) and ASSISTANT in written:
        head, _, answer = written.rpartition(ASSISTANT)
        return dialogue(head), split(answer.removeprefix(" "))
    return _given(prompt, name), split(written)


def _given(prompt: Turns | None, name: str) -> Turns:
    if prompt is None:
        raise Unfit("no_prompt", f"there is no prompt column and none inside '{name}'")
    return prompt


def _parts(value: Mapping[str, Any], name: str) -> Response:
    """{think, answer}: an absent or empty `think` is no trace."""
    for key in ANSWER_KEYS:
        if key in value:
            break
    else:
        keys = ", ".join(map(str, value))
        raise Unfit("wrong_type", f"'{name}' has no 'answer' among its keys ({shown(keys)})")
    answer = text(value[key], f"{name}.{key}")
    traces = [value[k] for k in TRACE_KEYS if value.get(k) not in (None, "")]
    return Response(text(traces[0], f"{name}.think") if traces else None, answer, True)


def _conversation(value: list[Any], name: str, prompt: Turns | None) -> tuple[Turns, Response]:
    """Messages: the last is the response, those before it are the prompt (or repeat it)."""
    turns = messages(value, name)
    *before, last = turns
    if last.role != "assistant":
        raise Unfit("wrong_type", f"'{name}' does not end with a turn of the assistant")
    response = _spoken(value[-1], last, name)
    if not before:
        return _given(prompt, name), response
    inside = tuple(before)
    if prompt is None or inside[-len(prompt) :] == prompt or inside[: len(prompt)] == prompt:
        return inside, response
    raise Unfit("prompt_mismatch", f"'{name}' does not repeat the prompt it is given with")


def _spoken(value: Any, turn: Message, name: str) -> Response:
    """An assistant's message: its trace inside the text, or apart in `reasoning_content`."""
    if isinstance(value, dict) and any(value.get(k) not in (None, "") for k in TRACE_KEYS):
        return _parts({**value, "answer": turn.content}, name)
    return split(turn.content)
