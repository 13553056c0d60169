"""Ratings are read, averaged and counted; what a judge does not say is no score."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("openai")

from bvrank.commands.build import build
from bvrank.errors import ConfigError, RunError
from bvrank.ranks import Ranks
from bvrank.records import Asked, Message, Scored
from bvrank.rewards.judge import Judge
from bvrank.sampling import pipeline
from bvrank.sampling.chat import Decoding, Failure, Reply, Request
from bvrank.sampling.openai import Server
from bvrank.sampling.responses import Log, Made, Prompt
from tests.commands.line import ROOT
from tests.servers import chatting, healthy

SERVER = Server(model="m")
RATING = r"Rating:\s*\[\[(\d+(?:\.\d+)?)\]\]"
PROMPT = "Question: {prompt} Answer: {answer}"
ROWS = [Asked(f"r{i}", (Message("user", f"q{i}"),), f"a{i}") for i in range(3)]


def judge(**keys: Any) -> Judge:
    return Judge(**{"server": SERVER, "prompt": PROMPT, "rating": RATING, **keys})


def reply(key: str, text: str, finish: str = "stop") -> Reply:
    return Reply(key, text, None, finish, 1, 1, "m", 0, 1, 0.0)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the judge says, by key of the request, and what it was asked."""
    words: dict[str, Any] = {"asked": []}

    def complete(
        server: Server, requests: Iterable[Request], **_: Any
    ) -> Iterator[Reply | Failure]:
        for request in requests:
            words["asked"].append(request)
            told = words.get(request.key, "Rating: [[5]]")
            yield told if isinstance(told, Reply | Failure) else reply(request.key, told)

    monkeypatch.setattr("bvrank.rewards.judge.complete", complete)
    yield words


def scores(reward: Judge, rows: list[Asked] = ROWS) -> dict[str, Scored]:
    found = list(reward.scores(rows))
    assert sorted(s.key for s in found) == sorted(a.key for a in rows)
    return {s.key: s for s in found}


def test_the_last_rating_of_the_answer_counts(said: dict[str, Any]) -> None:
    said["r0#0"] = "Not Rating: [[2]], rather Rating: [[7.5]]"
    said["r1#0"] = "<think>\nRating: [[1]]\n</think>\n\nRating: [[9]]"
    found = scores(judge())
    assert [found[k].score for k in ("r0", "r1", "r2")] == [7.5, 9.0, 5.0]


@pytest.mark.parametrize("text", [
    "good", "Rating: [[11]]", "Rating: [[0]]", "Rating: 5", "<think>\nRating: [[5]]", "",
])  # fmt: skip
def test_a_verdict_without_a_rating_is_no_score(said: dict[str, Any], text: str) -> None:
    said["r1#0"] = text
    found = scores(judge())
    assert (found["r1"].score, found["r1"].reason) == (None, "verdict_unparsable")
    assert found["r0"].score == 5.0


def test_a_verdict_that_was_cut_off_does_not_count(said: dict[str, Any]) -> None:
    said["r0#0"] = reply("r0#0", "Rating: [[5]] at first sight, but", "length")
    assert scores(judge())["r0"].reason == "verdict_unparsable"


def test_several_judgements_are_averaged_over_those_that_count(said: dict[str, Any]) -> None:
    said |= {"r0#0": "Rating: [[4]]", "r0#1": "Rating: [[8]]", "r0#2": "hm"}
    said |= {f"r1#{i}": Failure(f"r1#{i}", "timeout", "late", 3) for i in range(3)}
    found = scores(judge(samples=3, max_failed=0.4))
    assert found["r0"].score == 6.0 and found["r0"].details == {"judgments": 2.0, "spread": 2.0}
    assert (found["r1"].score, found["r1"].reason) == (None, "judge_timeout")
    assert found["r2"].details["judgments"] == 3.0 and len(said["asked"]) == 9


def lost(key: str, reason: str = "timeout") -> Failure:
    return Failure(key, reason, "late", 3)


