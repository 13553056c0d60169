"""The thinking adapter over a tokenizer's chat template.

Templates differ in what they do about thinking (bvrank.data.style finds out which is which):

    opened    the generation prompt itself ends with `<think>` (DeepSeek-R1-distill, Qwen3.5)
    injected  enable_thinking=false appends a closed, empty block (Qwen3)
    text      neither (Llama, Gemma, Phi, Qwen2.5): `<think>` is plain text of the completion

What is trained on, per mode (`{...}` is scored):

    thinking    prompt {<think> \\n trace \\n </think> \\n\\n answer END}
                opened: the prompt holds `<think> \\n` already
    nothinking  prompt <think> \\n\\n </think> \\n\\n {answer END}
    plain       prompt {answer END}
                opened: as nothinking, for want of another way

A tokenizer without a chat template gets PLAIN_TEMPLATE, so that base models train without a
setting; a BOS then leads if the tokenizer puts one before any text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bvrank.answers import CLOSE, OPEN, Response, join, split
from bvrank.data.dates import date_string, parsed_date, pinned
from bvrank.data.identity import parts_of
from bvrank.data.refusals import Unfit
from bvrank.data.style import PROBE, block_at_end, found_style, name_of
from bvrank.data.turns import shown
from bvrank.errors import ConfigError, ModelError
from bvrank.records import Candidate, Message, Mode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN_TEMPLATE = (  # newlines inside expressions: Jinja eats one that follows a block
    "{% for m in messages %}{{ m.role | capitalize }}{{ ':\n' }}{{ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)
THINKING: dict[Mode, bool | None] = {"thinking": True, "nothinking": False, "plain": None}


class Template:
    """Renders prompts and completions of one tokenizer, in each mode.

    empty_block: what disables a trace (None: the template's own, else `<think>`, a blank line,
    `</think>` and a blank line). end_token: what ends a turn (None: what the template writes, else
    EOS). chat_template: Jinja text in place of the tokenizer's own. date: what templates that print
    today's date get. Raises ModelError when the template cannot render a question or cannot do
    without a trace, ConfigError for a setting.
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
        self._date = parsed_date(date)
        own = tokenizer.get_chat_template() if tokenizer.chat_template else PLAIN_TEMPLATE
        self._jinja = pinned(own if chat_template is None else chat_template, self._date)
        leads = self._jinja == PLAIN_TEMPLATE and self.adds_bos
        self._bos = str(tokenizer.bos_token) if leads else ""
        self.style = found_style(self._render, tokenizer, empty_block, end_token)
        self.end_id = self._token_id(self.style.end)
        self._verify()

    def prompt_text(self, messages: Sequence[Message], mode: Mode) -> str:
        """The text in front of a completion. Raises Unfit (`template`, `special_token`) when the
        template refuses the row or a turn does not come out as it went in."""
        self._refuse_control((f"the {m.role} turn", m.content) for m in messages)
        if not messages or messages[-1].role == "assistant":
            raise Unfit("prompt_end", "the prompt does not end with a turn to answer")
        try:
            text = self._render(tuple(messages), THINKING[mode])
        except Exception as error:  # Jinja code of strangers: it may raise anything
            raise Unfit("template", f"the chat template refuses the row: {error}") from error
        _nothing_lost(messages, text)
        return self._bos + self._opened_or_closed(text, mode)

    def completion_text(self, candidate: Candidate) -> str:
        """The text behind the prompt, without the end token. Raises Unfit("special_token")."""
        trace = candidate.trace or ""
        self._refuse_control((("the trace", trace), ("the answer", candidate.answer)))
        if candidate.mode != "thinking":
            return candidate.answer
        return join(trace, candidate.answer)[len(self._lead) :]

    def response(self, completion: str, mode: Mode) -> Response:
        """Takes apart what followed a prompt of that mode; undoes `completion_text`."""
        return split(self._lead + completion if mode == "thinking" else completion)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as it stands: nothing is added to it."""
        if not texts:
            return []
        found: list[list[int]] = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return found

    def identity(self) -> str:
        """Hash of everything that decides which ids a text becomes."""
        parts = [*parts_of(self.tokenizer), self._jinja, str(self._date), repr(self.style),
                 self.end_id, self._bos]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

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

    @property
    def _lead(self) -> str:
        """What of the canonical completion the prompt of an opened template holds already."""
        return self.style.opener[: len(OPEN) + 1]

    @property
    def adds_bos(self) -> bool:
        """Whether the tokenizer puts a BOS before any text."""
        bos = self.tokenizer.bos_token_id
        return bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos]

    def _render(self, messages: tuple[Message, ...], thinking: bool | None) -> str:
        options = {} if thinking is None else {"enable_thinking": thinking}
        text: str = self.tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in messages],
            chat_template=self._jinja,
            tokenize=False,
            add_generation_prompt=messages[-1].role != "assistant",
            date_string=date_string(self._date),
            **options,
        )
        return text

    def _token_id(self, token: str) -> int:
        ids = self.ids([token])[0]
        if len(ids) != 1:
            raise ConfigError(
                f"{token!r} is {len(ids)} tokens of this tokenizer, not one", where="end_token"
            )
        return ids[0]

    def _verify(self) -> None:
        """Decodes a prompt without a trace: it has to end with one closed block."""
        ids = self.ids([self.prompt_text(PROBE, "nothinking")])
        text = self.decode(ids)[0]
        if not text.rstrip().endswith(CLOSE) or text.count(OPEN) != 1 or text.count(CLOSE) != 1:
            raise ModelError(
                f"the trace cannot be disabled: a prompt without one ends with {text[-40:]!r}",
                where=name_of(self.tokenizer),
                repair="Set empty_block to what closes the block of this template.",
            )

    def _opened_or_closed(self, text: str, mode: Mode) -> str:
        """`text`, a generation prompt, with the end that `mode` needs: never two opened blocks."""
        style, block = self.style, block_at_end(text)
        injected = mode == "nothinking" and style.injects
        if (CLOSE in block) != injected or (not injected and block != style.opener):
            raise Unfit("template", "the chat template opens or closes thinking unlike elsewhere")
        if mode == "thinking" or (mode == "plain" and not style.opener):
            return text
        return text.removesuffix(block) + style.empty_block

    @cached_property
    def _control(self) -> re.Pattern[str]:
        return control_tokens(self.tokenizer, self.style.end)

    def _refuse_control(self, texts: Iterable[tuple[str, str]]) -> None:
        for name, text in texts:
            if found := self._control.search(text):
                raise Unfit("special_token", f"{name} holds the special token {found[0]}")


def control_tokens(tokenizer: Any, *others: str) -> re.Pattern[str]:
    """Matches the text of a special token of the tokenizer, the think tags excepted."""
    added = tokenizer.added_tokens_decoder.values()
    names = {str(t) for t in added if t.special} | set(tokenizer.all_special_tokens)
    names = {n for n in names | {*others} if n.strip()} - {OPEN, CLOSE}
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "(?!)")


def _nothing_lost(messages: Sequence[Message], text: str) -> None:
    """Every turn stands in the rendered prompt, in order; else Unfit says what got lost."""
    at = 0
    for number, turn in enumerate(messages, start=1):
        found = text.find(turn.content, at)
        if found < 0:
            what = f"turn {number} ({turn.role}) is not rendered as it stands: the chat template "
            raise Unfit("template", what + _lost(turn, text))
        at = found + len(turn.content)


def _lost(turn: Message, text: str) -> str:
    if turn.content.strip() in text:
        return "cuts the white space around it"
    if CLOSE in turn.content and turn.content.rpartition(CLOSE)[2].strip() in text:
        return "cuts its trace away"
    return f"drops {shown(turn.content)}"
