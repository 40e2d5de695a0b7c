"""The lease that a worker holds on the task it runs, kept alive by one writer thread.

The thread alone writes the row while the task runs: every tick it merges heartbeat and progress, guarded by
the last ETag, and so sees whether somebody asked to cancel. Another owner in the row, or a lease that ran
out by our own clock (the process was stopped, storage was gone), means that the task is no longer ours:
nothing more may be written, anywhere.

A handler that was asked to stop and is in a call that it cannot leave is abandoned: the thread itself writes
how the task goes on, and the handler, when it comes back, finds its lease lost. The commit is the fence:
either the thread abandons the task and a commit that comes later is refused, or the commit comes first and
the work wins. `_gate` decides which. Two may ask a handler to stop: the client, who cancels, and the process
that it runs in (`Halt`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta

from shared.errors import DocmillError, StorageUnavailable
from shared.logs import about
from shared.ports import Row, RowChanged, TaskStore
from shared.tasks import Progress, Task, TaskStatus, utc_now

log = logging.getLogger(__name__)
TICK_SECONDS = 1.0
PATIENCE_SECONDS = 0.9
"""A handler has this long to reach a checkpoint once it is to stop. With two ticks it makes less than 3 s."""
AGAIN_SECONDS = 1.0


class Stopped(Exception):
    """This attempt is over, whatever its handler thinks."""


class LeaseLost(Stopped):
    """Somebody else has the task."""


class Abandoned(LeaseLost):
    """The attempt was ended while its handler was in a call that could not be interrupted."""


class Cancelled(Stopped):
    """The client asked to stop."""


class Halted(Stopped):
    """The process asked to stop. `error`: what the attempt failed of."""

    def __init__(self, error: DocmillError) -> None:
        super().__init__(error)
        self.error = error


class Halt:
    """How a process that has to end asks the attempt that it runs to stop.

    Whoever asks first says why. Work that was committed is not stopped. `abandoned` is set once an attempt
    was ended, for whatever reason, whose handler did not stop.
    """

    def __init__(self) -> None:
        self.abandoned = threading.Event()
        self.asked_at: float | None = None
        self.error: DocmillError | None = None

    def ask(self, error: DocmillError) -> None:
        if self.error is None:
            self.asked_at = time.monotonic()
            self.error = error


def cancelled(task: Task, _: DocmillError | None = None) -> Task:
    return task.to(TaskStatus.CANCELLED, utc_now())


class Lease:
    """Used as a context manager around the handler; `finish` writes the task's last state."""

    def __init__(
        self,
        tasks: TaskStore,
        row: Row,
        seconds: float,
        *,
        claimed_at: float,
        renew_until: float,
        halt: Halt | None = None,
        tell: Callable[[Task], Collection[int]] | None = None,
        given_up: Callable[[Task, DocmillError | None], Task] = cancelled,
        abandoned: Callable[[Row], object] = lambda row: row,
    ) -> None:
        """Monotonic times: `claimed_at` just before the claim was written; after `renew_until` the lease is
        let go, so that a handler that hangs does not keep its task for ever. `tell`, in a thread of its own,
        tells what a task that runs for longer than a beat has in its outbox, and gives the `sequence` of each
        event that is done with. `given_up` says what becomes of a task whose handler does not stop,
        `abandoned` is told, in the thread, of the row that was written so."""
        self._tasks = tasks
        self._row = row
        self._owner = row.task.owner
        self._seconds = seconds
        self._valid_until = claimed_at + seconds
        self._renew_until = renew_until
        self._progress = row.task.progress
        self._spent = row.task.spent
        self._end: Stopped | None = None
        self._halt = halt
        self._tell = tell
        self._teller: threading.Thread | None = None
        self._told: frozenset[int] = frozenset()
        self._given_up = given_up
        self._abandoned = abandoned
        self._asked_at: float | None = None
        self._committed = False
        self._gate = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def report(self, progress: Progress) -> None:
        """Remembers progress for the next tick, and checks."""
        self._progress = progress
        self.check()

    @property
    def progress(self) -> Progress | None:
        """What was reported last."""
        return self._progress

    @property
    def spent(self) -> Mapping[str, int]:
        """What this task has paid for, by kind."""
        return self._spent

    def spend(self, amounts: Mapping[str, int]) -> None:
        """Remembers a payment for the next tick, or for the end. For one thread alone."""
        self._spent = {**self._spent, **{kind: self._spent.get(kind, 0) + n for kind, n in amounts.items()}}

    def check(self) -> None:
        """Raises LeaseLost, Cancelled or Halted when this attempt is over."""
        self.check_held()
        self._hear()
        if self._end is not None and not self._committed:
            raise self._end

    def check_held(self) -> None:
        """Raises LeaseLost alone: for work that is done, which a wish to cancel comes too late for."""
        if time.monotonic() > self._valid_until and not isinstance(self._end, LeaseLost):
            self._end = LeaseLost()
        if isinstance(self._end, LeaseLost):
            raise self._end

    def _hear(self) -> None:
        """Whether the process asks to stop; a client who asked before comes first."""
        halt = self._halt
        if halt is not None and halt.error is not None and self._end is None:
            self._end, self._asked_at = Halted(halt.error), halt.asked_at

    @property
    def committed(self) -> bool:
        """Whether the work can be seen, or may be: a commit without an answer counts."""
        return self._committed

    def commit(self, write: Callable[[], bool]) -> bool:
        """Calls `write`, which makes the work visible and says whether it did. From then on the work wins.

        The row says so first, which proves that it is still ours. Raises LeaseLost, Cancelled, Halted or
        StorageUnavailable before `write`. While that lasts, the task is not abandoned.
        """
        with self._gate:
            self._write(committing=True)
            self._committed = True
        self._committed = write()
        return self._committed

    def _write(self, **changes: object) -> None:
        """Into the row, now, which proves that it is still ours."""
        while True:
            self.check()
            try:
                if self._beat(**changes):
                    return
            except StorageUnavailable:
                if not self._bears_it():
                    raise

    def _bears_it(self) -> bool:
        """Waits a moment: what was worked for is not thrown away for a short outage. False when the lease
        would end before."""
        if time.monotonic() + AGAIN_SECONDS > self._valid_until:
            return False
        time.sleep(AGAIN_SECONDS)
        return True

    @property
    def pinned(self) -> str | None:
        """Which file this task works on, as far as the row says."""
        return self._row.task.source_etag

    def pin(self, etag: str) -> str:
        """Writes into the row which file this task works on, unless it stands there: the one that counts.

        Raises LeaseLost, Cancelled, Halted or StorageUnavailable.
        """
        while self._row.task.source_etag is None:
            with self._gate:
                self._write(source_etag=etag)
        return self._row.task.source_etag

    def work_is_done(self) -> None:
        """The handler is through: a wish to cancel comes too late now. Raises LeaseLost."""
        with self._gate:
            self.check_held()
            self._committed = True

    def finish(self, transition: Callable[[Task], Task]) -> Row:
        """Stops the thread and writes the state that `transition` makes of the row as it is then.

        Raises LeaseLost when the row is not ours any more, StorageUnavailable when it cannot be written
        before the lease ends.
        """
        self.stop()
        while True:
            self.check_held()
            try:
                task = self._untold().model_copy(update={"spent": self._spent})
                return self._tasks.save(self._row, transition(task))
            except RowChanged:
                self._adopt()
            except StorageUnavailable:
                if not self._bears_it():
                    raise

    def _keep(self) -> None:
        tick = min(TICK_SECONDS, self._seconds / 4)
        while not self._stop.wait(tick) and time.monotonic() < self._renew_until:
            try:
                self._hear()
                with self._gate:
                    ended = self._abandon()
                    if ended is None:
                        self._beat()
                        self._have_told()
                if ended is not None:
                    self._abandoned(ended)
            except StorageUnavailable:
                log.warning("The heartbeat could not be written.", extra=about(self._row.task))
            except Exception:
                log.exception("The heartbeat failed.", extra=about(self._row.task))
            if isinstance(self._end, LeaseLost):
                return

    def _abandon(self) -> Row | None:
        """Ends an attempt whose handler does not stop. None when that is not due, or its work is
        committed."""
        if self._asked_at is None or self._committed or self._patient(self._asked_at):
            return None
        task = self._untold().model_copy(update={"progress": self._progress, "spent": self._spent})
        try:
            row = self._tasks.save(self._row, self._given_up(task, self._why()))
        except RowChanged:
            self._adopt()
            return None
        self._end = Abandoned()
        return row

    def _why(self) -> DocmillError | None:
        """None: because the client wishes so."""
        asked_by_client = self._row.task.status is TaskStatus.CANCELLING
        return self._end.error if isinstance(self._end, Halted) and not asked_by_client else None

    def _patient(self, asked_at: float) -> bool:
        return time.monotonic() - asked_at < PATIENCE_SECONDS

    def _beat(self, **changes: object) -> bool:
        """False when somebody else wrote the row."""
        started = time.monotonic()
        try:
            self._row = self._tasks.touch(self._row, self._beaten().model_copy(update=changes))
        except RowChanged:
            self._adopt()
            return False
        self._valid_until = started + self._seconds
        return True

    def _have_told(self) -> None:
        """Of what the claim left in the outbox, in a thread of its own: no beat may come late for it. It
        writes nothing of the task's; the next write says what is done with."""
        task = self._untold()
        busy = self._teller is not None and self._teller.is_alive()
        if task.events and self._tell is not None and not busy:
            arguments = self._tell, task
            self._teller = threading.Thread(
                target=self._note_told, args=arguments, name="teller", daemon=True
            )
            self._teller.start()

    def _note_told(self, tell: Callable[[Task], Collection[int]], task: Task) -> None:
        try:
            self._told |= frozenset(tell(task))
        except StorageUnavailable:
            log.warning("The outbox could not be emptied: the next beat tries again.", extra=about(task))
        except Exception:
            log.exception("The outbox could not be emptied.", extra=about(task))

    def _untold(self) -> Task:
        """The task without the events that are done with."""
        task, told = self._row.task, self._told
        return task.model_copy(
            update={"events": tuple(one for one in task.events if one.sequence not in told)}
        )

    def _beaten(self) -> Task:
        task, now = self._untold(), utc_now()
        news = self._progress != task.progress
        return task.model_copy(
            update={
                "lease_until": now + timedelta(seconds=self._seconds),
                "progress": self._progress,
                "spent": self._spent,
                "updated_at": now if news else task.updated_at,
            }
        )

    def _adopt(self) -> None:
        """Somebody else wrote the row: it is lost, or still ours with a wish to cancel or a new outbox."""
        task = self._row.task
        found = self._tasks.get(task.client_id, task.task_id)
        if found is None or found.task.owner != self._owner:
            self._end = LeaseLost()
            return
        self._row = found
        if found.task.status is TaskStatus.CANCELLING:
            self._end = Cancelled()
            self._asked_at = self._asked_at or time.monotonic()
