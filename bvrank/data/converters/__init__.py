"""Public data sets into rows that train. A converter is one file here and one in conf/from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from bvrank.records import Refused


class Converter(Protocol):
    """Turns one raw row into one row of a list or pair file."""

    @property
    def kind(self) -> str:
        """The source that reads what comes out: lists or pairs."""

    def convert(self, where: str, row: Mapping[str, Any]) -> dict[str, Any] | Refused:
        """The new row, or why there is none. Never raises over what a row holds."""
