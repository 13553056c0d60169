import subprocess

from bvrank import __version__
from bvrank.run.provenance import git_state, machine, versions


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
