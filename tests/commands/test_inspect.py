from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands.inspect import main
from bvrank.errors import ConfigError

ROWS = [
    {"prompt": "q1", "chosen": "<think>t</think>aa", "rejected": "<think>u</think>bb"},
    {"prompt": "q2", "chosen": "<think>t</think>aa", "rejected": "<think>t</think>aa"},
    {"prompt": "q3", "chosen": "[red]é", "rejected": "<think>u</think>bb"},
]


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    return {
        "objective": None,
        "data": {
            "_target_": "bvrank.data.pairs.Pairs",
            "path": str(path),
            "bare_from": "reuse",
            "max_length": 4096,
        },
        "model": {"_target_": "bvrank.models.tiny.Tiny"},
        "seed": 0,
        "limit": 3,
        "tokens": 400,
        "store": str(tmp_path / "store"),
        "trusted": [],
        "template": {},
    }


def told(config: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(config) == 0
    return capsys.readouterr().out


def test_scored_spans_stand_in_brackets_view_by_view(
    config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = told(config, capsys)
    assert "== p.jsonl:1" in out and out.index("-- view full") < out.index("-- view bare")
    assert "[[<think>|\u21b5\n|t|\u21b5\n|</think>|\u21b5\n|\u21b5\n|a|a|<|im_end|>]]" in out
    assert "</think>\u21b5\n\u21b5\n\n" in out and "[[a|a|<|im_end|>]]" in out
    assert "[[[|r|e|d|]|é|<|im_end|>]]" in out  # rich's markup in data is text
    assert "2 kept, 1 refused (equal_sides 1)" in out


def test_refusals_and_lengths_are_tabled(
    config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = told({**config, "limit": 0}, capsys)
    assert "==" not in out and "equal_sides" in out and "p.jsonl:2" in out
    assert "longest path" in out and "scored, bare" in out


def test_an_objective_chooses_the_views(
    config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config["objective"] = {"_target_": "bvrank.objectives.dpo.DPO", "view": "bare"}
    out = told(config, capsys)
    assert "-- view bare" in out and "view full" not in out and "scored, full" not in out


def test_what_an_objective_cannot_use_is_refused_as_in_a_run(
    tmp_path: Path, config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": "p", "candidates": ["a", "b"], "relevance": r} for r in ([1, 0], [1, 1])]
    path = tmp_path / "l.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    config["data"] = {"_target_": "bvrank.data.lists.Lists", "path": str(path), "max_length": 4096}
    assert "2 kept, 0 refused" in told(config, capsys)
    config["objective"] = {"_target_": "bvrank.objectives.sdpo.SDPO"}
    assert "1 kept, 1 refused (nothing_to_prefer 1)" in told(config, capsys)
    config["objective"] = {"_target_": "bvrank.objectives.irpo.IRPO"}
    assert "2 kept, 0 refused" in told(config, capsys)


def test_limit_and_tokens_bound_what_is_shown(
    config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = told({**config, "limit": 1, "tokens": 8}, capsys)
    assert out.count("== p.jsonl") == 1 and "... " in out and " tokens ..." in out
    for name, value in (("limit", -1), ("tokens", 7), ("limit", True), ("tokens", "x")):
        with pytest.raises(ConfigError) as caught:
            main({**config, name: value})
        assert caught.value.where == name


def test_the_seed_draws_the_order_of_a_list(
    config: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "l.jsonl"
    row = {"prompt": "q", "candidates": list("abcdefgh"), "relevance": [1] + [0] * 7}
    path.write_text(json.dumps(row))
    config["data"] = {
        "_target_": "bvrank.data.lists.Lists", "path": str(path), "context": "inlist",
    }  # fmt: skip
    first = told(config, capsys)
    assert first == told(config, capsys) != told({**config, "seed": 1}, capsys)
    assert ", \n" in first and "[[a]]" in first


def test_held_out_rows_are_counted_and_a_stop_is_foretold(
    config: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "a run would stop: 33.3% of the rows are faulty" in told(config, capsys)
    config["data"] |= {"max_refused": 0.5, "eval_fraction": 0.5}
    out = told(config, capsys)
    assert "held out: 1 kept" in out and "a run would stop" not in out
    (tmp_path / "h.jsonl").write_text(json.dumps(ROWS[0]))
    config["data"] |= {"eval_fraction": 0.0, "eval_path": str(tmp_path / "h.jsonl")}
    out = told(config, capsys)
    assert "held out: 1 kept, 0 refused" in out and "in_eval 1" in out


def test_pairs_that_training_makes_cannot_be_shown_before(config: dict[str, Any]) -> None:
    config["data"] = {"_target_": "bvrank.data.arithmetic.Arithmetic"}
    with pytest.raises(ConfigError, match="made when training starts"):
        main(config)


def test_no_weights_are_loaded(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from bvrank.models.tiny import Tiny

    monkeypatch.setattr(Tiny, "model", lambda *_: pytest.fail("loads weights"))
    assert main(config) == 0


def test_the_command_line(bvrank: Any) -> None:
    done = bvrank("inspect", "data.path=p.jsonl", "objective=bvpo", "limit=1")
    assert done.code == 0 and done.config["limit"] == 1
    assert done.config["data"]["pairing"] == "prompt"
    assert bvrank("inspect", "data=lists").code == 2  # data.path is asked for
    assert bvrank("inspect", "data=mix", "data.parts.thinking.source.path=a",
                  "data.parts.nothinking.source.path=b").code == 0  # fmt: skip
