"""A verdict is paid for once, whatever happens; a judge that does not judge is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from bvrank.errors import ConfigError, RunError
from bvrank.evaluation import judging
from bvrank.evaluation.judging import LOG, OpenAI, Question, Replay, Verdict, judged
from bvrank.records import Message
from bvrank.sampling.chat import Decoding
from tests.evaluation.judges import desk, lines, openai
from tests.servers import PASSING, ChatServer, chatting

ASKED = {i: Question((Message("user", f"q{i}"),), Decoding(0.0, 1.0, 8)) for i in range(12)}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chatting() as found:
        yield found


def read(verdict: Verdict) -> str | None:
    return verdict.answer if "answer" in (verdict.answer or "") else None


def hear(place: Path, judge: OpenAI, asked: Any = ASKED, **keys: Any) -> Any:
    return judge.hear(desk(place, lambda prompt, mode: "", store=place.parent / "s"), asked, read,
                      **keys)  # fmt: skip


def test_every_question_is_asked_once_over_all_evaluations(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = openai(server.url)
    first, none = hear(tmp_path / "a", judge)
    assert first == {i: f"answer to q{i}" for i in range(12)} and not none
    assert "judge: 12 calls to tiny at" in capsys.readouterr().err
    again = [hear(tmp_path / name, judge)[0] for name in ("a", "b")]
    assert again == [first, first] and len(server.bodies) == 12
    assert "judge:" not in capsys.readouterr().err
    assert {b["max_tokens"] for b in server.bodies} == {8}


def test_the_estimate_counts_what_is_left(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = openai(server.url)
    hear(tmp_path / "a", judge, {i: ASKED[i] for i in range(5)})
    capsys.readouterr()
    long = Question((Message("user", "x" * 400),), Decoding(max_tokens=100))
    hear(tmp_path / "b", judge, {**ASKED, 99: long, 100: long})
    assert "8 calls" in (told := capsys.readouterr().err) and "5 verdicts" in told
    assert "about 100 prompt tokens, at most 156 output tokens" in told


def test_one_that_is_stopped_half_way_asks_nothing_twice(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, real = openai(server.url, concurrency=1), judging.complete

    def stopped(*args: Any, **how: Any) -> Iterator[Any]:
        for n, result in enumerate(real(*args, **how)):
            if n == 5:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(judging, "complete", stopped)
    with pytest.raises(KeyboardInterrupt):
        hear(tmp_path / "a", judge)
    monkeypatch.setattr(judging, "complete", real)
    kept = {row["key"] for row in lines(tmp_path / "a" / LOG)}
    before = len(server.bodies)
    found, _ = hear(tmp_path / "b", judge)
    assert len(kept) == 5 and len(found) == 12 and len(server.bodies) == before + 7
    found, _ = hear(tmp_path / "a", judge)
    assert len(found) == 12 and len(server.bodies) == before + 7


def test_a_line_that_was_being_written_is_asked_again(server: ChatServer, tmp_path: Path) -> None:
    judge = openai(server.url)
    place = desk(tmp_path / "a", lambda prompt, mode: "")
    judge.hear(place, ASKED, read)
    log = tmp_path / "a" / LOG
    log.write_bytes(log.read_bytes()[:-9])
    assert len(judge.hear(place, ASKED, read)[0]) == 12 and len(server.bodies) == 13
    assert len({row["key"] for row in lines(log)}) == 12


@pytest.mark.parametrize("fault", [f for f in PASSING if f != "slow"])
def test_faults_that_pass_cost_no_verdict(fault: str, tmp_path: Path) -> None:
    with chatting(lambda key, attempt: fault if attempt == 1 else "") as server:
        found, none = hear(tmp_path / "a", openai(server.url))
    assert len(found) == 12 and not none


def test_what_never_came_is_counted_and_asked_again(tmp_path: Path) -> None:
    with chatting(lambda key, attempt: "hang" if key == "q3" and attempt == 1 else "") as server:
        judge = openai(server.url, timeout=2.0, retries=0, max_failed=0.1)
        found, reasons = hear(tmp_path / "a", judge)
        assert sorted(found) == [i for i in range(12) if i != 3]
        assert reasons == {"judge_timeout": 1}
        strict = replace(judge, max_failed=0.0)
        assert len(hear(tmp_path / "a", strict)[0]) == 12 and len(server.bodies) == 13


def test_garbage_is_counted_asked_again_and_too_much_of_it_an_error(
    server: ChatServer, tmp_path: Path
) -> None:
    def said(body: Any) -> tuple[None, str, str]:
        key = body["messages"][-1]["content"]
        return None, "I would rather not" if key in ("q1", "q2") else "answer", "stop"

    server.said = said
    found, reasons = hear(tmp_path / "a", openai(server.url, max_failed=0.2))
    assert len(found) == 10 and reasons == {"verdict_unparsable": 2}
    with pytest.raises(RunError, match="2 of 12 questions stayed without a verdict") as error:
        hear(tmp_path / "a", openai(server.url, max_failed=0.1))
    assert "hold no verdict" in error.value.repair and "cut off" not in error.value.repair
    assert len(server.bodies) == 14
    server.said = lambda body: (None, "answer", "stop")
    for name in ("b", "a", "c"):  # another folder was given none of it, and has it mended for all
        found, reasons = hear(tmp_path / name, openai(server.url, max_failed=0.0))
        assert len(found) == 12 and not reasons
    assert len(server.bodies) == 16


def test_the_repair_is_that_of_what_failed_most(server: ChatServer, tmp_path: Path) -> None:
    server.said = lambda body: (None, "Well,", "length")
    with pytest.raises(RunError) as error:
        hear(tmp_path / "a", openai(server.url))
    assert "12 were cut off: raise decoding.max_tokens" in error.value.repair
    with chatting(lambda key, attempt: "hang" if key == "q3" else "") as silent:
        strict = openai(silent.url, timeout=2.0, retries=0, max_failed=0.0)
        with pytest.raises(RunError, match="1 judge_timeout") as error:
            hear(tmp_path / "b", strict)
    assert error.value.repair.startswith("The same command asks again for what did not come.")


def test_a_template_that_opens_the_block_is_told_of_stored_verdicts_too(
    server: ChatServer, tmp_path: Path
) -> None:
    server.said = lambda body: (None, "so\n</think>\n\nanswer", "stop")
    first, _ = hear(tmp_path / "a", openai(server.url))
    server.said = lambda body: (None, "an answer, perhaps", "stop")
    again, _ = hear(tmp_path / "b", openai(server.url, opened=True))
    assert again == first and len(server.bodies) == 12
    with pytest.raises(RunError, match="12 of 12"):
        judge = openai(server.url, opened=True, extra_body={"top_k": 1}, max_failed=1.0)
        hear(tmp_path / "c", judge)


def test_a_judge_that_never_judges_is_an_error_at_any_rate(
    server: ChatServer, tmp_path: Path
) -> None:
    server.said = lambda body: (None, "no", "stop")
    with pytest.raises(RunError, match="12 of 12"):
        hear(tmp_path / "a", openai(server.url, max_failed=1.0))
    assert hear(tmp_path / "a", openai(server.url), {}) == ({}, {})


def test_the_judges_own_thinking_is_no_verdict(server: ChatServer, tmp_path: Path) -> None:
    server.said = lambda body: ("the answer is A", "no", "stop")
    with pytest.raises(RunError, match="unparsable"):
        hear(tmp_path / "a", openai(server.url, max_failed=1.0))
    cut = Verdict("k", "<think>\nanswer", "length", {"m": -0.1})
    assert cut.answer is None and cut.odds == {}
    assert Verdict("k", "<think>\nx\n</think>\n\nm", "stop", {"m": -0.1}).odds == {}
    assert Verdict("k", "m", "length", {"m": -0.1}).odds == {"m": -0.1}


@pytest.mark.parametrize(
    "other",
    [{"model": "tiny-instruct"}, {"extra_body": {"top_k": 1}}, {"question": "Q"},
     {"decoding": Decoding(0.0, 1.0, 9)}, {"alternatives": 5}],
    ids=str,
)  # fmt: skip
def test_all_that_a_verdict_depends_on_makes_another(
    other: dict[str, Any], server: ChatServer, tmp_path: Path
) -> None:
    hear(tmp_path / "a", openai(server.url))
    decoding = other.pop("decoding", Decoding(0.0, 1.0, 8))
    asked = {
        i: Question((Message("user", other.get("question", f"q{i}")),), decoding) for i in range(3)
    }
    other.pop("question", None)
    keys = {k: other.pop(k) for k in [*other] if k == "alternatives"}
    hear(tmp_path / "b", openai(server.url, **other), asked, **keys)
    assert len(server.bodies) > 12


def test_settings_of_the_connection_do_not(server: ChatServer, tmp_path: Path) -> None:
    hear(tmp_path / "a", openai(server.url))
    hear(tmp_path / "b", openai(server.url, concurrency=2, stream=False, retries=1))
    assert len(server.bodies) == 12


@pytest.mark.parametrize("stream", [True, False])
def test_log_probs_are_asked_for_and_kept(
    stream: bool, server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Verdict] = []
    judge = openai(server.url, stream=stream)
    place = desk(tmp_path / "a", lambda prompt, mode: "")
    judge.hear(place, ASKED, lambda v: heard.append(v) or "x", alternatives=5)  # type: ignore[func-returns-value]
    assert all(b["logprobs"] is True and b["top_logprobs"] == 5 for b in server.bodies)
    off = openai(server.url, extra_body={"logprobs": False})
    off.hear(place, {0: ASKED[0]}, read, alternatives=5)
    assert server.bodies[-1]["logprobs"] is False


def test_a_store_that_cannot_be_written_loses_nothing(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s").write_text("no folder")
    found, _ = hear(tmp_path / "a", openai(server.url))
    assert len(found) == 12 and len(lines(tmp_path / "a" / LOG)) == 12
    assert "not shared" in capsys.readouterr().err


def test_a_shared_verdict_that_was_altered_is_not_believed(
    server: ChatServer, tmp_path: Path
) -> None:
    hear(tmp_path / "a", openai(server.url))
    (log,) = (tmp_path / "s").rglob(LOG)
    log.write_text(log.read_text().replace("answer", "answered"))
    found, _ = hear(tmp_path / "b", openai(server.url))
    assert found[0] == "answer to q0" and len(server.bodies) == 24


def test_who_is_no_judge() -> None:
    assert judged(Replay("x")) == Replay("x")
    with pytest.raises(ConfigError, match="nobody judges"):
        judged(None)
    with pytest.raises(ConfigError, match="max_failed"):
        openai("http://x", max_failed=1.5)


def test_refused_questions_are_their_own_fault_where_others_have_a_verdict(tmp_path: Path) -> None:
    """Ten that are left and refused: were they the first, they would stop the run."""
    with chatting(lambda key, attempt: "400" if int(key[1:]) >= 2 else "") as server:
        judge = openai(server.url, max_failed=1.0)
        for _ in range(2):
            found, failed = hear(tmp_path / "a", judge)
            assert sorted(found) == [0, 1] and failed == {"judge_refused": 10}
