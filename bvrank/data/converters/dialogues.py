"""What the converters of recommendation dialogues share: one list per turn that recommends.

As in IRPO (arXiv 2504.15477): 20 titles, of which up to 3 are the truth (label 2), 5 are suggested
(1) and the others drawn (0). The paper had a language model suggest; without a file of such
suggestions they are drawn by how often a title is recommended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, ClassVar, Literal

from bvrank.data.converters import Draft
from bvrank.data.converters.base import Items, Listwise, asked, check_enough
from bvrank.data.converters.pool import Pool, plain_key, title_key
from bvrank.data.converters.prompts import filled
from bvrank.data.files import read_rows
from bvrank.data.refusals import NO_TRUTH, Unfit
from bvrank.errors import ConfigError, DataError
from bvrank.records import Refused


@dataclass(frozen=True)
class Turn:
    """What one side said, and the titles it named."""

    recommender: bool
    said: str
    titles: tuple[str, ...]


@dataclass(frozen=True)
class Dialogues(Listwise):
    """Fields of the converters of recommendation dialogues.

    template: the prompt, {dialogue} is filled in: a line for each turn before the one that
    recommends, begun by the name of who speaks. truth: at most so many recommended titles.
    suggested: titles of the middle label. suggestions: a file of rows {id, titles}, ids as in what
    is written without it. repeats: count titles as recommended that were named before.
    catalogue: a file with a column `title`: more titles to draw from.
    """

    template: str = "{dialogue}"
    list_size: int = 20
    distractors: Literal["random", "frequency", "bm25"] = "random"
    seeker: str = "User"
    recommender: str = "Assistant"
    truth: int = 3
    suggested: int = 5
    suggestions: str | None = None
    repeats: bool = True
    catalogue: str | None = None

    needed: ClassVar[tuple[str, ...]] = ("{dialogue}",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("truth", 1), ("suggested", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"must be {least} or more", where=name)
        if self.suggestions is not None and not self.suggested:
            raise ConfigError("would not be read: suggested=0", where="suggestions")
        if self.truth + self.suggested > self.list_size:
            raise ConfigError(
                f"must hold truth={self.truth} and suggested={self.suggested} titles, "
                f"got {self.list_size}",
                where="list_size",
            )

    def lists(self, where: str, group: str, turns: Sequence[Turn]) -> list[Draft | Refused]:
        """One draft for each turn of the recommender that names a title."""
        everything = tuple(t for turn in turns for t in turn.titles)
        found: list[Draft | Refused] = []
        for number, turn in enumerate(turns):
            if turn.recommender and turn.titles:
                place = f"{where} turn {number + 1}"
                try:
                    before = turns[:number]
                    found.append(self.one(place, group, number + 1, before, turn, everything))
                except Unfit as error:
                    found.append(error.refused(place))
        return found or [Refused(where, NO_TRUTH, "no turn recommends a title")]

    def one(self, where: str, group: str, number: int, before: Sequence[Turn], turn: Turn,
            barred: tuple[str, ...]) -> Draft:  # fmt: skip
        """The draft of one turn. Unfit when it recommends nothing, or opens the dialogue."""
        known = {title_key(t) for b in before for t in b.titles}
        titles: dict[str, str] = {}
        for title in turn.titles:
            if self.repeats or title_key(title) not in known:
                titles.setdefault(plain_key(title), title)  # remakes are others
        if not titles:
            raise Unfit(NO_TRUTH, "recommends only what was named before")
        right = tuple(titles.values())
        said = "\n".join(
            f"{self.recommender if b.recommender else self.seeker}: {b.said}" for b in before
        )
        if not any(b.said.strip() for b in before):
            raise Unfit("empty_prompt", "recommends before anything is said")
        content = Items(
            filled(self.template, dialogue=said),
            tuple((t, 2.0) for t in right[: self.truth]),
            right, said, group, f"{group}:{number}", (*barred, *right),
        )  # fmt: skip
        return asked(where, content, said)

    def finish(self, drafts: Sequence[Draft], known: Sequence[Draft]
               ) -> Iterator[dict[str, Any] | Refused]:  # fmt: skip
        """Fills lists up to their size. DataError when the suggestions are for other lists."""
        ids = [d.content.id for d in known]
        if self._suggestions and not self._suggestions.keys() & set(ids):
            raise DataError(
                f"suggests nothing for any list: their ids are like {ids[0]}",
                where=str(self.suggestions),
                repair="Take the ids of a file written without suggestions.",
            )
        return super().finish(drafts, known)

    @staticmethod
    def _key(text: str) -> str:
        return title_key(text)

    def _right(self, content: Items) -> Iterator[str]:
        """Keys of all that is recommended, beyond `truth` too."""
        return map(self._key, content.corpus)

    def _more(self, content: Items, kept: Sequence[tuple[str, float]], pool: Pool,
              barred: set[str], seed: Random) -> list[tuple[str, float]]:  # fmt: skip
        room = self.list_size - len(kept)
        taken = barred | {title_key(t) for t, _ in kept}
        close: list[str] = []
        for title in self._suggestions.get(content.id, ()):
            if title_key(title) not in taken and len(close) < self.suggested:
                close.append(title)
                taken.add(title_key(title))
        close += pool.draw("frequency", self.suggested - len(close), taken, seed, content.query)
        taken |= {title_key(t) for t in close}
        far = pool.draw(self._how, room - len(close), taken, seed, content.query)
        check_enough([*close, *far], room, self.list_size)
        return [*((t, 1.0) for t in close), *((t, 0.0) for t in far)]

    @property
    def _how(self) -> Literal["random", "frequency", "bm25"]:
        return self.distractors

    @cached_property
    def _suggestions(self) -> Mapping[str, tuple[str, ...]]:
        """List id -> the titles suggested for it."""
        found: dict[str, tuple[str, ...]] = {}
        for where, row in read_rows(self.suggestions) if self.suggestions else ():
            name, titles = row.get("id"), row.get("titles")
            if not isinstance(name, str) or not _are_texts(titles):
                raise DataError(
                    "is no suggestion", where=where, repair='A row is {"id": ..., "titles": [...]}.'
                )
            found[name] = tuple(titles or ())
        return found

    def _catalogue(self) -> Iterator[str]:
        for where, row in read_rows(self.catalogue) if self.catalogue else ():
            if not isinstance(row.get("title"), str):
                raise DataError("has no column 'title'", where=where, repair="Name it so.")
            if row["title"].strip():
                yield row["title"].strip()


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and v.strip() for v in value)
