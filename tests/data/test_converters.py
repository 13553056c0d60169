"""Laws that hold for every converter."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bvrank.commands.build import build
from bvrank.commands.compose import composed, frozen
from bvrank.commands.convert import main
from bvrank.data.converters import Draft
from bvrank.data.lists import Lists
from bvrank.data.pairs import Pairs
from bvrank.errors import ConfigError
from bvrank.records import Example, Refused
from tests.commands.line import ROOT
from tests.data.converters.raw import raw, talk

NAMES = sorted(p.stem for p in (ROOT / "conf" / "from").glob("*.yaml"))
LISTS = ("arc", "commonsenseqa", "hotpotqa", "musique", "inspired", "redial", "letor")
SMALL: dict[str, dict[str, Any]] = {
    "arc": {"list_size": 6}, "commonsenseqa": {"list_size": 7}, "hotpotqa": {"list_size": 7},
    "musique": {"list_size": 6}, "inspired": {"list_size": 6, "truth": 2, "suggested": 2},
    "redial": {"list_size": 6, "truth": 1, "suggested": 2},
}  # fmt: skip
SHOWN = {"candidates_in_prompt": True}
CHOICE = {"template": "Q: {question}", "candidates_in_prompt": True, "seed": 1, "list_size": 5,
          "distractors": "frequency", "option": (SHOWN, "* {option}")}  # fmt: skip
HOPS = CHOICE | {"item": "{text}", "tokens": 3, "tokenizer": "nowhere.json"}
TALK = CHOICE | {"template": "{dialogue}!", "truth": 3, "suggested": 1, "repeats": False,
                 "list_size": 5, "seeker": "S", "recommender": "R", "distractors": "bm25",
                 "suggestions": "ideas.jsonl", "catalogue": "titles.jsonl"}  # fmt: skip
# name -> key -> another value, or (what stands around it, another value)
DRAWN = {"pick": "best_random", "seed": ({"pick": "best_random"}, 2),
         "min_gap": ({"pick": "best_random"}, 3.9)}  # fmt: skip
OTHER: dict[str, dict[str, Any]] = {
    "arc": CHOICE, "commonsenseqa": CHOICE, "hotpotqa": HOPS | {"distractors": "given"},
    "musique": HOPS | {"answerable_only": False, "distractors": ({"list_size": 9}, "frequency")},
    "inspired": TALK,
    "redial": TALK | {"entities": "ids.json", "movies": "numbers.json",
                      "distractors": "frequency", "repeats": "no"},
    "letor": {"template": "{query}?", "candidates_in_prompt": True, "option": (SHOWN, "{option}"),
              "list_size": 4, "distractors": "random", "document": "{features}",
              "feature": "{number}={value}", "features": [1], "zeros": True,
              "seed": ({"list_size": 4}, 1)},
    "hh": {}, "trl": {}, "llamafactory": {}, "shp": {"min_ratio": 2.0},
    "openai": {"template": "{post}"},
    "ultrafeedback": DRAWN | {"kind": "lists", "score": "overall"}, "argilla": DRAWN,
}  # fmt: skip


@cache
def _composed(name: str) -> str:
    words = [f"from={name}", "path=raw.jsonl", "out=out.jsonl", "force=true", "max_refused=1"]
    return json.dumps(frozen(composed("convert", words)))


def config(name: str, **keys: Any) -> dict[str, Any]:
    """The settings of `bvrank convert from=name`, with small lists and `keys` of the converter."""
    found: dict[str, Any] = json.loads(_composed(name))
    found["from"] |= SMALL.get(name, {}) | keys
    return found


def written(name: str, rows: list[Any], **keys: Any) -> list[dict[str, Any]]:
    """What the command writes of raw rows in this folder."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    Path("raw.jsonl").write_text("\n".join(lines))
    assert main(config(name, **keys)) == 0
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with the files that settings name."""
    monkeypatch.chdir(tmp_path)
    ideas = [{"id": f"{i}:2", "titles": ["Idea", "Idea (2000)", "Second"]} for i in range(6)]
    for dialogue in raw("inspired"):
        first = written_ids(dialogue)
        ideas += [{"id": i, "titles": ["Idea", "Second"]} for i in first]
    Path("ideas.jsonl").write_text("\n".join(map(json.dumps, ideas)))
    Path("titles.jsonl").write_text(
        "\n".join(json.dumps({"title": f"More {i}"}) for i in range(99))
    )
    Path("ids.json").write_text(json.dumps({f"More {i}": i for i in range(99)} | {"horror": 99}))
    Path("numbers.json").write_text(json.dumps([*range(99)]))
    return tmp_path


def written_ids(dialogue: list[Any]) -> list[str]:
    """The ids of a dialogue's lists."""
    converter = build(config("inspired")["from"], "from")
    return [d.content.id for d in converter.convert("a:1", dialogue) if isinstance(d, Draft)]


def test_every_converter_is_tried_here() -> None:
    assert set(OTHER) == set(NAMES)
    for name in NAMES:
        assert raw(name)
        keys = set(json.loads(_composed(name))["from"]) - {"_target_"}
        assert set(OTHER[name]) == keys, name


