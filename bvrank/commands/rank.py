"""One of several processes: `python -m bvrank.commands.rank job.json`, started by torchrun's agent.

The first rank shows what a run of one process shows; the others are silent. How each ended stands
in `rank-<n>.end` beside the job.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bvrank.commands.guard import debugging, explained, stoppable
from bvrank.commands.job import prepare_process
from bvrank.errors import Interrupted, Stopped, TrainingError
from bvrank.run.folder import GO_ON
from bvrank.secrets import redact


def main() -> None:
    """Joins the other ranks and trains; leaves by os._exit, as an error may leave others behind in
    a conversation that never ends."""
    path = Path(sys.argv[1])
    job = json.loads(path.read_text(encoding="utf-8"))
    rank = int(os.environ["RANK"])
    (path.parent / f"rank-{rank:05d}.pid").write_text(str(os.getpid()))
    _end_with(job["parent"])
    sys.argv = job["argv"]
    if rank:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    end = _ended(job, rank)
    (path.parent / f"rank-{rank:05d}.part").write_text(json.dumps(end), encoding="utf-8")
    (path.parent / f"rank-{rank:05d}.part").replace(path.parent / f"rank-{rank:05d}.end")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if end["agreed"] else end["code"])


def _ended(job: Mapping[str, Any], rank: int) -> dict[str, Any]:
    """Runs the job; how it ended. `agreed`: on all ranks alike, so none has to be ended by force.
    `secondary`: for the failure of a conversation, which another rank may have broken off;
    `waited`: by saying nothing for so long."""
    end: dict[str, Any] = {"rank": rank, "code": 0, "what": "", "where": "", "repair": "",
                           "traceback": "", "secondary": False, "waited": False, "agreed": True,
                           }  # fmt: skip
    with stoppable() as heard:
        try:
            end["code"] = _run(job)
        except BaseException as error:
            end |= _told(error, heard, job["command"])
    return end | {"time": time.time()}


def _told(error: BaseException, heard: Sequence[str], command: str) -> dict[str, Any]:
    known = explained(error)
    if heard and not isinstance(known, Interrupted):  # whatever code made of it on its way
        known = Interrupted(heard[0])
    secondary = known is None and _is_broken_talk(error)
    if secondary:
        known = TrainingError(
            f"heard nothing from another rank ({_short(error)})",
            repair=f"{GO_ON[command]} launcher.timeout is how long a rank waits.",
        )
    bug = known is None or (secondary and debugging())
    text = redact("".join(traceback.format_exception(error))) if bug else ""
    known = known or TrainingError(f"{type(error).__name__}: {error}".rstrip(": "))
    return {
        "code": known.exit_code, "what": known.what, "where": known.where, "repair": known.repair,
        "traceback": text, "secondary": secondary,
        "waited": secondary and "timed out" in str(error).lower(),
        "agreed": isinstance(error, Stopped),
    }  # fmt: skip


def _short(error: BaseException) -> str:
    """Its first line, less the place in somebody's source that gloo puts in front."""
    line = str(error).partition("\n")[0]
    return re.sub(r"^\[\S+\]\s*", "", line)[:200] or type(error).__name__


def _run(job: Mapping[str, Any]) -> int:
    from bvrank.engines.local import device
    from bvrank.ranks import joined

    prepare_process()
    config = job["config"]
    kind = device(config.get("engine", config)["device"]).type
    command = importlib.import_module(f"bvrank.commands.{job['command']}")
    with joined(job["timeout"], kind) as ranks:
        code: int = command.work(config, ranks)
        return code


def _is_broken_talk(error: BaseException) -> bool:
    """Whether it is what a rank sees when another one has gone."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or (
        type(error) is RuntimeError and any(w in str(error).lower() for w in ("gloo", "nccl"))
    )


def _end_with(parent: int) -> None:
    """Ends this process when the command is gone (kill -9): nobody would hear of it any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
