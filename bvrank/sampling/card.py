"""The data card of a file of pairs: what is in it, what is not, and what that does to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bvrank.records import Mode
from bvrank.sampling.agreement import Agreement
from bvrank.sampling.pipeline import ModeCount
from bvrank.sampling.prompts import TWICE
from bvrank.sampling.responses import VIEW
from bvrank.sampling.selection import CUT

MUCH = 0.02  # share of responses whose loss is remarked on
EXAMPLES = 2  # of each view
LONGEST = 600  # characters of a text that is shown
NAMES = {"thinking": "Thinking", "nothinking": "NoThinking"}
SCHEMA = (
    ("prompt", "text of the question; or messages, a list of {role, content}"),
    ("view", "full (sampled with thinking, D_t) or bare (without, D_e)"),
    ("chosen, rejected", "{think, answer}, think null in the view bare; with traces > 1 a list"),
    ("chosen_score, rejected_score", "of the reward, from the answer alone"),
    ("row", "the prompt's place, from 0; with *_copy it names a line of the response logs"),
    ("chosen_copy, rejected_copy", "which of the responses to the prompt, from 0"),
)
REASONS = {
    "failed": "no response came", "filtered": "stopped by a content filter",
    "unfinished_thinking": "thinking unfinished", "unfinished_answer": "answer cut off",
    "unclosed": "ended inside the thinking",
    "no_answer": "no answer behind the thinking", "duplicate": "said before",
    "special_token": "text of a special token", "one_response": "fewer than two to compare",
    "tie": "equal scores", "margin": "scores too close", "unfinished": "an unfinished response",
    "duplicate_prompt": "repeated", "conflicting_gold": "repeated with another gold answer",
    "same_text": "one text, two scores", "none": "the function gave no score",
    "thought": "thought, though thinking was off",
}  # fmt: skip


@dataclass
class Lengths:
    """Numbers of one side in one view."""

    trace: list[int] = field(default_factory=list)
    answer: list[int] = field(default_factory=list)


@dataclass
class Tally:
    """What the rows of the file say, gathered as they are written."""

    lengths: dict[tuple[str, str], Lengths] = field(default_factory=dict)
    gaps: dict[str, list[float]] = field(default_factory=dict)
    examples: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts a row."""
        view = row["view"]
        for name in ("chosen", "rejected"):
            found = self.lengths.setdefault((view, name), Lengths())
            sides = row[name] if isinstance(row[name], list) else [row[name]]
            found.trace += [len(side["think"] or "") for side in sides]
            found.answer.append(len(sides[0]["answer"]))
        self.gaps.setdefault(view, []).append(row["chosen_score"] - row["rejected_score"])
        shown = self.examples.setdefault(view, [])
        if len(shown) < EXAMPLES:
            shown.append(row)


@dataclass(frozen=True)
class Facts:
    """Everything that a card tells. `n`: responses that were asked for, of each prompt and mode;
    `limit`: the setting that bounds the tokens of one, None where they were recorded."""

    prompts: int
    n: int
    refused: Counter[str]
    counts: Mapping[Mode, ModeCount]
    tally: Tally
    agreement: Agreement | None
    settings: Sequence[tuple[str, str]]
    limit: str | None = None


