"""A card tells what was counted, and what a reader might overlook."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bvrank.records import Mode
from bvrank.sampling.agreement import Agreement
from bvrank.sampling.card import Facts, Tally, card, count_lines, remarks
from bvrank.sampling.pipeline import ModeCount


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
    assert lines["no pair: equal scores"] == ["10", "1"]
    assert lines["no pair: fewer than two to compare"] == ["3", "0"]
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
