"""From a config node to an object: the constructor's signature is the schema."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, get_origin

from bvrank.commands.annotations import fit, hints
from bvrank.errors import ConfigError, did_you_mean


def build(node: Mapping[str, Any], key: str, trusted: Sequence[str] = (), **extra: Any) -> Any:
    """Calls what `_target_` of `node` names with the node's other keys, checked.

    Nested nodes with a `_target_` are built first; `extra` are arguments that no config holds.
    A text where the constructor wants a Callable names one. Only names inside bvrank and the
    packages in `trusted` are imported. `key` is where the node
    stands in the config, and every ConfigError carries it.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(
            "names nothing to build", where=key, repair="Give it a '_target_', or choose an option."
        )
    target = locate(node["_target_"], f"{key}._target_" if key else "_target_", trusted)
    values = {k: v for k, v in node.items() if k != "_target_"}
    return construct(target, values, key, trusted, **extra)


def trackers_of(nodes: Mapping[str, Any], trusted: Sequence[str] = ()) -> list[Any]:
    """The settings of each tracker that is asked for, checked: its package is there.

    `tracker(done)` of one makes the tracker itself: on rank 0 alone.
    """
    return [build(node, f"tracker.{name}", trusted) for name, node in nodes.items()]


def construct(
    target: Callable[..., Any],
    values: Mapping[str, Any],
    key: str,
    trusted: Sequence[str] = (),
    **extra: Any,
) -> Any:
    """Calls `target` with `values`: no unknown key, none missing, each of its annotated type.

    A ConfigError, ValueError or TypeError that the constructor raises names the key.
    """
    _check_keys(target, values, key, extra)
    allowed = hints(target)
    arguments = {
        name: _argument(value, allowed.get(name, Any), _below(key, name), trusted)
        for name, value in values.items()
    }
    try:
        return target(**arguments, **extra)
    except ConfigError as error:
        where = _below(key, error.where) if error.where else key
        raise ConfigError(error.what, where=where, repair=error.repair) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error), where=key) from error


def locate(name: Any, key: str, trusted: Sequence[str] = ()) -> Callable[..., Any]:
    """The callable at a dotted path inside bvrank or a trusted package."""
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"must be a dotted path, got {name!r}", where=key)
    package = name.split(".")[0]
    if package not in {"bvrank", *trusted}:
        raise ConfigError(
            f"'{name}' lies outside bvrank",
            where=key,
            repair=f"Name its package: hydra.searchpath=[pkg://{package}.conf] or "
            f"trusted=[{package}].",
        )
    module, _, attribute = name.rpartition(".")
    try:
        target = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"'{name}' cannot be imported ({error})",
            where=key,
            repair=_importing(module, attribute),
        ) from error
    except (Exception, SystemExit) as error:  # code of strangers: it may raise anything
        what = f"'{name}' cannot be imported ({type(error).__name__}: {error})"
        raise ConfigError(what, where=key) from error
    if not callable(target):
        raise ConfigError(f"'{name}' is not a class or function", where=key)
    if package == "bvrank" and not str(getattr(target, "__module__", "")).startswith("bvrank."):
        raise ConfigError(f"'{name}' is imported there, but not bvrank's own", where=key)
    if package == "bvrank" and not is_dataclass(target):
        # Whatever else bvrank can call (deleting old checkpoints, say) is no setting.
        raise ConfigError(f"'{name}' is nothing that a config builds", where=key)
    found: Callable[..., Any] = target
    return found


def _importing(module: str, attribute: str) -> str:
    """What helps where a name cannot be imported."""
    try:
        names = [n for n in vars(importlib.import_module(module)) if not n.startswith("_")]
    except Exception:  # code of strangers
        return "Install its package, or put the folder it lies in on PYTHONPATH."
    return did_you_mean(attribute, names[:30])


def _argument(value: Any, hint: Any, key: str, trusted: Sequence[str]) -> Any:
    """`value` as the constructor wants it: built, found by its name, or checked."""
    if isinstance(value, Mapping) and "_target_" in value:
        return build(value, key, trusted)
    if get_origin(hint) is Callable or hint is Callable:
        return locate(value, key, trusted)
    if isinstance(value, Mapping) and isinstance(hint, type) and is_dataclass(hint):
        return construct(hint, value, key, trusted)
    if isinstance(value, list) and any(map(_names_targets, value)):
        return tuple(_argument(v, Any, f"{key}[{i}]", trusted) for i, v in enumerate(value))
    if isinstance(value, Mapping) and any(map(_names_targets, value.values())):
        return {k: _argument(v, Any, _below(key, str(k)), trusted) for k, v in value.items()}
    return fit(value, hint, key)


def _names_targets(value: Any) -> bool:
    """Whether something below `value` has to be built."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_names_targets, value.values()))
    return isinstance(value, list) and any(map(_names_targets, value))


def _check_keys(
    target: Callable[..., Any], values: Mapping[str, Any], key: str, extra: Mapping[str, Any]
) -> None:
    parameters = inspect.signature(target).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    known = {p.name for p in named} - set(extra)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for name in values:
            if name not in known:
                raise ConfigError(
                    "there is no such key",
                    where=_below(key, str(name)),
                    repair=did_you_mean(str(name), known),
                )
    for p in named:
        if p.default is p.empty and p.name not in values and p.name not in extra:
            where = _below(key, p.name)
            raise ConfigError(
                "needs a value", where=where, repair=f"Add {where}=... to the command."
            )


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
