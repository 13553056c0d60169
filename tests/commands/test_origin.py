"""What decides responses, and what one folder takes over from another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands.compose import composed, frozen
from bvrank.commands.origin import Origin, adopt, in_force, origin, unheeded
from bvrank.records import Message
from bvrank.run.identity import flatten
from bvrank.sampling.responses import Prompt

PROMPTS = [Prompt(0, "a:1", (Message("user", "q"),), "1"),
           Prompt(2, "a:3", (Message("system", "s"), Message("user", "r")), "2")]  # fmt: skip
SERVED = ("sampler=openai", "sampler.server.model=m", "reward=judge", "reward.server.model=j")
ASKED = Origin("r", "g")


def config(*words: str) -> dict[str, Any]:
    return frozen(composed("sample", words))


def of(*words: str, prompts: list[Prompt] = PROMPTS) -> Origin:
    asked = config(*words)
    return origin(in_force(asked, asked["sampler"]["_target_"].endswith("Transformers")), prompts)


@pytest.mark.parametrize(
    "word",
    ["seed=1", "n=5", "modes=[thinking]", "sampler.top_p=0.5", "model.layers=4", "precision=bf16",
     "template.empty_block='<think></think>'", "check.rows=3"],
)  # fmt: skip
def test_what_is_drawn_depends_on(word: str) -> None:
    assert of(word).responses != of().responses and of(word).golds == of().golds


@pytest.mark.parametrize(
    "word", ["select.rule=random", "check.tolerance=3", "formats=[jsonl]", "reward=math", "name=x",
             "prompts.problems=20", "max_refused=0.5", "device=cpu"],
)  # fmt: skip
def test_what_is_drawn_does_not_depend_on(word: str) -> None:
    assert of(word) == of()


@pytest.mark.parametrize(
    "other",
    [Prompt(1, "a:1", (Message("user", "q"),), "1"), Prompt(0, "a:1", (Message("user", "q!"),)),
     Prompt(0, "a:1", (Message("system", "q"),), "1")],
)  # fmt: skip
def test_what_is_drawn_depends_on_every_prompt(other: Prompt) -> None:
    assert of(prompts=[other, PROMPTS[1]]).responses != of().responses
    assert of(prompts=PROMPTS[::-1]).responses != of().responses


def test_where_a_prompt_stood_and_its_answer_do_not_decide_the_responses() -> None:
    other = Prompt(0, "b:7", (Message("user", "q"),), "2")
    found = of(prompts=[other, PROMPTS[1]])
    assert found.responses == of().responses and found.golds != of().golds


@pytest.mark.parametrize("words", [("sampler=recorded", "prompts.path={}"), ("model=hf",)])
def test_files_count_by_content(words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text("1")
    put = "sampler.path" if "sampler=recorded" in words else "model.path"
    words = ("prompts=file", f"prompts.path={file}", words[0], f"{put}={file}")
    before = of(*words)
    file.write_text("2")
    assert of(*words).responses != before.responses


def test_how_a_server_is_asked_decides_nothing() -> None:
    kept, given = flatten(in_force(config(*SERVED), False)), flatten(config(*SERVED))
    gone = {k for k in given if k not in kept and k.partition(".")[0] in ("sampler", "reward")}
    how = {"concurrency", "requests_per_minute", "tokens_per_minute", "timeout", "retries",
           "api_key_env", "stream", "backoff.initial", "backoff.maximum",
           "backoff.patience"}  # fmt: skip
    assert gone == {"sampler.max_failed", "reward.max_failed",
                    *(f"{g}.server.{k}" for g in ("sampler", "reward")
                                            for k in how)}  # fmt: skip
    assert not {"model", "template", "precision", "device", "check"} & {*in_force(config(), False)}
    assert in_force(config(), True) == config()


@pytest.mark.parametrize(
    ("words", "key"),
    [((), None), (("check.rows=0",), None), (("seed=7",), None), (("device=cpu",), "device"),
     (("check.rows=5",), "check.rows"), (("precision=bf16",), "precision"),
     (("check.tolerance=1",), "check.tolerance"), (("template.date=2020-01-01",), "template.date"),
     (("model.layers=2",), "model.layers"), (("model=hf", "model.path=x"), "model")],
)  # fmt: skip
def test_what_nothing_follows_is_found(words: tuple[str, ...], key: str | None) -> None:
    assert unheeded(config(*SERVED, *words)) == key


def folder(path: Path, manifest: Mapping[str, Any], **logs: str) -> Path:
    path.mkdir()
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "config.yaml").write_text("{}")
    for name, text in logs.items():
        (path / f"{name}-00000.jsonl").write_text(text)
    return path


def copied(path: Path) -> dict[str, str]:
    return {p.name.partition("-")[0]: p.read_text() for p in path.glob("*.jsonl")}


SAME = {"responses": "r", "golds": "g"}


def test_the_folder_that_holds_most_is_taken_finished_or_not(tmp_path: Path) -> None:
    folder(tmp_path / "a", SAME | {"status": "finished"}, responses="1\n", scores="s\n")
    most = folder(tmp_path / "b", SAME | {"status": "killed"}, responses="1\n2\n", scores="t\n")
    (most / "responses-00001.jsonl").write_text("3\n")
    (tmp_path / "none").mkdir()
    (new := tmp_path / "new").mkdir()
    assert adopt(new, ASKED) == most
    assert sorted(p.name for p in new.iterdir()) == [
        "responses-00000.jsonl", "responses-00001.jsonl", "scores-00000.jsonl"
    ]  # fmt: skip
    assert copied(new)["scores"] == "t\n"


@pytest.mark.parametrize("other", [{"responses": "x", "golds": "g"}, {"golds": "g"}, {}])
def test_other_responses_are_left_where_they_are(other: dict[str, str], tmp_path: Path) -> None:
    folder(tmp_path / "a", other, responses="1\n")
    folder(tmp_path / "b.old-1", SAME, responses="1\n")
    (folder(tmp_path / "c", SAME, responses="1\n") / "manifest.json").write_text("{")
    folder(tmp_path / "d", SAME, responses="")
    (new := tmp_path / "new").mkdir()
    assert adopt(new, ASKED) is None and not list(new.iterdir())


def test_no_score_stands_without_its_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the step at which the process dies, and whatever the other folder writes."""
    folder(tmp_path / "a", SAME, responses="1\n", scores="s\n")
    real, seen = Path.rename, []

    def rename(self: Path, target: Path) -> Path:
        seen.append(Path(target).name.partition("-")[0])
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    copies: list[str] = []
    copyfile = shutil.copyfile
    monkeypatch.setattr(
        shutil, "copyfile", lambda a, b: (copies.append(Path(a).name[:6]), copyfile(a, b))
    )
    (new := tmp_path / "new").mkdir()
    adopt(new, ASKED)
    assert copies == ["scores", "respon"] and seen == ["responses", "scores"]


def test_scores_by_other_answers_stay(tmp_path: Path) -> None:
    folder(tmp_path / "a", SAME | {"golds": "h"}, responses="1\n", scores="s\n")
    (new := tmp_path / "new").mkdir()
    adopt(new, ASKED)
    assert copied(new) == {"responses": "1\n"}
