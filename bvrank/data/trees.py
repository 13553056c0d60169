"""From tokenised candidates to trees.

pair (prompts may end differently per view)       list, context "inlist"

shared prompt ┬ rest of full ┬ {chosen END}       prompt ─ {item} ─ sep ─ {item} ─ sep ─ {item}
              │              └ {rejected END}
              └ rest of bare ┬ {chosen END}       `{...}` is scored. Ids are concatenated and
                             └ {rejected END}     never re-tokenised across a border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bvrank.records import Branch, Candidate, Encoded, Segment

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Leaf:
    """A candidate on its way: texts first, ids once its chunk is tokenised."""

    candidate: Candidate
    prompt_text: str
    text: str
    rank: int
    prompt: Ids = ()
    ids: Ids = ()


def tree(where: str, leaves: Sequence[Leaf]) -> Encoded:
    """Prompts share what they begin with; candidates hang below the rest of theirs."""
    prompts = list(dict.fromkeys(leaf.prompt for leaf in leaves))
    root = _common(prompts)
    segments = [_segment(-1, root)] if root else []
    stem = len(segments) - 1  # 0, or -1 where nothing is shared
    below: dict[Ids, int] = {}
    for prompt in prompts:
        rest = prompt[len(root) :]
        if rest:
            segments.append(_segment(stem, rest))
        below[prompt] = len(segments) - 1 if rest else stem
    branches = []
    for leaf in leaves:
        segments.append(_segment(below[leaf.prompt], leaf.ids))
        branches.append(_branch(leaf, len(segments) - 1))
    return Encoded(where, tuple(segments), tuple(branches))


def chains(where: str, leaves: Sequence[Leaf], separator: Ids) -> Encoded:
    """One chain per view: items in the order of their ranks, separators between them."""
    segments: list[Segment] = []
    at: dict[tuple[str, int], int] = {}
    view = ""
    for leaf in sorted(leaves, key=lambda x: (x.candidate.view, x.rank)):
        fresh = leaf.candidate.view != view
        view = leaf.candidate.view
        between = leaf.prompt if fresh else separator
        segments.append(_segment(-1 if fresh else len(segments) - 1, between))
        segments.append(_segment(len(segments) - 1, leaf.ids))
        at[view, leaf.rank] = len(segments) - 1
    branches = tuple(_branch(leaf, at[leaf.candidate.view, leaf.rank]) for leaf in leaves)
    return Encoded(where, tuple(segments), branches)


def _branch(leaf: Leaf, segment: int) -> Branch:
    c = leaf.candidate
    return Branch(c.view, (segment,), c.relevance, leaf.rank, c.answer_id)


def _segment(parent: int, ids: Ids) -> Segment:
    return Segment(parent, np.asarray(ids, dtype=np.int32))


def _common(runs: Sequence[Ids]) -> Ids:
    """The longest beginning all runs share."""
    low, high = min(runs), max(runs)
    same = 0
    while same < min(len(low), len(high)) and low[same] == high[same]:
        same += 1
    return low[:same]
