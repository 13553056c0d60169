"""Who takes part, and who loses without a judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from bvrank.errors import ConfigError
from bvrank.evaluation.contest import contest, wording
from bvrank.records import Message, Refused
from bvrank.sampling.responses import Prompt
from tests.evaluation.judges import desk

SAID: dict[int, Any] = {
    0: "an answer", 1: {"answer": "half a thought", "closed": False, "end": "length", "tokens": 9},
    2: {"answer": " \n"}, 3: {"end": "failed", "detail": "timeout"},
    4: {"answer": "cut off", "end": "length"},
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    def prompts(self) -> Iterator[Prompt | Refused]:
        yield Refused("x:1", "no_text", "holds nothing")
        for n in range(5):
            yield Prompt(n, f"p{n}", (Message("user", f"q{n}"),))


def test_answers_that_are_not_there_take_part_and_are_counted(tmp_path: Path) -> None:
    found = contest(desk(tmp_path / "a", lambda prompt, mode: SAID[prompt.row]), Source())
    assert {e.prompt.row: e.answer for e in found.of("thinking")} == {
        0: "an answer", 1: "", 2: "", 4: "cut off",
    }  # fmt: skip
    assert found.counts == {"no_text": 1, "failed": 1, "no_answer": 2}
    assert any(n.startswith("1 responses never came") for n in found.notes)
    assert any("2 answers are not there" in note for note in found.notes)
    rates = found.rates("thinking")
    assert rates["thinking/unclosed"] == {"p0": 0, "p1": 1, "p2": 0, "p4": 0}
    assert rates["thinking/truncated"] == {"p0": 0, "p1": 1, "p2": 0, "p4": 1}
    assert rates["thinking/no_answer"] == {"p0": 0, "p1": 0, "p2": 1, "p4": 0}
    assert rates["thinking/length"]["p4"] == 7 and rates["thinking/tokens"]["p1"] == 9


def test_a_prompt_that_does_not_fit_loses(tmp_path: Path) -> None:
    place = desk(tmp_path / "a", lambda prompt, mode: "well")

    def fitting(prompts: list[Prompt], modes: Any) -> Any:
        return prompts[1:], [Refused("p0", "too_long", "has no room")]

    place.sampler.fitting = fitting
    found = contest(place, Source())
    assert [e.answer for e in found.entrants] == ["", "well", "well", "well", "well"]
    assert found.counts["too_long"] == 1
    assert found.rates("thinking")["thinking/unclosed"].keys() == {"p1", "p2", "p3", "p4"}


def test_one_answer_is_judged(tmp_path: Path) -> None:
    assert contest(desk(tmp_path / "a", lambda prompt, mode: "well", n=1, limit=2), Source())
    with pytest.raises(ConfigError, match="one answer"):
        contest(desk(tmp_path / "b", lambda prompt, mode: "well", n=2), Source())


def test_a_file_of_words(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("words")
    assert wording(str(tmp_path / "a"), "key") == "words"
    with pytest.raises(ConfigError, match="cannot be read") as error:
        wording(str(tmp_path / "b"), "key")
    assert error.value.where == "key"
