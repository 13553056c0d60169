"""A process that grades mathematics: gold and answer in, a verdict out, one JSON line each.

Symbolic algebra can hang or eat all memory on a few characters (9^{9^{9}}), inside C code that no
signal interrupts. So it happens in a process that can be killed. Run by bvrank.rewards.math as
`python -m bvrank.rewards.grading`; math-verify is imported here alone.

    {"gold": "#### 18", "answer": "It is \\\\boxed{18}."}   ->   {"right": true}
    {"gold": "?", "answer": ...}                            ->   {"reason": "gold_unparsable"}
    {"one": "It is \\\\boxed{18}.", "other": "18.0"}         ->   {"same": true}
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

MEMORY = 4 * 2**30  # bytes of address space; sympy and its parser need 0.3 of it
_BRACES = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
# What may stand between boxes of one list: `\boxed{1}$ and $x=`.
_LISTED = re.compile(
    r"[\s$]*(?:\\[)\]])?\s*(?:,?\s*(?:and|or)|,)\s*(?:\\[(\[])?[\s$]*(?:\w+\s*=\s*)?"
)
_PERCENT = re.compile(r"\s*(?:\$|\\[)\]])\s*(?:\\?%|[Pp]ercent|[Pp]ct)")


def main() -> None:
    """Answers every line of standard input until it ends; the first line says that it is ready."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what a library prints must not look like a verdict
        logging.disable(logging.CRITICAL)
        import math_verify  # noqa: F401

        _limit_memory()
        print(json.dumps({"ready": True}), file=out, flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            told = alike(**asked) if "other" in asked else verdict(**asked)
            print(json.dumps(told), file=out, flush=True)


def verdict(gold: str, answer: str) -> dict[str, Any]:
    """Whether the answer's value is the gold one; nothing to read in the answer is wrong."""
    from math_verify import verify

    try:
        wanted = _gold(gold)
        if not wanted:
            return {"reason": "gold_unparsable"}
        return {"right": any(verify(wanted, f, timeout_seconds=None) for f in _values(answer))}
    except (MemoryError, RecursionError):
        return {"reason": "too_hard"}


def alike(one: str, other: str) -> dict[str, Any]:
    """Whether two answers have one value, both read as `verdict` reads an answer."""
    from math_verify import verify

    try:
        pairs = [(a, b) for a in _values(one) for b in _values(other)]
        both = (verify(*p, timeout_seconds=None) for a, b in pairs for p in ((a, b), (b, a)))
        return {"same": any(both)}
    except (MemoryError, RecursionError):
        return {"reason": "too_hard"}


@lru_cache(maxsize=256)
def _values(answer: str) -> list[list[Any]]:
    return [found for found in map(_parsed, extracted(answer)) if found]


def extracted(answer: str) -> list[str]:
    """What is read of an answer: its last box, or the whole text where there is none."""
    return _boxed(_concluded(answer))


def _gold(text: str) -> list[Any]:
    """What a gold column states; [] where it cannot be read. Of 62.5% both 0.625 and 62.5 count, as
    the library reads the sign in an answer now this way and now that."""
    text = _concluded(text)
    readings = dict.fromkeys((text, text.replace("\\%", "%"), re.sub(r"\\?%", "", text)))
    return [value for reading in readings for value in _first(reading)]


def _first(text: str) -> list[Any]:
    found = (_parsed(form) for form in _forms(text))
    return next(filter(None, found), [])


def _forms(text: str) -> Iterator[str]:
    """A gold text in the forms that math-verify may read, the likeliest first: text with `\\boxed`
    or `$` is delimited already; all else is one expression, in LaTeX or as typed."""
    delimited = "\\boxed" in text or "$" in text
    if delimited:
        yield text
    yield f"${text}$"
    if not delimited:
        yield text


def _concluded(text: str) -> str:
    """What stands behind `####` on the last line, as GSM8K writes it; else the text."""
    text = text.strip()
    last = text.rpartition("\n")[2]
    return last.lstrip("# ") if last.startswith("####") else text


def _boxed(text: str) -> list[str]:
    """The last `\\boxed{...}` alone, or the list that it ends; the text where there is none. The
    library would add earlier boxes to it, and reads `the final answer is $3$. I hope` before it. Of
    62.5% both 0.625 and 62.5 are said, as of a gold text."""
    boxes = _boxes(text)
    if not boxes:
        return [text]
    first = len(boxes) - 1
    while first and _LISTED.fullmatch(text, boxes[first - 1][1], boxes[first][0]):
        first -= 1
    told = ", ".join(text[start:end] for start, end in boxes[first:])
    bare = re.sub(r"\s*\\?%\s*\}$", "}", told)  # the library reads nothing of a sign in a box
    percent = bare != told or _PERCENT.match(text, boxes[-1][1])
    return [f"${bare}$%", bare] if percent else [told]


def _boxes(text: str) -> list[tuple[int, int]]:
    """Where each filled `\\boxed{...}` begins and ends; of nested ones the outermost."""
    found: list[tuple[int, int]] = []
    opened: list[int | None] = []  # where a box begins, None of any other brace
    for token in _BRACES.finditer(text):
        if token[0][-1] == "{" and token[0] != "\\{":
            opened.append(token.start() if token[0] != "{" else None)
        elif token[0] == "}" and opened and (start := opened.pop()) is not None:
            while found and found[-1][0] > start:
                found.pop()
            if text[text.index("{", start) + 1 : token.start()].strip():
                found.append((start, token.end()))
    return found


def _parsed(text: str) -> list[Any]:
    """The expressions in `text`; a boxed one comes before any other."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    how = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())
    found: list[Any] = parse(text, how, fallback_mode="no_fallback", parsing_timeout=None)
    return found


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # where there is no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
