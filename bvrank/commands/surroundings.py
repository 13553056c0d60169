"""Checks of the machine: versions, and what an engine would compute on."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from bvrank.commands.diagnosis import Check
from bvrank.data.flaws import Finding
from bvrank.run.provenance import versions

AREA = "machine"
SHOWN = ("python", "torch", "transformers", "tokenizers", "deepspeed")
EXTRAS = ("deepspeed", "wandb", "tensorboard")  # what a user installs by choice
# Versions that are known to do harm: (package, which, what happens); told as notes.
KNOWN_BAD = (("rich", "<14.1", "a progress line within another is not shown"),)


def check_versions(requirements: Iterable[str] | None = None) -> Check:
    """Installed packages against the ranges that bvrank declares (or `requirements`)."""
    found = versions()
    told = ", ".join(f"{name} {found[name]}" for name in SHOWN if name in found)
    if requirements is None:
        try:
            requirements = metadata.requires("bvrank") or []
        except metadata.PackageNotFoundError:
            note = Finding("versions", "not_installed", "note",
                           "bvrank is not installed: its ranges of versions cannot be read",
                           "Install it: pip install -e .")  # fmt: skip
            return Check(AREA, "versions", told, (note,))
    return Check(AREA, "versions", told, tuple(_misfits(requirements)))


def _misfits(requirements: Iterable[str]) -> Iterator[Finding]:
    """What is missing or out of range. What only an extra asks for may be missing."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield from _misfit(requirement, optional=False)
        elif any(requirement.marker.evaluate({"extra": extra}) for extra in EXTRAS):
            yield from _misfit(requirement, optional=True)
    for name, range_, harm in KNOWN_BAD:
        if (installed := _installed(name)) and Requirement(f"{name}{range_}").specifier.contains(
            installed, prereleases=True
        ):
            yield Finding("versions", "known_bad", "note", f"{name} {installed}: {harm}",
                          f"Install another: pip install '{name}{_other(range_)}'")  # fmt: skip


def _misfit(requirement: Any, optional: bool) -> Iterator[Finding]:
    name, range_ = requirement.name, requirement.specifier
    installed = _installed(name)
    if installed is None and not optional:
        yield Finding("versions", "missing_package", "problem", f"{name} is not installed",
                      f"pip install '{name}{range_}'")  # fmt: skip
    elif installed is not None and not range_.contains(installed, prereleases=True):
        yield Finding("versions", "version", "warning" if optional else "problem",
                      f"{name} {installed} is outside {range_ or 'any range'}",
                      f"pip install '{name}{range_}'")  # fmt: skip


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _other(range_: str) -> str:
    return range_.replace("<", ">=") if range_.startswith("<") else f"!{range_.lstrip('!')}"


def check_accelerator(engine: Any, precision: str, trained: int | None = None) -> Check:
    """What the engine would compute on, whether it knows the precision, and whether weights,
    gradients and two moments of `trained` numbers fit into its memory."""
    import torch

    from bvrank.engines.local import device

    chosen = device(getattr(engine, "device", "auto"))
    found = [*_unseen(chosen.type), *_bf16(chosen.type, precision)]
    if chosen.type != "cuda":
        return Check(AREA, "accelerator", f"{_processor()}; {precision}", tuple(found))
    index = chosen.index or 0
    free, whole = torch.cuda.mem_get_info(index)
    found += _memory(trained, whole, precision)
    told = (
        f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(index)}, "
        f"{size(free)} of {size(whole)} free, CUDA {torch.version.cuda}; {precision}"
    )
    return Check(AREA, "accelerator", told, tuple(found))


def _processor() -> str:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU ({platform.machine()}, cores {cores}, threads of torch {torch.get_num_threads()})"


def _unseen(kind: str) -> Iterator[Finding]:
    """A GPU of the machine that this torch does not see."""
    import torch

    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    if kind == "cuda" or not driver or torch.cuda.is_available():
        return
    if torch.version.cuda is None:
        yield Finding("accelerator", "torch_without_cuda", "warning",
                      "an NVIDIA driver is here, but this torch was built without CUDA",
                      "Install a torch with CUDA, or ignore it and train on the CPU.")  # fmt: skip
    elif os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1"):
        yield Finding("accelerator", "driver", "warning",
                      f"an NVIDIA driver is here, but CUDA {torch.version.cuda} finds no device",
                      "Compare the driver's version (nvidia-smi) with torch's.")  # fmt: skip


def _bf16(kind: str, precision: str) -> Iterator[Finding]:
    """bf16 where the hardware emulates it."""
    import torch

    if precision != "bf16":
        return
    if kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        yield Finding("accelerator", "bf16", "warning", "this GPU has no bf16 of its own: slow",
                      "Set precision=fp32.")  # fmt: skip
    if kind == "cpu" and not _cpu_flags() & {"amx_bf16", "avx512_bf16"}:
        yield Finding("accelerator", "bf16", "note", "this CPU has no bf16 of its own: slow",
                      "precision=fp32 is faster here.")  # fmt: skip


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {"amx_bf16"}  # unknown: nothing is said
    lines = (line.partition(":")[2] for line in text.splitlines() if line.startswith("flags"))
    return set(next(lines, "amx_bf16").split())


def _memory(trained: int | None, whole: int, precision: str) -> Iterator[Finding]:
    needed = (trained or 0) * 4 * (8 if precision == "fp64" else 4)
    if needed > whole:
        yield Finding("accelerator", "memory", "warning",
                      f"weights, gradients and moments take {size(needed)}, the GPU has "
                      f"{size(whole)}",
                      "Train an adapter (model.lora.r=16), or on more GPUs.")  # fmt: skip


def size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
