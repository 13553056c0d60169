"""Opening a run folder: new, continued, finished already, or refused.

nothing there                      -> created                       (resume=true says so)
finished, same run                 -> RunFolder.finished            (keys without effect noted)
unfinished, same run               -> RunError; resume=true continues it
another run, damaged, no run       -> RunError
held by a living process           -> RunError
force=true, anything but held      -> moved to <name>.old-1, .old-2, ...; created
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns
from typing import Any

import yaml

from bvrank.errors import ConfigError, RunError
from bvrank.run import provenance
from bvrank.run.files import to_json, write_atomic
from bvrank.run.folder import RunFolder, now, told
from bvrank.run.identity import differences, plain
from bvrank.run.lock import Lock
from bvrank.run.record import CONFIG, MANIFEST, is_run, read_config, read_manifest
from bvrank.secrets import redact, redact_command

LOOKS = 100  # how often a folder that changes under our eyes is looked at
_ASIDE = re.compile(r"\.old-\d+$")  # what force=true puts behind a name
_RESTART = "start again with force=true, which moves this folder aside"


@dataclass(frozen=True)
class _Wanted:
    """The run that is asked for."""

    path: Path
    config: Mapping[str, Any]
    content: str
    holds: str
    resume: bool
    again: bool
    world: int
    command: list[str]


def open_run(
    outputs: Path,
    name: str,
    config: Mapping[str, Any],
    *,
    resume: bool = False,
    again: bool = False,
    force: bool = False,
    content: str = "",
    holds: str = "the data's content",
    world: int = 1,
    command: Sequence[str] | None = None,
) -> RunFolder:
    """The folder `outputs`/`name` for this run, by the table on top of this file.

    Call it when everything else was checked: it writes. `again` goes on even with a finished run,
    which has lost something. `content` is the data's fingerprint, `holds` what that covers,
    `world` the number of processes, `command` what the user typed (None: the argv of this process).
    RunError as in the table or when the place cannot be written; ConfigError when `name` cannot
    name a folder.
    """
    _check_name(name)
    stored = redact(plain(config))
    typed = redact_command(sys.argv if command is None else command)
    wanted = _Wanted(outputs / name, stored, content, holds, resume, again, world, typed)
    notes: list[str] = []
    with told(wanted.path):
        for _ in range(LOOKS - 1):
            seen = _inode(wanted.path)
            try:
                return _opened(wanted, force, notes)
            except (OSError, RunError) as error:
                # FileExistsError, or another inode: a process made or moved the folder meanwhile.
                if _inode(wanted.path) == seen and not isinstance(error, FileExistsError):
                    raise
        return _opened(wanted, force, notes)


def _opened(wanted: _Wanted, force: bool, notes: list[str]) -> RunFolder:
    if force and _occupied(wanted.path):
        notes.append(_moved_aside(wanted.path))
    return _reopened(wanted) if _occupied(wanted.path) else _created(wanted, notes)


def _created(wanted: _Wanted, notes: Sequence[str]) -> RunFolder:
    """Fills a folder under another name, lock held, and renames it to `wanted.path`.

    FileExistsError when another process was faster.
    """
    path = wanted.path
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}-{monotonic_ns()}.tmp")
    temporary.mkdir(parents=True)
    lock = None
    try:
        lock = Lock.take(temporary)
        text = yaml.safe_dump(dict(wanted.config), sort_keys=False, allow_unicode=True)
        write_atomic(temporary / CONFIG, text)
        write_atomic(temporary / MANIFEST, to_json(_manifest(wanted), indent=2) + "\n")
        _place(temporary, path)
    except BaseException:
        if lock is not None:
            lock.release()
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if wanted.resume and not notes:
        notes = [f"{path}: nothing to resume, starting from step 0"]
    return RunFolder(path, lock=lock, notes=notes)


def _reopened(wanted: _Wanted) -> RunFolder:
    _check_same(wanted)
    if read_manifest(wanted.path).get("status") == "finished" and not wanted.again:
        return _finished(wanted)
    lock = Lock.take(wanted.path)
    try:
        manifest = read_manifest(wanted.path)  # again: it may have finished as the lock came free
        if manifest.get("status") == "finished" and not wanted.again:
            lock.release()
            return _finished(wanted)
        return _continued(wanted, manifest, lock)
    except BaseException:
        lock.release()
        raise


def _continued(wanted: _Wanted, manifest: Mapping[str, Any], lock: Lock) -> RunFolder:
    if not wanted.resume:
        raise RunError(
            f"this run is unfinished ({_end(manifest)})",
            where=str(wanted.path),
            repair=f"Continue it with resume=true, or {_RESTART}.",
        )
    had = manifest.get("world_size", 1)
    if had != wanted.world:
        raise RunError(
            f"this run is of {had} processes, and {wanted.world} would go on with it",
            where=str(wanted.path),
            repair=f"Set launcher.processes so that there are {had}, or {_RESTART}.",
        )
    changed = differences(read_config(wanted.path), wanted.config, matters=False)
    notes = [f"{key} {new} from here on (was {old})" for key, old, new in changed]
    folder = RunFolder(wanted.path, lock=lock, resumed=True, notes=notes)
    session = {"at": now(), "command": wanted.command, "changed": {k: new for k, _, new in changed}}
    sessions = [*manifest.get("resumed", []), session]
    folder.update(status="running", message="", ended=None, resumed=sessions)
    return folder


def _finished(wanted: _Wanted) -> RunFolder:
    notes = [
        f"{key} {new} (run has {old}): force=true runs again"
        for key, old, new in differences(read_config(wanted.path), wanted.config, matters=False)
    ]
    return RunFolder(wanted.path, finished=True, notes=notes)


def _check_same(wanted: _Wanted) -> None:
    """RunError when the place holds another run, or something that is no run folder."""
    path, content = wanted.path, wanted.content
    if not is_run(path):
        raise RunError(
            "something that is no run folder stands here",
            where=str(path),
            repair=f"Choose another name with name=..., or {_RESTART}.",
        )
    changed = differences(read_config(path), wanted.config, matters=True)
    data = read_manifest(path).get("data") or {}
    if content and data.get("fingerprint") and data["fingerprint"] != content:
        changed.append((wanted.holds, data["fingerprint"], content))
    if changed:
        listed = "; ".join(f"{key} {old} -> {new}" for key, old, new in changed)
        raise RunError(
            f"this folder holds another run (there -> asked for: {listed})",
            where=str(path),
            repair=f"Choose another name with name=..., or {_RESTART}.",
        )


def is_aside(path: Path, pattern: str = "") -> bool:
    """Whether `path`, which `pattern` matches, is what force=true moved aside or lies in it; what a
    pattern names (`x.old-1`, `*.old-*`) is asked for."""
    return ".old-" not in pattern and any(map(_ASIDE.search, path.parts))


def _moved_aside(path: Path) -> str:
    """Renames what stands at `path` to the first free `<name>.old-<n>`; says so."""
    lock = Lock.take(path) if is_run(path) else None
    try:
        number = 1
        while not _renamed(path, target := path.with_name(f"{path.name}.old-{number}")):
            number += 1
    finally:
        if lock is not None:
            lock.release()
    return f"{path}: what was there is now {target.name}"


def _renamed(source: Path, target: Path) -> bool:
    """Renames unless something stands at `target`, or comes to stand there meanwhile."""
    if os.path.lexists(target):
        return False
    try:
        _place(source, target)
    except FileExistsError:
        return False
    return True


def _place(source: Path, target: Path) -> None:
    """Renames onto nothing or an empty folder, else FileExistsError on every system alike."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise FileExistsError(error.errno, error.strerror, str(target)) from error
        raise


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _occupied(path: Path) -> bool:
    if path.is_dir():
        return any(path.iterdir())
    return os.path.lexists(path)


def _check_name(name: str) -> None:
    if name in ("", ".", "..") or name.startswith(".") or "/" in name or "\0" in name:
        raise ConfigError(
            f"cannot name a run folder, got {name!r}",
            where="name",
            repair="Give one folder name without '/' and without a dot in front.",
        )


def _manifest(wanted: _Wanted) -> dict[str, Any]:
    return {
        "name": wanted.path.name,
        "status": "running",
        "message": "",
        "command": wanted.command,
        "started": now(),
        "ended": None,
        "seconds": 0.0,
        "seeds": {"seed": wanted.config.get("seed")},
        "world_size": wanted.world,
        "data": {"fingerprint": wanted.content},
        "git": provenance.git_state(Path.cwd()),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
    }


def _end(manifest: Mapping[str, Any]) -> str:
    status, message = manifest.get("status"), manifest.get("message")
    if status == "running":
        return "its process is gone"
    return f"{status}: {message}" if message else str(status)
