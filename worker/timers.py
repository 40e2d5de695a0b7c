"""One timer trigger: runs its function by an NCRONTAB schedule, never twice at once."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from worker.errors import CallFailed, CutOff
from worker.pool import Pool
from worker.process import Function
from worker.supervisor import Supervisor

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
    def __init__(
        self,
        function: Function,
        schedule: str,
        functions: Supervisor,
        pool: Pool,
        stopping: threading.Event,
    ) -> None:
        """Raises ValueError when the schedule is not one, or never comes."""
        parse_schedule(schedule, datetime.now(UTC)).get_next(datetime)
        self._function, self._schedule = function, schedule
        self._functions, self._pool, self._stopping = functions, pool, stopping

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
        late = (datetime.now(UTC) - due).total_seconds() > LATE_SECONDS
        line = {"function": self._function.name, "kind": "timerTrigger", "past_due": late}
        try:
            self._functions.call(line)
        except CallFailed as failure:
            log.error("Timer %s failed: %s", self._function.name, failure)
        except CutOff:
            log.warning("Timer %s was cut off", self._function.name)