@pytest.mark.parametrize(("name", "key"), [(n, k) for n in sorted(OTHER) for k in OTHER[n]])
def test_every_key_does_something_or_is_refused(name: str, key: str) -> None:
    around, value = OTHER[name][key] if isinstance(OTHER[name][key], tuple) else ({}, None)
    value = OTHER[name][key] if value is None else value
    before = written(name, raw(name), **around)
    try:
        after = written(name, raw(name), **around, **{key: value})
    except ConfigError as error:
        assert str(error).startswith(f"from.{key}") or key == "movies" or key == "entities"
        return
    assert after != before


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_by_the_source_it_is_for(name: str) -> None:
    rows = written(name, raw(name))
    source: Any = Lists("out.jsonl") if name in LISTS else Pairs("out.jsonl")
    found = list(source.rows())
    assert len(found) == len(rows) >= 6 and all(isinstance(f, Example) for f in found)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_rows_does_not_matter(name: str) -> None:
    rows = raw(name)
    if name == "letor":  # queries in another order, not their documents
        rows = [line for q in range(0, 30, 5) for line in rows[25 - q : 30 - q]]
        assert sorted(rows) == sorted(raw(name))
    before, after = written(name, raw(name)), written(name, rows if name == "letor" else rows[::-1])
    assert sorted(map(json.dumps, before)) == sorted(map(json.dumps, after))
    assert before == written(name, raw(name))


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("how", ["random", "frequency", "bm25"])
def test_lists_have_their_size_all_that_is_right_and_nothing_twice(name: str, how: str) -> None:
    for row in written(name, raw(name), distractors=how):
        assert len(row["candidates"]) == len(row["relevance"]) == SMALL[name]["list_size"]
        assert len({c.casefold() for c in row["candidates"]}) == len(row["candidates"])
        assert max(row["relevance"]) == (2 if name in ("inspired", "redial") else 1)
        assert "rank" not in row


@pytest.mark.parametrize("name", NAMES)
def test_test_rows_share_nothing_with_train_rows(name: str) -> None:
    settings_ = config(name) | {"test_fraction": 0.5}
    written(name, raw(name))
    everything = Path("out.jsonl").read_text().splitlines()
    assert main(settings_) == 0
    sides = [
        [json.loads(line) for line in Path(p).read_text().splitlines()]
        for p in ("out.jsonl", "out.test.jsonl")
    ]
    assert sum(map(len, sides)) == len(everything) and all(sides)
    for key in ("prompt", "group"):
        train, test = ({json.dumps(row.get(key)) for row in side} - {"null"} for side in sides)
        assert not train & test
    assert main(settings_ | {"seed": 5}) == 0  # another seed, another share
    again = Path("out.test.jsonl").read_text().splitlines()
    assert {json.loads(line)["prompt"] if isinstance(json.loads(line)["prompt"], str) else line
            for line in again} != {json.dumps(r) for r in sides[1]}  # fmt: skip


def dialogue(name: str, number: int, turns: int) -> dict[str, Any]:
    """A raw pair whose prompt is the beginning of dialogue `number`."""
    told = talk(*[f"said {number} {i}" for i in range(turns)])
    yes, no = ({"role": "assistant", "content": text} for text in ("yes", "no"))
    text = "".join(
        f"\n\n{'Human' if m['role'] == 'user' else 'Assistant'}: {m['content']}" for m in told
    )
    rows: dict[str, dict[str, Any]] = {
        "hh": {"chosen": f"{text}\n\nAssistant: y", "rejected": f"{text}\n\nAssistant: n"},
        "trl": {"chosen": [*told, yes], "rejected": [*told, no]},
        "llamafactory": {"messages": told, "chosen": yes, "rejected": no},
        "openai": {"input": {"messages": told}, "preferred_output": [yes],
                   "non_preferred_output": [no]},
        "argilla": {"chosen": [*told, yes], "rejected": [*told, no]},
    }  # fmt: skip
    return rows[name]


@pytest.mark.parametrize("name", ["hh", "trl", "llamafactory", "openai", "argilla"])
def test_a_dialogue_stands_on_one_side_however_far_a_row_goes(name: str) -> None:
    rows = [dialogue(name, number, turns) for number in range(6) for turns in (1, 3, 5)]
    for seed in range(4):
        Path("raw.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert main(config(name) | {"test_fraction": 0.5, "seed": seed}) == 0
        train, test = (
            {re.findall(r"said \d", line)[0] for line in Path(p).read_text().splitlines()}
            for p in ("out.jsonl", "out.test.jsonl")
        )
        assert len(train) == len(test) == 3 and not train & test


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "label", "role", "content"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=60)
@given(st.data())
@pytest.mark.parametrize("name", [n for n in NAMES if n != "letor"])
def test_no_row_raises(name: str, data: st.DataObject) -> None:
    converter = build(config(name)["from"], "from")
    row = copy.deepcopy(data.draw(st.sampled_from(raw(name))))
    spots = list(places(row))
    for spot in data.draw(st.lists(st.sampled_from(spots), min_size=1, max_size=2)):
        spoil(row, spot, data.draw(JUNK))
    found = converter.convert("a:1", row)
    assert found and all(isinstance(f, Draft | Refused) for f in found)


def places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """Every place inside a row."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def spoil(row: Any, path: tuple[Any, ...], value: Any) -> None:
    """Puts `value` there, if there still is such a place."""
    for key in path[:-1]:
        if not isinstance(row, dict | list):
            return
        try:
            row = row[key]
        except (KeyError, IndexError, TypeError):
            return
    at = path[-1]
    if isinstance(row, dict) or (isinstance(row, list) and isinstance(at, int) and at < len(row)):
        row[at] = value
