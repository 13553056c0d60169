"""Prompts made of a template: {names} in braces are filled in, any other brace is text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bvrank.errors import ConfigError


def check_template(name: str, template: str, *needed: str) -> None:
    """ConfigError where the template lacks one of its fields."""
    for field in needed:
        if field not in template:
            raise ConfigError(
                f"must hold {field}, got {template!r}",
                where=name,
                repair=f"As in {name}='{' '.join(needed)}'.",
            )


def filled(template: str, **fields: str) -> str:
    """The template with its fields: what is filled in is not looked at again."""
    names = "|".join(map(re.escape, fields))
    return re.sub(rf"\{{({names})\}}", lambda m: fields[m[1]], template)


def listed(prompt: str, option: str, candidates: Iterable[str]) -> str:
    """The prompt with its candidates below it, a line each."""
    return "\n".join([prompt, *(filled(option, option=c) for c in candidates)])
