"""The core of a process, and what it says when it is made."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.core import Core, _core, core


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    _core.cache_clear()
    yield
    _core.cache_clear()


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


def test_there_is_one_though_many_ask_at_once() -> None:
    start = threading.Barrier(8)

    def ask(_: int) -> Core:
        start.wait()
        return core()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(ask, range(8)))) == 1
    finally:
        sys.setswitchinterval(before)


def test_a_part_that_is_there_waits_for_no_other_that_is_being_made() -> None:
    """The event loop asks for some: it would stand still for everybody."""
    services = core()
    audience = services.audience
    begun, made = threading.Event(), threading.Event()

    def make() -> object:
        begun.set()
        return made.wait(60)

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(services._part, "slow", make)
        begun.wait(60)
        found = pool.submit(lambda: services.audience)
        try:
            assert found.result(10) is audience
        finally:
            made.set()
        assert slow.result(60)
