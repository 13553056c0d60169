"""The help of a command: its groups and keys, with the comments that stand in conf/."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bvrank.commands.compose import composed
from bvrank.paths import conf_dir

_LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w]+):(?P<rest>.*)$")
_COMMENT = re.compile(r"(?:^|\s)#\s?(.*)$")
LEFT = 34  # columns of `key=value`


def screen(command: str, overrides: Sequence[str] = ()) -> str:
    """The help screen of `bvrank <command> <overrides> --help`, with the values those give."""
    config = composed(command, overrides)
    choices = {
        group: str(option)
        for group, option in config.hydra.runtime.choices.items()
        if not group.startswith("hydra/")
    }
    parts = [
        f"bvrank {command}: {_text(config.hydra.help.header)}",
        f"usage: bvrank {command} [group=option ...] [key=value ...] [-m] [--cfg job] [--info]",
        *([_groups(choices)] if choices else []),
        _keys(config, comments(command, overrides)),
        "Examples\n" + textwrap.indent(_text(config.hydra.help.footer), "  "),
    ]
    return "\n\n".join(parts)


def comments(command: str, overrides: Sequence[str] = ()) -> dict[str, str]:
    """Dotted key -> what its YAML comment says, for the group choices of `overrides`."""
    try:
        config = composed(command, overrides)
    except Exception:  # help for a broken command line is help for the plain one
        config = composed(command)
    found = dict(_commented(conf_dir() / f"{command}.yaml"))
    for group, option in config.hydra.runtime.choices.items():
        if option is not None and not group.startswith("hydra/"):
            path = _located(config, f"{group}/{option}.yaml")
            prefix = "" if path is None or _is_global(path) else f"{group.replace('/', '.')}."
            found |= {prefix + k: v for k, v in _commented(path)}
    return found


def _groups(choices: dict[str, str]) -> str:
    lines = ["Groups (* is the choice)"]
    for group, choice in choices.items():
        options = sorted((conf_dir() / group).glob("*.yaml"))
        for n, path in enumerate(options):
            mark = "*" if path.stem == choice else " "
            head = f"{group}=" if n == 0 else ""
            lines += _row(f"{head:<12}{mark}{path.stem}", _title(path))
    return "\n".join(lines)


def _keys(config: DictConfig, meaning: dict[str, str]) -> str:
    plain: Any = OmegaConf.to_container(config, resolve=False)
    plain.pop("hydra")
    lines = ["Keys"]
    for key, value in _leaves(plain):
        if not key.endswith("_target_"):
            lines += _row(f"{key}={_shown(value)}", meaning.get(key, ""))
    return "\n".join(lines)


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


def _commented(path: Path | None) -> Iterator[tuple[str, str]]:
    """(dotted key, comment) of a YAML file: the comment beside a key, else the lines above it."""
    stack: list[tuple[int, str]] = []
    above: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path else ():
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


def _located(config: DictConfig, name: str) -> Path | None:
    places = [Path(s.path) for s in config.hydra.runtime.config_sources if s["schema"] == "file"]
    return next((p / name for p in places if (p / name).is_file()), None)


def _is_global(path: Path) -> bool:
    return "# @package _global_" in path.read_text(encoding="utf-8").splitlines()[:3]


def _text(value: Any) -> str:
    return str(value).strip()
