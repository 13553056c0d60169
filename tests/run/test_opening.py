import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bvrank.errors import ConfigError, RunError
from bvrank.run import files
from bvrank.run import opening as opening_module
from bvrank.run.identity import flatten
from bvrank.run.opening import is_aside, open_run
from bvrank.run.record import read_run

CONFIG = {"seed": 0, "steps": 120, "checkpoint": {"every": 50}, "log": {"every": 1}}
NAME = "bvpo-pairs-s0-00000000"
HOLDER = """
import sys
from pathlib import Path
from bvrank.run import open_run
folder = open_run(Path(sys.argv[1]), "r", {"seed": 0})
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def opened(tmp_path):
    def call(config=CONFIG, name=NAME, **keywords):
        return open_run(tmp_path / "outputs", name, config, **keywords)

    return call


def finished(opened, **keywords):
    with opened(**keywords) as folder:
        folder.finish({"final": {"loss": 0.5}})
    return folder


def stopped(opened, **keywords):
    with opened(**keywords) as folder:
        folder.fail(RuntimeError("the cat pulled the plug"))
    return folder


def test_a_finished_run_that_lost_something_goes_on(opened):
    finished(opened)
    with opened(resume=True, again=True) as folder:
        assert (folder.finished, folder.resumed) == (False, True)
        assert read_run(folder.path).status == "running"


def test_new(opened):
    with opened(content="abc", command=["bvrank", "train", "x.token=1"]) as folder:
        assert (folder.finished, folder.resumed, folder.notes) == (False, False, ())
        assert yaml.safe_load(folder.config_path.read_text()) == CONFIG
        manifest = folder.manifest
    assert manifest["status"] == "running"
    assert manifest["command"] == ["bvrank", "train", "x.token=***"]
    assert manifest["data"] == {"fingerprint": "abc"}
    assert manifest["seeds"] == {"seed": 0}
    assert {"versions", "git", "machine", "started", "world_size"} <= manifest.keys()
    assert sorted(os.listdir(folder.path)) == ["config.yaml", "lock", "manifest.json"]
    assert os.listdir(folder.path.parent) == [NAME]


def test_finished_says_so_and_names_keys_without_effect(opened):
    folder = finished(opened)
    before = (folder.path / "manifest.json").read_bytes()
    again = opened({**CONFIG, "checkpoint": {"every": 10}, "outputs": "elsewhere"})
    assert again.finished
    assert again.notes == ("checkpoint.every 10 (run has 50): force=true runs again",)
    assert (folder.path / "manifest.json").read_bytes() == before
    assert opened(resume=True).finished


@pytest.mark.parametrize("change", [
    {"examples": {"count": 5}}, {"log": {"every": 7}}, {"tracker": {"wandb": {"project": "mine"}}},
    {"launcher": {"processes": 2}},
])  # fmt: skip
def test_finished_names_every_key_that_would_have_had_an_effect(opened, change):
    finished(opened)
    ((group, keys),) = change.items()
    (key,) = flatten({group: keys})
    (note,) = opened({**CONFIG, **change}).notes
    assert note.startswith(f"{key} ") and note.endswith(": force=true runs again")


def test_unfinished_is_refused_and_names_the_ways_out(opened):
    stopped(opened)
    with pytest.raises(RunError) as error:
        opened()
    text = str(error.value)
    assert "unfinished (failed: RuntimeError: the cat pulled the plug)" in text
    assert "resume=true" in text
    assert "force=true" in text


def test_a_process_that_died_leaves_an_unfinished_run(opened):
    opened().close()
    with pytest.raises(RunError, match="its process is gone"):
        opened()


def test_resume_continues_and_records_the_session(opened):
    path = stopped(opened).path
    frozen = (path / "config.yaml").read_bytes()
    with opened({**CONFIG, "log": {"every": 5}}, resume=True) as folder:
        assert folder.resumed
        assert folder.notes == ("log.every 5 from here on (was 1)",)
        assert (folder.manifest["status"], folder.manifest["message"]) == ("running", "")
        assert folder.manifest["resumed"][0]["changed"] == {"log.every": 5}
    assert (path / "config.yaml").read_bytes() == frozen


def test_resume_of_nothing_starts_and_says_so(opened):
    with opened(resume=True) as folder:
        assert not folder.resumed
        assert "nothing to resume" in folder.notes[0]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("end", [finished, stopped])
def test_another_run_in_the_folder_is_refused_with_both_values(opened, end, resume):
    end(opened, name="mine")
    with pytest.raises(RunError, match="steps 120 -> 200") as error:
        opened({**CONFIG, "steps": 200}, name="mine", resume=resume)
    assert "name=" in str(error.value)


def test_other_content_of_the_data_is_another_run(opened):
    stopped(opened, content="aaa")
    with pytest.raises(RunError, match="the data's content aaa -> bbb"):
        opened(resume=True, content="bbb")
    opened(resume=True, content="aaa").close()


def test_force_moves_aside_and_never_deletes(opened):
    first = finished(opened)
    (first.path / "mine.txt").write_text("keep")
    for number in (1, 2):
        with opened(force=True) as folder:
            assert not folder.finished
            assert f"{NAME}.old-{number}" in folder.notes[0]
    assert (first.path.parent / f"{NAME}.old-1" / "mine.txt").read_text() == "keep"
    assert sorted(os.listdir(first.path.parent)) == [NAME, f"{NAME}.old-1", f"{NAME}.old-2"]


@pytest.mark.parametrize(
    ("path", "pattern", "aside"),
    [("a/x.old-1", "a/*", True), ("x.old-12/evals/t", "*/evals/*", True), ("a/x", "a/*", False),
     ("a/x.old-1", "a/*.old-*", False), ("x.old-1/evals/t", "x.old-1/evals/*", False),
     ("x.old", "*", False), ("x.old-1b", "*", False)],
)  # fmt: skip
def test_what_was_moved_aside_is_known_by_its_name(path, pattern, aside):
    assert is_aside(Path(path), pattern) == aside


def test_force_with_nothing_there_is_a_new_run(opened):
    with opened(force=True) as folder:
        assert folder.notes == ()


def test_force_and_resume_together_start_again(opened):
    stopped(opened)
    with opened(force=True, resume=True) as folder:
        assert not folder.resumed
        assert len(folder.notes) == 1


@pytest.mark.parametrize("force", [True, False])
def test_a_folder_in_use_is_refused_and_left_alone(tmp_path, force):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"process {process.pid} "):
            open_run(tmp_path, "r", {"seed": 0}, resume=True, force=force)
        assert os.listdir(tmp_path) == ["r"]
        assert read_run(tmp_path / "r").status == "running"
    finally:
        process.kill()
        process.communicate()
    assert read_run(tmp_path / "r").status == "killed"
    open_run(tmp_path, "r", {"seed": 0}, resume=True).close()


def test_a_race_for_a_new_folder_has_one_winner(tmp_path):
    script = HOLDER.replace("sys.stdin.read()", "")
    commands = [[sys.executable, "-c", script, str(tmp_path)] for _ in range(3)]
    processes = [subprocess.Popen(c, stdout=-1, stderr=-1, text=True) for c in commands]
    ends = [(p.communicate(), p.returncode) for p in processes]
    assert sum(code == 0 for _, code in ends) == 1
    assert all("RunError" in told[1] for told, code in ends if code)
    assert os.listdir(tmp_path) == ["r"]


CONTENDER = """
import random, sys, time
from pathlib import Path
from bvrank.errors import RunError
from bvrank.run import open_run
draw = random.Random(int(sys.argv[2]))
for _ in range(25):
    try:
        force = draw.random() < 0.5
        with open_run(Path(sys.argv[1]), "r", {"seed": 0}, force=force, resume=True) as f:
            if not f.finished:
                alone = f.path / "alone"
                alone.touch(exist_ok=False)
                time.sleep(draw.random() * 0.005)
                alone.unlink()
                if draw.random() < 0.3:
                    f.finish({})
    except RunError as error:
        assert "is working in this folder" in str(error), error
        time.sleep(draw.random() * 0.02)
