"""What the converters to lists share: prompts, list size, distractors, and no item twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Literal

from bvrank.data.converters import Draft
from bvrank.data.converters.pool import Pool, check_bm25, plain_key
from bvrank.data.converters.prompts import check_template, listed
from bvrank.data.grouping import dice
from bvrank.data.lists import Lists
from bvrank.data.refusals import NO_TRUTH, Unfit
from bvrank.errors import ConfigError
from bvrank.records import Refused


@dataclass(frozen=True)
class Items:
    """What one list is made of.

    items: (text, gain) as the raw row has them, those with a gain above 0 are relevant.
    barred: further texts that are no distractors here. corpus: what the row adds to the texts that
    distractors are drawn from. query: what BM25 searches with. group: the dialogue or question, id:
    the list.
    """

    prompt: str
    items: tuple[tuple[str, float], ...]
    corpus: tuple[str, ...]
    query: str
    group: str = ""
    id: str = ""
    barred: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listwise:
    """Fields of every converter to lists.

    template: the prompt. candidates_in_prompt: show the candidates below it, each as `option`; the
    rows then have the column `rank`. list_size: items in a list (null: those of the raw row).
    distractors: where items come from that the raw row lacks.
    """

    template: str = "{question}"
    candidates_in_prompt: bool = False
    option: str = "- {option}"
    list_size: int | None = 10
    distractors: Literal["given", "random", "frequency", "bm25"] = "random"
    seed: int = 0

    needed: ClassVar[tuple[str, ...]] = ("{question}",)
    kind: ClassVar[str] = "lists"

    def __post_init__(self) -> None:
        check_template("template", self.template, *self.needed)
        check_template("option", self.option, "{option}")
        if self.list_size is not None and self.list_size < 2:
            raise ConfigError(f"must be 2 or more, got {self.list_size}", where="list_size")
        if self.list_size is None and self.distractors in ("frequency", "bm25"):
            raise ConfigError(
                f"{self.distractors} fills lists up, but list_size=null leaves them as they are",
                where="distractors",
                repair="Set list_size.",
            )
        if self.distractors == "bm25":
            check_bm25()

    def finish(self, drafts: Sequence[Draft], known: Sequence[Draft]
               ) -> Iterator[dict[str, Any] | Refused]:  # fmt: skip
        """Fills lists up to their size; distractors come from the rows of `known`."""
        pool = Pool((t for d in known for t in d.content.corpus), self._key, self._catalogue())
        rights: dict[str, set[str]] = {}
        for draft in known:
            for key in draft.keys:
                rights.setdefault(key, set()).update(self._right(draft.content))
        for draft in drafts:
            try:
                barred = set[str]().union(*(rights.get(k, ()) for k in draft.keys))
                yield self._row(draft, pool, barred)
            except Unfit as error:
                yield error.refused(draft.where)

    @staticmethod
    def _key(text: str) -> str:
        """What makes two items the same."""
        return plain_key(text)

    def _catalogue(self) -> Iterator[str]:
        """Texts to draw from besides those of the rows."""
        return iter(())

    def _right(self, content: Items) -> Iterator[str]:
        """Keys of the relevant items."""
        return (self._key(t) for t, gain in content.items if gain > 0)

    def _row(self, draft: Draft, pool: Pool, barred: set[str]) -> dict[str, Any]:
        content: Items = draft.content
        right = [(t, g) for t, g in content.items if g > 0]
        seed = dice(self.seed, "|".join([*draft.keys, *sorted(t for t, _ in right)]))
        barred = barred | {self._key(t) for t in content.barred}
        kept = self._kept(content, seed)
        kept += self._more(content, kept, pool, barred, seed)
        if [t for t, _ in kept] != [t for t, _ in content.items]:
            seed.shuffle(kept)
        return self._written(content, kept, draft.where)

    def _kept(self, content: Items, seed: Random) -> list[tuple[str, float]]:
        """The row's own items; all that are relevant, and of the others as many as there is room
        for."""
        items = list(content.items)
        right = [i for i, (_, gain) in enumerate(items) if gain > 0]
        others = [i for i, (_, gain) in enumerate(items) if gain <= 0]
        room = len(others) if self.list_size is None else self.list_size - len(right)
        if not right:
            raise Unfit(NO_TRUTH, "no item is relevant")
        if room < (1 if self.list_size else 0):
            raise Unfit("no_room", f"{len(right)} relevant items leave no room in {self.list_size}")
        if len(others) > room:
            by_text = sorted(others, key=lambda i: items[i])
            others = seed.sample(by_text, room)
        return [items[i] for i in sorted(right + others)]

    def _more(self, content: Items, kept: list[tuple[str, float]], pool: Pool, barred: set[str],
              seed: Random) -> list[tuple[str, float]]:  # fmt: skip
        """Distractors for what is left of the list."""
        if self.list_size is None or self.distractors == "given":
            return []
        barred = barred | {self._key(t) for t, _ in content.items}
        room = self.list_size - len(kept)
        drawn = pool.draw(self.distractors, room, barred, seed, content.query)
        check_enough(drawn, room, self.list_size)
        return [(t, 0.0) for t in drawn]

    def _written(self, content: Items, kept: list[tuple[str, float]], where: str) -> dict[str, Any]:
        texts, gains = [t for t, _ in kept], [g for _, g in kept]
        row: dict[str, Any] = {"prompt": content.prompt, "candidates": texts}
        row["relevance"] = [int(g) if g == int(g) else g for g in gains]
        if self.candidates_in_prompt:
            row["prompt"] = listed(content.prompt, self.option, texts)
            row["rank"] = list(range(1, len(texts) + 1))
        for name, value in (("group", content.group), ("id", content.id)):
            if value:
                row[name] = value
        Lists(where).example(where, row)  # what is written can be read
        return row


def check_enough(drawn: Sequence[str], room: int, size: int) -> None:
    """Unfit where the corpus gave fewer distractors than a list needs."""
    if len(drawn) < room:
        raise Unfit(
            "few_distractors",
            f"the corpus has {len(drawn)} of the {room} distractors that a list of {size} needs; "
            "lower list_size, or convert more rows at once",
        )


def checked_items(items: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """The items of a raw row; those that are the same are one, relevant if one of them is. Unfit
    when one is empty or fewer than two are left."""
    gains: dict[str, float] = {}
    for i, (text, gain) in enumerate(items):
        if not text.strip():
            raise Unfit("empty_candidate", f"option {i + 1} is empty")
        gains[text] = max(gains.get(text, 0.0), gain)
    if len(gains) < 2:
        raise Unfit("no_options", f"there are {len(gains)} options, and a list needs two")
    return tuple(gains.items())


def asked(where: str, content: Items, question: str) -> Draft:
    """The draft of one question: it may not be parted from others of its group or its text."""
    if not question.strip():
        raise Unfit("empty_prompt", "there is no question")
    keys = (f"text|{plain_key(question)}",)
    return Draft(where, (*keys, f"group|{content.group}") if content.group else keys, content)
