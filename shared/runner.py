"""One queue message, start to finish. Every host calls `run` and nothing else.

`run` returns normally whatever becomes of the task; it raises only when storage itself is broken, and then
the host's own retries and poison queue are the net underneath.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from pydantic import BaseModel

import handlers
from shared import dead_letters, measures, outbox, submission
from shared.attempt import Attempt
from shared.dead_letters import letter_of_message, letter_of_task
from shared.errors import (
    DocmillError,
    InternalError,
    InvalidPayload,
    UnknownTaskType,
    WorkerLost,
)
from shared.lease import Abandoned, Cancelled, Halt, Halted, Lease, LeaseLost, cancelled
from shared.logs import about
from shared.messages import TaskMessage, derived_task_id
from shared.ports import (
    DeadLetter,
    Row,
    RowChanged,
    RowExists,
    Services,
)
from shared.retry import RetryPolicy
from shared.submission import Submission
from shared.tasks import Progress, Task, TaskError, TaskStatus, utc_now
from shared.telemetry import Span

log = logging.getLogger(__name__)
POLICY = RetryPolicy()
MESSAGE_LIMIT = 1000
GRACE_SECONDS = 30.0
"""After its deadline a handler has this long to notice, before its task is let go."""
EARLY = timedelta(seconds=1)
"""A message may come this much before its time: queues count in whole seconds."""


@dataclass(frozen=True)
class Terms:
    """How an attempt may end, besides by itself. `halt`: by the wish of its process. `last`: no other one
    comes after it, whatever it meets."""

    halt: Halt = field(default_factory=Halt)
    last: bool = False


def run(
    services: Services,
    client_id: str,
    body: bytes,
    *,
    message_id: str,
    inserted_at: datetime | None = None,
    terms: Terms | None = None,
) -> DeadLetter | None:
    """Runs the task that a message on a client's queue asks for. Gives the letter of a message that can never
    work.

    `message_id`: the queue's id of the message, from which a task without an id takes its own.
    """
    try:
        message = TaskMessage.decode(body)
        if message.client_id not in {None, client_id}:
            raise InvalidPayload("The message names another client than its queue's.")
        again = partial(recorded, services, client_id, message, message_id)
        row = _brought(services, client_id, message) or again()
        claimed_at = time.monotonic()
        claimed = claim(services, row, message.seq, again)
    except DocmillError as error:
        if error.status >= 500:
            raise
        letter = letter_of_message(client_id, body, error, message_id, inserted_at)
        refuse(services, letter)
        return letter
    if claimed is not None:
        _attempt(services, claimed, claimed_at, terms or Terms())
    return None


def _brought(services: Services, client_id: str, message: TaskMessage) -> Row | None:
    """The row that a message brings, if it is what a submission makes of the same request here.

    Anything else may be another producer's invention, and some of what a row says is acted upon before it is
    written: an end is told, a letter recorded.
    """
    brought = message.row(client_id)
    if brought is None:
        return None
    task, etag = brought
    wish = _wish(message, message.traceparent)
    try:
        payload = submission.parsed(handlers.load(message.task_type), message.payload)
    except DocmillError:
        return None
    made = submission.accepted_task(
        services, client_id, wish, payload, task_id=task.task_id, now=task.created_at
    ).model_copy(update={"check_at": task.check_at})
    return Row(task, etag) if task in (made, made.model_copy(update={"events": ()})) else None


def recorded(services: Services, client_id: str, message: TaskMessage, message_id: str) -> Row:
    """The task's row; a message of another producer gets one here."""
    task_id = message.task_id or derived_task_id(message_id)
    row = services.tasks.get(client_id, task_id)
    if row is not None:
        return row
    with services.telemetry.span("submit", traceparent=message.traceparent, task_id=task_id) as span:
        return _recorded(services, client_id, message, message_id, span.traceparent)


