"""Every key of `bvrank train` does something: another value changes what a run computes, what it
writes beside the config, or is refused. A key that stands in no table here fails.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from peft import LoraConfig, get_peft_model

from bvrank.commands import train
from bvrank.commands.compose import composed, frozen
from bvrank.errors import BvrankError
from bvrank.models.tiny import UNTHINK, tiny_model, tiny_tokenizer
from bvrank.run import read_jsonl
from bvrank.run.identity import flatten
from bvrank.sampling.transformers import Sample, Sampling
from tests import test_resume
from tests.commands import test_train
from tests.commands.fast import list_rows, pair_rows, read, traced_rows, write
from tests.options import FURTHER, OTHER, QUICK, ROOM, SHAPE, override

UNTHINK_ID = tiny_tokenizer().convert_tokens_to_ids(UNTHINK)
ELSEWHERE = {  # keys that need an earlier run -> the test that has one
    "resume": test_resume.test_an_unfinished_run_is_refused_until_it_is_resumed,
    "force": test_train.test_force_moves_the_older_run_aside,
}
KEYS = [
    (room, key, other)
    for table in (OTHER, FURTHER)
    for room, keys in table.items()
    for key, other in keys.items()
]


DATED = (
    "{%- for m in messages -%}{{ date_string }}|{{ m.content }}<|im_end|>{%- endfor -%}"
    "{%- if add_generation_prompt -%}A:{%- endif -%}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the tables name."""
    place = tmp_path_factory.mktemp("options")
    (place / "dated.jinja").write_text(DATED)
    rows = [r | {"question": f"{r['prompt']} again", "note": "Be brief."} for r in pair_rows()]
    plain = [{"prompt": f"p{i}", "chosen": "yes", "rejected": "no"} for i in range(4)]
    bad, lists = {"prompt": "p", "chosen": "a", "rejected": "a"}, list_rows()
    files = {
        "pairs": rows, "plain": plain, "lists": lists, "flawed": [*rows, {**bad, "view": "full"}],
        "held": [{**r, "prompt": f"new {r['prompt']}"} for r in pair_rows(3)],
        "traces": traced_rows(),
        "full": [r for r in rows if r["view"] == "full"],
        "bare": [r for r in rows if r["view"] == "bare"][:4],
        "flawedlists": [*lists, {**lists[0], "relevance": []}],
        "heldlists": [{**r, "prompt": f"new {r['prompt']}"} for r in lists],
    }  # fmt: skip
    for name, content in files.items():
        write(place / f"{name}.jsonl", content)
    for name, seed in (("hf", 0), ("hf2", 1)):
        tiny_model(seed, **SHAPE).save_pretrained(place / name)
        tiny_tokenizer().save_pretrained(place / name)
    lora = LoraConfig(r=3, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny_model(0, **SHAPE), lora).save_pretrained(place / "adapter")
    return place


@pytest.fixture
def files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which a run may fill."""
    monkeypatch.chdir(folder)
    return folder


USUAL: dict[tuple[str, ...], dict[str, Any]] = {}


@pytest.mark.parametrize(("room", "key", "other"), KEYS)
def test_another_value_changes_something(
    room: str, key: str, other: tuple[str, ...], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, *beside = other
    word = override(room, key, value)
    base = (*QUICK, *ROOM[room], *beside)
    if base not in USUAL:
        USUAL[base] = observed(files, base, monkeypatch)
    usual, changed = USUAL[base], observed(files, (*base, word), monkeypatch)
    assert usual != changed, f"{key}={value} changes nothing"


def test_the_usual_values_run(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every change above would be told from an error."""
    for words in ROOM.values():
        found = observed(files, (*QUICK, *words), monkeypatch)
        assert "error" not in found, found


