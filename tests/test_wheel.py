"""The three ways to have bvrank: a wheel, an editable install, and a bare checkout."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from bvrank import __version__
from tests.commands.line import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what installing the wheel (and nothing else of ours) leaves."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def shown(args: list[str], cwd: str | Path, path: Path) -> str:
    """What `python -P -m bvrank train --cfg job` prints."""
    done = subprocess.run(
        [sys.executable, "-P", *args],
        cwd=cwd,
        env={"PYTHONPATH": str(path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_wheel_runs_from_the_root_folder(site: Path) -> None:
    where = shown(["-c", "import bvrank.paths as p; print(p.conf_dir())"], "/", site)
    assert where.strip() == str(site / "bvrank" / "conf")
    from_wheel = shown(["-m", "bvrank", "train", "--cfg", "job"], "/", site)
    assert "_target_: bvrank.objectives.bvpo.BVPO" in from_wheel
    assert from_wheel == shown(["-m", "bvrank", "train", "--cfg", "job"], "/", ROOT)


def test_a_bare_checkout_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bvrank", "train", "--cfg", "job"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "seed: 0\n" in done.stdout


def test_the_wheel_holds_every_file_and_no_other(site: Path) -> None:
    for folder, place in (("bvrank", "bvrank"), ("conf", "bvrank/conf")):
        kept = [p for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".yaml", ".typed")]
        ours = {p.relative_to(ROOT / folder) for p in kept}
        theirs = {p.relative_to(site / place) for p in (site / place).rglob("*") if p.is_file()}
        theirs = {p for p in theirs if folder != "bvrank" or p.parts[0] != "conf"}
        assert ours == {p for p in theirs if "__pycache__" not in p.parts}


def test_what_the_wheel_says_of_itself(site: Path) -> None:
    info = site / f"bvrank-{__version__}.dist-info"
    text = (info / "METADATA").read_text(encoding="utf-8")
    assert "Requires-Python: <3.14,>=3.11" in text
    assert "License-Expression: Apache-2.0" in text
    assert (info / "licenses" / "LICENSE").is_file()
    assert "bvrank = bvrank.cli:main" in (info / "entry_points.txt").read_text()


def test_constraints_pin_what_the_project_needs() -> None:
    """All but vllm, which brings a torch of its own and wants CUDA, and the harness of lm_eval,
    which no test installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [r for name, group in project["optional-dependencies"].items() for r in group
              if name not in ("vllm", "lm-eval")]  # fmt: skip
    wanted = project["dependencies"] + [r for r in extras if not r.startswith("bvrank[")]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    for requirement in wanted:
        name = requirement.split(">")[0].split("<")[0].split("=")[0].strip().lower()
        assert name in pinned, name
