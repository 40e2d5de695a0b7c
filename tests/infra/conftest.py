"""Both ends of what infra/main.bicep can make."""

from __future__ import annotations

import pytest

from tests.infra.deployment import Deployment
from tests.infra.docmill import WIDE, deployed


@pytest.fixture(scope="session", params=[{}, WIDE], ids=["as it comes", "with everything"])
def made(request: pytest.FixtureRequest) -> Deployment:
    return deployed(**request.param)
