"""What is made first is made once: another call finds it by content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bvrank.commands import prepare
from bvrank.data.arithmetic import Arithmetic
from bvrank.data.templates import Template
from bvrank.errors import ConfigError, DataError
from bvrank.models.tiny import Teach, Tiny, tiny_tokenizer
from bvrank.run.store import SEAL, damage
from bvrank.scoring.reference import model_digest
from tests.run.test_store import HARM
from tests.sampling.saying import saying, usual

TOKENIZER = tiny_tokenizer()
TEMPLATE = Template(TOKENIZER)
NODE = Tiny(
    Teach(steps=2, batch=4, problems=20), hidden_size=16, layers=1, heads=2, intermediate_size=32
)
SOURCE = Arithmetic(problems=12, samples=3, test_problems=6, test_samples=2, max_new_tokens=8)


def taught(node: Tiny, store: Path) -> Any:
    model = node.model(TOKENIZER, 0)
    prepare.teach(node, model, TOKENIZER, store)
    return model


def test_teaching_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = taught(NODE, tmp_path)
    assert model_digest(one) != model_digest(NODE.model(TOKENIZER, 0))
    with monkeypatch.context() as patched:
        patched.setattr(prepare, "_teach", lambda *_: pytest.fail("taught again"))
        assert model_digest(taught(NODE, tmp_path)) == model_digest(one)
    assert model_digest(taught(NODE, tmp_path / "other")) == model_digest(one)
    slower = replace(NODE, teach=replace(NODE.teach, lr=1e-4))
    assert model_digest(taught(slower, tmp_path)) != model_digest(one)
    assert len(list((tmp_path / "models").iterdir())) == 2


def test_nothing_half_taught_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(model: Any, folder: Path) -> None:
        (folder / "config.json").write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "save_policy", full)
    with pytest.raises(KeyboardInterrupt):
        taught(NODE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_more_problems_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.teach\.problems: .*exist"):
        taught(replace(NODE, teach=replace(NODE.teach, problems=10**6)), tmp_path)


def test_pairs_are_sampled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = NODE.model(TOKENIZER, 0)
    saying(monkeypatch, usual)
    one = prepare.own(SOURCE, model, TEMPLATE, tmp_path)
    assert one.path is not None and len(list(one.rows())) >= 12
    saying(monkeypatch, lambda *_: pytest.fail("sampled again"))
    again = prepare.own(replace(SOURCE, test_problems=9), model, TEMPLATE, tmp_path)
    assert again.path == one.path
    assert prepare.own(one, None, TEMPLATE, tmp_path) is one
    saying(monkeypatch, usual)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    assert prepare.own(SOURCE, model, TEMPLATE, tmp_path).path != one.path
    assert not list(tmp_path.rglob("*.part"))


def test_nothing_to_prefer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, lambda answer, thinking, turn: usual(answer, thinking, 1))
    with pytest.raises(DataError, match=r"right and a wrong.*data\.problems"):
        prepare.own(SOURCE, NODE.model(TOKENIZER, 0), TEMPLATE, tmp_path)
    assert not list(tmp_path.rglob("*.jsonl"))


def test_accuracy_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = NODE.model(TOKENIZER, 0)
    saying(monkeypatch, usual)
    one = prepare.measured(SOURCE, model, TEMPLATE, tmp_path, "accuracy")
    assert one["thinking"].sampled == (0.5,) * 6
    saying(monkeypatch, lambda *_: pytest.fail("measured again"))
    again = prepare.measured(SOURCE, model, TEMPLATE, tmp_path, "accuracy")
    assert again == one


@pytest.mark.parametrize("kind", ["models", "pairs", "accuracy"])
@pytest.mark.parametrize("harm", ["gone", "cut", "flipped"])
def test_a_damaged_entry_is_named_and_made_again(
    kind: str, harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def everything() -> Any:
        model = taught(NODE, tmp_path)
        saying(monkeypatch, usual)
        path = prepare.own(SOURCE, model, TEMPLATE, tmp_path).path
        found = prepare.measured(SOURCE, model, TEMPLATE, tmp_path, "accuracy")
        return model_digest(model), Path(str(path)).read_text(), found

    whole = everything()
    (entry,) = (tmp_path / kind).iterdir()
    largest = max((p for p in entry.iterdir() if p.name != SEAL), key=lambda p: p.stat().st_size)
    HARM[harm](largest)
    capsys.readouterr()
    assert everything() == whole
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "store:" in line]
    assert str(entry) in line and largest.name in line
    assert damage(entry) is None


def test_what_was_sampled_through_another_rendering_is_not_found() -> None:
    tokenizer = tiny_tokenizer()
    ways = [
        Template(tokenizer),
        Template(tokenizer, empty_block="<think>\nno\n</think>\n\n"),
        Template(tokenizer, end_token="<|endoftext|>"),
    ]
    assert len({str(prepare._rendered(t)) for t in ways}) == 3
