"""How fast one model is asked: as fast as its provider lets us, and no faster.

The number of requests under way grows by one for each round of good answers, and is halved by a refusal
(additive increase, multiplicative decrease: Chiu and Jain 1989). A refusal, or an answer that says that the
quota of this minute is used up, makes everybody wait: for as long as the provider says.

`Pace` is the rule, with the time as a parameter. `Gate` holds the threads of this process to it.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from shared import deadline
from shared.errors import ModelRateLimited, TaskTimeout

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds after a refusal that names no time: doubled by each further one in a row, up to the longest."""
LONGEST_QUIET = 900.0
"""Seconds that are believed of a refusal: as long as a task waits at most. Then somebody asks again."""
BEARABLE = 120.0
"""Seconds. Whoever would have to wait longer is told so instead, and leaves its place to others."""

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


@dataclass(frozen=True)
class Left:
    """What a provider says is left of one quota. `reset`: seconds until all of it is there again."""

    left: float
    limit: float | None
    reset: float

    def wait(self, cost: float) -> float:
        """Seconds until `cost` is there. A quota flows back evenly; without its limit, all at its reset."""
        missing, used = cost - self.left, (self.limit or 0) - self.left
        if missing <= 0:
            return 0.0
        return self.reset * min(1.0, missing / used) if used > 0 else self.reset


def quotas(headers: Mapping[str, str]) -> dict[str, Left]:
    """`requests` and `tokens`, of what the headers of an answer say about them.

    https://platform.openai.com/docs/guides/rate-limits; Azure sends the same, without resets.
    """
    found = {}
    for name in ("requests", "tokens"):
        left = _number(headers.get(f"x-ratelimit-remaining-{name}"))
        if left is not None:
            limit = _number(headers.get(f"x-ratelimit-limit-{name}"))
            reset = seconds(headers.get(f"x-ratelimit-reset-{name}"))
            found[name] = Left(left, limit, FIRST_PAUSE if reset is None else reset)
    return found


def seconds(text: str | None) -> float | None:
    """`6m0s`, `1.5s`, `120ms` or a bare number of seconds; None for anything else."""
    if (number := _number(text)) is not None:
        return number
    match = _DURATION.fullmatch(text or "")
    if match is None or not text:
        return None
    hours, minutes, whole, thousandths = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + whole + thousandths / 1000


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


class Pace:
    """Times are in seconds of one clock. Not for several threads by itself."""

    def __init__(self, most: int) -> None:
        """`most`: requests under way at once, when the provider has nothing against it."""
        self._most = most
        self._window = float(most)
        self._not_before = -math.inf
        self._cut_at = -math.inf
        self._refusals = 0
        self.under_way = 0

    @property
    def window(self) -> int:
        """How many requests may be under way now."""
        return max(1, int(self._window))

    def wait(self, now: float) -> float:
        """Seconds until another request may begin; infinite when one that is under way has to end first."""
        if self.under_way >= self.window:
            return math.inf
        return max(0.0, self._not_before - now)

    def answered(self, now: float, cost: float, left: Mapping[str, Left]) -> None:
        """A good answer. `cost`: about how many tokens one more like it takes."""
        self._refusals = 0
        self._window = min(float(self._most), self._window + 1 / self._window)
        costs = {"requests": 1.0, "tokens": cost}
        pause = max((quota.wait(costs[name]) for name, quota in left.items()), default=0.0)
        self._pause(now + min(pause, LONGEST_PAUSE))

    def refused(self, began: float, now: float, asked: float | None) -> None:
        """A refusal of a request that began then. `asked`: for how many seconds we are to be quiet.

        Requests that were under way together are refused together: that is one sign, not many.
        """
        if began >= self._cut_at:
            self._cut_at = now
            self._window = max(1.0, self._window / 2)
            self._refusals += 1
        usual = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self._refusals - 1))
        self._pause(now + (usual if asked is None else min(asked, LONGEST_QUIET)))

    def _pause(self, until: float) -> None:
        self._not_before = max(self._not_before, until)


class Gate:
    """Lets threads through one by one, in the order in which they came, at a Pace: first those for whom a
    person waits.

    So whoever has little to ask waits for as many requests as stand before it, and not for a whole document.
    """

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = pace
        self._clock = clock
        self._urgent: deque[object] = deque()
        self._others: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, until: float, *, urgent: bool = False) -> Iterator[Turn]:
        """A turn to make one request, as long as the `with` lasts.

        Raises ModelRateLimited at once when the provider wants more quiet than there is time until `until`
        or than is bearable, and TaskTimeout at `until` or when nobody waits for the answer any more.
        """
        self._enter(until, self._urgent if urgent else self._others)
        try:
            yield Turn(self, self._clock())
        finally:
            with self._changed:
                self._pace.under_way -= 1
                self._changed.notify_all()

    def _enter(self, until: float, queue: deque[object]) -> None:
        ticket = object()
        with self._changed:
            queue.append(ticket)
            try:
                deadline.check()
                while (wait := self._wait(ticket)) > 0:
                    self._changed.wait(min(self._bearable(wait, until), deadline.POLL_SECONDS))
                    deadline.check()
                self._pace.under_way += 1
            finally:
                queue.remove(ticket)
                self._changed.notify_all()

    def _wait(self, ticket: object) -> float:
        first = (self._urgent or self._others)[0]
        return self._pace.wait(self._clock()) if first is ticket else math.inf

    def _bearable(self, wait: float, until: float) -> float:
        left = until - self._clock()
        if left <= 0:
            raise TaskTimeout
        if math.isinf(wait):
            return left
        if wait > min(left, BEARABLE):
            raise ModelRateLimited(retry_after=wait)
        return wait

    def note(self, rule: Callable[[Pace, float], None]) -> None:
        """Tells the pace of an answer, with the time it is."""
        with self._changed:
            rule(self._pace, self._clock())
            self._changed.notify_all()


@dataclass(frozen=True)
class Turn:
    """One request's turn. `began` by the clock of its gate."""

    gate: Gate
    began: float

    def answered(self, cost: float, headers: Mapping[str, str]) -> None:
        left = quotas(headers)
        self.gate.note(lambda pace, now: pace.answered(now, cost, left))

    def refused(self, asked: float | None) -> None:
        self.gate.note(lambda pace, now: pace.refused(self.began, now, asked))
