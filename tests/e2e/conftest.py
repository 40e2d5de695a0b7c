from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.app import App
from shared.core import Core
from shared.settings import read_settings
from tests.e2e.api import Api


@pytest.fixture(scope="session")
def core(app: App) -> Iterator[Core]:
    """The app's own stores, to look behind its API."""
    core = Core(read_settings(app.environment))
    yield core
    core.close()


@pytest.fixture(scope="session")
def default(app: App) -> Iterator[Api]:
    api = Api(app)
    yield api
    api.close()


@pytest.fixture(scope="session")
def acme(app: App) -> Iterator[Api]:
    api = Api(app, "acme")
    yield api
    api.close()
