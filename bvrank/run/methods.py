"""How an evaluation was done, as its result keeps it, and where two of them differ.

The settings of a result are sections: `seed`, `sampler`, `modes`, `n`, `limit`, `task` (its node),
`template` and `precision` (where a policy is loaded), and `data`: the hash of every local file that
those name, by dotted key. A result of before there was a section says nothing of it; one of a task
that draws no responses has none of DRAWN, which older results kept of every task.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from bvrank.run.identity import differences, flatten

FACTS = ("task", "data", "template", "precision")  # sections that old results lack
DRAWN = ("sampler", "modes", "n")  # sections that responses alone follow
# What holds a policy's own answers: with another policy it is another file.
SUBJECT = ("run_file", "judge.path", "judge.model", "answers_path", "sampler.path")
DATA = (".path", "bare_path", "baseline_path", "split", "column", "qrels", "prompts.seed",
        "prompts.problems")  # fmt: skip
PLACE = ("server.base_url",)  # where the same model is reached
ADDRESS = "sampler.server.base_url"  # where a policy itself is
LONG = 40  # characters of a value that a line shows
Differences = list[tuple[str, Any, Any]]


def method(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key -> value of all that has to be the same in two evaluations of one method: neither
    the seed nor the policy's own answers; of a file its content, not its name."""
    hashed = contents_of(settings)
    found = flatten({k: v for k, v in settings.items() if k != "seed"})
    beside = (*SUBJECT, *PLACE)
    return {k: v for k, v in found.items() if k not in hashed and not k.endswith(beside)}


def apart(old: Mapping[str, Any], new: Mapping[str, Any]) -> Differences:
    """(dotted key, old value, new value) wherever two evaluations are not of one method; what an
    old result says nothing of is no difference, nor is how responses would have been drawn where
    the other tells that none are."""
    gone = FACTS if silent(old) or silent(new) else ()
    if (undrawn(old) and "modes" in new) or (undrawn(new) and "modes" in old):
        gone = (*gone, *DRAWN)
    told = [method({k: v for k, v in s.items() if k not in gone}) for s in (old, new)]
    return differences(*told, matters=True)


def other_data(found: Differences) -> list[str]:
    """The keys among the differences that say which prompts there are, and what is right."""
    keys = dict.fromkeys(key.removeprefix("data.") for key, _, _ in found)
    return [key for key in keys if key.startswith("task.") and key.endswith(DATA)]


def silent(settings: Mapping[str, Any]) -> bool:
    """Whether they are of before results told how their task was configured."""
    return "task" not in settings


def undrawn(settings: Mapping[str, Any]) -> bool:
    """Whether they say nothing of responses: no task that draws some leaves that out."""
    return not any(key in settings for key in DRAWN)


def contents_of(settings: Mapping[str, Any]) -> Mapping[str, str]:
    """Dotted key -> hash of the local file that it names."""
    found = settings.get("data")
    return found if isinstance(found, Mapping) else {}


def files_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Name of each local file that they name -> hash of what it holds; none that stands for two,
    nor of two that hold the same."""
    paths, found = flatten(dict(settings)), dict[str, set[str]]()
    for key, digest in contents_of(settings).items():
        if isinstance(path := paths.get(key), str):
            found.setdefault(PurePath(path).name, set()).add(str(digest))
    single = {name: next(iter(of)) for name, of in found.items() if len(of) == 1}
    held = Counter(single.values())
    return {name: digest for name, digest in single.items() if held[digest] == 1}


def address_of(settings: Mapping[str, Any]) -> str:
    """Where the server of the policy is, "" where none answered."""
    return str(flatten(settings).get(ADDRESS) or "").rstrip("/")


def short(value: Any) -> str:
    """A value for a line of text: a long one by its hash."""
    text = str(value)
    if len(text) <= LONG and "\n" not in text:
        return text
    return f"#{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def telling(of: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first that tells how its task was configured, and, if one does, that it draws nothing;
    else the first."""
    return min(of, key=lambda settings: (silent(settings), not undrawn(settings)))


def several(of: Sequence[Mapping[str, Any]]) -> tuple[str, Any, Any] | None:
    """The first difference of any from one of them; None where all were done alike."""
    return next((d for other in of for d in apart(telling(of), other)), None)
