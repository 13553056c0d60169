"""A step's examples cut into forwards, a function of their sizes alone: every rank cuts alike.

A micro-batch gets its examples by number (`slices`, one rank; `dealt`, several: as many tokens for
each rank as can be had) or by a budget of tokens (`within`), so that one long row does not decide
how many short ones go together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Groups = list[list[int]]  # places of examples within the step


def slices(count: int, micro: int) -> Groups:
    """`micro` examples each, in order."""
    return [list(range(i, min(i + micro, count))) for i in range(0, count, micro)]


def dealt(sizes: Sequence[int], micro: int, world: int) -> Groups:
    """Groups of `micro` examples, as many for each of `world` ranks, which take them in turn: the
    largest example goes to the rank with the fewest tokens that has room, and there to the group
    with the fewest."""
    groups: Groups = [[] for _ in range(-(-len(sizes) // (micro * world)) * world)]
    load = [0] * world
    for place in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        free = [n for n, group in enumerate(groups) if len(group) < micro]
        at = min(free, key=lambda n: (load[n % world], sum(sizes[i] for i in groups[n]), n))
        groups[at].append(place)
        load[at % world] += sizes[place]
    return [sorted(group) for group in groups]


def within(sizes: Sequence[int], cost: Callable[[list[int]], int], budget: int, world: int
           ) -> Groups:  # fmt: skip
    """Groups that cost at most `budget` tokens (one example at least), as few as first fit finds,
    the largest examples first; a multiple of `world`, the last ones perhaps empty."""
    groups: Groups = []
    for place in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        fits = (group for group in groups if cost([*group, place]) <= budget)
        group = next(fits, None)
        if group is None:
            groups.append(group := [])
        group.append(place)
    groups.sort(key=lambda group: (-cost(group), group))
    return [sorted(group) for group in groups] + [[] for _ in range(-len(groups) % world)]
