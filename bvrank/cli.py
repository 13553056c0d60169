"""The command line: a table of commands, and what a mistake looks like.

    bvrank <command> [group=option ...] [key=value ...] [Hydra flags]

Nothing heavy is imported here, so that `bvrank --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from bvrank import __version__
from bvrank.commands.guard import guarded
from bvrank.errors import ConfigError, did_you_mean

COMMANDS = {
    "train": "train a policy with an objective, and measure what changed",
    "sample": "make preference pairs: sample responses to prompts, score them, pair them",
    "evaluate": "measure a policy: tasks by name, every figure with its uncertainty",
    "doctor": "check machine, template and data, or prove that a run resumes",
    "inspect": "show rendered examples, their scored tokens, and what was refused",
    "convert": "turn files of public data sets into rows that train",
    "report": "make one page of run folders: tables, curves, examples",
    "reproduce": "train a paper's arms in a small size, its figures beside ours",
    "lab": "check the theory on a model whose traces can all be scored",
    "bench": "measure what a step costs, arm by arm",
    "store": "list, verify or clean up what runs keep for each other",
}

ACTIONS = {
    "store": ("ls", "verify", "gc"),
    "bench": ("report",),
}  # words that stand for action=word

FIRST = {
    "bvrank train objective=bvpo": "trains a tiny reasoning model: no network, no file",
    "bvrank train -m objective=dpo,bvpo seed=0,1": "a sweep: four runs, finished ones are skipped",
    "bvrank report runs='outputs/*'": "one page about all of them",
}

MORE = {
    "bvrank <command> --help": "every group and key with its meaning, and examples",
    "bvrank <command> --cfg job": "the configuration that would run, and nothing else",
    "bvrank <command> --info": "where that configuration comes from",
    "bvrank --version": "the version",
    'eval "$(bvrank --completion bash)"': "completion of commands, groups, options and keys",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `argv` (default: the process's) and returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _dispatch(args))


def screen(width: int = 0, bold: bool = False) -> str:
    """The first screen: one line per command, three things to try."""
    column = max(map(len, [*FIRST, *MORE])) + 2
    mark = ("\033[1m", "\033[0m") if bold else ("", "")

    def block(title: str, rows: dict[str, str], left: int) -> str:
        lines = [f"  {mark[0]}{name:<{left}}{mark[1]}{text}" for name, text in rows.items()]
        return "\n".join([title, *lines])

    return "\n\n".join(
        [
            f"bvrank {__version__}: preference optimisation of language models, "
            "exact, fast and honest about noise",
            block("Commands", COMMANDS, 10),
            block("Try first", FIRST, column),
            block("And then", MORE, column),
        ]
    )


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("--help", "-h", "help"):
        print(screen(bold=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
        return 0
    if "--version" in args:
        print(f"bvrank {__version__}")
        return 0

    from bvrank.secrets import refuse

    refuse(args)
    if args[0] == "--completion":
        return _completion(args[1:])
    if args[0] not in COMMANDS:
        raise _unknown(args[0])

    from bvrank.commands.app import run

    command, *words = args
    return run(command, _with_action(command, words))


def _with_action(command: str, words: list[str]) -> list[str]:
    """Its first word, where it is one of ACTIONS, as action=word. ConfigError for a bare word that
    is none: no setting is written so."""
    known, first = ACTIONS.get(command), words[0] if words else ""
    if known is None or not first or first.startswith("-") or "=" in first or "~" in first:
        return words
    if first not in known:
        raise ConfigError(f"there is no '{command} {first}'", repair=did_you_mean(first, known))
    return [f"action={first}", *words[1:]]


def _completion(args: list[str]) -> int:
    from bvrank.commands.completion import script

    if args != ["bash"]:
        raise ConfigError(
            "there is completion for bash only",
            where="--completion",
            repair=f"Write {list(MORE)[-1]}.",
        )
    print(script(COMMANDS))
    return 0


def _unknown(word: str) -> ConfigError:
    if word.startswith("-") or "=" in word:
        return ConfigError(
            f"'{word}' stands before the command",
            repair=f"Write the command first: bvrank train {word}",
        )
    return ConfigError(f"there is no command '{word}'", repair=did_you_mean(word, COMMANDS))
