"""What can be wrong with rows: each reason with its weight, its meaning and its repair.

A refused row is a Flaw already: sources and encoding say why they refuse in the same words.

    note      worth knowing, changes nothing
    warning   rows are lost, or teach what nobody wanted
    problem   a run would stop, or train on something else than the data
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bvrank.records import Refused

Level = Literal["note", "warning", "problem"]
Flaw = Refused  # where, reason, detail: of a row that trains, too


@dataclass(frozen=True)
class Finding:
    """One kind of flaw and where it was found. `check` names the check it belongs to; `count` is
    the number of rows (of units, where those are no rows; "" when `what` counts them)."""

    check: str
    name: str
    level: Level
    what: str
    repair: str
    count: int = 1
    rows: tuple[Flaw, ...] = ()
    unit: str = "row"


@dataclass(frozen=True)
class Kind:
    """A reason's check, weight, meaning and repair."""

    check: str
    level: Level
    what: str
    repair: str


_FIELD = "Repair or remove the rows."
KINDS: dict[str, Kind] = {
    # what a source refuses
    "missing": Kind("rows", "warning", "a field is missing", _FIELD),
    "wrong_type": Kind("rows", "warning", "a field is of another type", _FIELD),
    "bad_text": Kind("rows", "warning", "text that is no Unicode", _FIELD),
    "role": Kind("rows", "warning", "a turn nobody can speak", _FIELD),
    "view": Kind("rows", "warning", "the view is neither full nor bare", _FIELD),
    "no_prompt": Kind(
        "rows", "warning", "there is no prompt", "Name its column with data.prompt_column."
    ),
    "empty_prompt": Kind("rows", "warning", "the prompt is empty", _FIELD),
    "prompt_end": Kind(
        "rows", "warning", "the prompt does not end with the user's turn", "Cut what follows it."
    ),
    "prompt_mismatch": Kind(
        "rows", "warning", "the prompts of chosen and rejected differ",
        "A preference needs one prompt: cut both dialogues back to what they share, or remove.",
    ),
    "too_few": Kind("lists", "warning", "a list of fewer than two candidates", _FIELD),
    "empty_candidate": Kind("lists", "warning", "a candidate is empty", _FIELD),
    "duplicates": Kind("lists", "warning", "a candidate stands twice in its list", _FIELD),
    "relevance_length": Kind("lists", "warning", "relevance and candidates differ in number",
                             "Give every candidate one."),
    "relevance_range": Kind("lists", "warning", "a relevance out of range", "0 to 100 is known."),
    "rank_length": Kind("lists", "warning", "ranks and candidates differ in number",
                        "Give every candidate one, or leave the column out."),
    "bad_rank": Kind("lists", "warning", "ranks that are no permutation", "Number from 1."),
    "mixed_modes": Kind("lists", "warning", "items of one list are rendered in several modes",
                        "Set data.context=independent."),
    "nothing_to_prefer": Kind(
        "lists", "warning", "no candidate is better than another: nothing to prefer",
        "Grade them (for marginal: give both sides answers of their own), or leave the rows out; "
        "objective=sft can use them.",
    ),
    "equal_sides": Kind("sides", "warning", "chosen and rejected are the same",
                        "Such a pair has no gradient: remove it."),
    "equal_answers": Kind("sides", "warning", "without their traces both answers are the same",
                          "Sample bare pairs of their own (data.bare_path), or accept the loss."),
    "equal_tokens": Kind("sides", "warning", "two candidates are the same token ids",
                         "The tokenizer takes their difference away: remove the row."),
    "empty_answer": Kind(
        "sides", "warning", "no final answer: empty, or cut off before it",
        "Sample longer, or remove the row: a trace alone says nothing about its answer.",
    ),
    "unfinished": Kind(
        "thinking", "warning", "a trace is never closed by </think>",
        "It was cut off: sample longer, or remove the row.",
    ),
    "trace_in_bare": Kind("thinking", "warning", "a bare response holds a trace",
                          "Mark the row view=full, or take its trace out."),
    "other_view": Kind("rows", "note", "no view that the objective reads",
                       "The rows stay out: choose another objective to use them."),
    # what only a converter refuses
    "no_truth": Kind("lists", "note", "nothing is recommended or relevant",
                     "There is no list to make of it."),
    "weak_preference": Kind("sides", "note", "the preference is weaker than asked for",
                            "Lower the gap that is asked for."),
    "no_options": Kind("lists", "warning", "there are no options to choose from", _FIELD),
    "bad_answer": Kind("lists", "warning", "the right answer is none of the options", _FIELD),
    "no_room": Kind("lists", "warning", "more relevant items than a list holds",
                    "Raise list_size."),
    "few_distractors": Kind("lists", "warning", "too few other items to fill a list",
                            "Lower list_size, or convert more rows at once."),
    "bad_score": Kind("sides", "warning", "a response has no score that can be read", _FIELD),
    # what rendering refuses
    "template": Kind("template", "warning", "the chat template cannot render the row",
                     "Change the row to what the template knows, or set template.file."),
    "special_token": Kind("template", "warning", "text of a special token inside the data",
                          "It would become that token: escape or remove it."),
    "round_trip": Kind("template", "warning", "trace and answer do not come back out of the ids",
                       "The tokenizer, or a think tag inside the text, loses something."),
    "too_long": Kind("length", "warning", "over data.max_length: the row is left out",
                     "Raise data.max_length, or set data.overlong=truncate_trace_middle."),
    "in_eval": Kind("leakage", "warning", "the prompt is held out as well: the row is left out",
                    "Take it out of one of the two files."),
    # what trains, and should not
    "double_bos": Kind("bos", "problem", "the prompt begins with two BOS tokens",
                       "Take bos_token out of the chat template."),
    "missing_bos": Kind("bos", "warning", "no BOS, though the tokenizer puts one before any text",
                        "Write {{ bos_token }} at the top of the chat template (template.file)."),
    "boundary_shift": Kind(
        "boundary", "warning", "prompt and response share a token when tokenised as one text",
        "Here they never do, as in generation; take white space off the response's beginning.",
    ),
    "opened_twice": Kind("thinking", "warning", "<think> opens twice in front of one answer",
                         "Take the tag out of the trace: the template writes its own."),
    "closed_twice": Kind("thinking", "warning", "</think> closes twice in front of one answer",
                         "Generation ends at the first: take the tag out of the trace."),
    "left_open": Kind("thinking", "warning", "the prompt leaves a think block open",
                      "Close the traces of earlier turns, or set template.empty_block."),
    "trace_cut": Kind("length", "note", "over data.max_length: the middle of a trace is cut out",
                      "Raise data.max_length to keep it."),
    "duplicate": Kind("duplicates", "warning", "the same row stands elsewhere too",
                      "It counts twice: remove one, unless that is meant."),
    "contradiction": Kind("duplicates", "warning", "elsewhere the same pair is preferred reversed",
                          "Keep one of the two."),
    "flat_relevance": Kind(
        "lists", "warning", "all candidates are equally relevant, and trained on as they are",
        "Grade them, or leave the rows out: no order can be learnt from them.",
    ),
    "near_leak": Kind("leakage", "warning", "nearly the same prompt is held out",
                      "It differs in punctuation or form alone: take it out of one side."),
}  # fmt: skip


def findings(flaws: Iterable[Flaw]) -> list[Finding]:
    """One Finding per reason, the first seen first. A row that loses two views counts once."""
    by_reason: dict[str, dict[str, Flaw]] = {}
    for flaw in flaws:
        by_reason.setdefault(flaw.reason, {}).setdefault(flaw.where, flaw)
    return [_finding(reason, list(rows.values())) for reason, rows in by_reason.items()]


def _finding(reason: str, rows: Sequence[Flaw]) -> Finding:
    kind = KINDS.get(reason) or Kind("rows", "warning", reason.replace("_", " "), _FIELD)
    return Finding(kind.check, reason, kind.level, kind.what, kind.repair, len(rows), tuple(rows))
