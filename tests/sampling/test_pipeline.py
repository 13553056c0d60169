"""The stages go on where they were stopped: nothing is lost, nothing made twice."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bvrank.ranks import Ranks
from bvrank.records import Asked, Mode, Scored
from bvrank.sampling import pipeline
from bvrank.sampling.local import Work
from bvrank.sampling.responses import Log, Made
from bvrank.sampling.selection import Selection
from tests.commands.line import ROOT
from tests.sampling.dying import PROMPTS, WORK, Lengths, generator, whole
from tests.sampling.saying import drawer, saying, usual


def selected(
    folder: Path, reward: Any, how: Selection | None = None
) -> tuple[list[dict[str, Any]], dict[Mode, pipeline.ModeCount]]:
    """The rows that a folder gives, and what became of the rest."""
    counts: dict[Mode, pipeline.ModeCount] = {}
    made, scores = pipeline.responses_of(folder), pipeline.scores_of(folder, reward)
    how = how or Selection()
    return list(pipeline.select(PROMPTS, made, scores, how, lambda m: None, 0, counts)), counts


def lines(folder: Path, kind: str) -> Counter[str]:
    return Counter(
        line for p in folder.glob(f"{kind}-*.jsonl") for line in p.read_text().splitlines()
    )


def test_kill_9_at_any_moment_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """20 processes die one after another over one folder; the last one ends the work."""
    reward, straight, killed = Lengths(), tmp_path / "straight", tmp_path / "killed"
    straight.mkdir(), killed.mkdir()
    whole(straight, generator(), reward)
    dying = [sys.executable, "-m", "tests.sampling.dying", str(killed), "20"]
    ran = subprocess.run(dying, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert 0 < lines(killed, "scores").total() < lines(straight, "scores").total()
    whole(killed, generator(), reward)
    for kind in ("responses", "scores"):
        assert lines(killed, kind) == lines(straight, kind)
    assert len(pipeline.responses_of(killed)) == WORK.total


class Failing:
    """Yields what is asked for one at a time, and breaks after some."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.asked: list[Any] = []

    def responses(self, work: Work, mode: Mode, known: Any, rank: int, world: int) -> Any:
        for prompt in work.prompts[rank::world]:
            for copy in range(work.n):
                if (mode, prompt.row, copy) in known:
                    continue
                if not self.left:
                    raise ConnectionError
                self.left -= 1
                self.asked.append((mode, prompt.row, copy))
                yield [Made(mode, prompt.row, copy, None, str(copy))]


def test_what_was_paid_for_is_not_asked_again(tmp_path: Path) -> None:
    asked = []
    for after in (5, 0, 20, 1, 99):
        generator = Failing(after)
        try:
            pipeline.generate(tmp_path, WORK, generator)
        except ConnectionError:
            assert generator.left == 0
        asked += generator.asked
    assert len(asked) == len(set(asked)) == WORK.total


def test_another_reward_scores_anew_and_the_first_ones_scores_stay(tmp_path: Path) -> None:
    pipeline.generate(tmp_path, WORK, Failing(99))
    made = pipeline.responses_of(tmp_path)
    one, other = Lengths(), Lengths()
    other.identity = "others"
    for reward in (one, other, one):
        pipeline.score(tmp_path, PROMPTS, made, reward)
    assert [len(pipeline.scores_of(tmp_path, r)) for r in (one, other)] == [48, 48]


def equal(known: dict[int, str]) -> Any:
    """Two responses to every prompt in every mode, all with the answer of the prompt."""

    def responses(work: Work, mode: Mode, _: Any, rank: int, world: int) -> Any:
        for prompt in work.prompts[rank::world]:
            yield [Made(mode, prompt.row, c, f"t{c}", known[prompt.row]) for c in (0, 1)]

    return type("Equal", (), {"responses": staticmethod(responses)})()


def test_a_response_that_comes_again_is_kept_once(tmp_path: Path) -> None:
    """A batch of which one was known comes whole; what was kept of it is neither lost nor moved."""
    known = [Made("thinking", 3, 1, "before", "1"), Made("nothinking", 3, 0, "before", "0")]
    with Log(tmp_path / "responses-00000.jsonl") as log:
        log.add(known)
    pipeline.generate(tmp_path, WORK, equal({p.row: "again" for p in PROMPTS}))
    made = pipeline.responses_of(tmp_path)
    assert len(made) == WORK.total == sum(lines(tmp_path, "responses").values())
    assert list(made.get(m.key for m in known)) == known


@dataclass(frozen=True)
class Met(Ranks):
    """A rank that notes how many lines there are of its own whenever all ranks meet."""

    folder: Path = Path()
    noted: list[Counter[str]] = field(default_factory=list, compare=False)

    def gather(self, value: Any) -> list[Any]:
        logs = self.folder.glob(f"*-{self.rank:05d}.jsonl")
        self.noted.append(Counter(p.name[:6] for p in logs for _ in p.read_text().splitlines()))
        return [value] * self.world


