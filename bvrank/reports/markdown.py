"""The report as one Markdown page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bvrank.reports.curves import Panel
from bvrank.reports.figures import mapping
from bvrank.reports.tables import MISSING, Table
from bvrank.run import RunRecord


def page(
    records: Sequence[RunRecord], shown: Sequence[Table], images: Sequence[tuple[Panel, Path]]
) -> str:
    """Tables, curves, and where each run comes from. Images are named relative to the page."""
    done = sum(r.status == "finished" for r in records)
    parts = [
        "# Report",
        f"{len(records)} runs, {done} finished. Figures are means over seeds, ± half the width of "
        "their 95 % interval (Student's t), with the standard deviation over seeds; a single run "
        "has its figure alone.",
    ]
    for table in shown:
        parts += [
            f"## {table.heading}",
            markdown_table(table.header(), table.body()),
        ]
        if table.notes:
            parts.append("\n".join(f"- {escape(note)}" for note in table.notes))
    if images:
        parts.append("## Curves")
        parts += [f"![{escape(panel.heading)}]({path.name})" for panel, path in images]
    parts += ["## Where the runs come from", provenance(records), commands(records)]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A GitHub-flavoured table; anything may stand in a cell."""
    lines = [_line(header), _line(["---"] * len(header), raw=True)]
    return "\n".join([*lines, *(_line(row) for row in rows)])


def escape(text: str) -> str:
    """`text` so that Markdown and HTML show it as it is, on one line."""
    flat = " ".join(text.split())
    safe = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", safe)


def provenance(records: Sequence[RunRecord]) -> str:
    """One line per run: state, code, versions, data, time."""
    header = ["run", "seed", "status", "commit", "bvrank", "torch", "data", "kept", "refused", "s"]
    return markdown_table(header, map(_source_row, records))


def commands(records: Sequence[RunRecord]) -> str:
    """The command lines, in a block that shows them as they are."""
    lines = [f"{r.name}: {_command(r.manifest)}" for r in records if r.manifest.get("command")]
    fence = "`" * max([3, *(len(m) + 1 for line in lines for m in re.findall("`+", line))])
    return "\n".join([f"{fence}text", *lines, fence]) if lines else ""


def _line(cells: Sequence[str], *, raw: bool = False) -> str:
    return "| " + " | ".join(c if raw else escape(c) for c in cells) + " |"


def _source(record: RunRecord) -> Iterator[str]:
    manifest = record.manifest
    data, versions = mapping(manifest.get("data")), mapping(manifest.get("versions"))
    refused = mapping(data.get("refused"))
    listed = ", ".join(f"{reason} {count}" for reason, count in refused.items())
    yield from (record.name, _told(record.seed), record.status, _commit(manifest.get("git")))
    yield from (_told(versions.get(name)) for name in ("bvrank", "torch"))
    yield _told(manifest.get("rows_digest") or data.get("fingerprint"))[:12]
    yield _told(data.get("kept"))
    yield listed or ("0" if "refused" in data else MISSING)
    yield _told(manifest.get("seconds"))


def _source_row(record: RunRecord) -> list[str]:
    return list(_source(record))


def _commit(git: Any) -> str:
    found = mapping(git)
    commit = _told(found.get("commit"))[:10]
    return f"{commit} + changes" if found.get("dirty") else commit


def _command(manifest: Mapping[str, Any]) -> str:
    words = [str(w) for w in manifest["command"]]
    return " ".join(" ".join(f"'{w}'" if re.search(r"[\s*'\"]", w) else w for w in words).split())


def _told(value: Any) -> str:
    return MISSING if value is None or value == "" else str(value)