def card(facts: Facts) -> str:
    """The card, in Markdown."""
    parts = [
        "# Preference pairs by sampling", _table(("setting", "value"), facts.settings),
        "## Counts", _table(_heads(facts), count_lines(facts)),
        *(f"> **Note.** {remark}" for remark in remarks(facts)),
        "## Lengths, in characters",
        _table(("view", "side", "text", "median", "90 %", "longest"), _length_lines(facts.tally)),
        "## Gaps of scores, chosen over rejected",
        _table(("view", "mean", "least", "median", "largest"), _gap_lines(facts.tally)),
        "## Does the scorer agree with the sampler?", _agreement(facts.agreement),
        "## Columns", _table(("column", "holds"), SCHEMA),
        "## Examples", *_examples(facts.tally),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def count_lines(facts: Facts) -> list[tuple[str, ...]]:
    """What became of prompts and responses, a column for each mode."""
    counts = list(facts.counts.values())
    again = facts.refused[TWICE]
    refused = ", ".join(f"{n} {reason(name)}" for name, n in facts.refused.most_common()
                        if name != TWICE)  # fmt: skip
    lines = [("prompts", *[f"{facts.prompts:,}"] * len(counts)),
             *([("prompts that came again", *[f"{again:,}"] * len(counts))] if again else []),
             *([("prompts refused", *[refused] * len(counts))] if refused else []),
             ("responses", *[f"{c.responses:,}" for c in counts]),
             ("with a trace", *[_share(c.traced, c.responses) for c in counts]),
             ("thinking closed", *[_share(c.closed, c.traced) for c in counts]),
             ("said before", *[_share(c.repeated, c.responses) for c in counts])]  # fmt: skip
    for title, name in (("left out", "left_out"), ("unscored", "unscored"),
                        ("no pair", "without")):  # fmt: skip
        found = [getattr(c, name) for c in counts]
        for why in dict.fromkeys(r for counter in found for r in counter):
            lines.append((f"{title}: {reason(why)}", *[f"{counter[why]:,}" for counter in found]))
    return [*lines, ("pairs", *[f"{c.pairs:,}" for c in counts])]


def reason(name: str) -> str:
    """Why something was left out, in words."""
    return REASONS.get(name, name.replace("_", " "))


def remarks(facts: Facts) -> Iterator[str]:
    """What a reader of the counts might overlook."""
    wanted = facts.prompts * facts.n
    yield from _compared(facts)
    for mode, count in facts.counts.items():
        if count.responses < wanted:
            again = " A smaller sampler.max_failed asks for them again."
            yield (f"{wanted - count.responses:,} of {wanted:,} {NAMES[mode]} responses "
                   f"(n={facts.n} to each prompt) are not there."
                   f"{again if count.left_out['failed'] else ''}")  # fmt: skip
        lost = sum(count.left_out[name] for name in CUT)
        if count.responses and lost / count.responses > MUCH:
            mend = f" A larger {facts.limit} mends that." if facts.limit else ""
            what = "ran out of tokens" if facts.limit else "never finished"
            yield (f"{_share(lost, count.responses)} of the {NAMES[mode]} responses {what} "
                   f"and are left out{_lengths_of(count)}: the pairs show shorter ones "
                   f"than the policy gives.{mend}")  # fmt: skip
        ended = count.left_out["unclosed"]
        if count.responses and ended / count.responses > MUCH:
            yield (f"{_share(ended, count.responses)} of the {NAMES[mode]} responses ended by "
                   "themselves inside the thinking, without an answer, and are left out: the pairs "
                   "show none of what the policy does there. More tokens change nothing; a lower "
                   "temperature may.")  # fmt: skip
        if mode == "nothinking" and count.left_out["thought"]:
            yield (f"{_share(count.left_out['thought'], count.responses)} of the NoThinking "
                   "responses thought all the same and are left out: the template or the server "
                   "has another switch (template.empty_block, "
                   "sampler.server.nothinking_body).")  # fmt: skip
        if mode == "thinking" and count.responses and count.traced < count.responses / 2:
            yield (f"{_share(count.responses - count.traced, count.responses)} of the Thinking "
                   "responses have no trace: for these the view full is no other than the view "
                   "bare.")  # fmt: skip
        if count.responses and count.repeated / count.responses > 0.2:
            yield (f"{_share(count.repeated, count.responses)} of the {NAMES[mode]} responses say "
                   "what an earlier one says; a higher temperature makes them differ.")  # fmt: skip
        yield from _selected(mode, count)
        ties = count.without["tie"]
        if ties and ties > count.pairs:
            yield (f"{ties:,} {NAMES[mode]} prompts give no pair for equal scores, more than give "
                   "one: the pairs come from prompts on which the policy wavers.")  # fmt: skip
        silent = sum(count.unscored.values())
        if count.responses and silent / count.responses > MUCH:
            why = ", ".join(f"{n:,} {reason(name)}" for name, n in count.unscored.most_common())
            yield (f"{_share(silent, count.responses)} of the {NAMES[mode]} responses have no "
                   f"score and are left out ({why}).")  # fmt: skip


def _selected(mode: Mode, count: ModeCount) -> Iterator[str]:
    """Where the selection shows other traces than the policy gives."""
    if count.cut:
        yield (f"{count.cut:,} of {count.pairs:,} {NAMES[mode]} pairs have a side that was cut off "
               "(select.unfinished=keep): to train on it teaches to end there.")  # fmt: skip
    if whole := count.without["unfinished"]:
        yield (f"{whole:,} {NAMES[mode]} prompts are left out altogether for a response that did "
               "not finish (select.unfinished=drop_prompt): the pairs come from prompts that need "
               "less.")  # fmt: skip
    if dropped := count.left_out["duplicate"]:
        yield (f"{_share(dropped, count.responses)} of the {NAMES[mode]} responses repeat an "
               "earlier one and are left out (select.duplicates=drop): what the policy says often "
               "weighs no more than what it says once.")  # fmt: skip
    silent = count.left_out["no_answer"]
    if count.responses and silent / count.responses > MUCH:
        yield (f"{_share(silent, count.responses)} of the {NAMES[mode]} responses have no answer "
               "behind the thinking and are left out.")  # fmt: skip


def _compared(facts: Facts) -> Iterator[str]:
    """Modes of which the comparison with the scorer says little."""
    if facts.agreement is None:
        return
    for mode, (compared, respelled, unfinished) in facts.agreement.modes.items():
        if not compared:
            yield (f"No {NAMES[mode]} response could be compared with the scorer ({respelled} come "
                   f"back as other tokens, {unfinished} are unfinished): whether template and "
                   "masks are those of sampling was not seen.")  # fmt: skip
        elif respelled > compared:
            yield (f"{respelled} of {respelled + compared} {NAMES[mode]} responses come back as "
                   "other tokens than were drawn: perhaps the template is not the one that was "
                   "sampled from.")  # fmt: skip


def _lengths_of(count: ModeCount) -> str:
    if not count.tokens or not count.lost_tokens:
        return ""
    kept, lost = np.mean(count.tokens), np.mean(count.lost_tokens)
    return f" (they have {lost:,.0f} tokens on average, the others {kept:,.0f})"


def _heads(facts: Facts) -> tuple[str, ...]:
    return ("", *[f"{NAMES[m]} (view {VIEW[m]})" for m in facts.counts])


def _length_lines(tally: Tally) -> Iterator[tuple[str, ...]]:
    for (view, name), found in sorted(tally.lengths.items(), reverse=True):
        for text in ("trace", "answer"):
            values = getattr(found, text)
            if any(values):
                told = [f"{np.percentile(values, q):,.0f}" for q in (50, 90, 100)]
                yield (view, name, text, *told)


def _gap_lines(tally: Tally) -> Iterator[tuple[str, ...]]:
    for view, gaps in sorted(tally.gaps.items(), reverse=True):
        told = (np.mean(gaps), np.min(gaps), np.median(gaps), np.max(gaps))
        yield (view, *[f"{value:.4g}" for value in told])


def _agreement(found: Agreement | None) -> str:
    if found is None:
        return ("Not compared: there are no weights here to compare with, or check.rows is 0. "
                "`bvrank doctor` looks at template and data before training.")  # fmt: skip
    told = found.told()
    return f"{told[0].upper()}{told[1:]}."


def _examples(tally: Tally) -> Iterator[str]:
    for view, rows in sorted(tally.examples.items(), reverse=True):
        for number, row in enumerate(rows, start=1):
            yield f"### {view}, {number}"
            yield _quoted("prompt", _short(_text(row["prompt"])))
            for name in ("chosen", "rejected"):
                side = row[name][0] if isinstance(row[name], list) else row[name]
                told = f"{name}, score {row[f'{name}_score']:.4g}"
                text = _short(side["answer"])
                if side["think"] is not None:
                    text = f"<think>\n{_short(side['think'])}\n</think>\n\n{text}"
                yield _quoted(told, text)


def _text(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{m['role']}: {m['content']}" for m in prompt)


def _quoted(title: str, text: str) -> str:
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{title}\n\n{fence}text\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    runs = [len(run) for run in "".join(c if c == "`" else " " for c in text).split()]
    return max(runs, default=0)


def _short(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n[... {len(text) - LONGEST:,} characters ...]\n{text[-half:]}"


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({100 * part / whole:.1f} %)" if whole else "0"


def _table(heads: Sequence[str], lines: Any) -> str:
    rows = [tuple(str(cell).replace("|", "\\|").replace("\n", " ") for cell in r) for r in lines]
    if not rows:
        return ""
    drawn = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in drawn)
