"""AlpacaEval 2 from end to end: who is shown what, what counts, what is written and read again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from bvrank.commands import evaluate
from bvrank.commands.build import build
from bvrank.commands.compose import composed, frozen
from bvrank.errors import ConfigError, DataError, Interrupted, RunError
from bvrank.evaluation import judging, lengths
from bvrank.evaluation.alpaca import AlpacaEval, preference, switched
from bvrank.evaluation.annotations import Baseline
from bvrank.evaluation.judging import Replay, Verdict
from bvrank.evaluation.result import figures
from bvrank.records import Message
from tests.commands.fast import TINY
from tests.evaluation.judges import desk, lines, openai, save
from tests.servers import ChatServer, chatting

ROWS = [{"dataset": "d", "instruction": f"task {i}", "output": f"base {i}", "generator": "base"}
        for i in range(12)]  # fmt: skip
PROMPT = "I {instruction}\nm={output_1}\nM={output_2}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "DRAWS", 20)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A judge that likes what says `good`, wherever it stands; `m` or `M` and nothing else."""
    with chatting() as found:
        found.said = lambda body: (None, better(body), "length")
        yield found


def better(body: Any) -> str:
    first = body["messages"][-1]["content"].split("\nM=")[0]
    return "m" if "good" in first else "M"


def task(place: Path, judge: Any, **keys: Any) -> AlpacaEval:
    path = str(save(place / "base.json", ROWS))
    return AlpacaEval(**{"name": "alpaca_eval", "path": path, "judge": judge, "prompt": PROMPT,
                         **keys})  # fmt: skip


def some(prompt: Any, mode: str) -> Any:
    """Good, bad, the baseline's own, nothing, an open thought."""
    kinds: list[Callable[[int], Any]] = [
        lambda n: f"good {n}", lambda n: "bad", lambda n: f"base {n}", lambda n: " ",
        lambda n: {"answer": None, "closed": False},
    ]  # fmt: skip
    return kinds[prompt.row % 5](prompt.row)


def test_win_rate_by_hand(server: ChatServer, tmp_path: Path) -> None:
    """12 rows: good 0 5 10, bad 1 6 11, the same 2 7, nothing 3 8, open 4 9."""
    measured = task(tmp_path, openai(server.url)).measure(desk(tmp_path / "a", some))
    found = figures(measured)
    # "bad" is shown against "base": the judge sees no good one and says M, whoever that is
    base = Baseline(str(tmp_path / "base.json")).rows
    luck = sum(not switched(base[f"task {n}"]) for n in (1, 6, 11))
    assert found["thinking/win_rate"].value == pytest.approx((3 + 2 * 0.5 + luck) / 12)
    assert len(server.bodies) == 6 and measured.counts == {"no_answer": 4}
    assert next(iter(measured.cells)) == "thinking/win_rate"
    assert any("lc_win_rate_minimal" in note for note in measured.notes)
    assert any("6 of 6 verdicts came without log-probs" in note for note in measured.notes)
    assert found["thinking/unclosed"].value == pytest.approx(2 / 12)


def test_the_judge_sees_answers_alone_and_both_orders(server: ChatServer, tmp_path: Path) -> None:
    place = desk(tmp_path / "a", lambda prompt, mode: f"good {prompt.row}")
    measured = task(tmp_path, openai(server.url)).measure(place)
    texts = [b["messages"][-1]["content"] for b in server.bodies]
    assert len(texts) == 12 and not any("secret" in t for t in texts)
    first = sum("m=good" in t for t in texts)
    assert 0 < first < 12 and all("good" in t and "base" in t for t in texts)
    assert set(measured.cells["thinking/win_rate"].values()) == {1.0}
    assert all(row["think"] == "secret thought" for row in measured.samples)


def test_text_that_is_filled_in_has_no_slots(server: ChatServer, tmp_path: Path) -> None:
    place = desk(tmp_path / "a", lambda prompt, mode: "good {output_1} {instruction}", limit=1)
    task(tmp_path, openai(server.url)).measure(place)
    assert "good {output_1} {instruction}" in server.bodies[0]["messages"][-1]["content"]


