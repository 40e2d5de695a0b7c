"""Temporary files of this process, all below one folder: what a `kill -9` leaves goes at the next start.

The folder holds a locked file: the system lets the lock go when the process ends, however it ends. Whoever
can take the lock of another folder knows that its owner is gone, and removes it. (Process ids would not do:
in a container it is always the same one.)
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

PREFIX = "docmill-scratch-"
LOCK = "owner.lock"


def folder() -> tempfile.TemporaryDirectory[str]:
    """A new folder for one piece of work: a context manager, or `cleanup()` ends it."""
    return tempfile.TemporaryDirectory(dir=_own(), ignore_cleanup_errors=True)


def tidy() -> int:
    """Removes what dead processes left in this machine's temporary directory; says how many folders."""
    return sum(_removed(place) for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


@cache
def _own() -> Path:
    """This process's folder. Its lock is never closed: it ends with the process."""
    tidy()
    while True:
        place = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Before it is locked, somebody who tidies up may take it for a dead one's.
        with suppress(FileNotFoundError):
            lock = os.open(place / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            if _locked(lock) and (place / LOCK).exists():
                atexit.register(shutil.rmtree, place, ignore_errors=True)
                return place
            os.close(lock)


def _removed(place: Path) -> bool:
    # Opened for reading: a folder that lost its lock in a removal cut short must not get a new one.
    with suppress(OSError):
        if (place / LOCK).exists():
            with (place / LOCK).open("rb") as lock:
                if _locked(lock.fileno()):
                    _remove(place)
                    return True
        else:
            _remove_unlocked(place)
            return True
    return False


def _remove(place: Path) -> None:
    """All but the lock first, so that what is cut short can be found again."""
    _empty(place)
    (place / LOCK).unlink()
    _remove_unlocked(place)


def _remove_unlocked(place: Path) -> None:
    """A process that was at work for the dead one may live on for a moment, and write; a living owner's
    folder is empty until it has its lock. Raises OSError when the folder is a living one's."""
    try:
        place.rmdir()
    except OSError:
        if not place.exists() or (place / LOCK).exists():
            raise
        _empty(place)
        place.rmdir()


def _empty(place: Path) -> None:
    for entry in place.iterdir():
        if entry.name != LOCK:
            shutil.rmtree(entry, ignore_errors=True)  # folder() makes nothing but folders here


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
