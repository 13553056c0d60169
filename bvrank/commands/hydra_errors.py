"""Hydra's and OmegaConf's errors, told as ours: one line with what, where and the repair."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from bvrank.commands.compose import COMPOSING, composed, flat_keys, written
from bvrank.commands.options import groups, holders, readers, told
from bvrank.errors import BvrankError, ConfigError, did_you_mean
from bvrank.paths import conf_dir
from bvrank.run.identity import flatten

LISTED = ("suite", "task.pass_at", "task.categories")  # keys that take a list and have none yet
ALONE = {"report": ("runs", "compare")}  # of which a list is all that makes sense
LETTER = 0.8  # likeness of two short names that differ in a letter


def explain(error: Exception, command: str, overrides: Sequence[str]) -> BvrankError:
    """The error that a user reads in place of `error`."""
    if isinstance(error, OverrideParseException):
        return _malformed(written(error.override), overrides)
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _missing_option(error, overrides)
    if isinstance(error, MissingMandatoryValue):
        return _needed(command, str(error.full_key), overrides)
    for pattern, tell in _TEXTS.items():
        if found := re.search(pattern, str(error)):
            return tell(found.group(1), command, overrides)
    return _keyless(overrides) or _other(error)


def quoted(override: str) -> str | None:
    """`key=value` with the value in quotes for Hydra, inside quotes for the shell; None if no
    quoting gives the value back."""
    key, _, value = override.partition("=")
    for quote in ('"', "'"):
        # Backslashes count double before a quote, and a quote inside needs one more.
        escaped = re.sub(rf"(\\*)({quote}|$)", r"\1\1\2", value).replace(quote, f"\\{quote}")
        text = f"{key}={quote}{escaped}{quote}"
        try:
            parsed = OverridesParser.create().parse_override(text)
        except HydraException:
            continue
        if str(parsed.value()) == value:
            return shlex.quote(text)
    return None


def _malformed(override: str, overrides: Sequence[str]) -> ConfigError:
    if whole := _cut(override, overrides):
        return ConfigError(
            f"a space cuts {whole!r} into several words",
            repair=f"Leave the spaces out: {shlex.quote(whole.replace(' ', ''))}",
        )
    if "=" not in override:
        return ConfigError(f"'{override}' is not a setting", repair="Write key=value.")
    form = quoted(override)
    return ConfigError(
        f"Hydra cannot read {override!r}",
        repair=f"Quote the value: {form}" if form else "See hydra.cc on its override grammar.",
    )


def _cut(override: str, overrides: Sequence[str]) -> str:
    """The setting of which `override` is a part, as typed, where a list or a mapping lost its end
    to a space: the shell takes `schedule.beta=[0.1, 0.5]` for two words. Empty if it is none."""
    words = [written(word) for word in overrides]
    for start in (n for n, word in enumerate(words) if "=" in word and _open_ends(word) > 0):
        for end in range(start + 2, len(words) + 1):
            whole = " ".join(words[start:end])
            if "=" in words[end - 1]:
                break
            if _open_ends(whole) == 0:
                return whole if override in words[start:end] else ""
    return ""


def _open_ends(text: str) -> int:
    return sum(text.count(c) for c in "[{(") - sum(text.count(c) for c in "]})")


def _missing_option(error: MissingConfigException, overrides: Sequence[str]) -> ConfigError:
    missing, options = str(error.missing_cfg_file), sorted(error.options or ())
    typed = [o.partition("=")[::2] for o in overrides]
    # A value may hold slashes of its own.
    group, name = next((t for t in typed if "/".join(t) == missing), missing.rpartition("/")[::2])
    if not options:
        return ConfigError("the group has no options here", where=group)
    known = f"Known: {', '.join(options)}."
    suite = (conf_dir() / "suites" / f"{name}.yaml").is_file() and group == "task"
    hint = f"It is a suite: suite={name}." if suite else ""
    hint = hint or _as_path(group, name) or did_you_mean(name, options)
    return ConfigError(
        f"there is no option '{name}'",
        where=group,
        repair=hint if hint == known else f"{hint} {known}",
    )


def _as_path(group: str, name: str) -> str:
    """The repair where a file, a folder or a hub id stands in place of the option that reads it;
    empty where it is none, or nothing reads it."""
    if "/" not in name and not Path(name).suffix and not Path(name).exists():
        return ""
    path = shlex.quote(f"{group}.path={name}")
    forms = " or ".join(f"{group}={reader} {path}" for reader in readers(group))
    return f"Write {forms}." if forms else ""


def _needed(command: str, key: str, overrides: Sequence[str]) -> ConfigError:
    from bvrank.commands.help import comments

    meaning = comments(command, overrides).get(key, "")
    return ConfigError(
        f"needs a value ({meaning})" if meaning else "needs a value",
        where=key,
        repair=f"Add {key}=... to the command.",
    )


def _unknown_key(key: str, command: str, overrides: Sequence[str]) -> ConfigError:
    if "@" in key:
        return ConfigError(
            "there is nothing to choose an option for", where=key,
            repair="An objective that has another inside of it is bvpo: objective=bvpo "
            "objective@objective.loss=...",
        )  # fmt: skip
    plain = _plain(command, overrides)
    known = [*plain]
    repair = nearest(key, known)
    parent = key.rpartition(".")[0]
    needed = [
        k for k, v in plain.items() if v == "???" and parent and k.rpartition(".")[0] == parent
    ]
    if needed and not any(o.startswith(f"{needed[0]}=") for o in overrides):
        repair = f"Did you mean '{needed[0]}'? It needs a value."
    there = any(k.endswith(f".{key}") for k in known) or _misspelt(key, known)
    others = {} if there else holders(key, command)
    if key in others:
        repair = f"{told(others[key])}. {repair}"
    elif others:
        name, which = next(iter(others.items()))
        repair = f"Did you mean '{name}'? {told(which)}."
    return ConfigError("there is no such key", where=key, repair=repair)


def _misspelt(key: str, known: Sequence[str]) -> bool:
    """Whether a key without dots is one of the command's own but for a letter."""
    return bool(difflib.get_close_matches(key, [k for k in known if "." not in k], 1, LETTER))


