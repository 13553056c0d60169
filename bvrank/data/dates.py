"""Templates that print today's date, pinned: token ids must not change overnight.

Llama's template takes `date_string`; others call `strftime_now`, which transformers provides and
does not let a caller replace (5.23), so a macro of that name is put before the template.
"""

from __future__ import annotations

import datetime as dt

from bvrank.errors import ConfigError

CODES = "YmdbBaAyjHIMSpF"


def parsed_date(text: str) -> dt.date:
    """A date like 2024-07-26. Raises ConfigError for the key `date`."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"is no date like 2024-07-26: {text!r}", where="date") from error


def date_string(date: dt.date) -> str:
    """As Llama's template writes it: 26 Jul 2024."""
    return date.strftime("%d %b %Y")


def pinned(template: str, date: dt.date) -> str:
    """`template`, whose calls of strftime_now answer with `date`."""
    if "strftime_now" not in template:
        return template
    known = {f"%{c}": date.strftime(f"%{c}") for c in CODES}
    known |= {f"%-{c}": known[f"%{c}"].lstrip("0") or "0" for c in "dmjHIMS"}
    swaps = "".join(f"|replace({k!r}, {v!r})" for k, v in known.items())
    return "{% macro strftime_now(format) %}{{ format" + swaps + " }}{% endmacro %}" + template
