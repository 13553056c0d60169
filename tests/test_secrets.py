from __future__ import annotations

from typing import Any

import pytest

from bvrank.errors import ConfigError
from bvrank.secrets import (
    HIDDEN,
    kept_secrets,
    names_secret,
    redact,
    redact_command,
    refuse,
    refuse_settings,
)

HEX40 = "0123456789abcdef0123456789abcdef01234567"
# A word of a command line -> what of it must not be seen again.
REFUSED = {
    "judge.api_key=abc": "abc",
    "++model.token=abc": "abc",
    "hf_token=abc": "abc",
    "hub-token=abc": "abc",
    "PASSWORD=1234": "1234",
    "x.token=1234": "1234",
    "--secret=abc": "abc",
    "openai_key='abc'": "abc",
    "name=hf_abcdefghijklmnop": "abcdefghijklmnop",
    "name=sk-proj-abcdefghijklmnop": "abcdefghijklmnop",
    "name=sk-ant-api03-abcdefghijklmnop": "abcdefghijklmnop",
    "'x: ghp_abcdefghijklmnopqrst'": "abcdefghijklmnopqrst",
    "hf_abcdefghijklmnopqrst": "abcdefghijklmnopqrst",
    "name=AKIAABCDEFGHIJKLMNOP": "AKIAABCDEFGHIJKLMNOP",
    "name=github_pat_abcdefghijklmnopqrst": "abcdefghijklmnopqrst",
    f"wandb={HEX40}": HEX40,
    f"tracker.wandb.api_key_env={HEX40}": HEX40,
    "tracker.wandb.api_key_env=wandb_v1_abcdefghijkl": "abcdefghijkl",
    "+judge={api_key: abc}": "abc",
    "+judge={url: x, auth: {password: abc}}": "abc",
    "data.path=https://me:abc@host/x": "abc",
    "data.path=https://host/x?page=1&token=abc": "abc",
    "data.path=the-planted-value.jsonl": "planted-value",
    "data.path=${oc.env:PLANTED_TOKEN}": "planted-value",
    "name=a,b,hf_abcdefghijklmnop": "abcdefghijklmnop",
}
STAYS = [
    "judge.api_key_env=OPENAI_KEY",
    "tracker.wandb.api_key_env=WANDB_API_KEY",
    "model=tiny",
    "data.path=risk-assessment-of-keys.jsonl",
    "data.path='my (1).jsonl'",
    "data.path=${oc.env:HOME}/pairs.jsonl",
    "max_tokens=512",
    "tokenizer=bpe",
    "template.end_token='<|im_end|>'",
    "template.end_token=</s>",
    "data.end_token=false",
    "objective.per_token=true",
    "token=null",
    f"model.revision={HEX40}",
    f"model.path=/cache/hub/models--a--b/snapshots/{HEX40}",
    "monkey=1",
    "sort_key=length",
    "name=hf_baseline",
    "outputs=runs/sk-my-own-experiment-with-names",
    "data.path=https://host/x?a=b@c",
    "schedule.alpha=[1,0]",
    "-m",
    "--cfg",
]


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_TOKEN", "planted-value")


@pytest.mark.parametrize("word", REFUSED)
def test_a_secret_is_refused_and_not_repeated(word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse(["seed=0", word])
    assert REFUSED[word] not in str(caught.value)
    assert "variable" in str(caught.value) or "netrc" in str(caught.value)
    key, equals, _ = word.lstrip("+").partition("=")
    if equals and not {"{", "&"} & {*word}:
        assert caught.value.where == key


@pytest.mark.parametrize("word", STAYS)
def test_what_is_no_secret_passes(word: str) -> None:
    refuse([word])
    assert redact_command([word]) == [word]


def test_a_value_behind_its_flag_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse(["--token", "abc"])
    assert caught.value.where == "--token"
    refuse(["--token", "--verbose"])


@pytest.mark.parametrize("word", [w for w in REFUSED if "{" not in w])
def test_nor_does_it_survive_in_a_command_that_is_kept(word: str) -> None:
    (told,) = redact_command([word])
    assert HIDDEN in told
    assert REFUSED[word] not in told


def test_a_value_after_its_flag() -> None:
    argv = ["bvrank", "--token", "abc", "--verbose", "--password", "--x", "y"]
    assert redact_command(argv) == [
        "bvrank", "--token", HIDDEN, "--verbose", "--password", "--x", "y",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"judge": {"api_key": "abc"}}, "judge.api_key"),
        ({"data": {"path": "https://me:abc@host"}}, "data.path"),
        ({"data": {"parts": [{"path": "planted-value"}]}}, "data.parts.path"),
        ({"name": "hf_abcdefghijklmnop"}, "name"),
    ],
)
def test_a_secret_in_the_composed_config_is_refused(config: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_settings(config)
    assert caught.value.where == where
    assert not any(secret in str(caught.value) for secret in ("abc", "planted-value"))


def test_a_config_of_names_passes() -> None:
    refuse_settings({
        "api_key_env": "WANDB_API_KEY", "template": {"end_token": "<|im_end|>"}, "token": None,
        "model": {"revision": HEX40, "api_key": ""}, "data": {"end_token": True, "n": 3},
    })  # fmt: skip


def test_values_of_secret_variables_are_hidden_wherever_they_stand() -> None:
    assert redact("got planted-value, sorry") == f"got {HIDDEN}, sorry"
    assert redact("https://me:pass@host/x") == f"https://{HIDDEN}@host/x"
    config = {"a": ["hf_abcdefghijklmnop", 1], "b": {"c": None}}
    assert redact(config) == {"a": [HIDDEN, 1], "b": {"c": None}}


def test_of_two_secrets_one_inside_the_other_nothing_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LONGER_TOKEN", "planted-value-and-more")
    assert redact("x planted-value-and-more y") == f"x {HIDDEN} y"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True), ("WANDB_API_KEY", True), ("AWS_SECRET_ACCESS_KEY", True),
        ("DB_PASSWORD", True), ("CLIENT_SECRET", True), ("PASSWORD_STORE_DIR", False),
        ("TOKENIZERS_PARALLELISM", False), ("HOME", False), ("HF_TOKEN_PATH", False),
        ("GIT_ASKPASS", False),
    ],
)  # fmt: skip
def test_which_variables_are_secret(
    name: str, secret: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "0123456789")
    assert names_secret(name) is secret
    assert (name in kept_secrets()) is secret


def test_a_short_value_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "train")
    refuse(["outputs=train"])
    assert redact("train") == "train"
