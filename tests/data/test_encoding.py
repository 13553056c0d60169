from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bvrank.answers import CLOSE, OPEN, Response
from bvrank.data.encoding import Listing, encode
from bvrank.data.refusals import UNUSED
from bvrank.data.templates import Template
from bvrank.errors import ConfigError, DataError
from bvrank.models.tiny import tiny_tokenizer
from bvrank.records import BARE, FULL, Candidate, Encoded, Example, Message, Refused
from tests.data.tokenizers import names, template

ASK = (Message("user", "2+2?"),)
BOTH = (FULL, BARE)
TINY = Template(tiny_tokenizer())


def pair(where: str = "a:1", **kw: object) -> Example:
    told = {"trace": "two and two", "wrong": "three", **kw}
    return Example(
        where,
        ASK,
        (
            Candidate("4", str(told["trace"]), FULL, "thinking", 1.0, 0),
            Candidate("5", str(told["wrong"]), FULL, "thinking", 0.0, 1),
            Candidate("It is 4", None, BARE, "nothinking", 1.0, 2),
            Candidate("It is 5", None, BARE, "nothinking", 0.0, 3),
        ),
    )


def listed(*items: str, shown: tuple[int, ...] | None = None, where: str = "l:1") -> Example:
    return Example(
        where, ASK, tuple(Candidate(t, relevance=float(i)) for i, t in enumerate(items)), shown
    )


def one(example: Example, t: Template = TINY, **kw: object) -> Encoded:
    options = {"views": BOTH, "max_length": 4096, **kw}
    kept, refused = encode([example], t, **options)
    assert not refused, refused
    return kept[0]


def path(row: Encoded, branch: int) -> list[int]:
    last = row.branches[branch].segments[-1]
    return [int(i) for s in row.paths()[last] for i in row.segments[s].ids]


def scored(row: Encoded, branch: int) -> list[int]:
    return [int(i) for s in row.branches[branch].segments for i in row.segments[s].ids]


def test_the_tree_of_a_pair_shares_what_its_prompts_share() -> None:
    row = one(pair())
    root, rest = row.segments[0], row.segments[1]
    assert TINY.decode([root.ids])[0] == "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
    assert TINY.decode([rest.ids])[0] == "<think>\n\n</think>\n\n"
    assert [s.parent for s in row.segments] == [-1, 0, 0, 0, 1, 1]
    assert [b.segments for b in row.branches] == [(2,), (3,), (4,), (5,)]
    assert [b.view for b in row.branches] == [FULL, FULL, BARE, BARE]
    assert [b.relevance for b in row.branches] == [1.0, 0.0, 1.0, 0.0]
    assert [b.answer for b in row.branches] == [0, 1, 2, 3]
    assert sorted(b.rank for b in row.branches[:2]) == [1, 2]


@pytest.mark.parametrize("name", names())
def test_ids_give_back_every_candidate_in_every_template(name: str) -> None:
    t, example = template(name), pair()
    row = one(example, t)
    for i, c in enumerate(example.candidates):
        ids = scored(row, i)
        assert ids.count(t.end_id) == 1 and ids[-1] == t.end_id
        found = t.response(t.decode([ids[:-1]])[0], c.mode)
        assert found == Response(c.trace, c.answer, True)
        whole = t.decode([path(row, i)])[0]
        assert whole.count(OPEN) == whole.count(CLOSE) == 1
        bos = t.tokenizer.bos_token_id
        assert bos is None or path(row, i).count(bos) <= 1


@pytest.mark.parametrize("name", names())
def test_a_path_is_the_prompt_then_the_completion(name: str) -> None:
    t, example = template(name), pair()
    row = one(example, t)
    for i, c in enumerate(example.candidates):
        prompt, said = t.ids([t.prompt_text(ASK, c.mode), t.completion_text(c)])
        assert path(row, i) == [*prompt, *said, t.end_id]
        assert scored(row, i) == [*said, t.end_id]


def test_only_the_views_asked_for_are_encoded() -> None:
    assert {b.view for b in one(pair(), views=(FULL,)).branches} == {FULL}
    bare = one(pair(), views=(BARE,))
    assert {b.view for b in bare.branches} == {BARE} and len(bare.segments) == 3
    kept, refused = encode([listed("a", "b")], TINY, views=(BARE,), max_length=99)
    assert not kept and refused[0].reason == UNUSED


