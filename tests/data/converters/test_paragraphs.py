from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bvrank.data.converters.hotpotqa import HotpotQA
from bvrank.errors import ConfigError
from bvrank.models.tiny import tiny_tokenizer
from tests.data.converters.raw import hotpot, one, reasons

GIVEN = HotpotQA(distractors="given", item="{text}")


def test_a_paragraph_is_cut_behind_its_last_whole_word() -> None:
    whole = one(replace(GIVEN, tokens=None), hotpot(1))["candidates"]
    for tokens in (4, 50):
        cut = one(replace(GIVEN, tokens=tokens), hotpot(1))["candidates"]
        assert all(len(c.split()) == tokens for c in cut)
        assert all(any(w.startswith(c) for w in whole) for c in cut)


def test_tokens_may_be_those_of_a_tokenizer(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    by_folder = one(replace(GIVEN, tokens=15, tokenizer=str(tmp_path)), hotpot(1))["candidates"]
    file = str(tmp_path / "tokenizer.json")
    assert by_folder == one(replace(GIVEN, tokens=15, tokenizer=file), hotpot(1))["candidates"]
    whole = one(replace(GIVEN, tokens=None), hotpot(1))["candidates"]
    for cut in by_folder:
        assert any(w.startswith(cut) for w in whole)
        assert len(tokenizer(cut, add_special_tokens=False)["input_ids"]) <= 15


def test_paragraphs_that_come_out_the_same_are_one_and_relevant_if_one_of_them_is() -> None:
    twice = hotpot(1)
    twice["context"][4] = ["Other", twice["context"][0][1]]  # as the first, which is needed
    twice["context"][2] = ["Other", twice["context"][3][1]]
    assert one(GIVEN, twice)["relevance"] == [1, 1, 0]
    assert reasons(replace(GIVEN, tokens=1), hotpot(1)) == ["too_few"]  # all begin with "About"


@pytest.mark.parametrize(
    ("field", "value"),
    [("tokens", 0), ("item", "{title}"), ("tokenizer", "nowhere"), ("tokenizer", "bad.json")],
)
def test_settings_out_of_range_are_refused(
    field: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text("{}")
    with pytest.raises(ConfigError) as caught:
        HotpotQA(**{field: value})  # type: ignore[arg-type]
    assert caught.value.where == field


def test_a_tokenizer_that_cuts_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="cuts nothing"):
        HotpotQA(tokens=None, tokenizer="x")
