"""Arena-Hard from end to end: both orders, weights, categories, style, files written and read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from bvrank.errors import ConfigError, DataError, RunError
from bvrank.evaluation import style
from bvrank.evaluation.arena import ArenaHard, label
from bvrank.evaluation.boards import answer_row
from bvrank.evaluation.judging import Replay, Verdict
from bvrank.evaluation.result import figures
from bvrank.evaluation.rules import Rules
from bvrank.evaluation.style import Battles, counted, relative, score, style_of
from bvrank.records import Message
from tests.evaluation.judges import desk, lines, openai, save
from tests.servers import ChatServer, chatting

PROMPT = "Q {question}\nA={answer_a}\nB={answer_b}"
ASKED = [{"uid": f"u{i}", "category": "hard" if i % 2 else "write", "prompt": f"task {i}"}
         for i in range(8)]  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "DRAWS", 20)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A judge that finds `best` much better, `good` a little, else A and B equal."""
    with chatting() as found:
        found.said = lambda body: (None, f"Well. [[{verdict_of(body)}]]", "stop")
        yield found


def verdict_of(body: Any) -> str:
    first, second = body["messages"][-1]["content"].split("\nA=")[1].split("\nB=")
    for word, sign in (("best", ">>"), ("good", ">")):
        if word in first or word in second:
            return f"A{sign}B" if word in first else f"B{sign}A"
    return "A=B"


def baseline(place: Path, name: str = "base", count: int = 8) -> str:
    rows = [answer_row(f"u{i}", (Message("user", f"task {i}"),), name, f"{name} answer {i}", "id",
                       style_of(f"{name} answer {i}"), 0.0) for i in range(count)]  # fmt: skip
    return str(save(place / f"{name}.jsonl", rows))


def task(place: Path, judge: Any, **keys: Any) -> ArenaHard:
    rules = Rules(baseline_path=baseline(place), system="Be fair.")
    path = str(save(place / "q.jsonl", ASKED))
    return ArenaHard(**{"name": "arena_hard", "path": path, "judge": judge, "rules": rules,
                        "prompt": PROMPT, **keys})  # fmt: skip


def some(prompt: Any, mode: str) -> Any:
    return ["the best", "a good one", "fair", ""][int(prompt.where[1:]) % 4]


def test_scores_by_hand(server: ChatServer, tmp_path: Path) -> None:
    """Strong wins 6 battles, weak 2, ties 2 halves, nothing loses 2: of each two questions."""
    measured = task(tmp_path, openai(server.url)).measure(desk(tmp_path / "a", some))
    found = figures(measured)
    assert found["thinking/score@write"].value == pytest.approx((6 + 2 * 0.5) / 8)
    assert found["thinking/score@hard"].value == pytest.approx(2 / 4)
    assert measured.counts == {"no_answer": 2} and len(server.bodies) == 12
    only = task(tmp_path, openai(server.url), categories=["hard"])
    alone = figures(only.measure(desk(tmp_path / "b", some)))
    assert alone["thinking/score"].value == pytest.approx(2 / 4)


def test_both_orders_are_shown_and_no_thinking(server: ChatServer, tmp_path: Path) -> None:
    measured = task(tmp_path, openai(server.url)).measure(desk(tmp_path / "a", some))
    texts = [b["messages"][-1]["content"] for b in server.bodies]
    assert sum("\nA=base" in t for t in texts) == sum("\nB=base" in t for t in texts) == 6
    assert not any("secret" in t for t in texts)
    assert {b["messages"][0]["content"] for b in server.bodies} == {"Be fair."}
    samples = {row["key"]: row for row in measured.samples}
    assert samples["u0"]["labels"] == ["B>>A", "A>>B"] and samples["u0"]["think"]
    assert samples["u3"]["labels"] == ["A>B", "B>A"]


