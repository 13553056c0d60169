"""A run folder as it is read: whatever is there, and what was wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bvrank.errors import RunError
from bvrank.run.files import from_json, read_jsonl, to_json
from bvrank.run.lock import owner_lives

CONFIG, MANIFEST, SUMMARY = "config.yaml", "manifest.json", "summary.json"
METRICS, REFUSED, EXAMPLES = "metrics.jsonl", "refused.jsonl", "examples.jsonl"


@dataclass(frozen=True)
class RunRecord:
    """One run, read. Parts that are missing or damaged are empty and named in `problems`.

    `status` is finished, failed, interrupted, running, killed (it says running and its process is
    gone) or damaged. `metrics` are the lines of metrics.jsonl, each with its `step`;
    `examples` are those of examples.jsonl.
    """

    path: Path
    status: str
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]
    problems: tuple[str, ...] = ()
    examples: tuple[Mapping[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    @property
    def seed(self) -> Any:
        """The seed of its configuration, None when that is unknown."""
        return self.config.get("seed")

    @property
    def message(self) -> str:
        """Why it stopped, "" for a run that finished."""
        return str(self.manifest.get("message") or "")


def is_run(folder: Path) -> bool:
    """Whether `folder` is a run folder, whatever its state."""
    return (folder / MANIFEST).is_file() or (folder / CONFIG).is_file()


def read_run(folder: Path) -> RunRecord:
    """Everything `folder` tells about its run. RunError when it is no run folder at all."""
    if not is_run(folder):
        raise RunError("is not a run folder: it has no manifest.json", where=str(folder))
    problems: list[str] = []
    manifest = _part(folder / MANIFEST, from_json, problems)
    config = _part(folder / CONFIG, yaml.safe_load, problems)
    status = str(manifest.get("status") or "damaged")
    summary: Mapping[str, Any] = {}
    if status == "finished" or (folder / SUMMARY).is_file():
        summary = _part(folder / SUMMARY, from_json, problems)
    if status == "running" and not owner_lives(folder):
        status = "killed"
    metrics, examples = (tuple(_lines(folder / name, problems)) for name in (METRICS, EXAMPLES))
    told = tuple(problems)
    return RunRecord(folder, status, config, manifest, metrics, summary, told, examples)


def read_config(folder: Path) -> dict[str, Any]:
    """config.yaml of a run folder. RunError when it is missing or damaged."""
    return _strict(folder / CONFIG, yaml.safe_load)


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of a run folder. RunError when it is missing or damaged."""
    return _strict(folder / MANIFEST, from_json)


def _strict(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    problems: list[str] = []
    found = _part(path, parse, problems)
    if problems:
        raise RunError(
            f"this run folder is damaged: {problems[0]}",
            where=str(path.parent),
            repair="Start again with force=true, which moves it aside.",
        )
    return found


def _part(path: Path, parse: Callable[[str], Any], problems: list[str]) -> dict[str, Any]:
    try:
        value = parse(path.read_text("utf-8"))
        to_json(value)  # an alias of YAML may hold itself: nobody below could walk through it
    except OSError:
        problems.append(f"{path.name} is missing")
        return {}
    except (ValueError, RecursionError, yaml.YAMLError):
        problems.append(f"{path.name} cannot be read")
        return {}
    if isinstance(value, dict):
        return value
    problems.append(f"{path.name} is not a mapping")
    return {}


def _lines(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a line of metrics.jsonl that tells no step is none."""
    try:
        rows, torn = read_jsonl(path)
    except OSError:
        problems.append(f"{path.name} cannot be read")
        return []
    if path.name == METRICS:
        whole = [row for row in rows if _is_step(row.get("step"))]
        rows, torn = whole, torn + len(rows) - len(whole)
    if torn:
        problems.append(f"{path.name}: {torn} unreadable line{'s' if torn > 1 else ''} left out")
    return rows


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
