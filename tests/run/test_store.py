"""An entry of the store is whole or made again, whoever else writes it."""

import os
import subprocess
import sys
import time

import pytest

from bvrank.errors import ConfigError, RunError
from bvrank.run.store import SEAL, damage, kept


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


def test_what_a_kill_left_is_removed_after_a_day(tmp_path):
    for name, age in ((".key.1-1.part", 1e5), (".key.1-2.part", 10), (".other.1-1.part", 1e5)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    kept(tmp_path / "key", lambda: hello)
    assert sorted(os.listdir(tmp_path)) == [".key.1-2.part", ".other.1-1.part", "key"]


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
