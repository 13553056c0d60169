"""An evaluation is finished for what its files held: an edited one is measured anew."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("openai")
pytest.importorskip("ir_measures")

from bvrank.commands import evaluate
from bvrank.commands.compose import composed, frozen
from bvrank.run.identity import flatten
from tests.test_no_silent_evaluate import OTHER, ROOM, files, made  # noqa: F401

SUFFIXES = (".json", ".jsonl", ".txt", ".jinja", ".csv")
OTHERWISE = {"task.difficulty_path", "task.judge.path", "task.judge.answers_path", "sampler.path"}
CONTENT = [  # (words, a key that names a file)
    *((ROOM[room], f"{room.partition('=')[0]}.{key}") for room, key in (
        ("task=gsm8k", "prompts.path"), ("task=preference", "pairs.path"),
        ("task=ranking", "lists.path"), ("task=ranking_run", "run_file"),
        ("task=ranking_run", "qrels"), ("task=alpaca_eval", "path"), ("task=arena_hard", "path"),
        ("task=arena_hard", "rules.baseline_path"))),
    ((*ROOM["task=preference"], "task.pairs.bare_path=more_pairs.jsonl"), "task.pairs.bare_path"),
    ((*ROOM["task=preference"], "task.reference=hf"), "task.reference"),
    ((*ROOM["task=alpaca_eval"], "task.prompt_file=official.txt"), "task.prompt_file"),
    ((*ROOM["task=alpaca_eval"], "task.difficulty_path=base.json"), "task.difficulty_path"),
    ((*ROOM["task=arena_hard"], "task.rules.system_file=official.txt"), "task.rules.system_file"),
    (("task=alpaca_eval", "judge=replay", "judge.path=base.json"), "task.judge.path"),
    (("task=arena_hard_v2", "judge=replay", "judge.path=base.jsonl",
      "judge.answers_path=other_base.jsonl"), "task.judge.answers_path"),
    ((*ROOM[""], "template.file=dated.jinja"), "template.file"),
    (("task=gsm8k", "task.prompts.path=sums.jsonl", "task.prompts.split=null",
      "sampler=recorded", "sampler.path=more.jsonl", "sampler.prompt_column=question",
      "modes=[thinking]"), "sampler.path"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "key"), CONTENT, ids=[key for _, key in CONTENT])
def test_an_edited_file_is_measured_anew(
    words: tuple[str, ...],
    key: str,
    files: Path,  # noqa: F811
) -> None:
    """The content of every file that a key names decides the folder, hence what is finished."""
    asked = evaluate.request(frozen(composed("evaluate", [*words])))
    (name,) = asked.tasks
    place = files / str(flatten({**asked.config, "task": asked.nodes[name]})[key])
    path = place if place.is_file() else place / "config.json"
    before, text = asked.folder(name), path.read_bytes()
    path.write_bytes(text + b"\n")
    after = asked.folder(name)
    path.write_bytes(text)
    assert asked.folder(name) == before != after


def test_every_file_stands_in_that_table() -> None:
    """Of the values above, those that name one."""
    named = {
        f"{room.partition('=')[0]}.{key}".lstrip(".") for room, keys in OTHER.items()
        for key, (value, *_) in keys.items() if value == "hf" or Path(value).suffix in SUFFIXES
    }  # fmt: skip
    known = {key for _, key in CONTENT}
    assert named <= known and known - named <= OTHERWISE, named ^ known
