"""What an annotation allows, and how to say it."""

from __future__ import annotations

import inspect
import json
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from bvrank.errors import ConfigError, did_you_mean

_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "null",
}

_UNIONS = (Union, types.UnionType)


def hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Parameter -> annotation of a function or of a class's constructor.

    A name that only type checkers import counts as Any.
    """
    if is_dataclass(target) and inspect.isclass(target):
        owners: list[Any] = [c for c in reversed(target.__mro__) if "__annotations__" in vars(c)]
    else:
        owners = [target.__init__ if inspect.isclass(target) else target]
    found: dict[str, Any] = {}
    for owner in owners:
        names = vars(sys.modules[owner.__module__]) if hasattr(owner, "__module__") else {}
        for name, hint in inspect.get_annotations(owner).items():
            found[name] = _evaluated(hint, names)
    return found


def fit(value: Any, hint: Any, key: str) -> Any:
    """`value` as `hint` wants it; ConfigError when it is something else.

    Read as strict JSON: a bool is no number and text is no number, but a whole number is a float
    and a list a tuple. An annotation that is a class of objects lets everything through.
    """
    from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

    try:
        adapter = TypeAdapter(hint)
    except PydanticSchemaGenerationError:
        return value
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise _misfit(value, hint, key) from error


def described(hint: Any) -> str:
    """An annotation in words: `int | None` is 'a whole number or null'."""
    if hint in _NAMES:
        return _NAMES[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(_literal(v) for v in inner)
    if origin in _UNIONS:
        return " or ".join(described(h) for h in inner)
    if origin is tuple and Ellipsis not in inner:
        return "[" + ", ".join(described(h) for h in inner) + "]"
    if hint is dict or is_dataclass(hint) or _is_mapping(origin):
        return "keys with values"
    if origin is None:
        return getattr(hint, "__name__", str(hint))
    return f"a list (each {described(inner[0])})" if inner and inner[0] is not Any else "a list"


def _is_mapping(origin: Any) -> bool:
    return inspect.isclass(origin) and issubclass(origin, Mapping)


def shown(value: Any) -> str:
    """A value as a config file would have it: null, true, 0.1, 'text'."""
    return repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _misfit(value: Any, hint: Any, key: str) -> ConfigError:
    if isinstance(value, list) and get_origin(hint) is list:
        (inner,) = get_args(hint)
        number = next((n for n, v in enumerate(value) if not _fits(v, inner)), None)
        if number is not None:
            return _misfit(value[number], inner, f"{key}[{number}]")
    options = [v for h in (hint, *get_args(hint)) if get_origin(h) is Literal for v in get_args(h)]
    close = did_you_mean(value, map(str, options)) if isinstance(value, str) and options else ""
    if close.startswith("Known"):
        close = ""
    inside = "[" in key  # of a list: no key that can be written
    if not isinstance(value, list | dict) and not inside and _fits([value], hint):
        close = f"Write {key}=[{_literal(value)}]."
    if not inside and (hint is str or (get_origin(hint) in _UNIONS and str in get_args(hint))):
        close = f"As text it is written {key}='\"{_literal(value)}\"'"
    return ConfigError(f"must be {described(hint)}, got {shown(value)}", where=key, repair=close)


def _fits(value: Any, hint: Any) -> bool:
    try:
        fit(value, hint, "")
    except ConfigError:
        return False
    return True


def _evaluated(hint: Any, names: dict[str, Any]) -> Any:
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, dict(names))
    except Exception:
        return Any


def _literal(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
