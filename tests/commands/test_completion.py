from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bvrank.cli import COMMANDS
from bvrank.commands.completion import script
from tests.commands.line import ROOT

# What bash does on <Tab>: it splits the line at blanks and at the characters of COMP_WORDBREAKS.
TAB = r"""
eval "$(bvrank --completion bash)"
COMP_LINE=$1
COMP_POINT=${2:-${#1}}
line=${COMP_LINE:0:COMP_POINT}
if [[ $COMP_WORDBREAKS == *=* ]]; then line=${line//=/ = }; fi
read -ra COMP_WORDS <<< "$line"
[[ $line == *" " && ${COMP_WORDS[-1]} != "=" ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_bvrank_completion 2>/dev/null
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def tab(tmp_path: Path):  # type: ignore[no-untyped-def]
    """`tab(line)`: what a real bash offers at the end of the line."""
    command = tmp_path / "bvrank"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m bvrank "$@"\n')
    command.chmod(0o755)

    def offered(line: str, point: int | None = None, breaks: str = "=: ") -> list[str]:
        done = subprocess.run(
            [
                "bash",
                "-c",
                f'COMP_WORDBREAKS="{breaks}"\n{TAB}',
                "bash",
                line,
                str(point or len(line)),
            ],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    return offered


def test_commands_come_first(tab) -> None:  # type: ignore[no-untyped-def]
    assert tab("bvrank ") == list(COMMANDS)
    assert tab("bvrank tr") == ["train"]
    assert tab("bvrank x") == []


def test_then_groups_options_and_keys(tab) -> None:  # type: ignore[no-untyped-def]
    assert tab("bvrank train obj") == ["objective.", "objective="]
    assert tab("bvrank train objective=b") == ["bvpo"]
    assert tab("bvrank train optimizer.l") == ["optimizer.lr="]
    assert "seed=" in tab("bvrank train ")
    assert not [word for word in tab("bvrank train ") if word.startswith("hydra")]


def test_keys_follow_the_options_chosen_before(tab) -> None:  # type: ignore[no-untyped-def]
    assert tab("bvrank train -m objective=irpo seed=1 objective.de") == ["objective.decay="]
    assert tab("bvrank train objective=dpo objective.de") == []


def test_the_cursor_may_stand_inside_the_line(tab) -> None:  # type: ignore[no-untyped-def]
    line = "bvrank train objective=b seed=1"
    assert tab(line, point=line.index(" seed")) == ["bvpo"]


def test_whole_words_where_bash_does_not_split_at_equals(tab) -> None:  # type: ignore[no-untyped-def]
    assert tab("bvrank train objective=b", breaks=" ") == ["objective=bvpo"]


def test_the_script_names_the_commands() -> None:
    assert '"train report"' in script(["train", "report"])
    assert script([]).endswith("complete -o nospace -o default -F _bvrank_completion bvrank")