def test_official_files_are_written_and_replayed(server: ChatServer, tmp_path: Path) -> None:
    modes: Any = ("thinking", "nothinking")
    place = desk(tmp_path / "a", some, modes, label="own")
    measured = task(tmp_path, openai(server.url)).measure(place)
    for mode in modes:
        outputs = json.loads((tmp_path / "a" / f"model_outputs.{mode}.json").read_text())
        assert [{*row} for row in outputs] == [
            {"dataset", "instruction", "output", "generator"}
        ] * 12
        assert outputs[0]["output"] == "good 0" and outputs[0]["generator"] == f"own-{mode}"
        path = tmp_path / "a" / f"annotations.{mode}.json"
        notes = json.loads(path.read_text())
        assert {n["annotator"] for n in notes} == {"tiny"}
        replay = task(tmp_path, Replay(str(path)), path=None)
        assert replay.needs == "nothing"
        again = replay.measure(desk(tmp_path / "b", some))
        for name in ("win_rate", "lc_win_rate_minimal"):
            assert again.cells[name] == measured.cells[f"{mode}/{name}"]
    assert task(tmp_path, openai(server.url)).needs == "responses"


def test_a_recorded_null_is_no_verdict_and_no_tie(server: ChatServer, tmp_path: Path) -> None:
    """It is left out of every figure and counted among what has none."""
    task(tmp_path, openai(server.url)).measure(desk(tmp_path / "a", some))
    path = tmp_path / "a" / "annotations.thinking.json"
    rows = json.loads(path.read_text())
    replay = task(tmp_path, Replay(str(path)), path=None)
    whole = replay.measure(desk(tmp_path / "b", some)).cells["win_rate"]
    for row in rows[:3]:
        row["preference"] = None
    path.write_text(json.dumps(rows))
    measured = replay.measure(desk(tmp_path / "c", some))
    left = measured.cells["win_rate"]
    assert len(left) == 9 and left.items() <= whole.items()
    assert measured.counts == {"no_preference": 3}
    assert measured.notes[0] == ("comparisons without a verdict are left out: 3 no_preference "
                                 "(null in the file, or no known verdict)")  # fmt: skip


def test_two_modes_that_say_the_same_are_judged_once(server: ChatServer, tmp_path: Path) -> None:
    place = desk(tmp_path / "a", lambda prompt, mode: "good", ("thinking", "nothinking"))
    task(tmp_path, openai(server.url)).measure(place)
    assert len(server.bodies) == 12


def test_the_length_control_is_told_with_difficulties(server: ChatServer, tmp_path: Path) -> None:
    path = tmp_path / "df_gamed.csv"
    path.write_text("index,preference,std_delta_len,instruction_difficulty\n" + "".join(
        f"{i},{0.5 + 0.02 * i},{i / 6 - 1},{i / 12}\n" for i in range(12)))  # fmt: skip
    own = task(tmp_path, openai(server.url), difficulty_path=str(path))
    measured = own.measure(desk(tmp_path / "a", some))
    assert next(iter(measured.cells)) == "thinking/lc_win_rate"
    assert {*measured.intervals} == {"thinking/lc_win_rate"}
    assert not any("minimal" in note for note in measured.notes)


def test_a_missing_answer_shifts_no_difficulty(server: ChatServer, tmp_path: Path) -> None:
    """What is written is replayed with the difficulties that it was measured with."""
    gamed = tmp_path / "df_gamed.csv"
    gamed.write_text("index,preference,std_delta_len,instruction_difficulty\n" + "".join(
        f"{i},{0.5 + 0.02 * i},{i / 6 - 1},{(i * 7) % 12 / 3}\n" for i in range(12)))  # fmt: skip
    own = task(tmp_path, openai(server.url), difficulty_path=str(gamed))
    place = desk(tmp_path / "a", lambda p, mode: (
        {"end": "failed"} if p.row == 2 else "good" * p.row if p.row % 3 else "bad"))  # fmt: skip
    measured = own.measure(place)
    path = tmp_path / "a" / "annotations.thinking.json"
    replay = task(tmp_path, Replay(str(path)), path=None, difficulty_path=str(gamed))
    again = replay.measure(desk(tmp_path / "b", some))
    assert len(again.cells["lc_win_rate"]) == 11
    assert again.cells["lc_win_rate"] == measured.cells["thinking/lc_win_rate"]
    bare = [{k: v for k, v in row.items() if k != "index"} for row in json.loads(path.read_text())]
    save(path, bare)
    with pytest.raises(DataError, match=r"11 instructions, the file of .* 12"):
        replay.measure(desk(tmp_path / "c", some))
    save(tmp_path / "base.json", ROWS[1:])
    with pytest.raises(DataError, match="11 instructions"):
        own.measure(place)


