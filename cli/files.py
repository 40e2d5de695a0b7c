"""Which files a command line means: those named, and with --recursive those below the directories named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.client import Misuse


@dataclass(frozen=True)
class Source:
    """A file to send, and how it is called on the screen: below a directory by its path."""

    path: Path
    name: str


@dataclass(frozen=True)
class Found:
    """`skipped`: hidden files and folders, links that lead outside, and what is no file."""

    sources: list[Source]
    skipped: int


def find(given: Sequence[Path], *, recursive: bool) -> Found:
    """In the order given, and below each directory by name. Raises Misuse for a directory without leave."""
    sources: list[Source] = []
    skipped = 0
    for path in given:
        if not path.is_dir():
            sources.append(Source(path, path.name))
        elif recursive:
            walk = _Walk(path)
            sources += [Source(file, str(file)) for file in walk.files()]
            skipped += walk.skipped
        else:
            raise Misuse(f"{path} is a directory. Add --recursive to submit every file below it.")
    return Found(sources, skipped)


class _Walk:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._inside = root.resolve()
        self.skipped = 0

    def files(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self._root, onerror=self._unreadable):
            seen = len(folders)
            folders[:] = sorted(name for name in folders if not self._odd_folder(Path(folder) / name))
            self.skipped += seen - len(folders)
            for name in sorted(names):
                path = Path(folder) / name
                if self._wanted(path):
                    yield path
                else:
                    self.skipped += 1

    def _unreadable(self, _: OSError) -> None:
        self.skipped += 1

    @staticmethod
    def _odd_folder(path: Path) -> bool:
        """A linked folder is not followed: what is inside comes by itself, and a ring would never end."""
        return path.name.startswith(".") or path.is_symlink()

    def _wanted(self, path: Path) -> bool:
        if path.name.startswith(".") or not path.is_file():
            return False
        return not path.is_symlink() or path.resolve().is_relative_to(self._inside)
