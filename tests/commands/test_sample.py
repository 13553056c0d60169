"""`bvrank sample`, from the command line to files that train."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import sample
from bvrank.commands.compose import composed, frozen
from bvrank.errors import ConfigError, DataError, ModelError, RunError
from bvrank.run.record import read_manifest
from bvrank.sampling.chat import Failure, Reply, Request
from bvrank.sampling.openai import Server
from tests.sampling.saying import saying, usual

SMALL = ("model.teach.steps=0", "model.hidden_size=16", "model.heads=2", "model.layers=1",
         "model.intermediate_size=16", "prompts.problems=6", "sampler.sequences=8",
         "check.rows=0")  # fmt: skip


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    saying(monkeypatch, usual)
    return (*SMALL, f"outputs={tmp_path / 'out'}", f"store={tmp_path / 'store'}")


def config(words: tuple[str, ...], *more: str) -> dict[str, Any]:
    return frozen(composed("sample", (*words, *more)))


def run(words: tuple[str, ...], *more: str) -> Path:
    asked = config(words, *more)
    assert sample.main(asked) == 0
    return sample.request(asked).folder


def stopping(*_: Any) -> None:
    raise KeyboardInterrupt


def test_the_files_say_the_same_and_can_be_checked(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(words)
    said = capsys.readouterr().out
    assert "bvrank train objective=bvpo data=pairs data.path=" in said and "pairs" in said
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    assert [r["view"] for r in rows] == ["full"] * 6 + ["bare"] * 6
    check = ["sha256sum", "-c", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder).returncode == 0
    assert read_manifest(folder)["status"] == "finished"
    assert "# Preference pairs by sampling" in (folder / "README.md").read_text()


def test_a_second_call_makes_nothing(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(words)
    first = capsys.readouterr().out
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    monkeypatch.setattr("bvrank.sampling.local.sampled", None)
    assert run(words) == folder
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    again = capsys.readouterr()
    assert again.out == first and "finished before" in again.err


def test_a_sweep_is_told_where_the_pairs_are_and_how_many(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BVRANK_OUTCOME", str(tmp_path / "outcome"))
    for status in ("done", "skipped"):
        folder = run(words)
        told = json.loads((tmp_path / "outcome").read_text())
        assert told == {"status": status, "folder": str(folder),
                        "headline": {"thinking/pairs": 6, "nothinking/pairs": 6}}  # fmt: skip


def test_a_stopped_one_goes_on_by_the_same_command(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = run(words, "name=straight")

    with monkeypatch.context() as patched, pytest.raises(BaseException, match="stopped"):
        patched.setattr("bvrank.sampling.local.Local.fits", stopping)
        run(words, "name=other")
    folder = run(words, "name=other")
    for name in ("pairs.jsonl", "pairs.parquet", "responses-00000.jsonl"):
        assert (folder / name).read_bytes() == (straight / name).read_bytes()


def test_a_family_that_forbids_packed_rows_is_compared_all_the_same(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said here has not the likelihood it claims: that is found, not the packing."""
    refused: list[int] = []

    def forbidding(*_: object) -> None:
        refused.append(1)
        raise ModelError("its attention asks for no blocks", where="model")

    monkeypatch.setattr("bvrank.scoring.scorer.Scorer._check_asked", forbidding)
    with pytest.raises(ModelError, match="the sampler gave its response"):
        run(words, "check.rows=1")
    assert refused


