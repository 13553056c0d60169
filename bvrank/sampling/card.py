"""The data card of a file of pairs: what is in it, what is not, and what that does to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bvrank.sampling.agreement import Agreement
from bvrank.sampling.facts import NAMES, Facts, Tally, beyond, reason, share
from bvrank.sampling.prompts import TWICE
from bvrank.sampling.remarks import remarks
from bvrank.sampling.responses import VIEW

LONGEST = 600  # characters of a text that is shown
SCHEMA = (
    ("prompt", "text of the question; or messages, a list of {role, content}"),
    ("view", "full (sampled with thinking, D_t) or bare (without, D_e)"),
    ("chosen, rejected", "{think, answer}, think null in the view bare; with traces > 1 a list"),
    ("chosen_score, rejected_score", "of the reward, from the answer alone"),
    ("row", "the prompt's place, from 0; with *_copy it names a line of the response logs"),
    ("chosen_copy, rejected_copy", "which of the responses to the prompt, from 0"),
)


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
    whose = "prompts" if facts.survey is None else "rows"
    lines = [("prompts", *[f"{facts.prompts:,}"] * len(counts)),
             *([("prompts that came again", *[f"{again:,}"] * len(counts))] if again else []),
             *([(f"{whose} refused", *[refused] * len(counts))] if refused else []),
             *([(f"responses beyond n={facts.n}", *[f"{further:,}"] * len(counts))]
               if (further := beyond(facts)) else []),
             ("responses", *[f"{c.responses:,}" for c in counts]),
             *[(f"answered as {name}", *[f"{c.models[name]:,}" for c in counts])
               for name in sorted({name for c in counts for name in c.models})],
             ("with a trace", *[share(c.traced, c.responses) for c in counts]),
             ("thinking closed", *[share(c.closed, c.traced) for c in counts]),
             ("said before", *[share(c.repeated, c.responses) for c in counts])]  # fmt: skip
    if any(c.spared for c in counts):
        lines.append(
            ("answers not scored: no pair could hold them", *[f"{c.spared:,}" for c in counts])
        )
    for title, name in (("left out", "left_out"), ("unscored", "unscored"),
                        ("prompts without a pair", "without")):  # fmt: skip
        found = [getattr(c, name) for c in counts]
        for why in dict.fromkeys(r for counter in found for r in counter):
            lines.append((f"{title}: {reason(why)}", *[f"{counter[why]:,}" for counter in found]))
    return [*lines, ("pairs", *[f"{c.pairs:,}" for c in counts])]


def _heads(facts: Facts) -> tuple[str, ...]:
    return ("", *[f"{NAMES[m]} (view {VIEW[m]})" for m in facts.counts])


def _length_lines(tally: Tally) -> Iterator[tuple[str, ...]]:
    for view, name in sorted(tally.lengths, key=lambda key: (key[0] != VIEW["thinking"], key)):
        found = tally.lengths[view, name]
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


def _table(heads: Sequence[str], lines: Any) -> str:
    rows = [tuple(str(cell).replace("|", "\\|").replace("\n", " ") for cell in r) for r in lines]
    if not rows:
        return ""
    drawn = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in drawn)
