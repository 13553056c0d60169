from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from bvrank.commands.hydra_errors import nearest, quoted
from tests.commands.line import ROOT, Call

Line = Callable[..., Call]

KNOWN = ", ".join(sorted(p.stem for p in (ROOT / "conf" / "objective").glob("*.yaml")))
MISTAKES = {
    (
        "objective=dpo",
        "objective@objective.loss=ipo",
    ): "objective@objective.loss: there is nothing to choose an option for. An objective that has "
    "another inside of it is bvpo: objective=bvpo objective@objective.loss=...",
    ("objective=bvp",): "objective: there is no option 'bvp'. Did you mean 'bvpo'? "
    "Known: " + KNOWN + ".",
    ("objective=zzzzz",): "objective: there is no option 'zzzzz'. Known: " + KNOWN + ".",
    ("objective=null",): "a group takes the name of an option, got null. Write e.g. objective=bvpo",
    (
        "objective.alpah=1",
    ): "objective.alpah: there is no such key. Did you mean 'objective.alpha'?",
    ("optimiser.lr=1",): "optimiser.lr: there is no such key. Did you mean 'optimizer.lr'?",
    ("lr=1",): "lr: there is no such key. Did you mean 'optimizer.lr'?",
    ("objectve=bvpo",): "objectve: there is no such key. Did you mean 'objective'?",
    ("optimizer.zzz=1",): "optimizer.zzz: there is no such key. "
    "Known below optimizer: lr, name, options.",
    ("objective=dpo", "objective.alpha=1"): "objective.alpha: there is no such key. "
    "objective=bvpo has it. "
    "Known below objective: beta, label_smoothing, pairs, sft_weight, view.",
    ("seed=1,2",): "seed: '1,2' names several values. Add -m to run each of them, or quote it if "
    "it is one text: 'seed=\"1,2\"'",
    ("seed=range(3)",): "seed: 'range(3)' names several values. Add -m to run each of them, or "
    "quote it if it is one text: 'seed=\"range(3)\"'",
    ("+seed=1",): "seed: this key exists already. Write it without '+'.",
    ("~foo",): "foo: there is nothing to delete",
    ("seed",): "'seed' is not a setting. Write key=value.",
    ("seed=???",): "seed: needs a value (decides initial weights, row order, samples and "
    "everything else drawn). Add seed=... to the command.",
    ("seed=${nope}",): "seed: Interpolation key 'nope' not found",
    ("name=my (1).jsonl",): "Hydra cannot read 'name=my (1).jsonl'. "
    "Quote the value: 'name=\"my (1).jsonl\"'",
    ("schedule.alpha=(",): "Hydra cannot read 'schedule.alpha=('. "
    "Quote the value: 'schedule.alpha=\"(\"'",
    (
        "schedule.beta=[0.1,",
        "0.5]",
        "seed=1",
    ): "a space cuts 'schedule.beta=[0.1, 0.5]' into several "
    "words. Leave the spaces out: 'schedule.beta=[0.1,0.5]'",
    ("seed=1", "model.shape={a:", "1,", "b:", "2}"): "a space cuts 'model.shape={a: 1, b: 2}' into "
    "several words. Leave the spaces out: 'model.shape={a:1,b:2}'",
    ("hydra.searchpath=[pkg://nolab]",): "hydra.searchpath: pkg://nolab cannot be found. Write "
    "file:///folder, or pkg://package.folder of a package that can be imported from here.",
}

MISPLACED = {
    ("convert", "from=arc", "list_size=10"): "list_size: there is no such key. "
    "Did you mean 'from.list_size'?",
    ("convert", "list_size=10"): "Write e.g. from=arc from.list_size=...: from=arc, "
    "from=commonsenseqa, from=hotpotqa and 4 others have it.",
    ("convert", "from=hh", "list_size=10"): "list_size: there is no such key. "
    "Did you mean 'from.list_size'? from=arc, from=commonsenseqa, from=hotpotqa and 4 others "
    "have it.",
    ("convert", "from=arc", "from.min_gap=2"): "from.min_gap: there is no such key. "
    "from=argilla and from=ultrafeedback have it. Known below from: candidates_in_prompt, "
    "distractors, list_size, option, seed, template.",
    ("convert", "from=arc", "from.entities=2"): "from.entities: there is no such key. "
    "from=redial has it. Known below from: candidates_in_prompt, "
    "distractors, list_size, option, seed, template.",
    ("convert", "from=arc", "from.positive=2"): "from.positive: there is no such key. "
    "Known below from: candidates_in_prompt, distractors, list_size, option, seed, template.",
    ("sample", "temperature=0.7"): "temperature: there is no such key. "
    "Did you mean 'sampler.temperature'?",
    ("sample", "completion_column=x"): "completion_column: there is no such key. "
    "Did you mean 'sampler.completion_column'? sampler=recorded has it.",
    ("sample", "sampler=recorded", "mode=x"): "mode: there is no such key. Did you mean 'modes'?",
    ("sample", "tempalte=x"): "tempalte: there is no such key. Did you mean 'template'?",
    ("train", "project=x"): "project: there is no such key. Did you mean 'tracker.wandb.project'? "
    "tracker=wandb has it.",
    ("sample", "prompts=p.jsonl"): "prompts: there is no option 'p.jsonl'. "
    "Write prompts=file prompts.path=p.jsonl. Known: arithmetic, file.",
    ("train", "data=a/my x.jsonl"): "data: there is no option 'a/my x.jsonl'. "
    "Write data=lists 'data.path=a/my x.jsonl' or data=pairs 'data.path=a/my x.jsonl'. "
    "Known: arithmetic, lists, mix, mix_arithmetic, pairs.",
    ("train", "model=Qwen/Qwen3-0.6B"): "model: there is no option 'Qwen/Qwen3-0.6B'. "
    "Write model=hf model.path=Qwen/Qwen3-0.6B. Known: hf, scratch, tiny.",
    ("evaluate", "task=math"): "It is a suite: suite=math. Known: aime24, aime25, alpaca_eval, "
    "amc23, arena_hard, arena_hard_v2, arithmetic, gsm8k, lm_eval, math500, minerva, "
    "olympiadbench, preference, ranking, ranking_run.",
    ("lab", "trainseeds=0"): "trainseeds: there is no such key. Did you mean 'train.seeds'?",
    ("lab", "trainseed=0"): "trainseed: there is no such key. Did you mean 'train.seeds'?",
    ("lab", "train_seeds=0"): "train_seeds: there is no such key. Did you mean 'train.seeds'?",
    ("train", "objective.auto.every=5"): "objective.auto.every: there is no such key. "
    "Did you mean 'auto.every'?",
    ("report", "compare=A,B"): "compare: 'A,B' names several values. Write 'compare=[A,B]'",
    ("report", "runs=A,B"): "runs: 'A,B' names several values. Write 'runs=[A,B]'",
    ("evaluate", "modes=thinking,nothinking"): "modes: 'thinking,nothinking' names several values. "
    "Write 'modes=[thinking,nothinking]', or add -m to run each of them",
    ("evaluate", "suite=aime24,gsm8k"): "suite: 'aime24,gsm8k' names several values. "
    "Write 'suite=[aime24,gsm8k]', or add -m to run each of them",
    ("train", "engine=a.yaml"): "engine: there is no option 'a.yaml'. "
    "Known: local, zero0, zero1, zero2, zero3.",
}  # fmt: skip


