"""Programs of Debian's packages, without installing anything on the machine.

What is on the PATH is taken. Otherwise the package is downloaded and unpacked below `.local/packages`, once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNPACKED = ROOT / ".local" / "packages"
DOWNLOAD_SECONDS = 120
PLACES = ("usr/bin", "bin", "usr/sbin")


def tool(name: str, package: str) -> Path:
    """The program `name`, which `package` has. Fails the test, never skips it, when there is none."""
    if found := shutil.which(name):
        return Path(found)
    folder = UNPACKED / package
    if not folder.is_dir():
        _unpack(name, package, folder)
    for place in PLACES:
        if (folder / place / name).is_file():
            return folder / place / name
    raise _missing(name, package, f"{folder} does not have it. Remove that folder to download it again.")


def _unpack(name: str, package: str, folder: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise _missing(name, package, "There is no apt-get here that could fetch it.")
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=UNPACKED) as temporary:
        directory = Path(temporary)
        problem = _download(package, directory)
        packed = list(directory.glob("*.deb"))
        if problem is not None or len(packed) != 1:
            raise _missing(name, package, f"It could not be downloaded:\n{problem}")
        unpacked = directory / "unpacked"
        subprocess.run(["dpkg", "-x", packed[0], unpacked], check=True)
        unpacked.chmod(0o755)
        unpacked.rename(folder)


def _download(package: str, directory: Path) -> str | None:
    """What went wrong, if anything. apt verifies what it downloads by the signed lists."""
    if _apt(directory, "download", package) is None:
        return None
    # There are no lists, or old ones, and they may not be ours to renew: make some for this once.
    state, cache = directory / "state", directory / "cache"
    (state / "lists" / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    own = [
        "-o",
        f"Dir::State::lists={state / 'lists'}",
        "-o",
        f"Dir::Cache={cache}",
        "-o",
        "Debug::NoLocking=1",
    ]
    return _apt(directory, *own, "update") or _apt(directory, *own, "download", package)


def _apt(directory: Path, *arguments: str) -> str | None:
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=", *arguments]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            capture_output=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{' '.join(command)} was not done after {DOWNLOAD_SECONDS} s"
    return None if done.returncode == 0 else f"{' '.join(command)}: {done.stderr.decode(errors='replace')}"


def _missing(name: str, package: str, why: str) -> BaseException:
    return pytest.fail.Exception(
        f"{name} is not on the PATH. {why}\n"
        f"Install it, for example: apt install {package}. Then run make test-system again.",
        pytrace=False,
    )
