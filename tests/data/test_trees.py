from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bvrank.data.trees import Leaf, chains, tree
from bvrank.records import Candidate, Encoded

runs = st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple)
leaves = st.lists(st.tuples(runs, runs, st.sampled_from(["full", "bare"])), min_size=1, max_size=5)


def made(given_leaves: list) -> list[Leaf]:
    ranks: dict[str, int] = {}
    found = []
    for i, (prompt, ids, view) in enumerate(given_leaves):
        ranks[view] = ranks.get(view, 0) + 1
        candidate = Candidate(str(i), view=view, answer_id=i)
        found.append(Leaf(candidate, "", "", ranks[view], prompt, ids))
    return found


def path(row: Encoded, segment: int) -> tuple[int, ...]:
    return tuple(int(i) for s in row.paths()[segment] for i in row.segments[s].ids)


@given(leaves)
def test_every_path_of_a_tree_is_prompt_and_candidate(given_leaves: list) -> None:
    all_leaves = made(given_leaves)
    row = tree("x", all_leaves)
    for leaf, branch in zip(all_leaves, row.branches, strict=True):
        assert path(row, branch.segments[-1]) == leaf.prompt + leaf.ids
        assert tuple(row.segments[branch.segments[0]].ids) == leaf.ids
        assert (branch.view, branch.answer) == (leaf.candidate.view, leaf.candidate.answer_id)
    check(row)


@given(leaves)
def test_what_prompts_share_stands_once(given_leaves: list) -> None:
    row = tree("x", made(given_leaves))
    prompts = {prompt for prompt, _, _ in given_leaves}
    shared = 0
    while all(len(p) > shared for p in prompts) and len({p[: shared + 1] for p in prompts}) == 1:
        shared += 1
    context = sum(len(s.ids) for s in row.segments) - sum(len(ids) for _, ids, _ in given_leaves)
    assert context == shared + sum(len(p) - shared for p in prompts)


@given(st.lists(st.tuples(st.just((7,)), runs, st.sampled_from(["full", "bare"])), min_size=1))
def test_a_chain_runs_through_the_items_of_a_view(given_leaves: list) -> None:
    all_leaves = made(given_leaves)
    row = chains("x", all_leaves, (9,))
    for view in {leaf.candidate.view for leaf in all_leaves}:
        mine = [x for x in all_leaves if x.candidate.view == view]
        whole: tuple[int, ...] = (7,)
        for i, leaf in enumerate(mine):
            whole += ((9,) if i else ()) + leaf.ids
        last = next(b for b in row.branches if b.view == view and b.rank == len(mine))
        assert path(row, last.segments[0]) == whole
    assert [b.answer for b in row.branches] == list(range(len(all_leaves)))
    check(row)


def check(row: Encoded) -> None:
    """Parents before children, nothing empty, int32."""
    for i, segment in enumerate(row.segments):
        assert -1 <= segment.parent < i and len(segment.ids) and segment.ids.dtype == "int32"
