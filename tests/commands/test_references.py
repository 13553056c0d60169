"""Where reference log-probs come from changes no number, and a sweep computes each of them once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bvrank.commands import train
from bvrank.errors import ConfigError, Interrupted
from bvrank.models.lora import LoRA
from bvrank.models.tiny import tiny_model, tiny_tokenizer
from bvrank.scoring.reference import base_identity, model_identity
from bvrank.scoring.values import torn_files
from tests.commands.fast import (
    TINY,
    go,
    interrupt_at,
    metrics,
    on_lists,
    on_pairs,
    on_traces,
    pair_rows,
    read,
    same,
    weights,
    write,
)
from tests.commands.line import ROOT, process

SHAPE = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32}
LORA = ("objective=bvpo", "model.lora.r=2")
OFF = "scoring.reference=adapter_off"


def told(run: Path) -> dict[str, Any]:
    """What the manifest says of the reference."""
    found: dict[str, Any] = read(run / "manifest.json")["reference"]
    return found


def assert_alike(one: Path, other: Path, within: float) -> None:
    first, second = metrics(one), metrics(other)
    for a, b in zip(first, second, strict=True):
        for line in (a, b):  # ties are told by fp32's rounding
            line |= {name: 0.0 for name in line if name.endswith("accuracies")}
        assert a == pytest.approx(b, rel=within, abs=within)
    assert first[-1]["loss"] != first[0]["loss"]


@pytest.mark.parametrize("dropout", ["0", "0.5"])
@pytest.mark.parametrize(("precision", "within"), [("fp64", 1e-9), ("fp32", 1e-5)])
def test_the_adapter_off_trains_as_the_stored_reference_does(
    precision: str, within: float, dropout: str, tmp_path: Path
) -> None:
    """Held-out figures as well; with dropout, every draw of the policy."""
    words = (*LORA, f"precision={precision}", f"model.lora.dropout={dropout}", "steps=6",
             "micro=1", "data.eval_fraction=0.4", "eval.every=2")  # fmt: skip
    runs = [go(on_pairs(tmp_path, *words, *more)) for more in ((), (OFF,))]
    assert_alike(*runs, within)
    assert {"eval/loss", "eval/bare/loss"} <= set(metrics(runs[1])[-1])


def test_steps_score_the_one_pair_that_they_read(tmp_path: Path) -> None:
    """Whatever other traces and candidates a row holds."""
    words = ("steps=4", "micro=1", "data.eval_fraction=0.25", "objective.alpha=0.5")
    runs = [go(on_traces(tmp_path, *words, traces=n)) for n in (1, 4)]
    assert_alike(*runs, 1e-5)
    runs.append(go(on_traces(tmp_path, *words, "objective.loss.pairs=whole_list", traces=4)))
    one, four, every = ([round(line["speed/tokens_per_second"] * line["speed/seconds"])
                         for line in metrics(run, speed=True)] for run in runs)  # fmt: skip
    assert one == four and all(a < b for a, b in zip(four, every, strict=True))


@pytest.mark.parametrize(
    "word",
    ["micro_tokens=60", "activation_checkpointing=true", "activation_checkpointing=selective",
     "scoring.layout=padded", "data.pairing=independent", "scoring.unshifted=true"],
)  # fmt: skip
def test_however_it_is_computed(word: str, tmp_path: Path) -> None:
    words = (*LORA, "precision=fp64", "model.lora.dropout=0.5", "steps=3", word)
    if word.startswith("micro_tokens"):  # dropout draws for a micro-batch at a time
        words = (*words, "model.lora.dropout=0.0")
    assert_alike(*(go(on_pairs(tmp_path, *words, *more)) for more in ((), (OFF,))), 1e-9)


def test_lists_inside_one_context_too(tmp_path: Path) -> None:
    words = ("model.lora.r=2", "precision=fp64", "data.context=inlist", "steps=3")
    assert_alike(*(go(on_lists(tmp_path, *words, *more)) for more in ((), (OFF,))), 1e-9)


@pytest.mark.parametrize("engine", ["zero0", "zero2", "zero3"])
def test_under_deepspeed(engine: str, tmp_path: Path) -> None:
    words = (*LORA, f"engine={engine}", "model.lora.dropout=0.5", "steps=4", "micro=1",
             "data.eval_fraction=0.4", "eval.every=2")  # fmt: skip
    assert_alike(*(go(on_pairs(tmp_path, *words, *more)) for more in ((), (OFF,))), 1e-5)


@pytest.mark.parametrize("way", ["live", "adapter_off"])
def test_what_is_scored_as_it_comes_is_kept_nowhere(way: str, tmp_path: Path) -> None:
    run = go(on_pairs(tmp_path, *LORA, f"scoring.reference={way}", "data.eval_fraction=0.4"))
    assert told(run) == {"by": way, "computed": 0, "from_store": 0}
    assert not (tmp_path / "store" / "reference").exists()
    assert not (run / "reference.values").exists()
    assert read(run / "manifest.json")["policy_against_reference"] < 1e-5
    assert told(go(on_pairs(tmp_path, *LORA)))["by"] == "stored"


def test_an_objective_without_a_reference_has_none(tmp_path: Path) -> None:
    run = go(on_pairs(tmp_path, "objective=sft", "model.lora.r=2"))
    assert "reference" not in read(run / "manifest.json")


@pytest.mark.parametrize("objective", ["dpo", "sft"])
def test_no_adapter_is_refused(objective: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train.main(on_pairs(tmp_path, f"objective={objective}", OFF))
    assert caught.value.where == "scoring.reference" and "no adapter" in caught.value.what
    assert "model.lora.r=" in caught.value.repair and not (tmp_path / "outputs").exists()


def test_an_adapter_that_is_trained_already_is_refused(tmp_path: Path) -> None:
    """Its stored reference is the adapter as loaded, and off it would be another model."""
    LoRA(r=2).wrap(tiny_model(0, **SHAPE), 0).save_pretrained(tmp_path / "a")
    with pytest.raises(ConfigError) as caught:
        train.main(on_pairs(tmp_path, "objective=dpo", OFF, f"model.lora.path={tmp_path}/a"))
    assert caught.value.where == "scoring.reference" and "trained adapter" in caught.value.what
    assert caught.value.repair == "Set scoring.reference=stored."


def test_a_refusal_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.jsonl", pair_rows())
    done = process("train", "objective=dpo", "data=pairs", f"data.path={pairs}", OFF, cwd=tmp_path)
    assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1
    assert done.err.startswith("error: scoring.reference: the model has no adapter. Set ")


RESUMED = (*LORA, OFF, "model.lora.dropout=0.5", "steps=6", "micro=1", "checkpoint.every=2",
           "data.eval_fraction=0.4", "eval.every=3")  # fmt: skip


@pytest.mark.parametrize("engine", ["local", "zero2"])
def test_resume_is_bit_equal(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*RESUMED, f"engine={engine}")
    whole = go(on_pairs(tmp_path, *words, f"outputs={tmp_path}/whole"))
    asked = on_pairs(tmp_path, *words)
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_at(patched, 3)
        train.main(asked)
    torch.rand(5)
    parts = go({**asked, "resume": True})
    assert same(weights(whole, 6), weights(parts, 6))
    assert metrics(whole) == metrics(parts) and told(whole) == told(parts)


def line(tmp_path: Path, *words: str) -> list[str]:
    """A command line of quick runs, in processes of their own."""
    pairs = tmp_path / "pairs.jsonl"
    if not pairs.exists():
        write(pairs, pair_rows())
    places = (f"outputs={tmp_path}/outputs", f"store={tmp_path}/store")
    quick = (*TINY, "steps=3", "batch=2", "examples.count=0")
    return ["train", "data=pairs", f"data.path={pairs}", *places, *quick, *words]


def started(*words: str) -> subprocess.Popen[str]:
    """The command, running."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "bvrank", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_command_stops_by_a_signal_and_goes_on_bit_equal(tmp_path: Path) -> None:
    words = (*LORA, OFF, "model.lora.dropout=0.5", "steps=60")
    running = started(*line(tmp_path, *words, "name=parts"))
    run, whole = tmp_path / "outputs" / "parts", tmp_path / "outputs" / "whole"
    log = run / "metrics.jsonl"
    while running.poll() is None and not (log.is_file() and log.stat().st_size):
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130 and "resume=true" in said, said
    assert 0 < len(metrics(run)) < 60
    for name, more in (("parts", "resume=true"), ("whole", "resume=false")):
        done = process(*line(tmp_path, *words, f"name={name}", more))
        assert done.code == 0, done.err
    assert metrics(run) == metrics(whole) and same(weights(run, 60), weights(whole, 60))
    assert told(run) == told(whole) == {"by": "adapter_off", "computed": 0, "from_store": 0}


