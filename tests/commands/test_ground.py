"""What `bvrank sample` stands on: prompts, recorded responses, and what is refused of them."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bvrank.commands import sample
from bvrank.commands.compose import composed, frozen
from bvrank.commands.ground import Ground, checked, ground_of
from bvrank.errors import DataError
from bvrank.run.record import read_run
from bvrank.sampling.agreement import Agreement
from bvrank.sampling.responses import Prompt
from tests.commands import test_sample
from tests.commands.test_sample import words

__all__ = ["words"]  # a fixture


def compared(prompts: list[Prompt], count: int, n: int = 3, seed: int = 0
             ) -> frozenset[tuple[int, int]]:  # fmt: skip
    asked = SimpleNamespace(settings=SimpleNamespace(seed=seed, check=SimpleNamespace(rows=count)))
    return checked(asked, Ground(None, prompts, [], n))  # type: ignore[arg-type]


def test_what_is_compared_is_spread_over_the_prompts() -> None:
    """From one to the next it is as far as anywhere, or one prompt further."""
    for size in range(1, 13):
        prompts = [Prompt(n + n // 4, "a", ()) for n in range(size)]  # some rows were refused
        for count in range(1, size + 3):
            found = compared(prompts, count)
            rows = {row for row, _ in found}
            places = [n for n, p in enumerate(prompts) if p.row in rows] + [size]
            apart = {b - a for a, b in pairwise(places)}
            assert len(found) == len(rows) == min(count, size) and places[0] == 0
            assert max(apart) - min(apart) <= 1
        assert compared(prompts, 0) == frozenset()


def test_what_is_compared_is_spread_over_the_copies() -> None:
    """Each as often as another, or once more; which of them belongs to a prompt is drawn."""
    prompts = [Prompt(n, "a", ()) for n in range(12)]
    for n, count in ((2, 12), (4, 12), (5, 12), (40, 12), (4, 3)):
        times = Counter(copy for _, copy in compared(prompts, count, n))
        assert times.total() == count and set(times) <= set(range(n))
        spread = [times[copy] for copy in range(n)]
        assert max(spread) - min(spread) <= 1
    draws = {compared(prompts, 12, 4, seed) for seed in range(20)}
    assert len(draws) == 20 and compared(prompts, 12, 4) == compared(prompts, 12, 4)
    assert len({copy for seed in range(20) for row, copy in compared(prompts, 1, 4, seed)}) == 4


def test_the_copies_that_are_drawn_are_those_that_are_compared(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, int]] = []

    def agreement(pairs: Any, *_: Any) -> Agreement:
        seen.extend(m.key for _, m in pairs)
        return Agreement({}, 0.0, 1.0)

    monkeypatch.setattr("bvrank.commands.closing.agreement", agreement)
    asked = test_sample.config(words, "check.rows=5")
    assert sample.main(asked) == 0
    request = sample.request(asked)
    prompts = [p for p in request.prompts.prompts() if isinstance(p, Prompt)]
    wanted = checked(request, Ground(None, prompts, [], 4))
    assert {copy for _, copy in wanted} == {0, 1, 2, 3}
    assert sorted(seen) == sorted((m, *k) for m in ("thinking", "nothinking") for k in wanted)


def rows(prompts: int, copies: int) -> list[dict[str, Any]]:
    return [{"prompt": f"q{p}", "completion": f"<think>\nt\n</think>\n\n{c}", "reward": c}
            for p in range(prompts) for c in range(copies)]  # fmt: skip


def write(path: Path, found: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def config(path: Path, *more: str) -> dict[str, Any]:
    return frozen(composed("sample", (
        "prompts=file", f"prompts.path={path}", "sampler=recorded", "reward=recorded",
        "sampler.score_column=reward", "modes=[thinking]", f"outputs={path.parent / 'out'}", *more,
    )))  # fmt: skip


def made(asked: dict[str, Any]) -> tuple[int, list[float], str]:
    """Responses, the largest gap of all that count, and the card."""
    assert sample.main(asked) == 0
    folder = sample.request(asked).folder
    pairs = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    lines = (folder / "responses-00000.jsonl").read_text().splitlines()
    gaps = [row["chosen_score"] - row["rejected_score"] for row in pairs]
    return len(lines), gaps, (folder / "README.md").read_text()


def test_all_recorded_responses_are_taken_where_nobody_says_how_many(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", rows(3, 7))
    count, gaps, card = made(config(path))
    assert count == 21 and gaps == [6.0] * 3
    assert "beyond" not in card and "came again" not in card and "not there" not in card
    assert "all in each of thinking" in card


def test_those_beyond_n_are_told_as_what_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", [*rows(3, 7), *rows(1, 1)])
    count, gaps, card = made(config(path, "n=4"))
    assert count == 12 and gaps == [3.0] * 3
    assert "| responses beyond n=4 | 10 |" in card and "came again" not in card
    assert "10 recorded responses are beyond n=4 of their prompts and left out; n=8 takes" in card
    assert made(config(path, "n=8"))[0] == 22 == made(config(path))[0]


def test_prompts_that_stand_twice_in_a_file_of_prompts_keep_their_word(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", [*rows(3, 2), {"prompt": "z", "completion": "1"}])
    prompts = write(tmp_path / "p.jsonl", [{"prompt": f"q{n % 4}"} for n in range(5)])
    asked = config(prompts, f"sampler.path={path}", "max_refused=0")
    count, _, card = made(asked)
    assert count == 6 and "| prompts that came again | 1 |" in card
    assert "1 recorded response answers none of the prompts and is left out" in card
    assert "1 of 4 prompts has no response" in card


@pytest.mark.parametrize("own", [True, False])
def test_bad_rows_are_refused_up_to_a_share_of_the_rows(own: bool, tmp_path: Path) -> None:
    """2 of 42; of the five prompts they would be far more."""
    bad = [{"prompt": "q1", "completion": 7, "reward": 1}, {"prompt": "", "completion": "x"}]
    path = write(tmp_path / "r.jsonl", rows(5, 8)[:20] + bad + rows(5, 8)[20:])
    prompts = path if own else write(tmp_path / "p.jsonl", [{"prompt": f"q{n}"} for n in range(5)])
    beside = () if own else (f"sampler.path={path}",)
    with pytest.raises(DataError) as error:
        sample.main(config(prompts, "max_refused=0.04", *beside))
    told = str(error.value)
    assert "4.8% of the rows are faulty, more than 4.0%: 40 kept, 2 refused" in told
    assert "no_completion 1" in told and "empty_prompt 1" in told and "max_refused=0.05" in told
    assert "r.jsonl:2" in told and not (tmp_path / "out").exists()
    asked = config(prompts, "max_refused=0.05", *beside)
    count, _, card = made(asked)
    assert count == 40 and "rows refused" in card and "1 without a completion" in card
    log = sample.request(asked).folder / "refused.jsonl"
    refused = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(r["where"] for r in refused) == ["r.jsonl:21", "r.jsonl:22"]


def test_rows_behind_a_limit_are_no_faults(tmp_path: Path) -> None:
    """Nor are they told as rows that read otherwise; one of a prompt that is wanted counts."""
    path = write(tmp_path / "r.jsonl", [*rows(4, 2), *[{"completion": "x"}] * 5, *rows(2, 1)])
    count, _, card = made(config(path, "prompts.limit=2", "max_refused=0"))
    assert count == 6
    assert "9 recorded rows belong to no prompt within prompts.limit and are left out" in card
    bad = {"prompt": "q1", "completion": 7, "reward": 1}
    path = write(tmp_path / "r.jsonl", [*rows(4, 2), bad])
    with pytest.raises(DataError, match=r"8 kept, 1 refused \(no_completion 1\)"):
        sample.main(config(path, "prompts.limit=2", "max_refused=0"))


def test_a_file_without_a_response_to_any_prompt_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", rows(2, 2))
    prompts = write(tmp_path / "p.jsonl", [{"prompt": "other"}])
    with pytest.raises(DataError, match=r"no response to any of 1 prompts.*sampler\.system"):
        sample.main(config(prompts, f"sampler.path={path}"))
    bad = write(tmp_path / "b.jsonl", [{"prompt": "q", "completion": 1, "reward": 1}])
    with pytest.raises(DataError, match=r"no response to any of 1 prompts; first b.jsonl:1: 'comp"):
        sample.main(config(bad))


def test_n_is_four_where_responses_are_made() -> None:
    """And a folder says so: it is the one of n=4."""
    none, four = (sample.request(frozen(composed("sample", w))) for w in ((), ("n=4",)))
    assert none.name == four.name and none.kept["n"] == 4 and none.settings.n == 4


def test_one_that_was_stopped_takes_all_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "r.jsonl", [*rows(3, 7), *rows(1, 2)])
    asked = config(path)
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr("bvrank.commands.closing.close", lambda *_: 1 / 0)
        sample.main(asked)
    assert read_run(sample.request(asked).folder).status == "failed"
    assert made(asked)[0] == 23
    assert ground_of(sample.request(asked), None).n == 9
