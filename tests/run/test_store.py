"""An entry of the store is whole or made again, whoever else writes it."""

import errno
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bvrank.errors import ConfigError, RunError
from bvrank.run.store import LOCK, SEAL, abandoned, damage, filled, kept, telling


def hello(part):
    (part / "deep").mkdir()
    (part / "a.txt").write_text("hello")
    (part / "deep" / "b.bin").write_bytes(bytes(range(100)))


def never():
    pytest.fail("made again")


@pytest.fixture
def entry(tmp_path):
    return kept(tmp_path / "kind" / "key", lambda: hello)


def test_what_is_whole_is_not_made_again(entry, capsys):
    assert kept(entry, never) == entry
    assert damage(entry) is None
    assert os.listdir(entry.parent) == ["key"]
    assert capsys.readouterr().err == ""


HARM = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "flipped": lambda path: path.write_bytes(
        bytes([path.read_bytes()[0] ^ 1, *path.read_bytes()[1:]])
    ),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("name", ["a.txt", "deep/b.bin", SEAL])
def test_damage_is_named_and_made_again(entry, name, harm, capsys):
    HARM[harm](entry / name)
    assert name in (damage(entry) or "")
    assert kept(entry, lambda: hello) == entry
    (line,) = capsys.readouterr().err.splitlines()
    assert str(entry) in line and name in line and "made again" in line
    assert damage(entry) is None and (entry / "a.txt").read_text() == "hello"
    assert os.listdir(entry.parent) == ["key"]


def test_every_flipped_bit_of_the_seal_is_noticed(entry):
    sound = (entry / SEAL).read_bytes()
    for bit in range(8 * len(sound)):
        flipped = bytearray(sound)
        flipped[bit // 8] ^= 1 << bit % 8
        (entry / SEAL).write_bytes(flipped)
        assert damage(entry) is not None or flipped.split() == sound.split()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_stands_in_its_place_is_replaced(tmp_path, kind):
    place = tmp_path / "key"
    {"file": place.touch, "folder": place.mkdir, "link": lambda: place.symlink_to("/nowhere")}[
        kind
    ]()
    assert damage(kept(place, lambda: hello)) is None
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConfigError("steps: too many")])
def test_work_that_ends_early_leaves_nothing_and_says_what_it_said(tmp_path, error):
    def cut():
        raise error

    with pytest.raises(type(error)):
        kept(tmp_path / "kind" / "key", cut)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    def full(part):
        (part / "a.txt").write_text("hel")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"kind/key: .*No space left.*store="):
        kept(tmp_path / "kind" / "key", lambda: full)
    assert not (tmp_path / "kind").exists()


def test_a_place_that_cannot_be_is_told_before_the_work(tmp_path):
    (tmp_path / "kind").touch()
    with pytest.raises(RunError, match=r"kind/key: the store cannot be written"):
        kept(tmp_path / "kind" / "key", never)


def test_of_two_writers_the_first_stays(tmp_path):
    place = tmp_path / "key"

    def slow():
        kept(place, lambda: lambda part: (part / "a.txt").write_text("first"))
        return lambda part: (part / "a.txt").write_text("second")

    assert (kept(place, slow) / "a.txt").read_text() == "first"
    assert os.listdir(tmp_path) == ["key"]


def aged(path, seconds):
    """As if nobody had written to anything in it for so long."""
    for each in (*path.rglob("*"), path):
        os.utime(each, (time.time() - seconds,) * 2)


def test_what_a_kill_left_is_removed_after_an_hour(tmp_path):
    for name, age in ((".key.1-1.part", 4e3), (".key.1-2.part", 10), (".other.1-1.part", 4e3)):
        (tmp_path / name).mkdir()
        aged(tmp_path / name, age)
    kept(tmp_path / "key", lambda: hello)
    assert sorted(os.listdir(tmp_path)) == [".key.1-2.part", ".other.1-1.part", "key"]


def test_a_live_writer_is_left_alone_however_long_it_is_silent(tmp_path):
    def slow(part):
        hello(part)
        aged(part, 1e6)
        assert not abandoned(part)
        kept(tmp_path / "key", lambda: lambda other: hello(other))  # clears away what was left
        assert (part / "a.txt").exists()

    assert damage(filled(tmp_path / "key", lambda: slow)) is None
    assert os.listdir(tmp_path) == ["key"] and not (tmp_path / "key" / LOCK).exists()


