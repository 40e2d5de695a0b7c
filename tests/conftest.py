"""Real services for the tests that ask for them: started once, on free ports, in a temporary directory.

A missing piece fails the test with what to run; nothing is skipped, here or in CI.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from local import ports
from local.app import App
from local.stack import Stack
from tests.identity import Account, account


@dataclass(frozen=True)
class SupabaseService:
    """`key` is the service role's; `database_url` leads to Postgres itself, as superuser."""

    url: str
    key: str
    database_url: str


@contextmanager
def data_directory() -> Iterator[Path]:
    """Not below pytest's own directory: pytest closes that to the user that Postgres runs as under root."""
    with tempfile.TemporaryDirectory(prefix="docmill-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def services() -> Iterator[Stack]:
    """One stack for the session with nothing started yet; use the fixtures below."""
    with data_directory() as data:
        services = Stack(data, ports.ANY)
        yield services
        services.stop()


@pytest.fixture(scope="session")
def azurite(services: Stack) -> str:
    """Connection string of a running Azurite."""
    services.start_azurite()
    return services.azurite.connection_string


@pytest.fixture(scope="session")
def supabase(services: Stack) -> SupabaseService:
    """A running Supabase Lite with our schema."""
    services.start_supabase()
    return SupabaseService(services.supabase.url, services.supabase.key, services.postgres.url)


@pytest.fixture(scope="session")
def stack(services: Stack, azurite: str, supabase: SupabaseService) -> Stack:
    """The whole stack; `stack.environment()` are the settings that lead to it."""
    return services


@pytest.fixture
def stack_directory() -> Iterator[Path]:
    """A directory for a further stack."""
    with data_directory() as data:
        yield data


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def app(stack: Stack) -> Iterator[App]:
    """The whole app on the stack: API and worker as `make up` starts them."""
    app = App(stack, {"TASK_LEASE_SECONDS": "4", "WEBHOOK_RETRY_SECONDS": "1,1,2"})
    app.start()
    yield app
    app.stop()


@pytest.fixture(scope="session")
def _account() -> Iterator[Account]:
    with data_directory() as data, account(data) as made:
        yield made


@pytest.fixture
def identity_account(_account: Account, monkeypatch: pytest.MonkeyPatch) -> Account:
    """A storage account that takes an identity, and a process that has one.

    `Core(read_settings(identity_account.settings))` reaches it.
    """
    _account.reset()
    for name in list(os.environ):
        if name.startswith(("AZURE", "IDENTITY_", "MSI_")):
            monkeypatch.delenv(name)
    for name, value in _account.environment.items():
        monkeypatch.setenv(name, value)
    return _account
