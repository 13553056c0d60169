import os
import subprocess
import sys
from pathlib import Path

import pytest

from bvrank.errors import RunError
from bvrank.run import lock as lock_module
from bvrank.run.lock import LOCK, Lock, owner, owner_lives

HOLDER = """
import sys
from pathlib import Path
from bvrank.run.lock import Lock
lock = Lock.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path until its stdin closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_second_process_is_refused_with_the_pid(tmp_path, holder):
    with pytest.raises(RunError, match=f"process {holder.pid} on ") as error:
        Lock.take(tmp_path)
    assert error.value.where == str(tmp_path)
    assert owner(tmp_path)[0] == holder.pid
    assert owner_lives(tmp_path)


def test_a_killed_owner_leaves_no_lock(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert not owner_lives(tmp_path)
    Lock.take(tmp_path).release()


def test_release_twice_and_take_again(tmp_path):
    lock = Lock.take(tmp_path)
    lock.release()
    lock.release()
    Lock.take(tmp_path).release()


def test_folder_moved_between_opening_and_locking(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / LOCK).touch()
    real = lock_module._flock

    def moved(descriptor, path):
        real(descriptor, path)
        os.rename(folder, tmp_path / "aside")

    monkeypatch.setattr(lock_module, "_flock", moved)
    with pytest.raises(FileNotFoundError):
        Lock.take(folder)


def test_file_system_without_locks_lets_in(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock_module.fcntl, "flock", unsupported)
    Lock.take(tmp_path).release()


@pytest.mark.parametrize("content", ["", "x y", "1 2 3"])
def test_owner_of_a_strange_file(tmp_path, content):
    (tmp_path / LOCK).write_text(content)
    assert owner(tmp_path) is None
    assert not owner_lives(Path(tmp_path))


def test_owner_on_another_host_is_taken_to_live(tmp_path):
    (tmp_path / LOCK).write_text("1 elsewhere.example\n")
    assert owner_lives(tmp_path)