def nearest(key: str, known: Sequence[str]) -> str:
    """A repair sentence: a sibling spelled like `key`, all siblings, or the same name elsewhere."""
    parent, _, last = key.rpartition(".")
    inside = f"{parent}." if any(k.startswith(f"{parent}.") for k in known) else ""
    below = [k.removeprefix(inside) for k in known if k.startswith(inside)]
    siblings = sorted(k for k in below if "." not in k and not k.startswith("_"))
    namesakes = [k for k in known if k.rpartition(".")[2] == last]
    cutoff = LETTER if namesakes and not parent else 0.6
    close = difflib.get_close_matches(last, siblings, n=1, cutoff=cutoff)
    if not namesakes and (whole := _run_together(key, known, close)):
        return f"Did you mean '{whole}'?"
    if close and (inside or not parent):
        return f"Did you mean '{inside}{close[0]}'?"
    if inside:
        return f"Known below {parent}: {', '.join(siblings)}."
    if namesakes:
        if inner := [k for k in namesakes if key.endswith(f".{k}")]:
            return f"Did you mean '{max(inner, key=len)}'?"  # auto.every of objective.auto.every
        return did_you_mean(namesakes[0], namesakes)
    if close := difflib.get_close_matches(key, known, n=1, cutoff=0.75):
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(siblings)}."


def _run_together(key: str, known: Sequence[str], close: Sequence[str]) -> str:
    """The dotted key that `key` is without its dots, more or less, if it is nearer than what is
    `close`: train.seeds of trainseeds and train_seeds. Empty where there is none."""

    def likeness(other: str) -> float:
        one, two = (re.sub(r"[._-]", "", text) for text in (key, other))
        return difflib.SequenceMatcher(None, one, two).ratio()

    dotted = [k for k in known if "." in k] if "." not in key else []
    best = max(dotted, key=likeness, default="")
    least = max([LETTER, *(difflib.SequenceMatcher(None, key, c).ratio() for c in close)])
    return best if best and likeness(best) > least else ""


