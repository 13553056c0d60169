"""A policy beside another one: the reference of task=preference."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from bvrank.commands import evaluate, train
from bvrank.commands.compose import composed, frozen
from bvrank.commands.policies import load
from bvrank.errors import ConfigError
from bvrank.evaluation.result import Result, read_result
from tests.commands.fast import QUICK, TINY, pair_rows, write


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write(tmp_path / "pairs.jsonl", pair_rows(4))


def measured(place: Path, pairs: Path, *words: str) -> Result:
    asked = frozen(composed("evaluate", [
        "task=preference", f"task.pairs.path={pairs}", "task.n=1", "sampler.max_new_tokens=3",
        f"outputs={place / 'evals'}", f"store={place / 'store'}", *words,
    ]))  # fmt: skip
    assert evaluate.main(asked) == 0
    return read_result(evaluate.request(asked).folder("preference"))


def trained(place: Path, pairs: Path, *words: str) -> Path:
    asked = [*TINY, *QUICK, "objective=dpo", "data=pairs", f"data.path={pairs}",
             f"outputs={place / 'runs'}", f"store={place / 'store'}", *words]  # fmt: skip
    assert train.main(frozen(composed("train", asked))) == 0
    (run,) = (place / "runs").iterdir()
    return run


@pytest.mark.parametrize("adapter", [(), ("model.lora.r=2",)])
def test_a_run_against_what_it_was_trained_from(
    tmp_path: Path, pairs: Path, adapter: tuple[str, ...]
) -> None:
    run = trained(tmp_path, pairs, *adapter)
    moved = measured(tmp_path, pairs, f"run={run}", "task.reference=start").figures
    assert moved["full/chosen_displacement"].value != 0 != moved["thinking/kl"].value
    if not adapter:
        policy = run / "checkpoints" / "step-000002" / "policy"
        still = measured(tmp_path, pairs, f"run={run}", f"task.reference={policy}").figures
        assert still["full/chosen_displacement"].value == 0 == still["thinking/kl"].value
        assert still["full/accuracy"].value == 0.5


def test_a_model_against_another_node(tmp_path: Path, pairs: Path) -> None:
    other = [f"task.reference.{w.removeprefix('model.')}" for w in TINY]
    node = ("+model@task.reference=tiny", *other)
    assert measured(tmp_path, pairs, *TINY, *node).figures["full/margin"].value == 0
    deeper = (*node, "task.reference.layers=2")
    assert measured(tmp_path, pairs, *TINY, *deeper).figures["full/margin"].value != 0


def test_another_vocabulary_is_refused() -> None:
    asked = evaluate.request(frozen(composed("evaluate", [*TINY, "task=arithmetic"])))
    other = SimpleNamespace(tokenizer=lambda _: SimpleNamespace(get_vocab=lambda: {"a": 0}))
    with pytest.raises(ConfigError, match=r"task\.reference: has other tokens"):
        load(asked).other(other)


def test_start_is_that_of_a_run(tmp_path: Path, pairs: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.reference: start is that of a run"):
        measured(tmp_path, pairs, *TINY, "task.reference=start")
