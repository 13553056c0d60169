"""A clean file of pairs and one of lists, big enough to hide a defect in, and the doctor's word."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bvrank.commands import doctor
from bvrank.commands.compose import composed, frozen
from tests.commands.fast import TINY, write

COUNT = 200
SECOND = 50  # rows that are held out
Rows = list[dict[str, Any]]
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "larch")


def clean_pairs(count: int = COUNT, name: str = "train") -> Rows:
    """Pairs whose two sides think and answer at random lengths of one distribution."""
    draw = random.Random(name)

    def sides(i: int) -> Iterator[tuple[str, dict[str, str]]]:
        yield "chosen", side(i, "aye")
        yield "rejected", side(i, "nay")

    def side(i: int, kind: str) -> dict[str, str]:
        think = " ".join(draw.choices(WORDS, k=draw.randint(3, 12)))
        return {"think": f"{think} {kind}", "answer": f"{draw.choice(WORDS)} {i} {kind}"}

    return [{"prompt": f"What follows {name} {i}?", **dict(sides(i))} for i in range(count)]


def clean_lists(count: int = COUNT, name: str = "train") -> Rows:
    """Ragged lists of graded candidates."""
    draw = random.Random(name)
    rows = []
    for i in range(count):
        size = draw.randint(2, 6)
        gains = [0, 1, *(draw.randint(0, 3) for _ in range(size - 2))]
        items = draw.sample(WORDS, size)
        rows.append({"prompt": f"{name} {i}", "candidates": items, "relevance": gains})
    return rows


def examined(
    place: Path,
    capsys: Any,
    rows: Rows,
    *words: str,
    held: Rows | None = None,
    model: tuple[str, ...] = ("model=tiny", *TINY),
) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON document of `bvrank doctor` on the rows."""
    kind = "lists" if "candidates" in rows[0] else "pairs"
    objective = "irpo" if kind == "lists" else "dpo"
    made = held or (clean_lists if kind == "lists" else clean_pairs)(SECOND, "held")
    write(place / "p.jsonl", rows)
    write(place / "h.jsonl", made)
    config = frozen(composed("doctor", [
        f"objective={objective}", f"data={kind}", f"data.path={place / 'p.jsonl'}",
        f"data.eval_path={place / 'h.jsonl'}", f"outputs={place / 'outputs'}",
        f"store={place / 'store'}", "json=true", *model, *words,
    ]))  # fmt: skip
    capsys.readouterr()
    code = doctor.main(config)
    return code, json.loads(capsys.readouterr().out)


def told(document: dict[str, Any]) -> dict[str, list[str]]:
    """Finding -> the rows it names, of the data's checks."""
    return {
        finding["name"]: [row["where"] for row in finding["rows"]]
        for check in document["checks"] if check["area"] == "data"
        for finding in check["findings"]
    }  # fmt: skip