def test_force_moves_the_older_one_aside(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(words)
    before = (folder / "pairs.jsonl").read_bytes()
    saying(monkeypatch, lambda answer, thinking, turn: usual(answer, thinking, turn + 2))
    assert run(words, "force=true") == folder
    (older,) = (p for p in folder.parent.iterdir() if p != folder)
    assert (older / "pairs.jsonl").read_bytes() == before != (folder / "pairs.jsonl").read_bytes()


def test_another_selection_takes_the_responses_that_are_there(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(words)
    monkeypatch.setattr("bvrank.sampling.local.sampled", None)
    other = run(words, "select.rule=random")
    assert other != first and f"responses: those of {first}" in capsys.readouterr().err
    log = "responses-00000.jsonl"
    assert (other / log).read_bytes() == (first / log).read_bytes()


def test_what_is_never_a_side_is_not_scored_until_a_selection_wants_it(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four answers of each prompt the last was cut off; a mode with one whole answer has none
    to compare it with."""
    SEEN.clear()

    def say(answer: str, thinking: bool, turn: int) -> tuple[str, bool]:
        return usual(answer, thinking, turn if thinking else 2 * turn + 6)[0], turn < (
            3 if thinking else 1
        )

    saying(monkeypatch, say)
    mine = (*words, "reward=python", "trusted=[tests]",
            "reward.function=tests.commands.test_sample.noting")  # fmt: skip
    folder = run(mine)
    card = (folder / "README.md").read_text()
    assert "| answers not scored: no pair could hold them | 0 | 24 |" in card
    first = len(SEEN)
    told = json.loads((folder / "summary.json").read_text())
    assert told["unscored"] == {"thinking": 0, "nothinking": 24}
    monkeypatch.setattr("bvrank.sampling.local.sampled", None)
    other = run(mine, "select.unfinished=keep")
    assert len(SEEN) == len(set(SEEN)) > first  # none is scored twice
    assert "unscored" not in (other / "README.md").read_text()


SEEN: list[tuple[str, str]] = []


def noting(rows: list[dict[str, Any]]) -> list[float]:
    """A reward that remembers what it was shown."""
    SEEN.extend((str(row["prompt"]), row["answer"]) for row in rows)
    return letters(rows)


def test_another_reward_takes_the_scores_that_are_its_own(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(words)
    monkeypatch.setattr("bvrank.rewards.arithmetic.Arithmetic.scores", None)
    other = run(words, "select.rule=random")
    (scores,) = (p.name for p in first.glob("scores-*"))
    assert (other / scores).read_bytes() == (first / scores).read_bytes()


def test_a_finished_folder_that_lost_a_file_makes_it_again(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(words)
    whole = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.json"}
    (folder / "pairs.parquet").unlink()
    (folder / "pairs.jsonl").write_text("cut")
    monkeypatch.setattr("bvrank.sampling.local.sampled", None)
    assert run(words) == folder
    assert "pairs.jsonl: gone, or not what SHA256SUMS says; made again" in capsys.readouterr().err
    left = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.json"}
    assert left == whole and read_manifest(folder)["status"] == "finished"


def test_a_finished_folder_whose_log_was_changed_is_refused(words: tuple[str, ...]) -> None:
    folder = run(words)
    log = folder / "responses-00000.jsonl"
    log.write_bytes(log.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"responses-00000.jsonl: gone, or not .*force=true"):
        run(words)
    assert run(words, "force=true") == folder


def test_responses_of_another_version_do_not_go_into_a_folder_that_was_begun(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(BaseException, match="stopped") as stop:
        patched.setattr("bvrank.sampling.local.Local.fits", stopping)
        run(words, "name=x")
    assert "The same command goes on." in str(stop.value)
    monkeypatch.setattr("bvrank.commands.origin.VERSION", 99)
    with pytest.raises(RunError, match="holds responses to other prompts, or drawn by another"):
        run(words, "name=x")


@pytest.mark.parametrize(
    ("says", "objective"),
    [(lambda thinking: True, "objective=bvpo data"), (bool, "objective=dpo data"),
     (lambda thinking: not thinking, "objective=dpo objective.view=bare data")],
)  # fmt: skip
def test_what_is_proposed_can_train_on_what_there_is(
    says: Any, objective: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Only in the modes where answers differ are there pairs."""
    saying(monkeypatch, lambda a, thinking, turn: usual(a, thinking, turn if says(thinking) else 1))
    run(words)
    assert f"next: bvrank train {objective}=pairs" in capsys.readouterr().out


def test_a_verifier_wants_known_answers_before_anything_is_drawn(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "1+1=?", "gold": "2"}\n')
    found = [w for w in words if not w.startswith("prompts.")]
    monkeypatch.setattr("bvrank.sampling.local.sampled", None)
    with pytest.raises(ConfigError, match=r"prompts\.gold_column: no prompt has a known answer"):
        run((*found, "prompts=file", f"prompts.path={path}"))
    assert not Path(config(words)["outputs"]).exists()


def test_without_a_pair_the_responses_stay(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, lambda answer, *_: usual(answer, True, 1))
    with pytest.raises(DataError, match=r"gives a pair \(Thinking prompts: 6 equal scores; N"):
        run(words, "name=x")
    folder = Path(config(words)["outputs"]) / "x"
    assert (folder / "responses-00000.jsonl").stat().st_size
    assert not list(folder.glob("pairs.*")) and not (folder / "SHA256SUMS").exists()


def test_one_mode_and_one_format(words: tuple[str, ...]) -> None:
    folder = run(words, "modes=[nothinking]", "formats=[jsonl]")
    assert not (folder / "pairs.parquet").exists()
    assert '"view": "full"' not in (folder / "pairs.jsonl").read_text()


def test_a_dry_run_writes_nothing(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = config(words, "dry_run=true")
    assert sample.main(asked) == 0
    told = capsys.readouterr().out
    assert not Path(asked["outputs"]).exists()
    for part in ("6 (0 refused", "48: 4 in each of thinking, nothinking", "at most 2,304 (48",
                 "prompt tokens", "bytes", "tokens a second"):  # fmt: skip
        assert part in told


def test_prompts_that_cannot_be_answered_are_listed(words: tuple[str, ...], tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}+1=?", "gold": str(n + 1)} for n in range(5)]
    rows.append({"prompt": "<|im_end|>", "gold": "1"})
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [w for w in words if not w.startswith("prompts.")]
    asked = (*found, "prompts=file", f"prompts.path={path}", "prompts.gold_column=gold")
    with pytest.raises(DataError, match=r"16.7% of the rows are faulty.*max_refused=0.17"):
        run(asked)
    (refused,) = (run(asked, "max_refused=0.2") / "refused.jsonl").read_text().splitlines()
    assert json.loads(refused)["where"] == "prompts.jsonl:6"


def test_a_repeated_prompt_is_a_fault_where_its_gold_answer_is_another(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    rows = [{"prompt": f"{n}+1=?", "gold": str(n + 1)} for n in (0, 1, 2, 0)]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = (*[w for w in words if not w.startswith("prompts.")], "prompts=file",
             f"prompts.path={path}", "prompts.gold_column=gold", "max_refused=0")  # fmt: skip
    run(asked)
    rows[-1]["gold"] = "7"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"25\.0% of .*conflicting_gold 1.*another gold answer"):
        run(asked)


def test_recorded_responses_become_pairs(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n // 2}", "completion": f"<think>\nt{n}\n</think>\n\n{n}",
             "reward": n % 2} for n in range(8)]  # fmt: skip
    rows[0]["completion"] = "<think>\nnever closed"
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = run(
        ("prompts=file", f"prompts.path={path}", "sampler=recorded", "reward=recorded",
         "sampler.score_column=reward", "modes=[thinking]", f"outputs={tmp_path / 'o'}")
    )  # fmt: skip
    made = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    assert [r["prompt"] for r in made] == ["q1", "q2", "q3"]
    assert made[0]["chosen"] == {"think": "t3", "answer": "3"}
    card = (folder / "README.md").read_text()
    assert "| left out: thinking unfinished | 1 |" in card and "refused" not in card
    assert "1 (12.5 %) of the Thinking responses never finished" in card
    assert "came again" not in card and "max_new_tokens" not in card


def test_a_finished_folder_goes_on_where_fewer_may_be_missing_by_now(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed is asked for again, and nothing else."""
    asked: list[str] = []
    down = {"on": True}

    def complete(
        server: Server, requests: Iterable[Request], **_: Any
    ) -> Iterator[Reply | Failure]:
        for number, request in enumerate(requests):
            asked.append(request.key)
            if down["on"] and number == 3:
                yield Failure(request.key, "timeout", "late", 1)
            else:
                text = f"<think>\nt\n</think>\n\n{number % 2}"
                yield Reply(request.key, text, None, "stop", 5, 9, "m", None, 1, 0.1)

    monkeypatch.setattr("bvrank.sampling.served.complete", complete)
    words = ("prompts.problems=6", *words[-2:], "sampler=openai", "sampler.server.model=m",
             "n=4", "reward=python", "trusted=[tests]", "modes=[thinking]",
             "reward.function=tests.commands.test_sample.letters")  # fmt: skip
    folder = run(words, "sampler.max_failed=0.05")
    told = {"sampler": {"share": 1 / 24, "allowed": 0.05}, "reward": {"share": 0.0, "allowed": 1.0}}
    assert read_manifest(folder)["away"] == told
    assert "no response came" in (folder / "README.md").read_text()
    asked.clear()
    assert run(words, "sampler.max_failed=0.05") == folder and not asked
    down["on"] = False
    assert run(words, "sampler.max_failed=0.0") == folder and len(asked) == 1
    assert read_manifest(folder)["away"]["sampler"] == {"share": 0.0, "allowed": 0.0}
    assert "no response came" not in (folder / "README.md").read_text()


def test_a_wrong_column_leaves_no_folder(tmp_path: Path) -> None:
    """It is told before there is one."""
    rows = [{"prompt": f"q{n // 2}", "text": f"{n}", "r": n % 2} for n in range(8)]
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("prompts=file", f"prompts.path={path}", "sampler=recorded", "reward=recorded", "n=2",
             "sampler.score_column=r", "modes=[thinking]", f"outputs={tmp_path / 'o'}")  # fmt: skip
    with pytest.raises(DataError, match=r"has no 'completion'.*sampler\.completion_column="):
        run(words)
    assert not (tmp_path / "o").exists()
    assert run(words, "sampler.completion_column=text").is_dir()


def test_a_server_that_is_not_there_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing came about in it; one in which something did stays."""
    replies = {"left": 0}

    def complete(server: Server, requests: Iterable[Request], **_: Any) -> Iterator[Reply]:
        for request in requests:
            if not replies["left"]:
                raise RunError("gone")
            replies["left"] -= 1
            yield Reply(request.key, "1", None, "stop", 5, 9, "m", None, 1, 0.1)

    monkeypatch.setattr("bvrank.sampling.served.complete", complete)
    words = ("prompts.problems=6", "sampler=openai", "sampler.server.model=m",
             f"outputs={tmp_path / 'o'}")  # fmt: skip
    for left in (0, 1):
        replies["left"] = left
        with pytest.raises(RunError, match="gone"):
            run(words)
        assert len([*(tmp_path / "o").iterdir()]) == left


def failing(rows: list[dict[str, Any]]) -> list[float]:
    """A reward with a mistake in it."""
    raise KeyError("oops")


def letters(rows: list[dict[str, Any]]) -> list[float]:
    """The same without it."""
    return [float(sum(map(ord, row["answer"]))) for row in rows]


def test_a_reward_that_failed_may_be_mended_where_it_stands(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The responses are those that are asked for, whatever scores them; pairs that are there are of
    the reward that made them."""
    mine = ("name=mine", "reward=python", "trusted=[tests]",
            "reward.function=tests.commands.test_sample.failing")  # fmt: skip
    with pytest.raises(RunError, match=r"failed at test_sample.py:\d+ \(KeyError"):
        run(words, *mine)
    monkeypatch.setattr("bvrank.sampling.local.sampled", None)  # nothing is drawn again
    monkeypatch.setitem(globals(), "failing", letters)
    folder = run(words, *mine)
    assert read_manifest(folder)["status"] == "finished"
    monkeypatch.setitem(globals(), "failing", lengths)
    with pytest.raises(RunError, match="code of the reward"):
        run(words, *mine)


def test_ranks_meet_between_any_two_stages(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one stage reads are the files that all ranks wrote in the one before."""
    order: list[str] = []

    def noted(name: str) -> Any:
        stage = getattr(sample._Work, name)
        return lambda self, run: (order.append(name), stage(self, run))

    for name in ("generate", "score", "select"):
        monkeypatch.setattr(sample._Work, name, noted(name))
    monkeypatch.setattr(sample.Meeting, "wait", lambda self: order.append("meet"))
    run(words)
    assert order == ["generate", "meet", "score", "meet", "select", "meet"]


def test_two_processes_make_the_same_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each draws its share of the batches with the weights that the parent left in the store."""
    words = (*SMALL, "select.unfinished=keep", "sampler.max_new_tokens=8", "reward=python",
             "reward.function=tests.commands.test_sample.lengths", "trusted=[tests]",
             "check.rows=2", f"store={tmp_path / 'store'}")  # fmt: skip
    one = run((*words, f"outputs={tmp_path / 'one'}"))
    two = run((*words, f"outputs={tmp_path / 'two'}", "launcher.processes=2"))
    assert two.name == one.name
    assert len(list(two.glob("responses-*.jsonl"))) == 2
    for name in ("pairs.jsonl", "pairs.parquet"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def lengths(rows: list[dict[str, Any]]) -> list[float]:
    """A reward: the longer the better."""
    return [float(len(row["answer"])) for row in rows]


REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent"))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs BVRANK_REAL_DATA")
def test_real_rollouts_become_pairs_and_their_unclosed_traces_are_told(tmp_path: Path) -> None:
    """60 completions of 30 problems: 29 never closed, and two problems have a right and a wrong
    one left."""
    path = REAL / "pairs" / "think_rollouts_aime24_30x2.jsonl.gz"
    folder = run(
        ("prompts=file", f"prompts.path={path}", "prompts.gold_column=gold", "sampler=recorded",
         "reward=math", "modes=[thinking]", "n=2", f"outputs={tmp_path}")
    )  # fmt: skip
    card = (folder / "README.md").read_text()
    assert "| left out: thinking unfinished | 29 |" in card and "| pairs | 2 |" in card
    assert "<|im_end|>" not in (folder / "pairs.jsonl").read_text()  # else no row would train
    assert "| thinking closed | 31 (51.7 %) |" in card
