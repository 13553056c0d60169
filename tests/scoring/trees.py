"""Random token trees of every shape the product makes, for the equality tests."""

from __future__ import annotations

import numpy as np

from bvrank.records import Branch, Encoded, Segment

VOCABULARY = 97


def pair_tree(rng: np.random.Generator, *, prompt: int, answers: list[int],
              views: tuple[str, ...] = ("full", "bare")) -> Encoded:  # fmt: skip
    """A shared prompt, per view a remainder, per view the answers (each a little longer)."""
    segments = [_segment(rng, -1, prompt)]
    branches = []
    for v, view in enumerate(views):
        segments.append(_segment(rng, 0, 2 + v))
        stem = len(segments) - 1
        for k, tokens in enumerate(answers):
            segments.append(_segment(rng, stem, tokens + v))
            branches.append(Branch(view, (len(segments) - 1,), float(k == 0), k + 1, k))
    return Encoded("pair", tuple(segments), tuple(branches))


def list_tree(rng: np.random.Generator, *, prompt: int, items: list[int], inlist: bool) -> Encoded:
    """K items below one prompt, alone or in one chain with unscored separators."""
    segments = [_segment(rng, -1, prompt)]
    branches: list[Branch] = []
    for k, tokens in enumerate(items):
        parent = len(segments) - 1 if inlist else 0
        if inlist and k:
            segments.append(_segment(rng, parent, 1))
            parent += 1
        segments.append(_segment(rng, parent, tokens))
        branches.append(Branch("full", (len(segments) - 1,), float(k % 3), k + 1, k))
    return Encoded("list", tuple(segments), tuple(branches))


def deep_tree(rng: np.random.Generator) -> Encoded:
    """prompt -> trace -> answer: a branch of two segments, and two answers that share a trace."""
    segments = [_segment(rng, -1, 9), _segment(rng, 0, 7), _segment(rng, 1, 3), _segment(rng, 1, 4)]
    branches = (Branch("full", (1, 2), 1.0, 1, 0), Branch("full", (1, 3), 0.0, 2, 1))
    return Encoded("deep", tuple(segments), branches)


def mixed(seed: int) -> list[Encoded]:
    """Two or more of each kind, of ragged sizes."""
    rng = np.random.default_rng(seed)
    size = rng.integers
    pairs = [
        pair_tree(rng, prompt=int(size(1, 40)), answers=[int(size(1, 12)), int(size(1, 12))])
        for _ in range(4)
    ]
    lists = [
        list_tree(rng, prompt=int(size(1, 20)), items=[int(i) for i in size(1, 6, size(2, 7))],
                  inlist=bool(i % 2))
        for i in range(4)
    ]  # fmt: skip
    long = pair_tree(rng, prompt=2, answers=[60, 45], views=("full",))
    return [*pairs, *lists, deep_tree(rng), long]


def _segment(rng: np.random.Generator, parent: int, tokens: int) -> Segment:
    return Segment(parent, rng.integers(0, VOCABULARY, tokens).astype(np.int32))


def marked(seed: int, count: int = 6) -> list[Encoded]:
    """Trees of any shape, several roots and scored inner segments among them, in which no token
    id stands twice and 0 never."""
    rng = np.random.default_rng(seed)
    next_id = 1
    trees = []
    for t in range(count):
        segments: list[Segment] = []
        for s in range(int(rng.integers(2, 9))):
            parent = int(rng.integers(-1 if s > 2 else 0, s)) if s else -1
            tokens = int(rng.integers(1, 6))
            segments.append(Segment(parent, np.arange(next_id, next_id + tokens, dtype=np.int32)))
            next_id += tokens
        paths = Encoded("", tuple(segments), ()).paths()
        below = [p for p in paths if len(p) > 1]
        branches = []
        for k in range(int(rng.integers(1, 5))):
            path = below[int(rng.integers(len(below)))]
            scored = path[int(rng.integers(1, len(path))) :]
            branches.append(Branch(("full", "bare")[k % 2], scored, float(k), k + 1, k))
        trees.append(Encoded(f"tree {t}", tuple(segments), tuple(branches)))
    return trees
