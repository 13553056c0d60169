"""Equal values score 1 in whatever form; what cannot be graded says why, and hangs nobody."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import itertools
import json
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from bvrank.answers import split
from bvrank.errors import ConfigError, RunError
from bvrank.records import Asked, Scored
from bvrank.rewards import math
from bvrank.rewards.math import Math

REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent"))
HERE = importlib.util.find_spec("math_verify") is not None
needs_library = pytest.mark.skipif(not HERE, reason="needs math-verify")
needs_data = pytest.mark.skipif(not (REAL / "math").is_dir(), reason="needs BVRANK_REAL_DATA")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
RIGHT = [
    ("18", "18"), ("18", "The answer is 18."), ("18", r"So it is $\boxed{18}$."), ("27.0", "27"),
    ("0.5", r"$\frac12$"), (r"\frac{1}{2}", "1/2"), (r"\boxed{\frac{1}{2}}", "0.5"),
    ("Half of 36 is 18.\n#### 18", r"\boxed{18}"), ("The rest is 3.\n#### 18", "In all:\n#### 18"),
    ("#### 1,234", "1234"), ("1,234", r"\boxed{1{,}234}"), ("70", r"It was 17, no, \boxed{70}"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"$(3,\pi/2)$"), (r"$x^2-1$", r"\boxed{(x-1)(x+1)}"),
    (r"so $s=\boxed{1.6}$ cm", r"$\boxed{1.6}$"), ("62.5%", r"$62.5\%$"), (r"62.5\%", "62.5%"),
]  # fmt: skip
WRONG = [
    ("18", "19"), ("18", ""), ("18", "I do not know."), ("18", r"\boxed{180}"), ("62.5%", "6.25"),
    ("0.5", "0.55"),
]  # fmt: skip


def asked(pairs: list[tuple[str | None, str]]) -> list[Asked]:
    return [Asked(str(i), (), answer, gold) for i, (gold, answer) in enumerate(pairs)]


def scored(pairs: list[tuple[str | None, str]], **options: Any) -> list[Scored]:
    return list(Math(**options).scores(asked(pairs)))


@needs_library
def test_values_are_compared_not_texts() -> None:
    found = scored([*RIGHT, *WRONG])
    assert [s.key for s in found] == [str(i) for i in range(len(RIGHT) + len(WRONG))]
    wanted = [1.0] * len(RIGHT) + [0.0] * len(WRONG)
    assert [(p, s.score) for p, s in zip([*RIGHT, *WRONG], found, strict=True)] == [
        (p, w) for p, w in zip([*RIGHT, *WRONG], wanted, strict=True)
    ]


@needs_library
def test_what_has_no_usable_gold_is_unscored() -> None:
    found = scored([(None, "1"), ("", "1"), (r"\left(", "1"), ("1", "1")])
    reasons = ["no_gold", "gold_unparsable", "gold_unparsable", ""]
    assert [s.reason for s in found] == reasons
    assert [s.score for s in found] == [None, None, None, 1.0]


@needs_library
def test_an_answer_that_hangs_is_given_up_and_the_next_is_graded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that hangs has less time than the other, which a busy machine may not answer soon."""
    tower = r"\boxed{9^{9^{9^{9}}}+1}"
    line, limits = math._line, iter([1.5, 60.0])

    def limited(process: Any, seconds: float) -> dict[str, Any]:
        assert seconds in (math.START, 2.5)
        return line(process, next(limits) if seconds == 2.5 else seconds)

    monkeypatch.setattr(math, "_line", limited)
    found = scored([("1", tower), ("2", "2")], timeout=2.5)
    assert [(s.score, bool(s.reason)) for s in found] in (
        [(None, True), (1.0, False)],
        [(0.0, False), (1.0, False)],  # where the library learns to leave it alone
    )


@needs_library
def test_it_works_in_a_thread_and_leaves_no_process() -> None:
    found: list[Scored] = []

    def work() -> None:
        scores = Math().scores(asked([("1", "1"), ("1", "2")]))
        found.append(next(scores))
        scores.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [s.score for s in found] == [1.0]


