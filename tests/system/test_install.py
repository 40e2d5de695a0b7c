"""install.sh, run for real: into a folder of its own by DESTDIR, which needs no root."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.system.packages import ROOT, tool

SCRIPT = ROOT / "worker" / "install.sh"
UNIT = "etc/systemd/system/docmill-worker@.service"
CONFIG = "etc/docmill/worker.env"


def install(
    destination: Path, *options: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "DESTDIR": str(destination), **(variables or {})}
    return subprocess.run(
        [SCRIPT, *options], env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def installed(destination: Path, *options: str, **variables: str) -> str:
    done = install(destination, *options, variables=variables)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def tree(folder: Path) -> dict[str, str]:
    """Every path below a folder: where a link leads, what a file holds and who may read it."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        mode = stat.filemode(path.lstat().st_mode)
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"{path.readlink()}"
        else:
            found[str(path.relative_to(folder))] = f"{mode} {path.read_text() if path.is_file() else ''}"
    return found


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder to put before the path."""
    made = tmp_path / "bin"
    made.mkdir()
    return made


def test_the_tree(tmp_path: Path) -> None:
    installed(tmp_path)
    current = tmp_path / "opt/docmill/current"
    assert re.fullmatch(r"releases/0\.1\.0-\d+", str(current.readlink()))
    for name in ("function_app.py", "host.json", "worker/__main__.py", "shared/settings.py", "cli/app.py"):
        assert (current / name).read_text() == (ROOT / name).read_text()
    assert (current / "shared/assets/cl100k_base.tiktoken").is_file()
    assert not [path for path in current.rglob("*") if path.suffix == ".pyc" or path.name == ".env"]
    for name in ("tests", "docs", "local", "supabase", "benchmarks", ".git", ".venv"):
        assert not (current / name).exists()
    assert {path.name for path in tmp_path.iterdir()} == {"etc", "opt"}


def test_the_app_in_the_tree_is_whole(tmp_path: Path) -> None:
    """Everything of ours that app, worker and command line import comes from there, not from the project."""
    installed(tmp_path)
    current = (tmp_path / "opt/docmill/current").resolve()
    script = """
import sys, function_app, worker.host, worker.functions, cli.app, api.app, shared.core, handlers.ingestion
for module in list(sys.modules.values()):
    print(getattr(module, "__file__", None) or "")
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", script],
        cwd=current,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    files = {Path(line) for line in done.stdout.splitlines()}
    assert {current / "function_app.py", current / "worker/host.py"} <= files
    installed_python = (current, Path(sys.prefix), Path(sys.base_prefix))
    elsewhere = {file for file in files if not any(file.is_relative_to(place) for place in installed_python)}
    assert elsewhere <= {Path()}  # what is built in has no file


def test_modes_are_what_they_should_be(tmp_path: Path) -> None:
    installed(tmp_path)
    assert (tmp_path / CONFIG).read_text() == (ROOT / "worker/.env.example").read_text()
    assert stat.S_IMODE((tmp_path / CONFIG).stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "etc/docmill").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / UNIT).stat().st_mode) == 0o644
    for path in (tmp_path / "opt").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert not mode & 0o022 and mode & 0o044, path


def test_twice_is_the_same_as_once(tmp_path: Path) -> None:
    installed(tmp_path)
    before = tree(tmp_path)
    installed(tmp_path)
    assert tree(tmp_path) == before


def test_the_operators_configuration_is_kept(tmp_path: Path) -> None:
    installed(tmp_path)
    (tmp_path / CONFIG).write_text("SUPABASE_KEY=mine\n")
    installed(tmp_path)
    assert (tmp_path / CONFIG).read_text() == "SUPABASE_KEY=mine\n"


def test_a_dry_run_touches_nothing_and_tells_all(tmp_path: Path) -> None:
    said = installed(tmp_path, "--dry-run")
    assert not list(tmp_path.iterdir())
    for words in ("copy the app", CONFIG, UNIT, "opt/docmill/current", "Nothing was changed."):
        assert words in said

    installed(tmp_path)
    before = tree(tmp_path)
    assert "rm -rf" in installed(tmp_path, "--uninstall", "--purge", "--dry-run")
    assert tree(tmp_path) == before


def test_a_dry_run_tells_of_users_packages_and_systemd() -> None:
    done = install(Path(), "--dry-run", variables={"DESTDIR": "", "PREFIX": "/srv/docmill-not-there"})
    assert done.returncode == 0, done.stderr
    for words in ("-m venv", "pip install", "requirements-worker.txt", "--no-deps -e /srv/docmill-not-there"):
        assert words in done.stdout
    assert not Path("/srv/docmill-not-there").exists()


