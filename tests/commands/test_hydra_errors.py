from __future__ import annotations

import shlex
from collections.abc import Callable

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
    assert nearest("a.zzz", known) == "Known below a: rate, size."
    assert nearest("zzz", known) == "Known: a, b."
