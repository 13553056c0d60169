"""The bridge to lm-evaluation-harness, against a module that answers as it does."""

from __future__ import annotations

import importlib.machinery
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bvrank.errors import ConfigError
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.lm_eval import LmEval
from bvrank.evaluation.result import Measured, figures, write_result

FOUND = {
    "results": {
        "quiz": {"alias": "quiz", "acc,none": 0.75, "acc_stderr,none": 0.25,
                 "exact_match,strict": 0.5, "exact_match_stderr,strict": 0.3},
        "text": {"alias": "text", "word_perplexity,none": 7.0, "word_perplexity_stderr,none": 0.5,
                 "mcc,none": 0.1, "mcc_stderr,none": "N/A"},
    },
    "samples": {
        "quiz": [{"doc_id": i, "filter": kind, "target": "a", "filtered_resps": ["b"],
                  "metrics": ["acc", "exact_match"], "acc": float(i > 0), "exact_match": i % 2}
                 for kind in ("none", "strict") for i in range(4)],
        "text": [{"doc_id": i, "filter": "none", "word_perplexity": (-3.0, 2), "mcc": i}
                 for i in range(2)],
    },
    "versions": {"quiz": 1.0, "text": 2.0},
    "higher_is_better": {"quiz": {"acc": True, "exact_match": True},
                         "text": {"word_perplexity": False, "mcc": None}},
}  # fmt: skip
CALLS: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def harness(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much of the harness as is called."""
    CALLS.clear()

    def simple_evaluate(**how: Any) -> Any:
        CALLS.append(how)
        return FOUND

    class HFLM(SimpleNamespace):
        pass

    class TaskManager:
        def match_tasks(self, names: list[str]) -> list[str]:
            return [n for n in names if n in ("quiz", "text")]

    parts = {"lm_eval": {"simple_evaluate": simple_evaluate}, "lm_eval.models": {},
             "lm_eval.models.huggingface": {"HFLM": HFLM},
             "lm_eval.tasks": {"TaskManager": TaskManager}}  # fmt: skip
    for name, values in parts.items():
        module = ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)


def measured(folder: Path, **values: Any) -> Measured:
    policy = SimpleNamespace(model="weights", tokenizer="tokens")
    desk = Desk(folder, ("thinking",), 3, None, policy, limit=4)
    return LmEval("t", **({"tasks": ["quiz", "text"]} | values)).measure(desk)


def test_means_of_samples_are_cells(tmp_path: Path) -> None:
    found = measured(tmp_path)
    assert found.cells["quiz/acc"] == {f"quiz:{i}": float(i > 0) for i in range(4)}
    assert found.cells["quiz/exact_match@strict"] == {f"quiz:{i}": float(i % 2) for i in range(4)}
    assert not set(found.intervals) & {"quiz/acc", "quiz/exact_match@strict"}
    assert figures(found)["quiz/acc"].value == 0.75
    assert found.notes[-1] == "n, modes and sampler do not apply"


def test_what_is_no_mean_has_the_harness_value_and_error(tmp_path: Path) -> None:
    found = measured(tmp_path)
    value, error, low, high = found.intervals["text/word_perplexity"]
    assert (value, error) == (7.0, 0.5) and (low, high) == pytest.approx((6.02, 7.98), abs=1e-3)
    value, error, *_ = found.intervals["text/mcc"]  # its samples' mean is another number
    assert value == 0.1 and math.isnan(error)
    result = write_result(tmp_path, found, {"task": "t", "version": 1, "step": None, "model": "m",
                                            "settings": {}})  # fmt: skip
    assert result.figures["text/word_perplexity"].value == 7.0
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 10


def test_what_the_harness_is_asked(tmp_path: Path) -> None:
    measured(tmp_path, shots=2, chat=True, batch=3)
    (how,) = CALLS
    assert (how["model"].pretrained, how["model"].tokenizer) == ("weights", "tokens")
    assert how["model"].batch_size == 3 and how["tasks"] == ["quiz", "text"]
    assert (how["num_fewshot"], how["limit"], how["apply_chat_template"]) == (2, 4, True)
    assert how["fewshot_random_seed"] == how["random_seed"] == 3
    assert how["use_cache"].startswith(str(tmp_path)) and how["log_samples"]


def test_a_task_that_it_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.tasks: .* has no task 'riddle'"):
        measured(tmp_path, tasks=["quiz", "riddle"])
    assert not CALLS


@pytest.mark.parametrize(
    ("values", "where"), [({"tasks": []}, "tasks"), ({"tasks": ["a", "a"]}, "tasks"),
                          ({"shots": -1}, "shots"), ({"batch": 0}, "batch")],
)  # fmt: skip
def test_settings_that_cannot_be(values: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as stop:
        LmEval("t", **({"tasks": ["quiz"]} | values))
    assert stop.value.where == where


def test_who_lacks_the_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"lm_eval is not installed.*bvrank\[lm-eval\]"):
        LmEval("t", ["quiz"])


def test_which_way_is_better_is_what_the_harness_says(tmp_path: Path) -> None:
    assert measured(tmp_path).higher == {
        "quiz/acc": True, "quiz/exact_match@strict": True, "text/word_perplexity": False,
    }  # fmt: skip
