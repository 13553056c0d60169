"""Each defect is planted into one row of a clean file: the doctor names it, there, and no other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import doctor
from bvrank.commands.compose import composed, frozen
from bvrank.data.flaws import KINDS
from bvrank.models.tiny import tiny_model
from tests.commands.fast import write
from tests.commands.planted import Rows, clean_lists, clean_pairs, examined, told
from tests.data.test_checks import merging
from tests.data.tokenizers import OWN, REAL

AT = 123  # 0-based row of the defect: it is line AT + 1
HERE = [f"p.jsonl:{AT + 1}"]
Change = Callable[[dict[str, Any]], None]


def change(key: str, value: Any) -> Change:
    return lambda row: row.update({key: value})


def side(name: str, **parts: Any) -> Change:
    return lambda row: row[name].update(parts)


def equal(row: dict[str, Any]) -> None:
    row["rejected"] = dict(row["chosen"])


def dialogue(reply: str) -> list[dict[str, str]]:
    said = (("user", "Who?"), ("assistant", reply), ("user", "Sure?"))
    return [{"role": role, "content": content} for role, content in said]


def other_prompt(row: dict[str, Any]) -> None:
    spoken = {"role": "assistant", "content": "<think>\nso\n</think>\n\nit"}
    row["rejected"] = [{"role": "user", "content": "Something else?"}, spoken]


LONG = "long " * 1000
PAIRS: dict[str, tuple[Change, tuple[str, ...]]] = {
    "missing": (change("rejected", None), ()),
    "wrong_type": (change("chosen", 3), ()),
    "bad_text": (change("prompt", "\ud800"), ()),
    "role": (change("prompt", [{"role": "tool", "content": "x"}]), ()),
    "empty_prompt": (change("prompt", ""), ()),
    "prompt_end": (change("prompt", dialogue("x")[:2]), ()),
    "prompt_mismatch": (other_prompt, ()),
    "equal_sides": (equal, ()),
    "empty_answer": (side("rejected", answer=""), ()),
    "unfinished": (change("rejected", "<think>\nit goes on and"), ()),
    "special_token": (side("chosen", answer="so<|im_end|>it is"), ()),
    "round_trip": (side("chosen", answer="it is </think> so"), ()),
    "too_long": (side("chosen", think=LONG), ("data.max_length=1000",)),
    "trace_cut": (side("chosen", think=LONG),
                  ("data.max_length=1000", "data.overlong=truncate_trace_middle")),
    "opened_twice": (side("chosen", think="<think>\nwell"), ()),
    "closed_twice": (side("chosen", think="well</think> or not"), ()),
    "left_open": (change("prompt", dialogue("<think>\nhm")), ()),
    "in_eval": (change("prompt", "what follows  held 7?"), ()),
    "near_leak": (change("prompt", "What follows \u201cheld\u201d 7"), ()),
}  # fmt: skip
LISTS: dict[str, Change] = {
    "nothing_to_prefer": lambda row: row.update(relevance=[0] * len(row["candidates"])),
    "flat_relevance": lambda row: row.update(relevance=[2] * len(row["candidates"])),
    "too_few": lambda row: row.update(candidates=["a"], relevance=[1]),
    "empty_candidate": lambda row: row["candidates"].__setitem__(0, " "),
    "duplicates": lambda row: row["candidates"].__setitem__(0, row["candidates"][1]),
    "relevance_length": lambda row: row["relevance"].append(1),
    "relevance_range": lambda row: row["relevance"].__setitem__(0, -1),
    "rank_length": lambda row: row.update(rank=[1]),
    "bad_rank": lambda row: row.update(rank=[1] * len(row["candidates"])),
}


@pytest.mark.parametrize("rows", [clean_pairs(), clean_lists()], ids=["pairs", "lists"])
def test_a_clean_file_gives_no_cause(rows: Rows, tmp_path: Path, capsys: Any) -> None:
    code, document = examined(tmp_path, capsys, rows)
    assert told(document) == {}
    assert {c["status"] for c in document["checks"] if c["area"] == "data"} == {"ok"}
    assert code == (document["verdict"] in ("warning", "problem")) == 0


@pytest.mark.parametrize("name", PAIRS)
def test_a_planted_pair_is_found(name: str, tmp_path: Path, capsys: Any) -> None:
    plant, words = PAIRS[name]
    rows = clean_pairs()
    plant(rows[AT])
    code, document = examined(tmp_path, capsys, rows, *words)
    assert told(document) == {name: HERE}
    assert code == (KINDS[name].level != "note")


@pytest.mark.parametrize("name", LISTS)
def test_a_planted_list_is_found(name: str, tmp_path: Path, capsys: Any) -> None:
    rows = clean_lists()
    LISTS[name](rows[AT])
    code, document = examined(tmp_path, capsys, rows)
    assert (code, told(document)) == (1, {name: HERE})


def test_rows_that_stand_twice_or_against_each_other(tmp_path: Path, capsys: Any) -> None:
    rows = clean_pairs()
    rows[AT] = dict(rows[7])
    assert told(examined(tmp_path, capsys, rows)[1]) == {"duplicate": HERE}
    rows[AT] |= {"chosen": rows[7]["rejected"], "rejected": rows[7]["chosen"]}
    assert told(examined(tmp_path, capsys, rows)[1]) == {"contradiction": HERE}


def test_a_view_that_is_none(tmp_path: Path, capsys: Any) -> None:
    rows = [r | {"view": "full"} for r in clean_pairs()]
    rows[AT]["view"] = "both"
    assert told(examined(tmp_path, capsys, rows)[1]) == {"view": HERE}


def test_what_takes_long_shows_how_far_it_is(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bvrank.commands.examine.MANY", 100)
    write(tmp_path / "pairs.jsonl", clean_pairs())
    words = ("objective=dpo", "data=pairs", f"data.path={tmp_path / 'pairs.jsonl'}")
    assert composed_doctor(tmp_path, *words) == 0
    assert "rendering: 200/200 (100%)" in capsys.readouterr().err


def test_bare_views(tmp_path: Path, capsys: Any) -> None:
    rows = [r | {f"{s}_bare": {"answer": f"{s} {i}"} for s in ("chosen", "rejected")}
            for i, r in enumerate(clean_pairs())]  # fmt: skip
    draw = iter("ab" * len(rows))
    for row in rows:  # either side is the longer one in turn
        row["chosen_bare"]["answer"] += " so" * (next(draw) == "a") * 2
    held = [r | {"chosen_bare": "a", "rejected_bare": "b"} for r in clean_pairs(50, "held")]
    words = ("objective=bvpo",)
    assert told(examined(tmp_path, capsys, rows, *words, held=held)[1]) == {}
    rows[AT]["chosen_bare"] = {"think": "I thought", "answer": "still"}
    assert told(examined(tmp_path, capsys, rows, *words, held=held)[1]) == {"trace_in_bare": HERE}
    reuse = ("objective=bvpo", "data.bare_from=reuse")
    rows = clean_pairs()
    rows[AT]["rejected"]["answer"] = rows[AT]["chosen"]["answer"]
    assert told(examined(tmp_path, capsys, rows, *reuse)[1]) == {"equal_answers": HERE}


def test_a_view_that_no_row_has_stops_a_run(tmp_path: Path, capsys: Any) -> None:
    code, document = examined(tmp_path, capsys, clean_pairs(), "objective=bvpo")
    assert code == 1 and document["verdict"] == "problem"
    (found,) = [f for c in document["checks"] for f in c["findings"] if f["level"] == "problem"][:1]
    assert "the view bare, but no row has it" in found["what"]


@pytest.mark.parametrize(("alpha", "found"), [("auto", {"would_stop"}), ("0.5", set())])
def test_one_trace_of_each_answer_would_stop_an_estimate_of_alpha(
    alpha: str, found: set[str], tmp_path: Path, capsys: Any
) -> None:
    words = ("objective=bvpo", "data.bare_from=reuse", f"objective.alpha={alpha}")
    document = examined(tmp_path, capsys, clean_pairs(), *words)[1]
    assert set(told(document)) == found


def test_a_length_that_gives_the_better_side_away(tmp_path: Path, capsys: Any) -> None:
    rows = clean_pairs()
    for row in rows[: int(0.9 * len(rows))]:
        row["chosen"]["think"], row["rejected"]["think"] = (
            "short aye",
            "rather longer than that nay",
        )
    code, document = examined(tmp_path, capsys, rows)
    assert (code, list(told(document))) == (1, ["trace_length"])


def test_too_many_refused_would_stop_a_run(tmp_path: Path, capsys: Any) -> None:
    rows = clean_pairs()
    for row in rows[:4]:
        equal(row)
    code, document = examined(tmp_path, capsys, rows)
    assert (code, document["verdict"]) == (1, "problem")
    assert set(told(document)) == {"equal_sides", "would_stop"}
    code, document = examined(tmp_path, capsys, rows, "data.max_refused=0.02")
    assert (code, document["verdict"], set(told(document))) == (1, "warning", {"equal_sides"})


def test_overlong_error_is_a_problem_and_all_rows_are_counted(tmp_path: Path, capsys: Any) -> None:
    rows = clean_pairs()
    for row in rows[:2]:
        row["chosen"]["think"] = LONG
    words = ("data.max_length=1000", "data.overlong=error")
    code, document = examined(tmp_path, capsys, rows, *words)
    assert (code, document["verdict"]) == (1, "problem")
    assert told(document) == {"too_long": ["p.jsonl:1", "p.jsonl:2"]}


def saved(place: Path, made: Any) -> tuple[str, ...]:
    """model=hf with the template's tokenizer."""
    shape = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32}
    model = tiny_model(0, **shape)
    model.resize_token_embeddings(len(made.tokenizer))
    model.save_pretrained(place / "model")
    made.tokenizer.save_pretrained(place / "model")
    return ("model=hf", f"model.path={place / 'model'}")