@pytest.mark.parametrize("together", [None, 2])
def test_ranks_have_all_read_before_one_writes(together: int | None, tmp_path: Path) -> None:
    """In either stage; that all have written before one goes on is for who runs the stages."""
    ranks = [Met(n, 2, folder=tmp_path) for n in range(2)]
    for rank in ranks:
        pipeline.generate(tmp_path, WORK, Failing(99), rank)
    made, reward = pipeline.responses_of(tmp_path), Lengths()
    reward.together = together
    for rank in ranks:
        pipeline.score(tmp_path, PROMPTS, made, reward, rank)
    share = WORK.total // 2
    for rank in ranks:
        assert [(n["respon"], n["scores"]) for n in rank.noted] == [(0, 0), (share, 0)]
    assert len(pipeline.scores_of(tmp_path, reward)) == WORK.total


class Moods(Lengths):
    """Never gives one score twice, and remembers what it was shown."""

    def __init__(self, together: int | None = None) -> None:
        self.together, self.calls = together, []  # type: ignore[var-annotated]

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        self.calls.append([])
        for a in asked:
            self.calls[-1].append(a.key)
            yield Scored(a.key, random.random())


@pytest.mark.parametrize("together", [None, 5])
def test_equal_answers_have_one_score_and_so_are_no_pair(
    together: int | None, tmp_path: Path
) -> None:
    pipeline.generate(tmp_path, WORK, equal({p.row: str(p.row // 2) for p in PROMPTS}))
    made, reward = pipeline.responses_of(tmp_path), Moods(together)
    pipeline.score(tmp_path, PROMPTS, made, reward)
    assert sorted(map(len, reward.calls)) == ([2, 5, 5] if together else [12])
    scores = pipeline.scores_of(tmp_path, reward)
    by_row: dict[int, set[float]] = {}
    for judged in scores.get(scores.ordered()):
        by_row.setdefault(judged.row, set()).add(judged.score)
    assert len(scores) == 48 and all(len(found) == 1 for found in by_row.values())
    rows, counts = selected(tmp_path, reward)
    assert not rows and counts["thinking"].without == {"tie": 12}
    assert counts["nothinking"].left_out == {"thought": 24}


@pytest.mark.parametrize("kept", range(0, 48, 7))
def test_a_torn_log_of_scores_is_completed(kept: int, tmp_path: Path) -> None:
    """Equal answers take the score that one of them has; a batch is made of the same rows again."""
    pipeline.generate(tmp_path, WORK, equal({p.row: str(p.row) for p in PROMPTS}))
    made = pipeline.responses_of(tmp_path)
    for together in (None, 5):
        reward = Moods(together)
        reward.identity = f"moods {together}"
        pipeline.score(tmp_path, PROMPTS, made, reward)
        (log,) = tmp_path.glob(f"scores-{pipeline.mark(reward)}-*.jsonl")
        lines_ = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(lines_[:kept]))
        first, reward.calls = reward.calls, []
        pipeline.score(tmp_path, PROMPTS, made, reward)
        assert log.read_bytes().splitlines(keepends=True)[:kept] == lines_[:kept]
        scores = pipeline.scores_of(tmp_path, reward)
        assert len(scores) == 48
        again = [key for call in reward.calls for key in call]
        if together is None:
            assert len(again) == 12 - -(-kept // 4)  # four equal answers to a prompt
        else:
            assert all(call in first for call in reward.calls)


def test_only_answers_are_shown_to_a_reward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, lambda a, thinking, turn: (usual(a, thinking, turn)[0], turn == 0))
    seen: list[Asked] = []

    class Spy(Lengths):
        def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
            for a in asked:
                seen.append(a)
                yield Scored(a.key, None, "spied")

    reward = Spy()
    whole(tmp_path, drawer(), reward)
    rows, counts = selected(tmp_path, reward)
    assert not rows and len(seen) == 24  # of each prompt two answers, in either mode
    assert not any("thought" in a.answer for a in seen)
    assert {a.gold for a in seen} == {p.gold for p in PROMPTS}
    for count in counts.values():
        assert count.responses == 24 and count.left_out == {"unfinished_answer": 12}
        assert count.unscored == {"spied": 12} and count.without == {"one_response": 12}


@pytest.mark.parametrize("cut", ["<think>\nnever closed", "<think>\nso\n</think>\n\n17 and"])
def test_an_unfinished_response_can_cost_its_prompt_the_mode(
    cut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of three runs out of tokens in half of the prompts, and with thinking alone."""

    def say(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
        lost = thinking and turn == 2 and int(answer) % 2
        return (cut, False) if lost else usual(answer, thinking, turn)

    saying(monkeypatch, say)
    whole(tmp_path, drawer(), Lengths(), replace(WORK, n=3))
    odd = sum(int(p.gold or 0) % 2 for p in PROMPTS)
    assert 0 < odd < len(PROMPTS)
    for unfinished, lost in (("drop", 0), ("drop_prompt", odd)):
        how = Selection(unfinished=unfinished)  # type: ignore[arg-type]
        rows, counts = selected(tmp_path, Lengths(), how)
        views = Counter(row["view"] for row in rows)
        assert views == {"full": len(PROMPTS) - lost, "bare": len(PROMPTS)}
        assert counts["thinking"].without == ({"unfinished": lost} if lost else {})


def test_counts_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each prompt gives a pair or a reason, each response is usable or left out."""
    draw = random.Random(1)

    def say(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
        if thinking and draw.random() < 0.3:
            return "<think>\nnever", False
        return usual(answer, thinking, draw.randrange(3))[0], draw.random() < 0.8

    saying(monkeypatch, say)
    whole(tmp_path, drawer(), Lengths())
    rows, counts = selected(tmp_path, Lengths())
    assert len(rows) == sum(c.pairs for c in counts.values()) > 0
    for count in counts.values():
        assert count.pairs + sum(count.without.values()) == len(PROMPTS)
        assert len(count.tokens) + sum(count.left_out.values()) == count.responses == 24
    thinking = counts["thinking"]
    assert thinking.closed == 24 - thinking.left_out["unfinished_thinking"] < 24 == thinking.traced
    cut = [thinking.left_out[name] for name in ("unfinished_thinking", "unfinished_answer")]
    assert len(thinking.lost_tokens) == sum(cut) > cut[0] > 0


SELECTIONS = [
    Selection(unfinished=unfinished, duplicates=duplicates, traces=traces, rule=rule)  # type: ignore[arg-type]
    for unfinished in ("drop", "drop_prompt", "keep") for duplicates in ("keep", "drop")
    for traces, rule in ((1, "best_worst"), (2, "random"))
]  # fmt: skip


@pytest.mark.parametrize("how", SELECTIONS)
def test_answers_that_no_pair_can_hold_cost_no_score_and_move_none(
    how: Selection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Selected as if all had been scored; what has no score is counted as that, and no less was
    left out than could be."""
    draw = random.Random(1)

    def say(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
        if thinking and draw.random() < 0.4:
            return "<think>\nnever", False
        return usual(answer, thinking, draw.randrange(4))[0], draw.random() < 0.6

    def fits(made: Made) -> str | None:
        return "special_token" if made.row == 3 else None

    saying(monkeypatch, say)
    pipeline.generate(tmp_path, WORK, drawer())
    made, found = pipeline.responses_of(tmp_path), []
    wanted = pipeline.candidates(made, how, fits)
    for name, some in (("all", None), ("some", wanted)):
        reward = Digits()
        reward.identity = name
        pipeline.score(tmp_path, PROMPTS, made, reward, wanted=some)
        counts: dict[Mode, pipeline.ModeCount] = {}
        scores = pipeline.scores_of(tmp_path, reward)
        rows = list(pipeline.select(PROMPTS, made, scores, how, fits, 0, counts))
        found.append((rows, counts, len(scores), reward.asked))
        assert not pipeline.to_score(made, scores, some)
    (rows, whole, n, asked), (other, counts, fewer, spared) = found
    assert rows == other and len(rows) > 0 and fewer < n and spared < asked
    for mode, count in counts.items():
        assert whole[mode].spared == 0
        assert replace(count, spared=0) == whole[mode]
    assert sum(c.spared for c in counts.values()) == n - fewer
    assert wanted <= {k for k in made.ordered() if k in pipeline.scores_of(tmp_path, reward)}


class Digits(Lengths):
    """A score that follows from the answer, and how many were asked for."""

    asked = 0

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        for a in asked:
            self.asked += 1
            yield Scored(a.key, float(sum(map(int, filter(str.isdigit, a.answer)))))


def test_what_is_to_score_is_what_is_scored(tmp_path: Path) -> None:
    pipeline.generate(tmp_path, WORK, equal({p.row: str(p.row // 2) for p in PROMPTS}))
    made, reward = pipeline.responses_of(tmp_path), Digits()
    some = {("thinking", row, 1) for row in (2, 5)}
    for wanted, count in ((some, 2), (None, 10), (None, 0)):
        found = pipeline.to_score(made, pipeline.scores_of(tmp_path, reward), wanted)
        reward.asked = 0
        pipeline.score(tmp_path, PROMPTS, made, reward, wanted=wanted)
        assert reward.asked == len(found) == count