def test_uninstalling_leaves_the_configuration(tmp_path: Path) -> None:
    installed(tmp_path)
    (tmp_path / CONFIG).write_text("SUPABASE_KEY=mine\n")
    assert "Kept:" in installed(tmp_path, "--uninstall")
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {CONFIG}
    installed(tmp_path)
    assert (tmp_path / CONFIG).read_text() == "SUPABASE_KEY=mine\n"

    installed(tmp_path, "--uninstall", "--purge")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    installed(tmp_path, "--uninstall")  # and where there is nothing, nothing is wrong


def test_what_is_not_ours_survives(tmp_path: Path) -> None:
    """PREFIX may be a folder that others use, and an operator may have drop-ins of their own."""
    installed(tmp_path, PREFIX="/usr/local/lib")
    others = [tmp_path / "usr/local/lib/libother.so", tmp_path / f"{UNIT}.d/override.conf"]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    installed(tmp_path, "--uninstall", "--purge", PREFIX="/usr/local/lib")
    left = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(others)


def test_another_prefix_is_that_of_the_unit(tmp_path: Path) -> None:
    installed(tmp_path, PREFIX="/srv/mill")
    unit = (tmp_path / UNIT).read_text()
    assert "WorkingDirectory=/srv/mill/current\n" in unit and "/opt/docmill" not in unit
    assert (tmp_path / "srv/mill/current/host.json").is_file()


def test_a_new_version_stands_beside_the_old_one(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "tests", "node_modules", "docs"))
    shutil.copy(ROOT / "worker/.env.example", source / "worker")
    there = tmp_path / "there"

    def update(line: str) -> Path:
        app = source / "function_app.py"
        app.write_text(app.read_text() + line)
        done = subprocess.run(
            [source / "worker/install.sh"],
            env={"PATH": os.environ["PATH"], "DESTDIR": str(there)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return (there / "opt/docmill/current").resolve()

    first, second = update("# one\n"), update("# two\n")
    assert first != second and first.is_dir()
    assert (there / "opt/docmill/previous").resolve() == first

    busy = subprocess.Popen(["sleep", "60"], cwd=first)  # a worker that was not restarted
    try:
        third = update("# three\n")
        assert first.is_dir() and second.is_dir() and third.is_dir()
    finally:
        busy.kill()
        busy.wait()
    fourth = update("# four\n")
    assert {path.resolve() for path in (there / "opt/docmill/releases").iterdir()} == {third, fourth}


def test_a_copy_that_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    installed(tmp_path)
    current = (tmp_path / "opt/docmill/current").resolve()
    whole = tree(tmp_path)
    (current / ".complete").unlink()
    (current / "host.json").write_text("half")
    installed(tmp_path)
    assert tree(tmp_path) == whole


@pytest.mark.parametrize(("version", "there"), [("252 (252.38-1)", False), ("257 (257.4)", True)])
def test_growing_pauses_where_systemd_has_them(tmp_path: Path, fake: Path, version: str, there: bool) -> None:
    (fake / "systemctl").write_text(f"#!/bin/sh\necho 'systemd {version}'\n")
    (fake / "systemctl").chmod(0o755)
    destination = tmp_path / "there"
    installed(destination, PATH=f"{fake}:{os.environ['PATH']}")
    assert (destination / f"{UNIT}.d/backoff.conf").exists() is there


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        (["--no-such-thing"], {}),
        (["--purge"], {}),
        (["--with"], {}),
        (["--with", "no-such-thing"], {}),
        (["--with", "../x"], {}),
        ([], {"PREFIX": "relative"}),
        ([], {"PREFIX": "/"}),
        ([], {"PREFIX": "/opt/../etc"}),
        ([], {"PREFIX": "/opt/a b"}),
        ([], {"DESTDIR": "relative"}),
    ],
)
def test_what_it_does_not_understand_changes_nothing(
    tmp_path: Path, options: list[str], variables: dict[str, str]
) -> None:
    done = install(tmp_path, *options, variables=variables)
    assert done.returncode == 2 and done.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_chosen_once_is_kept(tmp_path: Path) -> None:
    installed(tmp_path, "--with", "ocr", "--with=local-models")
    extras = tmp_path / "opt/docmill/current/.extras"
    assert extras.read_text().split() == ["local-models", "ocr"]
    installed(tmp_path)
    assert extras.read_text().split() == ["local-models", "ocr"]
    installed(tmp_path, "--with", "none")
    assert extras.read_text().split() == []


def test_it_explains_itself(tmp_path: Path) -> None:
    said = installed(tmp_path, "--help")
    assert all(
        word in said for word in ("--dry-run", "--uninstall", "--purge", "--with", "DESTDIR", "PREFIX")
    )


def test_shellcheck_finds_nothing() -> None:
    command = [tool("shellcheck", "shellcheck"), SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
