"""Opening a run folder: new, continued, finished already, or refused.

nothing there                      -> created                       (resume=true says so)
finished, same run                 -> RunFolder.finished            (keys without effect noted)
unfinished, same run               -> RunError; resume=true continues it
another run, damaged, no run       -> RunError
held by a living process           -> RunError
force=true, anything but held      -> moved to <name>.old-1, .old-2, ...; created
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
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

_RESTART = "start again with force=true, which moves this folder aside"


def open_run(
    outputs: Path,
    name: str,
    config: Mapping[str, Any],
    *,
    resume: bool = False,
    force: bool = False,
    content: str = "",
    command: Sequence[str] | None = None,
) -> RunFolder:
    """The folder `outputs`/`name` for this run, by the table on top of this file.

    Call it when everything else was checked: it writes. `content` is the data's fingerprint,
    `command` what the user typed (None: this process's own argv). RunError as in the table or when the place cannot be written; ConfigError when `name` cannot
    name a folder.
    """
    _check_name(name)
    path, stored = outputs / name, provenance.redact(plain(config))
    opening = _Opening(path, stored, content, provenance.redact_command(command or sys.argv))
    notes: list[str] = []
    with told(path):
        for _ in range(3):  # another process may create or move the folder between two looks
            try:
                if force and _occupied(path):
                    notes.append(_moved_aside(path))
                elif _occupied(path):
                    return _reopened(path, stored, resume, content)
                return _created(path, stored, content, resume, notes)
            except (FileExistsError, FileNotFoundError):
                continue
        return _created(path, stored, content, resume, notes)


def _created(
    path: Path, config: Mapping[str, Any], content: str, resume: bool, notes: list[str]
) -> RunFolder:
    """Fills a folder under another name, lock held, and renames it.

    FileExistsError when another process was faster.
    """
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}-{monotonic_ns()}.tmp")
    temporary.mkdir(parents=True)
    lock = Lock.take(temporary)
    try:
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_atomic(temporary / CONFIG, text)
        manifest = _manifest(path.name, config, content)
        write_atomic(temporary / MANIFEST, to_json(manifest, indent=2) + "\n")
        _rename(temporary, path)
    except BaseException:
        lock.release()
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fresh = [f"{path}: nothing to resume, starting from step 0"] if resume and not notes else []
    return RunFolder(path, lock=lock, notes=[*notes, *fresh])


def _reopened(path: Path, config: Mapping[str, Any], resume: bool, content: str) -> RunFolder:
    _check_same(path, config, content)
    if read_manifest(path).get("status") == "finished":
        return _finished(path, config)
    lock = Lock.take(path)
    try:
        manifest = read_manifest(path)  # again: the run may have finished before the lock was free
        if manifest.get("status") == "finished":
            lock.release()
            return _finished(path, config)
        return _continued(path, config, resume, manifest, lock)
    except BaseException:
        lock.release()
        raise


def _continued(
    path: Path, config: Mapping[str, Any], resume: bool, manifest: Mapping[str, Any], lock: Lock
) -> RunFolder:
    if not resume:
        raise RunError(
            f"this run is unfinished ({_end(manifest)})",
            where=str(path),
            repair=f"Continue it with resume=true, or {_RESTART}.",
        )
    changed = differences(read_config(path), config, matters=False)
    notes = [f"{key} {new} from here on (was {old})" for key, old, new in changed]
    folder = RunFolder(path, lock=lock, resumed=True, notes=notes)
    session = {"at": now(), "command": _command(), "changed": {k: new for k, _, new in changed}}
    sessions = [*manifest.get("resumed", []), session]
    folder.update(status="running", message="", ended=None, resumed=sessions)
    return folder


def _finished(path: Path, config: Mapping[str, Any]) -> RunFolder:
    notes = [
        f"{key} {new} (run has {old}): force=true runs again"
        for key, old, new in differences(read_config(path), config, matters=False)
    ]
    return RunFolder(path, finished=True, notes=notes)


def _check_same(path: Path, config: Mapping[str, Any], content: str) -> None:
    """RunError when `path` is no run folder or holds another run than this one."""
    if not is_run(path):
        raise RunError(
            "something that is no run folder stands here",
            where=str(path),
            repair=f"Choose another name with name=..., or {_RESTART}.",
        )
    changed = differences(read_config(path), config, matters=True)
    data = read_manifest(path).get("data") or {}
    if content and data.get("fingerprint") and data["fingerprint"] != content:
        changed.append(("the data's content", data["fingerprint"], content))
    if changed:
        listed = "; ".join(f"{key} {old} -> {new}" for key, old, new in changed)
        raise RunError(
            f"this folder holds another run (there -> asked for: {listed})",
            where=str(path),
            repair=f"Choose another name with name=..., or {_RESTART}.",
        )


def _moved_aside(path: Path) -> str:
    """Renames what stands at `path` to the first free `<name>.old-<n>`; says so."""
    lock = Lock.take(path) if is_run(path) else None
    try:
        number = 1
        while os.path.lexists(target := path.with_name(f"{path.name}.old-{number}")):
            number += 1
        os.rename(path, target)
    finally:
        if lock is not None:
            lock.release()
    return f"{path}: what was there is now {target.name}"


def _rename(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)  # succeeds on nothing and on an empty folder
    except OSError:
        if _occupied(target):
            raise FileExistsError(f"{target} was created meanwhile") from None
        raise


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


def _manifest(name: str, config: Mapping[str, Any], content: str) -> dict[str, Any]:
    return {
        "name": name,
        "status": "running",
        "message": "",
        "command": _command(),
        "started": now(),
        "ended": None,
        "seconds": 0.0,
        "seeds": {"seed": config.get("seed")},
        "world_size": 1,
        "data": {"fingerprint": content},
        "git": provenance.git_state(Path.cwd()),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
    }


def _command() -> list[str]:
    return provenance.redact_command(sys.argv)


def _end(manifest: Mapping[str, Any]) -> str:
    status, message = manifest.get("status"), manifest.get("message")
    if status == "running":
        return "its process is gone"
    return f"{status}: {message}" if message else str(status)
