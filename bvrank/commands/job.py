"""One job in a process of its own: `python -m bvrank.commands.job train config.json seed=1`.

The config was composed, resolved and frozen by the parent; Hydra is not imported here.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bvrank.commands.guard import explained, guarded
from bvrank.commands.outcome import write_outcome
from bvrank.secrets import redact


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job that `argv` = [command, config file, overrides...] names; its exit code.

    The overrides are in the config already: they are what the run's manifest says was typed.
    """
    command, path, *overrides = sys.argv[1:] if argv is None else argv
    sys.argv = ["bvrank", command, *overrides]
    config = json.loads(Path(path).read_text(encoding="utf-8"))
    return guarded(lambda: _reported(command, config))


def execute(command: str, config: dict[str, Any]) -> int:
    """Runs `bvrank.commands.<command>.main` on a resolved config."""
    prepare_process()
    module = importlib.import_module(f"bvrank.commands.{command}")
    code: int = module.main(config)
    return code


def prepare_process() -> None:
    """What every process of a command does before it imports anything heavy."""
    if os.getcwd() not in sys.path:  # a plain folder beside the user is importable
        sys.path.append(os.getcwd())
    # transformers imports DeepSpeed where it is installed, which then remarks on a missing GPU.
    logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)


def _reported(command: str, config: dict[str, Any]) -> int:
    try:
        return execute(command, config)
    except BaseException as error:
        told = str(explained(error) or f"{type(error).__name__}: {error}")
        write_outcome({"status": "failed", "message": redact(" ".join(told.split()))})
        raise


if __name__ == "__main__":
    sys.exit(main())
