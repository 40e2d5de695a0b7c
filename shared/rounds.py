"""What a round of the sweep looks at: everything of a client with whom something goes on, one thing after the
other of those with whom nothing does. So an idle client costs little, and nothing of it waits for long."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Rounds:
    """Of one process. It begins with any of the things, so that one which is ended after each round neglects
    none of them."""

    def __init__(self, *, thorough: bool = False) -> None:
        """`thorough`: everything in each round."""
        self._thorough = thorough
        self._busy: set[str] = set()
        self._next: dict[str, int] = {}
        self._lock = threading.Lock()

    def of(self, client_id: str, things: Sequence[T], *, busy: bool) -> Sequence[T]:
        """Those of this round. `busy`: whether something of the client was found in it already."""
        with self._lock:
            if self._thorough or busy or client_id in self._busy:
                return things
            number = self._next.get(client_id, random.randrange(len(things)))  # noqa: S311
            self._next[client_id] = number + 1
            return (things[number % len(things)],)

    def saw(self, client_id: str, *, busy: bool) -> None:
        """Whether anything went on with the client in this round."""
        with self._lock:
            (self._busy.add if busy else self._busy.discard)(client_id)