def _known(command: str, overrides: Sequence[str]) -> list[str]:
    """The flat keys of the config that the group choices of `overrides` give."""
    return [*_plain(command, overrides)]


def _plain(command: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Those keys with their values, as they are written: ??? where one is needed."""
    choices = [o for o in overrides if "." not in o.split("=")[0] or "searchpath" in o]
    keep = [o for o in choices if "=" in o and not o.startswith("-") and "," not in o]
    chosen = [o for o in keep if o.partition("=")[0] in (*groups(command), "hydra.searchpath")]
    for attempt in (keep, chosen, []):
        try:
            config = composed(command, attempt, partial=True)
        except COMPOSING:
            continue
        plain: Any = OmegaConf.to_container(config, resolve=False)
        leaves = flatten(plain)
        return {k: leaves.get(k) for k in flat_keys(plain) if k.split(".")[0] != "hydra"}
    return {}


def _comma(override: str, command: str, overrides: Sequence[str]) -> ConfigError:
    key, _, value = override.partition("=")
    key = key.lstrip("+")
    usual = _plain(command, overrides).get(key)
    text = f"Add -m to run each of them, or quote it if it is one text: {quoted(override)}"
    listed = shlex.quote(f"{key}=[{value}]")
    if key in ALONE.get(command, ()):
        text = f"Write {listed}"
    elif isinstance(usual, list) or key in LISTED:
        text = f"Write {listed}, or add -m to run each of them"
    return ConfigError(f"{value!r} names several values", where=key, repair=text)


def _present(key: str, command: str, overrides: Sequence[str]) -> ConfigError:
    return ConfigError("this key exists already", where=key, repair="Write it without '+'.")


def _absent(key: str, command: str, overrides: Sequence[str]) -> ConfigError:
    return ConfigError("there is nothing to delete", where=key)


def _choose(group: str, command: str, overrides: Sequence[str]) -> ConfigError:
    options = sorted(p.stem for p in (conf_dir() / group).glob("*.yaml"))
    repair = f"Write e.g. {group}={options[0]}"
    known = _known(command, ())
    for key in (o.partition("=")[0] for o in overrides):
        if key not in known and difflib.get_close_matches(key, [group]):
            repair = f"'{key}' is no key: did you mean '{group}'? {repair}"
        # What is wrong besides, and would be told next.
        which = [] if key in known else holders(key, command).get(f"{group}.{key}", [])
        if which:
            repair = f"Write e.g. {which[0]} {group}.{key}=...: {told(which)}."
    return ConfigError(f"choose one of {', '.join(options)}", where=group, repair=repair)


def _not_an_option(kind: str, command: str, overrides: Sequence[str]) -> ConfigError:
    got = {"NoneType": "null", "int": "a number", "float": "a number", "bool": "true or false"}
    return ConfigError(
        f"a group takes the name of an option, got {got.get(kind, kind)}",
        repair="Write e.g. objective=bvpo",
    )


def _keyless(overrides: Sequence[str]) -> ConfigError | None:
    bare = [o for o in overrides if re.match(r"[+~]*[=@]", o)]
    return ConfigError(f"'{bare[0]}' has no key", repair="Write key=value.") if bare else None


def _other(error: Exception) -> ConfigError:
    text = str(error) or str(error.__cause__ or type(error).__name__)
    kept = re.split(r"\n\s*(?:full_key|object_type|Config search path|See https)", text)[0]
    if not isinstance(error, HydraException | OmegaConfBaseException | ValueError):
        kept = f"Hydra cannot compose this ({kept})"
    return ConfigError(" ".join(kept.split()), where=str(getattr(error, "full_key", None) or ""))


_TEXTS: dict[str, Callable[[str, str, Sequence[str]], ConfigError]] = {
    r"Could not override '([^']+)'": _unknown_key,
    r"Ambiguous value for argument '(.+)'": _comma,
    r"Sweep parameters '(.+)' requires --multirun": _comma,
    r"An item is already at '([^']+)'": _present,
    r"Could not delete from config. '([^']+)' does not exist": _absent,
    r"You must specify '([^']+)', e.g": _choose,
    r"Config group override must be a string or a list. Got (\w+)": _not_an_option,
}
