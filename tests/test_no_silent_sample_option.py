"""Every key of `bvrank sample` does something: another value changes what is drawn, what is asked
of a server, what is written, or is refused. A key that stands in no table here fails.

What a server's keys do to requests is tested beside the client; here they have to reach it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import sample
from bvrank.commands.compose import composed, frozen
from bvrank.errors import BvrankError
from bvrank.run.identity import flatten
from bvrank.sampling import local
from bvrank.sampling.chat import Failure, Reply, Request
from bvrank.sampling.transformers import Sampling
from tests.commands import test_sample
from tests.commands.fast import write
from tests.options import override
from tests.sampling.saying import saying, usual

pytest.importorskip("openai")

ELSEWHERE = {"force": test_sample.test_force_moves_the_older_one_aside}
TINY = (
    "model.teach.steps=0", "model.hidden_size=16", "model.heads=2", "model.layers=1",
    "model.intermediate_size=16", "model.teach.problems=20", "model.teach.batch=2",
)  # fmt: skip
QUICK = ("check.rows=0", "outputs=out", "store=store", "n=3")
POLICY = (*TINY, "sampler.sequences=8")
FILE = ("prompts=file", "prompts.path=prompts.jsonl", "prompts.gold_column=gold")
SERVER = ("sampler=openai", "sampler.server.model=m", "prompts.problems=6")
TRUST = ("trusted=[tests]", "reward=python", f"reward.function={__name__}.lengths")
ROOM: dict[str, tuple[str, ...]] = {
    "": (*POLICY, *FILE),
    "model=tiny": (*POLICY, "prompts.problems=6"),
    "prompts=arithmetic": (*POLICY, "prompts.problems=6"),
    "prompts=file": (*POLICY, *FILE),
    "sampler=transformers": (*POLICY, "prompts.problems=6"),
    "sampler=recorded": (
        "prompts=file", "prompts.path=rollouts.jsonl", "sampler=recorded", "modes=[thinking]",
        "reward=recorded", "sampler.score_column=score",
    ),
    "sampler=openai": (*SERVER, *TRUST),
    "reward=judge": (*SERVER, "reward=judge", "reward.server.model=j"),
    "reward=python": (*POLICY, "prompts.problems=6", *TRUST),
    "launcher=torchrun": (*POLICY, "prompts.problems=6"),
}  # fmt: skip
SERVED = {
    "server.model": ("n",), "server.base_url": ("http://127.0.0.1:9/v1",),
    "server.api_key_env": ("SOME_KEY",), "server.concurrency": ("2",),
    "server.requests_per_minute": ("9",), "server.tokens_per_minute": ("99999",),
    "server.timeout": ("3.0",), "server.retries": ("1",), "server.stream": ("false",),
    "server.backoff": ("{initial: 0.5, maximum: 2.0, patience: 3.0}",),
    "server.extra_body": ("{top_k: 3}",), "server.max_tokens_field": ("max_completion_tokens",),
}  # fmt: skip
OTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "": {
        "seed": ("1",), "n": ("2",), "modes": ("[thinking]",), "select.rule": ("random",),
        "select.margin": ("3.0",), "select.unfinished": ("keep",), "select.duplicates": ("drop",),
        "select.traces": ("2",), "check.rows": ("2",), "check.tolerance": ("1e9", "check.rows=2"),
        "formats": ("[jsonl]",), "precision": ("bf16",), "device": ("cuda",),
        "template.empty_block": ("'<think></think>'",), "template.end_token": ("'<|im_start|>'",),
        "template.file": ("dated.jinja",),
        "template.date": ("2020-01-01", "template.file=dated.jinja"),
        "max_refused": ("0.5", "prompts.path=flawed.jsonl"),
        "dry_run": ("true",), "name": ("mine",), "outputs": ("elsewhere",),
        "store": ("other", "model.teach.steps=1"), "trusted": ("[tests]", *TRUST, "trusted=[]"),
    },
    "model=tiny": {
        "hidden_size": ("24",), "layers": ("2",), "heads": ("1",), "intermediate_size": ("24",),
        "teach.steps": ("1",), "teach.seed": ("1",),
        "teach.batch": ("3", "model.teach.steps=1"), "teach.lr": ("0.1", "model.teach.steps=1"),
        "teach.problems": ("30", "model.teach.steps=1"),
        "teach.nothinking": ("1.0", "model.teach.steps=1"),
        "lora.r": ("2",), "lora.alpha": ("4", "model.lora.r=2"),
        "lora.dropout": ("0.5", "model.lora.r=2"), "lora.targets": ("[q_proj]", "model.lora.r=2"),
        "lora.path": ("nowhere",),
    },
    "prompts=arithmetic": {"problems": ("5",), "seed": ("1",), "split": ("test",)},
    "prompts=file": {
        "path": ("more.jsonl",), "split": ("test",), "column": ("other",),
        "gold_column": ("answer",), "system": ("Be brief.",), "limit": ("3",),
    },
    "sampler=transformers": {
        "temperature": ("0.5",), "top_p": ("0.5",), "max_new_tokens": ("9",), "sequences": ("4",),
    },
    "sampler=recorded": {
        "path": ("more_rollouts.jsonl",), "split": ("test",), "prompt_column": ("other",),
        "completion_column": ("said",), "mode": ("nothinking",), "score_column": ("worth",),
        "system": ("Be brief.",),
        "opened": ("true", "sampler.completion_column=shut"), "finished_column": ("ended",),
    },
    "sampler=openai": {
        **SERVED, "server.thinking_body": ("{a: 1}",), "server.nothinking_body": ("{a: 1}",),
        "temperature": ("0.1",), "top_p": ("0.5",), "max_new_tokens": ("9",), "opened": ("true",),
        "seeded": ("false",), "max_failed": ("1.0", "sampler.server.model=flaky"),
    },
    "reward=judge": {
        **SERVED, "prompt": ("'{prompt} {answer}'",), "rating": ("'(\\d)$'",),
        "lowest": ("9.5",), "highest": ("1.5",), "samples": ("2",),
        "max_failed": ("1.0", "reward.server.model=flaky"),
        "decoding.temperature": ("0.5",), "decoding.top_p": ("0.5",),
        "decoding.max_tokens": ("9",), "decoding.stop": ("[x]",), "decoding.seed": ("1",),
    },
    "reward=python": {
        "function": (f"{__name__}.backwards",), "batch": ("2",), "version": ("2",),
    },
    "launcher=torchrun": {
        "processes": ("2",), "nodes": ("2", "launcher.rendezvous=127.0.0.1:29500"),
        "rendezvous": ("127.0.0.1:29501", "launcher.nodes=2"),
        "timeout": ("5.0", "launcher.processes=2"),
    },
}  # fmt: skip
KEYS = [
    (room, key, other) for room, keys in OTHER.items() for key, other in keys.items()
]  # fmt: skip
CALLS: Counter[str] = Counter()


def lengths(rows: list[dict[str, Any]]) -> list[float]:
    """A reward of one's own."""
    CALLS[f"{len(rows)} rows"] += 1
    return [float(row["answer"].rpartition(" ")[2]) for row in rows]


