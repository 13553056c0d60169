from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bvrank.commands import surroundings
from bvrank.commands.surroundings import check_accelerator, check_versions, size
from bvrank.engines.local import Local


def names(check: Any) -> list[tuple[str, str]]:
    return [(f.name, f.level) for f in check.findings]


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("torch>=2", []),
        ("torch>=99", [("version", "problem")]),
        ("no-such-package>=1", [("missing_package", "problem")]),
        ('no-such-package>=1; extra == "wandb"', []),
        ('no-such-package>=1; extra == "dev"', []),
        ('torch>=99; extra == "deepspeed"', [("version", "warning")]),
        ('torch>=99; python_version < "3"', []),
    ],
)
def test_versions_against_ranges(requirement: str, expected: list[tuple[str, str]]) -> None:
    assert names(check_versions([requirement])) == expected


def test_a_repair_is_a_command() -> None:
    (found,) = check_versions(["torch>=99,<100"]).findings
    assert found.what.startswith("torch 2.") and "pip install 'torch<100,>=99'" in found.repair


def test_the_ranges_are_those_that_the_package_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings.metadata, "requires", lambda _: ["torch>=99"])
    assert names(check_versions()) == [("version", "problem")]


def test_a_version_known_to_do_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_installed", lambda name: "14.0.0")
    (found,) = check_versions([]).findings
    assert (found.name, found.level) == ("known_bad", "note") and "rich>=14.1" in found.repair
    monkeypatch.setattr(surroundings, "_installed", lambda name: "14.1.0")
    assert not check_versions([]).findings


def test_a_bare_checkout_says_that_it_cannot_know(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(name: str) -> Any:
        raise surroundings.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(surroundings.metadata, "requires", lost)
    assert names(check_versions()) == [("not_installed", "note")]


def test_a_cpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings.shutil, "which", lambda _: None)
    found = check_accelerator(Local("cpu"), "fp32")
    assert found.told.startswith("CPU (") and found.told.endswith("fp32")


def test_bf16_that_a_cpu_has_or_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings.shutil, "which", lambda _: None)
    monkeypatch.setattr(surroundings, "_cpu_flags", lambda: {"sse"})
    assert ("bf16", "note") in names(check_accelerator(Local("cpu"), "bf16"))
    assert ("bf16", "note") not in names(check_accelerator(Local("cpu"), "fp32"))
    monkeypatch.setattr(surroundings, "_cpu_flags", lambda: {"avx512_bf16"})
    assert ("bf16", "note") not in names(check_accelerator(Local("cpu"), "bf16"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_torch_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings.shutil, "which", lambda _: "nvidia-smi")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", None)
    (found,) = check_accelerator(Local("cpu"), "fp32").findings
    assert (found.name, found.level) == ("torch_without_cuda", "warning")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    (found,) = check_accelerator(Local("cpu"), "fp32").findings
    assert (found.name, found.level) == ("driver", "warning")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden on purpose
    assert not check_accelerator(Local("cpu"), "fp32").findings


def cuda(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    """A GPU of 10 GB as far as the check can tell."""
    monkeypatch.setattr("bvrank.engines.local.device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(8e9), int(10e9)))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def test_a_gpu_its_memory_and_its_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda(monkeypatch, bf16=True)
    engine = type("Node", (), {"device": "auto"})()
    found = check_accelerator(engine, "bf16", trained=600_000_000)  # 16 bytes each: 9.6 GB
    assert not found.findings
    assert found.told == "2 x Some GPU, 8.0 GB of 10.0 GB free, CUDA 13.0; bf16"
    assert names(check_accelerator(engine, "bf16", trained=700_000_000)) == [("memory", "warning")]
    assert names(check_accelerator(engine, "fp64", trained=400_000_000)) == [("memory", "warning")]
    cuda(monkeypatch, bf16=False)
    assert names(check_accelerator(engine, "bf16")) == [("bf16", "warning")]
    assert not check_accelerator(engine, "fp32").findings


def test_flags_are_read_from_the_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "processor : 0\nflags\t\t: fpu sse avx512_bf16\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert surroundings._cpu_flags() == {"fpu", "sse", "avx512_bf16"}


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.34e8, "234 MB"), (1.2e10, "12.0 GB"),
     (5e12, "5.0 TB"), (5e15, "5000.0 TB")],
)  # fmt: skip
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text
