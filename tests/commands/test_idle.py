"""Keys that nothing follows are refused, and those that something follows count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import evaluate
from bvrank.commands.compose import composed, frozen
from bvrank.commands.idle import DRAWN, draws
from bvrank.errors import ConfigError
from bvrank.evaluation.lm_eval import LmEval
from tests.commands.fast import list_rows, pair_rows, write

FILES = ("task=ranking_run", "task.run_file=run.txt", "task.qrels=qrels.txt")
REPLAY = ("task=arena_hard", "judge=replay", "judge.path=judged.jsonl")
SERVED = ("task=arithmetic", "sampler=openai", "sampler.server.model=m")
LISTS = ("task=ranking", "task.lists.path=lists.jsonl")
PAIRS = ("task=preference", "task.pairs.path=pairs.jsonl")
HF = ("model=hf", "model.path=foo")
POLICY = [(("precision=bf16",), "precision"), (("device=cuda",), "device"), (HF, "model"),
          (("checkpoint=best",), "checkpoint"), (("model.layers=2",), "model.layers"),
          (("template.end_token=x",), "template.end_token")]  # fmt: skip
RESPONSES = [(("n=4",), "n"), (("modes=[thinking]",), "modes"), (SERVED[1:], "sampler"),
             (("sampler.temperature=0.3",), "sampler.temperature")]  # fmt: skip


def asked(*words: str) -> evaluate.Asked:
    return evaluate.request(frozen(composed("evaluate", words)))


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pairs.jsonl", pair_rows())
    write(tmp_path / "lists.jsonl", list_rows())


@pytest.mark.parametrize(
    ("words", "odd"),
    [(FILES, POLICY + RESPONSES), (REPLAY, POLICY + RESPONSES), (SERVED, POLICY),
     (LISTS, RESPONSES[:2] + RESPONSES[3:]), ((*PAIRS, "task.n=0"), RESPONSES[1:2]),
     ((*LISTS, *HF), RESPONSES[1:2] + RESPONSES[3:])],
)  # fmt: skip
def test_what_nothing_follows_is_refused_by_the_key_that_was_typed(words: Any, odd: Any) -> None:
    asked(*words, "limit=3", "seed=1")
    for more, key in odd:
        with pytest.raises(ConfigError, match="has no effect") as caught:
            asked(*words, *more)
        assert caught.value.where == key


def test_a_checkpoint_is_of_a_run() -> None:
    with pytest.raises(ConfigError, match=r"checkpoint: has no effect: no run is measured"):
        asked("task=arithmetic", "checkpoint=2")


def test_which_tasks_draw() -> None:
    """As many as read n, modes and sampler."""
    written = ("task.decoder=generate",)
    for words, expected in ((LISTS, False), ((*LISTS, *written), True), (PAIRS, True),
                            ((*PAIRS, "task.n=0"), False), (FILES, False), (REPLAY, False),
                            (SERVED, True)):  # fmt: skip
        made = asked(*words)
        ((name, task),) = made.tasks.items()
        assert draws(task) is expected
        assert bool({*DRAWN} & {*made.kept(name)}) is expected
    assert LmEval.draws is False


def test_in_a_suite_keys_of_responses_are_of_those_that_draw() -> None:
    suite = ("suite=[arithmetic,ranking]", "tasks.ranking.lists.path=lists.jsonl")
    usual, other = asked(*suite), asked(*suite, "n=9", "modes=[thinking]", "sampler.top_p=0.5")
    assert usual.folder("ranking") == other.folder("ranking")
    assert usual.folder("arithmetic") != other.folder("arithmetic")


def test_where_a_policy_lies_makes_no_other_evaluation() -> None:
    for words, name in ((LISTS, "ranking"), (("task=arithmetic",), "arithmetic")):
        assert asked(*words).folder(name) == asked(*words, "device=cpu").folder(name)
        assert "device" not in asked(*words).kept(name)


def test_a_model_option_of_one_s_own_is_held_to_no_recipe_of_ours() -> None:
    """It has the class of model=hf, but not the word that its recipe goes by."""
    config = frozen(composed("evaluate", ("model=hf", "model.path=foo", *LISTS)))
    usual = frozen(composed("evaluate", LISTS))
    assert config["sampler"] != usual["sampler"]
    evaluate.request({**config, "sampler": usual["sampler"]})
    with pytest.raises(ConfigError, match=r"sampler\.top_p: has no effect"):
        evaluate.request({**config, "sampler": {**usual["sampler"], "top_p": 0.31}})
