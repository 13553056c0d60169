"""Where a run ended, bit for bit: what two run folders have to share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch


def unlike(one: Path, two: Path) -> list[str]:
    """What differs between the ends of two runs: weights, moments, trainer's state, logged lines,
    summary. Speed is none of it."""
    first, second = newest(one), newest(two)
    if first.name != second.name:
        return [f"{first.name} against {second.name}"]
    found = [name for name in _names(first) | _names(second) if not _same(first, second, name)]
    for name, read in (("metrics.jsonl", logged), ("summary.json", summary)):
        if read(one) != read(two):
            found.append(name)
    return sorted(found)


def newest(run: Path) -> Path:
    """The last checkpoint."""
    return max(run.glob("checkpoints/step-*"), key=lambda p: int(p.name.removeprefix("step-")))


def logged(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without seconds."""
    return [_without_speed(json.loads(line)) for line in lines(run)]


def lines(run: Path) -> list[str]:
    """The whole lines of metrics.jsonl."""
    path = run / "metrics.jsonl"
    return path.read_text().split("\n")[:-1] if path.is_file() else []


def last_step(run: Path) -> int:
    """The step of the last whole line of metrics.jsonl, 0 without one."""
    there = lines(run)
    return int(json.loads(there[-1])["step"]) if there else 0


def summary(run: Path) -> dict[str, Any]:
    """summary.json without seconds; empty when the run has none."""
    path = run / "summary.json"
    return dict(_without_speed(json.loads(path.read_text()))) if path.is_file() else {}


def status(run: Path) -> str:
    """What the manifest says."""
    return str(json.loads((run / "manifest.json").read_text())["status"])


def _names(step: Path) -> set[str]:
    return {str(p.relative_to(step)) for p in step.rglob("*") if p.is_file()}


def _same(one: Path, two: Path, name: str) -> bool:
    a, b = one / name, two / name
    if not (a.is_file() and b.is_file()):
        return False
    if name == "state.json":
        return bool(json.loads(a.read_text())["state"] == json.loads(b.read_text())["state"])
    if a.read_bytes() == b.read_bytes():
        return True
    if a.suffix != ".pt":
        return False
    loaded = [torch.load(p, weights_only=True, map_location="cpu") for p in (a, b)]
    return list(_leaves(loaded[0])) == list(_leaves(loaded[1]))


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested state with its place; tensors as dtype, shape and bytes."""
    if isinstance(node, torch.Tensor):
        flat = node.detach().cpu().contiguous().flatten()
        yield path, (str(node.dtype), tuple(node.shape), flat.view(torch.uint8).numpy().tobytes())
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}/{key}")
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from _leaves(value, f"{path}/{number}")
    else:
        yield path, node


def _without_speed(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    kept = {k: v for k, v in node.items() if not k.startswith("speed/") and k != "next"}
    return {k: _without_speed(v) for k, v in kept.items()}
