"""Responses and verdicts of a real server over HTTP, which fails by a plan: nothing is lost, and
nothing is asked for twice."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from bvrank.commands import sample
from bvrank.commands.compose import composed, frozen
from bvrank.errors import ConfigError, RunError
from bvrank.records import Mode
from bvrank.rewards.python import Python
from bvrank.sampling import pipeline
from bvrank.sampling.chat import Failure, Reply, Request
from bvrank.sampling.local import Work
from bvrank.sampling.openai import Server
from bvrank.sampling.pacing import Backoff
from bvrank.sampling.prompts import Arithmetic
from bvrank.sampling.responses import MODES, Log, Made, Prompt
from bvrank.sampling.served import Served
from tests.sampling.deadlines import Deadlines
from tests.servers import PASSING, ChatServer, Plan, chatting, healthy

PROMPTS = [p for p in Arithmetic(10, 0).prompts() if isinstance(p, Prompt)]
WORK = Work(PROMPTS, MODES, 3, 5)
QUICK = Backoff(0.001, 0.01, 1.0)


def served(there: ChatServer, **how: Any) -> Served:
    own = {"model": "tiny", "base_url": there.url, "backoff": QUICK, "timeout": 60.0,
           "concurrency": 8, **how.pop("server", {})}  # fmt: skip
    return Served(Server(**own), **how)


def faulty(seed: int) -> Plan:
    """Half of the attempts fail, in every way that passes; a few hang."""

    def plan(key: str, attempt: int) -> str:
        draw = random.Random(f"{seed}|{key}|{attempt}")
        if draw.random() < 0.03:
            return "hang"
        return draw.choice(PASSING) if draw.random() < 0.5 else ""

    return plan


def made(folder: Path) -> list[Made]:
    shelf = pipeline.responses_of(folder)
    return list(shelf.get(shelf.ordered()))


@pytest.mark.parametrize("stream", [True, False])
def test_faults_lose_and_repeat_nothing(
    stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with chatting(faulty(1)) as server:
        server.late = Deadlines(monkeypatch).over
        how = {"stream": stream, "retries": 30}
        pipeline.generate(tmp_path, WORK, served(server, server=how))
    found = made(tmp_path)
    assert len(found) == WORK.total and all(m.end == "stop" for m in found)
    for m in found:
        question = PROMPTS[m.row].messages[0].content
        assert m.answer is not None and m.answer.strip() == f"answer to {question}"
        assert m.think == (f"about {question}" if m.mode == "thinking" else None)
    # Each prompt is asked for n times in both modes, and each of these was answered once.
    assert set(server.answered.values()) == {2 * WORK.n}
    assert sum(server.attempts.values()) > WORK.total


def test_each_response_has_a_seed_of_its_own_and_always_the_same(tmp_path: Path) -> None:
    seeds = []
    for _ in range(2):
        folder = tmp_path / str(len(seeds))
        folder.mkdir()
        with chatting() as server:
            pipeline.generate(folder, WORK, served(server, temperature=0.7, top_p=0.9))
        seeds.append(Counter(body["seed"] for body in server.bodies))
        body = server.bodies[0]
        assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.7, 0.9, 4096)
    assert seeds[0] == seeds[1] and set(seeds[0].values()) == {1}
    with chatting() as server:
        list(served(server, seeded=False).responses(WORK, "thinking", (), 0, 1))
    assert not any("seed" in body for body in server.bodies)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_response_is_asked_for_by_one_rank(world: int) -> None:
    with chatting() as server:
        how = served(server)
        keys = [
            made.key for mode in MODES for rank in range(world)
            for batch in how.responses(WORK, mode, (), rank, world) for made in batch
        ]  # fmt: skip
    assert len(keys) == len(set(keys)) == WORK.total == sum(server.answered.values())


def test_what_stays_away_is_asked_for_by_the_next_call(tmp_path: Path) -> None:
    broken = {p.messages[0].content for p in PROMPTS[:2]}
    said = pytest.raises(RunError, match=r"6 thinking responses did not come \(.* 6\)")
    with chatting(lambda key, attempt: "500" if key in broken else "") as server, said:
        pipeline.generate(tmp_path, WORK, served(server, server={"retries": 1}))
    assert len(made(tmp_path)) == 24
    with chatting(healthy) as server:
        pipeline.generate(tmp_path, WORK, served(server))
    assert len(made(tmp_path)) == WORK.total
    assert sum(server.attempts.values()) == WORK.total - 24


def test_a_few_that_stay_away_are_counted(tmp_path: Path) -> None:
    broken = PROMPTS[3].messages[0].content
    with chatting(lambda key, attempt: "400" if key == broken else "") as server:
        pipeline.generate(tmp_path, WORK, served(server, max_failed=0.2))
    failed = [m for m in made(tmp_path) if m.end == "failed"]
    assert {m.row for m in failed} == {3} and len(failed) == 6
    assert "the prompt is too long" in failed[0].detail and failed[0].answer is None


@pytest.mark.parametrize(
    ("said", "opened", "expected"),
    [
        ((None, "<think>\na\n</think>\n\nb", "stop"), False, ("a", "b", True, "stop")),
        ((None, "a\n</think>\n\nb", "stop"), True, ("a", "b", True, "stop")),
        ((None, "never closed", "length"), True, ("never closed", None, False, "length")),
        (("cut off", "", "length"), False, ("cut off", None, False, "length")),
        ((None, "b", "content_filter"), False, (None, "b", True, "content_filter")),
    ],
)  # fmt: skip
def test_what_servers_make_of_thoughts(said: Any, opened: bool, expected: Any) -> None:
    assert heard(said, opened, "thinking") == expected


def test_a_block_that_was_not_opened_here_is_an_error_that_says_so() -> None:
    """Else a thought of the same template that is cut off would be graded as an answer."""
    with pytest.raises(ConfigError) as error:
        heard((None, "a\n</think>\n\nb", "stop"), False, "thinking")
    assert error.value.where == "sampler.opened" and "opened=true" in error.value.repair
    assert heard((None, "a</think>b", "stop"), False, "nothinking") == ("a", "b", True, "stop")
    again = (None, "<think>a</think>b</think>c", "stop")
    assert heard(again, False, "thinking")[1:] == ("c", True, "stop")
    assert heard(("a", "b </think> c", "stop"), False, "thinking")[1] == " c"


def test_one_that_only_speaks_of_the_sign_stops_nobody(tmp_path: Path) -> None:
    """Among many that show no block, or beside one that was opened here."""
    work = Work(PROMPTS, ("thinking",), 3, 0)
    odd = PROMPTS[4].messages[0].content
    for others in ("b", "<think>a</think>b"):
        with chatting() as server:
            server.said = lambda body, others=others: (  # type: ignore[misc]
                None, "it ends in </think>, so", "stop"
            ) if body["messages"][-1]["content"] == odd else (None, others, "stop")  # fmt: skip
            few = Served(served(server).server, max_failed=0.1)
            found = [m for batch in few.responses(work, "thinking", (), 0, 1) for m in batch]
            assert len(found) == work.total


@pytest.mark.parametrize(("prompts", "copies", "said"), [(10, 3, "3 of 3"), (2, 1, "2 of 2")])
def test_a_run_that_the_signs_stopped_stops_again(
    prompts: int, copies: int, said: str, tmp_path: Path
) -> None:
    """Sure after three replies, or of a few at the end; nobody is asked again, and no reply is
    read as what it is not."""
    work = Work(PROMPTS[:prompts], ("thinking",), copies, 0)
    with chatting() as server:
        server.said = lambda body: (None, "a\n</think>\n\nb", "stop")
        how = served(server, server={"concurrency": 1})
        stopped = []
        for _ in range(3):
            with pytest.raises(ConfigError, match=rf"{said} thinking responses close") as error:
                pipeline.generate(tmp_path, work, how)
            stopped.append((str(error.value), sum(server.answered.values())))
        assert len({text for text, _ in stopped}) == 1
        assert stopped[1:] == stopped[1:2] * 2  # what was on its way in the first was the last
        (tmp_path / "opened").mkdir()
        pipeline.generate(tmp_path / "opened", work, served(server, opened=True))
    assert [(m.think, m.answer) for m in made(tmp_path / "opened")] == [("a", "b")] * work.total


def test_signs_of_earlier_calls_and_of_all_ranks_count_with_the_new_ones(tmp_path: Path) -> None:
    """Two of three are in the logs of two ranks, the last one comes now; one that opens its block
    speaks for all."""
    work = Work(PROMPTS[:5], ("thinking",), 1, 0)
    stored = [Made("thinking", row, 0, "a", "b", block="unopened") for row in (0, 1)]
    for other, stops in ((None, True), ("opened", False)):
        folder = tmp_path / str(other)
        folder.mkdir()
        for rank, m in enumerate([*stored, Made("thinking", 2, 0, None, "b", block=other)]):  # type: ignore[arg-type]
            with Log(folder / f"responses-{rank:05d}.jsonl") as log:
                log.add([m])
        with chatting() as server:
            server.said = lambda body: (None, "a</think>b", "stop")
            how = served(server, server={"concurrency": 1})
            if stops:
                with pytest.raises(ConfigError, match="3 of 4 thinking responses close"):
                    pipeline.generate(folder, work, how)
            else:
                pipeline.generate(folder, work, how)
        assert len(made(folder)) == (4 if stops else 5)


def test_signs_in_the_other_mode_are_none(tmp_path: Path) -> None:
    """Nor is one of few, as long as more are to come."""
    stored = [Made("nothinking", row, 0, "a", "b", block="unopened") for row in range(5)]
    stored.append(Made("thinking", 0, 0, "a", "b", block="unopened"))
    failed = [Made("thinking", row, 1, end="failed") for row in range(5)]
    how = Served(Server("m"))
    assert how.after([*stored, *failed], complete=False).before.responses == 1
    with pytest.raises(ConfigError, match="1 of 1 thinking"):
        how.after(stored, complete=True)
    assert how.before.responses == 0
    Served(Server("m"), opened=True).after(stored, complete=True)


def test_no_block_is_opened_where_thinking_is_off() -> None:
    for opened in (False, True):
        assert heard((None, "b", "stop"), opened, "nothinking") == (None, "b", True, "stop")


def heard(said: Any, opened: bool, mode: Mode) -> Any:
    """What is made of a response that says so."""
    work = Work(PROMPTS[:1], MODES, 1, 0)
    with chatting() as server:
        server.said = lambda body: said
        ((m,), _) = served(server, opened=opened).responses(work, mode, (), 0, 1)
    return m.think, m.answer, m.closed, m.end


@pytest.mark.parametrize(("finish", "reason"), [("tool_calls", "ended 1"), (None, "cut 1")])
def test_an_end_that_is_none_of_a_response_is_no_response(
    finish: Any, reason: str, tmp_path: Path
) -> None:
    """It is told, counts as one that stayed away, and is asked for again."""
    odd = PROMPTS[0].messages[0].content
    work = Work(PROMPTS, ("thinking",), 1, 0)
    with chatting() as server:
        server.said = lambda body: (
            None, "b", finish if body["messages"][-1]["content"] == odd else "stop"
        )  # fmt: skip
        how = {"server": {"retries": 0}}
        with pytest.raises(RunError, match=rf"1 thinking response did .*{reason}.*finish_reason"):
            pipeline.generate(tmp_path, work, served(server, max_failed=0.09, **how))
        assert [m.row for m in made(tmp_path)] == list(range(1, 10))
        pipeline.generate(tmp_path, work, served(server, max_failed=0.1, **how))
    assert (made(tmp_path)[0].end, made(tmp_path)[0].answer) == ("failed", None)
    assert "finish_reason" in made(tmp_path)[0].detail


def test_prompts_that_the_server_refuses_do_not_block_those_who_go_on(tmp_path: Path) -> None:
    """All that is left are the refused ones: they are asked again, and are their own fault."""
    work = Work(WORK.prompts, ("thinking",), 2, 0)
    long = {p.messages[-1].content for p in WORK.prompts[:3]}
    with chatting(lambda key, attempt: "400" if key in long else "") as server:
        for _ in range(2):
            with pytest.raises(RunError, match=r"6 thinking responses did not come \(refused 6\)"):
                pipeline.generate(
                    tmp_path, work, served(server, max_failed=0.1, server={"concurrency": 8})
                )
        pipeline.generate(tmp_path, work, served(server, max_failed=0.5, server={"concurrency": 8}))
    assert sum(m.end == "failed" for m in made(tmp_path)) == 6


def test_ranks_share_the_limits_and_what_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10 prompts rank 0 of 3 has four, so 12 responses, of which a quarter may be missing."""
    limits: list[Server] = []

    def complete(
        server: Server, requests: Iterable[Request], **_: Any
    ) -> Iterator[Failure | Reply]:
        limits.append(server)
        for number, r in enumerate(requests):
            yield (Failure(r.key, "cut", "gone", 1) if number < missing else
                   Reply(r.key, "a", None, "stop", 1, 1, "m", None, 1, 0.1))  # fmt: skip

    monkeypatch.setattr("bvrank.sampling.served.complete", complete)
    server = Server("m", concurrency=8, requests_per_minute=60.0, tokens_per_minute=90.0)
    how = Served(server, max_failed=0.25)
    for rank, asked in ((0, 12), (1, 9), (2, 9)):
        missing = asked // 4
        found = list(how.responses(WORK, "thinking", (), rank, 3))
        assert [len(found), len(found[-1])] == [asked - missing + 1, missing]
        missing += 1
        with pytest.raises(RunError, match=f"{missing} thinking responses did not come"):
            list(how.responses(WORK, "thinking", (), rank, 3))
    told = {(s.concurrency, s.requests_per_minute, s.tokens_per_minute) for s in limits}
    assert told == {(2, 20.0, 30.0)}
    missing = 0
    list(how.responses(WORK, "thinking", (), 0, 1))
    assert limits[-1] == server