@needs_library
def test_a_process_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math, "WORKER", (*math.WORKER[:-1], "bvrank.rewards.nothing"))
    with pytest.raises(RunError, match=r"does not start \(.*No module named"):
        scored([("1", "1")])


def test_what_is_missing_or_out_of_range_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="timeout: must be greater than 0"):
        Math(timeout=0.0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"not installed.*pip install 'bvrank\[math\]'"):
        Math()


@needs_library
def test_the_identity_names_the_libraries() -> None:
    assert "math-verify 0." in Math().identity and Math().identity != Math(timeout=1.0).identity


def rows(name: str) -> list[dict[str, Any]]:
    opened = gzip.open if name.endswith(".gz") else open
    with opened(REAL / name, "rt", encoding="utf-8") as file:  # type: ignore[operator]
        return [json.loads(line) for line in file]


def golds(name: str) -> list[str]:
    """The gold column of a benchmark as it stands."""
    columns = {"minerva_math.jsonl": "solution", "olympiadbench.jsonl.gz": "final_answer"}
    found = [r[columns.get(name, "answer")] for r in rows(f"math/{name}")]
    return [str(g[0] if isinstance(g, list) else g) for g in found]


# Benchmark -> golds that cannot be read, and golds that do not equal themselves as an answer.
LIMITS = {"aime24.jsonl": (0, 0), "aime25_areal.jsonl": (0, 0), "amc23.jsonl": (0, 0),
          "math500.jsonl": (0, 9), "gsm8k_test.jsonl.gz": (0, 0), "minerva_math.jsonl": (3, 9),
          "olympiadbench.jsonl.gz": (3, 9)}  # fmt: skip


@needs_library
@needs_data
@pytest.mark.parametrize("name", LIMITS)
def test_golds_of_benchmarks_are_read_and_equal_themselves(name: str) -> None:
    texts = golds(name)[:300]
    answers = [t if "boxed" in t or "####" in t or "$" in t else f"\\boxed{{{t}}}" for t in texts]
    found = scored(list(zip(texts, answers, strict=True)), timeout=20.0)
    unread = sum(s.score is None for s in found)
    unequal = [texts[int(s.key)][-80:] for s in found if s.score == 0]
    assert unread <= LIMITS[name][0] and len(unequal) <= LIMITS[name][1], (unread, unequal)


@needs_library
@needs_data
def test_rewards_recorded_with_real_rollouts_are_ours() -> None:
    """All 60 where the whole completion is read, as they were recorded. Of the 31 that closed their
    thinking, three answers were cut off before the box that stands in their trace."""
    found = rows("pairs/think_rollouts_aime24_30x2.jsonl.gz")
    whole = scored([(r["gold"], r["completion"]) for r in found])
    assert [s.score for s in whole] == [r["reward"] for r in found]
    answers = [(r, split(r["completion"]).answer) for r in found]
    answered = [(r, a) for r, a in answers if a is not None]
    ours = scored([(r["gold"], a) for r, a in answered])
    differ = [
        (r["task_id"], r["reward"], s.score, "boxed" in a)
        for (r, a), s in zip(answered, ours, strict=True)
        if s.score != r["reward"]
    ]
    assert len(answered) == 31
    assert differ == [(1, 1.0, 0.0, False), (1, 1.0, 0.0, False), (5, 1.0, 0.0, False)]


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [("50%", r"\boxed{50\%}", 1), ("50", r"\boxed{50 \%}", 1), ("0.5", r"\boxed{50\%}", 1),
     ("62.5", r"\boxed{62.5}$ percent", 1), ("62.5", r"\boxed{62.5\%}", 1),
     ("0.625", r"\boxed{62.5\%}", 1), ("50", r"\boxed{51\%}", 0), ("5", r"\boxed{50\%}", 0)],
)  # fmt: skip
def test_a_sign_inside_the_box_or_behind_it_is_one(gold: str, answer: str, right: float) -> None:
    (found,) = Math().scores([Asked("a", (), answer, gold)])
    assert found.score == right


