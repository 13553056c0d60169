from __future__ import annotations

import json
import os
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvrank.data.pairs import Pairs
from bvrank.errors import ConfigError, DataError
from bvrank.records import BARE, FULL, Candidate, Example, Message, Refused

REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent")) / "pairs"
ROW = {"prompt": "q", "chosen": "a", "rejected": "b"}


def file(folder: Path, *rows: Any, name: str = "p.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def read(source: Pairs) -> tuple[list[Example], list[Refused]]:
    rows = list(source.rows())
    assert rows == list(source.rows())  # the same every time
    return (
        [r for r in rows if isinstance(r, Example)],
        [r for r in rows if isinstance(r, Refused)],
    )


def views(example: Example) -> list[str]:
    return [c.view for c in example.candidates]


def answers(example: Example, view: str) -> list[str]:
    return [c.answer for c in example.candidates if c.view == view]


def test_a_pair_of_texts_is_plain(tmp_path: Path) -> None:
    (example,), refused = read(Pairs(file(tmp_path, ROW)))
    assert not refused and example.where == "p.jsonl:1"
    assert example.prompt == (Message("user", "q"),)
    assert example.candidates == (
        Candidate("a", None, FULL, "plain", 1.0, 0),
        Candidate("b", None, FULL, "plain", 0.0, 1),
    )


def test_bad_rows_are_refused_between_good_ones(tmp_path: Path) -> None:
    rows = (ROW, {**ROW, "chosen": "b"}, {"prompt": "q", "chosen": "a"}, ROW)
    kept, refused = read(Pairs(file(tmp_path, *rows)))
    assert [e.where for e in kept] == ["p.jsonl:1", "p.jsonl:4"]
    assert [(r.where, r.reason) for r in refused] == [
        ("p.jsonl:2", "equal_sides"),
        ("p.jsonl:3", "missing"),
    ]


def test_a_second_file_is_joined_by_prompt_in_turn(tmp_path: Path) -> None:
    full = file(
        tmp_path,
        {"prompt": "q", "chosen": "<think>x</think>a", "rejected": "<think>y</think>b"},
        {"prompt": "q", "chosen": "<think>z</think>a", "rejected": "<think>y</think>b"},
        {"prompt": "q", "chosen": "<think>w</think>a", "rejected": "<think>y</think>b"},
        {"prompt": "alone", "chosen": "a", "rejected": "b"},
    )
    bare = file(
        tmp_path,
        {"prompt": "q", "chosen": "A1", "rejected": "B1"},
        {"prompt": "q", "chosen": "A2", "rejected": "B2"},
        {"prompt": "other", "chosen": "A3", "rejected": "B3"},
        {"prompt": "q", "chosen": "A4", "rejected": "A4"},
        name="e.jsonl",
    )
    kept, refused = read(Pairs(full, bare))
    assert [answers(e, BARE) for e in kept] == [
        ["A1", "B1"], ["A2", "B2"], ["A1", "B1"], [], ["A3", "B3"],
    ]  # fmt: skip
    assert kept[0].where == "p.jsonl:1 + e.jsonl:1" and kept[4].where == "e.jsonl:3"
    assert views(kept[0]) == [FULL, FULL, BARE, BARE] and views(kept[3]) == [FULL, FULL]
    assert [c.mode for c in kept[0].candidates] == ["thinking"] * 2 + ["nothinking"] * 2
    assert [c.answer_id for c in kept[0].candidates] == [0, 1, 2, 3]
    assert [r.where for r in refused] == ["e.jsonl:4"]


@pytest.mark.parametrize("mixed", [False, True])
def test_memory_does_not_grow_with_what_waits_for_a_partner(tmp_path: Path, mixed: bool) -> None:
    """Bare rows of 6 MB in all, and refused ones of as much again where they have a file."""
    text = "x" * 5000
    rows = [{"prompt": f"q{i}", "chosen": f"{text}{i}", "rejected": text} for i in range(600)]
    equal = [{"prompt": f"q{i}", "chosen": text * 2, "rejected": text * 2} for i in range(600)]
    if mixed:
        views = ({**r, "view": "bare"} for r in rows)
        source = Pairs(file(tmp_path, *views, {**ROW, "view": "full"}))
    else:
        source = Pairs(file(tmp_path, ROW), file(tmp_path, *rows, *equal, name="e.jsonl"))
    tracemalloc.start()
    count = sum(isinstance(row, Example) for row in source.rows())
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 601 and most < 1_500_000


def test_of_two_broken_files_the_bare_one_is_told_first(tmp_path: Path) -> None:
    full, bare = tmp_path / "p.jsonl", tmp_path / "e.jsonl"
    for path in (full, bare):
        path.write_text(101 * (json.dumps({**ROW, "view": "bare"}) + "\n") + "{")
    for second, where in ((str(bare), "e.jsonl:102"), (None, "p.jsonl:102")):
        with pytest.raises(DataError) as caught:
            list(Pairs(str(full), second, "fresh").rows())
        assert caught.value.where == where


def test_bare_rows_that_outnumber_the_full_ones_stand_alone(tmp_path: Path) -> None:
    bare = file(tmp_path, *({**ROW, "chosen": f"A{i}"} for i in range(3)), name="e.jsonl")
    kept, _ = read(Pairs(file(tmp_path, ROW), bare))
    assert [answers(e, BARE)[0] for e in kept] == ["A0", "A1", "A2"]
    assert [len(views(e)) for e in kept] == [4, 2, 2]


def test_a_view_column_or_bare_columns_do_the_same(tmp_path: Path) -> None:
    column = file(
        tmp_path,
        {**ROW, "view": "bare", "chosen": "A"},
        {**ROW, "view": "full"},
        {**ROW, "view": "half"},
    )
    kept, refused = read(Pairs(column))
    assert [views(e) for e in kept] == [[FULL, FULL, BARE, BARE]]
    assert kept[0].where == "p.jsonl:2 + p.jsonl:1" and [r.reason for r in refused] == ["view"]
    beside = file(tmp_path, {**ROW, "chosen_bare": "A", "rejected_bare": "b"}, ROW, name="b.jsonl")
    kept, refused = read(Pairs(beside))
    assert [views(e) for e in kept] == [[FULL, FULL, BARE, BARE], [FULL, FULL]] and not refused
    assert kept[0].where == "b.jsonl:1" and answers(kept[0], BARE) == ["A", "b"]
    assert [c.answer_id for c in kept[0].candidates] == [0, 1, 2, 1]


def test_one_bad_half_of_a_row_leaves_the_other(tmp_path: Path) -> None:
    bad = file(
        tmp_path,
        {**ROW, "chosen": "b", "chosen_bare": "A", "rejected_bare": "B"},
        {**ROW, "chosen_bare": "A", "rejected_bare": "A"},
        {**ROW, "chosen_bare": "A", "rejected_bare": None},
    )
    kept, refused = read(Pairs(bad))
    assert [views(e) for e in kept] == [[BARE, BARE], [FULL, FULL], [FULL, FULL]]
    assert [r.reason for r in refused] == ["equal_sides", "equal_sides", "missing"]


def test_independent_gives_each_example_one_view(tmp_path: Path) -> None:
    full, bare = file(tmp_path, ROW, ROW), file(tmp_path, ROW, name="e.jsonl")
    kept, _ = read(Pairs(full, bare, pairing="independent"))
    assert [views(e) for e in kept] == [[FULL] * 2, [FULL] * 2, [BARE] * 2]
    kept, _ = read(Pairs(full, bare_from="reuse", pairing="independent"))
    assert [views(e) for e in kept] == [[FULL] * 2, [BARE] * 2] * 2


def test_reuse_leaves_the_traces_out(tmp_path: Path) -> None:
    kept, refused = read(
        Pairs(
            file(
                tmp_path,
                {"prompt": "q", "chosen": "<think>x</think>a", "rejected": "<think>y</think>b"},
                {"prompt": "q", "chosen": "<think>x</think>a", "rejected": "<think>y</think>a"},
            ),
            bare_from="reuse",
        )
    )
    assert answers(kept[0], BARE) == ["a", "b"]
    assert [c.trace for c in kept[0].candidates] == ["x", "y", None, None]
    assert [c.answer_id for c in kept[0].candidates] == [0, 1, 0, 1]
    assert views(kept[1]) == [FULL, FULL] and [c.answer_id for c in kept[1].candidates] == [0, 0]
    assert [(r.where, r.reason) for r in refused] == [("p.jsonl:2", "equal_answers")]


def test_a_file_may_be_bare_as_a_whole(tmp_path: Path) -> None:
    ((example,), _) = read(Pairs(file(tmp_path, ROW), view="bare"))
    assert [(c.view, c.mode) for c in example.candidates] == [(BARE, "nothinking")] * 2


def test_fresh_needs_bare_rows(tmp_path: Path) -> None:
    path = file(tmp_path, ROW)
    for pairing in ("prompt", "independent"):
        with pytest.raises(DataError, match="there are no bare rows"):
            list(Pairs(path, bare_from="fresh", pairing=pairing).rows())
    both = file(tmp_path, {**ROW, "view": "bare"}, name="b.jsonl")
    with pytest.raises(DataError, match="bare_from=fresh") as caught:
        list(Pairs(both, bare_from="reuse").rows())
    assert caught.value.where == "b.jsonl:1"


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"bare_from": "stale"}, "bare_from"),
        ({"pairing": "none"}, "pairing"),
        ({"view": "half"}, "view"),
        ({"bare_path": "e", "bare_from": "reuse"}, "bare_from"),
        ({"view": "bare", "bare_path": "e"}, "view"),
        ({"view": "bare", "bare_from": "reuse"}, "view"),
        ({"bare_split": "train"}, "bare_split"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Pairs("p", **settings)
    assert caught.value.where == where


def test_columns_can_be_named(tmp_path: Path) -> None:
    row = {"q": "q", "good": "a", "bad": "b", "sys": "s", "side": "bare"}
    source = Pairs(
        file(tmp_path, row), prompt_column="q", chosen_column="good", rejected_column="bad",
        system_column="sys", view_column="side",
    )  # fmt: skip
    ((example,), _) = read(source)
    assert example.prompt == (Message("system", "s"), Message("user", "q"))
    assert views(example) == [BARE, BARE]


def test_a_file_of_another_form_names_its_columns_and_the_forms(tmp_path: Path) -> None:
    path = file(tmp_path, {"prompt": "q", "choosen": "a", "rejected": "b"})
    with pytest.raises(DataError, match=r"choosen, prompt, rejected.*Did you mean 'choosen'") as e:
        list(Pairs(path).rows())
    assert "Known forms: prompt, chosen, rejected" in str(e.value)
    with pytest.raises(DataError, match="has no column 'quest'"):
        list(Pairs(file(tmp_path, ROW), prompt_column="quest").rows())


def test_a_held_out_file_is_read_alike_without_the_bare_file_of_train(tmp_path: Path) -> None:
    source = Pairs("p", "e", "fresh", prompt_column="q", split="a", bare_split="b")
    assert source.held("h") == Pairs("h", prompt_column="q")
    assert Pairs("p", bare_from="reuse").held("h") == Pairs("h", bare_from="reuse")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["<think>", "</think>", "<think>a</think>b", "\n\nHuman: a\n\nAssistant: b",
                       "\n\nAssistant:", "user", "assistant", "full", "bare", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "content", "from", "value", "think", "answer", "tool_calls", "x"]),
        inner, max_size=3,
    ),
    max_leaves=6,
)  # fmt: skip
COLUMNS = ("prompt", "chosen", "rejected", "view", "instruction", "input", "system",
           "chosen_bare", "rejected_bare")  # fmt: skip