def _recorded(
    services: Services, client_id: str, message: TaskMessage, message_id: str, traceparent: str | None
) -> Row:
    payload = submission.validate(services, message.task_type, message.payload, message.webhook_url)
    wish, task_id = _wish(message, traceparent), message.task_id or derived_task_id(message_id)
    task = submission.accepted_task(services, client_id, wish, payload, task_id=task_id)
    task = task.model_copy(update={"seq": message.seq})
    try:
        return outbox.begin(services, task, services.tasks.insert, unknown=False)
    except RowExists:
        return recorded(services, client_id, message, message_id)


def _wish(message: TaskMessage, traceparent: str | None) -> Submission:
    return Submission(
        task_type=message.task_type,
        payload=message.payload,
        webhook_url=message.webhook_url,
        traceparent=traceparent,
    )


def refuse(services: Services, letter: DeadLetter) -> None:
    """A message that can never work becomes a dead letter and leaves the queue."""
    told = letter.error["message"] if letter.error else ""
    log.warning("A message was refused: %s", told, extra={"client_id": letter.client_id})
    dead_letters.record(services, letter)


def claim(services: Services, row: Row, seq: int, again: Callable[[], Row]) -> Row | None:
    """Takes the task for one attempt. `row` may be out of date: the write is guarded by its ETag, and `again`
    reads it.

    None means that the message is done with: out of date, finished, held by somebody else, not due, or
    the task came to its end here.
    """
    while True:
        try:
            if _steps_aside(services, row, seq) or _ends(services, row):
                return None
            return _claimed(services, row, _taken(services, row.task, utc_now()))
        except RowChanged:
            row = again()


def _claimed(services: Services, row: Row, taken: Task) -> Row | None:
    """Writes the claim and tells of it. None when it was lost while that took its time. Raises RowChanged."""
    claimed = outbox.begin(services, taken, lambda told: services.tasks.save(row, told), unknown=False)
    measures.claimed(services.telemetry, row.task, taken)
    return claimed if claimed.task.owner == taken.owner else None


def _steps_aside(services: Services, row: Row, seq: int) -> bool:
    task, now = row.task, utc_now()
    if task.final:
        outbox.flush(services, row)
        return True
    if seq < task.seq or task.leased(now):
        return True
    if task.next_attempt_at and task.next_attempt_at > now + EARLY:
        submission.enqueue(services, task, delay=(task.next_attempt_at - now).total_seconds())
        return True
    return False


def _ends(services: Services, row: Row) -> bool:
    """A task whose last worker vanished may have nothing left but its end."""
    task = row.task
    if task.status is TaskStatus.CANCELLING and not task.committing:
        cancelled = outbox.save(services, row, task.to(TaskStatus.CANCELLED, utc_now()))
        measures.ended(services.telemetry, cancelled.task)
        return True
    if task.status is TaskStatus.CANCELLING or task.attempt >= task.max_attempts:
        settle_lost(services, row)
        return True
    return False


def _taken(services: Services, task: Task, now: datetime) -> Task:
    seconds = services.settings.task_lease_seconds
    return task.to(
        TaskStatus.RUNNING,
        now,
        attempt=task.attempt + 1,
        owner=f"{os.getpid()}-{secrets.token_hex(6)}",
        lease_until=now + timedelta(seconds=seconds),
        committing=False,
        check_at=now + timedelta(seconds=seconds),
        started_at=task.started_at or now,
        progress=None,
    )


def settle_lost(services: Services, row: Row) -> None:
    """The end of a task whose workers vanished, as often as attempts are allowed. Raises RowChanged."""
    lost = _Failure(row.task, WorkerLost(), stage=None)
    measures.ended(services.telemetry, outbox.save(services, row, _failed(row.task, lost)).task)


def _attempt(services: Services, row: Row, claimed_at: float, terms: Terms) -> None:
    task = row.task
    with measures.attempt(services.telemetry, task) as span:
        # What is said of this attempt, in logs and spans, is said below it.
        _run(
            services, row, task.model_copy(update={"traceparent": span.traceparent}), claimed_at, span, terms
        )