def verdict(text: str, **first: float) -> Verdict:
    return Verdict("k", text, "length", first or None)


def test_what_a_verdict_says() -> None:
    p = preference(verdict("m", m=math.log(0.2), M=math.log(0.6), x=math.log(0.1)))
    assert p is not None and p == (pytest.approx(0.75), True)
    assert preference(verdict("m", m=-0.1)) == (0.0, True)
    assert preference(verdict("M", x=-0.1)) == (1.0, False)
    assert preference(verdict('The better one:\n"m".')) == (0.0, False)
    assert preference(verdict("<think>\nm\n</think>\n\nM", m=-0.1)) == (1.0, False)
    for text in ("", "both", "m or M", "<think>\nM"):
        assert preference(verdict(text)) is None


def test_one_that_was_cut_off_has_to_be_a_name() -> None:
    """A thought of which nothing shows that it is one: its last line, and its first token."""
    thought = "Is it m? Or rather\nM"
    assert preference(Verdict("k", thought, "stop"), 64) == (1.0, False)
    assert preference(verdict(thought), 64) is preference(verdict("Is", m=-3.0), 64) is None
    assert preference(verdict("M."), 64) == (1.0, False)
    assert preference(verdict("Is", m=-3.0)) == (0.0, True)  # as official: one token is all
    assert preference(Verdict("k", "m", "length", {"m": -0.1}, opened=True)) is None


def test_log_probs_make_the_preference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P(M) / (P(m) + P(M)), turned round where the model stands first."""

    def whole(self: Any, body: Any) -> Any:
        name = better(body)
        tops = [{"token": name, "logprob": math.log(0.6)},
                {"token": {"m": "M", "M": "m"}[name], "logprob": math.log(0.2)}]  # fmt: skip
        told = {"content": [{"token": name, "top_logprobs": tops}]}
        message = {"role": "assistant", "content": name}
        return {"choices": [{"message": message, "finish_reason": "length", "logprobs": told}]}

    monkeypatch.setattr("tests.servers._Handler.whole", whole)
    with chatting() as server:
        judge = openai(server.url, stream=False)
        place = desk(tmp_path / "a", lambda prompt, mode: "good")
        measured = task(tmp_path, judge).measure(place)
    assert [*measured.cells["thinking/win_rate"].values()] == pytest.approx([0.75] * 12)
    assert not any("without log-probs" in note for note in measured.notes)


def test_what_is_not_judged_is_left_out_and_told(tmp_path: Path) -> None:
    with chatting() as server:
        server.said = lambda body: (
            None, "?" if "task 5" in str(body) else better(body), "stop",
        )  # fmt: skip
        own = task(tmp_path, openai(server.url, max_failed=0.1))
        place = desk(tmp_path / "a", lambda prompt, mode: "good")
        measured = own.measure(place)
        assert len(measured.cells["thinking/win_rate"]) == 11
        assert measured.counts == {"verdict_unparsable": 1}
        assert any("1 verdict_unparsable" in note for note in measured.notes)
        notes = json.loads((tmp_path / "a" / "annotations.thinking.json").read_text())
        assert [n["preference"] for n in notes].count(None) == 1
        with pytest.raises(RunError, match="1 of 12"):
            task(tmp_path, openai(server.url)).measure(place)
        assert len(server.bodies) == 13


def test_the_official_template_is_read(server: ChatServer, tmp_path: Path) -> None:
    path = tmp_path / "clf.txt"
    path.write_text("<|im_start|>system\nBe fair.\n<|im_end|>\n<|im_start|>user\n" + PROMPT
                    + "\n<|im_end|>")  # fmt: skip
    own = task(tmp_path, openai(server.url), prompt="unused", prompt_file=str(path))
    assert own._turns == (Message("system", "Be fair."), Message("user", PROMPT))
    path.write_text("{instruction}")
    with pytest.raises(ConfigError, match="output_1") as error:
        task(tmp_path, openai(server.url), prompt_file=str(path))
    assert error.value.where == "prompt_file"


def test_settings_that_do_not_fit(server: ChatServer, tmp_path: Path) -> None:
    for keys, where in (({"judge": None}, "judge"), ({"path": None}, "path"),
                        ({"judge": Replay("x")}, "path"), ({"prompt": "x"}, "prompt"),
                        ({"judge": Replay("x", "y"), "path": None}, "answers_path")):  # fmt: skip
        with pytest.raises(ConfigError) as error:
            task(tmp_path, **{"judge": openai(server.url), **keys})
        assert where in error.value.where
    nothing = save(tmp_path / "a.json", [
        {"instruction": "i", "output_1": "a", "output_2": "b", "preference": None},
    ])  # fmt: skip
    with pytest.raises(DataError, match="has a verdict"):
        task(tmp_path, Replay(str(nothing)), path=None).measure(desk(tmp_path / "a", some))


def words(place: Path, url: str) -> list[str]:
    return ["task=alpaca_eval", f"task.path={place / 'base.json'}", "judge=openai", *TINY,
            "judge.server.model=tiny", f"judge.server.base_url={url}", f"outputs={place / 'out'}",
            "judge.server.concurrency=1", f"store={place / 'store'}", "task.weighted=false",
            "sampler.max_new_tokens=16", "judge.max_failed=1.0"]  # fmt: skip


def test_a_command_that_was_stopped_gives_the_same_figures_for_no_second_call(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "base.json", ROWS)
    real = judging.complete

    def stopped(*args: Any, **how: Any) -> Iterator[Any]:
        for n, result in enumerate(real(*args, **how)):
            if n == 3:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(judging, "complete", stopped)
    config = frozen(composed("evaluate", words(tmp_path, server.url)))
    with pytest.raises(Interrupted):
        evaluate.main(config)
    monkeypatch.setattr(judging, "complete", real)
    (folder,) = (tmp_path / "out").iterdir()
    kept, before = {row["key"] for row in lines(folder / judging.LOG)}, len(server.bodies)
    assert len(kept) == 3 and evaluate.main(config) == 0
    result = json.loads((folder / "result.json").read_text())
    wanted = {row["key"] for row in lines(folder / judging.LOG)}
    assert len(server.bodies) == before + len(wanted - kept)
    seen = len(server.bodies)
    assert evaluate.main({**config, "force": True}) == 0 and len(server.bodies) == seen
    assert json.loads((folder / "result.json").read_text())["figures"] == result["figures"]


@pytest.mark.parametrize(
    ("word", "same"),
    [("judge.max_failed=0.5", True), ("judge.server.concurrency=3", True),
     ("judge.server.timeout=9.0", True), ("judge.server.api_key_env=KEY", True),
     ("judge.server.model=other", False), ("judge.opened=true", False),
     ("+judge.server.extra_body.top_k=1", False)],
)  # fmt: skip
def test_how_a_judge_is_asked_makes_no_other_folder(
    word: str, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice to raise judge.max_failed goes on where the work lies."""
    monkeypatch.setenv("KEY", "k" * 40)
    save(tmp_path / "base.json", ROWS)
    usual = words(tmp_path, "http://127.0.0.1:1/v1")
    one, other = (evaluate.request(frozen(composed("evaluate", [*usual, *more])))
                  for more in ([], [word]))  # fmt: skip
    assert (one.folder("alpaca_eval") == other.folder("alpaca_eval")) == same