words = st.lists(
    st.sampled_from(["<think>", "</think>", "<|im_end|>", "<|im", "\n", " ", "a", "\u0301", "\x00",
                     "\u2028", "🙂", "{{ 1 }}"]),
    max_size=5,
).map("".join)  # fmt: skip
any_candidate = st.builds(
    Candidate, words, st.none() | words, st.sampled_from(BOTH),
    st.sampled_from(["thinking", "nothinking", "plain"]), st.just(0.0), st.just(0),
)  # fmt: skip
any_turns = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), words),
    min_size=1, max_size=4,
).map(tuple)  # fmt: skip


@given(
    name=st.sampled_from(names()),
    prompt=any_turns,
    candidates=st.lists(any_candidate, min_size=1, max_size=4).map(tuple),
    context=st.sampled_from(["independent", "inlist"]),
    overlong=st.sampled_from(["drop", "truncate_trace_middle"]),
    limit=st.integers(2, 300),
)
@settings(max_examples=500, deadline=None)
def test_any_example_is_encoded_or_refused(
    name: str, prompt: tuple, candidates: tuple, context: str, overlong: str, limit: int
) -> None:
    t, example = template(name), Example("x:1", prompt, candidates)
    kept, refused = encode(
        [example], t, views=BOTH, max_length=limit, overlong=overlong, listing=Listing(context)
    )
    seen = {b.view for row in kept for b in row.branches}
    assert len(seen) + len(refused) == len({c.view for c in candidates})
    for row in kept:
        assert row.longest <= limit
        for i, branch in enumerate(row.branches):
            ids = scored(row, i)
            whole = t.decode([path(row, i)])[0]
            assert not t.style.end or ids.count(t.end_id) == (context == "independent")
            assert branch.rank >= 1 and whole


def test_what_comes_in_refused_goes_out_refused_in_order() -> None:
    rows = [Refused("a:1", "x", "y"), pair("a:2", trace="bad <|im_end|>"), pair("a:3")]
    kept, refused = encode(rows, TINY, views=(FULL,), max_length=4096)
    assert [r.where for r in refused] == ["a:1", "a:2"] and [k.where for k in kept] == ["a:3"]
    assert refused[1].reason == "special_token"


def test_many_rows_are_encoded_as_they_would_be_alone() -> None:
    rows = [pair(f"a:{i}", trace="t" * (i % 7 + 1)) for i in range(600)]
    kept, _ = encode(rows, TINY, views=BOTH, max_length=4096)
    assert [k.where for k in kept] == [r.where for r in rows]
    for i in (0, 255, 256, 599):
        assert path(kept[i], 0) == path(one(rows[i]), 0)


def test_a_failing_view_leaves_the_other() -> None:
    kept, refused = encode([pair(trace="t" * 500)], TINY, views=BOTH, max_length=200)
    assert {b.view for b in kept[0].branches} == {BARE}
    assert refused[0].reason == "too_long" and "view full" in refused[0].detail


@pytest.mark.parametrize(
    ("candidates", "reason"),
    [
        ((Candidate("4 </think> 5"), Candidate("5")), "round_trip"),
        ((Candidate("4", "a <think>", mode="thinking"), Candidate("4", "b</think>\n\n4")), None),
        ((Candidate("e\u0301"), Candidate("5")), None),
        ((Candidate("4"), Candidate("4", relevance=1.0)), "equal_tokens"),
        ((Candidate(""), Candidate("5")), "empty_answer"),
    ],
)
def test_what_does_not_come_back_is_refused(candidates: tuple, reason: str | None) -> None:
    kept, refused = encode([Example("a:1", ASK, candidates)], TINY, views=(FULL,), max_length=4096)
    assert [r.reason for r in refused] == ([reason] if reason else [])
    assert bool(kept) != bool(reason)


def test_a_tokenizer_that_drops_text_is_found_out() -> None:
    from tokenizers.normalizers import Lowercase

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = Lowercase()
    kept, refused = encode([pair(trace="UP")], Template(tokenizer), views=(FULL,), max_length=999)
    assert not kept and refused[0].reason == "round_trip"


def test_unicode_that_the_tokenizer_normalises_itself_is_no_loss() -> None:
    from tokenizers.normalizers import NFC

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = NFC()
    assert one(pair(trace="e\u0301"), Template(tokenizer))


def test_a_limit_counts_the_whole_path() -> None:
    example = listed("abc", "d")
    longest = one(example).longest
    assert one(example, max_length=longest).longest == longest
    kept, refused = encode([example], TINY, views=(FULL,), max_length=longest - 1)
    assert not kept and refused[0].reason == "too_long"
    with pytest.raises(DataError, match="over the max_length") as caught:
        encode([example], TINY, views=(FULL,), max_length=longest - 1, overlong="error")
    assert caught.value.where == "l:1"