def test_what_lies_deep_inside_is_a_write_too(tmp_path):
    part = tmp_path / ".key.1-1.part"
    (part / "deep").mkdir(parents=True)
    (part / "deep" / "b").touch()
    aged(part, 1e6)
    assert abandoned(part)
    os.utime(part / "deep" / "b")
    assert not abandoned(part)


@pytest.mark.parametrize(("age", "gone"), [(4e3, False), (1e5, True)])
def test_where_a_file_system_knows_no_locks_it_takes_a_day(tmp_path, monkeypatch, age, gone):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    part = tmp_path / ".key.1-1.part"
    part.mkdir()
    (part / LOCK).touch()
    monkeypatch.setattr("fcntl.flock", no_locks)
    aged(part, age)
    assert abandoned(part) is gone
    assert damage(kept(tmp_path / "other", lambda: hello)) is None


WRITER = """
import sys, time
from pathlib import Path
from bvrank.run.store import filled

def write(part):
    print(part, flush=True)
    time.sleep(100)

filled(Path(sys.argv[1]), lambda: write)
"""


def test_the_lock_goes_with_a_killed_process(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "key")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        part = Path(process.stdout.readline().strip())
        aged(part, 1e6)
        assert not abandoned(part)
        process.kill()
    assert abandoned(part)


@pytest.mark.parametrize("error", [
    MemoryError(), ValueError("a tokenizer's own"), KeyboardInterrupt(), RuntimeError("of torch"),
    PermissionError(errno.EACCES, "Permission denied", "/data/of/the/user.jsonl"),
], ids=lambda e: type(e).__name__)  # fmt: skip
def test_what_work_raises_as_it_writes_is_no_fault_of_the_store(tmp_path, error):
    def work(part):
        (part / "a.txt").write_text("hel")
        raise error

    with pytest.raises(type(error)) as caught:
        filled(tmp_path / "kind" / "key", lambda: work)
    assert caught.value is error and os.listdir(tmp_path) == []


def test_a_mistake_in_what_writes_is_none_of_the_stores_either(tmp_path):
    def broken(part):
        raise TypeError("a mistake")

    with pytest.raises(TypeError):
        kept(tmp_path / "kind" / "key", lambda: broken)


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"),
    Exception("No space left on device (os error 28)"),
])  # fmt: skip
def test_a_disk_is_told_of_whichever_library_meets_it(tmp_path, error):
    with pytest.raises(RunError, match=r"cannot be written \(No space left"), telling(tmp_path):
        raise error


def test_a_full_disk_is_told_of_real_libraries(tmp_path):
    import torch
    from safetensors.torch import save_file

    from bvrank.models.tiny import tiny_tokenizer

    writes = {
        "weights": lambda part: save_file({"w": torch.zeros(10_000)}, part / "w.safetensors"),
        "tokenizer": lambda part: tiny_tokenizer().backend_tokenizer.save(str(part / "t.json")),
    }
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, write in writes.items():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            with pytest.raises(RunError, match=f"{name}: the store cannot be written"):
                kept(tmp_path / name, lambda write=write: write)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_too_many_open_files_do_not_make_an_entry_damaged(entry, monkeypatch):
    def none_left(path):
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr("bvrank.run.store.hash_of", none_left)
    with pytest.raises(OSError, match="Too many open files"):
        kept(entry, never)


RACER = """
import random, sys
from pathlib import Path
from bvrank.run.store import SEAL, kept

draw, place = random.Random(int(sys.argv[2])), Path(sys.argv[1])
for _ in range(60):
    entry = kept(place, lambda: lambda part: (part / "a.bin").write_bytes(b"x" * 100_000))
    try:
        content = (entry / "a.bin").read_bytes()
    except FileNotFoundError:  # another one has just put it aside, as its seal was gone
        content = b"x" * 100_000
    assert content == b"x" * 100_000  # whole, or not there
    if draw.random() < 0.3:
        (entry / SEAL).unlink(missing_ok=True)
"""


def test_processes_that_make_and_harm_one_entry_all_end(tmp_path):
    commands = [[sys.executable, "-c", RACER, str(tmp_path / "key"), str(k)] for k in range(3)]
    processes = [subprocess.Popen(c, stderr=-1, text=True) for c in commands]
    told = [p.communicate()[1] for p in processes]
    assert [p.returncode for p in processes] == [0] * 3, told
    assert all("made again" in line for text in told for line in text.splitlines())
    assert damage(kept(tmp_path / "key", lambda: hello)) is None  # when nobody harms it any more
    assert os.listdir(tmp_path) == ["key"]