class Classes:
    """A grader for whom answers that end alike have one value; counts what it is asked."""

    def __init__(self, *_: Any) -> None:
        self.asked: list[tuple[str, str]] = []

    def alike(self, one: str, other: str) -> bool:
        self.asked.append((one, other))
        return one.rstrip("}")[-1] == other.rstrip("}")[-1]

    def close(self) -> None:
        pass


def slowly(answers: list[str], grader: Any) -> list[int]:
    """Each answer against the first of each value before it, whatever it looks like."""
    first: list[str] = []
    found = []
    for answer in answers:
        numbers = (n for n, one in enumerate(first) if one == answer or grader.alike(one, answer))
        found.append(next(numbers, len(first)))
        first += [answer] if found[-1] == len(first) else []
    return found


def test_votes_are_those_of_the_slow_way_in_fewer_comparisons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a group at most one for each text and value; in all of them none twice."""
    grader, draw = Classes(), random.Random(0)
    monkeypatch.setattr(math, "_Grader", lambda *_: grader)
    texts = [rf"\boxed{{x_{n}+{n % 7}}}" for n in range(40)]
    groups = [draw.choices(texts, k=64) for _ in range(20)]
    slow = Classes()
    wanted = [slowly(group, slow) for group in groups]
    assert list(Math().votes(groups[:1])) == wanted[:1]
    assert len(grader.asked) <= len({*groups[0]}) * len({*wanted[0]})
    grader.asked.clear()
    assert list(Math().votes(groups)) == wanted
    assert len(set(map(frozenset, grader.asked))) == len(grader.asked)
    assert len(grader.asked) < len(slow.asked) / 3


def test_whole_numbers_take_no_grader(monkeypatch: pytest.MonkeyPatch) -> None:
    grader = Classes()
    monkeypatch.setattr(math, "_Grader", lambda *_: grader)
    group = [rf"Try {n}: \boxed{{{n % 50 - 9}}}" for n in range(200)]
    assert list(Math().votes([group])) == [[n % 50 for n in range(200)]]
    assert not grader.asked


SPELLINGS = [
    (r"\boxed{\dfrac{1}{3}}", r"\boxed{\frac{1}{3}}"),
    (r"\boxed{\tfrac{a}{b}}", r"\boxed{\frac{a}{b}}"),
    (r"\boxed{\left(1,2\right)}", r"\boxed{(1,2)}"),
    (r"\boxed{\left[1,2\right)}", r"\boxed{[1,2)}"),
    (r"\boxed{2\left(x+1\right)}", r"\boxed{2(x+1)}"),
    (r"\boxed{\left|x\right|}", r"\boxed{|x|}"),
]


@needs_library
def test_one_spelling_is_one_value_to_the_grader_too() -> None:
    """What is taken for one without asking, and what is never taken for one."""
    with contextlib.closing(math._Grader(20.0)) as grader:
        for one, other in SPELLINGS:
            assert math._form(one) == math._form(other) and grader.alike(one, other), one
        numbers = [rf"\boxed{{{n}}}" for n in (0, 1, -1, 10, 101, 10**14, 10**14 + 1)]
        for one, other in itertools.combinations(numbers, 2):
            assert math._WHOLE.fullmatch(one) and not grader.alike(one, other)
    for one, other in ((r"\boxed{1 2}", r"\boxed{12}"), (r"\dfraction", r"\fraction")):
        assert math._form(one) != math._form(other)


@needs_library
def test_votes_on_formulas_are_those_of_the_slow_way() -> None:
    group = [r"\boxed{(x-1)(x+1)}", r"$x^2-1$", r"\boxed{7}", r"\boxed{\frac{14}{2}}",
             r"\boxed{\dfrac{14}{2}}", "no idea", r"\boxed{7.0}", r"\boxed{x^2-1}", r"\boxed{8}",
             r"\boxed{12.5\%}", r"\boxed{0.125}", r"\boxed{12.5}", r"\boxed{8}"]  # fmt: skip
    with contextlib.closing(math._Grader(20.0)) as grader:
        wanted = slowly(group, grader)
    assert list(Math(timeout=20.0).votes([group, group])) == [wanted, wanted]
