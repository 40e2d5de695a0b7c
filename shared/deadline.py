"""How long the call under way may take: one moment that every outgoing call below it knows.

The attempt of a task sets it (`watched`), adapters ask for it (`left`) wherever they set a timeout. Timeouts
of sockets count each wait for itself, so a server that sends a byte now and then would outlast them all:
therefore `watched` also lets a call go that does not come back.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

from shared.errors import TaskTimeout

T = TypeVar("T")
POLL_SECONDS = 0.2
_until: ContextVar[float] = ContextVar("until", default=math.inf)
_abandoned: ContextVar[threading.Event | None] = ContextVar("abandoned", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Calls inside have this long, or less when something around them ends earlier."""
    token = _until.set(min(_until.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _until.reset(token)


def left(own: float) -> float:
    """Seconds for a call that may take `own`. Raises TaskTimeout when there are none."""
    seconds = min(own, _until.get() - time.monotonic())
    if seconds <= 0:
        raise TaskTimeout
    return seconds


def check() -> None:
    """Raises TaskTimeout when there is no time left, or when nobody waits for the call under way any more."""
    abandoned = _abandoned.get()
    if passed() or (abandoned is not None and abandoned.is_set()):
        raise TaskTimeout


def passed() -> bool:
    return time.monotonic() >= _until.get()


def begun(call: Callable[[], T], name: str) -> Future[T]:
    """Runs `call` in a thread of its own, which keeps no process alive, and knows the caller's deadline."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # whatever it is, it is the caller's
            future.set_exception(error)

    threading.Thread(target=copy_context().run, args=(work,), name=name, daemon=True).start()
    return future


def watched(call: Callable[[], T], check: Callable[[], float]) -> T:
    """What `call` gives or raises, or what `check` raises meanwhile: then the call is abandoned.

    `check`: seconds left, asked before the call and every 0.2 s. An abandoned call runs on in its thread
    until its own timeouts end it, or until it asks (`deadline.check`) before it does something costly;
    nothing of what it does may be trusted or needed.
    """
    seconds = check()
    abandoned = threading.Event()
    with within(seconds), _known_by(abandoned):
        future = begun(call, "call")
    try:
        while not wait([future], min(POLL_SECONDS, seconds)).done:
            seconds = check()
    except BaseException:
        abandoned.set()
        raise
    return future.result()


@contextmanager
def _known_by(abandoned: threading.Event) -> Iterator[None]:
    token = _abandoned.set(abandoned)
    try:
        yield
    finally:
        _abandoned.reset(token)
