import subprocess

import pytest

from bvrank import __version__
from bvrank.run.provenance import HIDDEN, git_state, machine, redact, redact_command, versions

HEX40 = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "argument",
    [
        "judge.api_key=abc",
        "++model.token=abc",
        "hub-token=abc",
        "PASSWORD=abc",
        "--secret=abc",
        "name=hf_abcdefghijklmnop",
        "name=sk-proj-abcdefghijklmnop",
        "'x: ghp_abcdefghijklmnopqrst'",
        f"wandb={HEX40}",
    ],
)
def test_secrets_do_not_survive(argument):
    (told,) = redact_command([argument])
    assert HIDDEN in told
    assert "abc" not in told


@pytest.mark.parametrize(
    "argument",
    [
        "judge.api_key_env=OPENAI_KEY",
        "model=tiny",
        "data.path=risk-assessment-of-keys.jsonl",
        "max_tokens=512",
        "tokenizer=bpe",
        f"model.revision={HEX40}",
        "monkey=1",
    ],
)
def test_what_is_no_secret_stays(argument):
    assert redact_command([argument]) == [argument]


def test_a_value_after_its_flag():
    argv = ["bvrank", "--token", "abc", "--verbose", "--password", "--x", "y"]
    assert redact_command(argv) == [
        "bvrank", "--token", HIDDEN, "--verbose", "--password", "--x", "y",
    ]  # fmt: skip


def test_logins_in_addresses():
    assert redact("https://me:pass@host/x") == f"https://{HIDDEN}@host/x"


def test_redact_walks_through_a_config():
    config = {"a": ["hf_abcdefghijklmnop", 1], "b": {"c": None}}
    assert redact(config) == {"a": [HIDDEN, 1], "b": {"c": None}}


def test_git_state_outside_inside_and_dirty(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    assert git_state(outside) is None
    assert git_state(tmp_path / "absent") is None

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(inside), *identity, *words], check=True)

    git("init", "-q")
    assert git_state(inside) == {"commit": None, "dirty": False}
    (inside / "a").write_text("a")
    git("add", "a")
    git("commit", "-q", "-m", "a")
    clean = git_state(inside)
    assert clean["dirty"] is False
    assert len(clean["commit"]) == 40
    (inside / "a").write_text("b")
    assert git_state(inside) == {**clean, "dirty": True}


def test_no_git_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_versions_and_machine():
    found = versions()
    assert found["bvrank"] == __version__
    assert found["python"].count(".") == 2
    assert machine()["processors"] >= 1
