"""One timer trigger: runs its function by an NCRONTAB schedule, never twice at once, in one worker."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import CancelledError
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from worker.errors import CallFailed, CutOff, NotBegun
from worker.pool import Pool
from worker.process import Function
from worker.supervisor import Supervisor
from worker.turns import Turns

if TYPE_CHECKING:
    from croniter import croniter

log = logging.getLogger(__name__)

FIELDS = 6
MONITORED = timedelta(minutes=1)
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
        turns: Turns,
        pool: Pool,
        stopping: threading.Event,
    ) -> None:
        """Raises ValueError when the schedule is not one, or never comes."""
        parse_schedule(schedule, datetime.now(UTC)).get_next(datetime)
        self._function, self._schedule = function, schedule
        self._functions, self._turns = functions, turns
        self._pool, self._stopping = pool, stopping

    def run(self) -> None:
        """Runs until the worker stops. A time that comes while the function still runs is left out."""
        due = self._missed() or self._next(datetime.now(UTC))
        while self._waited(due) and self._ended(due):
            due = self._next(datetime.now(UTC))

    def _next(self, after: datetime) -> datetime:
        found: datetime = parse_schedule(self._schedule, after).get_next(datetime)
        return found

    def _missed(self) -> datetime | None:
        """A time that came while no worker was there: it is made up for once, as the host does it for timers
        that run once a minute or less (`use_monitor`)."""
        if not self._function.trigger.get("useMonitor", True):
            return None
        now = datetime.now(UTC)
        coming = self._next(now)
        if self._next(coming) - coming < MONITORED or (last := self._turns.last(self._function.name)) is None:
            return None
        return due if (due := self._next(last)) < now else None

    def _waited(self, due: datetime) -> bool:
        """False when the worker stops before."""
        while (left := (due - datetime.now(UTC)).total_seconds()) > 0:
            if self._stopping.wait(min(left, 60)):
                return False
        return self._functions.wait_until_up(self._stopping)

    def _ended(self, due: datetime) -> bool:
        """Runs the function in the pool, if it is our turn, and waits for its end. False when the pool is
        closed."""
        with self._turns.taken(self._function.name, due) as ours:
            try:
                if ours:
                    self._pool.submit(lambda: self._invoke(due)).result()
            except (RuntimeError, CancelledError):
                return False
        return not self._stopping.is_set()

    def _invoke(self, due: datetime) -> None:
        late = (datetime.now(UTC) - due).total_seconds() > LATE_SECONDS
        line = {"function": self._function.name, "kind": "timerTrigger", "past_due": late}
        try:
            self._functions.call(line)
        except CallFailed as failure:
            log.error("Timer %s failed: %s", self._function.name, failure)
        except (CutOff, NotBegun):
            log.warning("Timer %s was cut off", self._function.name)