def backwards(rows: list[dict[str, Any]]) -> list[float]:
    """Another one."""
    return [-value for value in lengths(rows)]


@pytest.fixture
def files(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with everything that the tables name."""
    place = tmp_path_factory.mktemp("options")
    sums = [{"prompt": f"{i}+{i}=?", "other": f"{i}+1=?", "gold": f"{2 * i}", "answer": "7"}
            for i in range(6)]  # fmt: skip
    rollouts = [
        {"prompt": f"p{i}", "other": "q", "score": c, "worth": -c, "ended": c != 1,
         "completion": f"<think>\nt{c}\n</think>\n\na{c}", "said": f"<think>\nt</think>\n\nb{c}",
         "shut": f"t{c}\n</think>\n\nb{c}" if c % 2 else "t"}
        for i in range(3) for c in range(4)
    ]  # fmt: skip
    for name, rows in {
        "prompts": sums, "more": [*sums, {"prompt": "9+0=?", "gold": "9"}], "rollouts": rollouts,
        "flawed": [*sums, {"prompt": "<|im_end|>"}], "more_rollouts": rollouts[:8],
    }.items():  # fmt: skip
        write(place / f"{name}.jsonl", rows)
    (place / "dated.jinja").write_text(
        "{%- for m in messages -%}{{ date_string }}|user\n{{ m.content }}<|im_end|>{%- endfor -%}"
        "{%- if add_generation_prompt -%}A:{%- endif -%}"
    )
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize(("room", "key", "other"), KEYS)
def test_another_value_changes_something(
    room: str, key: str, other: tuple[str, ...], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, *beside = other
    base = (*QUICK, *ROOM[room], *beside)
    word = override(room, key, value)
    changed = observed(files, (*base, word), monkeypatch)
    assert observed(files, base, monkeypatch) != changed, f"{key}={value} changes nothing"


@pytest.mark.parametrize("room", ROOM)
def test_the_usual_values_run(room: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every change above would be told from an error."""
    assert "error" not in observed(files, (*QUICK, *ROOM[room]), monkeypatch)


@pytest.mark.parametrize("room", ROOM)
def test_every_key_stands_in_a_table(room: str) -> None:
    group = room.partition("=")[0]
    config = frozen(composed("sample", (*QUICK, *ROOM[room])))
    groups = {r.partition("=")[0] for r in ROOM}
    node = config[group] if group else {k: v for k, v in config.items() if k not in groups}
    keys = {k for k in flatten(node) if not k.endswith("_target_")}
    keys = {known for k in keys for known in [_known(k, OTHER[room])]}
    assert keys - set(ELSEWHERE) == set(OTHER[room]), keys ^ set(OTHER[room])


def _known(key: str, table: dict[str, tuple[str, ...]]) -> str:
    """The key of the table that `key` lies in: a mapping is one value there."""
    return next((k for k in table if key == k or key.startswith(f"{k}.")), key)


def observed(
    place: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What is drawn and asked for, and what is left, but for the config and its hashes."""
    for made in ("out", "elsewhere", "store", "other"):
        shutil.rmtree(place / made, ignore_errors=True)
    CALLS.clear()
    with monkeypatch.context() as patched:
        patched.setenv("SOME_KEY", "k" * 40)
        saying(patched, often)
        heard(patched)
        try:
            sample.main(frozen(composed("sample", words)))
        except BvrankError as error:
            return {"error": str(error)}
    return {"calls": Counter(CALLS), **left(place)}


def often(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
    """Right and wrong answers; of a right one there are two, and of three wrong ones two are cut
    off in some modes."""
    text, _ = usual(answer, thinking, min(turn, 1))
    return text, turn < 2 or not thinking


def heard(patched: pytest.MonkeyPatch) -> None:
    """Counts what is asked of the policy, of servers and of the launcher."""
    real = local.sampled

    def sampled(model: Any, prompts: Sequence[list[int]], batches: Iterable[list[int]],
                sampling: Sampling, **how: Any) -> Iterator[Any]:  # fmt: skip
        weights = [p.detach().double().sum().item() for p in model.parameters()]
        scales = [getattr(m, "scaling", None) for m in model.modules()]
        rates = [getattr(m, "p", None) for m in model.modules()]
        dtype = next(model.parameters()).dtype
        told = list(batches)
        CALLS[
            f"{sampling} {how['seed']} {how['stop_ids']} {dtype} {sum(weights)} {scales} {rates}"
        ] += 1
        CALLS[f"{prompts} {told}"] += 1
        yield from real(model, prompts, told, sampling, **how)

    def complete(server: Any, requests: Iterable[Request], **_: Any) -> Iterator[Any]:
        for request in requests:
            CALLS[f"{server} {request}"] += 1
            if server.model == "flaky" and request.key in ("0:0", "thinking:0:0#0"):
                yield Failure(request.key, "timeout", "no reply", 1)
                continue
            number = sum(map(ord, request.key)) + (request.decoding.seed or 0) % 7
            text = f"Rating: [[{number % 10}]] {number % 10}"
            yield Reply(request.key, text, None, "stop", 1, 1, "m", None, 1, 0.1)

    def launched(launcher: Any, config: Any, name: str, command: str) -> int:
        CALLS[f"{launcher}"] += 1
        return 0

    patched.setattr(local, "sampled", sampled)
    patched.setattr("bvrank.sampling.served.complete", complete)
    patched.setattr("bvrank.rewards.judge.complete", complete)
    patched.setattr(sample, "launch", launched)


def left(place: Path) -> dict[str, Any]:
    """The rows, counts and files below outputs and store."""
    found: dict[str, Any] = {"store": Counter(), "files": [], "rows": []}
    for run in [p for o in ("out", "elsewhere") for p in sorted((place / o).glob("*"))]:
        name = "by content" if run.name.count("-") >= 3 else run.name
        found["files"] += sorted(f"{run.parent.name}/{name}/{p.name}" for p in run.iterdir())
        found["rows"] += [p.read_text() for p in sorted(run.glob("*.jsonl"))]
        with contextlib.suppress(FileNotFoundError):
            told = json.loads((run / "told.json").read_text())
            found["rows"] += [told["counts"], told["agreement"]]
    for store in ("store", "other"):
        found["store"].update(
            f"{store}/{p.parent.name}" for p in (place / store).rglob("*") if p.is_file()
        )
    return found
