from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bvrank import __version__, cli
from bvrank.cli import COMMANDS, main, screen
from tests.commands.line import ROOT, process

SCREEN = f"""\
bvrank {__version__}: preference optimisation of language models, exact, fast and honest about noise

Commands
  train     train a policy with an objective, and measure what changed
  sample    make preference pairs: sample responses to prompts, score them, pair them
  evaluate  measure a policy: tasks by name, every figure with its uncertainty
  doctor    check machine, template and data, or prove that a run resumes
  inspect   show rendered examples, their scored tokens, and what was refused
  convert   turn files of public data sets into rows that train
  report    make one page of run folders: tables, curves, examples
  reproduce train a paper's arms in a small size, its figures beside ours
  lab       check the theory on a model whose traces can all be scored
  bench     measure what a step costs, arm by arm
  store     list, verify or clean up what runs keep for each other

Try first
  bvrank train objective=bvpo                  trains a tiny reasoning model: no network, no file
  bvrank train -m objective=dpo,bvpo seed=0,1  a sweep: four runs, finished ones are skipped
  bvrank report runs='outputs/*'               one page about all of them

And then
  bvrank <command> --help                      every group and key with its meaning, and examples
  bvrank <command> --cfg job                   the configuration that would run, and nothing else
  bvrank <command> --info                      where that configuration comes from
  bvrank --version                             the version
  eval "$(bvrank --completion bash)"           completion of commands, groups, options and keys
"""


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_the_first_screen(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 0
    assert capsys.readouterr().out == SCREEN


def test_the_screen_fits_a_terminal_and_its_bold_is_only_bold() -> None:
    assert max(map(len, screen().splitlines())) <= 100
    bold = screen(bold=True)
    assert "\033[1m" in bold
    assert bold.replace("\033[1m", "").replace("\033[0m", "") == screen()


def test_every_command_of_the_table_has_a_module_and_a_config() -> None:
    for command in COMMANDS:
        assert (ROOT / "conf" / f"{command}.yaml").is_file(), command
        assert (ROOT / "bvrank" / "commands" / f"{command}.py").is_file(), command


@pytest.mark.parametrize("args", [["--version"], ["train", "--version"]])
def test_version(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 0
    assert capsys.readouterr().out == f"bvrank {__version__}\n"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["trian"], "error: there is no command 'trian'. Did you mean 'train'?\n"),
        (["store", "verifi"], "error: there is no 'store verifi'. Did you mean 'verify'?\n"),
        (["store", "zz"], "error: there is no 'store zz'. Known: gc, ls, verify.\n"),
        (["bench", "reprot"], "error: there is no 'bench reprot'. Did you mean 'report'?\n"),
        (
            ["zzz"],
            "error: there is no command 'zzz'. "
            "Known: bench, convert, doctor, evaluate, inspect, lab, report, reproduce, sample, "
            "store, train.\n",
        ),
        (
            ["objective=bvpo"],
            "error: 'objective=bvpo' stands before the command. "
            "Write the command first: bvrank train objective=bvpo\n",
        ),
        (
            ["--completion", "zsh"],
            "error: --completion: there is completion for bash only. "
            'Write eval "$(bvrank --completion bash)".\n',
        ),
    ],
)
def test_a_mistake_is_one_line(
    args: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    assert capsys.readouterr() == ("", line)


def test_python_m_bvrank_is_bvrank() -> None:
    done = process("trian")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: there is no command 'trian'")


def test_the_first_screen_imports_nothing_heavy() -> None:
    code = (
        "import sys, json; from bvrank.cli import main; main([]); print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & {
        "torch",
        "hydra",
        "omegaconf",
        "numpy",
        "rich",
        "pydantic",
        "yaml",
        "typing",
    }


def test_showing_a_config_imports_no_torch() -> None:
    code = (
        "import sys; from bvrank.cli import main; code = main(['train', '--cfg', 'job']);"
        "print(sorted({'torch', 'numpy', 'transformers', 'rich', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"[]"


@pytest.mark.parametrize("args", ["train --cfg job", "train --info", "train --help", "--help"])
def test_a_reader_that_goes_away_is_no_error(args: str) -> None:
    line = f"{sys.executable} -m bvrank {args} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode in (0, 141)


def test_main_reads_the_arguments_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bvrank", "--version"])
    assert cli.main() == 0
    assert capsys.readouterr().out.startswith("bvrank ")


def test_the_package_says_it_is_typed() -> None:
    assert (Path(cli.__file__).parent / "py.typed").is_file()
