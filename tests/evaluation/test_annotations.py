"""The official files of AlpacaEval."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bvrank.errors import DataError
from bvrank.evaluation.annotations import Baseline, annotation, recorded
from bvrank.records import Refused
from bvrank.sampling.responses import Prompt
from tests.evaluation.judges import save

REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent")) / "alignment/alpaca_eval"


def note(preference: Any, **more: Any) -> dict[str, Any]:
    return {"instruction": "i", "output_1": "a", "output_2": "b", "generator_1": "base",
            "generator_2": "own", "dataset": "d", "preference": preference, **more}  # fmt: skip


def noted(*told: Any) -> list[dict[str, Any]]:
    return [note(p, instruction=f"i{n}") for n, p in enumerate(told)]


def test_what_is_asked_and_what_the_baseline_answered(tmp_path: Path) -> None:
    rows = [{"dataset": "d", "instruction": "a", "output": "A", "generator": "g"},
            {"instruction": "b", "output": None}, {"instruction": "a", "output": "again"},
            {"instruction": "c", "output": ""}]  # fmt: skip
    found = Baseline(str(save(tmp_path / "x.json", rows)))
    prompts = [p for p in found.prompts() if isinstance(p, Prompt)]
    assert [p.messages[-1].content for p in prompts] == ["a", "c"]
    assert len({p.where for p in prompts}) == 2 and [p.row for p in prompts] == [0, 1]
    assert sorted(r.reason for r in found.prompts() if isinstance(r, Refused)) == [
        "duplicate_prompt", "no_text",
    ]  # fmt: skip
    assert found.rows["a"].output_1 == "A" and found.rows["a"].generator_1 == "g"
    assert [r.index for r in found.rows.values()] == [0, 3]


def test_preferences_are_read_as_the_official_code_reads_them(tmp_path: Path) -> None:
    told = [1, 2, 1.25, "1.5", 0, None, "nan"]
    found = recorded(str(save(tmp_path / "x.json", noted(*told))), None)
    assert [r.preference for r in found.rows] == [0, 1, 0.25, 0.5, 0.5, None, None]
    assert found.reasons == {"no_preference": 2} and found.size == 7
    assert [r.index for r in found.rows] == list(range(7))
    first = recorded(str(tmp_path / "x.json"), 3)
    assert len(first.rows) == 3 and first.size == 7 and not first.reasons


@pytest.mark.parametrize(
    ("row", "said"),
    [(note("better"), "no number"), (note(2.5), "1..2"), (note(1, output_2=None), "output_2")],
)
def test_what_is_no_annotation(row: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said) as error:
        recorded(str(save(tmp_path / "x.json", [note(1), row])), None)
    assert error.value.where == "x.json:2"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = recorded(str(save(tmp_path / "x.json", noted(1.3, None, 2))), None).rows
    kept = [annotation(r) for r in rows if r.index != 1]
    again = recorded(str(save(tmp_path / "y.json", kept)), None)
    assert again.rows == [rows[0], rows[2]] and again.size is None


def test_one_model_is_read_and_nothing_twice(tmp_path: Path) -> None:
    own, other = noted(1, 2), [{**n, "generator_2": "other"} for n in noted(2, 2)]
    path = str(save(tmp_path / "x.json", [*own, *other]))
    with pytest.raises(DataError, match="2 models: own, other") as error:
        recorded(path, None)
    assert "judge.model" in error.value.repair
    found = recorded(path, None, "own")
    assert [r.preference for r in found.rows] == [0, 1] and found.size == 2
    assert [r.preference for r in recorded(path, 1, "other").rows] == [1]
    for rows, said in ((own * 2, "'i0' twice"), ([{**n, "index": 4} for n in own], "index 4"),
                       ([own[0], {**own[1], "index": 4}], "None is no number")):  # fmt: skip
        with pytest.raises(DataError, match=said):
            recorded(str(save(tmp_path / "y.json", rows)), None)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs BVRANK_REAL_DATA")
def test_the_official_file() -> None:
    path = REAL / "gpt4_1106_preview_model_outputs.json.gz"
    found = Baseline(str(path))
    prompts = list(found.prompts())
    assert len(prompts) == 805 and all(isinstance(p, Prompt) for p in prompts)
    assert sum(len(r.output_1) for r in found.rows.values()) // 805 == 2049
    with gzip.open(path) as file:
        official = json.load(file)
    assert {*official[0]} == {"dataset", "instruction", "output", "generator"}
    assert {r.generator_1 for r in found.rows.values()} == {"gpt4_1106_preview"}
