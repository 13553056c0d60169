"""From a command line to a resolved, frozen config: hydra.main behind one dispatcher.

Hydra composes and does nothing else: the task function it calls only takes the config out, and
the command runs afterwards, so that no frame of Hydra stands around a run.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bvrank.commands.compose import (
    COMPOSING,
    VERSION_BASE,
    check_searchpath,
    frozen,
    opened,
    quiet_searchpath,
    written,
)
from bvrank.commands.hydra_errors import explain
from bvrank.commands.inert import inert_loading
from bvrank.commands.job import execute
from bvrank.commands.sweep import Sweep
from bvrank.errors import BvrankError, ConfigError
from bvrank.paths import conf_dir
from bvrank.secrets import refuse_settings


def run(command: str, args: Sequence[str]) -> int:
    """Runs `bvrank <command> <args>` and returns its exit code.

    ConfigError for every mistake in `args`.
    """
    if os.getcwd() not in sys.path:  # pkg://mylab.conf and its classes, from a plain folder
        sys.path.append(os.getcwd())
    flags, overrides = read_arguments(args)
    if flags.help:
        print(_help(command, overrides))
        return 0
    if flags.shell_completion:
        return _complete(command, args)
    with tempfile.TemporaryDirectory(prefix="bvrank-") as scratch:
        sweep = Sweep(command, scratch)
        config = _composed(command, _argv(args, overrides), sweep)
        if sweep.started:
            return sweep.finish()
    return 0 if config is None else execute(command, config)


def read_arguments(args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Hydra's flags, and the overrides with the open nodes opened."""
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    flags = parser.parse_intermixed_args(list(args))
    if flags.cfg and flags.multirun:
        raise ConfigError(
            "--cfg shows one config and -m makes many", repair="Leave one of the two out."
        )
    if flags.resolve and not flags.cfg:
        raise ConfigError("--resolve belongs to --cfg", repair="Write --cfg job --resolve.")
    return flags, [opened(word) for word in flags.overrides]


def _refuse(message: str) -> Any:
    option = message.removeprefix("unrecognized arguments: ")
    if option == message:
        raise ConfigError(message)
    name = option.split()[0].lstrip("-")
    raise ConfigError(
        f"there is no option {option.split()[0]}",
        repair=f"Settings are written without dashes: {name if '=' in name else name + '=...'}",
    )


def _argv(args: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Flags first: argparse does not take overrides on both sides of a flag."""
    plain = {word.removeprefix("++") for word in overrides} | set(overrides)
    return [*(word for word in args if word not in plain), *overrides]


def _help(command: str, overrides: Sequence[str]) -> str:
    from bvrank.commands.help import screen

    try:
        return screen(command, overrides)
    except COMPOSING as error:
        raise explain(error, command, overrides) from error


def _complete(command: str, args: Sequence[str]) -> int:
    from bvrank.commands.completion import query, script

    if "query=bash" in args:
        query(command)
    else:
        print(script((command,)))
    return 0


def _composed(command: str, argv: list[str], sweep: Sweep) -> dict[str, Any] | None:
    """The config of one run; None when Hydra only showed something, or swept."""
    found: list[dict[str, Any] | BvrankError] = []

    def take(config: DictConfig) -> float | None:
        settings = HydraConfig.get()
        resolved: dict[str, Any] | BvrankError
        try:
            resolved = frozen(config, settings.searchpath)
            refuse_settings(resolved)
        except OmegaConfBaseException as error:  # Hydra would print a line of its own
            resolved = explain(error, command, argv)
        except ConfigError as error:
            resolved = error
        if settings.mode == RunMode.MULTIRUN:
            return sweep.run(resolved, [written(o) for o in settings.overrides.task])
        found.append(resolved)
        return None

    main = hydra.main(config_path=str(conf_dir()), config_name=command, **VERSION_BASE)
    with _as_hydra(argv, sweep.scratch):
        try:
            check_searchpath(argv)
            main(take)()
        except COMPOSING as error:
            raise explain(error, command, argv) from error
        except KeyboardInterrupt:
            if not sweep.started:
                raise
            sweep.stopped = True
    first = found[0] if found else None
    if isinstance(first, BvrankError):
        raise first
    return first


@contextmanager
def _as_hydra(argv: list[str], scratch: str) -> Iterator[None]:
    """Hydra reads its arguments and its habits from the process; ours are put back afterwards."""
    root = logging.getLogger()
    # --info logs to stdout, whose reader may go away
    level, handlers, loud = root.level, list(root.handlers), logging.raiseExceptions
    ours = {"HYDRA_FULL_ERROR": "1", "BVRANK_SCRATCH": scratch}
    before, outside = sys.argv, {name: os.environ.get(name) for name in ours}
    sys.argv = [sys.argv[0], *argv]
    os.environ.update(ours)
    logging.raiseExceptions = False
    try:
        with quiet_searchpath(), inert_loading():
            yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
        logging.raiseExceptions = loud
        sys.argv = before
        for name, value in outside.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
