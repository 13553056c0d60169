"""A score is that of a plain forward of its row alone, whatever stands beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
)

from bvrank.errors import ConfigError, ModelError
from bvrank.models.tiny import tiny_model, tiny_tokenizer
from bvrank.records import Asked, Message
from bvrank.rewards.model import Model
from tests.rewards.models import PAD_ID, asked, classifier

QUESTION = (Message("user", "q"),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier(tmp_path_factory.mktemp("reward") / "m")


def plain(folder: Path, rows: list[Asked]) -> dict[str, list[float]]:
    """All logits of each row, one plain forward each."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = {}
    for a in rows:
        turns = [{"role": m.role, "content": m.content} for m in a.prompt]
        turns.append({"role": "assistant", "content": a.answer})
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            found[a.key] = model(ids["input_ids"]).logits[0].tolist()
    return found


def scores(reward: Model, rows: list[Asked]) -> dict[str, float]:
    found = list(reward.scores(rows))
    assert sorted(s.key for s in found) == sorted(a.key for a in rows)
    assert all(s.score is not None for s in found)
    return {s.key: s.score for s in found if s.score is not None}


@pytest.mark.parametrize("budget", [1, 200, 16384])
def test_a_score_is_that_of_the_row_alone(folder: Path, budget: int) -> None:
    rows = asked()
    found = scores(Model(path=str(folder), batch_tokens=budget, device="cpu"), rows)
    wanted = {k: v[0] for k, v in plain(folder, rows).items()}
    assert found == pytest.approx(wanted, abs=1e-5)
    assert len({round(v, 3) for v in found.values()}) > 8  # they tell rows apart


@pytest.mark.parametrize("pad", [None, -1, ord("x"), tiny_tokenizer().eos_token_id])
def test_a_pad_token_that_is_missing_or_used_in_text_changes_nothing(
    tmp_path: Path, pad: int | None
) -> None:
    """None: the classifier refuses batches. `x` stands in the texts; EOS ends some turns."""
    place = classifier(tmp_path / "m", pad=None)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"pad_token_id": pad}))
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token, tokenizer.padding_side = None, "left"
    tokenizer.save_pretrained(place)
    rows = [*asked(), Asked("x", QUESTION, "xx")]
    wanted = {k: v[0] for k, v in plain(place, rows).items()}
    reward = Model(path=str(place), device="cpu")
    assert scores(reward, rows) == pytest.approx(wanted, abs=1e-5)
    assert reward._model.config.pad_token_id == pad


def test_rows_that_use_every_id_are_scored_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = classifier(tmp_path / "m", pad=None)
    monkeypatch.setattr("bvrank.rewards.model.unused", lambda rows, vocabulary: None)
    wanted = {k: v[0] for k, v in plain(place, asked()).items()}
    assert scores(Model(path=str(place), device="cpu"), asked()) == pytest.approx(wanted, abs=1e-5)


def test_an_encoder_is_scored_like_a_decoder(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=261, hidden_size=16, num_hidden_layers=2, num_labels=1,
                        num_attention_heads=2, intermediate_size=24, pad_token_id=PAD_ID,
                        max_position_embeddings=200, initializer_range=0.3)  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    wanted = {k: v[0] for k, v in plain(tmp_path, asked()).items()}
    assert scores(Model(path=str(tmp_path), device="cpu"), asked()) == pytest.approx(
        wanted, abs=1e-5
    )


def test_of_several_heads_one_is_chosen(tmp_path: Path) -> None:
    place = classifier(tmp_path / "m", labels=3)
    for label in (None, 3):
        with pytest.raises(ConfigError, match=r"reward\.label: .*the model has 3 heads") as told:
            list(Model(path=str(place), label=label).scores(asked()))
        assert told.value.exit_code == 2
    wanted = plain(place, asked())
    for s in Model(path=str(place), label=2, device="cpu").scores(asked()):
        assert s.score == pytest.approx(wanted[s.key][2], abs=1e-5)
        assert [*s.details.values()] == pytest.approx(wanted[s.key], abs=1e-5)
        assert [*s.details] == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_what_cannot_be_scored_says_why(folder: Path) -> None:
    rows = [
        Asked("long", QUESTION, "a" * 300), Asked("ends its turn", QUESTION, "a<|im_end|>\n"),
        Asked("odd", (Message("tool", "q"),), "a"), Asked("fine", QUESTION, "a"),
    ]  # fmt: skip
    found = {s.key: (s.score is None, s.reason) for s in Model(path=str(folder)).scores(rows)}
    assert found == {"long": (True, "too_long"), "ends its turn": (True, "special_token"),
                     "odd": (True, "template"), "fine": (False, "")}  # fmt: skip
    (short,) = Model(path=str(folder), max_length=20).scores([Asked("a", QUESTION, "a" * 20)])
    assert short.reason == "too_long"


