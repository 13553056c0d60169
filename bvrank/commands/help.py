"""The help of a command: its groups and keys, with the comments that stand in conf/."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from bvrank.commands.compose import COMPOSING, composed
from bvrank.paths import conf_dir

_LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w]+):(?P<rest>.*)$")
_COMMENT = re.compile(r"""^(?:'[^']*'|"[^"]*"|[^'"#]|(?<=\S)#)*?(?<!\S)#\s?(.*)$""")
LEFT = 31  # columns of `key=value`
RECIPE = "recipe/"  # groups that follow from the others


def screen(command: str, overrides: Sequence[str] = ()) -> str:
    """The help screen of `bvrank <command> <overrides> --help`, with the values those give."""
    config = composed(command, overrides, partial=True)
    choices = _choices(config)
    parts = [
        f"bvrank {command}: {_text(config.hydra.help.header)}",
        f"usage: bvrank {command} [group=option ...] [key=value ...] [-m] [--cfg job] [--info]",
        *([_groups(choices, _places(config))] if choices else []),
        *_keys(config, choices, comments(command, overrides)),
        "Examples\n" + textwrap.indent(_text(config.hydra.help.footer), "  "),
    ]
    return "\n\n".join(parts)


def comments(command: str, overrides: Sequence[str] = ()) -> dict[str, str]:
    """Dotted key -> what its YAML comment says, for the group choices of `overrides`."""
    try:
        config = composed(command, overrides, partial=True)
    except COMPOSING:  # of a broken command line: the meaning in the plain one
        config = composed(command, partial=True)
    found = {key: text for path in yaml_files(command) for key, text in _commented(path)}
    for group, chosen in _choices(config).items():
        folder, _, package = group.partition("@")
        files = [place / folder / f"{o}.yaml" for o in chosen for place in _places(config)]
        for path in filter(Path.is_file, files):
            prefix = f"{package}." if package else _package(path, group)
            found |= {prefix + key: text for key, text in _commented(path)}
    return found


def yaml_files(command: str) -> Iterator[Path]:
    """The command's YAML, behind those of commands whose keys it takes over."""
    path = conf_dir() / f"{command}.yaml"
    for name in yaml.safe_load(path.read_text(encoding="utf-8"))["defaults"]:
        if isinstance(name, str) and name != "_self_" and (conf_dir() / f"{name}.yaml").is_file():
            yield from yaml_files(name) if name != "hydra_defaults" else ()
    yield path


def _choices(config: DictConfig) -> dict[str, list[str]]:
    """Group -> options chosen, in the order of the command's defaults list."""
    listed = reversed(list(config.hydra.runtime.choices.items_ex(resolve=False)))
    found = {g: [str(o)] if o else [] for g, o in listed if not g.startswith("hydra/")}
    for place in _places(config):  # Hydra leaves out a group of which several are chosen
        for group in (p.name for p in place.glob("*") if p.is_dir() and p.name not in found):
            node = OmegaConf.select(config, group)
            if isinstance(node, DictConfig):
                found[group] = [str(k) for k in node if (place / group / f"{k!s}.yaml").is_file()]
    return found


def _groups(choices: dict[str, list[str]], places: Sequence[Path]) -> str:
    lines = ["Groups (* is the choice)"]
    for group, chosen in sorted(choices.items(), key=lambda choice: "@" in choice[0]):
        if group.startswith(RECIPE):
            continue
        if "@" in group:
            inner = f"*{_option(chosen)}, or another option of {group.partition('@')[0]}"
            lines += _row(f"{group}=", inner)
        options = {path.stem: path for place in places for path in (place / group).glob("*.yaml")}
        for n, (option, path) in enumerate(sorted(options.items())):
            mark = "*" if option in chosen else " "
            head = f"{group}=" if n == 0 else ""
            lines += _row(f"{head:<11} {mark}{option}", _title(path))
    return "\n".join(lines)


def _keys(
    config: DictConfig, choices: dict[str, list[str]], meaning: dict[str, str]
) -> Iterator[str]:
    """A block for the keys that are always there, and one for each chosen option's."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    plain.pop("hydra")
    nodes = {g: plain.pop(g) for g in choices if isinstance(plain.get(g), dict)}
    blocks = {"Keys": dict(_leaves(plain))}
    for group, node in nodes.items():
        blocks[f"Keys of {group}={_option(choices[group])}"] = dict(_leaves(node, f"{group}."))
    for title, leaves in blocks.items():
        rows = [
            _row(f"{key}={_shown(value)}", meaning.get(key, ""))
            for key, value in leaves.items()
            if not key.endswith("_target_")
        ]
        if rows:
            yield "\n".join([title, *(line for row in rows for line in row)])


def _option(chosen: Sequence[str]) -> str:
    """The options as they are written on the command line."""
    return chosen[0] if len(chosen) == 1 else f"[{','.join(chosen)}]"


def _row(left: str, right: str) -> list[str]:
    width = min(shutil.get_terminal_size((100, 24)).columns, 110)
    wrapped = textwrap.wrap(right, max(width - LEFT - 4, 30)) or [""]
    if len(left) > LEFT:
        return [f"  {left}", *(f"  {'':<{LEFT}}  {line}" for line in wrapped if line)]
    first = f"  {left:<{LEFT}}  {wrapped[0]}".rstrip()
    return [first, *(f"  {'':<{LEFT}}  {line}" for line in wrapped[1:])]


def _leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _commented(path: Path) -> Iterator[tuple[str, str]]:
    """(dotted key, comment) of a YAML file: the comment beside a key, else the lines above it.

    The comment that opens the file is its title.
    """
    stack: list[tuple[int, str]] = []
    above: list[str] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for line in itertools.dropwhile(lambda text: text.startswith("#"), lines):
        if not (found := _LINE.match(line)):
            above = [*above, line.strip()[1:].strip()] if line.strip().startswith("#") else []
            continue
        depth = len(found["indent"])
        stack = [(d, k) for d, k in stack if d < depth] + [(depth, found["key"])]
        beside = _COMMENT.search(found["rest"])
        if text := beside[1] if beside else " ".join(above):
            yield ".".join(k for _, k in stack), text.strip()
        above = []


def _title(path: Path) -> str:
    """The first comment of a YAML file that is not for Hydra."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @package"):
            continue
        return line[1:].strip().rstrip(".") if line.startswith("#") else ""
    return ""


def _places(config: DictConfig) -> list[Path]:
    """The folders that Hydra reads: conf/ and those of hydra.searchpath."""
    found: list[Path] = []
    for source in config.hydra.runtime.config_sources:
        if source["schema"] == "file":
            found.append(Path(source.path))
        elif source["schema"] == "pkg" and source.path != "hydra.conf":
            spec = importlib.util.find_spec(source.path)
            found += map(Path, (spec.submodule_search_locations or []) if spec else [])
    return found


def _package(path: Path, group: str) -> str:
    """What stands before the keys of an option's file in the config."""
    for line in path.read_text(encoding="utf-8").splitlines()[:3]:
        if line.startswith("# @package "):
            package = line.split()[-1]
            return "" if package == "_global_" else f"{package}."
    return f"{group.replace('/', '.')}."


def _text(value: Any) -> str:
    return str(value).strip()