def test_a_judge_without_a_task_is_refused(server: ChatServer, tmp_path: Path) -> None:
    config = frozen(composed("evaluate", ["judge=replay", "judge.path=x.json"]))
    with pytest.raises(ConfigError, match="nothing here is judged"):
        evaluate.request(config)


@pytest.mark.parametrize("name", ["alpaca_eval", "arena_hard", "arena_hard_v2"])
def test_the_config_has_every_key(name: str) -> None:
    words = [f"task={name}", "judge=openai", "judge.server.model=m", "task.path=x"]
    node = frozen(composed("evaluate", words))["task"]
    own = build(node, "task")
    assert {*node} - {"_target_"} == {f.name for f in fields(own)}
    assert {*node["judge"]} - {"_target_"} == {f.name for f in fields(own.judge)}
    words = [f"task={name}", "judge=replay", "judge.path=x"]
    words += ["judge.answers_path=y"] if name == "arena_hard_v2" else []
    assert build(frozen(composed("evaluate", words))["task"], "task").needs == "nothing"


def test_what_does_not_fit_is_told_before_anything_is_made(
    server: ChatServer, tmp_path: Path
) -> None:
    path = tmp_path / "df_gamed.csv"
    path.write_text("index,preference,std_delta_len,instruction_difficulty\n0,0.5,0,0\n")
    place = desk(tmp_path / "a", some)
    with pytest.raises(DataError, match=r"12 instructions, the file of .* 1:"):
        task(tmp_path, openai(server.url), difficulty_path=str(path)).measure(place)
    assert not place.sampler.asked and not server.bodies
