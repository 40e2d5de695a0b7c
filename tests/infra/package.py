"""The package that goes to Azure, as azd packs it: which files, and the zip file of them.

`.funcignore` is read in two ways. azd's library (denormal/go-gitignore, read in November 2026) differs from
git: a path from the project's folder on with a wildcard in its last part reaches into every folder (`/*` is
everything), and a trailing slash does not work. Core Tools and others read the file as git does. A test
compares the two, so the file keeps to what means the same to all.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pathspec

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = Path(".python_packages/lib/site-packages")
"""Where the Functions host looks for what requirements.txt names."""

Ignores = Callable[[str, bool], bool]
"""Path from the project's folder on, whether it is a folder -> whether it is left out."""


def files(root: Path, ignores: Ignores) -> Iterator[Path]:
    """What azd would put into the zip file, relative to `root`. Links are followed."""
    yield from _below(root, "", ignores)


def _below(folder: Path, prefix: str, ignores: Ignores) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path, is_folder = f"{prefix}{entry.name}", entry.is_dir()
        if _never(entry.name, is_folder) or ignores(path, is_folder):
            continue
        if is_folder:
            yield from _below(Path(entry.path), f"{path}/", ignores)
        else:
            yield Path(path)


def _never(name: str, is_folder: bool) -> bool:
    """What azd leaves out whatever the file says."""
    return name == ".azure" if is_folder else name in {".funcignore", "local.settings.json"}


def pack(root: Path, names: Iterable[Path], archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name in names:
            packed.write(root / name, name.as_posix())


# --- the two readings ------------------------------------------------------------------------------------


def as_git(text: str) -> Ignores:
    spec = pathspec.GitIgnoreSpec.from_lines(text.splitlines())
    return lambda path, is_folder: spec.match_file(f"{path}/" if is_folder else path)


def as_azd(text: str) -> Ignores:
    patterns = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return lambda path, _is_folder: any(_matches(pattern, path) for pattern in patterns)


def _matches(pattern: str, path: str) -> bool:
    anchored, pattern = pattern.startswith("/"), pattern.removeprefix("/")
    if "**" in pattern:
        return _parts_match(pattern.split("/") if anchored else ["**", *pattern.split("/")], path.split("/"))
    if "/" in pattern:
        raise ValueError(f"{pattern}: write it as a whole name or with /**/, the reader here knows no more")
    return fnmatchcase(path if anchored else path.rpartition("/")[2], pattern)


def _parts_match(pattern: list[str], path: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return _parts_match(pattern[1:], path) or (bool(path) and _parts_match(pattern, path[1:]))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _parts_match(pattern[1:], path[1:])
