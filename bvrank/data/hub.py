"""Data sets of the `datasets` library: folders it saved, and ids of the hub. Imported lazily."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bvrank.errors import DataError
from bvrank.hub import offline, reachable

MARKS = ("dataset_info.json", "state.json", "dataset_dict.json")


def saved_rows(folder: Path, split: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a folder that `save_to_disk` wrote, as (`folder:row`, row)."""
    if not any((folder / mark).is_file() for mark in MARKS):
        files = [p.name for p in sorted(folder.iterdir()) if p.is_file()][:3]
        raise DataError(
            "is a directory that datasets.save_to_disk did not write",
            where=str(folder),
            repair=f"Name a file in it, such as {', '.join(files)}." if files else "It is empty.",
        )
    import datasets

    try:
        data = datasets.load_from_disk(str(folder))
    except Exception as error:  # the library raises from a dozen unrelated classes
        raise DataError(f"cannot be loaded ({_first(error)})", where=str(folder)) from error
    return _numbered(_one_split(data, split, str(folder)), folder.name)


def hub_rows(name: str, split: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a hub data set (or of its cached copy when the hub cannot be reached). `name` is an
    id, or `id:configuration` of one that has several."""
    import datasets

    online = reachable()
    repository, _, configuration = name.partition(":")
    try:
        with offline(not online):
            data = datasets.load_dataset(repository, configuration or None)
    except Exception as error:  # as above
        reason = _first(error) if online else "the hub cannot be reached and no copy is cached"
        raise DataError(
            f"is no file here and no data set of the hub ({reason})",
            where=name,
            repair="A local file is named with its suffix, as in pairs.jsonl.",
        ) from error
    return _numbered(_one_split(data, split, name), name)


def _one_split(data: Any, split: str | None, where: str) -> Any:
    if not isinstance(data, dict):
        if split is None:
            return data
        raise DataError(f"has no splits, so no '{split}'", where=where, repair="Leave it out.")
    if split is None and len(data) == 1:
        return next(iter(data.values()))
    if split in data:
        return data[split]
    what = "holds several splits" if split is None else f"has no split '{split}'"
    raise DataError(
        what, where=where, repair=f"Choose one: data.split={' | '.join(map(str, data))}."
    )


def _numbered(data: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(data, start=1):
        yield f"{name}:{number}", dict(row)


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