def test_a_multirun_makes_one_reference_pass(tmp_path: Path) -> None:
    done = process(*line(tmp_path, "objective=dpo", "objective.beta=0.1,0.2,0.3", "-m"))
    assert done.code == 0, done.err + done.out
    found = [told(p.parent) for p in (tmp_path / "outputs").glob("*/manifest.json")]
    assert len({t["digest"] for t in found}) == 1
    assert sorted(t["computed"] for t in found) == [0, 0, 6]
    assert sorted(t["from_store"] for t in found) == [0, 6, 6]


def test_neither_objective_nor_optimizer_is_part_of_a_reference(tmp_path: Path) -> None:
    points = (("objective=dpo",), ("objective=ipo",), ("objective=dpo", "optimizer.lr=0.1"),
              ("objective=dpo", "optimizer.name=SGD"), ("objective=dpo", "steps=4"))  # fmt: skip
    runs = [go(on_pairs(tmp_path, "steps=3", *words)) for words in points]
    assert [told(run)["computed"] for run in runs] == [6, 0, 0, 0, 0]
    assert len({told(run)["digest"] for run in runs}) == 1


def one_model(tmp_path: Path) -> tuple[str, ...]:
    """A folder of weights, which are the same whatever the seed."""
    tiny_model(0, **SHAPE).save_pretrained(tmp_path / "m")
    tiny_tokenizer().save_pretrained(tmp_path / "m")
    return ("model=hf", f"model.path={tmp_path}/m", "optimizer.lr=0.01")


