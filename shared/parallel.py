"""Several calls at once, for one thread that stays in charge."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from typing import TypeVar

from shared.deadline import POLL_SECONDS, begun

A = TypeVar("A")
T = TypeVar("T")


def completed(
    call: Callable[[A], T], items: Iterable[A], at_once: int, check: Callable[[], object]
) -> Iterator[tuple[A, T]]:
    """Each item with what `call` gives for it, as they get ready; at most `at_once` calls are under way.

    Calls run in threads of their own, all else in the caller's: also `check`, every 0.2 s, and what it
    raises ends this at once. When a call fails no other is begun: those under way are still given, since
    they are paid for, and then the failure is raised.
    """
    waiting, under_way = deque(items), dict[Future[T], A]()
    failure: BaseException | None = None
    while under_way or (waiting and failure is None):
        while waiting and failure is None and len(under_way) < at_once:
            item = waiting.popleft()
            under_way[begun(partial(call, item), "at-once")] = item
        ready = wait(under_way, POLL_SECONDS, FIRST_COMPLETED).done
        check()
        for future in ready:
            item, error = under_way.pop(future), future.exception()
            if error is None:
                yield item, future.result()
            failure = failure or error
    if failure is not None:
        raise failure