def test_answers_that_nobody_judged_have_no_score_when_they_are_too_many(
    said: dict[str, Any],
) -> None:
    """The others are told first, so that they are kept."""
    said |= {"r0#0": lost("r0#0"), "r1#0": lost("r1#0", "server_error")}
    found: list[Scored] = []
    told = r"reward: 2 verdicts .*timeout 1, server_error 1.*late.*kept.*reward\.max_failed"
    with pytest.raises(RunError, match=f"(?s){told}"):
        for one in judge(max_failed=0.6).scores(ROWS):
            found.append(one)
    assert [(s.key, s.score) for s in found] == [("r2", 5.0)]
    assert scores(judge(max_failed=0.7))["r1"].reason == "judge_server_error"


def test_a_judge_that_never_judges_stops_the_run(said: dict[str, Any]) -> None:
    """Nothing of it would be asked again, were it kept."""
    said |= {f"r{n}#0": "I would rather not." for n in range(3)}
    found: list[Scored] = []
    with pytest.raises(RunError, match=r"none of 3 verdicts holds a rating.*I would rather not"):
        for one in judge(max_failed=1.0).scores(ROWS):
            found.append(one)
    assert not found
    said["r2#0"] = "Rating: [[4]]"
    reasons = {key: s.reason for key, s in scores(judge()).items()}
    assert reasons == {"r0": "verdict_unparsable", "r1": "verdict_unparsable", "r2": ""}
    said["r2#0"] = "no"  # others could be read before
    assert scores(judge().shared(1, 1))["r2"].reason == "verdict_unparsable"


def test_the_share_that_may_stay_away_is_of_all_answers(said: dict[str, Any]) -> None:
    """Those that an earlier call scored count among them."""
    said["r1#0"] = lost("r1#0")
    with pytest.raises(RunError, match="1 verdict did not come"):
        scores(judge(max_failed=0.1).shared(1, 6))
    assert scores(judge(max_failed=0.1).shared(1, 7))["r1"].reason == "judge_timeout"


def test_a_verdict_that_stayed_away_may_be_the_one_that_counts(said: dict[str, Any]) -> None:
    """Beside an unreadable one it is asked for again; beside a rating it is not needed."""
    said |= {"r0#0": "hm", "r0#1": lost("r0#1"), "r1#0": "Rating: [[4]]", "r1#1": lost("r1#1")}
    with pytest.raises(RunError, match="1 verdict did not come"):
        scores(judge(samples=2, max_failed=0.0))
    assert scores(judge(samples=2, max_failed=0.5))["r1"].score == 4.0


@pytest.mark.parametrize("reason", ["refused", "content_filter"])
def test_what_the_judge_refuses_would_be_refused_again(said: dict[str, Any], reason: str) -> None:
    said["r0#0"] = lost("r0#0", reason)
    found = scores(judge(max_failed=0.0))
    assert (found["r0"].score, found["r0"].reason) == (None, f"judge_{reason}")


def test_one_of_several_processes_has_its_part_of_the_limits() -> None:
    server = Server(model="m", concurrency=5, requests_per_minute=60.0)
    whole = judge(server=server)
    part = whole.shared(2)
    assert (part.server.concurrency, part.server.requests_per_minute) == (2, 30.0)
    assert part.server.tokens_per_minute is None and whole.shared(9).server.concurrency == 1
    assert part.identity == whole.identity and whole.shared(1) == whole


def test_it_needs_a_gold_that_it_is_shown() -> None:
    assert judge(prompt="{prompt}{answer}{gold}").needs_gold and not judge().needs_gold


def test_the_question_is_filled_in_once(said: dict[str, Any]) -> None:
    turns = (Message("system", "Be brief."), Message("user", "What is {answer}?"))
    scores(judge(prompt="{prompt}|{answer}|{gold}"), [Asked("a", turns, "a {gold}", "18")])
    (request,) = said["asked"]
    text = "[system]\nBe brief.\n\n[user]\nWhat is {answer}?|a {gold}|18"
    assert request.messages == (Message("user", text),)


def test_a_gold_that_is_asked_for_has_to_be_there(said: dict[str, Any]) -> None:
    rows = [*ROWS, Asked("g", ROWS[0].prompt, "a", "18")]
    found = scores(judge(prompt="{prompt}{answer}{gold}"), rows)
    assert {k: s.reason for k, s in found.items()} == {
        "r0": "no_gold", "r1": "no_gold", "r2": "no_gold", "g": "",
    }  # fmt: skip


