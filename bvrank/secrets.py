"""What a secret looks like: refused where a setting comes in, hidden where something is written.

Settings hold the NAMES of environment variables (`api_key_env`), never what these hold. A secret is
known by the name of its key, by its shape, and as the value of a variable whose name says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from bvrank.errors import ConfigError

HIDDEN = "***"
SHORTEST = 8  # characters of a variable's value that is looked for elsewhere

_ALWAYS = {"apikey", "secret", "secrets", "password", "passwd", "passphrase", "credentials"}
# `sort_key` and `end_token` are no secrets: the word before decides.
_KEYS_OF = {
    "access", "account", "anthropic", "api", "auth", "encryption", "hf", "hub", "openai",
    "private", "service", "signing", "ssh", "wandb",
}  # fmt: skip
_TOKENS_OF_TEXT = {
    "begin", "bos", "by", "cls", "empty", "end", "eos", "eot", "first", "image", "last", "mask",
    "pad", "padding", "per", "sep", "special", "start", "stop", "think", "thinking", "unk",
}  # fmt: skip
_NO_VALUE = {"", "null", "none", "true", "false", "???"}
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{16,}"
    r"|sk-(?:proj|ant|or|svcacct|admin)-[A-Za-z0-9_-]{8,}|sk-[A-Za-z0-9]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|wandb_v1_\w{8,}"
    r"|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{35}|xox[a-z]-[A-Za-z0-9-]{8,})"
)
# A wandb key, or a commit; below a folder or behind an @ it is a commit.
_HEX40 = re.compile(r"(?<![0-9A-Za-z/@])[0-9a-f]{40}(?![0-9A-Za-z/])")
_COMMIT_WORDS = {"revision", "commit", "sha"}
_URL_LOGIN = re.compile(r"(://)[^/\s@]+@")
_URL_PASSWORD = re.compile(r"://[^/\s@:]*:[^/\s@]+@")
_URL_QUERY = re.compile(r"([?&]([\w-]+)=)[^&\s]+")
_INSIDE = re.compile(r"[{,?&]\s*['\"]?([\w.-]+)['\"]?\s*[:=]\s*['\"]?([^,{}&'\"]*)")
_VARIABLE = re.compile(r"oc\.env\s*:\s*['\"]?(\w+)")
_PLACES = {"dir", "file", "path", "env", "url", "name"}  # ends of names that hold no secret itself


def refuse(words: Sequence[str]) -> None:
    """ConfigError when one of the command line's `words` holds a secret; it is not repeated."""
    flag = ""
    for word in words:
        key, equals, value = word.lstrip("+~").partition("=")
        named = [(key, value)] if equals else []
        named += _INSIDE.findall(word)
        found = next((k for k, v in named if _is_secret(k, v)), None)
        if flag and not word.startswith("-"):
            raise _refused(flag)
        if found is not None:
            raise _refused(redact(found))
        if reason := _told_apart(key if equals else "", value if equals else word):
            raise _refused(redact(key) if equals else "", reason)
        flag = word if word.startswith("-") and not equals and names_secret(word) else ""


def refuse_settings(config: Mapping[str, Any]) -> None:
    """ConfigError when a value of the composed config is a secret; it is not repeated."""
    for key, value in _leaves(config, ""):
        reason = _told_apart(key, value)
        if _is_secret(key, value) or reason:
            raise ConfigError(
                reason or "holds a secret itself", where=redact(key), repair=_repair(reason)
            )


def redact_command(argv: Sequence[str]) -> list[str]:
    """`argv` with the values of secret-sounding keys and secret-looking strings hidden.

    Covers `key=value`, `--token value`, tokens by their shape, and logins inside URLs.
    """
    out: list[str] = []
    hide_next = False
    for argument in argv:
        if hide_next and not argument.startswith("-"):
            out.append(HIDDEN)
            hide_next = False
            continue
        hide_next = argument.startswith("-") and "=" not in argument and names_secret(argument)
        out.append(_redact_argument(argument))
    return out


def redact(value: Any) -> Any:
    """`value` with secrets hidden, at any depth: by shape, and what this environment keeps."""
    if isinstance(value, Mapping):
        return {k: redact(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact(v) for v in value]
    if not isinstance(value, str):
        return value
    for secret in sorted(kept_secrets().values(), key=len, reverse=True):
        value = value.replace(secret, HIDDEN)
    value = _URL_LOGIN.sub(rf"\1{HIDDEN}@", _SHAPES.sub(HIDDEN, value))
    return _URL_QUERY.sub(lambda m: m[1] + HIDDEN if names_secret(m[2]) else m[0], value)


def names_secret(key: str) -> bool:
    """Whether a key or a variable of this name holds a secret; `api_key_env` holds a name."""
    words = _words(key)
    if "env" in words or words[-1] in _PLACES:
        return False
    pairs = list(pairwise(["", *words]))
    return (
        bool(_ALWAYS & {*words})
        or (words[-1] == "token" and pairs[-1][0] not in _TOKENS_OF_TEXT)
        or (words[-1] == "key" and pairs[-1][0] in _KEYS_OF)
    )


def kept_secrets() -> dict[str, str]:
    """Variable -> value of what this process's environment keeps secret."""
    return {
        name: value
        for name, value in os.environ.items()
        if len(value) >= SHORTEST and names_secret(name)
    }


def _is_secret(key: str, value: Any) -> bool:
    """Whether the key names a secret, and the value can be one."""
    text = str(value).strip().strip("'\"")
    return isinstance(value, str) and text.lower() not in _NO_VALUE and names_secret(key)


def _told_apart(key: str, value: Any) -> str:
    """Why the text itself is a secret, whatever its key is called; "" when it is none."""
    if not isinstance(value, str):
        return ""
    text = value.strip().strip("'\"")
    if _URL_PASSWORD.search(text):
        return "an address with a password in it"
    commit = bool({*_words(key)} & _COMMIT_WORDS)
    if _SHAPES.search(text) or (_HEX40.fullmatch(text) and not commit):
        return "looks like a secret"
    for name, secret in kept_secrets().items():
        if secret in text:
            return f"holds the value of ${name}"
    named = next((n for n in _VARIABLE.findall(text) if names_secret(n)), None)
    return f"would hold the value of ${named}" if named else ""


def _refused(key: str, reason: str = "") -> ConfigError:
    what = reason or "is a secret"
    return ConfigError(f"{what}, refused on the command line", where=key, repair=_repair(reason))


def _repair(reason: str) -> str:
    if reason.startswith("an address"):
        return "Put the login into ~/.netrc."
    return (
        "Put it into an environment variable: libraries read their own (HF_TOKEN, WANDB_API_KEY), "
        "and tracker.wandb.api_key_env=MY_KEY names another."
    )


def _redact_argument(argument: str) -> str:
    key, separator, value = argument.partition("=")
    if separator and _is_secret(key, value):
        return f"{key}={HIDDEN}"
    hidden: str = redact(argument)
    return hidden if {*_words(key)} & _COMMIT_WORDS else _HEX40.sub(HIDDEN, hidden)


def _words(key: str) -> list[str]:
    """The words of a key's last part, in lower case; at least one."""
    return re.split(r"[^a-z0-9]+", key.rpartition(".")[2].strip("+~-").lower())


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything below `node`."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _leaves(value, key)
    else:
        yield key, node
