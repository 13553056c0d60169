"""Where distractors come from: the texts of a corpus, at random, by frequency or by BM25."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import accumulate, chain, repeat
from random import Random
from typing import Any, Literal

from bvrank.errors import ConfigError

How = Literal["random", "frequency", "bm25"]
TRIES = 20  # draws per wanted text before the rest is taken in order


def plain_key(text: str) -> str:
    """What makes two texts the same: all but case, white space and a full stop at the end."""
    return " ".join(text.split()).casefold().removesuffix(".")


def title_key(title: str) -> str:
    """What makes two titles the same: their words, without case, marks and the year behind."""
    plain = unicodedata.normalize("NFKC", title).casefold()
    words = re.findall(r"[^\W_]+", re.sub(r"\(\d{4}\)\s*$", "", plain))
    return " ".join(words) or plain.strip()


def check_bm25() -> None:
    """ConfigError when the library is missing, with the command that installs it."""
    if importlib.util.find_spec("bm25s") is None:
        raise ConfigError(
            "bm25 needs bm25s, which is not installed",
            where="distractors",
            repair="Install it: pip install 'bvrank[bm25]', or set distractors=frequency.",
        )


class Pool:
    """The different texts of a corpus, in an order that does not depend on that of its rows."""

    def __init__(
        self, texts: Iterable[str], key: Callable[[str], str], more: Iterable[str] = ()
    ) -> None:
        """`more`: texts that may be drawn as well, but say nothing about what is frequent."""
        counts: Counter[str] = Counter()
        named: dict[str, str] = {}
        for text, weight in chain(zip(texts, repeat(1)), zip(more, repeat(0))):
            name = key(text)
            counts[name] += weight
            named[name] = min(named.get(name, text), text)
        self.keys = sorted(named)
        self.texts = [named[k] for k in self.keys]
        self.counts = [counts[k] for k in self.keys]
        self._upto = list(accumulate(self.counts))
        self._index: Any = None

    def draw(
        self, how: How, count: int, barred: Collection[str], dice: Random, query: str
    ) -> list[str]:
        """Up to `count` texts whose keys are not `barred`: fewer only where there are no more.

        random: each as likely as another. frequency: as likely as it is frequent. bm25: those most
        like the query; where fewer share a word with it, the rest at random.
        """
        found: dict[int, None] = {}
        for i in self._ordered(how, count, len(barred), dice, query):
            if len(found) == count:
                break
            if self.keys[i] not in barred:
                found[i] = None
        return [self.texts[i] for i in found]

    def _ordered(self, how: How, count: int, barred: int, dice: Random, query: str
                 ) -> Iterator[int]:  # fmt: skip
        if how == "frequency" and self._upto and self._upto[-1]:
            for _ in range(TRIES * count):
                yield bisect(self._upto, dice.random() * self._upto[-1])
            yield from sorted(range(len(self.keys)), key=lambda i: -self.counts[i])
        if how == "bm25":
            yield from self._nearest(query, count + barred + 1)  # `draw` looks one further
        # Among this many different ones enough are neither barred nor drawn before.
        yield from dice.sample(range(len(self.keys)), min(len(self.keys), 2 * count + barred))

    def _nearest(self, query: str, count: int) -> list[int]:
        """Up to `count` texts that share a word with the query, best first."""
        import bm25s

        words = _words([query])[0]
        if self._index is None and self.keys:
            documents = _words(self.texts)
            if any(documents):
                self._index = bm25s.BM25()
                self._index.index(documents, show_progress=False)
        if self._index is None or not words:
            return []
        return best(self._index.get_scores(words), count)


def best(scores: Any, count: int) -> list[int]:
    """The places of the `count` (1 or more) highest scores above 0, falling; of equal ones the
    first."""
    import numpy as np

    found = np.flatnonzero(scores > 0)
    if len(found) > count:
        # How a partition leaves equal scores is not said anywhere: only the value it finds counts.
        least = np.partition(scores[found], -count)[-count]
        above = found[scores[found] > least]
        found = np.concatenate([above, found[scores[found] == least][: count - len(above)]])
    order: list[int] = found[np.lexsort((found, -scores[found]))].tolist()
    return order


def _words(texts: list[str]) -> list[list[str]]:
    """Words of two letters or more, without those that say nothing in English."""
    import bm25s

    found: list[list[str]] = bm25s.tokenize(
        texts, stopwords="en", return_ids=False, show_progress=False
    )
    return found
