"""The thinking adapter over a tokenizer's chat template.

What a template does is found out by rendering probes, not by its name:

    opened    the generation prompt itself ends with `<think>` (DeepSeek-R1-distill, Qwen3.5)
    injected  enable_thinking=false appends a closed, empty block (Qwen3)
    text      neither (Llama, Gemma, Phi, Qwen2.5): `<think>` is plain text of the completion

What is trained on, per mode (`{...}` is scored):

    thinking    prompt {<think>\\n trace \\n</think>\\n\\n answer END}     opened: the prompt has `<think>\\n`
    nothinking  prompt <think>\\n\\n</think>\\n\\n {answer END}
    plain       prompt {answer END}                  opened: as nothinking, for want of another way

A tokenizer without a chat template gets PLAIN_TEMPLATE, so that base models train without a
setting; a BOS then leads if the tokenizer puts one before any text.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bvrank.answers import CLOSE, OPEN, Response, join, split
from bvrank.data.refusals import Unfit
from bvrank.data.turns import shown
from bvrank.errors import ConfigError, ModelError
from bvrank.records import Candidate, Message, Mode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ m.role | capitalize }}:\n{{ m.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)
EMPTY_BLOCK = f"{OPEN}\n\n{CLOSE}\n\n"
_PROBE = (Message("user", "Q0probe"),)
_REPLY = "A0probe"


@dataclass(frozen=True)
class Style:
    """What the probes found, or a setting overrode."""

    opener: str  # what the prompt ends with when it opens the block itself, else ""
    empty_block: str  # what stands between prompt and answer when the trace is disabled
    injects: bool  # enable_thinking=false closes the block itself
    end: str  # the text of the token that ends an assistant's turn
    bos: str  # put before the rendered text; "" where the template does it or none is wanted


class Template:
    """Renders prompts and completions of one tokenizer, in each mode.

    empty_block: what disables a trace (null: the template's own, else "<think>\\n\\n</think>\\n\\n").
    end_token: the token that ends a turn (null: the one the template writes, else EOS).
    chat_template: Jinja text in place of the tokenizer's own.
    date: for templates that print today's, so that ids do not change overnight.
    Raises ModelError when the template cannot render a single question, or cannot do without a trace.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        empty_block: str | None = None,
        end_token: str | None = None,
        chat_template: str | None = None,
        date: str = "2024-07-26",
    ) -> None:
        self.tokenizer: Any = tokenizer
        self._given = chat_template
        self._date = _parsed_date(date)
        self.style = self._probe(empty_block, end_token)
        self.end_id = self._token_id(self.style.end)
        self._verify()

    def prompt_text(self, messages: Sequence[Message], mode: Mode) -> str:
        """The text in front of a completion. Raises Unfit("template") when a turn got lost."""
        self._refuse_control((f"the {m.role} turn", m.content) for m in messages)
        thinking = {"thinking": True, "nothinking": False, "plain": None}[mode]
        try:
            text = self._render(messages, thinking)
        except Exception as error:  # Jinja code of strangers: it may raise anything
            raise Unfit("template", f"the chat template refuses the row: {error}") from error
        self._nothing_lost(messages, text)
        return self.style.bos + self._opened_or_closed(text, mode)

    def completion_text(self, candidate: Candidate) -> str:
        """The text behind the prompt, without the end token. Raises Unfit("special_token")."""
        told = (("the trace", candidate.trace or ""), ("the answer", candidate.answer))
        self._refuse_control(told)
        if candidate.mode != "thinking":
            return candidate.answer
        whole = join(candidate.trace or "", candidate.answer)
        return whole[min(len(self.style.opener), len(OPEN) + 1) :]

    def response(self, completion: str, mode: Mode) -> Response:
        """Takes apart what followed a prompt of that mode; undoes `completion_text`."""
        if mode != "thinking":
            return split(completion)
        return split(self.style.opener[: len(OPEN) + 1] + completion)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as it stands: nothing is added to it."""
        if not texts:
            return []
        found: list[list[int]] = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return found

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each run of ids, special tokens included."""
        return [
            self.tokenizer.decode(
                list(run), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
            for run in ids
        ]

    def twice_bos(self, ids: Sequence[int]) -> bool:
        """Whether a prompt begins with two BOS tokens."""
        bos = self.tokenizer.bos_token_id
        return bos is not None and list(ids[:2]) == [bos, bos]

    # Finding out

    def _probe(self, empty_block: str | None, end_token: str | None) -> Style:
        try:
            thinking, without = self._render(_PROBE, True), self._render(_PROBE, False)
        except Exception as error:
            raise ModelError(
                f"the chat template cannot render one question ({error})",
                where=self._name,
                repair="Give another with chat_template.",
            ) from error
        opener = _tail(thinking, OPEN)
        block = _tail(without, OPEN)
        injects = CLOSE in block
        if empty_block is not None:
            _check_block(empty_block)
        own = block if injects else EMPTY_BLOCK
        bos = (
            self.tokenizer.bos_token if self._template == PLAIN_TEMPLATE and self._adds_bos else ""
        )
        end = end_token if end_token is not None else self._end()
        return Style(opener, empty_block if empty_block is not None else own, injects, end, bos)

    @property
    def _name(self) -> str:
        return str(getattr(self.tokenizer, "name_or_path", "") or "tokenizer")

    @property
    def _template(self) -> str | None:
        """The Jinja text to render with; None: the tokenizer's own."""
        if self._given is not None:
            return self._given
        return None if getattr(self.tokenizer, "chat_template", None) else PLAIN_TEMPLATE

    @cached_property
    def _adds_bos(self) -> bool:
        bos = self.tokenizer.bos_token_id
        return bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos]

    def _render(
        self, messages: Sequence[Message], thinking: bool | None, reply: str | None = None
    ) -> str:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        if reply is not None:
            turns.append({"role": "assistant", "content": reply})
        options: dict[str, Any] = {} if thinking is None else {"enable_thinking": thinking}
        text: str = self.tokenizer.apply_chat_template(
            turns,
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=reply is None,
            date_string=self._date.strftime("%d %b %Y"),
            strftime_now=self._date.strftime,
            **options,
        )
        return text

    def _end(self) -> str:
        """The token behind an assistant's turn where the template writes one, else EOS."""
        try:
            whole = self._render(_PROBE, None, _REPLY)
        except Exception:  # a template that renders prompts only says nothing about the end
            whole = ""
        rest = self.ids([whole.rpartition(_REPLY)[2]])[0] if _REPLY in whole else []
        special = self.tokenizer.added_tokens_decoder
        if rest and (rest[0] in special or rest[0] == self.tokenizer.eos_token_id):
            return str(self.tokenizer.convert_ids_to_tokens(rest[0]))
        if self.tokenizer.eos_token is None:
            raise ModelError(
                "neither the chat template nor the tokenizer says which token ends a turn",
                where=self._name,
                repair="Name it with end_token.",
            )
        return str(self.tokenizer.eos_token)

    def _token_id(self, token: str) -> int:
        ids = self.ids([token])[0]
        if len(ids) != 1:
            raise ConfigError(
                f"{token!r} is {len(ids)} tokens of this tokenizer, not one", where="end_token"
            )
        return ids[0]

    def _verify(self) -> None:
        """Decodes a prompt without a trace: it has to end with one closed block."""
        ids = self.ids([self.prompt_text(_PROBE, "nothinking")])
        text = self.decode(ids)[0]
        if not text.rstrip().endswith(CLOSE) or text.count(OPEN) != 1 or text.count(CLOSE) != 1:
            raise ModelError(
                f"the trace cannot be disabled: a prompt without one reads ...{shown(text[-40:])}",
                where=self._name,
                repair="Set empty_block to what closes the block of this template.",
            )

    # Rendering

    def _opened_or_closed(self, text: str, mode: Mode) -> str:
        """`text`, a generation prompt, with the end that `mode` needs: never two opened blocks."""
        style = self.style
        if mode == "thinking":
            return text
        if mode == "nothinking" and style.injects:
            return text[: text.rindex(OPEN)] + style.empty_block
        if style.opener:
            return text.removesuffix(style.opener) + style.empty_block
        return text + style.empty_block if mode == "nothinking" else text

    def _nothing_lost(self, messages: Sequence[Message], text: str) -> None:
        at = 0
        for number, turn in enumerate(messages, start=1):
            found = text.find(turn.content, at)
            if found < 0:
                raise Unfit("template", _lost(number, turn, text))
            at = found + len(turn.content)

    @cached_property
    def _control(self) -> re.Pattern[str]:
        """The special tokens of the tokenizer but the think tags."""
        added = self.tokenizer.added_tokens_decoder.values()
        names = {str(t) for t in added if t.special} | set(self.tokenizer.all_special_tokens)
        names = (names | {self.style.end}) - {OPEN, CLOSE, ""}
        return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "(?!)")

    def _refuse_control(self, texts: Any) -> None:
        for name, text in texts:
            if found := self._control.search(text):
                raise Unfit("special_token", f"{name} holds the special token {found[0]}")


def _lost(number: int, turn: Message, text: str) -> str:
    head = f"turn {number} ({turn.role}) is not rendered as it stands: "
    if turn.content.strip() in text:
        return head + "the chat template cuts the white space around it"
    behind = turn.content.rpartition(CLOSE)[2].strip()
    if CLOSE in turn.content and behind in text:
        return head + "the chat template cuts its trace away"
    return head + f"the chat template drops {shown(turn.content)}"


def _tail(text: str, tag: str) -> str:
    """What a prompt ends with from its last `tag` on, where nothing but a think block follows it."""
    head, found, rest = text.rpartition(tag)
    return found + rest if found and not rest.replace(CLOSE, "").strip() else ""


def _check_block(block: str) -> None:
    if block.count(OPEN) != 1 or block.count(CLOSE) != 1 or not block.strip().endswith(CLOSE):
        raise ConfigError(
            f"has to hold {OPEN} and {CLOSE} once each and end with the latter, got {block!r}",
            where="empty_block",
        )


def _parsed_date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"is no date like 2024-07-26: {text!r}", where="date") from error
