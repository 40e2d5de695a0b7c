"""`python -m local up`: the stack and the app on it, in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from local import env
from local.process import Child, StackError, base_environment
from local.stack import ROOT, Stack

if TYPE_CHECKING:
    from shared.ports import KeyStore

READY_SECONDS = 120
STOP_SECONDS = 20
# What func reads from local.settings.json, which need not be there; the worker does not mind.
FUNC_ENVIRONMENT = {
    "FUNCTIONS_WORKER_RUNTIME": "python",
    "languageWorkers__python__defaultExecutablePath": sys.executable,
}


class Interrupted(Exception):
    """Somebody asked us to stop."""


class App:
    """The app on a running stack."""

    def __init__(self, stack: Stack, chosen: Mapping[str, str] | None = None) -> None:
        """`chosen`: settings that go before the stack's own, but not before its addresses and secrets."""
        self._stack = stack
        self._child: Child | None = None
        self.environment = {**stack.environment(), **(chosen or {}), **stack.connections()}

    @property
    def env_file(self) -> Path:
        return self._stack.data / "env"

    @property
    def url(self) -> str:
        return self.environment["DOCMILL_URL"]

    def start(self) -> None:
        """Prepares storage and keys, writes the env file, and returns when the API is ready."""
        self.environment |= credentials(self.environment, known=env.read(self.env_file))
        env.write(self.env_file, self.environment)
        self._child = Child.start(
            "The app",
            command(os.environ, self._stack.ports["DOCMILL_PORT"]),
            log=self._stack.log("app"),
            cwd=ROOT,
            env={**_without_settings(base_environment()), **FUNC_ENVIRONMENT, **self.environment},
            grace=STOP_SECONDS,
            keep_open=self._stack.held,
        )
        self._child.wait_until(self._ready, READY_SECONDS)

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def wait(self) -> None:
        """Returns when the app ends by itself."""
        if self._child:
            self._child.wait()

    def stop(self) -> None:
        if self._child:
            self._child.stop()

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._stack.ports["DOCMILL_PORT"], timeout=15)
        try:
            connection.request("GET", "/api/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def credentials(settings: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Makes queues, tables and container; gives each client's API key and webhook secret, by variable name.

    `known`: variables of an earlier run, whose keys are kept where they still work.
    """
    from shared.core import Core
    from shared.settings import read_settings
    from shared.signing import client_secret

    core = Core(read_settings(settings))
    try:
        core.prepare()
        found: dict[str, str] = {}
        for client in core.settings.client_ids:
            suffix = "" if client == "default" else "_" + client.upper().replace("-", "_")
            name = f"DOCMILL_API_KEY{suffix}"
            found[name] = _api_key(core.keys, client, known.get(name))
            found[f"DOCMILL_WEBHOOK_SECRET{suffix}"] = client_secret(core, client)
        return found
    finally:
        core.close()


def _api_key(keys: KeyStore, client: str, known: str | None) -> str:
    from shared.errors import Unauthorized
    from shared.keys import Authenticator, create_key

    with suppress(Unauthorized):
        if known and Authenticator(keys).client_of(known) == client:
            return known
    return create_key(keys, client, datetime.now(UTC))[0]


def command(environ: Mapping[str, str], port: int) -> list[str]:
    """How the app is started: DOCMILL_HOST decides, otherwise whether Core Tools are installed."""
    func = shutil.which("func")
    host = environ.get("DOCMILL_HOST") or ("func" if func else "worker")
    if host == "worker":
        return [sys.executable, "-m", "worker"]
    if host != "func":
        raise StackError(f"DOCMILL_HOST={host} is not known. Set func or worker.")
    if func is None:
        raise StackError("Azure Functions Core Tools are missing. Install them, or set DOCMILL_HOST=worker.")
    return [func, "start", "--port", str(port)]


@contextmanager
def running_app() -> Iterator[App]:
    """A stack with the app on it, set up by the environment; ends both."""
    chosen = _chosen(os.environ)
    with Stack() as stack:
        app = App(stack, chosen)
        try:
            app.start()
            yield app
        finally:
            app.stop()


def up() -> int:
    """Exit status: 0 when asked to stop, 1 when the app ended by itself."""
    started = time.monotonic()
    try:
        with interruptible(), running_app() as app:
            print(f"Docmill is ready on {app.url} after {time.monotonic() - started:.0f} s.")
            print(f"Settings and API keys: {app.env_file}. Ctrl-C stops everything.", flush=True)
            app.wait()
    except Interrupted:
        return 0
    print("The app ended by itself.", file=sys.stderr)
    return 1


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise Interrupted once; repetitions do not disturb the clean-up."""
    pending = threading.Event()

    def interrupt(*_: object) -> None:
        if not pending.is_set():
            pending.set()
            raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _chosen(environ: Mapping[str, str]) -> dict[str, str]:
    """What the developer set for the app. A model's key or address chooses the provider, as in the cloud."""
    from shared.settings import read_settings

    names = _setting_names()
    chosen = {name: value for name, value in environ.items() if name in names}
    return {**chosen, "MODEL_PROVIDER": read_settings(environ).provider}


def _without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    names = _setting_names()
    return {name: value for name, value in environ.items() if name not in names}


def _setting_names() -> set[str]:
    from shared.settings import environment_names

    return {name for names in environment_names().values() for name in names}