@pytest.mark.parametrize("lora", ["0", "2"])
def test_seeds_share_one_pass_also_under_an_adapter_drawn_anew(lora: str, tmp_path: Path) -> None:
    model, words = one_model(tmp_path), ("objective=dpo", "steps=3", f"model.lora.r={lora}")
    runs = [go(on_pairs(tmp_path, *model, *words, f"seed={s}", tiny=False)) for s in range(3)]
    assert [told(run)["computed"] for run in runs] == [6, 0, 0]
    assert [told(run)["from_store"] for run in runs] == [0, 6, 6]
    assert len({told(run)["digest"] for run in runs}) == 1
    assert len({metrics(run)[0]["logps/chosen"] for run in runs}) > 1  # in another order


def test_seeds_that_draw_some_rows_compute_each_of_them_once(tmp_path: Path) -> None:
    model, words = one_model(tmp_path), ("objective=dpo", "steps=1", "batch=2")
    runs = [go(on_pairs(tmp_path, *model, *words, f"seed={s}", tiny=False)) for s in range(6)]
    assert all(told(r)["computed"] + told(r)["from_store"] == 2 for r in runs)
    drawn = {n for s in range(6) for n in drawn_by(tmp_path, *model, *words, f"seed={s}")}
    assert sum(told(r)["computed"] for r in runs) == len(drawn) > 2


