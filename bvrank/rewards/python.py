"""reward=python: a function of one's own."""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from bvrank.errors import BvrankError, ConfigError, DataError, RunError
from bvrank.records import Asked, Scored

Row = Mapping[str, Any]
STAYS = "What was made stays: mend it, and the same command goes on."


@dataclass(frozen=True)
class Python:
    """Calls `function` with lists of up to `batch` rows {"prompt": [{"role", "content"}, ...],
    "answer", "gold"}; it returns a number for each, in their order, or None for no score.

    Scores are kept as long as the file of the function stays as it is; `version` is for what else
    they depend on. Unscored: `none`. DataError and RunError, with the row, for anything else.
    """

    function: Callable[[Sequence[Row]], Sequence[float | None]]
    batch: int = 64
    version: str = ""
    together: ClassVar[int | None] = None
    needs_gold: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"must be at least 1, got {self.batch}", where="batch")
        if self._is_object and not self.version:
            raise ConfigError(
                f"{self._name} is an object, whose settings decide its scores", where="version",
                repair="Name a function, or give reward.version another value for each of them.",
            )  # fmt: skip
        try:
            inspect.signature(self.function).bind([])
        except ValueError:
            return  # of a compiled function, which does not say
        except TypeError as error:
            raise ConfigError(
                f"{self._name} cannot be called with a list of rows ({error})", where="function",
                repair="It takes one argument and returns a number for each row.",
            ) from error  # fmt: skip

    @property
    def identity(self) -> str:
        """The function's name, the text of its file, and `version`."""
        named = inspect.unwrap(self.function)
        source: Any = type(named) if self._is_object else named
        try:
            text = Path(inspect.getsourcefile(source) or "").read_bytes()
        except (TypeError, OSError):  # a compiled function has no text
            text = b""
        return f"python {self._name} {sha256(text).hexdigest()[:24]} {self.version}".rstrip()

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        """In the order asked."""
        left = iter(asked)
        while part := list(islice(left, self.batch)):
            yield from map(self._scored, part, self._called(part))

    @property
    def _is_object(self) -> bool:
        named = inspect.unwrap(self.function)
        return not (inspect.isroutine(named) or inspect.isclass(named))

    @property
    def _name(self) -> str:
        named = inspect.unwrap(self.function)
        return f"{named.__module__}.{getattr(named, '__qualname__', type(named).__name__)}"

    def _called(self, part: Sequence[Asked]) -> Sequence[Any]:
        """What the function makes of some rows: as many numbers."""
        where = _rows(part)
        try:
            found: Any = self.function([_row(a) for a in part])
            found = list(found) if isinstance(found, Iterable) else found
        except (BvrankError, KeyboardInterrupt):
            raise
        except (Exception, SystemExit) as error:  # code of strangers: it may raise anything
            why = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
            what = f"{self._name} failed{_place(error)} ({why})"
            raise RunError(what, where=where, repair=STAYS) from error
        if not isinstance(found, list):
            what = f"{self._name} returned {str(found)[:80]} for {len(part)} rows"
            raise DataError(what, where=where, repair=f"It has to return one for each row. {STAYS}")
        if len(found) != len(part):
            what = f"{self._name} returned {len(found)} scores for {len(part)} rows"
            raise DataError(what, where=where, repair=f"It has to return one for each row. {STAYS}")
        return found

    def _scored(self, asked: Asked, score: Any) -> Scored:
        if score is None:
            return Scored(asked.key, None, "none")
        try:
            number = float(score)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            what = f"{self._name} returned {str(score)[:80]!r}"
            raise DataError(
                what, where=asked.key, repair="Return a finite number, or None for no score."
            )
        return Scored(asked.key, number)


def _place(error: BaseException) -> str:
    """The line of the function's own code that raised; "" where that is not known."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename != __file__]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


def _row(asked: Asked) -> dict[str, Any]:
    turns = [{"role": m.role, "content": m.content} for m in asked.prompt]
    return {"prompt": turns, "answer": asked.answer, "gold": asked.gold}


def _rows(part: Sequence[Asked]) -> str:
    return part[0].key if len(part) == 1 else f"{part[0].key} to {part[-1].key}"