def test_a_token_across_the_boundary(tmp_path: Path, capsys: Any) -> None:
    model, rows = saved(tmp_path, merging()), clean_pairs()
    assert told(examined(tmp_path, capsys, rows, model=model)[1]) == {}
    rows[AT] |= {"chosen": "\nyes and no", "rejected": "no and yes"}
    assert told(examined(tmp_path, capsys, rows, model=model)[1]) == {"boundary_shift": HERE}


@pytest.mark.parametrize(("start", "name"), [("", "missing_bos"), ("twice", "double_bos")])
def test_each_prompt_begins_with_one_bos(
    start: str, name: str, tmp_path: Path, capsys: Any
) -> None:
    chat = "{{ bos_token }}" * (2 * bool(start)) + OWN["text"]
    model = saved(tmp_path, merging(True, chat))
    _, document = examined(tmp_path, capsys, clean_pairs(), model=model)
    found = told(document)
    assert len(found[name]) == 100 and {*found} <= {name, "would_stop"}
    text = tmp_path / "once.jinja"
    text.write_text("{{ bos_token }}" + OWN["text"])
    words = (f"template.file={text}",)
    assert told(examined(tmp_path, capsys, clean_pairs(), *words, model=model)[1]) == {}


def test_a_template_that_opens_twice_is_named(tmp_path: Path, capsys: Any) -> None:
    text = tmp_path / "twice.jinja"
    text.write_text(OWN["opened"].replace("<think>", "<think>\n<think>"))
    code, document = examined(tmp_path, capsys, clean_pairs(), f"template.file={text}")
    assert code == 1 and list(told(document)) == ["unusable"]


