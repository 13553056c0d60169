"""What a session holds on to: its reference, its log, its streams, its best."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bvrank.commands import session, train
from bvrank.commands.compose import composed, frozen
from bvrank.commands.session import Session
from bvrank.commands.settings import train_settings
from bvrank.errors import ConfigError, DataError, Interrupted, ModelError, RunError
from bvrank.models.tiny import tiny_model, tiny_tokenizer
from bvrank.run import read_jsonl
from bvrank.scoring import values
from tests.commands.fast import (
    config,
    folder,
    go,
    metrics,
    on_lists,
    on_pairs,
    pair_rows,
    read,
    write,
)


def stored(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "store" / "reference").rglob("*.values"))


def test_a_store_that_holds_another_models_values_stops_before_step_one(tmp_path: Path) -> None:
    go(on_pairs(tmp_path, "objective=dpo"))
    for path in stored(tmp_path):
        keys, found = (np.array(a) for a in values.read(path) or ())
        path.unlink()
        values.KeyedFiles(path.parent).add(keys, found - 1.0)
    with pytest.raises(ModelError, match="nats per token"):
        train.main(on_pairs(tmp_path, "objective=dpo", "force=true"))


def unfinished(run: Path, last: int) -> None:
    """Makes a finished run look as if it had been killed behind checkpoint `last`."""
    for path in (run / "checkpoints").iterdir():
        if int(path.name.removeprefix("step-")) > last:
            shutil.rmtree(path)
    (run / "summary.json").unlink()
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}))


def test_after_a_kill_each_step_is_logged_once_and_alike(tmp_path: Path) -> None:
    words = ("objective=bvpo", "steps=6", "checkpoint.every=2", "checkpoint.keep=9")
    run = go(on_pairs(tmp_path, *words))
    before = metrics(run)
    unfinished(run, last=4)
    shutil.rmtree(tmp_path / "store")  # the run has its own reference values
    go(on_pairs(tmp_path, *words, "resume=true"))
    assert [r["step"] for r in metrics(run)] == [1, 2, 3, 4, 5, 6]
    assert metrics(run) == before


def test_reference_values_that_are_damaged_are_made_again_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("objective=dpo", "steps=4", "checkpoint.every=2", "checkpoint.keep=9")
    run = go(on_pairs(tmp_path, *words))
    before, kept = metrics(run), (run / "reference.values").read_bytes()
    unfinished(run, last=2)
    (run / "reference.values").write_bytes(b"0" * 8)
    go(on_pairs(tmp_path, *words, "resume=true"))
    assert "reference.values: is not what was written" in capsys.readouterr().err
    assert metrics(run) == before and (run / "reference.values").read_bytes() == kept
    unfinished(run, last=2)
    manifest = read(run / "manifest.json")
    manifest["reference"]["digest"] = "0" * 16  # as if another machine had computed them
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="gone or changed"):
        train.main(on_pairs(tmp_path, *words, "resume=true"))


def test_a_signal_during_the_last_step_stops_before_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = on_pairs(tmp_path, "objective=dpo")
    whole = read(go({**asked, "outputs": str(tmp_path / "whole")}) / "summary.json")["final"]
    real = session.train

    def signalled(*arguments: Any) -> None:
        real(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(session, "train", signalled)
        with pytest.raises(Interrupted, match=r"after step 2 of 2; it is saved.*resume=true"):
            train.main(asked)
    assert read(folder(asked) / "manifest.json")["status"] == "interrupted"
    final = read(go({**asked, "resume": True}) / "summary.json")["final"]
    assert {k: v for k, v in final.items() if "speed" not in k} == {
        k: v for k, v in whole.items() if "speed" not in k
    }


def test_another_model_under_the_same_path_is_another_run(tmp_path: Path) -> None:
    words = ("objective=dpo", "model=hf", f"model.path={tmp_path}/m")
    for seed in (0, 1):
        small = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32}
        tiny_model(seed, **small).save_pretrained(tmp_path / "m")
        tiny_tokenizer().save_pretrained(tmp_path / "m")
        go(on_pairs(tmp_path, *words, tiny=False))
    assert len(list((tmp_path / "outputs").glob("dpo-*"))) == 2


def test_independent_pairing_draws_every_example_whole(tmp_path: Path) -> None:
    """Three full rows against six bare ones: each view goes round its own rows."""
    rows = [r for r in pair_rows(6) if r["view"] == "bare" or r["prompt"][0] in "012"]
    path = write(tmp_path / "p.jsonl", rows)
    words = ("data=pairs", f"data.path={path}", "data.pairing=independent", "objective=bvpo")
    session = Session.load(train.request(config(tmp_path, *words, "batch=6")))
    assert session.loaded.rows.independent
    stream = session.batching.drawn()
    assert len(stream) == 9
    run = go(config(tmp_path, *words, "batch=6"))
    assert {"full/loss", "bare/loss"} <= set(metrics(run)[0])


def test_eval_rows_takes_as_many_of_each_view(tmp_path: Path) -> None:
    words = ("objective=bvpo", "data.pairing=independent", "data.eval_fraction=0.5", "eval.rows=1")
    last = metrics(go(on_pairs(tmp_path, *words)))[-1]
    assert {"eval/full/loss", "eval/bare/loss"} <= set(last)


@pytest.mark.parametrize("best", ["eval/los", "lost", "rewards/margin"])
def test_a_metric_that_is_not_there_is_said_before_anything_is_written(
    best: str, tmp_path: Path
) -> None:
    wrong = on_pairs(tmp_path, "data.eval_fraction=0.3", f"checkpoint.best={best}")
    with pytest.raises(ConfigError, match=rf"checkpoint\.best: '{best}'.*Did you mean"):
        train.main(wrong)
    assert not folder(wrong).exists()


def test_a_best_of_another_metric_starts_anew(tmp_path: Path) -> None:
    words = ("objective=dpo", "steps=4", "checkpoint.every=2", "checkpoint.keep=9")
    run = go(on_pairs(tmp_path, *words, "checkpoint.best=rewards/margins"))
    unfinished(run, last=2)
    go(on_pairs(tmp_path, *words, "checkpoint.best=loss", "resume=true"))
    best = json.loads((run / "summary.json").read_text())["best"]
    assert best["metric"] == "loss" and best["value"] in [r["loss"] for r in metrics(run)]


def test_rows_that_prefer_nothing_are_refused_and_alone_stop(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "candidates": ["a", "b"], "relevance": [0, 0]} for i in range(4)]
    write(tmp_path / "lists.jsonl", rows)
    with pytest.raises(DataError, match="nothing_to_prefer 4"):
        train.main(on_lists(tmp_path))
    write(tmp_path / "lists.jsonl", [*rows, {**rows[0], "prompt": "x", "relevance": [1, 0]}])
    run = go(on_lists(tmp_path))
    refused = (run / "refused.jsonl").read_text()
    assert refused.count("nothing_to_prefer") == 4


LORA = ("objective=dpo", "steps=4", "checkpoint.every=2", "checkpoint.keep=9",
        "model.lora.r=2", "model.lora.dropout=0.5")  # fmt: skip


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step-{step:06d}" / "policy/adapter_model.safetensors")


def test_a_run_is_the_same_bit_for_bit_with_and_without_examples(tmp_path: Path) -> None:
    """With dropout in the adapter: one number more or less drawn would show."""
    without = go(on_pairs(tmp_path, *LORA, "examples.count=0", "name=without"))
    told = go(on_pairs(tmp_path, *LORA, "examples.count=4", "name=told"))
    assert not (without / "examples.jsonl").exists()
    assert metrics(without) == metrics(told)
    for step in (2, 4):
        one, other = weights(without, step), weights(told, step)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(value.abs().sum() > 0 for name, value in one.items() if "lora_B" in name)


def test_examples_are_of_held_out_rows_and_of_each_view(tmp_path: Path) -> None:
    words = ("objective=bvpo", "data.eval_fraction=0.5", "examples.count=2")
    run = go(on_pairs(tmp_path, *words, "examples.max_new_tokens=3"))
    found, _ = read_jsonl(run / "examples.jsonl")
    assert [e["view"] for e in found] == ["full", "full", "bare", "bare"]
    assert all(e["before"] and e["after"] for e in found)
    held = [
        r.where
        for r in Session.load(train.request(on_pairs(tmp_path, *words))).loaded.rows.held_out
    ]
    numbers = {int(where.rpartition(":")[2].split()[0].strip("+")) for where in held}
    asked = {int(e["prompt"].partition("user\n")[2].partition("+")[0]) for e in found}
    assert asked <= {(n - 1) // 2 for n in numbers}


def test_a_resumed_run_keeps_what_was_said_before(tmp_path: Path) -> None:
    run = go(on_pairs(tmp_path, *LORA, "examples.count=1", "examples.max_new_tokens=4"))
    first, _ = read_jsonl(run / "examples.jsonl")
    unfinished(run, last=2)
    lines = [{**e, "before": {"text": "kept", "ended": True}, "after": None} for e in first]
    write(run / "examples.jsonl", lines)
    go(on_pairs(tmp_path, *LORA, "examples.count=1", "examples.max_new_tokens=4", "resume=true"))
    found, _ = read_jsonl(run / "examples.jsonl")
    assert [e["before"]["text"] for e in found] == ["kept"] * len(first)
    assert [e["after"] for e in found] == [e["after"] for e in first]


def test_a_tracker_hears_the_metrics_and_the_summary_also_over_a_resume(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ("objective=dpo", "steps=4", "checkpoint.every=2", "checkpoint.keep=9",
             "tracker=tensorboard")  # fmt: skip
    run = go(on_pairs(tmp_path, *words))
    unfinished(run, last=2)
    go(on_pairs(tmp_path, *words, "resume=true"))
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    rows = metrics(run)
    for name in (*rows[0].keys() - {"step"}, "speed/tokens_per_second"):
        logged = [(e.step, e.value) for e in events.Scalars(name)]
        assert [step for step, _ in logged] == [1, 2, 3, 4]
        if not name.startswith("speed/"):
            values = [np.float32(r[name]) for r in rows]
            assert [np.float32(v) for _, v in logged] == values
    tables = [t.tensor_proto.string_val[0] for t in events.Tensors("rows/text_summary")]
    assert tables[-1].decode().endswith("| kept | 6 |")


def test_a_tracker_changes_neither_name_nor_trajectory(tmp_path: Path) -> None:
    plain = go(on_pairs(tmp_path, "objective=dpo"))
    before = metrics(plain)
    tracked = go(on_pairs(tmp_path, "objective=dpo", "tracker=tensorboard", "force=true"))
    assert tracked == plain
    assert metrics(tracked) == before


def test_a_missing_tracker_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = on_pairs(tmp_path, "objective=dpo", "tracker=[tensorboard,wandb]")
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else real(name, *a)
    )
    with pytest.raises(ConfigError, match=r"tracker\.wandb: .*pip install 'bvrank\[wandb\]'"):
        train.main(asked)
    assert not (tmp_path / "outputs").exists()


def test_marginal_says_where_it_is_dpo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    single = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(4)]
    several = [{**r, "chosen": ["<think>x</think>a", "<think>y</think>a"]} for r in single]
    for name, rows, noted in (("one", single, True), ("two", several, False)):
        path = write(tmp_path / f"{name}.jsonl", rows)
        for objective in ("marginal", "bvpo"):
            words = [f"objective={objective}", f"data.path={path}", "data=pairs"]
            if objective == "bvpo":
                words += ["objective@objective.loss=marginal", "objective.alpha=1"]
            go(config(tmp_path, *words))
            assert ("no answer has two traces" in capsys.readouterr().err) is noted


def test_a_forest_that_has_to_go_under_masks_says_so_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    policy, cpu, cuda = tiny_model(0), torch.device("cpu"), torch.device("cuda")

    def said(place: torch.device, *words: str, told: bool = True) -> str:
        settings = train_settings(frozen(composed("train", words)))
        session._check_layout(policy, settings, place, told)
        return capsys.readouterr().err

    assert said(cpu) == said(cuda) == ""
    with pytest.raises(ConfigError, match="activation_checkpointing: FlexAttention"):
        said(cuda, "activation_checkpointing=selective")
    assert said(cpu, "activation_checkpointing=selective") == ""
    policy.config.attention_dropout = 0.1
    assert "attention has dropout" in said(cpu)
    assert said(cpu, told=False) == said(cpu, "scoring.layout=masked") == ""
    assert "dropout" in said(cuda, "activation_checkpointing=selective")  # masks do not mind