def test_categories_have_rules_of_their_own(server: ChatServer, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Be kind.\n")
    other = Rules(baseline(tmp_path, "other"), "unused", str(tmp_path / "words.txt"))
    own = task(tmp_path, openai(server.url), others={"write": other})
    own.measure(desk(tmp_path / "a", some))
    for body in server.bodies:
        system, user = (m["content"] for m in body["messages"])
        written = int(user.split("\n")[0][-1]) % 2 == 0
        assert ("other answer" in user) == written
        assert system == ("Be kind." if written else "Be fair.")


def test_style_is_controlled_for(server: ChatServer, tmp_path: Path) -> None:
    said = ["the best of **all**", "a good one", "fair\n- so", "bad or\n# good"]
    own = task(tmp_path, openai(server.url), style=True, categories=["hard"])
    place = desk(tmp_path / "a", lambda prompt, mode: said[(prompt.row // 2) % 4])
    measured = own.measure(place)
    assert [*measured.cells][:2] == ["thinking/style_controlled", "thinking/score"]
    outcomes = [(1.0,) * 6, (1.0, 1.0), (0.5, 0.5), (1.0, 1.0)]
    base = [counted(style_of(f"base answer {2 * i + 1}")) for i in range(4)]
    styles = [relative(counted(style_of(s)), b) for s, b in zip(said, base, strict=True)]
    wanted = score([Battles(o, s) for o, s in zip(outcomes, styles, strict=True)], True)
    assert figures(measured)["thinking/style_controlled"].value == pytest.approx(wanted.value)


@pytest.mark.parametrize("styled", [False, True])
def test_official_files_are_written_and_replayed(
    styled: bool, server: ChatServer, tmp_path: Path
) -> None:
    place = desk(tmp_path / "a", some, ("thinking", "nothinking"), label="own")
    measured = task(tmp_path, openai(server.url), style=styled).measure(place)
    answers = tmp_path / "a" / "model_answer.thinking.jsonl"
    told = tmp_path / "a" / "model_judgment.thinking.jsonl"
    (row, *_), (game, *_) = lines(answers), lines(told)
    assert {*row} == {"uid", "ans_id", "model", "messages", "tstamp", "metadata"}
    assert row["messages"][-1] == {"role": "assistant", "content": {"answer": "the best"}}
    assert row["model"] == "own-thinking" and game["baseline"] == "base"
    assert {*game} == {"uid", "category", "judge", "model", "baseline", "games"}
    assert game["games"][0]["score"] == "B>>A" and "B>>A" in game["games"][0]["judgment"]["answer"]
    replay = Replay(str(told), str(answers) if styled else None)
    own = task(tmp_path, replay, path=None, style=styled)
    again = own.measure(desk(tmp_path / "b", some))
    assert own.needs == "nothing" and len(server.bodies) == 12
    for name, cells in again.cells.items():
        assert cells == pytest.approx(measured.cells[f"thinking/{name}"], nan_ok=False)


def test_a_question_that_is_judged_by_half_is_left_out(tmp_path: Path) -> None:
    with chatting() as server:
        server.said = lambda body: (
            None, "?" if "Q task 5\nA=base" in str(body["messages"][-1]["content"])
            else f"[[{verdict_of(body)}]]", "stop",
        )  # fmt: skip
        own = task(tmp_path, openai(server.url, max_failed=0.1))
        place = desk(tmp_path / "a", some)
        measured = own.measure(place)
        assert "u5" not in measured.cells["thinking/score@hard"]
        assert measured.counts["verdict_unparsable"] == 1
        told = {
            row["uid"]: row["games"] for row in lines(tmp_path / "a/model_judgment.thinking.jsonl")
        }
        assert told["u5"][0] is None and told["u5"][1]["score"] == "A>B"
        with pytest.raises(RunError):
            task(tmp_path, openai(server.url)).measure(place)
        assert len(server.bodies) == 13
    replay = task(tmp_path, Replay(str(tmp_path / "a/model_judgment.thinking.jsonl")), path=None)
    assert replay.measure(desk(tmp_path / "b", some)).counts == {"no_verdict": 1}


def test_a_limit_is_of_the_categories_that_count(server: ChatServer, tmp_path: Path) -> None:
    """The same questions whether a judge is asked or its judgments are read."""
    keys: dict[str, Any] = {"categories": ["hard"]}
    place = desk(tmp_path / "a", some, limit=3)
    asked = task(tmp_path, openai(server.url), **keys).measure(place)
    everything = desk(tmp_path / "all", some)
    task(tmp_path, openai(server.url)).measure(everything)
    told = Replay(str(tmp_path / "all/model_judgment.thinking.jsonl"))
    again = task(tmp_path, told, path=None, **keys).measure(desk(tmp_path / "b", some, limit=3))
    assert {*again.cells["score"]} == {*asked.cells["thinking/score"]} == {"u1", "u3", "u5"}


def test_a_category_that_no_question_has_is_refused(server: ChatServer, tmp_path: Path) -> None:
    task(tmp_path, openai(server.url)).measure(desk(tmp_path / "a", some))
    told = Replay(str(tmp_path / "a/model_judgment.thinking.jsonl"))
    heard = len(server.bodies)
    for judge, path in ((openai(server.url), str(tmp_path / "q.jsonl")), (told, None)):
        own = task(tmp_path, judge, path=path, categories=["write", "hrad"])
        with pytest.raises(ConfigError, match=r"task\.categories: .*'hrad'.*mean 'hard'"):
            own.measure(desk(tmp_path / "b", some))
    assert len(server.bodies) == heard


def test_questions_that_the_baseline_did_not_answer(server: ChatServer, tmp_path: Path) -> None:
    own = task(tmp_path, openai(server.url), rules=Rules(baseline(tmp_path, "few", 6), "Be fair."))
    measured = own.measure(desk(tmp_path / "a", some))
    assert measured.counts["no_baseline"] == 2 and any("2 of them" in n for n in measured.notes)
    assert {*measured.cells["thinking/score@hard"]} == {"u1", "u3", "u5"}


def test_the_last_label_counts() -> None:
    def said(text: str) -> str | None:
        found = label(Verdict("k", text, "stop"), "v2")
        return found and found[0]

    assert said("[[A>B]] no, rather [[B>>A]].") == "B>>A"
    assert said("my verdict: [a=b]") == "A=B" and said("[A>B] or [[B>A]]") == "B>A"
    assert said("<think>\n[[A>B]]\n</think>\n\n[[B>A]]") == "B>A"
    for text in ("", "A is better", "[[C]]", "[[A]]", "<think>\n[[A>B]]"):
        assert said(text) is None


def test_different_labels_are_no_verdict_of_the_first_edition() -> None:
    """As in its official code, which knows five labels in double brackets."""

    def said(text: str) -> str | None:
        found = label(Verdict("k", text, "stop"), "v0.1")
        return found and found[0]

    assert said("[[A>B]], so [[A>B]].") == "A>B"
    for text in ("[[A>B]] no, rather [[B>>A]]", "[A>B]", "[[a>b]]", "[[B<A]]", ""):
        assert said(text) is None


@pytest.mark.parametrize("edition", ["v0.1", "v2"])
def test_a_judgment_that_was_cut_off_is_no_verdict(edition: Any) -> None:
    """Of a judge whose template opens the block, nothing shows that it is a thought."""
    thought = "Hmm, might be [[A>B]], wait"
    assert label(Verdict("k", thought, "length"), edition) is None
    assert label(Verdict("k", f"<think>\n{thought}", "length"), edition) is None
    assert label(Verdict("k", thought, "stop", opened=True), edition) is None
    closed = Verdict("k", f"{thought}\n</think>\n\n[[B>A]]", "stop", opened=True)
    assert (label(closed, edition) or "")[0] == "B>A"


@pytest.mark.parametrize(("edition", "score", "left_out"), [("v0.1", 0.4, 1), ("v2", 1.0, 1)])
def test_a_game_without_a_verdict_by_edition(
    edition: Any, score: float, left_out: int, tmp_path: Path
) -> None:
    """(B>A, A>B) are two wins; (A>>B, none) three losses where the one game counts, as v0.1."""
    games = [("B>A", "A>B"), ("A>>B", None)]
    told = [{"uid": f"u{i}", "category": "x", "model": model,
             "games": [{"score": a}, {"score": b} if model == "own" else {"score": "A>B"}]}
            for model in ("own", "other") for i, (a, b) in enumerate(games)]  # fmt: skip
    replay = Replay(str(save(tmp_path / "j.jsonl", told)), model="own")
    measured = task(tmp_path, replay, path=None, edition=edition).measure(desk(tmp_path, some))
    assert figures(measured)["score"].value == pytest.approx(score)
    assert measured.counts == {"no_verdict": left_out}
    unit = "games" if edition == "v0.1" else "questions with games"
    assert measured.notes == [f"{unit} without a verdict are left out: 1 no_verdict (null in the "
                              "file, or no known verdict)"]  # fmt: skip


def test_recorded_answers_that_are_not_there_have_no_style(tmp_path: Path) -> None:
    told = [{"uid": f"u{i}", "category": "x", "games": [
        {"score": ["B>A", "A>B"][i % 2]}, {"score": "A>B" if i < 4 else "B>A"}]}
        for i in range(8)]  # fmt: skip
    said = [answer_row(f"u{i}", (), "own", "" if i == 7 else "x " * (i + 1), "id",
                       style_of("x " * (i + 1)), 0.0) for i in range(8)]  # fmt: skip
    replay = Replay(str(save(tmp_path / "j.jsonl", told)), str(save(tmp_path / "a.jsonl", said)))
    measured = task(tmp_path, replay, path=None, style=True).measure(desk(tmp_path / "a", some))
    base = [counted(style_of(f"base answer {i}")) for i in range(8)]
    battles = []
    for i, row in enumerate(told):
        own = relative(counted(style_of("x " * (i + 1))), base[i])
        first, second = (g["score"] for g in row["games"])  # type: ignore[attr-defined]
        outcomes = float(second == "A>B"), float(first == "B>A")
        battles.append(Battles(outcomes, None if i == 7 else own))
    assert measured.intervals["style_controlled"][0] == pytest.approx(score(battles, True).value)


def test_recorded_style_is_that_of_both_files(tmp_path: Path) -> None:
    """By their metadata where both have it, counted here where one has none."""
    rows = [answer_row(f"u{i}", (), "own", "x " * (i + 1), "id", {"token_len": 50 + i * i,
            "header_count": {"h1": i}, "list_count": {"ordered": 0}, "bold_count": {"**": 1}}, 0.0)
            for i in range(8)]  # fmt: skip
    told = [{"uid": f"u{i}", "category": "hard", "games": [
        {"score": ["A>B", "B>A", "A=B"][i % 3]}, {"score": ["A>B", "B>A"][i % 2]}]}
        for i in range(8)]  # fmt: skip
    path = str(save(tmp_path / "j.jsonl", told))
    values = []
    for strip in (False, True):
        own = [{k: v for k, v in r.items() if k != "metadata" or not strip} for r in rows]
        replay = Replay(path, str(save(tmp_path / "own.jsonl", own)))
        measured = task(tmp_path, replay, path=None, style=True).measure(desk(tmp_path / "a", some))
        values.append(measured.intervals["style_controlled"][0])
    assert values[0] != pytest.approx(values[1], abs=1e-4)
    with pytest.raises(DataError, match="no answer to u7"):
        save(tmp_path / "own.jsonl", rows[:7])
        task(tmp_path, replay, path=None, style=True).measure(desk(tmp_path / "a", some))


def test_settings_that_do_not_fit(server: ChatServer, tmp_path: Path) -> None:
    for keys, where in (({"judge": None}, "judge"), ({"path": None}, "path"),
                        ({"prompt": "{question}"}, "prompt"), ({"judge": Replay("x")}, "path"),
                        ({"judge": Replay("x", "y"), "path": None}, "answers_path"),
                        ({"judge": Replay("x"), "path": None, "style": True}, "answers_path"),
                        ):  # fmt: skip
        with pytest.raises(ConfigError) as error:
            task(tmp_path, **{"judge": openai(server.url), **keys})
        assert where in error.value.where
    lone = task(tmp_path, openai(server.url), rules=Rules(None, "x"))
    with pytest.raises(ConfigError, match="baseline"):
        lone.measure(desk(tmp_path / "a", some))
    with pytest.raises(DataError, match="holds no prompt"):
        task(tmp_path, openai(server.url), categories=[]).measure(desk(tmp_path / "b", some))


@pytest.mark.parametrize("rules", [Rules(None, "x"), Rules("none.jsonl", "x"), None])
def test_what_does_not_fit_is_told_before_anything_is_made(
    rules: Rules | None, server: ChatServer, tmp_path: Path
) -> None:
    rules = rules or Rules(baseline(tmp_path), "x", str(tmp_path / "none.txt"))
    place = desk(tmp_path / "a", some)
    with pytest.raises((ConfigError, DataError)):
        task(tmp_path, openai(server.url), others={"hard": rules}).measure(place)
    assert not place.sampler.asked and not server.bodies


def test_the_note_on_the_words(server: ChatServer, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Be fair.")
    for name in (None, str(tmp_path / "words.txt")):
        rules = Rules(baseline(tmp_path), "Be fair.", name)
        found = task(tmp_path, openai(server.url), rules=rules).measure(desk(tmp_path / "a", some))
        assert any("official" in note for note in found.notes) == (name is None)