@pytest.mark.skipif(not (REAL / "chat_templates").is_dir(), reason="needs BVRANK_REAL_DATA")
@pytest.mark.parametrize(
    ("name", "cause"),
    [("deepseek_r1_distill_qwen", "turns"), ("gemma", "system"), ("qwen3", "turns"),
     ("qwen3_5_think", "turns"), ("llama3_2", None), ("phi3", None), ("qwen2_5", None)],
)  # fmt: skip
def test_what_the_adapter_handles_is_fine_and_what_a_template_breaks_is_named(
    name: str, cause: str | None, tmp_path: Path, capsys: Any
) -> None:
    """Traces survive in every family; one refuses system turns, three cut earlier traces away."""
    from tests.data.tokenizers import template

    rows, model = clean_pairs(), saved(tmp_path, template(name))
    rows[AT]["prompt"] = dialogue("<think>\nhidden\n</think>\n\nme")
    rows[7]["prompt"] = [{"role": "system", "content": "Be brief."}, *dialogue("he")]
    found = told(examined(tmp_path, capsys, rows, model=model)[1])
    assert found == ({"template": HERE if cause == "turns" else ["p.jsonl:8"]} if cause else {})


PAIR_FILES = REAL / "pairs"


@pytest.mark.skipif(not PAIR_FILES.is_dir(), reason="needs BVRANK_REAL_DATA")
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("hh_harmless_base_test.jsonl.gz", {"prompt_mismatch": 5, "empty_answer": 4}),
        ("rasbt_instruction_data_with_preference.json", {"equal_sides": 6}),
        ("think_pairs_from_rollouts.jsonl.gz",
         {"empty_answer": 4, "would_stop": 1, "positions": 1}),
    ],
)  # fmt: skip
def test_real_files_have_the_defects_they_are_known_for(
    name: str, counts: dict[str, int], tmp_path: Path, capsys: Any
) -> None:
    words = (f"data.path={PAIR_FILES / name}", "data.max_length=50000")
    _, document = examined(tmp_path, capsys, clean_pairs(), *words)
    found = {f["name"]: f["count"] for c in document["checks"] if c["area"] == "data"
             for f in c["findings"]}  # fmt: skip
    assert found == counts


def composed_doctor(place: Path, *words: str) -> int:
    """The exit code of `bvrank doctor` on what the words name."""
    places = (f"store={place / 'store'}", f"outputs={place / 'outputs'}")
    return doctor.main(frozen(composed("doctor", [*words, *places])))


def test_pairs_that_training_makes_are_not_there_yet(tmp_path: Path, capsys: Any) -> None:
    assert composed_doctor(tmp_path) == 0
    out = capsys.readouterr().out
    assert "the policy samples them when training starts" in out and "(rows: 200)" in out
    assert not os.listdir(tmp_path)  # nothing is taught, sampled or written


def test_a_mixture_that_repeats_rows_on_purpose_is_not_blamed(tmp_path: Path, capsys: Any) -> None:
    thought = clean_pairs(60, "b")
    told = [r | {s: r[s]["answer"] for s in ("chosen", "rejected")} for r in thought]
    a, b = write(tmp_path / "a.jsonl", clean_pairs(20, "a")), write(tmp_path / "b.jsonl", told)
    words = (
        "objective=dpo", "data=mix", f"data.parts.thinking.source.path={a}",
        "data.parts.thinking.weight=3", "data.parts.nothinking.weight=1",
        f"data.parts.nothinking.source.path={b}",
    )  # fmt: skip
    assert composed_doctor(tmp_path, *words) == 0, capsys.readouterr().out