@pytest.mark.parametrize("args", MISPLACED, ids=" ".join)
def test_what_stands_in_the_wrong_place_is_told_the_right_one(
    bvrank: Line, args: tuple[str, ...]
) -> None:
    command, *words = args
    more = ["path=a", "out=b.jsonl"] if command == "convert" else []
    done = bvrank(command, *words, *more)
    assert (done.code, done.out) == (2, "") and done.err.endswith(f"{MISPLACED[args]}\n")
    assert done.err.count("\n") == 1


def test_a_folder_that_is_there_is_a_path_whatever_its_name(
    bvrank: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "data.path=mine" not in bvrank("train", "data=mine").err
    (tmp_path / "mine").mkdir()
    assert "Write data=lists data.path=mine or data=pairs" in bvrank("train", "data=mine").err


@pytest.mark.parametrize("args", MISTAKES, ids=" ".join)
def test_a_mistake_is_one_line_and_exit_code_2(bvrank: Line, args: tuple[str, ...]) -> None:
    done = bvrank("train", *args)
    assert (done.code, done.out, done.err) == (2, "", f"error: {MISTAKES[args]}\n")
    assert done.config is None


@pytest.mark.parametrize(
    "args",
    [
        ("=3",),
        ("objective@x=dpo",),
        ("+objective=dpo",),
        ("hydra/launcher=nope",),
        ("hydra.searchpath=3",),
        ("hydra.searchpath=[(]",),
        ("--config-name", "nope"),
        ("--config-dir", "/no/such"),
        ("hydra.mode=nope",),
        ("optimizer.lr.x=1",),
        ("optimizer={a",),
    ],
    ids=" ".join,
)
def test_rare_mistakes_are_one_line_too(bvrank: Line, args: tuple[str, ...]) -> None:
    done = bvrank("train", *args)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


def test_debugging_shows_where_it_was_raised(bvrank: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BVRANK_DEBUG", "1")
    with pytest.raises(Exception, match="no option 'bvp'") as caught:
        bvrank("train", "objective=bvp")
    assert caught.value.__cause__ is not None


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0$"), min_size=1))
@settings(deadline=None, max_examples=300)
def test_the_quoted_form_gives_the_value_back(value: str) -> None:
    form = quoted(f"data.path={value}")
    assert form is not None
    (word,) = shlex.split(form)  # what a shell makes of it
    assert OverridesParser.create().parse_override(word).value() == value


@pytest.mark.parametrize("name", ["a (1)", "a=b", "{a}", "a,b", "it's", 'a"b', "a#b", "ä", "~/a"])
def test_the_printed_form_works(bvrank: Line, name: str) -> None:
    refused = bvrank("train", f"name={name}")
    assert refused.code == 2
    form = refused.err.rpartition(": ")[2].strip()
    again = bvrank("train", *shlex.split(form))
    assert again.code == 0
    assert again.config is not None
    assert again.config["name"] == name


def test_nearest_looks_beside_then_elsewhere_then_lists() -> None:
    known = ["a", "a.rate", "a.size", "b", "b.width"]
    assert nearest("a.rat", known) == "Did you mean 'a.rate'?"
    assert nearest("c.size", known) == "Did you mean 'a.size'?"
    assert nearest("b.size", known) == "Known below b: width."
    assert nearest("width", known) == "Did you mean 'b.width'?"
    assert nearest("rated", ["rates", "rate_of", "a.rated"]) == "Did you mean 'rates'?"
    assert nearest("rated", ["retro", "a.rated"]) == "Did you mean 'a.rated'?"
    assert nearest("a.zzz", known) == "Known below a: rate, size."
    assert nearest("zzz", known) == "Known: a, b."
