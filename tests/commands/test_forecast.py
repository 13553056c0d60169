"""A forecast says what can be known before anything is drawn, and starts no more than that."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import forecast, sample
from bvrank.errors import DataError, RunError
from bvrank.records import Asked
from bvrank.sampling.chat import Reply, Request
from tests.commands.test_sample import config, run, stopping, words
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
    assert "nothing would run" not in capsys.readouterr().out


SERVED = ("prompts.problems=6", "n=3", "sampler=openai", "sampler.server.model=m",
          "sampler.max_new_tokens=100", "reward=judge", "reward.server.model=j")  # fmt: skip


@dataclass
class Servers:
    """A policy and a judge that answer until they are to stop, and count what they were asked."""

    left: dict[str, int] = field(default_factory=lambda: {"m": 10**9, "j": 10**9})
    asked: Counter[str] = field(default_factory=Counter)

    def complete(self, server: Any, requests: Iterable[Request], **_: Any) -> Iterator[Reply]:
        for r in requests:
            if not self.left[server.model]:
                raise RunError("gone")
            self.left[server.model] -= 1
            self.asked[server.model] += 1
            text = "Rating: [[7]]" if server.model == "j" else answer(r.key)
            yield Reply(r.key, text, None, "stop", 1, 1, server.model, None, 1, 0.1)


def answer(key: str) -> str:
    """A third of them never close, a third says the same."""
    number = sum(map(ord, key))
    return ["<think>\nso", "<think>\nt\n</think>\n\n5", f"<think>\nt\n</think>\n\n{number}"][
        number % 3
    ]


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    found = Servers()
    for place in ("sampling.served", "rewards.judge"):
        monkeypatch.setattr(f"bvrank.{place}.complete", found.complete)
    return found


def test_judges_and_limits_are_told(tmp_path: Path) -> None:
    """Of 36 answers to six prompts; a judge is asked for each as often as it takes samples."""
    limits = ("reward.samples=2", "reward.decoding.temperature=1", "reward.decoding.max_tokens=50",
              "reward.server.requests_per_minute=60", "reward.server.concurrency=10")  # fmt: skip
    words = (*SERVED, *limits, f"outputs={tmp_path}")
    found = told(words)
    assert found["answers to score"] == "at most 36"
    assert found["judge calls"] == "at most 72: 2 to each answer"
    judge = sample.request(config(words)).reward
    prompts = [p for p in sample.request(config(words)).prompts.prompts()]
    shown = [Asked("a", p.messages, "", p.gold) for p in prompts]
    (_, tokens) = judge.calls(shown * 6)
    assert found["judge tokens"].startswith(f"at most about {tokens + 72 * 100:,}, 3,600 of them")
    assert found["judge hours"] == (
        "at least 1.2 minutes by requests_per_minute=60; about 8 times as long as one call "
        "takes, with 10 at once"
    )
    assert found["hours"] == "about 2 times as long as one call takes, with 32 at once"
    size = sum(len(m.content) for p in prompts for m in p.messages)
    assert found["prompt tokens"] == f"about {6 * size // 4:,}"
    assert found["new tokens"] == "at most 3,600 (100 a response)"
    limited = told(words, "sampler.server.tokens_per_minute=1000")["hours"]
    minutes = (3600 + 6 * size // 4) / 1000
    assert limited.startswith(f"{minutes:.1f} minutes by tokens_per_minute=1000 if all are as long")


@pytest.mark.parametrize("taken_over", [False, True])
@pytest.mark.parametrize("stop", [{"m": 13}, {"j": 5}, {"m": 0}, {"j": 0}])
def test_what_is_there_is_not_forecast_again(
    stop: dict[str, int], taken_over: bool, servers: Servers, tmp_path: Path
) -> None:
    """What is told to be left is what the servers are then asked: of answers that are to come no
    more than that."""
    words = (*SERVED, f"outputs={tmp_path}")
    servers.left |= stop
    with pytest.raises(RunError, match="gone"):
        sample.main(config(words))
    there = servers.asked["m"]
    more = ("select.traces=2",) if taken_over else ()
    found = told(words, *more)
    fresh = told(words, "force=true")
    assert fresh["responses"].startswith("36: 3 in each") and "left to draw" not in fresh
    assert fresh["answers to score"] == "at most 36"
    if there:
        assert found["already there"].startswith(f"{there}, in {tmp_path}")
        assert found["left to draw"] == str(36 - there)
    servers.left, servers.asked = {"m": 10**9, "j": 10**9}, Counter()
    with pytest.raises(DataError, match="no prompt gives a pair"):  # all have one rating
        sample.main(config(words, *more))
    assert servers.asked["m"] == 36 - there
    most = int(found["judge calls"].split()[2].rstrip(":"))
    if there == 36:
        assert servers.asked["j"] == most < 36 and "new tokens" not in found
    else:
        assert servers.asked["j"] <= most <= 36
    again = told(words, *more)
    assert again["answers to score"] == "none" and "judge calls" not in again


def test_recorded_responses_are_read_and_not_generated(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n % 3}", "completion": "<think>\nt" if n < 4 else f"a{n}"}
            for n in range(20)]  # fmt: skip
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("prompts=file", f"prompts.path={path}", "sampler=recorded", "modes=[thinking]",
             "reward=judge", "reward.server.model=j", f"outputs={tmp_path / 'out'}")  # fmt: skip
    found = told(words)
    assert found["prompts"] == "3 (0 refused or repeated)"
    assert found["responses"] == "20 recorded ones; none is generated"
    assert found["answers to score"] == "at most 16" and "hours" not in found
    assert found["judge calls"] == "at most 16: 1 to each answer" and "judge hours" in found
    some = told(words, "n=4")
    assert (
        some["responses"].startswith("12 recorded ones") and "8 beyond n=4 are" in some["responses"]
    )


def test_responses_that_another_folder_of_the_name_holds_are_refused_as_they_would_be(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(BaseException, match="stopped"):
        patched.setattr("bvrank.sampling.local.Local.fits", stopping)
        run(words, "name=x")
    assert told(words, "name=x")["left to draw"] == "0"
    monkeypatch.setattr("bvrank.commands.origin.VERSION", 99)
    with pytest.raises(RunError, match="drawn by another version"):
        told(words, "name=x")
