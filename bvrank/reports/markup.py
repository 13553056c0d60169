"""HTML that is built, never pasted: a plain string that goes in comes out escaped."""

from __future__ import annotations

from html import escape

from bvrank.reports.text import readable
from bvrank.secrets import redact

VOID = {"meta"}  # elements without an end


class Markup(str):
    """Text that is HTML already. `element` makes it; only constants are turned into it by hand."""


def element(tag: str, *children: str, **attributes: str | int) -> Markup:
    """`<tag attributes>children</tag>`; `class_` is the attribute `class`, and `_` stands for `-`.

    Strings that are no Markup are escaped, their control characters shown by name, what has the
    shape of a secret hidden.
    """
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_safe(str(value))}"'
        for name, value in attributes.items()
    )
    inner = "".join(c if isinstance(c, Markup) else _safe(c) for c in children)
    return Markup(f"<{tag}{named}>" if tag in VOID else f"<{tag}{named}>{inner}</{tag}>")


def together(*parts: str) -> Markup:
    """The parts one after another, each escaped unless it is Markup."""
    return Markup("".join(p if isinstance(p, Markup) else _safe(p) for p in parts))


def _safe(text: str) -> str:
    return escape(readable(redact(text)), quote=True)
