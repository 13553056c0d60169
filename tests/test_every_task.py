"""Every task of conf/task on the tiny model, from the command line to figures, in a smoke size."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")
pytest.importorskip("ir_measures")
pytest.importorskip("math_verify")

from bvrank.commands import evaluate
from bvrank.commands.compose import composed, frozen
from bvrank.evaluation import lengths, style
from bvrank.evaluation.boards import answer_row
from bvrank.evaluation.result import read_result
from bvrank.evaluation.style import style_of
from bvrank.records import Message
from bvrank.run.record import read_manifest
from tests.commands.fast import go, list_rows, on_pairs, pair_rows, write
from tests.commands.line import ROOT
from tests.evaluation.judges import save
from tests.evaluation.test_lm_eval import harness  # noqa: F401
from tests.servers import ChatServer, chatting

TASKS = sorted(p.stem for p in (ROOT / "conf" / "task").glob("*.yaml"))
ANSWERS = {"aime24": ("problem", "answer"), "aime25": ("problem", "answer"),
           "amc23": ("question", "answer"), "gsm8k": ("question", "answer"),
           "math500": ("problem", "answer"), "minerva": ("question", "answer"),
           "olympiadbench": ("question", "final_answer")}  # fmt: skip
WHOLE = ("task.n=2", "task.pass_at=[2]")
SCORED = ("lm_eval", "ranking", "ranking_run")  # nothing is drawn


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    """A judge that finds everything equal, in the form of either board."""
    with chatting() as found:
        found.said = lambda body: (None, _verdict(body), "stop")
        yield found


def _verdict(body: Any) -> str:
    return "m" if body.get("max_tokens") == 1 else "Well. [[A=B]]"


def words(task: str, place: Path, url: str) -> list[str]:
    """What the task needs beside its name."""
    if task in ANSWERS:
        question, gold = ANSWERS[task]
        rows = [{question: f"What is {n}+{n}?", gold: str(2 * n)} for n in range(3)]
        path = write(place / "problems.jsonl", rows)
        return [f"task.prompts.path={path}", "task.prompts.split=null", *WHOLE]
    judge = ["judge=openai", "judge.server.model=tiny", f"judge.server.base_url={url}"]
    if task == "alpaca_eval":
        rows = [{"dataset": "d", "instruction": f"task {i}", "output": f"base {i}",
                 "generator": "base"} for i in range(4)]  # fmt: skip
        return [*judge, f"task.path={save(place / 'base.json', rows)}"]
    if task.startswith("arena_hard"):
        field = "category" if task == "arena_hard_v2" else "cluster"
        asked = [{"uid": f"u{i}", "question_id": f"u{i}", field: "hard_prompt", "prompt": f"t {i}",
                  "turns": [{"content": f"t {i}"}]} for i in range(4)]  # fmt: skip
        base = [answer_row(f"u{i}", (Message("user", f"t {i}"),), "base", f"answer {i}", "id",
                           style_of(f"answer {i}"), 0.0) for i in range(4)]  # fmt: skip
        baseline = save(place / "base.jsonl", base)
        return [*judge, f"task.path={save(place / 'q.jsonl', asked)}",
                f"task.rules.baseline_path={baseline}"]  # fmt: skip
    others = {
        "arithmetic": lambda: ["task.prompts.problems=3", *WHOLE],
        "preference": lambda: [f"task.pairs.path={write(place / 'pairs.jsonl', pair_rows(3))}",
                               "task.reference=start", "task.n=2"],
        "ranking": lambda: [f"task.lists.path={write(place / 'lists.jsonl', list_rows())}",
                            "task.audit=2"],
        "ranking_run": lambda: trec(place),
        "lm_eval": lambda: ["task.tasks=[quiz]"],
    }  # fmt: skip
    return others[task]()


def trec(place: Path) -> list[str]:
    (place / "run.txt").write_text("q1 Q0 a 1 2.0 x\nq1 Q0 b 2 1.0 x\nq2 Q0 a 1 1.0 x\n")
    with gzip.open(place / "qrels.gz", "wt") as file:
        file.write("q1 0 b 1\nq2 0 a 2\n")
    return [f"task.run_file={place / 'run.txt'}", f"task.qrels={place / 'qrels.gz'}"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tiny model that every task measures."""
    return go(on_pairs(tmp_path_factory.mktemp("run")))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_measures_the_policy_of_a_run(
    task: str, tmp_path: Path, trained: Path, server: ChatServer,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Figures with their n, samples beside them, the same figures at a second call."""
    for module in (lengths, style):
        monkeypatch.setattr(module, "DRAWS", 20)
    drawn = [] if task in SCORED else ["sampler.max_new_tokens=6", "modes=[thinking]"]
    about = [f"outputs={tmp_path}"] if task == "ranking_run" else [f"run={trained}", *drawn]
    asked = [f"task={task}", *about, "limit=3", f"store={tmp_path / 'store'}"]
    config = frozen(composed("evaluate", [*asked, *words(task, tmp_path, server.url)]))
    assert evaluate.main(config) == 0
    request = evaluate.request(config)
    folder = request.folder(task)
    assert folder.is_relative_to(tmp_path if task == "ranking_run" else trained / "evals")
    found = read_result(folder)
    assert found.task == task and found.figures and read_manifest(folder)["status"] == "finished"
    for name, figure in found.figures.items():
        assert math.isfinite(figure.value), name
        assert figure.prompts >= 1 or name == "text/word_perplexity"  # no mean over prompts
    samples = (folder / "samples.jsonl").read_text().splitlines()
    assert samples and all(json.loads(line) for line in samples)
    said = capsys.readouterr().out
    assert f"{task}: " in said and str(folder) in said
    assert evaluate.main(config) == 0 and capsys.readouterr().out == said
