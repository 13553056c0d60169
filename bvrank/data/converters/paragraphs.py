"""What the converters of multi-hop questions share: paragraphs as items, cut to some tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bvrank.data.converters import Draft
from bvrank.data.converters.base import Items, Listwise, asked
from bvrank.data.converters.prompts import check_template, filled
from bvrank.data.refusals import NO_TRUTH, Unfit
from bvrank.errors import ConfigError

Paragraph = tuple[str, str, bool]  # title, text, relevant


@dataclass(frozen=True)
class Paragraphs(Listwise):
    """Fields of the converters of multi-hop questions.

    item: what an item looks like, {title} and {text} are filled in. tokens: a paragraph's text is
    cut behind so many (null: it is not). tokenizer: whose tokens: a tokenizer.json, a folder that
    holds one, or null: what stands between white space.
    """

    item: str = "{title}: {text}"
    tokens: int | None = 50
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template("item", self.item, "{text}")
        if self.tokens is not None and self.tokens < 1:
            raise ConfigError(f"must be 1 or more, got {self.tokens}", where="tokens")
        if self.tokenizer is not None and self.tokens is None:
            raise ConfigError("counts tokens, but tokens=null cuts nothing", where="tokenizer")
        _ = self._cut

    def question(
        self, where: str, question: str, group: str, paragraphs: Sequence[Paragraph]
    ) -> Draft:
        """The draft of one question. Paragraphs that come out the same are one, and relevant if one
        of them is. Raises Unfit."""
        gains: dict[str, float] = {}
        for title, written, relevant in paragraphs:
            item = filled(self.item, title=title.strip(), text=self._cut(written.strip())).strip()
            if item:
                gains[item] = max(gains.get(item, 0.0), float(relevant))
        if not any(gains.values()):
            raise Unfit(NO_TRUTH, "no paragraph supports the answer")
        prompt = filled(self.template, question=question)
        content = Items(prompt, tuple(gains.items()), tuple(gains), question, group)
        return asked(where, content, question)

    @cached_property
    def _cut(self) -> Callable[[str], str]:
        if self.tokens is None:
            return str
        if self.tokenizer is None:
            count = self.tokens
            return lambda text: _behind_word(text, count)
        return _cutter(self.tokenizer, self.tokens)


def _behind_word(text: str, count: int) -> str:
    """The text up to the end of a word."""
    for number, word in enumerate(re.finditer(r"\S+", text), start=1):
        if number == count:
            return text[: word.end()]
    return text


def _cutter(name: str, count: int) -> Callable[[str], str]:
    tokenizer = _tokenizer(name)

    def cut(text: str) -> str:
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        return text if len(offsets) <= count else text[: offsets[count - 1][1]]

    return cut


def _tokenizer(name: str) -> Any:
    from tokenizers import Tokenizer

    place = Path(name).expanduser()
    file = place / "tokenizer.json" if place.is_dir() else place
    if not file.is_file():
        raise ConfigError(
            f"there is no file {file}", where="tokenizer",
            repair="Name a tokenizer.json or a folder that holds one.",
        )  # fmt: skip
    try:
        found = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more exact
        raise ConfigError(f"{file} is no tokenizer ({error})", where="tokenizer") from error
    found.no_truncation()
    found.no_padding()
    return found
