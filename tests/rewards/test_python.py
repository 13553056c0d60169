"""A function of the user's is called with rows; what it gets wrong names the row."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands.build import build
from bvrank.errors import ConfigError, DataError, RunError
from bvrank.records import Asked, Message
from bvrank.rewards.python import Python

ROWS = [Asked(f"r{i}", (Message("user", "q"),), "a" * i, str(i)) for i in range(5)]
SEEN: list[list[dict[str, Any]]] = []


def lengths(rows: list[dict[str, Any]]) -> list[float]:
    SEEN.append(rows)
    return [len(r["answer"]) for r in rows]


def scores(function: Callable[..., Any], **keys: Any) -> list[Any]:
    return list(Python(function, **keys).scores(ROWS))


def test_rows_go_in_and_numbers_come_out() -> None:
    SEEN.clear()
    assert [s.score for s in scores(lengths, batch=2)] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [len(rows) for rows in SEEN] == [2, 2, 1]
    turn = {"role": "user", "content": "q"}
    assert SEEN[0][1] == {"prompt": [turn], "answer": "a", "gold": "1"}


def test_none_is_no_score() -> None:
    found = scores(lambda rows: [None if r["answer"] == "a" else True for r in rows])
    assert [(s.score, s.reason) for s in found][:3] == [(1.0, ""), (None, "none"), (1.0, "")]


def test_it_is_called_when_scores_are_wanted() -> None:
    SEEN.clear()
    found = Python(lengths, batch=1).scores(ROWS)
    assert not SEEN
    next(found)
    assert len(SEEN) == 1


WRONG: list[tuple[Callable[..., Any], type[Exception], str]] = [
    (lambda rows: [1.0], DataError, r"r0 to r3: .*returned 1 scores for 4 rows.*one for each"),
    (lambda rows: [float("nan")] * len(rows), DataError, r"r0: .*returned 'nan'.*finite"),
    (lambda rows: ["high"] * len(rows), DataError, r"r0: .*returned 'high'"),
    (
        lambda rows: 1 / 0,
        RunError,
        r"r0 to r3: .*failed at test_python.py:\d+ \(ZeroDivisionError: .*\).* goes on",
    ),
    (lambda rows: sys.exit(7), RunError, r"failed at test_python.py:\d+ \(SystemExit: 7\)"),
    (lambda rows: None, DataError, r"r0 to r3: .*returned None for 4 rows.*one for each row"),
]


@pytest.mark.parametrize(("function", "kind", "message"), WRONG)
def test_a_function_that_fails_names_its_rows(
    function: Callable[..., Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as told:
        scores(function, batch=4)
    assert told.value.exit_code == 2  # type: ignore[attr-defined]


@pytest.fixture
def mylab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mylab_rewards.py").write_text("def score(rows):\n    return [1.0 for _ in rows]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mylab_rewards", raising=False)
    return tmp_path / "mylab_rewards.py"


NODE = {"_target_": "bvrank.rewards.python.Python", "function": "mylab_rewards.score"}


def test_a_config_names_it_and_the_command_line_trusts_its_package(mylab: Path) -> None:
    with pytest.raises(ConfigError, match=r"reward\.function: .*outside bvrank.*trusted="):
        build(NODE, "reward")
    reward = build(NODE, "reward", ("mylab_rewards",))
    assert [s.score for s in reward.scores(ROWS)] == [1.0] * 5


@pytest.mark.parametrize(
    "name", ["os.system", "bvrank.run.store.kept", "no dots", "mylab_rewards.x", 3]
)
def test_other_names_are_refused(name: Any, mylab: Path) -> None:
    with pytest.raises(ConfigError, match=r"reward\.function: "):
        build(NODE | {"function": name}, "reward", ("mylab_rewards",))


def test_the_identity_follows_the_function(mylab: Path) -> None:
    reward = build(NODE, "reward", ("mylab_rewards",))
    before = reward.identity
    assert "mylab_rewards.score" in before
    mylab.write_text(mylab.read_text() + "# another text\n")
    assert reward.identity != before
    assert Python(lengths).identity != Python(lengths, version="2").identity
    assert Python(len).identity.startswith("python builtins.len ")  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [
    lambda: [], lambda rows, more: [], lambda *, rows: [], object, Asked,
])  # fmt: skip
def test_what_cannot_take_rows_is_refused_before_it_is_called(function: Any) -> None:
    with pytest.raises(ConfigError, match=r"^function: .* cannot be called with a list of rows"):
        Python(function)


def test_rows_may_be_all_that_it_needs() -> None:
    for function in (lengths, len, lambda rows, scale=2: [], lambda *rows: [], list):
        Python(function)  # type: ignore[arg-type]


class Scorer:
    """A reward with settings of its own."""

    def __init__(self, sign: float) -> None:
        self.sign = sign

    def __call__(self, rows: Any) -> list[float]:
        return [self.sign * len(row["answer"]) for row in rows]


def test_an_object_wants_a_version_and_is_known_by_the_file_of_its_class() -> None:
    with pytest.raises(ConfigError, match=r"version: .*Scorer is an object, whose settings"):
        Python(Scorer(1.0))
    found = Python(Scorer(1.0), version="up")
    assert found.identity != Python(Scorer(-1.0), version="down").identity
    assert Python(len, version="up").identity.split()[2] != found.identity.split()[2]  # type: ignore[arg-type]


def test_a_batch_has_rows() -> None:
    with pytest.raises(ConfigError, match="batch: must be at least 1"):
        Python(lengths, batch=0)
