"""The one extractor of trace and final answer, for sampling, training, evaluation and judges.

A completion in canonical form, which `join` writes and `split` reads back exactly:

    <think>\\n{trace}\\n</think>\\n\\n{answer}

What `split` does with completions that differ from it:

    no tags at all                  the whole text is the answer (of a prompt that had opened the
                                    block: the whole text is an unfinished trace)
    `</think>` without `<think>`    the prompt had opened the block: all before is trace
    several blocks                  the answer is what follows the LAST `</think>`; all before it is
                                    trace, inner tags included, so no thought is ever judged
    text before `<think>`           part of the trace, tag included
    `<think>` after the last close  thinking began again and never ended: no answer
    white space                     one newline after `<think>`, one before `</think>` and up to two
                                    after it belong to the form; nothing else is touched
"""

from __future__ import annotations

from dataclasses import dataclass

OPEN, CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class Response:
    """A completion taken apart.

    `trace` is None where there was no think block and "" where it was empty. `answer` is None when
    the thinking was cut off; `closed` is then False. A closed block with nothing after it has "".
    """

    trace: str | None
    answer: str | None
    closed: bool


def split(text: str, *, opened: bool = False) -> Response:
    """Takes a completion apart. `opened`: the prompt ended with `<think>` and a newline."""
    head, close, answer = text.rpartition(CLOSE)
    if not close:
        if opened or OPEN in text:
            return Response(_behind(text), None, False)
        return Response(None, text, True)
    if OPEN in answer:
        return Response(_behind(text), None, False)
    trace = _behind(head).removesuffix("\n")
    return Response(trace, answer.removeprefix("\n").removeprefix("\n"), True)


def join(trace: str, answer: str) -> str:
    """The canonical completion of a trace and its answer; `split` undoes it."""
    return f"{OPEN}\n{trace}\n{CLOSE}\n\n{answer}"


def _behind(text: str) -> str:
    """The text behind a leading `<think>`, which white space may precede."""
    bare = text.lstrip()
    if bare.startswith(OPEN):
        return bare.removeprefix(OPEN).removeprefix("\n")
    return text
