"""One timer trigger: runs its function by an NCRONTAB schedule, never twice at once."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from worker.app import Function
from worker.pool import Pool

if TYPE_CHECKING:
    from croniter import croniter

log = logging.getLogger(__name__)

FIELDS = 6
LATE_SECONDS = 1.0
"""A run that starts later than this after its time is `past_due`."""


def parse_schedule(expression: str, start: datetime) -> croniter:
    """Times of an NCRONTAB expression `{second} {minute} {hour} {day} {month} {weekday}` after `start`.
    Raises ValueError. Unlike in cron, day and weekday both have to match when both are given."""
    from croniter import croniter

    if len(expression.split()) != FIELDS:
        raise ValueError(f"a schedule has six fields, second first, not {expression!r}")
    return croniter(expression, start, second_at_beginning=True, day_or=False)


class Timer:
    def __init__(self, function: Function, schedule: str, pool: Pool, stopping: threading.Event) -> None:
        """Raises ValueError when the schedule is not one, or never comes."""
        parse_schedule(schedule, datetime.now(UTC)).get_next(datetime)
        self._function, self._schedule, self._pool, self._stopping = function, schedule, pool, stopping

    def run(self) -> None:
        """Runs until the worker stops. A time that comes while the function still runs is left out."""
        while True:
            due = parse_schedule(self._schedule, datetime.now(UTC)).get_next(datetime)
            while (left := (due - datetime.now(UTC)).total_seconds()) > 0:
                if self._stopping.wait(min(left, 60)):
                    return
            if self._stopping.is_set() or not self._ended(due):
                return

    def _ended(self, due: datetime) -> bool:
        """Runs the function in the pool and waits for its end. False when the pool is closed."""
        try:
            self._pool.submit(lambda: self._invoke(due)).result()
        except (RuntimeError, CancelledError):
            return False
        return True

    def _invoke(self, due: datetime) -> None:
        from azure.functions.timer import TimerRequest

        late = (datetime.now(UTC) - due).total_seconds() > LATE_SECONDS
        try:
            self._function.invoke(TimerRequest(past_due=late))
        except BaseException:
            log.exception("Timer %s failed", self._function.name)
