"""Every key of `bvrank evaluate` does something: another value changes figures, samples, what a
judge is asked or how responses are drawn; which values are refused instead, and why, stands in a
table too. A key that stands in no table here fails.

What a server's keys do to requests is tested beside the client; here they have to reach it.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("openai")
pytest.importorskip("ir_measures")

from bvrank.commands import evaluate
from bvrank.commands.compose import composed, frozen
from bvrank.errors import BvrankError
from bvrank.evaluation import lengths, lm_eval, style
from bvrank.evaluation.boards import answer_row
from bvrank.evaluation.style import style_of
from bvrank.records import Message
from bvrank.run.identity import flatten
from bvrank.sampling import local
from bvrank.sampling.chat import Reply, Request
from bvrank.sampling.transformers import Sampling
from tests.commands import test_evaluate
from tests.commands.fast import TINY, go, list_rows, on_pairs, pair_rows, write
from tests.evaluation import test_alpaca, test_lm_eval
from tests.evaluation.judges import save
from tests.evaluation.test_lm_eval import harness  # noqa: F401
from tests.options import override
from tests.test_no_silent_sample_option import SERVED

SCORED = (*TINY, "outputs=out", "store=store")
QUICK = (*SCORED, "sampler.max_new_tokens=6", "sampler.sequences=8")
SUMS = ("task.prompts.problems=4", "task.n=2", "task.pass_at=[2]")
LISTS = ("task=ranking", "task.lists.path=lists.jsonl")
FILES = ("task=ranking_run", "outputs=out", "task.run_file=run.txt", "task.qrels=qrels.txt")
JUDGE = ("judge=openai", "judge.server.model=j", "modes=[nothinking]")
ALPACA = ("task=alpaca_eval", "task.path=base.json", *JUDGE)
ARENA = ("task=arena_hard", "task.path=q.jsonl", "task.rules.baseline_path=base.jsonl", *JUDGE)
ROOM: dict[str, tuple[str, ...]] = {
    "": (*QUICK, *SUMS),
    "sampler": (*QUICK, *SUMS),
    "task=arithmetic": (*QUICK, *SUMS),
    "task=gsm8k": (*QUICK, "task=gsm8k", "task.prompts.path=sums.jsonl", "task.prompts.split=null"),
    "task=preference": (*QUICK, "task=preference", "task.pairs.path=pairs.jsonl", "task.n=2"),
    "task=ranking": (*SCORED, *LISTS),
    "task=ranking_run": FILES,
    "task=alpaca_eval": (*QUICK, *ALPACA),
    "task=arena_hard": (*QUICK, *ARENA),
    "task=lm_eval": (*SCORED, "task=lm_eval", "task.tasks=[quiz]"),
    "judge": (*QUICK, *ALPACA),
}  # fmt: skip
DECODING = {"decoding.temperature": ("0.5",), "decoding.top_p": ("0.5",),
            "decoding.max_tokens": ("9",), "decoding.stop": ("[x]",),
            "decoding.seed": ("1",)}  # fmt: skip
COLUMNS = {"split": ("test",), "prompt_column": ("asked",), "system": ("Be brief.",)}
INLIST, WRITTEN = "task.decoder=likelihood.inlist", "task.decoder=generate"
ELSEWHERE = {
    "force": test_evaluate.test_force_measures_again,
    "difficulty_path": test_alpaca.test_win_rate_by_hand,
}
OTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "": {
        "run": ("RUN",), "checkpoint": ("2", "run=RUN"), "suite": ("[arithmetic]",),
        "tasks": ("{arithmetic: {maj: false}}", "suite=[arithmetic]"), "modes": ("[thinking]",),
        "seed": ("1",), "n": ("3",), "limit": ("2",), "precision": ("bf16",), "device": ("cuda",),
        "template.empty_block": ("'<think></think>'",), "template.end_token": ("'<|im_start|>'",),
        "template.file": ("dated.jinja",),
        "template.date": ("2020-01-01", "template.file=dated.jinja"),
        "outputs": ("elsewhere",), "store": ("other", "model.teach.steps=1"),
        "trusted": ("[tests]", f"task._target_={__name__}.Mine", "trusted=[]"),
    },
    "sampler": {
        "temperature": ("0.5",), "top_p": ("0.5",), "max_new_tokens": ("9",), "sequences": ("4",),
    },
    "task=arithmetic": {
        "name": ("sums",), "prompts.problems": ("3",), "prompts.seed": ("1",),
        "prompts.split": ("train",), "n": ("3",), "pass_at": ("[1]",), "maj": ("false",),
        "template": ("'So: {prompt}'",),
    },
    "task=gsm8k": {
        "name": ("sums",), "prompts.path": ("more.jsonl",), "prompts.split": ("test",),
        "prompts.column": ("asked",), "prompts.gold_column": ("other",),
        "prompts.system": ("Be brief.",), "prompts.limit": ("2",), "reward.timeout": ("0.0",),
        "n": ("2",), "pass_at": ("[1]",), "maj": ("false", "task.n=2"),
        "template": ("'So: {prompt}'",),
    },
    "task=preference": {
        "name": ("held",),
        **{f"pairs.{key}": value for key, value in {
            "path": ("more_pairs.jsonl",), "bare_path": ("pairs.jsonl",), "bare_from": ("reuse",),
            "pairing": ("independent",), "view": ("bare", "task.pairs.view_column=nothing"),
            "split": ("test",), "bare_split": ("test", "task.pairs.bare_path=pairs.jsonl"),
            "prompt_column": ("asked",), "chosen_column": ("other",),
            "rejected_column": ("other",), "view_column": ("slot",), "system_column": ("sys",),
        }.items()},
        "reference": ("hf",), "beta": ("1.0",), "n": ("3",), "prompts": ("1",),
        "max_length": ("39",),
    },
    "task=ranking": {
        "name": ("lists",), "lists.path": ("more_lists.jsonl",),
        **{f"lists.{key}": value for key, value in COLUMNS.items()},
        "lists.candidates_column": ("titles",), "lists.relevance_column": ("gains",),
        "lists.rank_column": ("places", INLIST), "decoder": ("likelihood.inlist",),
        "measures": ("[mrr]",), "template": ("'So: {prompt}'",), "reduce": ("mean",),
        "end_token": ("false",), "permutations": ("2", INLIST), "separator": ("' | '", INLIST),
        "n": ("2", WRITTEN), "audit": ("2",),
    },
    "task=ranking_run": {
        "name": ("mine",), "run_file": ("other_run.txt",), "qrels": ("other_qrels.txt",),
        "measures": ("[mrr]",), "no_relevant": ("skip",),
    },
    "task=alpaca_eval": {
        "name": ("board",), "path": ("other_base.json",),
        "prompt": ("'{instruction} {output_1} {output_2}'",), "prompt_file": ("official.txt",),
        "weighted": ("false",), **DECODING,
    },
    "task=arena_hard": {
        "name": ("board",), "path": ("other_q.jsonl",),
        "rules.baseline_path": ("other_base.jsonl",),
        "rules.system": ("Be fair.",), "rules.system_file": ("official.txt",),
        "prompt": ("'{question} {answer_a} {answer_b}'",),
        "others": ("{hard_prompt: {_target_: bvrank.evaluation.rules.Rules, system: Other., "
                   "baseline_path: base.jsonl}}",),
        "edition": ("v2", "judge.server.model=flaky", "judge.max_failed=1.0"),
        "categories": ("[odd]",), "style": ("true",), **DECODING, "decoding.max_tokens": ("12",),
    },
    "task=lm_eval": {
        "name": ("harness",), "tasks": ("[text]",), "shots": ("2",), "chat": ("true",),
        "batch": ("3",),
    },
    "judge": {**SERVED, "opened": ("true", "judge.server.model=half", "judge.max_failed=1.0"),
              "max_failed": ("1.0", "judge.server.model=flaky")},
}  # fmt: skip
REFUSED = {  # values of the tables that are refused, and what is said
    ("", "device"): "no such device here", ("", "trusted"): "there is no such key",
    ("task=gsm8k", "prompts.split"): "has no split 'test'",
    ("task=gsm8k", "reward.timeout"): "must be greater than 0",
    ("task=preference", "pairs.bare_from"): "bare_from=reuse would not train on it",
    ("task=preference", "pairs.split"): "has no split 'test'",
    ("task=preference", "pairs.bare_split"): "has no split 'test'",
    ("task=ranking", "lists.split"): "has no split 'test'",
}  # fmt: skip
LIFTED = {  # values that take a refusal away
    ("", "trusted"): "lies outside bvrank", ("judge", "max_failed"): "stayed without a verdict",
}  # fmt: skip
if torch.cuda.is_available():
    REFUSED.pop(("", "device"))
KEYS = [(room, key, other) for room, keys in OTHER.items() for key, other in keys.items()]
CALLS: Counter[str] = Counter()
USUAL: dict[tuple[str, ...], dict[str, Any]] = {}  # what was observed before a change, by its words


class Mine:
    """A task of somebody's own, which is not trusted."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the tables name; a run of two checkpoints is in it."""
    place = tmp_path_factory.mktemp("options")
    run = go(on_pairs(tmp_path_factory.mktemp("run"), "checkpoint.every=1", "steps=3",
                      "checkpoint.keep=3"))  # fmt: skip
    shutil.copytree(run, place / "RUN")
    shutil.copytree(run / "checkpoints" / "step-000003" / "policy", place / "hf")
    sums = [{"question": f"What is {i}+{i}?", "asked": f"{i} twice?", "answer": f"{2 * i}",
             "other": "seven"} for i in range(3)]  # fmt: skip
    pairs = [{**row, "asked": "why?", "other": {"think": "z", "answer": "no"}, "slot": "full",
              "sys": "Be brief."} for row in pair_rows(3)]  # fmt: skip
    pairs[-2]["rejected"] = {"think": "no idea at all", "answer": "6"}  # longer than the others
    lists = [{**row, "asked": "else", "titles": row["candidates"][::-1],
              "gains": row["relevance"][::-1], "places": [*range(1, len(row["candidates"]) + 1)]}
             for row in list_rows()]  # fmt: skip
    for name, rows in {
        "sums": sums, "more": sums[:2], "pairs": pairs, "more_pairs": pairs[:2], "lists": lists,
        "more_lists": lists[:4],
        "q": [{"uid": f"u{i}", "question_id": f"u{i}", "cluster": "even" if i % 2 else "odd",
               "category": "hard_prompt" if i % 2 else "odd", "prompt": f"t {i}",
               "turns": [{"content": f"t {i}"}]} for i in range(4)],
    }.items():  # fmt: skip
        write(place / f"{name}.jsonl", rows)
    write(place / "other_q.jsonl", [json.loads(line) for line in (
        place / "q.jsonl").read_text().splitlines()][:3])  # fmt: skip
    for name in ("base", "other_base"):
        save(place / f"{name}.json", [
            {"dataset": "d", "instruction": f"task {i}", "output": f"{name} {i}",
             "generator": "base"} for i in range(4)])  # fmt: skip
        save(place / f"{name}.jsonl", [
            answer_row(f"u{i}", (Message("user", f"t {i}"),), name, f"{name} answer {i}", "id",
                       style_of(f"{name} answer {i}"), 0.0) for i in range(4)])  # fmt: skip
    (place / "run.txt").write_text("q1 Q0 a 1 2.0 x\nq1 Q0 b 2 1.0 x\nq2 Q0 a 1 1.0 x\n")
    (place / "other_run.txt").write_text("q1 Q0 b 1 2.0 x\nq2 Q0 a 1 1.0 x\n")
    (place / "qrels.txt").write_text("q1 0 b 1\nq2 0 a 0\n")
    (place / "other_qrels.txt").write_text("q1 0 a 1\nq2 0 a 1\n")
    (place / "official.txt").write_text("{instruction} or {output_1} or {output_2}")
    (place / "dated.jinja").write_text(
        "{%- for m in messages -%}{{ date_string }}|user\n{{ m.content }}<|im_end|>{%- endfor -%}"
        "{%- if add_generation_prompt -%}A:{%- endif -%}"
    )
    return place