@given(limit=st.integers(90, 400), size=st.integers(1, 600))
@settings(max_examples=60, deadline=None)
def test_a_cut_trace_keeps_both_ends_the_answer_and_the_end(limit: int, size: int) -> None:
    trace = "".join(chr(97 + i % 26) for i in range(size))
    kept, refused = encode(
        [pair(trace=trace)], TINY, views=(FULL,), max_length=limit, overlong="truncate_trace_middle"
    )
    assert not refused and kept[0].longest <= limit
    ids = scored(kept[0], 0)
    told = TINY.response(TINY.decode([ids[:-1]])[0], "thinking")
    assert ids[-1] == TINY.end_id and told.answer == "4" and told.trace is not None
    half = len(told.trace) // 2
    assert trace.startswith(told.trace[: len(told.trace) - half])
    assert trace.endswith(told.trace[len(told.trace) - half :])
    if len(told.trace) < size:
        assert kept[0].longest >= limit - 2  # nothing is cut without need


def test_a_prompt_over_the_limit_cannot_be_cut() -> None:
    kept, refused = encode(
        [pair()], TINY, views=(FULL,), max_length=20, overlong="truncate_trace_middle"
    )
    assert not kept and refused[0].reason == "too_long"


def test_items_alone_end_with_the_end_token_unless_told_otherwise() -> None:
    example = listed("ab", "abc")
    assert [scored(one(example), i)[-1] for i in (0, 1)] == [TINY.end_id] * 2
    row = one(example, listing=Listing(end_token=False))
    assert TINY.decode([scored(row, i) for i in (0, 1)]) == ["ab", "abc"]


def test_a_list_in_one_chain_scores_items_and_not_separators() -> None:
    example = listed("aa", "bb", "cc", shown=(3, 1, 2))
    row = one(example, listing=Listing("inlist", " | "))
    assert [s.parent for s in row.segments] == [-1, 0, 1, 2, 3, 4]
    assert [b.rank for b in row.branches] == [3, 1, 2]
    assert TINY.decode([scored(row, i) for i in range(3)]) == ["aa", "bb", "cc"]
    assert TINY.decode([path(row, 0)])[0].endswith("assistant\nbb | cc | aa")
    alone = one(example, listing=Listing("inlist"))
    assert TINY.decode([path(alone, 0)])[0].endswith("bb, cc, aa")


def test_a_chain_is_measured_whole() -> None:
    example = listed("aa", "bb", shown=(1, 2))
    longest = one(example, listing=Listing("inlist")).longest
    kept, refused = encode(
        [example], TINY, views=(FULL,), max_length=longest - 1, listing=Listing("inlist")
    )
    assert not kept and refused[0].reason == "too_long"


def test_the_order_of_a_list_depends_on_seed_and_row_alone() -> None:
    items = tuple("abcdefgh")

    def ranks(seed: int, where: str) -> list[int]:
        return [b.rank for b in one(listed(*items, where=where), seed=seed).branches]

    assert ranks(0, "l:1") == ranks(0, "l:1")
    assert sorted(ranks(0, "l:1")) == list(range(1, 9))
    assert ranks(0, "l:1") != ranks(1, "l:1") != ranks(1, "l:2")


def test_modes_of_one_view_may_differ_but_not_in_a_chain() -> None:
    mixed = Example(
        "a:1", ASK, (Candidate("4", "t", mode="thinking"), Candidate("5", mode="nothinking"))
    )
    assert [s.parent for s in one(mixed).segments] == [-1, 0, 0, 1]
    kept, refused = encode([mixed], TINY, views=(FULL,), max_length=999, listing=Listing("inlist"))
    assert not kept and refused[0].reason == "mixed_modes"


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"context": "both"}, "context"),
        ({"separator": ","}, "separator"),
        ({"context": "inlist", "separator": ""}, "separator"),
        ({"context": "inlist", "end_token": True}, "end_token"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, object], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Listing(**settings)
    assert caught.value.where == where


def test_wrong_limits_are_refused() -> None:
    for kw in ({"max_length": 1}, {"max_length": 9, "overlong": "cut"}):
        with pytest.raises(ConfigError):
            encode([], TINY, views=(FULL,), **kw)


def test_ids_are_int32_and_no_segment_is_empty() -> None:
    for row in (one(pair()), one(listed("a", "b"), listing=Listing("inlist"))):
        assert all(len(s.ids) and s.ids.dtype == "int32" for s in row.segments)
        assert dataclasses.is_dataclass(row)