@given(
    rows=st.lists(st.dictionaries(st.sampled_from(COLUMNS), JUNK), min_size=1, max_size=4),
    bare_from=st.sampled_from([None, "fresh", "reuse"]),
    pairing=st.sampled_from(["prompt", "independent"]),
    system=st.sampled_from([None, "system"]),
)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_row_is_an_example_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    bare_from: Any,
    pairing: Any,
    system: str | None,
) -> None:
    path = file(tmp_path_factory.getbasetemp(), {**ROW, "system": "s"}, *rows, name="fuzz.jsonl")
    source = Pairs(path, bare_from=bare_from, pairing=pairing, system_column=system)
    try:
        found = list(source.rows())
    except DataError as error:
        assert "bare" in str(error)  # of the file as a whole: fresh without bare rows, or reuse
        return
    assert len(found) >= 1
    for item in found:
        assert isinstance(item, Example | Refused) and item.where.startswith("fuzz.jsonl:")
        if isinstance(item, Example):
            assert all(c.answer.strip() for c in item.candidates)
            assert len({c.view for c in item.candidates}) <= (2 if pairing == "prompt" else 1)


def counted(name: str, **kw: Any) -> tuple[int, dict[str, int], list[Example]]:
    if not (REAL / name).is_file():
        pytest.skip("needs BVRANK_REAL_DATA")
    kept, refused = read(Pairs(str(REAL / name), **kw))
    return len(kept), dict(Counter(r.reason for r in refused)), kept


def test_real_hh_dialogues() -> None:
    kept, refused, rows = counted("hh_harmless_base_test.jsonl.gz")
    assert (kept, refused) == (2303, {"prompt_mismatch": 5, "empty_answer": 4})
    assert all(r.prompt[-1].role == "user" for r in rows)
    assert max(len(r.prompt) for r in rows) > 3


def test_real_instruction_rows() -> None:
    kept, refused, _ = counted("rasbt_instruction_data_with_preference.json")
    assert (kept, refused) == (1094, {"equal_sides": 6})


def test_real_traces() -> None:
    kept, refused, rows = counted("think_pairs_from_rollouts.jsonl.gz", bare_from="reuse")
    assert (kept, refused) == (14, {"empty_answer": 4})
    assert all(views(r) == [FULL, FULL, BARE, BARE] for r in rows)
    assert all(c.trace for r in rows for c in r.candidates if c.view == FULL)