@pytest.fixture
def files(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    for module in (lengths, style):
        monkeypatch.setattr(module, "DRAWS", 5)
    return made


@pytest.mark.parametrize(("room", "key", "other"), KEYS)
def test_another_value_changes_something(
    room: str, key: str, other: tuple[str, ...], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, *beside = other
    base = (*ROOM[room], *beside)
    if base not in USUAL:
        USUAL[base] = observed(files, base, monkeypatch)
    changed = observed(files, (*base, override(room, key, value)), monkeypatch)
    assert USUAL[base] != changed, f"{key}={value} changes nothing"
    for found, table in ((USUAL[base], LIFTED), (changed, REFUSED)):
        said = table.get((room, key))
        assert ("error" in found) == (said is not None), found
        assert (said or "") in str(found)


@pytest.mark.parametrize("room", ROOM)
def test_the_usual_values_run(room: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every change above would be told from an error."""
    assert "error" not in observed(files, ROOM[room], monkeypatch)


@pytest.mark.parametrize("room", ROOM)
def test_every_key_stands_in_a_table(room: str) -> None:
    group = room.partition("=")[0]
    config = frozen(composed("evaluate", ROOM[room]))
    groups = ("model", "sampler", "task", "judge", "optimizer")
    node = config[group] if group else {k: v for k, v in config.items() if k not in groups}
    if group == "task":
        node = {k: v for k, v in node.items() if k != "judge"}
    keys = {k for k in flatten(node) if not k.endswith("_target_")}
    table = OTHER[room]
    keys = {next((t for t in table if k == t or k.startswith(f"{t}.")), k) for k in keys}
    assert keys - set(ELSEWHERE) == set(table) - set(ELSEWHERE), keys ^ set(table)


def observed(place: Path, words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is drawn and asked for, and what is found, but for the config and its hashes."""
    for left in ("out", "elsewhere", "store", "other", "RUN/evals"):
        shutil.rmtree(place / left, ignore_errors=True)
    CALLS.clear()
    if any(word.startswith("run=") for word in words):  # it has its own model
        words = [word for word in words if not word.startswith("model.")]
    with monkeypatch.context() as patched:
        patched.setenv("SOME_KEY", "k" * 40)
        _heard(patched)
        try:
            assert evaluate.main(frozen(composed("evaluate", [*words]))) == 0
        except BvrankError as error:
            return {"error": str(error)}
    found: dict[str, Any] = {"calls": Counter(CALLS), "where": [], "found": []}
    for path in sorted(place.rglob("result.json")):
        told = json.loads(path.read_text())
        found["where"].append(str(path.relative_to(place)).rpartition("-")[0])
        found["found"].append({k: v for k, v in told.items() if k != "settings"})
        found["found"].append((path.parent / "samples.jsonl").read_text())
    found["stores"] = sorted({p.parts[0] for p in (q.relative_to(place) for q in place.rglob("*"))})
    return found


def _heard(patched: pytest.MonkeyPatch) -> None:
    """Counts what is asked of the policy, of a judge and of the harness."""
    real = local.sampled

    def sampled(model: Any, prompts: Sequence[list[int]], batches: Iterable[list[int]],
                sampling: Sampling, **how: Any) -> Iterator[Any]:  # fmt: skip
        told, dtype = list(batches), next(model.parameters()).dtype
        CALLS[f"{sampling} {how['seed']} {how['stop_ids']} {dtype}"] += 1
        CALLS[f"{prompts} {told}"] += 1
        yield from real(model, prompts, told, sampling, **how)

    def complete(server: Any, requests: Iterable[Request], **_: Any) -> Iterator[Any]:
        for number, request in enumerate(requests):
            CALLS[f"{server} {request}"] += 1
            silent = server.model == "flaky" and number == 0
            told = "so\n</think>\n\n" if server.model == "half" and number % 2 else ""
            text = "hm" if silent else "m" if request.decoding.max_tokens <= 9 else "[[A>B]]"
            yield Reply(request.key, told + text, None, "stop", 1, 1, "m", None, 1, 0.1)

    def harness_of(self: Any, desk: Any) -> Any:
        found = _run(self, desk)
        CALLS[str({k: v for k, v in test_lm_eval.CALLS[-1].items() if k != "model"})] += 1
        CALLS[str(vars(test_lm_eval.CALLS[-1]["model"]).get("batch_size"))] += 1
        tasks = test_lm_eval.CALLS[-1]["tasks"]
        return {part: {t: v for t, v in found[part].items() if t in tasks}
                for part in ("results", "samples", "versions")}  # fmt: skip

    _run = lm_eval.LmEval._run
    patched.setattr(lm_eval.LmEval, "_run", harness_of)
    patched.setattr(local, "sampled", sampled)
    patched.setattr("bvrank.evaluation.judging.complete", complete)
