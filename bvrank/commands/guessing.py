"""Which converters make something of a file that another one could not read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from bvrank.commands.build import build
from bvrank.commands.compose import composed, frozen
from bvrank.data.files import read_rows
from bvrank.data.refusals import NO_FAULT
from bvrank.errors import BvrankError
from bvrank.paths import conf_dir
from bvrank.records import Refused

LOOKED_AT = 20  # rows


def hint(path: str, split: str | None) -> str:
    """`from=arc, from=hh or from=trl can read its first rows.`; empty where none can."""
    *most, last = list(_readers(path, split)) or [""]
    names = f"{', '.join(most)} or {last}" if most else last
    return f"{names} can read its first rows." if names else ""


def _readers(path: str, split: str | None) -> Iterator[str]:
    for name in sorted(p.stem for p in (conf_dir() / "from").glob("*.yaml")):
        config = frozen(composed("convert", (f"from={name}", "path=x", "out=x.jsonl")))
        converter = build(config["from"], "from", ())
        try:
            if _reads(converter, path, split):
                yield f"from={name}"
        except BvrankError:
            continue  # a format of another kind altogether


def _reads(converter: Any, path: str, split: str | None) -> bool:
    """Whether some of the first rows come to something, and none is at fault."""
    read = getattr(converter, "read", None)
    drafts = 0
    for where, row in islice(read(path) if read else read_rows(path, split), LOOKED_AT):
        for found in converter.convert(where, row):
            if not isinstance(found, Refused):
                drafts += 1
            elif found.reason not in NO_FAULT:
                return False
    return drafts > 0
