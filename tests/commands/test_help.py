from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bvrank.cli import COMMANDS
from bvrank.commands.compose import composed, flat_keys, frozen
from bvrank.commands.help import comments, screen
from tests.commands.line import ROOT, Call

WRITTEN = [command for command in COMMANDS if (ROOT / "conf" / f"{command}.yaml").is_file()]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_the_head_of_the_screen() -> None:
    lines = screen("train", ["objective=dpo"]).splitlines()
    assert lines[:3] == [
        "bvrank train: Train a policy with an objective, and measure what changed.",
        "",
        "usage: bvrank train [group=option ...] [key=value ...] [-m] [--cfg job] [--info]",
    ]
    assert "              *dpo                 Direct preference optimisation" in "\n".join(lines)
    assert "  objective=   apo_down " in "\n".join(lines)
    assert not any("recipe=" in line for line in lines)
    assert "  objective@objective.loss=        *simpo, or another option of objective" in screen(
        "train", ["objective=bvpo", "objective@objective.loss=simpo"]
    )


def test_rows_of_the_screen() -> None:
    text = screen("train", ["seed=7", "name=x"])
    for row in (
        "  seed=7                           decides initial weights, row order, samples",
        "  name=x                           run folder's name (null: by content)",
        "  activation_checkpointing=false   recompute activations in the backward pass",
        "  schedule={}                      fields of the objective that move during the run",
        "Keys of objective=bvpo",
        "  objective.alpha=0.5 ",
        "  objective.loss.beta=2.0          scale of the log-ratio; 0.1 is the paper's",
        "Examples\n  bvrank train objective=bvpo\n",
    ):
        assert row in text, row
    assert "_target_" not in text


@pytest.mark.parametrize("command", WRITTEN)
def test_the_screen_is_complete_and_fits_a_terminal(command: str) -> None:
    text = screen(command)
    assert max(map(len, text.splitlines())) <= 100
    config = composed(command, partial=True)
    hidden = ("hydra/", "recipe/")
    for group in (g for g in config.hydra.runtime.choices if not g.startswith(hidden)):
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            assert path.stem in text
    assert text.count("Examples") == 1
    assert f"bvrank {command}" in text.rpartition("Examples")[2]


@pytest.mark.parametrize("command", WRITTEN)
def test_every_key_has_a_comment(command: str) -> None:
    """YAML is documentation: a key without a meaning does not pass."""
    own = comments(command)
    lines = (ROOT / "conf" / f"{command}.yaml").read_text().splitlines()
    keys = [line.split(":")[0] for line in lines if line[:1].isalpha()]
    for key in keys:
        if key not in ("defaults", "hydra"):
            assert own.get(key) or any(k.startswith(f"{key}.") for k in own), key


def test_comments_follow_the_choices() -> None:
    plain, chosen = comments("train"), comments("train", ["objective=irpo"])
    assert "objective.alpha" in plain
    assert "objective.alpha" not in chosen
    assert chosen["objective.k"] == "places that count, for p_at_k"
    assert set(chosen) <= {*flat_keys(frozen(composed("train", ["objective=irpo"])))}


def test_a_broken_command_line_still_has_comments() -> None:
    assert comments("train", ["objective=nope"]) == comments("train")


def test_help_for_an_option_that_is_not_there(bvrank: Callable[..., Call]) -> None:
    done = bvrank("train", "objective=bvp", "--help")
    assert done.code == 2
    assert done.err.startswith("error: objective: there is no option 'bvp'. Did you mean 'bvpo'?")


def test_comments_beside_above_and_of_a_global_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = tmp_path / "lab" / "objective"
    group.mkdir(parents=True)
    (group / "odd.yaml").write_text(
        "# @package _global_\n# The title.\nobjective:\n  # a long\n  # story\n"
        "  first: 1\n  second: 'a # b'  # beside\n  third: 3\nseed: 5  # five\n"
    )
    found = [f"hydra.searchpath=['file://{tmp_path}/lab']", "objective=odd"]
    meaning = comments("train", found)
    assert meaning["objective.first"] == "a long story"
    assert meaning["objective.second"] == "beside"
    assert meaning["seed"] == "five"
    assert "objective.third" not in meaning
    assert "*odd                 The title" in screen("train", found)


def test_an_option_that_has_yet_to_be_chosen(bvrank: Callable[..., Call]) -> None:
    assert "  from=        arc  " in screen("convert")
    done = bvrank("convert")
    names = sorted(p.stem for p in (ROOT / "conf" / "from").glob("*.yaml"))
    told = f"error: from: choose one of {', '.join(names)}. Write e.g. from=arc\n"
    assert (done.code, done.err) == (2, told)


KEYS = """\
Keys
  seed=7                           decides initial weights, row order, samples and everything else
                                   drawn
  steps=90                         optimiser steps
  batch=16                         examples per optimiser step, over all ranks and micro-batches
  micro=null                       examples per forward (null: batch / ranks); batch / (micro *
                                   ranks) is the gradient accumulation
  micro_tokens=null                in place of micro: tokens per forward at most (one example at
                                   least), in as few forwards as that allows
  optimizer.name=AdamW             a class of torch.optim
  optimizer.lr=6e-05               highest learning rate of the run
  optimizer.options={}             the optimizer's own keywords, e.g.
                                   optimizer.options.weight_decay=0.1
  scheduler.shape=cosine           cosine | linear | constant: how the learning rate falls after the
                                   warm-up
  scheduler.warmup=0.1             share of the steps over which the learning rate rises from 0
"""


def test_the_keys_as_a_user_sees_them() -> None:
    assert KEYS in screen("train", ["seed=7", "data=pairs", "data.path=x"])