def test_a_template_that_drops_the_answer_is_found_out(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "t.jinja"
    file.write_text("{% for m in messages %}{{ m.content if m.role == 'user' }};{% endfor %}")
    (found,) = Model(path=str(folder), template=str(file)).scores([Asked("a", QUESTION, "q")])
    assert found.reason == "template"
    file.write_text("{% for m in messages %}{{ m.content }};{% endfor %}")
    (found,) = Model(path=str(folder), template=str(file)).scores([Asked("a", QUESTION, "q")])
    assert found.score is not None


def test_answers_are_read_as_they_are_needed(folder: Path) -> None:
    read = []

    def source() -> Iterator[Asked]:
        for a in asked(200):
            read.append(a.key)
            yield a

    found = Model(path=str(folder), batch_tokens=64).scores(source())
    assert not read
    next(found)
    assert 0 < len(read) < 100


def test_numbers_that_are_none_are_no_scores(tmp_path: Path) -> None:
    place = classifier(tmp_path / "m")
    edited(place, {"score.weight": torch.full((1, 16), torch.nan)})
    assert {s.reason for s in Model(path=str(place)).scores(asked())} == {"not_finite"}


def test_a_head_that_is_missing_is_not_drawn_at_random(tmp_path: Path) -> None:
    tiny_model(0, hidden_size=16, layers=1, heads=2, intermediate_size=32).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"weights missing: score\.weight.*saved with its head"):
        list(Model(path=str(tmp_path), label=0).scores(asked()))


def test_code_and_pickles_of_a_folder_are_never_run(tmp_path: Path) -> None:
    place = classifier(tmp_path / "m")
    weights = place / "model.safetensors"
    torch.save(load_file(weights), place / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ModelError, match="pickled weights alone"):
        list(Model(path=str(place)).scores(asked()))
    config = json.loads((place / "config.json").read_text())
    named = {"AutoModelForSequenceClassification": "mine.Model", "AutoConfig": "mine.Config"}
    config |= {"model_type": "mine", "auto_map": named}
    (place / "config.json").write_text(json.dumps(config))
    (place / "mine.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ModelError, match="no configuration could be loaded"):
        list(Model(path=str(place)).scores(asked()))


def test_what_is_wrong_is_said_in_a_line(folder: Path, tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"path": " "}, "path: must name"), ({"batch_tokens": 0}, "batch_tokens: must be at least"),
        ({"max_length": 0}, "max_length: must be"), ({"date": "soon"}, "date: is no date"),
        ({"label": -1}, "label: must be"), ({"revision": "main"}, "revision: is for hub ids"),
    ]  # fmt: skip
    for keys, message in wrong:
        with pytest.raises(ConfigError, match=message):
            Model(**{"path": str(folder), **keys})
    later: list[tuple[dict[str, Any], str]] = [
        ({"max_length": 300}, r"reward\.max_length: is 300, but the model has 256 positions"),
        ({"template": "none.jinja"}, r"reward\.template: cannot be read"),
        ({"device": "nowhere"}, r"reward\.device: no such device"),
        ({"path": str(tmp_path / "gone")}, r"no such model folder.*Set reward\.path"),
    ]
    for keys, message in later:
        with pytest.raises((ConfigError, ModelError), match=message):
            list(Model(**{"path": str(folder), **keys}).scores(asked()))


def test_a_tokenizer_without_a_template_asks_for_one(tmp_path: Path) -> None:
    place = classifier(tmp_path / "m")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    (place / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(place)
    with pytest.raises(ModelError, match=r"no chat template.*reward\.template="):
        list(Model(path=str(place)).scores(asked()))


def test_the_identity_changes_with_whatever_changes_scores(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "t.jinja"
    file.write_text("{% for m in messages %}{{ m.content }};{% endfor %}")
    keys: list[dict[str, Any]] = [
        {}, {"template": str(file)}, {"date": "2025-01-01"}, {"precision": "bf16"},
        {"max_length": 100}, {"path": str(classifier(tmp_path / "other", seed=1))},
    ]  # fmt: skip
    found = [Model(**{"path": str(folder), **k}).identity for k in keys]
    assert len(set(found)) == len(keys)
    three = classifier(tmp_path / "three", labels=3)
    assert len({Model(path=str(three), label=i).identity for i in range(3)}) == 3
    again = Model(path=str(folder), batch_tokens=7, device="cpu", label=0)
    assert again.identity == found[0]
    same = classifier(tmp_path / "copy")
    assert Model(path=str(same)).identity == found[0]  # by content, not by path


def test_bf16_computes_in_bf16(folder: Path) -> None:
    reward = Model(path=str(folder), precision="bf16", device="cpu")
    fine = {k: v[0] for k, v in plain(folder, asked()).items()}
    found = scores(reward, asked())
    assert reward._model.dtype == torch.bfloat16
    assert found != pytest.approx(fine, abs=1e-5) and found == pytest.approx(fine, abs=0.3)


def edited(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    file = folder / "model.safetensors"
    save_file({**load_file(file), **weights}, file, {"format": "pt"})
