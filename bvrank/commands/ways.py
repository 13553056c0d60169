"""Which evaluations of an arm are compared: all, or those that `where` names; and what to write
where they were made in several ways.

`where.n=8` and `where={n:8}` keep what was measured with that setting, a dotted key of the
`settings` in result.json; null is what has none. Of a task none of whose results has such a key
nothing is asked.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bvrank.errors import ConfigError, RunError, did_you_mean
from bvrank.evaluation.pooling import is_superseded, of_older
from bvrank.evaluation.result import Result
from bvrank.run.identity import ABSENT, canonical, flatten
from bvrank.run.methods import apart, method, several, short, telling, undrawn

Found = tuple[Path, Result]
SHOWN = 2  # folders of a way that an error names


def wanted(where: Any, found: Sequence[Found]) -> dict[str, Any]:
    """Dotted key -> value of what `where` asks for. ConfigError for what is no mapping, and for a
    key that none of the results has."""
    where = {} if where is None else where
    if not isinstance(where, Mapping):
        raise ConfigError(f"must be settings and their values, got {where!r}", where="where",
                          repair="As in where.n=8 or where={n:8}.")  # fmt: skip
    asked = flatten(where)
    known = {key for _, result in found for key in flatten(result.settings)}
    for key in asked:
        if key not in known:
            ends = [k for k in known if k.endswith(f".{key}")]
            raise ConfigError("no evaluation here has such a setting", where=f"where.{key}",
                              repair=did_you_mean(ends[0] if ends else key, known))  # fmt: skip
    return asked


def kept(name: str, found: Sequence[Found], where: Mapping[str, Any],
         every: Sequence[Found] = ()) -> list[Found]:  # fmt: skip
    """Those that were measured as `where` says; a key concerns the tasks of which a result
    has it, here or in `every`, those of all arms. RunError where none is left of the arm `name`."""
    of = _heeded(where, [*found, *every])
    left = [(p, r) for p, r in found if all(_is(r, k, v) for k, v in of[r.task].items())]
    if found and not left:
        heeding = {key: [r for _, r in found if key in of[r.task]] for key in where}
        key = next((k for k, own in heeding.items()
                    if own and not any(_is(r, k, where[k]) for r in own)), "")  # fmt: skip
        there = dict.fromkeys(short(_own(r, key)) for r in heeding.get(key, ()))
        told = f"{key} is {' and '.join(there)}" if key else "none has all of them together"
        raise RunError(f"no evaluation has {_words(where)}: {told}", where=name)
    return left


def lost(name: str, found: Sequence[Found], left: Sequence[Found], where: Mapping[str, Any],
         every: Sequence[Found] = ()) -> list[str]:  # fmt: skip
    """Notes on the tasks of the arm of which `where` left nothing."""
    of = _heeded(where, [*found, *every])
    there = {r.task for _, r in left}
    return [f"{task}: left out, as no evaluation has {_words(of[task])} ({name})"
            for task in dict.fromkeys(r.task for _, r in found) if task not in there]  # fmt: skip


def _heeded(where: Mapping[str, Any], found: Sequence[Found]) -> dict[str, dict[str, Any]]:
    """Task -> what of `where` concerns it: the keys that one of its results has."""
    known: dict[str, set[str]] = {}
    for _, result in found:
        known.setdefault(result.task, set()).update(flatten(result.settings))
    return {task: {k: v for k, v in where.items() if k in keys} for task, keys in known.items()}


def _words(where: Mapping[str, Any]) -> str:
    return " and ".join(f"{k}={short(v)}" for k, v in where.items())


def current(name: str, found: Sequence[Found]) -> tuple[list[Found], list[str]]:
    """Those that no newer version of their task superseded, and notes on the others of the arm."""
    every = [r for _, r in found]
    gone = [is_superseded(r, every) for r in every]
    notes = of_older([r for r, is_gone in zip(every, gone, strict=True) if is_gone])
    left = [one for one, is_gone in zip(found, gone, strict=True) if not is_gone]
    return left, [f"{note} ({name})" for note in notes]


def check_one_way(name: str, task: str, found: Sequence[Found]) -> None:
    """RunError for results of one arm that differ in more than the policy (seeds of training) and
    the seed of draws: it says what to write for each way."""
    differing = several([r.settings for _, r in found])
    if differing is None:
        return
    key, one, other = differing
    ways = _ways(found)
    told = ", ".join(f"{filter_of(way, ways)} ({_folders(way)})" for way in ways)
    raise RunError(
        f"{task} was measured in several ways: {key} is {short(one)} and {short(other)}",
        where=name, repair=f"Choose one: {told}.",
    )  # fmt: skip


def filter_of(way: Sequence[Found], ways: Sequence[Sequence[Found]]) -> str:
    """The words that keep this way alone: one setting, where one does."""
    own = _method(way)
    others = [_method(w) for w in ways if w is not way]
    found = [apart(telling(_settings(w)), telling(_settings(way))) for w in ways if w is not way]
    differing = dict.fromkeys(key for one in found for key, _, _ in one)
    for key in differing:
        if all(other.get(key, ABSENT) != own.get(key, ABSENT) for other in others):
            return _word(key, own.get(key))
    return " ".join(_word(key, own.get(key)) for key in differing)


def _ways(found: Sequence[Found]) -> list[list[Found]]:
    """Apart by all that two evaluations of one method have in common."""
    ways: list[list[Found]] = []
    for path, result in sorted(found, key=lambda one: not undrawn(one[1].settings)):
        for way in ways:
            if not apart(telling(_settings(way)), result.settings):
                way.append((path, result))
                break
        else:
            ways.append([(path, result)])
    return ways


def _settings(way: Sequence[Found]) -> list[Mapping[str, Any]]:
    return [r.settings for _, r in way]


def _method(way: Sequence[Found]) -> Mapping[str, Any]:
    found: dict[str, Any] = canonical(method(telling(_settings(way))))
    return found


def _folders(way: Sequence[Found]) -> str:
    names = [str(path) for path, _ in way]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _own(result: Result, key: str) -> Any:
    return canonical(flatten(result.settings).get(key))


def _is(result: Result, key: str, value: Any) -> bool:
    own = _own(result, key)
    return bool(canonical(value) == own) and isinstance(value, bool) is isinstance(own, bool)


def _word(key: str, value: Any) -> str:
    """`where.key=value`, in quotes where Hydra would read another value out of it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from bvrank.commands.hydra_errors import quoted

    word = f"where.{key}={_text(value)}"
    try:
        read = OverridesParser.create().parse_override(word).value()
    except HydraException:
        read = ABSENT
    if canonical(read) == canonical(value) and isinstance(read, str) is isinstance(value, str):
        return shlex.quote(word)
    return quoted(f"where.{key}={value}") or shlex.quote(word)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