def test_half_a_surrogate_pair_ends_no_run_and_is_scored(tmp_path: Path) -> None:
    work = Work(PROMPTS[:3], MODES, 2, 0)
    with chatting() as server:
        server.said = lambda body: ("t\ud800", "a\udc00", "stop")
        pipeline.generate(tmp_path, work, served(server))
    reward = Python(lambda rows: [float(r["answer"].strip() == "a\ufffd") for r in rows])
    pipeline.score(tmp_path, work.prompts, pipeline.responses_of(tmp_path), reward)
    scores = pipeline.scores_of(tmp_path, reward)
    assert [m.think for m in made(tmp_path)] == ["t\ufffd"] * 12
    assert [s.score for s in scores.get(scores.ordered())] == [1.0] * 12


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="max_failed: must lie in"):
        Served(Server("m"), max_failed=2)
    with pytest.raises(ConfigError, match="top_p: must lie in"):
        Served(Server("m"), top_p=0)


def test_sampled_and_judged_over_http_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both servers fail all the time; a rating follows from the answer, so the pairs are known."""

    def answer(body: dict[str, Any]) -> tuple[str, str, str]:
        return "so", str(body["seed"] % 1000), "stop"

    def verdict(body: dict[str, Any]) -> tuple[None, str, str]:
        text = body["messages"][-1]["content"]
        assert "so\n" not in text  # no trace is ever shown to a judge
        number = text.partition("[Start of the answer]\n")[2].partition("\n")[0]
        return None, f"Rating: [[{int(number) % 10 + 1}]]", "stop"

    with chatting(faulty(2)) as policy, chatting(faulty(3)) as judge:
        policy.said, judge.said = answer, verdict
        policy.late = judge.late = Deadlines(monkeypatch).over
        quick = "{initial: 0.001, maximum: 0.01, patience: 1.0}"
        words = (
            "prompts.problems=8", "n=3", "sampler=openai", "sampler.server.model=tiny",
            f"sampler.server.base_url={policy.url}", "sampler.server.retries=30",
            f"sampler.server.backoff={quick}", "reward=judge", "reward.server.model=tiny",
            f"reward.server.base_url={judge.url}", "reward.server.retries=30",
            f"reward.server.backoff={quick}", f"outputs={tmp_path}",
        )  # fmt: skip
        config = frozen(composed("sample", words))
        assert sample.main(config) == 0
        asked = sum(policy.answered.values()), sum(judge.answered.values())
        assert sample.main(config) == 0  # finished: nobody is asked again
        assert (sum(policy.answered.values()), sum(judge.answered.values())) == asked
        assert asked == (48, 24)  # what thought though it should not is no side
    folder = sample.request(config).folder
    for line in (folder / "pairs.jsonl").read_text().splitlines():
        row = json.loads(line)
        for side in ("chosen", "rejected"):
            assert row[f"{side}_score"] == int(row[side]["answer"]) % 10 + 1
        assert row["chosen_score"] > row["rejected_score"]
    assert "finished before" in capsys.readouterr().err


def test_a_template_that_opens_the_block_is_never_passed_over_by_the_command(
    tmp_path: Path,
) -> None:
    """The same command stops twice; the repaired one asks again for what was read the other way,
    and a folder of a fixed name does not hold both."""
    with chatting() as server:
        server.said = lambda body: (None, f"t\n</think>\n\n{body['seed'] % 1000}", "stop")
        words = (
            "prompts.problems=2", "n=2", "modes=[thinking]", "sampler=openai",
            "sampler.server.model=tiny", f"sampler.server.base_url={server.url}", "reward=python",
            "reward.function=tests.commands.test_sample.letters", "trusted=[tests]",
            "sampler.server.concurrency=1", f"outputs={tmp_path}",
        )  # fmt: skip
        for more in ((), (), ("select.rule=random",)):
            with pytest.raises(ConfigError, match=r"sampler\.opened: 3 of 3 thinking"):
                sample.main(frozen(composed("sample", (*words, *more))))
        before = sum(server.answered.values())
        assert 3 <= before <= 4
        config = frozen(composed("sample", (*words, "sampler.opened=true")))
        assert sample.main(config) == 0
        assert sum(server.answered.values()) == before + 4
        with pytest.raises(ConfigError):
            sample.main(frozen(composed("sample", (*words, "name=x"))))
        with pytest.raises(RunError, match=r"opened"):
            sample.main(frozen(composed("sample", (*words, "name=x", "sampler.opened=true"))))
    rows = (sample.request(config).folder / "pairs.jsonl").read_text().splitlines()
    assert {json.loads(row)[side]["think"] for row in rows for side in ("chosen", "rejected")} == {
        "t"
    }


def test_a_real_server_of_another_house(tmp_path: Path, served: Any) -> None:
    """`transformers serve` with a tiny model of random weights, in both modes."""
    work = Work(PROMPTS[:3], MODES, 2, 0)
    how = Served(Server(served.model, served.base_url, timeout=60.0), max_new_tokens=8)
    pipeline.generate(tmp_path, work, how)
    found = made(tmp_path)
    assert len(found) == 12 and {m.end for m in found} <= {"stop", "length"}
    thinking = [m for m in found if m.mode == "thinking"]
    assert len({m.answer or m.think for m in thinking}) > 1
