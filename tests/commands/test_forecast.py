"""A forecast says what can be known before anything is drawn, and starts no more than that."""

from __future__ import annotations

from typing import Any

import pytest

from bvrank.commands import forecast, sample
from tests.commands.test_sample import config, run, words
from tests.sampling.test_vllm import POLICY, Stand, stand

__all__ = ["stand", "words"]  # fixtures


def told(words: tuple[str, ...], *more: str) -> dict[str, str]:
    return dict(forecast.lines(sample.request(config(words, *more))))


def test_vllm_is_not_started(
    words: tuple[str, ...], stand: type[Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bvrank.commands.policies.load", lambda asked: POLICY)
    kept = tuple(w for w in words if not w.startswith(("model.", "sampler.")))
    vllm = ("model=hf", "model.path=some/model", "sampler=vllm", "sampler.max_new_tokens=50", "n=3")
    found = told(kept, *vllm)
    assert found["responses"].startswith("36: 3 in each")
    assert found["new tokens"] == "at most 1,800 (50 a response)"
    assert found["prompt tokens"] and found["bytes"].startswith("at most")
    assert found["hours"] == "not known: Vllm is not started for a forecast"
    assert not stand.made and not stand.asked


@pytest.mark.parametrize(("seconds", "said"), [
    (0.0, "0 seconds"), (0.2, "1 second"), (1.0, "1 second"), (2.1, "3 seconds"),
    (59.0, "59 seconds"), (59.5, "1.0 minutes"), (90.0, "1.5 minutes"), (3600.0, "1.0 hours"),
])  # fmt: skip
def test_times_are_told_in_units_that_show_them(seconds: float, said: str) -> None:
    """What is at most so long is never told as less."""
    assert forecast._time(seconds) == said


def test_one_token_is_one(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bvrank.sampling.local.Local.pilot", lambda *_: 1)
    assert "a pilot of 1 token had" in told(words)["hours"]


def test_a_finished_folder_has_nothing_to_forecast(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(words)
    capsys.readouterr()
    dry = (*words, "dry_run=true")
    loads: list[Any] = []
    real = forecast.lines
    monkeypatch.setattr(forecast, "lines", lambda asked: loads.append(asked) or real(asked))
    assert sample.main(config(dry)) == 0 and not loads
    assert capsys.readouterr().out.startswith(f"{folder}: already there, nothing would run")
    assert sample.main(config(dry, "force=true")) == 0 and len(loads) == 1
    (folder / "pairs.jsonl").unlink()
    assert sample.main(config(dry)) == 0 and len(loads) == 2
    assert "already there" not in capsys.readouterr().out
