from __future__ import annotations

from typing import Any

import pytest

from bvrank.data.converters.llamafactory import LLaMAFactory
from bvrank.data.files import read_rows
from tests.data.converters.raw import made, one, real, reasons, talk

ALPACA = {"instruction": "Do", "input": "x", "chosen": "yes", "rejected": "no"}
PAIR = {"chosen": {"from": "gpt", "value": "yes"}, "rejected": {"from": "gpt", "value": "no"}}
SHARED = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"},
          {"from": "human", "value": "c"}]  # fmt: skip


def test_the_alpaca_form() -> None:
    said = {"chosen": "yes", "rejected": "no"}
    assert one(LLaMAFactory(), ALPACA) == said | {"prompt": "Do\nx"}
    assert one(LLaMAFactory(), ALPACA | {"input": ""})["prompt"] == "Do"
    assert one(LLaMAFactory(), ALPACA | {"instruction": None})["prompt"] == "x"


def test_history_and_system_stand_before_it() -> None:
    row = ALPACA | {"system": "Be.", "history": [["a", "b"]]}
    turns = [{"role": "system", "content": "Be."}, *talk("a", "b", "Do\nx")]
    assert one(LLaMAFactory(), row)["prompt"] == turns


def test_the_sharegpt_and_the_openai_form() -> None:
    expected = {"prompt": talk("a", "b", "c"), "chosen": "yes", "rejected": "no"}
    assert one(LLaMAFactory(), PAIR | {"conversations": SHARED}) == expected
    sides = {k: {"role": "assistant", "content": v["value"]} for k, v in PAIR.items()}
    assert one(LLaMAFactory(), sides | {"messages": talk("a", "b", "c")}) == expected


def test_a_system_turn_counts_before_the_column() -> None:
    turns = [{"from": "system", "value": "In."}, *SHARED]
    row = PAIR | {"conversations": turns, "system": "Out."}
    assert one(LLaMAFactory(), row)["prompt"][0] == {"role": "system", "content": "In."}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ALPACA | {"instruction": None, "input": ""}, "no_prompt"),
        (ALPACA | {"chosen": None}, "missing"),
        (ALPACA | {"chosen": "no"}, "equal_sides"),
        (ALPACA | {"history": [["a"]]}, "wrong_type"),
        (ALPACA | {"history": "x"}, "wrong_type"),
        (PAIR | {"conversations": SHARED[:2]}, "prompt_end"),
        (PAIR | {"conversations": "x"}, "wrong_type"),
        (PAIR | {"conversations": []}, "missing"),
        (PAIR | {"conversations": [{"from": "observation", "value": "x"}]}, "role"),
        (PAIR | {"conversations": SHARED, "chosen": SHARED[0]}, "role"),
    ],
)
def test_rows_without_a_pair_are_refused(row: dict[str, Any], reason: str) -> None:
    assert reasons(LLaMAFactory(), row) == [reason]


def test_a_real_file_of_instructions() -> None:
    """1,100 rows of the alpaca form: in 6 both sides are the same, 775 have no input."""
    rows = [r for _, r in read_rows(real("pairs", "rasbt_instruction_data_with_preference.json"))]
    kept, refused = made(LLaMAFactory(), *rows)
    assert (len(kept), [r.reason for r in refused]) == (1094, ["equal_sides"] * 6)
