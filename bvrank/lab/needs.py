"""What a lab needs of memory, told before anything is measured; nothing here needs torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from bvrank.errors import ConfigError
from bvrank.lab.options import Settings

BYTES = 8  # of a number
GB = 1e9
BASE = 0.5 * GB  # torch, and what is worked on at a time
SANE = 256 * GB  # where nobody says what is free
GROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory"))


def check_memory(settings: Settings, free: float | None = None) -> None:
    """ConfigError unless `settings` fit into `free` bytes (None: what the machine has free)."""
    free = available() if free is None else free
    need, workers = needed(settings), _workers(settings)
    if need <= free:
        return
    shape, trained = settings.shape, _training(settings) > _study(settings)
    each = "worlds in training" if trained else (
        f"with the gradients of {2 * shape.prompts * shape.traces:,} candidates by "
        f"{shape.weights:,} weights"
    )  # fmt: skip
    raise ConfigError(
        f"needs about {need / GB:,.1f} GB of memory, and {free / GB:,.1f} are free (threads="
        f"{workers} {each})", where="shape",
        repair="Take fewer traces, prompts, layers or units, or threads=1"
        + (", or train.seeds=0." if trained else "."),
    )  # fmt: skip


def needed(settings: Settings) -> float:
    """Bytes, about."""
    return BASE + _workers(settings) * max(_study(settings), _training(settings))


def _workers(settings: Settings) -> int:
    stretches = -(-settings.train.seeds // settings.shape.stretch)
    return min(settings.threads, max(settings.worlds, stretches))


def _study(settings: Settings) -> float:
    """A world at a distance: the gradients of every candidate, and the work beside them."""
    shape, sampling = settings.shape, settings.sampling
    n, r, p = shape.prompts, shape.traces, shape.weights
    gradients = 2 * n * (r + 1) * p + 2 * r * p  # one prompt's are squared
    autograd = max(2 * r, shape.alphabet * r // 4) * shape.each  # of a prompt at the least
    pairs = 60 * r**2  # of traces, and the forest's mask
    drawn = 4 * sampling.draws * 2 * r + 16 * (2 * max(sampling.sizes)) ** 2
    return BYTES * (gradients + autograd + pairs + drawn)


def _training(settings: Settings) -> float:
    """A stretch of worlds: the true loss's second derivative, and drawn traces."""
    shape, train = settings.shape, settings.train
    worlds = min(train.seeds, shape.stretch)
    if not worlds:
        return 0.0
    gradients = 2 * shape.prompts * (shape.traces + 1) * shape.weights
    kept = 10 * len(train.rules) * train.steps * shape.weights
    drawn = 2 * shape.prompts * train.traces * shape.each
    return BYTES * (gradients + worlds * (shape.curved + kept + drawn))


def available() -> float:
    """Bytes that are free, to the machine and to this process's group (what files take of its share
    can be had back); SANE where neither is told."""
    found: list[float] = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(w for w in lines if w.startswith("MemAvailable:"))
        found.append(1024 * float(line.split()[1]))
    for group in GROUPS:
        for most, used in (("memory.max", "memory.current"),
                           ("memory.limit_in_bytes", "memory.usage_in_bytes")):  # fmt: skip
            with suppress(OSError, ValueError):
                free = float((group / most).read_text()) - float((group / used).read_text())
                found.append(free + _files(group))
    return max(0.0, min(found, default=SANE))


def _files(group: Path) -> float:
    """Bytes of files that a group holds and does not need."""
    with suppress(OSError, ValueError):
        told = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return float(told.get("total_inactive_file", told.get("inactive_file", 0)))
    return 0.0