def drawn_by(tmp_path: Path, *words: str) -> list[int]:
    from bvrank.commands.session import Session

    session = Session.load(train.request(on_pairs(tmp_path, *words, tiny=False)))
    return [int(n) for n in session.batching.drawn()]


def test_adapters_of_any_shape_share_the_pass_of_their_base(tmp_path: Path) -> None:
    """A new one adds exactly 0; one that is trained is another model."""
    words = ("objective=dpo", "steps=3")
    shapes = ((), ("model.lora.r=2",), ("model.lora.r=4", "model.lora.targets=[q_proj]"))
    runs = [go(on_pairs(tmp_path, *words, *shape)) for shape in shapes]
    assert [told(run)["computed"] for run in runs] == [6, 0, 0]
    trained = runs[1] / "checkpoints" / "step-000003" / "policy"
    other = go(on_pairs(tmp_path, *words, f"model.lora.path={trained}"))
    assert told(other)["computed"] == 6 and told(other)["digest"] != told(runs[0])["digest"]


@pytest.mark.filterwarnings("ignore:Model has")  # peft's, of weights that are tied
@pytest.mark.parametrize("targets", ["all-linear", ("embed_tokens", "lm_head")])
def test_the_base_below_an_adapter_is_the_model_without_one(targets: Any) -> None:
    plain = model_identity(tiny_model(0, **SHAPE))
    adapted = LoRA(r=2, targets=targets).wrap(tiny_model(0, **SHAPE), 3)
    assert base_identity(adapted) == plain != model_identity(adapted)
    assert base_identity(LoRA(r=2).wrap(tiny_model(1, **SHAPE), 3)) != plain


def test_two_commands_at_once_leave_one_whole_store(tmp_path: Path) -> None:
    lines = [line(tmp_path, "objective=dpo", f"objective.beta={beta}") for beta in (0.1, 0.2)]
    running = [started(*words) for words in lines]
    said = [p.communicate(timeout=120)[1] for p in running]
    assert [p.returncode for p in running] == [0, 0], said
    (kept,) = (tmp_path / "store" / "reference").iterdir()
    assert not torn_files(kept) and not list(kept.glob("*.tmp"))
    third = process(*line(tmp_path, "objective=dpo", "objective.beta=0.3"))
    assert third.code == 0, third.err
    found = [told(p.parent) for p in (tmp_path / "outputs").glob("*/manifest.json")]
    assert len({t["digest"] for t in found}) == 1
    assert 0 in [t["computed"] for t in found] and len(found) == 3


@pytest.mark.parametrize("objective", ["sft", "simpo", "orpo"])
@pytest.mark.parametrize("way", ["live", "adapter_off"])
def test_a_way_to_score_no_reference_is_refused(way: str, objective: str, tmp_path: Path) -> None:
    words = (f"objective={objective}", "model.lora.r=2")
    with pytest.raises(ConfigError, match="has no effect: this objective has no") as caught:
        train.request(on_pairs(tmp_path, *words, f"scoring.reference={way}"))
    assert caught.value.where == "scoring.reference"
    assert train.request(on_pairs(tmp_path, *words)).reference == ""


def test_the_manifest_counts_what_was_scored_and_what_lay_in_the_store(tmp_path: Path) -> None:
    """A second run with another rate scores nothing; one of another precision everything."""

    def counts(*words: str) -> tuple[int, int]:
        told = read(go(on_pairs(tmp_path, "objective=dpo", *words)) / "manifest.json")["reference"]
        return told["computed"], told["from_store"]

    rows, none = counts()
    assert rows > 0 and none == 0
    assert counts("optimizer.lr=0.02") == (0, rows)
    assert counts("precision=bf16") == (rows, 0)
    assert counts("precision=bf16", "optimizer.lr=0.02") == (0, rows)
