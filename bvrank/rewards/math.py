"""reward=math: 1 where the answer's value is the gold one, else 0, by math-verify."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bvrank.errors import ConfigError, RunError
from bvrank.records import Asked, Scored
from bvrank.rewards.grading import extracted

VERSION = 3  # of the verdicts; what an older version scored is scored again
LIBRARIES = ("math-verify", "latex2sympy2_extended", "sympy")
WORKER = (sys.executable, "-P", "-m", "bvrank.rewards.grading")
_FRACTIONS = re.compile(r"\\[dt]frac(?![a-zA-Z])")
_SIZES = re.compile(r"\\(?:left|right)(?=[()\[\]|])")
_WHOLE = re.compile(r"\\boxed\{(?:0|-?[1-9]\d{0,14})\}")  # a value that needs no algebra
START = 120.0  # seconds in which a grading process has to be ready


@dataclass(frozen=True)
class Math:
    """Compares values, not texts: 0.5, 1/2 and \\frac{1}{2} are one. The gold may be a number,
    LaTeX, `\\boxed{...}`, or a solution that ends with `#### 18`. `timeout`: seconds for an answer.

    Unscored: `no_gold`, `gold_unparsable`, `timeout`, and `too_hard`, which ran out of memory.
    """

    timeout: float = 5.0
    together: ClassVar[int | None] = None
    needs_gold: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.timeout < float("inf"):
            raise ConfigError(f"must be greater than 0, got {self.timeout}", where="timeout")
        if importlib.util.find_spec("math_verify") is None:
            raise ConfigError(
                "math-verify is not installed", repair="Install it: pip install 'bvrank[math]'"
            )

    @property
    def identity(self) -> str:
        """The code and the libraries that read and compare."""
        versions = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
        return f"math {VERSION}, {', '.join(versions)}, timeout {self.timeout}"

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        """1.0 or 0.0, in the order asked."""
        with contextlib.closing(_Grader(self.timeout)) as grader:
            for a in asked:
                told = {"reason": "no_gold"}
                if a.gold is not None:
                    told = grader.ask(gold=a.gold, answer=a.answer)
                right = told.get("right")
                score = None if right is None else float(right)
                yield Scored(a.key, score, told.get("reason", ""))

    def votes(self, groups: Iterable[Sequence[str]]) -> Iterator[list[int]]:
        """Of each group of answers, which say the same: equal numbers for equal values, each
        compared with the first of those before it; what has no value is told apart by its text.
        What is written alike is compared once, in all groups, and whole numbers by themselves."""
        with contextlib.closing(_Grader(self.timeout)) as grader:
            same = _Sameness(grader)
            for answers in groups:
                first: list[tuple[str, str]] = []  # a form and an answer of each value
                known: dict[str, int] = {}
                forms = [_form(answer) for answer in answers]
                for form, answer in zip(forms, answers, strict=True):
                    if form not in known:
                        alike = (n for n, one in enumerate(first) if same(one, (form, answer)))
                        known[form] = next(alike, len(first))
                        first += [(form, answer)] if known[form] == len(first) else []
                yield [known[form] for form in forms]


def _form(answer: str) -> str:
    """What is read of an answer, in one spelling of what means the same in LaTeX."""
    parts = (_SIZES.sub("", _FRACTIONS.sub(r"\\frac", part)) for part in extracted(answer))
    return "\n".join(" ".join(part.split()) for part in parts)


class _Sameness:
    """Whether two answers have one value; a pair of forms is asked for once."""

    def __init__(self, grader: _Grader) -> None:
        self._grader = grader
        self._told: dict[tuple[str, str], bool] = {}

    def __call__(self, one: tuple[str, str], other: tuple[str, str]) -> bool:
        pair = (one[0], other[0])
        if all(map(_WHOLE.fullmatch, pair)):
            return one[0] == other[0]
        key = (min(pair), max(pair))
        if key not in self._told:
            self._told[key] = self._grader.alike(one[1], other[1])
        return self._told[key]


class _Grader:
    """The parent's end of a grading process, which is started when it is needed."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None

    def alike(self, one: str, other: str) -> bool:
        """Whether two answers have one value; what takes too long has none."""
        return bool(self.ask(one=one, other=other).get("same"))

    def ask(self, **asked: str) -> dict[str, Any]:
        """What the process says to a line; one that says nothing in time is killed."""
        process = self._process or self._started()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asked).encode() + b"\n")
        try:
            return _line(process, self._timeout)
        except TimeoutError:
            self.close()
            return {"reason": "timeout"}
        except EOFError:  # killed for its memory, or crashed
            self.close()
            return {"reason": "too_hard"}

    def close(self) -> None:
        """Ends the process, whatever it is at."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def _started(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                       "PYTHONHASHSEED": "0"}  # fmt: skip
        with tempfile.TemporaryFile() as log:
            self._process = subprocess.Popen(
                WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0,
                env=environment, process_group=0,  # Ctrl-C is the parent's to hear
            )  # fmt: skip
            try:
                _line(self._process, START)
            except (EOFError, TimeoutError):
                self.close()
                log.seek(0)
                said = log.read().decode(errors="replace").strip().splitlines() or ["no word"]
                raise RunError(f"the grading process does not start ({said[-1]})") from None
        return self._process


def _line(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    """The next line of the process. TimeoutError when it takes longer, EOFError at its end."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], seconds)[0]:
        raise TimeoutError
    line = process.stdout.readline()
    if not line:
        raise EOFError
    told: dict[str, Any] = json.loads(line)
    return told
