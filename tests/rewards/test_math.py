"""Equal values score 1 in whatever form; what cannot be graded says why, and hangs nobody."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
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
