"""Every command that the project's pages print: it is read, checked, and run where that is cheap.

A line that no handler knows fails, so that a page cannot come to show what does not work.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bvrank.commands.app
from bvrank.cli import COMMANDS, main
from bvrank.commands import evaluate
from bvrank.commands.build import build
from bvrank.commands.sampling import request
from bvrank.commands.settings import split_intake, train_settings
from bvrank.errors import BvrankError
from tests.commands.line import ROOT

PAGES = ("README.md", "CONTRIBUTING.md")
BLOCK = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NO_OPERATION = ("git clone ", "cd ", "source ")


def commands(text: str) -> Iterator[str]:
    """The command lines of the ```bash blocks, continued lines joined, prompts cut off."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            bare = line.removeprefix("$ ").strip()
            if bare and not bare.startswith("#"):
                yield bare


def lines() -> list[tuple[str, str]]:
    """(page, command) of every page and script there is."""
    found: list[tuple[str, str]] = []
    for page in filter(lambda p: (ROOT / p).is_file(), PAGES):
        found += [(page, line) for line in commands((ROOT / page).read_text(encoding="utf-8"))]
    for script in sorted((ROOT / "scripts").glob("*.sh")):
        found += [(f"scripts/{script.name}", line) for line in script.read_text().splitlines()]
    return found


@pytest.mark.parametrize(("page", "line"), lines())
def test_a_printed_command_works(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in line.split("&&"):
        check(part.strip(), monkeypatch)


def check(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails unless a handler knows the command and finds it right."""
    if line.startswith(NO_OPERATION):
        return
    words = shlex.split(line, comments=True)
    while words and re.match(r"^[A-Z_]+=", words[0]):
        words.pop(0)
    handlers: dict[str, Callable[[list[str], pytest.MonkeyPatch], None]] = {
        "make": check_make,
        "bvrank": check_bvrank,
        "pip": check_pip,
        "eval": check_eval,
        "bash": check_script,
    }
    if words[0].endswith("/pip"):
        words[0] = "pip"
    if words[0].endswith("/bvrank"):
        words[0] = "bvrank"
    assert words[0] in handlers, f"no handler knows: {line}"
    handlers[words[0]](words[1:], monkeypatch)


def check_make(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    targets = re.findall(r"^([\w-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for word in words:
        assert "=" in word or word in targets, word
    subprocess.run(["make", "-n", *words], cwd=ROOT, check=True, capture_output=True)


def check_bvrank(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Composes the command and builds what costs nothing; runs it when it only shows something."""

    def dry(command: str, config: dict[str, Any]) -> int:
        if command == "train":
            check_train(config)
        if command == "sample":
            # The weights of a reward model of one's own are not there.
            monkeypatch.setattr("bvrank.rewards.model.Model.identity", "")
            request(config)
        if command == "evaluate" and config["run"] is None:  # a run of one's own is not there
            evaluate.request(config)
        return 0

    monkeypatch.setattr(bvrank.commands.app, "execute", dry)
    if any("mylab" in word for word in words):
        monkeypatch.chdir(outside_code())
    if "-m" in words or "--multirun" in words:  # the sweep's first point
        words = [re.sub(r"=(.*?),.*", r"=\1", w) for w in words if w not in ("-m", "--multirun")]
    assert not words or words[0].startswith("-") or words[0] in COMMANDS
    assert main(words) == 0


def outside_code() -> Path:
    """A folder with an objective of one's own in mylab/, as CONTRIBUTING describes it, a reward and
    prompts."""
    folder = Path(tempfile.mkdtemp())
    (folder / "mylab" / "conf" / "objective").mkdir(parents=True)
    code = "from bvrank.objectives.dpo import DPO as Mine\n"
    (folder / "mylab" / "objective.py").write_text(code)
    (folder / "mylab" / "rewards.py").write_text("def score(rows):\n    return [0.0] * len(rows)\n")
    (folder / "prompts.jsonl").write_text('{"prompt": "1+1=?"}\n')
    yaml = "_target_: mylab.objective.Mine\nbeta: 0.2\n"
    (folder / "mylab" / "conf" / "objective" / "mine.yaml").write_text(yaml)
    return folder


def check_train(config: dict[str, Any]) -> None:
    settings = train_settings(config)
    settings.optimizer.kind()
    for group in ("objective", "engine"):
        build(config[group], group, settings.trusted)
    split_intake(config["data"])


def check_pip(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert words[0] == "install"
    for named in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(named.split(",")) <= set(extras), named
    for file in re.findall(r"-c (\S+)", " ".join(words)):
        assert (ROOT / file).is_file(), file


def check_eval(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert words == ["$(bvrank --completion bash)"]


def check_script(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ROOT / words[0]).is_file(), words[0]


def test_lines_are_read_as_a_shell_reads_them() -> None:
    block = "# why\n$ make demo\nbvrank train \\\n    seed=1  # note\n"
    page = f"x\n```bash\n{block}```\n```python\nno\n```"
    assert list(commands(page)) == ["make demo", "bvrank train      seed=1  # note"]


@pytest.mark.parametrize(
    "line",
    ["make nothing", "bvrank trian", "bvrank train sede=1", "bvrank train seed=-1", "rm -rf x",
     "pip install 'bvrank[nope]'", "bash scripts/nope.sh"],
)  # fmt: skip
def test_a_line_that_does_not_work_is_found(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((AssertionError, BvrankError)):
        check(line, monkeypatch)


def test_the_first_two_commands_are_all_a_newcomer_types() -> None:
    page = ROOT / "README.md"
    if not page.is_file():
        pytest.skip("no README.md in this folder")
    typed = [line for line in commands(page.read_text()) if not line.startswith(NO_OPERATION)]
    assert typed[0].startswith("make ")
    assert typed[1].startswith("make ")


def test_ci_runs_the_readmes_test_command() -> None:
    script = ROOT / ".ci" / "run"
    assert script.read_text().splitlines()[-1] == "make test"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_make_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    named = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert named
    quiet = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    listing = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, env=quiet, check=True, capture_output=True
    )
    shown = listing.stdout.decode()
    assert [line.split()[0] for line in shown.splitlines()[2:]] == named[1].split()


def test_scripts_are_one_line_each() -> None:
    for script in (ROOT / "scripts").iterdir():
        assert len(script.read_text().splitlines()) == 1, script


PATHS = re.compile(r"/(?:wor[k]|root|home/\w+)/")


def test_nothing_names_a_machine() -> None:
    kinds = {".py", ".yaml", ".md", ".toml", ".txt", ".sh", ""}
    for folder in ("bvrank", "conf", "scripts", ".ci"):
        for path in (p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix in kinds):
            assert not PATHS.search(path.read_text(encoding="utf-8")), path
    for path in (p for p in ROOT.iterdir() if p.is_file() and p.suffix in kinds):
        assert not PATHS.search(path.read_text(encoding="utf-8")), path
