"""Final answers against known ones: every figure by hand, and nothing missing without a word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bvrank.errors import ConfigError, DataError
from bvrank.evaluation.answers import Answers
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.result import Measured
from bvrank.records import Asked, Message, Refused, Scored
from bvrank.rewards.arithmetic import Arithmetic
from bvrank.rewards.math import Math
from bvrank.sampling.responses import Made, Prompt

GOLDS = ("7", "9")
SAID: dict[int, list[tuple[str | None, str | None, bool, str]]] = {  # think, answer, closed, end
    0: [("t", "7", True, "stop"), ("t", "7 ", True, "stop"), ("t", "8", True, "stop"),
        ("t", None, False, "length")],
    1: [("t", "1", True, "stop"), ("t", "1", True, "stop"), ("t", "9", True, "length"),
        ("t", "", True, "stop")],
}  # fmt: skip


@dataclass
class Source:
    """Prompts, and a row that is none."""

    golds: tuple[str | None, ...] = GOLDS
    asked: int = 0

    def prompts(self) -> Iterator[Prompt | Refused]:
        for row, gold in enumerate(self.golds):
            self.asked += 1
            yield Prompt(row, f"a:{row + 1}", (Message("user", f"q{row}"),), gold)
        yield Refused("a:9", "missing", "no prompt")


@dataclass
class Sampler:
    """Says what stands in a table, `n` of each; knows what it was asked."""

    said: Any = None
    needs_model: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.said = self.said or SAID
        self.seen: list[Any] = []

    def generator(self, policy: Any) -> Sampler:
        return self

    def responses(self, work: Any, mode: Any, known: Any, rank: int, world: int
                  ) -> Iterator[list[Made]]:  # fmt: skip
        for prompt in work.prompts:
            for copy in range(work.n):
                if (mode, prompt.row, copy) not in known:
                    self.seen.append((mode, prompt.row, copy, prompt.messages[-1].content))
                    think, answer, closed, end = self.said[prompt.row][copy]
                    yield [Made(mode, prompt.row, copy, think, answer, closed, end, tokens=copy)]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Stubborn:
    """A verifier that fails on some answers."""

    fails: str = "8"
    together: ClassVar[None] = None
    identity: ClassVar[str] = "stubborn"

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        for a in asked:
            failed = a.answer.strip() in self.fails.split(",")
            yield Scored(a.key, None if failed else float(a.answer.strip() == a.gold),
                         "timeout" if failed else "")  # fmt: skip


def measured(tmp_path: Path, task: Answers | None = None, sampler: Sampler | None = None,
             **desk: Any) -> Measured:  # fmt: skip
    task = task or Answers("t", Source(), Arithmetic(), n=4, pass_at=[1, 2, 4])
    return task.measure(Desk(tmp_path, ("thinking",), 0, sampler or Sampler(), **desk))


def test_every_figure_by_hand(tmp_path: Path) -> None:
    found = measured(tmp_path)
    cells = {name: list(values.values()) for name, values in found.cells.items()}
    assert cells["thinking/avg@4"] == [0.5, 0.25]
    assert cells["thinking/pass@1"] == [0.5, 0.25]
    assert cells["thinking/pass@2"] == pytest.approx([5 / 6, 0.5])
    assert cells["thinking/pass@4"] == [1.0, 1.0]
    assert cells["thinking/maj@4"] == [1.0, 0.0]  # 7, 7, 8 and 1, 1, 9
    assert cells["thinking/unclosed"] == [0.25, 0.0]
    assert cells["thinking/truncated"] == [0.25, 0.25]
    assert cells["thinking/no_answer"] == [0.0, 0.25]
    assert cells["thinking/tokens"] == [1.5, 1.5]
    assert next(iter(found.cells)) == "thinking/avg@4"
    assert list(found.cells["thinking/avg@4"]) == ["a:1", "a:2"]
    assert found.counts == {"missing": 1} and "1 rows hold no prompt" in found.notes[0]


def maj(tmp_path: Path, answers: list[str], reward: Any) -> float:
    said = {0: [("t", answer, True, "stop") for answer in answers]}
    task = Answers("t", Source(("5",)), reward, n=len(answers))
    found = measured(tmp_path, task, Sampler(said))  # type: ignore[arg-type]
    (value,) = found.cells[f"thinking/maj@{len(answers)}"].values()
    return value


@pytest.mark.parametrize("wording", [r"\boxed{{7}}, as \frac{{{0}}}{{{0}}} shows",
                                     "Try {}: the answer is 7"])  # fmt: skip
def test_wrong_answers_that_agree_outvote_a_few_right_ones(wording: str, tmp_path: Path) -> None:
    """Two of 32 are right, and thirty say 7, each in words of its own."""
    pytest.importorskip("math_verify")
    wrong = [wording.format(i) for i in range(2, 32)]
    assert maj(tmp_path, [r"\boxed{5}", "It is 5.", *wrong], Math()) == 0.0


def test_without_a_grader_of_values_texts_vote_and_that_is_told(tmp_path: Path) -> None:
    """Two right ones in words of their own do not outvote three wrong ones that have one value."""

    @dataclass(frozen=True)
    class Last:
        together: ClassVar[int | None] = None
        needs_gold: ClassVar[bool] = True
        identity: ClassVar[str] = "last"

        def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
            yield from (Scored(a.key, float("5" in a.answer)) for a in asked)

    answers = ["5", "5.", "7", "so 7", "=7"]
    assert maj(tmp_path, answers, Last()) == pytest.approx(0.4)
    said = {0: [("t", answer, True, "stop") for answer in answers]}
    for folder, more in (("a", 1), ("b", 0)):
        (tmp_path / folder).mkdir()
        task = Answers("t", Source(("5",)), Last(), n=5, maj=bool(more))
        found = measured(tmp_path / folder, task, Sampler(said))
        assert sum("an answer's text is its vote" in note for note in found.notes) == more


def test_a_tie_is_shared(tmp_path: Path) -> None:
    pytest.importorskip("math_verify")
    assert maj(tmp_path, ["5", r"\boxed{5.0}", "7", "so 7.0", "8"], Math()) == 0.5


def test_every_sample_is_kept(tmp_path: Path) -> None:
    rows = list(measured(tmp_path).samples)
    assert [(r["key"], r["copy"], r["score"]) for r in rows] == [
        ("a:1", 0, 1.0), ("a:1", 1, 1.0), ("a:1", 2, 0.0), ("a:1", 3, 0.0),
        ("a:2", 0, 0.0), ("a:2", 1, 0.0), ("a:2", 2, 1.0), ("a:2", 3, 0.0),
    ]  # fmt: skip
    assert rows[0] | {"gold": "7", "answer": "7", "think": "t", "mode": "thinking"} == rows[0]


def test_a_second_call_asks_for_nothing_and_finds_the_same(tmp_path: Path) -> None:
    first = measured(tmp_path)
    sampler = Sampler()
    again = measured(tmp_path, sampler=sampler)
    assert not sampler.seen and again.cells == first.cells


def test_a_call_that_was_stopped_goes_on(tmp_path: Path) -> None:
    whole = measured(tmp_path)
    (log,) = tmp_path.glob("responses-*")
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:3]))
    sampler = Sampler()
    assert measured(tmp_path, sampler=sampler).cells == whole.cells
    assert [s[1:3] for s in sampler.seen] == [(0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]


def test_the_limit_and_n_of_the_command(tmp_path: Path) -> None:
    source = Source()
    task = Answers("t", source, Arithmetic(), n=4, pass_at=[2, 4])
    with pytest.raises(ConfigError, match="pass@4 needs 4 responses, and n=2") as error:
        measured(tmp_path, task, limit=1, n=2)
    assert error.value.where == "task.pass_at" and not source.asked
    task = Answers("t", source, Arithmetic(), n=4, pass_at=[2])
    found = measured(tmp_path, task, limit=1, n=2)
    assert {name: [*cells] for name, cells in found.cells.items()} == {
        f"thinking/{name}": ["a:1"] for name in
        ("avg@2", "pass@2", "maj@2", "unclosed", "truncated", "no_answer", "tokens")
    }  # fmt: skip
    assert source.asked == 2  # no more than it takes to know that there are more


def test_what_is_asked_is_worded_by_the_task(tmp_path: Path) -> None:
    sampler = Sampler()
    measured(tmp_path, Answers("t", Source(), Arithmetic(), template="So: {prompt}!"), sampler)
    assert {s[3] for s in sampler.seen} == {"So: q0!", "So: q1!"}


def test_what_cannot_be_graded_is_wrong_and_told(tmp_path: Path) -> None:
    found = measured(tmp_path, Answers("t", Source(), Stubborn("7,8"), n=4))
    assert [*found.cells["thinking/avg@4"].values()] == [0.0, 0.25]
    assert found.counts["timeout"] == 3 and "count as wrong: 3 timeout" in found.notes[-1]


def test_where_nothing_can_be_graded_there_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no answer could be graded \(6 timeout"):
        measured(tmp_path, Answers("t", Source(), Stubborn("7,8,1,9"), n=4))


def test_a_response_that_never_came_is_no_wrong_answer(tmp_path: Path) -> None:
    said = {row: [*SAID[row][:2], (None, None, True, "failed"), SAID[row][3]] for row in SAID}
    found = measured(tmp_path, Answers("t", Source(), Arithmetic(), n=4), Sampler(said))
    assert [*found.cells["thinking/avg@4"].values()] == pytest.approx([2 / 3, 0.0])
    assert found.counts["failed"] == 2
    assert found.notes[-1] == "2 responses never came and are left out of every figure"


def test_what_failures_leave_is_told(tmp_path: Path) -> None:
    """A prompt without a figure, and a pass@k that is one of fewer."""
    gone = (None, None, True, "failed")
    said = {0: [*SAID[0][:3], gone], 1: [gone] * 4}
    found = measured(tmp_path, Answers("t", Source(), Arithmetic(), n=4, pass_at=[2, 4]),
                     Sampler(said))  # fmt: skip
    assert found.cells["thinking/pass@4"] == {"a:1": 1.0} and found.counts["failed"] == 5
    assert found.notes[-2:] == [
        "5 responses never came and are left out of every figure, and with them 1 prompts that "
        "have no other",
        "pass@k of 1 prompts rests on fewer than k=4 responses, 3 at the fewest",
    ]


def test_a_cut_response_without_a_thought_is_told(tmp_path: Path) -> None:
    said = {**SAID, 0: [*SAID[0][:3], (None, "Hmm, 7?", True, "length")]}
    assert "1 thinking responses were cut off and show no thought" in measured(
        tmp_path, sampler=Sampler(said)).notes[-1]  # fmt: skip


def test_a_prompt_without_room_counts_as_wrong_and_is_told(tmp_path: Path) -> None:
    class Narrow(Sampler):
        def fitting(self, prompts: list[Prompt], modes: Any) -> Any:
            return prompts[:1], [Refused(p.where, "too_long", "is long") for p in prompts[1:]]

    found = measured(tmp_path, sampler=Narrow())
    assert found.cells["thinking/avg@4"] == {"a:1": 0.5, "a:2": 0.0}
    assert found.counts["too_long"] == 1 and "count as wrong" in found.notes[-1]
    assert "a:2" not in found.cells["thinking/unclosed"]


def test_without_known_answers_nothing_is_asked(tmp_path: Path) -> None:
    sampler = Sampler()
    with pytest.raises(ConfigError, match="no prompt has a known answer"):
        measured(tmp_path, Answers("t", Source((None, None)), Arithmetic()), sampler)
    assert not sampler.seen


def test_the_bound_of_a_k_is_what_is_drawn() -> None:
    """By the command's n, where it has one, and not by the task's."""
    task = Answers("t", Source(), Arithmetic(), n=2, pass_at=[4])
    task.check(4)
    for n, drawn in ((None, 2), (3, 3)):
        with pytest.raises(ConfigError, match=f"pass@4 needs 4 responses, and n={drawn} of them"):
            task.check(n)


@pytest.mark.parametrize(
    ("change", "where"),
    [({"n": 0}, "n"), ({"pass_at": [0]}, "pass_at"), ({"n": 2, "pass_at": [2, 2]}, "pass_at"),
     ({"template": "x"}, "template")],
)  # fmt: skip
def test_settings_that_cannot_be(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as stop:
        Answers("t", Source(), Arithmetic(), **change)
    assert stop.value.where == where
