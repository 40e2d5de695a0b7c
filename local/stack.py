"""The local stack: Azurite, Postgres with pgvector, and Supabase Lite, for one data directory."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO

from local import ports
from local.azurite import Azurite
from local.postgres import Postgres
from local.process import Child, StackError
from local.secrets import load_or_create
from local.supabase import Supabase

ROOT = Path(__file__).parents[1]
CLIENTS = ("default", "acme")
LOCK_SECONDS = 30


class Stack:
    """Services and the settings that lead to them. A context manager: starts on entry, stops on exit."""

    def __init__(self, data: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
        """`data`: where all state lies, by default DOCMILL_DATA_DIR. `environ`: where ports are set.

        Raises StackError when the data directory is in use or a port is.
        """
        environ = os.environ if environ is None else environ
        self.data = (data or data_directory(environ)).resolve()
        self.data.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.data / "lock")
        try:
            self.ports = ports.choose(environ)
            self.secrets = load_or_create(self.data / "secrets.json")
        except BaseException:
            self._lock.close()
            raise
        self.azurite = Azurite(self.data / "azurite", self.log("azurite"), self._storage_ports())
        self.postgres = Postgres(
            self.data / "postgres",
            self.log("postgres"),
            self.ports["DOCMILL_POSTGRES_PORT"],
            self.secrets.postgres_password,
        )
        self.supabase = Supabase(
            self.data / "supabase",
            self.log("supabase"),
            self.ports["DOCMILL_SUPABASE_PORT"],
            self.secrets.supabase,
            self.postgres.url,
        )

    def start(self) -> None:
        """Returns when every service answers. Raises StackError, with nothing left running."""
        try:
            with ThreadPoolExecutor(2) as pool:
                for started in [pool.submit(self.start_azurite), pool.submit(self.start_supabase)]:
                    started.result()
        except BaseException:
            self.stop()
            raise

    def start_azurite(self) -> None:
        """Azurite alone."""
        self.azurite.start(keep_open=self.held)

    def start_supabase(self) -> None:
        """Postgres, the schema and Supabase Lite, without Azurite."""
        self.postgres.start(keep_open=self.held)
        self.supabase.start(keep_open=self.held)

    def stop(self) -> None:
        """Ends what was started, users before what they use."""
        for service in (self.supabase, self.postgres, self.azurite):
            service.stop()
        self._lock.close()

    def environment(self) -> dict[str, str]:
        """Every setting that an app on this stack is started with."""
        from shared.settings import read_settings

        return {
            # A timer's schedule has no default for the host: it must be in the environment.
            "MAINTENANCE_SCHEDULE": read_settings({}).maintenance_schedule,
            "CLIENT_IDS": ",".join(CLIENTS),
            "MODEL_PROVIDER": "local",
            "WEBHOOK_ALLOW_HTTP": "true",
            "WEBHOOK_ALLOW_PRIVATE_NETWORKS": "true",
            **self.connections(),
        }

    def stop_supabase(self) -> None:
        """The index goes away as one: Supabase Lite may crash when its database is stopped under it."""
        self.supabase.stop()
        self.postgres.stop()

    def connections(self) -> dict[str, str]:
        """The part of `environment` that is this stack and no other."""
        return {
            "DOCMILL_URL": f"http://127.0.0.1:{self.ports['DOCMILL_PORT']}",
            "DOCMILL_DATA_DIR": str(self.data),
            **{name: str(number) for name, number in self.ports.items()},
            "AZURE_STORAGE_CONNECTION_STRING": self.azurite.connection_string,
            "AzureWebJobsStorage": self.azurite.connection_string,
            "SUPABASE_URL": self.supabase.url,
            "SUPABASE_KEY": self.supabase.key,
            "SECRETS_KEY": self.secrets.secrets_key,
        }

    @property
    def held(self) -> tuple[int, ...]:
        """The lock, for children to hold: the next run waits until the last of them is gone."""
        return (self._lock.fileno(),)

    @property
    def children(self) -> list[Child]:
        """What runs."""
        found = (service.child for service in (self.azurite, self.postgres, self.supabase))
        return [child for child in found if child]

    def log(self, name: str) -> Path:
        return self.data / "logs" / f"{name}.log"

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _storage_ports(self) -> tuple[int, int, int]:
        blob, queue, table = (self.ports[f"DOCMILL_{kind}_PORT"] for kind in ("BLOB", "QUEUE", "TABLE"))
        return blob, queue, table


def data_directory(environ: Mapping[str, str]) -> Path:
    """DOCMILL_DATA_DIR, relative to the project, by default `.local`."""
    return ROOT / (environ.get("DOCMILL_DATA_DIR") or ".local")


def _lock(file: Path) -> IO[bytes]:
    """Waits for the services of a run that was killed a moment ago; a living run keeps its lock."""
    handle = file.open("ab")
    if _locked(handle):
        return handle
    print(f"Waiting for the stack on {file.parent} to end ...", file=sys.stderr)
    deadline = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < deadline:
        if _locked(handle):
            return handle
        time.sleep(0.1)
    handle.close()
    raise StackError(f"A stack is running on {file.parent}. Stop it, or set DOCMILL_DATA_DIR for another.")


def _locked(handle: IO[bytes]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
