"""What the options of the config groups hold, chosen or not: for hints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from bvrank.commands.compose import flat_keys
from bvrank.commands.help import yaml_files
from bvrank.paths import conf_dir

_PACKAGE = re.compile(r"# @package (\S+)")
SHOWN = 3  # options that are named, of those that hold a key


def groups(command: str) -> list[str]:
    """The groups in which `bvrank <command>` chooses an option."""
    found: dict[str, None] = {}
    for path in yaml_files(command):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["defaults"]:
            found |= dict.fromkeys(entry if isinstance(entry, dict) else ())
    return [name for name in found if (conf_dir() / name).is_dir()]


def keys_of(group: str) -> dict[str, dict[str, Any]]:
    """Option of a group -> the dotted keys that it brings below the group's own, with values."""
    return {p.stem: dict(_keys(p, group)) for p in sorted((conf_dir() / group).glob("*.yaml"))}


def readers(group: str) -> list[str]:
    """The options of a group that want a path."""
    return [name for name, keys in keys_of(group).items() if keys.get(f"{group}.path") == "???"]


def holders(key: str, command: str) -> dict[str, list[str]]:
    """Dotted key -> `group=option` of all that hold it: those called `key` below any group of the
    command, or `key` itself where it has dots."""
    found: dict[str, list[str]] = {}
    for group in groups(command):
        for option, names in keys_of(group).items():
            for name in names:
                if name == key or ("." not in key and name.rpartition(".")[2] == key):
                    found.setdefault(name, []).append(f"{group}={option}")
    return dict(sorted(found.items(), key=lambda item: (item[0].count("."), item[0])))


def told(options: Sequence[str]) -> str:
    """`from=hh has it`, `from=arc and from=musique have it`, `..., and 4 others have it`."""
    named, more = list(options[:SHOWN]), len(options) - SHOWN
    last = named.pop() if more <= 0 else f"{more} other{'s' if more > 1 else ''}"
    names = f"{', '.join(named)} and {last}" if named else last
    return f"{names} {'has' if len(options) == 1 else 'have'} it"


def _keys(path: Path, group: str) -> Iterator[tuple[str, Any]]:
    text = path.read_text(encoding="utf-8")
    package = found[1] if (found := _PACKAGE.match(text)) else group
    node: dict[str, Any] = yaml.safe_load(text) or {}
    for key in flat_keys(node):
        name = key if package == "_global_" else f"{package}.{key}"
        last = key.rpartition(".")[2]
        if name.startswith(f"{group}.") and last != "defaults" and not last.startswith("_"):
            yield name, reduce(lambda inner, part: inner[part], key.split("."), node)
