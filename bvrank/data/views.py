"""The views of a pair: full (as it was thought) and bare (answered without thinking)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from bvrank.answers import Response
from bvrank.data.refusals import Unfit
from bvrank.data.split import HASH
from bvrank.data.spool import Spool
from bvrank.records import BARE, Candidate, Example, Message, Refused

Found = Example | Refused


def pair(where: str, prompt: tuple[Message, ...], both: Sequence[Sequence[Response]], view: str
         ) -> Example:  # fmt: skip
    """The example of two sides (chosen, rejected), each of one response or more, in one view.
    Raises Unfit.

    In the full view a response with a trace is `thinking`, one whose think block is empty is
    `nothinking` (`thinking` with an empty trace beside one that thought), one without is `plain`.
    """
    thought = any(r.trace for side in both for r in side)
    if thought and view == BARE:
        raise Unfit("trace_in_bare", "a response of the bare view holds a trace")
    chosen, rejected = ([_candidate(r, view, thought) for r in side] for side in both)
    if set(chosen) & set(rejected):
        what = "are the same" if not (chosen[1:] or rejected[1:]) else "share a response"
        raise Unfit("equal_sides", f"chosen and rejected {what}")
    return numbered(where, prompt, (*(replace(c, relevance=1.0) for c in chosen), *rejected))


def _candidate(response: Response, view: str, thought: bool) -> Candidate:
    answer = response.answer or ""
    if view == BARE or (response.trace == "" and not thought):
        return Candidate(answer, None, view, "nothinking")
    mode = "plain" if response.trace is None else "thinking"
    return Candidate(answer, response.trace, view, mode)  # type: ignore[arg-type]


def numbered(where: str, prompt: tuple[Message, ...], candidates: Sequence[Candidate]) -> Example:
    """An example whose candidates share an `answer_id` exactly when their answers are equal."""
    ids: dict[str, int] = {}
    for c in candidates:
        ids.setdefault(c.answer, len(ids))
    return Example(where, prompt, tuple(replace(c, answer_id=ids[c.answer]) for c in candidates))


def only(example: Example, view: str) -> Example:
    """The example with one of its views."""
    kept = [c for c in example.candidates if c.view == view]
    return numbered(example.where, example.prompt, kept)


def view_of(example: Example) -> str:
    """The view of an example that has one."""
    return example.candidates[0].view


def merged(full: Example, bare: Example) -> Example:
    """One example of two views; its address names both rows."""
    where = full.where if full.where == bare.where else f"{full.where} + {bare.where}"
    return numbered(where, full.prompt, (*full.candidates, *bare.candidates))


def reused(full: Example) -> Iterator[Found]:
    """`full` with a bare view made of its own answers, each once; without one where a better and a
    worse side come out equal."""
    bare = [replace(c, trace=None, view=BARE, mode="nothinking") for c in full.candidates]
    once = tuple(dict.fromkeys(bare))
    if len({c.answer for c in once}) < len(once):
        yield full
        yield Refused(full.where, "equal_answers", "no bare view: without traces both are the same")
    else:
        yield numbered(full.where, full.prompt, (*full.candidates, *once))


class Partners:
    """Bare examples by prompt, handed out in turn: those of the first table before those of the
    next. They wait on disk, and each takes some 50 bytes of memory; tables are read from the last
    one on."""

    def __init__(self, *tables: Iterable[Example]) -> None:
        self._spool: Spool[Example] = Spool()
        read = [self._indexed(bare) for bare in reversed(tables)][::-1]
        hashes = np.frombuffer(b"".join(h for h, _ in read), HASH)
        self._places = np.concatenate([np.zeros(0, np.int64), *(p for _, p in read)])
        self._prompts, first, prompt = np.unique(hashes, return_index=True, return_inverse=True)
        self._places = self._places[np.argsort(prompt, kind="stable")]
        self._ends = np.cumsum(np.bincount(prompt, minlength=len(first)))
        self._given = np.zeros(len(first), np.int64)
        self._order = np.argsort(first)

    def _indexed(self, bare: Iterable[Example]) -> tuple[bytes, np.ndarray]:
        hashes, places = bytearray(), array("q")
        for example in bare:
            hashes += _hash(example.prompt)
            places.append(self._spool.add(example))
        return bytes(hashes), np.asarray(places, np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def join(self, full: Example) -> Example:
        """`full` with the next bare example of its prompt, or alone where there is none."""
        wanted = np.frombuffer(_hash(full.prompt), HASH)
        prompt = int(np.searchsorted(self._prompts, wanted)[0])
        if prompt == len(self._prompts) or self._prompts[prompt] != wanted[0]:
            return full
        waiting = self._waiting(prompt)
        turn = int(self._given[prompt])
        self._given[prompt] += 1
        return merged(full, self._spool.at(int(waiting[turn % len(waiting)])))

    def left(self) -> Iterator[Example]:
        """Those that `join` never gave away."""
        for prompt in self._order.tolist():
            for place in self._waiting(prompt)[self._given[prompt] :].tolist():
                yield self._spool.at(place)

    def _waiting(self, prompt: int) -> np.ndarray:
        return self._places[self._ends[prompt - 1] if prompt else 0 : self._ends[prompt]]


def _hash(prompt: tuple[Message, ...]) -> bytes:
    return blake2b(repr(prompt).encode(), digest_size=16).digest()
