"""Completion in bash: commands first, then the groups, options and keys of the command."""

from __future__ import annotations

import os
from collections.abc import Iterable

_SCRIPT = r"""_bvrank_completion() {
    local line="${COMP_LINE:0:COMP_POINT}" word found joint
    word="${line##* }"
    if (( COMP_CWORD <= 1 )); then
        compopt +o nospace 2>/dev/null
        COMPREPLY=($(compgen -W "@COMMANDS@" -- "$word"))
        return
    fi
    found=$(COMP_LINE="$line" COMP_POINT=${#line} "${COMP_WORDS[0]}" "${COMP_WORDS[1]}" \
        --shell-completion query=bash 2>/dev/null)
    COMPREPLY=($(compgen -W "$found" -- "$word"))
    joint="${word%"${word##*[=:]}"}"  # what bash has split off at = and :
    if [[ "$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"$joint"}")
    fi
}
complete -o nospace -o default -F _bvrank_completion bvrank"""


def script(commands: Iterable[str]) -> str:
    """The lines that `eval "$(bvrank --completion bash)"` reads."""
    return _SCRIPT.replace("@COMMANDS@", " ".join(commands))


def query(command: str) -> None:
    """Prints what can follow COMP_LINE, a line that starts with `bvrank <command>`."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra._internal.utils import create_config_search_path

    from bvrank.paths import conf_dir

    words = os.environ.get("COMP_LINE", "").split(" ")
    line = " ".join(words[words.index(command) + 1 :]) if command in words else ""
    loader = ConfigLoaderImpl(create_config_search_path(str(conf_dir())))
    found = BashCompletion(loader)._query(config_name=command, line=line)
    asked = line.rpartition(" ")[2]
    print(" ".join(w for w in found if asked.startswith("hydra") or not w.startswith("hydra")))
