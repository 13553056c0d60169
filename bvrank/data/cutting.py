"""A step's examples cut into forwards, a function of their sizes alone: every rank cuts alike.

A micro-batch gets its examples by number (`slices`, one rank; `dealt`, several: as many tokens for
each rank as can be had) or by a budget of tokens (`within`), so that one long row does not decide
how many short ones go together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bvrank.scoring.collate import Size

Groups = list[list[int]]  # places of examples within the step


def slices(count: int, micro: int) -> Groups:
    """`micro` examples each, in order."""
    return [list(range(i, min(i + micro, count))) for i in range(0, count, micro)]


def dealt(sizes: Sequence[int], micro: int, world: int) -> Groups:
    """Groups of `micro` examples, as many for each of `world` ranks, which take them in turn: the
    largest example goes to the rank with the fewest tokens that has room, and there to the group
    with the fewest."""
    groups: Groups = [[] for _ in range(-(-len(sizes) // (micro * world)) * world)]
    load, weight = [0] * world, [0] * len(groups)
    for place in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        free = [n for n, group in enumerate(groups) if len(group) < micro]
        at = min(free, key=lambda n: (load[n % world], weight[n], n))
        groups[at].append(place)
        load[at % world] += sizes[place]
        weight[at] += sizes[place]
    return [sorted(group) for group in groups]


def within(sizes: Sequence[Size], tokens: Callable[[Size], int], budget: int, world: int
           ) -> Groups:  # fmt: skip
    """Groups that put at most `budget` tokens through the model (one example at least), as few as
    first fit finds, the largest examples first; a multiple of `world`, the last ones perhaps
    empty."""
    groups: list[tuple[Size, list[int]]] = []
    for place in sorted(range(len(sizes)), key=lambda i: (-tokens(sizes[i]), i)):
        for number, (size, group) in enumerate(groups):
            if tokens(size + sizes[place]) <= budget:
                groups[number] = (size + sizes[place], [*group, place])
                break
        else:
            groups.append((sizes[place], [place]))
    groups.sort(key=lambda found: (-tokens(found[0]), found[1]))
    return [sorted(group) for _, group in groups] + [[] for _ in range(-len(groups) % world)]
