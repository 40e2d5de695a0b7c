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
    raises ends this at once. The next calls begin before the caller is given those that have ended, so that
    both are at work. When a call fails no other is begun: those under way are still given, since they are
    paid for, and then the failure is raised.
    """
    waiting, under_way = deque(items), dict[Future[T], A]()
    failure: BaseException | None = None

    def begin() -> None:
        while waiting and failure is None and len(under_way) < at_once:
            item = waiting.popleft()
            under_way[begun(partial(call, item), "at-once")] = item

    begin()
    while under_way:
        ready = wait(under_way, POLL_SECONDS, FIRST_COMPLETED).done
        check()
        ended = [(under_way.pop(future), future) for future in ready]
        failure = failure or next(filter(None, (future.exception() for _, future in ended)), None)
        begin()
        yield from ((item, future.result()) for item, future in ended if future.exception() is None)
    if failure is not None:
        raise failure