def observed(
    place: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What a run computes and leaves, but for its config, its name by content and its seconds."""
    for made in ("out", "elsewhere", "store", "other"):
        shutil.rmtree(place / made, ignore_errors=True)
    calls: Counter[str] = Counter()
    config = frozen(composed("train", words))
    with monkeypatch.context() as patched:
        count_calls(patched, calls)
        hear_wandb(patched, calls)
        try:
            train.main(config)
        except BvrankError as error:
            return {"error": str(error)}
    return {"calls": calls, **left(place)}


def count_calls(patched: pytest.MonkeyPatch, calls: Counter[str]) -> None:
    """How often the head and the layers run: what only saves memory shows here."""
    from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP

    from bvrank.scoring.scorer import Scorer

    patched.setattr("bvrank.sampling.local.sampled", sampler(calls))
    for owner, name in ((Scorer, "_logits"), (Qwen3MLP, "forward")):
        real = getattr(owner, name)

        def counted(self: Any, *args: Any, real: Any = real, name: str = name) -> Any:
            calls[name] += 1
            return real(self, *args)

        patched.setattr(owner, name, counted)


def hear_wandb(patched: pytest.MonkeyPatch, calls: Counter[str]) -> None:
    """How wandb is begun; nothing of it runs."""
    import wandb

    def begin(**asked: Any) -> Any:
        settings = asked.pop("settings")
        for varying in ("config", "id", "dir"):
            del asked[varying]
        asked |= {"timeouts": (settings.init_timeout, settings.finish_timeout)}
        calls[f"wandb {sorted(asked.items())} {settings.api_key}"] += 1
        return MagicMock(offline=True)

    patched.setenv("WANDB_API_KEY", "a" * 40)
    patched.setenv("OTHER_KEY", "b" * 40)
    patched.setattr(wandb, "init", begin)


def sampler(calls: Counter[str]) -> Any:
    """In place of sampling: right and wrong answers in turn; what is asked for is counted."""
    tokenizer = tiny_tokenizer()

    def generate(
        model: Any, prompts: Any, batches: Any, sampling: Sampling, *, seed: int, **_: Any
    ) -> Iterator[tuple[list[int], list[list[Sample]]]]:
        calls[f"{len(prompts)} prompts, {sampling}, seed {seed}, {prompts[0]}"] += 1
        for rows in batches:
            yield rows, [[answered(prompts[r], t) for t in range(sampling.n)] for r in rows]

    def answered(prompt: list[int], turn: int) -> Sample:
        digits = tokenizer.decode(prompt).partition("user\n")[2].partition("=?")[0]
        answer = sum(map(int, digits.split("+"))) + turn % 2
        thought = "" if UNTHINK_ID in prompt else "<think>\nso\n</think>\n\n"
        ids = tokenizer(f"{thought}{answer}<|im_end|>")["input_ids"]
        return Sample(tuple(ids), -1.0, True)

    return generate


def left(place: Path) -> dict[str, Any]:
    """Files below outputs and store, and the figures in them."""
    found: dict[str, Any] = {"store": Counter(), "figures": [], "files": set()}
    for run in [p for o in ("out", "elsewhere") for p in (place / o).glob("*")]:
        name = "by content" if run.name.count("-") >= 3 else run.name
        found["files"] |= {f"{run.parent.name}/{name}/{p}" for p in relative(run)}
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        figures = [{k: v for k, v in r.items() if not k.startswith("speed/")} for r in lines]
        summary = {k: v for k, v in read(run / "summary.json").items() if k != "final"}
        manifest = read(run / "manifest.json")
        told = {k: manifest.get(k) for k in ("data", "reference", "policy_against_reference")}
        policy = [read(p) for p in run.glob("checkpoints/*/policy/*r_config.json")]
        policy += [read(p) for p in run.glob("checkpoints/*/policy/config.json")]
        said = [(e["before"], e["after"]) for e in read_jsonl(run / "examples.jsonl")[0]]
        found["figures"].append((figures, summary | {"next": ""}, told, policy, said))
    for store in ("store", "other"):
        found["store"].update(str(Path(store, p).parent) for p in relative(place / store))
    return found


def relative(folder: Path) -> Iterator[str]:
    """Files below a folder, but for those with the time in their name."""
    timed = ("wandb", "tensorboard")
    paths = (p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file())
    return (str(p) for p in paths if p.parts[0] not in timed)


@pytest.mark.parametrize("room", ROOM)
def test_no_key_is_missing_here(room: str) -> None:
    group, _, option = room.partition("=")
    config = frozen(composed("train", [*QUICK, *ROOM[room]]))
    if not option:
        known = {"objective", "data", "engine", "model", "experiment", "tracker"}
        config = {k: v for k, v in config.items() if k not in known}
    else:
        config = config[group]
    keys = {k for k in flatten(config) if not k.endswith("_target_")}
    covered = set(OTHER[room]) | set(ELSEWHERE if not option else ())
    opened = {"optimizer.options", "schedule"}
    assert {k for k in keys if not k.startswith(("optimizer.options", "schedule."))} - opened == (
        covered - opened
    )