def test_settings_that_cannot_be() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"prompt": "{prompt}"}, r"prompt: has no \{answer\}"),
        ({"rating": "("}, "rating: is no regular expression"),
        ({"rating": r"\d"}, "rating: has 0 groups"), ({"samples": 0}, "samples: must be at least"),
        ({"max_failed": 1.1}, r"max_failed: must lie in \[0, 1\]"),
        ({"lowest": 10.0}, "highest: must be greater than lowest"),
        ({"samples": 3, "decoding": Decoding(temperature=0.0)}, "samples: 3 judgements at temp"),
        ({"server": Server("m", thinking_body={"a": 1})}, r"server\.thinking_body: .*in no mode"),
        ({"server": Server("m", nothinking_body={})}, r"server\.nothinking_body: .*in no mode"),
    ]  # fmt: skip
    for keys, message in wrong:
        with pytest.raises(ConfigError, match=message):
            judge(**keys)


def test_the_identity_is_that_of_the_verdict_and_holds_no_secret() -> None:
    keys: list[dict[str, Any]] = [
        {}, {"prompt": PROMPT + "."}, {"rating": r"(\d)"}, {"samples": 2}, {"highest": 5.0},
        {"decoding": Decoding(temperature=0.0)}, {"server": Server(model="n")},
        {"server": Server(model="m", extra_body={"token": "hidden"})},
    ]  # fmt: skip
    found = [judge(**k).identity for k in keys]
    assert len(set(found)) == len(keys) and not any("hidden" in i for i in found)
    keyed = Server(model="m", api_key_env="MY_KEY", concurrency=3)
    assert judge(server=keyed, max_failed=0.5).identity == found[0]


def test_over_a_real_connection(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """As conf/reward/judge.yaml has it; the key goes to the server and nowhere else."""
    monkeypatch.setenv("JUDGE_KEY", "sk-planted-planted-planted")
    node = yaml.safe_load((ROOT / "conf" / "reward" / "judge.yaml").read_text())
    with chatting(healthy) as server:
        server.said = lambda body: (None, "Clear. Rating: [[8]]", "stop")
        told = {"model": "tiny", "base_url": server.url, "api_key_env": "JUDGE_KEY"}
        reward = build(node | {"server": node["server"] | told}, "reward")
        found = scores(reward)
        bodies, headers = server.bodies, server.headers
    assert [s.score for s in found.values()] == [8.0] * 3
    assert len(bodies) == 3 and "[Question]\nq" in bodies[0]["messages"][0]["content"]
    assert "planted" in json.dumps(headers) and "planted" not in reward.identity
    assert "planted" not in "".join(capfd.readouterr())


def test_every_key_of_the_server_stands_in_the_config() -> None:
    node = yaml.safe_load(Path(ROOT, "conf", "reward", "judge.yaml").read_text())
    own = {"thinking_body", "nothinking_body"}  # a judge has one mode
    assert set(node["server"]) == set(Server.__dataclass_fields__) - own
    assert set(node["decoding"]) == set(Decoding.__dataclass_fields__)


def test_the_limits_of_a_judges_server_are_those_of_all_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Server] = []

    def complete(server: Server, requests: Any, **_: Any) -> Iterator[Any]:
        list(requests)
        seen.append(server)
        yield from ()

    class Two(Ranks):
        def gather(self, value: Any) -> list[Any]:
            return [value]

    monkeypatch.setattr("bvrank.rewards.judge.complete", complete)
    with Log(tmp_path / "responses-00000.jsonl") as log:
        log.add([Made("thinking", 0, c, None, f"a{c}") for c in range(4)])
    judge = Judge(Server("m", concurrency=9, requests_per_minute=30.0), "{prompt}{answer}", "(x)")
    made = pipeline.responses_of(tmp_path)
    pipeline.score(tmp_path, [Prompt(0, "w", ())], made, judge, Two(1, 2))
    assert (seen[0].concurrency, seen[0].requests_per_minute) == (4, 15.0)
