"""Tasks by suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from bvrank.commands import evaluate
from bvrank.commands.build import build
from bvrank.commands.compose import composed, frozen
from bvrank.commands.suites import clipped, task_nodes
from bvrank.errors import ConfigError
from tests.commands.line import ROOT


def test_every_suite_is_of_tasks() -> None:
    for path in (ROOT / "conf" / "suites").glob("*.yaml"):
        nodes = task_nodes(frozen(composed("evaluate", [f"suite={path.stem}"])))
        assert nodes and all(build(node, name).name == name for name, node in nodes.items())


def test_what_is_said_of_a_task_of_a_suite_counts() -> None:
    words = ["suite=math", "++tasks.aime24.prompts.path=x.jsonl", "++tasks.amc23.n=2"]
    nodes = task_nodes(frozen(composed("evaluate", words)))
    assert nodes["aime24"]["prompts"]["path"] == "x.jsonl" and nodes["aime24"]["n"] == 32
    assert nodes["amc23"]["n"] == 2 and nodes["aime25"]["n"] == 32


def test_a_task_that_is_not_in_the_suite_is_told() -> None:
    config = frozen(composed("evaluate", ["suite=[gsm8k]", "++tasks.gsm8.n=2"]))
    with pytest.raises(ConfigError, match=r"tasks\.gsm8: is no task .*mean 'gsm8k'"):
        task_nodes(config)


def test_what_a_task_of_a_suite_needs_is_given_or_told() -> None:
    words = ["suite=[arithmetic,preference]", "++tasks.preference.pairs.path=p.jsonl"]
    nodes = task_nodes(frozen(composed("evaluate", words)))
    assert nodes["preference"]["pairs"]["path"] == "p.jsonl"
    with pytest.raises(ConfigError, match=r"tasks\.preference\.pairs\.path: needs a value"):
        task_nodes(frozen(composed("evaluate", words[:1])))
    with pytest.raises(ConfigError, match=r"tasks\.ranking_run\.run_file: needs a value"):
        task_nodes(frozen(composed("evaluate", ["suite=[ranking_run]"])))


@pytest.mark.parametrize(
    ("words", "k"),
    [([], [32]), (["n=4"], [4]), (["n=64"], [32]), (["n=1"], []), (["++tasks.aime24.n=8"], [8]),
     (["n=4", "++tasks.aime24.pass_at=[2,4]"], [2, 4]), (["n=4", "++tasks.aime24.pass_at=[]"], []),
     (["n=4", "++tasks.aime24.pass_at=[8]"], [8])],
)  # fmt: skip
def test_a_task_s_own_pass_at_is_clipped_and_what_the_user_says_is_not(
    words: list[str], k: list[int]
) -> None:
    config = frozen(composed("evaluate", ["suite=[aime24,gsm8k]", *words]))
    nodes, n = task_nodes(config), config["n"]
    assert nodes["aime24"]["pass_at"] == k and nodes["gsm8k"]["pass_at"] == []
    own = not any("pass_at" in word for word in words)
    told = {4: "pass@4 in place of the task's own pass@32, as n=4",
            1: "no pass@k in place of the task's own pass@32, as n=1"}  # fmt: skip
    assert clipped(config) == ({"aime24": told[n]} if own and n in told else {})


def test_a_task_in_place_of_a_suite_is_told() -> None:
    with pytest.raises(ConfigError, match=r"no suite 'preference'. It is a task: task=preference"):
        task_nodes(frozen(composed("evaluate", ["suite=preference"])))


def test_a_task_of_a_suite_is_judged_by_the_judge_of_the_command(tmp_path: Path) -> None:
    """As the same task alone is; one of two can have a judge of its own."""
    judge = ["judge=openai", "judge.server.model=j"]
    alone = task_nodes(frozen(composed("evaluate", ["task=alpaca_eval", *judge])))
    words = ["suite=[alpaca_eval,arena_hard]", *judge]
    assert task_nodes(frozen(composed("evaluate", words)))["alpaca_eval"] == alone["alpaca_eval"]
    other = "tasks.arena_hard.judge.server.model=k"
    nodes = task_nodes(frozen(composed("evaluate", [*words, other])))
    assert [n["judge"]["server"]["model"] for n in nodes.values()] == ["j", "k"]
    paths = [f"tasks.{name}.path={tmp_path / 'b.json'}" for name in nodes]
    served = ["sampler=openai", "sampler.server.model=m"]
    asked = evaluate.request(frozen(composed("evaluate", [*words, *paths, *served])))
    assert [task.judge.server.model for task in asked.tasks.values()] == ["j", "j"]


def test_without_a_judge_a_task_of_a_suite_has_none() -> None:
    with pytest.raises(ConfigError, match=r"tasks\.alpaca_eval\.judge: nobody judges"):
        evaluate.request(frozen(composed("evaluate", ["suite=[alpaca_eval]"])))
