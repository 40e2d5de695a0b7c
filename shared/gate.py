"""One delivery at a time to each receiver, and none to a receiver that is cooling down.

The row of the receiver decides, for all processes. A hold ends by itself, so that a worker that died does not
keep a receiver for ever. Each process sees to it that no client has all its slots: a client may have many
receivers that hang.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from shared.errors import StorageUnavailable
from shared.ports import RowChanged, Services, Stored
from shared.subscriptions import Receiver
from shared.tasks import utc_now

log = logging.getLogger(__name__)
MARGIN_SECONDS = 15.0
"""A hold is this much longer than the request may take: what is written before and after takes time too."""
PATIENCE_SECONDS = 0.3
"""How long a delivery waits for the one before it. A receiver that takes longer must not fill the workers."""
POLL_SECONDS = 0.05
SHARE = 2
"""Deliveries of one client that a process has under way at most. While more than the `newBatchThreshold` of
host.json are under way the host fetches nothing, so they must not all be one client's."""

_under_way: Counter[str] = Counter()
_counting = threading.Lock()


class Busy(Exception):
    """Not now. `seconds`: how long the receiver is left alone; 0 when somebody else is at it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@contextmanager
def share(client_id: str) -> Iterator[None]:
    """One of the slots of this process. Raises Busy when the client has its share already."""
    with _counting:
        if _under_way[client_id] >= SHARE:
            raise Busy(0)
        _under_way[client_id] += 1
    try:
        yield
    finally:
        with _counting:
            _under_way[client_id] -= 1


def take(services: Services, client_id: str, key: str) -> Stored[Receiver]:
    """The receiver, held by the caller until `release`. Raises Busy."""
    holder = f"{os.getpid()}-{secrets.token_hex(4)}"
    hold = services.settings.webhook_timeout_seconds + MARGIN_SECONDS
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        stored, now = services.receivers.get(client_id, key), utc_now()
        receiver = stored.value if stored else Receiver(key=key)
        if receiver.cooling_until is not None and receiver.cooling(now):
            raise Busy((receiver.cooling_until - now).total_seconds())
        if not receiver.held(now):
            try:
                return services.receivers.save(client_id, stored, receiver.taken(holder, now, hold))
            except RowChanged:
                continue
        if time.monotonic() > patience or not _quick(receiver, now):
            raise Busy(0)
        time.sleep(POLL_SECONDS * (1 + secrets.randbelow(100) / 100))


def _quick(receiver: Receiver, now: datetime) -> bool:
    """Whether the one before can be expected to be done in a moment."""
    if receiver.timeouts or receiver.held_since is None:
        return False
    return (now - receiver.held_since).total_seconds() < PATIENCE_SECONDS


def release(
    services: Services, client_id: str, held: Stored[Receiver], news: Callable[[Receiver], Receiver]
) -> None:
    """Lets the receiver go, with what was learnt of it. A hold that cannot be ended ends by itself."""
    holder, stored = held.value.holder, held
    try:
        while True:
            after = news(stored.value)
            try:
                services.receivers.save(
                    client_id, stored, after.released() if after.holder == holder else after
                )
                return
            except RowChanged:
                found = services.receivers.get(client_id, held.value.key)
                if found is None:
                    return  # its webhook was removed
                stored = found
    except StorageUnavailable:
        log.warning("A receiver could not be let go: its hold ends by itself.")