"""


def test_processes_that_force_resume_and_finish_at_random_are_never_two_inside(tmp_path):
    commands = [[sys.executable, "-c", CONTENDER, str(tmp_path), str(k)] for k in range(3)]
    processes = [subprocess.Popen(c, stderr=-1, text=True) for c in commands]
    assert [p.communicate()[1] for p in processes] == [""] * 3
    names = os.listdir(tmp_path)
    assert all(name == "r" or name.startswith("r.old-") for name in names)


def test_an_empty_folder_is_nothing(opened, tmp_path):
    (tmp_path / "outputs" / NAME).mkdir(parents=True)
    opened().close()


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_is_no_run_folder_is_refused_and_forced_aside(opened, tmp_path, kind):
    path = tmp_path / "outputs" / NAME
    path.parent.mkdir()
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
        (path / "mine").touch()
    else:
        path.symlink_to(tmp_path / "absent")
    with pytest.raises(RunError, match="no run folder"):
        opened()
    opened(force=True).close()
    assert os.path.lexists(tmp_path / "outputs" / f"{NAME}.old-1")


@pytest.mark.parametrize("part", ["config.yaml", "manifest.json"])
@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_damaged_folder_is_told(opened, part, content):
    path = stopped(opened).path / part
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(RunError, match=f"damaged: {part}"):
        opened(resume=True)
    opened(force=True).close()


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "a/b", "a\0b"])
def test_names_that_name_no_folder(opened, tmp_path, name):
    with pytest.raises(ConfigError) as error:
        opened(name=name)
    assert error.value.where == "name"
    assert not (tmp_path / "outputs").exists()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(RunError, match=r"cannot be written.*outputs="):
        open_run(tmp_path / "outputs", "r", CONFIG)
    with pytest.raises(RunError, match="cannot be written"):
        open_run(tmp_path, "x" * 300, CONFIG)
    with pytest.raises(RunError, match="cannot be written"):
        open_run(Path("/proc/nothing"), "r", CONFIG)


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_disk_that_fills_up_leaves_nothing_half_written(opened, tmp_path, monkeypatch, moment):
    calls = []
    real = files.os.replace

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > moment:
            raise OSError(28, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(files.os, "replace", full)
    if moment == 2:
        monkeypatch.setattr(opening_module.os, "rename", full)
    with pytest.raises(RunError, match=r"No space left on device\. Free some space"):
        opened()
    assert os.listdir(tmp_path / "outputs") == []


def test_a_disk_that_takes_no_lock_leaves_no_half_made_folder(opened, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(opening_module.Lock, "take", full)
    with pytest.raises(RunError, match="No space left"):
        opened()
    assert os.listdir(tmp_path / "outputs") == []


def test_secrets_in_a_config_are_not_written(opened):
    with opened({"seed": 0, "note": "hf_abcdefghijklmnop"}) as folder:
        assert "abcdefgh" not in folder.config_path.read_text()
    with opened({"seed": 0, "note": "hf_abcdefghijklmnop"}, resume=True) as folder:
        assert folder.resumed
