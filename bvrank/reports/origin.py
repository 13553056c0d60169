"""What each run was told to do, and where it comes from."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from bvrank.reports.figures import is_number, mapping
from bvrank.reports.grid import scrolling
from bvrank.reports.markup import Markup, element, together
from bvrank.reports.rows import MISSING, Row
from bvrank.reports.text import cut, one_line
from bvrank.run import RunRecord
from bvrank.run.identity import plain

LONGEST = 12_000  # characters of a configuration that are shown
HEADS = ("run", "seed", "status", "commit", "bvrank", "torch", "data", "rows kept", "refused",
         "seconds")  # fmt: skip


def configurations(rows: Sequence[Row]) -> Markup:
    """The settings in which rows differ, side by side; then each row's whole configuration."""
    keys = list(rows[0].keys) if rows else []
    differing = [[row.name, *row.keys.values()] for row in rows]
    found = [scrolling(["run", *keys], differing)] if keys else []
    if not keys:
        found.append(element("p", "No setting but the seed differs between the runs.")
                     if len(rows) > 1 else Markup(""))  # fmt: skip
    for row in rows:
        if config := row.runs[0].config:
            head = together(row.title, " ", element("span", f"seed {row.seeds}", class_="dim"))
            text = element("pre", cut(_yaml(config), LONGEST))
            found.append(_folded(head, *_own(row), text))
    return together(*found)


def sources(records: Sequence[RunRecord]) -> Markup:
    """One line per run: state, code, versions, data, time; then the rest of what it recorded."""
    table = scrolling(list(HEADS), [list(_source(record)) for record in records])
    return together(table, *map(_details, records))


def _folded(head: str, *parts: Markup) -> Markup:
    return element("details", element("summary", head), element("div", *parts))


def _own(row: Row) -> Iterator[Markup]:
    """The settings that only this row has so, before all of them."""
    if row.keys:
        pairs = [(key, value) for key, value in row.keys.items() if value != MISSING]
        yield _pairs(pairs)


def _pairs(pairs: Sequence[tuple[str, str]]) -> Markup:
    told = [(element("dt", k), element("dd", cut(one_line(v), 2000))) for k, v in pairs if v]
    return element("dl", *(e for pair in told for e in pair))


def _source(record: RunRecord) -> Iterator[str]:
    manifest = record.manifest
    data, versions = mapping(manifest.get("data")), mapping(manifest.get("versions"))
    yield from (record.name, _told(record.seed), record.status, _commit(manifest.get("git")))
    yield from (_told(versions.get(name)) for name in ("bvrank", "torch"))
    yield _told(manifest.get("rows_digest") or data.get("fingerprint"))[:12]
    yield _told(data.get("kept"))
    yield _refused(data)
    yield _seconds(manifest.get("seconds"))


def _details(record: RunRecord) -> Markup:
    manifest = record.manifest
    data = mapping(manifest.get("data"))
    pairs = [
        ("command", _command(manifest.get("command"))),
        *(("resumed", _session(s)) for s in _list(manifest.get("resumed"))),
        ("status", ": ".join(filter(None, (record.status, record.message)))),
        ("problems", "; ".join(record.problems)),
        ("rows at fault", ", ".join(map(str, _list(manifest.get("rows_at_fault"))))),
        ("started", _text(manifest.get("started"))),
        ("ended", _text(manifest.get("ended"))),
        ("seconds", _text(manifest.get("seconds"))),
        ("git", _commit(manifest.get("git"), whole=True)),
        ("versions", _listed(manifest.get("versions"))),
        ("machine", _listed(manifest.get("machine"))),
        ("processes", _text(manifest.get("world_size"))),
        ("seeds", _listed(manifest.get("seeds"))),
        ("data", _text(data.get("fingerprint"))),
        ("rows", _text(manifest.get("rows_digest"))),
        ("rows kept", _text(data.get("kept"))),
        ("rows refused", _refused(data)),
        ("reference", _listed(manifest.get("reference"))),
    ]  # fmt: skip
    return _folded(record.name, _pairs(pairs))


def _refused(data: Mapping[str, Any]) -> str:
    """Counts by reason; 0 when every row trained, - when nothing is known."""
    listed = _listed(data.get("refused"))
    return listed or ("0" if "refused" in data else MISSING)


def _commit(git: Any, whole: bool = False) -> str:
    found = mapping(git)
    commit = _told(found.get("commit"))[: None if whole else 10]
    return f"{commit} + changes" if found.get("dirty") else commit


def _command(command: Any) -> str:
    return shlex.join(map(str, _list(command)))


def _session(session: Any) -> str:
    found = mapping(session)
    return " ".join(filter(None, (_text(found.get("at")), _command(found.get("command")))))


def _listed(node: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in mapping(node).items())


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _seconds(value: Any) -> str:
    return f"{value:,.0f}" if is_number(value) else MISSING


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _told(value: Any) -> str:
    return _text(value) or MISSING


def _yaml(config: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True))
