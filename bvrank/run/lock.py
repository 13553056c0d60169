"""One process per run folder."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
from pathlib import Path

from bvrank.errors import RunError

LOCK = "lock"
_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}  # some network file systems


class Lock:
    """An flock on `<folder>/lock`, which names its owner; it ends when its owner does."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, folder: Path) -> Lock:
        """Takes the lock or raises RunError with the owner's process id.

        FileNotFoundError when the folder was moved away meanwhile. A file system that knows no
        locks lets everybody in.
        """
        path = folder / LOCK
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _flock(descriptor, folder)
            if os.fstat(descriptor).st_ino != path.stat().st_ino:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()} {platform.node()}\n".encode())
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Gives the lock back; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def owner(folder: Path) -> tuple[int, str] | None:
    """Process id and host of whoever took the lock of `folder` last."""
    try:
        pid, host = (folder / LOCK).read_text().split()
        return int(pid), host
    except (OSError, ValueError):
        return None


def owner_lives(folder: Path) -> bool:
    """Whether that process still runs; assumed of another host, which cannot be asked."""
    found = owner(folder)
    if found is None:
        return False
    pid, host = found
    if host != platform.node():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, as somebody else's
        return True
    return True


def _flock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        found = owner(folder)
        who = f"process {found[0]} on {found[1]}" if found else "another process"
        raise RunError(
            f"{who} is working in this folder",
            where=str(folder),
            repair="Wait for it, stop it, or give this run another name with name=...",
        ) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
