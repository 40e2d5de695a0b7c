"""The core of a process, and what it says when it is made."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from shared.core import core


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    core.cache_clear()
    yield
    core.cache_clear()


@pytest.mark.parametrize("switch", ["WEBHOOK_ALLOW_PRIVATE_NETWORKS", "WEBHOOK_ALLOW_HTTP"])
def test_a_switch_of_the_local_stack_is_a_warning_at_the_start(
    switch: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(switch, "true")
    core()
    core()
    ((level, message),) = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert level == logging.WARNING and message.startswith(f"{switch} is on:")


def test_without_them_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    core()
    assert caplog.records == []