def _run(services: Services, row: Row, task: Task, claimed_at: float, span: Span, terms: Terms) -> None:
    log.info("Started.", extra=about(task))
    settings = services.settings
    renew_until = claimed_at + settings.task_timeout_seconds + GRACE_SECONDS
    seconds = settings.task_lease_seconds
    with Lease(
        services.tasks,
        row,
        seconds,
        claimed_at=claimed_at,
        renew_until=renew_until,
        halt=terms.halt,
        tell=lambda now_task: outbox.tell(services, now_task),
        given_up=lambda now_task, error: _given_up(now_task, error, task, terms),
        abandoned=lambda ended: _abandoned(services, ended, terms),
    ) as lease:
        try:
            _end(services, lease, task, span, terms)
        except Abandoned:
            log.info("The call that was abandoned has ended: nothing of it is kept.", extra=about(task))
        except LeaseLost:
            span.fail("lease_lost")
            log.warning("The lease was lost: nothing more is written.", extra=about(task))


def _given_up(task: Task, error: DocmillError | None, claimed: Task, terms: Terms) -> Task:
    """What becomes of a task whose handler does not stop; without an error its client cancelled it."""
    if error is None:
        return cancelled(task)
    stage = task.progress.stage if task.progress else None
    failure = _Failure(claimed, error, stage, last=terms.last)
    delay = failure.delay
    return _failed(task, failure) if delay is None else _retrying(task, failure, delay)


def _abandoned(services: Services, row: Row, terms: Terms) -> None:
    task = row.task
    if task.status is TaskStatus.CANCELLED:
        log.info("Cancelled, in the middle of a call.", extra=about(task))
    else:
        told = task.error.code if task.error else ""
        log.warning("Ended in the middle of a call: %s. It is %s.", told, task.status, extra=about(task))
    measures.ended(services.telemetry, task)
    _again(services, task)
    outbox.flush(services, row)
    terms.halt.abandoned.set()


def _again(services: Services, task: Task) -> None:
    """The message of the next attempt."""
    if task.status is TaskStatus.RETRYING and task.next_attempt_at is not None:
        wait = (task.next_attempt_at - utc_now()).total_seconds()
        submission.enqueue(services, task, delay=max(wait, 0.0))


def _end(services: Services, lease: Lease, task: Task, span: Span, terms: Terms) -> None:
    """Runs the handler and writes what became of it."""
    attempt: Attempt | None = None
    try:
        handler = handlers.load(task.task_type)
        with Attempt(services, lease, task, handler) as attempt:
            result = handler.run(submission.parsed(handler, task.payload), attempt)
        lease.work_is_done()
        blob = _store(services, lease, task, result)
    except Cancelled:
        row = _finish(services, lease, cancelled)
        log.info("Cancelled.", extra=about(task))
    except LeaseLost:
        raise
    except Exception as error:
        span.fail(measures.reason_of(error))
        stage = attempt.stage if attempt else None
        row = _fail(services, lease, _Failure(task, _known(error, task), stage, last=terms.last))
    else:
        row = _finish(services, lease, lambda now_task: _succeeded(services, now_task, blob, lease.progress))
        log.info("Succeeded.", extra=about(task))
    measures.ended(services.telemetry, row.task)
    outbox.flush(services, row)


def _finish(services: Services, lease: Lease, transition: Callable[[Task], Task]) -> Row:
    return lease.finish(lambda task: outbox.heard(services, transition(task)))


def _store(services: Services, lease: Lease, task: Task, result: BaseModel) -> str:
    """Writes the result under a name of this attempt, so that no zombie can overwrite another's."""
    lease.check_held()
    folder = task.document_id or "none"
    name = f"{task.client_id}/results/{folder}/{task.task_id}-{task.seq}-{task.attempt}.json"
    with services.telemetry.span("result", traceparent=task.traceparent):
        services.blobs.put(name, result.model_dump_json().encode(), "application/json")
    return name


