"""What the operator reads when a storage service refuses us."""

from __future__ import annotations

import pytest

from api.problems import of_error
from shared.errors import DocmillError, StorageUnavailable
from shared.storage.refusals import ROLES, tell


def test_an_advice_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    for advice in ("Oil the mill.", "Grease the wheel.", "Oil the mill."):
        tell(advice)
    assert caplog.messages == ["Oil the mill.", "Grease the wheel."]


def test_an_advice_is_not_for_clients() -> None:
    error = StorageUnavailable(advice=f"Give it the role {ROLES['blob']}.")
    assert str(error) == error.message == StorageUnavailable.default
    assert b"role" not in bytes(of_error(error).body)
    assert DocmillError().advice is None
