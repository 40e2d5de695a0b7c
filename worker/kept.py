"""An answer that takes a while to find, kept for those who ask often."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Kept(Generic[T]):
    """What `look` found. It is asked anew when somebody asks and its last answer is older than `seconds`.

    `look` runs in a thread of its own, one at a time: whoever asks waits for it `patience` seconds at most
    and takes the old answer then. An answer, also that there is none, counts until it is `good_for` seconds
    old: `look` may hang.
    """

    def __init__(
        self, look: Callable[[], T], *, seconds: float, patience: float, good_for: float, idle: T
    ) -> None:
        """`idle` stands for what is not known: nobody looked yet, or the last answer is too old."""
        self._look, self._seconds, self._patience, self._good_for = look, seconds, patience, good_for
        self._idle = idle
        self._lock = threading.Lock()
        self._found: tuple[float, T] | None = None
        self._looking: threading.Event | None = None

    def latest(self) -> T:
        with self._lock:
            if not self._younger_than(self._seconds) and self._looking is None:
                self._looking = threading.Event()
                threading.Thread(target=self._renew, args=(self._looking,), daemon=True).start()
            looking = self._looking
        if looking is not None:
            looking.wait(self._patience)
        with self._lock:
            return self._found[1] if self._found and self._younger_than(self._good_for) else self._idle

    def _younger_than(self, seconds: float) -> bool:
        return self._found is not None and time.monotonic() - self._found[0] < seconds

    def _renew(self, done: threading.Event) -> None:
        try:
            found = self._look()
        except Exception:
            log.exception("A look at the worker failed")
            found = self._idle
        with self._lock:
            self._found = time.monotonic(), found
            self._looking = None
        done.set()
