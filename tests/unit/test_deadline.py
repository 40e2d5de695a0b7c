"""Calls that are watched, and the time that calls below them see."""

from __future__ import annotations

import math
import threading
import time

import pytest

from shared import deadline
from shared.errors import TaskTimeout


def forever() -> float:
    return 60.0


def test_what_a_call_gives_and_raises_is_the_callers() -> None:
    assert deadline.watched(lambda: 7, forever) == 7
    with pytest.raises(TimeoutError, match="its own"):
        deadline.watched(lambda: _raise(TimeoutError("its own")), forever)


def _raise(error: Exception) -> None:
    raise error


def test_a_call_knows_its_time() -> None:
    assert deadline.left(math.inf) == math.inf
    assert deadline.watched(lambda: deadline.left(20), lambda: 3.0) == pytest.approx(3, abs=0.5)
    assert deadline.watched(lambda: deadline.left(1), lambda: 3.0) == 1
    assert deadline.left(20) == 20


def test_the_nearest_end_counts() -> None:
    with deadline.within(1), deadline.within(60):
        assert deadline.left(math.inf) <= 1
    with deadline.within(0):
        assert deadline.passed()
        with pytest.raises(TaskTimeout):
            deadline.left(20)


def test_a_call_that_does_not_come_back_is_let_go() -> None:
    released, until = threading.Event(), time.monotonic() + 0.3

    def check() -> float:
        if time.monotonic() > until:
            raise TaskTimeout
        return until - time.monotonic()

    with pytest.raises(TaskTimeout):
        deadline.watched(lambda: released.wait(30), check)
    released.set()


def test_nothing_is_called_when_the_time_is_up() -> None:
    called = threading.Event()
    with pytest.raises(TaskTimeout):
        deadline.watched(called.set, lambda: deadline.left(0))
    assert not called.is_set()
