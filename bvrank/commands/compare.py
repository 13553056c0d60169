"""Two checkpoints and two logs of one trajectory, compared bit by bit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

TENSORS = 3  # differing tensors that are named, per file


Different = tuple[str, str]  # what, and how


def differing_files(one: Path, other: Path) -> list[Different]:
    """The files of two folders that differ, by name; empty when every byte is the same."""
    names = sorted({*_files(one), *_files(other)})
    return [(name, why) for name in names if (why := _difference(one / name, other / name))]


def differing_figures(
    one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]
) -> list[Different]:
    """Logged figures that differ; seconds and speeds are nobody's trajectory."""
    steps = sorted({row["step"] for row in (*one, *other)})
    first, second = ({row["step"]: row for row in rows} for rows in (one, other))
    found = []
    for step in steps:
        a, b = first.get(step, {}), second.get(step, {})
        for name in sorted({*a, *b}):
            if not name.startswith("speed/") and repr(a.get(name)) != repr(b.get(name)):
                found.append((f"step {step}, {name}", f"{a.get(name)} against {b.get(name)}"))
    return found


def _files(folder: Path) -> Iterator[str]:
    return (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def _difference(one: Path, other: Path) -> str:
    """Why two files differ, "" when they do not."""
    if not other.is_file():
        return "the resumed run did not write it"
    if not one.is_file():
        return "the resumed run alone wrote it"
    if _same(one, other):
        return ""
    try:
        if one.suffix == ".json":
            found = _differing_keys(*(json.loads(p.read_text()) for p in (one, other)))
        else:
            found = list(_differing_tensors(_tensors(one), _tensors(other)))
    except Exception:  # a format of its own: its bytes differ, and more cannot be said
        found = []
    return "; ".join(found[:TENSORS]) + _more(len(found)) if found else "its bytes differ"


def _more(count: int) -> str:
    return f"; and {count - TENSORS:,} more" if count > TENSORS else ""


def _same(one: Path, other: Path, chunk: int = 1 << 22) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        while part := a.read(chunk):
            if part != b.read(chunk):
                return False
    return True


def _tensors(path: Path) -> dict[str, Any]:
    """The tensors of a file of safetensors or torch.save, by name."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    import torch

    return dict(_flat(torch.load(path, map_location="cpu", weights_only=True)))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{index}]")
    else:
        yield name, value


def _differing_tensors(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    import torch

    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
            if a != b:
                yield f"{name} {a} against {b}"
        elif a.shape != b.shape or a.dtype != b.dtype:
            yield f"{name} {a.dtype} {tuple(a.shape)} against {b.dtype} {tuple(b.shape)}"
        elif not torch.equal(a, b):
            most = (a.double() - b.double()).abs().max().item()
            yield f"{name} by at most {most:.3g}"


def _differing_keys(one: Any, other: Any) -> list[str]:
    a, b = dict(_flat(one)), dict(_flat(other))
    keys = sorted(k for k in {*a, *b} if a.get(k) != b.get(k))
    return [f"{key} {_short(a.get(key))} against {_short(b.get(key))}" for key in keys]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}..."
