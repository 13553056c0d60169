"""What is wrong ends in one line that names the place and the repair, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bvrank.commands import session, train
from bvrank.commands.compose import composed, flat_keys, frozen
from bvrank.commands.guard import explained, guarded
from bvrank.models.tiny import tiny_model, tiny_tokenizer
from bvrank.run.store import damage
from tests.commands.fast import TINY, config, list_rows, on_lists, on_pairs, pair_rows, write

GOOD = json.dumps(pair_rows(1)[0]) + "\n"
CUT = gzip.compress(GOOD.encode() * 50, mtime=0)[:-20]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def pairs_of(content: bytes, name: str = "bad.jsonl") -> Callable[[Path], dict[str, Any]]:
    return lambda tmp: on_pairs(tmp, "objective=dpo", f"data.path={written(tmp / name, content)}")


def pickled(tmp: Path) -> dict[str, Any]:
    model = tiny_model(0, hidden_size=16, layers=1, heads=2, intermediate_size=32)
    model.config.save_pretrained(tmp / "m")
    tiny_tokenizer().save_pretrained(tmp / "m")
    torch.save(model.state_dict(), tmp / "m" / "pytorch_model.bin")
    return on_pairs(tmp, "objective=dpo", "model=hf", f"model.path={tmp}/m", tiny=False)


def folder(tmp: Path) -> dict[str, Any]:
    (tmp / "folder").mkdir()
    return on_pairs(tmp, "objective=dpo", f"data.path={tmp}/folder")


def blocked(key: str) -> Callable[[Path], dict[str, Any]]:
    def asked(tmp: Path) -> dict[str, Any]:
        written(tmp / "file", b"")
        return {**on_pairs(tmp, "objective=dpo"), key: str(tmp / "file" / "below")}

    return asked


def only_full(*words: str) -> Callable[[Path], dict[str, Any]]:
    def asked(tmp: Path) -> dict[str, Any]:
        path = write(tmp / "full.jsonl", pair_rows(bare=False))
        return on_pairs(tmp, "objective=bvpo", f"data.path={path}", *words)

    return asked


def of_one(tmp: Path) -> dict[str, Any]:
    rows = [{**r, "candidates": ["a"], "relevance": [1], "rank": [1]} for r in list_rows()]
    return on_lists(tmp, f"data.path={write(tmp / 'ones.jsonl', rows)}")


HF = ("objective=dpo", "model=hf")
CASES: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "broken line": (pairs_of((GOOD + '{"prompt": \n').encode()), r"bad\.jsonl:2: .*JSON.*Repair"),
    "latin-1": (pairs_of(GOOD.replace("no", "n\xf6").encode("latin-1")), "UTF-8.*iconv"),
    "cut gzip": (pairs_of(CUT, "bad.jsonl.gz"), "gzip"),
    "empty file": (pairs_of(b""), "holds no rows"),
    "a folder": (folder, "folder"),
    "no such file": (lambda t: on_pairs(t, f"data.path={t}/pair.jsonl"), r"no such file.*pairs"),
    "no such eval file": (
        lambda t: on_pairs(t, "objective=dpo", f"data.eval_path={t}/pair.jsonl"), "no such file",
    ),
    "no such model": (
        lambda t: on_pairs(t, *HF, f"model.path={t}/gone", tiny=False), "no such model folder",
    ),
    "a model folder without config": (
        lambda t: on_pairs(t, *HF, f"model.path={t}", tiny=False), r"config\.json",
    ),
    "pickled weights": (pickled, "safetensors"),
    "lists of one": (of_one, "too_few"),
    "no relevance": (
        lambda t: on_pairs(t, "data=lists", f"data.path={t}/pairs.jsonl"), "no column",
    ),
    "no bare rows": (only_full(), "view bare.*bare_from=reuse"),
    "no bare rows apart": (only_full("data.pairing=independent"), "view bare.*bare_from=reuse"),
    "bare asked for": (only_full("data.bare_from=fresh"), "bare_from=reuse"),
    "dpo of the bare view": (only_full("objective=dpo", "objective.view=bare"), "no row.*view"),
    "outputs below a file": (blocked("outputs"), "outputs="),
    "store below a file": (blocked("store"), "store: .*no folder"),
    "no held-out rows": (lambda t: on_pairs(t, "eval.every=1"), r"eval\.every.*eval_fraction"),
    "no rows to be best on": (
        lambda t: on_pairs(t, "checkpoint.best=eval/loss"), r"checkpoint\.best.*eval_fraction",
    ),
    "a pipe for a template": (
        lambda t: on_pairs(t, f"template.file={pipe(t / 'chat.jinja')}"), r"template\.file.*a pipe",
    ),
    "a pipe for rows": (
        lambda t: on_pairs(t, f"data.path={pipe(t / 'p.jsonl')}"), r"p\.jsonl: is a pipe",
    ),
    "a pipe for a model": (
        lambda t: on_pairs(t, "model=hf", f"model.path={pipe(t / 'm')}", tiny=False), r"/m: is no",
    ),
    "no such adapter": (lambda t: on_pairs(t, f"model.lora.path={t}"), r"model\.lora\.path"),
    "alpha of no adapter": (lambda t: on_pairs(t, "model.lora.alpha=3"), r"model\.lora\.alpha"),
    "no such device": (lambda t: on_pairs(t, "engine.device=cuda:99"), r"engine\.device"),
    "no such module": (
        lambda t: on_pairs(t, "model.lora.r=1", "model.lora.targets=[nothing]"), "model.lora",
    ),
    "no model of that shape": (lambda t: on_pairs(t, "model.heads=3"), "hidden_size"),
    "a teacher of too much": (
        lambda t: on_pairs(t, "model.teach.steps=1", "model.teach.problems=1000000"), "problems",
    ),
    "too long": (
        lambda t: on_pairs(t, "objective=dpo", "data.max_length=10"), "no row is left.*10",
    ),
    "a special token": (
        pairs_of(GOOD.replace("no idea", "<|im_end|>").encode()), "special_token",
    ),
    "mix without one part": (
        lambda t: config(
            t, "data=mix", "objective=dpo", f"data.parts.thinking.source.path={t}/a.jsonl",
            f"data.parts.nothinking.source.path={t}/b.jsonl",
        ), "a.jsonl: no such file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_nothing_left(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = CASES[name]
    asked = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert guarded(lambda: train.main(asked)) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert re.search(message, errors[0]), errors[0]
    left = [p for p in sorted(tmp_path.rglob("*")) if p not in before]
    rows = tmp_path / "store" / "rows"  # whole entries of the store may stay: they are right
    assert [p for p in left if rows not in p.parents and p not in (rows, rows.parent)] == []
    assert not rows.parent.exists() or [damage(entry) for entry in rows.iterdir()] == [None]


# Values as people, scripts and typos give them.
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-2, 3), st.floats(), st.floats(-1, 2),
    st.text(max_size=8), st.sampled_from(["", "~", "~nobody", "\0", "a" * 5000, "0.5", "full"]),
    st.lists(st.floats(-2, 2), max_size=3), st.dictionaries(st.text(max_size=3), st.none()),
    st.just({"_target_": "os.system"}), st.just({"_target_": 3}), st.just([{"_target_": "x"}]),
)  # fmt: skip


def bases() -> list[dict[str, Any]]:
    scratch = ("model=scratch", "data=lists", "data.path=l.jsonl", "objective=irpo")
    mixed = ("data=mix", "data.parts.thinking.source.path=a", "objective=dpo")
    words: list[tuple[str, ...]] = [
        ("data=pairs", "data.path=p.jsonl", *TINY), scratch, TINY,
        (*mixed, "data.parts.nothinking.source.path=b", "model=hf", "model.path=m"),
    ]  # fmt: skip
    return [frozen(composed("train", w)) for w in words]


BASES = bases()
PLACES = [(n, key) for n, base in enumerate(BASES) for key in flat_keys(base)]


def replaced(node: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    return {**node, path[0]: replaced(node[path[0]], path[1:], value)}


@contextlib.contextmanager
def only_told() -> Iterator[None]:
    """Nothing but an error of ours, or one that the command line tells in a line, may come out."""
    try:
        yield
    except Exception as error:
        if explained(error) is None:
            raise


@settings(max_examples=300, deadline=None)
@example((2, "template.file"), "\0")
@example((2, "engine"), "\ud800")
@given(st.sampled_from(PLACES), VALUES)
def test_no_value_of_a_setting_brings_a_traceback(place: tuple[int, str], value: Any) -> None:
    number, key = place
    asked = replaced(BASES[number], key.split("."), value)
    with only_told():
        train.request(asked)


CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["", " ", "<think>", "a</think>b", "<|im_end|>", "\ud800", "\n\nHuman: x"]),
    st.lists(st.text(max_size=3), max_size=3),
    st.fixed_dictionaries({"think": st.none() | st.text(max_size=5), "answer": st.text()}),
    st.lists(
        st.fixed_dictionaries({
            "role": st.sampled_from(["user", "assistant", "system", "tool", ""]),
            "content": st.text(max_size=5) | st.none(),
        }), max_size=3,
    ),
)  # fmt: skip
NAMES = ["prompt", "chosen", "rejected", "view", "chosen_bare", "rejected_bare", "instruction"]
ROWS = st.dictionaries(st.sampled_from(NAMES), CELLS) | st.fixed_dictionaries(
    {"prompt": CELLS, "chosen": CELLS, "rejected": CELLS}
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(ROWS, min_size=1, max_size=4), st.sampled_from(["dpo", "bvpo", "sft"]))
def test_no_row_brings_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[Any], objective: str
) -> None:
    """Up to the point where training would begin."""
    monkeypatch.setattr(session.Session, "run", lambda self, run: run.finish({}))
    path = write(tmp_path / "rows.jsonl", rows)
    base = BASES[0] | {"outputs": str(tmp_path / "out"), "store": str(tmp_path / "store")}
    asked = base | {
        "data": base["data"] | {"path": str(path), "max_refused": 1.0},
        "objective": {"_target_": f"bvrank.objectives.{objective}.{objective.upper()}"},
        "template": base["template"], "force": True,
    }  # fmt: skip
    with only_told():
        train.main(asked)
