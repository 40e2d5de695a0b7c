"""The short form of `make soak`: a minute of work, kills and outages, and then the accounts."""

from __future__ import annotations

import sys

import pytest

from tests.soak import bad, soak, table

SECONDS = 60


@pytest.mark.timeout(SECONDS + 400)
def test_everything_ends_once() -> None:
    found = soak(SECONDS, rough=False)
    sys.stdout.write(table(found))
    assert bad(found) == {}, table(found)
