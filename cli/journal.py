"""What an upload has got to, in a small file, so that the next run of the command goes on from there.

One file for each service, API key, path, size and time of change: another content begins anew. It holds the
address of the upload, which is as good as a key for 15 minutes, so only its owner may read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

KEPT_DAYS = 30
RESERVE = timedelta(minutes=1)
"""An address that ends within this time is not used any more."""


@dataclass(frozen=True)
class Progress:
    """`done`: numbers of the blocks that storage has; `complete`: they were put together."""

    document_id: str
    url: str
    content_type: str
    expires_at: str
    block_bytes: int
    done: tuple[int, ...] = ()
    complete: bool = False

    def usable(self, now: datetime) -> bool:
        return now + RESERVE < datetime.fromisoformat(self.expires_at)


class Journal:
    """The notes of one upload. Threads may share it; each note is on disk before the call returns."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._progress = _read(file)

    @property
    def progress(self) -> Progress | None:
        return self._progress

    def begin(self, progress: Progress) -> None:
        with self._lock:
            self._write(progress)

    def block_done(self, number: int) -> None:
        with self._lock:
            if self._progress is not None and number not in self._progress.done:
                self._write(replace(self._progress, done=(*self._progress.done, number)))

    def completed(self) -> None:
        with self._lock:
            if self._progress is not None:
                self._write(replace(self._progress, complete=True, url=""))

    def _write(self, progress: Progress) -> None:
        """Where nothing can be kept, only this run knows it: the upload goes on."""
        self._progress = progress
        with suppress(OSError):
            self._save(progress)

    def _save(self, progress: Progress) -> None:
        """Beside it first, so that whoever is killed here leaves the last notes whole."""
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self._file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(progress), file)
        beside.replace(self._file)


class Journals:
    """All of one person's, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Journals:
        """Where the system keeps what programs remember."""
        home = environ.get("XDG_STATE_HOME") or environ.get("LOCALAPPDATA")
        base = Path(home) if home else Path("~/.local/state").expanduser()
        return cls(base / "docmill" / "uploads")

    def of_file(self, identity: str, path: Path) -> Journal:
        """`identity`: tells one service and API key from another."""
        found = path.stat()
        told = "\0".join((identity, str(path.resolve()), str(found.st_size), str(found.st_mtime_ns)))
        return Journal(self._folder / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json")

    def tidy(self) -> None:
        """Forgets what nobody went on with."""
        long_ago = time.time() - KEPT_DAYS * 86400
        with suppress(OSError):
            for file in self._folder.glob("*"):
                if file.stat().st_mtime < long_ago:
                    file.unlink(missing_ok=True)


def now() -> datetime:
    return datetime.now(UTC)


def _read(file: Path) -> Progress | None:
    """None for notes that are not there, or that nobody can make sense of."""
    try:
        values = json.loads(file.read_text())
        return Progress(**{**values, "done": tuple(values["done"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
