"""A card tells what was counted, and what a reader might overlook."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bvrank.records import Mode
from bvrank.sampling.agreement import Agreement
from bvrank.sampling.card import card, count_lines
from bvrank.sampling.facts import Facts, Tally
from bvrank.sampling.pipeline import ModeCount
from bvrank.sampling.recorded import Survey
from bvrank.sampling.remarks import one_model, remarks


def facts(**more: Any) -> Facts:
    tally = Tally()
    for n, gap in enumerate((0.5, 1.5)):
        side = {"think": "t" * (n + 1), "answer": "a|b"}
        tally.add({"prompt": f"p{n}\n```", "view": "full", "chosen": side,
                   "rejected": {"think": "", "answer": "yz " * 667}, "chosen_score": gap,
                   "rejected_score": 0.0})  # fmt: skip
    thinking = ModeCount(100, 60, 3, Counter(unfinished_thinking=40), Counter(no_gold=1), 2,
                         Counter(tie=10, one_response=3), [10, 20], [48] * 40, 80)  # fmt: skip
    bare = ModeCount(100, 0, 30, Counter(thought=2), Counter(), 2, Counter(tie=1), [5] * 99, [], 2)
    counts: dict[Mode, ModeCount] = {"thinking": thinking, "nothinking": bare}
    refused = Counter(too_long=2, duplicate_prompt=1)
    given = {"prompts": 15, "n": 6, "refused": refused, "counts": counts, "tally": tally,
             "agreement": Agreement({"thinking": (7, 1, 3)}, 2e-6, 1e-4),
             "settings": [("reward", "Model, path a|b")],
             "limit": "sampler.max_new_tokens"}  # fmt: skip
    return Facts(**(given | more))


def test_every_count_has_a_line() -> None:
    lines = dict((name, values) for name, *values in count_lines(facts()))
    assert (
        lines["prompts"] == ["15", "15"]
        and lines["prompts refused"] == ["2 too long"] * 2
        and lines["prompts that came again"] == ["1", "1"]
    )
    assert lines["with a trace"] == ["80 (80.0 %)", "2 (2.0 %)"]
    assert lines["thinking closed"] == ["60 (75.0 %)", "0 (0.0 %)"]
    assert lines["left out: thinking unfinished"] == ["40", "0"]
    assert lines["left out: thought, though thinking was off"] == ["0", "2"]
    assert lines["unscored: no gold"] == ["1", "0"]
    assert lines["prompts without a pair: equal scores"] == ["10", "1"]
    assert lines["prompts without a pair: fewer than two to compare"] == ["3", "0"]
    assert lines["pairs"] == ["2", "2"]


def test_responses_that_are_not_there_are_told() -> None:
    told = list(remarks(facts(n=7)))
    assert told[0] == "5 of 105 Thinking responses (n=7 to each prompt) are not there."
    assert any("5 of 105 NoThinking responses" in line for line in told)
    assert not any("are not there" in line for line in remarks(facts()))


def test_what_biases_the_pairs_is_remarked_on() -> None:
    told = list(remarks(facts()))
    assert len(told) == 4
    assert told[0].startswith("40 (40.0 %) of the Thinking responses ran out of tokens")
    assert "they have 48 tokens on average, the others 15" in told[0]
    assert told[0].endswith("A larger sampler.max_new_tokens mends that.")
    (recorded, *_) = remarks(facts(limit=None))
    assert "never finished" in recorded and "mends" not in recorded
    assert told[1].startswith("10 Thinking prompts give no pair for equal scores")
    assert told[2].startswith("2 (2.0 %) of the NoThinking responses thought all the same")
    assert told[3].startswith("30 (30.0 %) of the NoThinking responses say what an earlier")
    plain: dict[Mode, ModeCount] = {"thinking": ModeCount(100, traced=49)}
    (remark,) = remarks(facts(counts=plain))
    assert remark.startswith("51 (51.0 %) of the Thinking responses have no trace")
    early: dict[Mode, ModeCount] = {"thinking": ModeCount(100, 97, 0, Counter(unclosed=3), pairs=9,
                                                          traced=100)}  # fmt: skip
    (remark,) = remarks(facts(counts=early))
    assert remark.startswith("3 (3.0 %) of the Thinking responses ended by themselves inside")
    assert "max_new_tokens" not in remark
    unscored = Counter(none=2, x=1)
    silent: dict[Mode, ModeCount] = {"thinking": ModeCount(100, 97, 0, Counter(), unscored, 9,
                                                           traced=100)}  # fmt: skip
    (remark,) = remarks(facts(counts=silent))
    assert remark.startswith("3 (3.0 %) of the Thinking responses have no score")
    assert "(2 the function gave no score, 1 x)" in remark
    counts = Counter(duplicate=2, no_answer=5)
    chosen: dict[Mode, ModeCount] = {"thinking": ModeCount(100, 95, 2, counts, pairs=9, cut=4,
                                     without=Counter(unfinished=3), traced=100)}  # fmt: skip
    told = list(remarks(facts(counts=chosen)))
    assert [line.partition(" ")[0] for line in told] == ["4", "3", "2", "5"]
    assert told[0].startswith("4 of 9 Thinking pairs have a side that was cut off")
    assert "select.unfinished=drop_prompt" in told[1] and "select.duplicates=drop" in told[2]
    assert told[3].startswith("5 (5.0 %) of the Thinking responses have no answer behind")
    quiet: dict[Mode, ModeCount] = {"thinking": ModeCount(100, 100, 0, pairs=9, traced=100)}
    assert not list(remarks(facts(counts=quiet)))
    half = quiet | {"nothinking": ModeCount(100, 0, 0, left_out=Counter(thought=100))}
    assert list(remarks(facts(counts=half)))[-1].startswith("No NoThinking pair came about")


def test_answers_without_a_score_and_names_of_models_have_lines() -> None:
    both: dict[Mode, ModeCount] = {
        "thinking": ModeCount(9, 9, 0, pairs=2, traced=9, models=Counter(m=8, b=1), spared=4),
        "nothinking": ModeCount(9, 0, 0, pairs=2, models=Counter(m=9)),
    }
    lines = dict((name, values) for name, *values in count_lines(facts(counts=both)))
    assert lines["answers not scored: no pair could hold them"] == ["4", "0"]
    assert (lines["answered as m"], lines["answered as b"]) == (["8", "9"], ["1", "0"])
    (remark,) = (r for r in remarks(facts(counts=both, model="m")) if "server" in r)
    assert remark.startswith("The server answered as 2 models (m 17, b 1)")
    plain = dict((name, values) for name, *values in count_lines(facts()))
    assert not [name for name in plain if name.startswith(("answered", "answers not scored"))]


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [("m", "m", True), ("Qwen/Qwen3-8B", "qwen3-8b", True), ("m/", "/models/m", True),
     ("gpt-4o", "gpt-4o-2024-08-06", True), ("gpt-4-0613", "gpt-4", True),
     ("claude-latest", "claude", True), ("gpt-4", "gpt-4.1", False), ("gpt-4", "gpt-4o", False),
     ("llama-3", "llama-3-5", False), ("qwen3", "qwen3-8b", False), ("a", "b", False)],
)  # fmt: skip
def test_a_server_that_answers_as_another_model_is_remarked_on(
    asked: str, answered: str, same: bool
) -> None:
    one: dict[Mode, ModeCount] = {
        "thinking": ModeCount(9, 9, 0, pairs=2, traced=9, models=Counter({answered: 9}))
    }
    told = [r for r in remarks(facts(counts=one, model=asked, n=None)) if "asked" in r]
    assert told == (
        [] if same else [f"The server was asked for {asked} and answered as {answered}."]
    )
    assert one_model(answered, asked) == same
    quiet: dict[Mode, ModeCount] = {"thinking": ModeCount(9, 9, 0, pairs=2, traced=9)}
    assert not [r for r in remarks(facts(counts=quiet, model=asked, n=None)) if "asked" in r]


def test_what_was_not_taken_of_recorded_ones_is_told() -> None:
    quiet: dict[Mode, ModeCount] = {"thinking": ModeCount(9, 9, 0, pairs=9, traced=9)}
    survey = Survey(Counter({0: 2, 1: 1}), Counter({0: 3}), others=2)
    about = facts(counts=quiet, survey=survey, n=2, prompts=2, limit=None)
    lines = dict((name, values) for name, *values in count_lines(about))
    assert lines["responses beyond n=2"] == ["3"] and lines["rows refused"] == ["2 too long"]
    told = list(remarks(about))
    assert told[0].startswith("3 recorded responses are beyond n=2 of their prompts")
    assert "n=5 takes all" in told[0] and told[1].startswith("2 recorded responses answer none")
    (only,) = remarks(facts(counts=quiet, survey=Survey(Counter({0: 2})), n=None, limit=None))
    assert only == "14 of 15 prompts have no response."


def test_a_mode_that_was_hardly_compared_is_remarked_on() -> None:
    quiet: dict[Mode, ModeCount] = {"thinking": ModeCount(100, 100, 0, pairs=9, traced=100)}
    found = {"thinking": (0, 2, 30), "nothinking": (3, 4, 0)}
    told = list(remarks(facts(counts=quiet, agreement=Agreement(found, 0.0, 1e-4))))  # type: ignore[arg-type]
    assert told[0].startswith("No Thinking response could be compared with the scorer (2 come back")
    assert told[1].startswith("4 of 7 NoThinking responses come back as other tokens")


def test_the_card_is_markdown_that_no_text_breaks() -> None:
    text = card(facts())
    assert "| reward | Model, path a\\|b |" in text
    assert "| full | 1 | 0.5 | 1 | 1.5 |" in text  # gaps
    assert "| full | rejected | answer | 2,001 | 2,001 | 2,001 |" in text
    assert "````text\np0\n```\n````" in text  # a fence longer than the text's own
    assert "[... 1,401 characters ...]" in text
    assert "7 responses are as likely in training as in sampling, to 2.0e-06 nats per token" in text
    assert "1 come back as other tokens" in text and "3 are unfinished" in text
    assert "No response could be compared." in card(facts(agreement=Agreement({}, 0.0, 1e-4)))
    assert text.count("### full") == 2
    assert "Not compared" in card(facts(agreement=None))