def _succeeded(services: Services, task: Task, blob: str, last: Progress | None) -> Task:
    now, kept = utc_now(), timedelta(days=services.settings.result_ttl_days)
    done = last and last.model_copy(update={"percent": 100, "message": "Done"})
    changes = {"result_blob": blob, "result_until": now + kept, "progress": done, "error": None}
    return task.to(TaskStatus.SUCCEEDED, now, **changes)


def _known(error: Exception, task: Task) -> DocmillError:
    """Any exception as one of ours. The log gets the trace of those that nobody foresaw."""
    if isinstance(error, DocmillError):
        return error
    if isinstance(error, Halted):
        return error.error
    log.error("Unexpected %s.", type(error).__name__, exc_info=error, extra=about(task))
    return InternalError()


@dataclass(frozen=True)
class _Failure:
    """`task` as it was claimed: its `failures` are those of the attempts before. `last`: no other attempt was
    to come after this one."""

    task: Task
    error: DocmillError
    stage: str | None
    last: bool = False

    @property
    def _limit(self) -> int:
        return self.task.attempt if self.last else self.task.max_attempts

    @property
    def delay(self) -> float | None:
        met = self.task.failures.get(self.error.code, 0)
        return POLICY.delay(self.error, self.task.attempt, self._limit, met=met)

    @property
    def dead(self) -> bool:
        if isinstance(self.error, InvalidPayload | UnknownTaskType | WorkerLost):
            return True
        return POLICY.exhausted(self.error, self.task.attempt, self._limit)


def _fail(services: Services, lease: Lease, failure: _Failure) -> Row:
    error, delay, about_it = failure.error, failure.delay, about(failure.task)
    if delay is None:
        log.warning("Failed: %s: %s", error.code, error.message, extra=about_it)
        return _finish(services, lease, lambda task: _unless_cancelled(lease, task) or _failed(task, failure))
    log.warning("Attempt failed: %s: %s Next in %.0f s.", error.code, error.message, delay, extra=about_it)
    row = _finish(
        services, lease, lambda task: _unless_cancelled(lease, task) or _retrying(task, failure, delay)
    )
    if row.task.status is TaskStatus.RETRYING:
        submission.enqueue(services, row.task, delay=delay)
    return row


def _unless_cancelled(lease: Lease, task: Task) -> Task | None:
    """A task that was to be cancelled ends so whatever it met, unless something of it can be seen already."""
    if task.status is not TaskStatus.CANCELLING or lease.committed:
        return None
    return cancelled(task)


def _retrying(task: Task, failure: _Failure, delay: float) -> Task:
    if task.status is TaskStatus.CANCELLING:
        return _failed(task, failure)
    now, error = utc_now(), failure.error
    due = now + timedelta(seconds=delay)
    return task.to(
        TaskStatus.RETRYING,
        now,
        seq=task.seq + 1,
        next_attempt_at=due,
        check_at=due + timedelta(seconds=30),
        error=_error(task, error, failure.stage),
        failures={**task.failures, error.code: task.failures.get(error.code, 0) + 1},
    )


def _failed(task: Task, failure: _Failure) -> Task:
    now, error = utc_now(), _error(task, failure.error, failure.stage)
    told = task.model_copy(update={"dead_lettered": failure.dead, "error": error})
    failed = told.to(TaskStatus.FAILED, now)
    if not failure.dead:
        return failed
    return failed.model_copy(update={"letter": letter_of_task(failed, now).model_dump(mode="json")})


def _error(task: Task, error: DocmillError, stage: str | None) -> TaskError:
    return TaskError(
        code=error.code,
        message=error.message[:MESSAGE_LIMIT],
        retryable=error.retryable,
        stage=stage,
        attempt=task.attempt,
    )
