"""`TASK_DATA`: one task in a process of its own, whose exit status says what became of it.

The message goes through the same `runner.run` as one from a queue. Two things are different: the final
webhooks are attempted here, since nobody may be there to do it soon, and the process has to end, whatever
the task does. Nothing is lost by that: row, message and delivery records are written as ever, so whoever
serves the queues and the sweep goes on from there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from types import FrameType
from typing import NoReturn

from shared import delivery, gate, logs, runner, scratch, telemetry
from shared.core import Core, install_telemetry, warn_of_open_doors
from shared.deadline import begun
from shared.deliveries import Delivery
from shared.errors import DocmillError, StorageUnavailable, TaskTimeout, Unavailable, WorkerStopped
from shared.lease import Halt
from shared.logs import about
from shared.messages import DeliveryMessage, TaskMessage, derived_task_id
from shared.ports import DeadLetter, Services
from shared.runner import Terms
from shared.settings import Settings
from shared.tasks import Task, TaskStatus, utc_now
from worker.errors import StartError

log = logging.getLogger(__name__)

SUCCEEDED, FAILED = 0, 1
POLL_SECONDS = 0.1
STOP_SECONDS = 8.0
"""From a signal to the end of the process. Containers are killed after 10 s."""
SAME_SIGNAL_SECONDS = 0.5
"""Signals this close are one: Ctrl+C reaches a whole process group, and its leader passes it on."""
OVERTIME_SECONDS = 2.0
"""An attempt whose time is up has this long to say so itself."""
LATE_SECONDS = 60.0
"""From the end of the task's time to the end of the process: for its row and its webhooks."""
BUSY_SECONDS = 5.0
"""How long a webhook waits for the one before it: many containers may end at once, and tell one receiver."""
WEBHOOK_SECONDS = 30.0
"""No webhook is attempted later than this after the task's end: the queue has them all."""


@dataclass(frozen=True)
class Order:
    """What TASK_DATA asks for."""

    client_id: str
    body: bytes

    @property
    def message_id(self) -> str:
        """The same for the same text: a container that is started again does not make a second task."""
        return f"task-data-{hashlib.sha256(self.body).hexdigest()}"


class Late(Exception):
    """The process has to end, and something in it has not."""


class Watch:
    """Waits, and asks the attempt to stop when a signal comes or its time is up."""

    def __init__(self, seconds: float) -> None:
        self.halt = Halt()
        self._until = time.monotonic() + seconds + OVERTIME_SECONDS
        self._leave_at = math.inf
        self._last_signal_at = -math.inf
        self._signals = 0

    def signalled(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """A handler of signals. The first one asks, the second one ends the process."""
        now = time.monotonic()
        if now - self._last_signal_at > SAME_SIGNAL_SECONDS:
            self._signals += 1
        self._last_signal_at = now
        if self._signals > 1:
            self._leave_at = now

    def wait(self, over: Callable[[], bool]) -> None:
        """Raises Late."""
        while not over():
            self._look()
            if time.monotonic() > self._leave_at:
                raise Late
            time.sleep(POLL_SECONDS)

    def _look(self) -> None:
        if self.halt.error is not None:
            return
        if self._signals:
            log.info("Stopping: the task has %.0f s to come to its end.", STOP_SECONDS)
            self._halt(WorkerStopped(), STOP_SECONDS)
        elif time.monotonic() > self._until:
            self._halt(TaskTimeout(), LATE_SECONDS)

    def _halt(self, error: DocmillError, seconds: float) -> None:
        self._leave_at = min(self._leave_at, time.monotonic() + seconds)
        self.halt.ask(error)


def main(settings: Settings) -> int:
    """Exit status: 0 the task has succeeded, 1 it has not. Raises StartError and SettingsError.

    Does not return, but ends the process, when something in it does not end.
    """
    logs.configure(settings)
    order = order_of(settings.task_data or "", settings.client_ids)
    warn_of_open_doors(settings)
    install_telemetry(settings)
    scratch.tidy()
    seconds = min(settings.task_timeout_seconds, settings.worker_task_timeout)
    watch = Watch(seconds)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, watch.signalled)
    with closing(Core(settings.model_copy(update={"task_timeout_seconds": seconds}))) as core:
        _ = core.documents  # raises SettingsError, before the task is touched
        try:
            status = run(core, order, watch, last=settings.task_data_retry == "never")
        except Late:
            log.error("Something did not end in time: the sweep and the queues go on with what is left.")
            _leave(FAILED)
        if watch.halt.abandoned.is_set():
            _leave(status)
        return status


def _leave(status: int) -> NoReturn:
    """Ends the process, whatever still runs in it."""
    telemetry.close()
    logging.shutdown()
    os._exit(status)


def run(services: Services, order: Order, watch: Watch, *, last: bool) -> int:
    """The exit status. `last`: a failure that may pass is final, too. Raises StartError and Late."""
    began = utc_now()
    call = begun(lambda: _run(services, order, Terms(watch.halt, last)), "task")
    watch.wait(lambda: call.done() or watch.halt.abandoned.is_set())
    if call.done() and not call.result():
        return FAILED
    end = begun(lambda: _concluded(services, order, began), "end")
    watch.wait(end.done)
    return end.result()


def _run(services: Services, order: Order, terms: Terms) -> bool:
    """False when storage broke. Raises StartError for what somebody has to mend first."""
    services.prepare_once()
    try:
        letter = runner.run(services, order.client_id, order.body, message_id=order.message_id, terms=terms)
    except Unavailable as error:
        raise StartError(f"TASK_DATA: {error.message}") from error
    except StorageUnavailable as error:
        log.error("%s A task that was accepted goes on by the sweep.", error.advice or error.message)
        return False
    if letter is not None:
        raise StartError(_told(letter))
    return True


def _told(letter: DeadLetter) -> str:
    why = letter.error["message"] if letter.error else "It can never work."
    return f"TASK_DATA: {why} It is kept as a dead letter of {letter.client_id}: {letter.dead_letter_id}"


def _concluded(services: Services, order: Order, began: datetime) -> int:
    """Tells whoever wants to know of the end, and the log; gives the exit status."""
    task_id = TaskMessage.decode(order.body).task_id or derived_task_id(order.message_id)
    try:
        row = services.tasks.get(order.client_id, task_id)
        if row is None:
            log.error("There is no such task.")
            return FAILED
        if row.task.final:
            _tell(services, row.task)
    except StorageUnavailable as error:
        log.error("What became of the task is not known. %s", error.advice or error.message)
        return FAILED
    log.info(_words(row.task, began), extra=about(row.task))
    return SUCCEEDED if row.task.status is TaskStatus.SUCCEEDED else FAILED


def _words(task: Task, began: datetime) -> str:
    if task.finished_at is not None and task.finished_at < began:
        return f"Nothing was done: the task had ended before, as {task.status}."
    if task.leased(utc_now()):
        return "Nothing was done: another worker has the task."
    if task.final:
        return f"The task has ended: {task.status}."
    return f"The task is {task.status}: its message is on the queue, or will be put there by the sweep."


def _tell(services: Services, task: Task) -> None:
    """The first attempt at each webhook of the task's end. The queue has them too: what was attempted here it
    does not attempt again, and after a failure the next attempt lies there, as always."""
    until = time.monotonic() + WEBHOOK_SECONDS
    found = services.deliveries.of_task(task.client_id, task.task_id, status="pending", limit=200).items
    for one in found:
        if one.sequence == task.sequence and not one.made and time.monotonic() < until:
            _attempt(services, one)


def _attempt(services: Services, one: Delivery) -> None:
    patience = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            delivery.deliver_now(services, DeliveryMessage.of(one))
            return
        except gate.Busy as busy:
            if busy.seconds or time.monotonic() > patience:
                log.info(
                    "A webhook is left to the queue: its receiver is busy.", extra={"task_id": one.task_id}
                )
                return
            time.sleep(POLL_SECONDS)


def order_of(text: str, clients: tuple[str, ...]) -> Order:
    """What the text asks for; whether it can be done is the runner's matter. Raises StartError when nobody
    knows for which client."""
    body, fault = _body(text), "it names no client_id, and CLIENT_IDS has more than one"
    try:
        named = TaskMessage.decode(body).client_id
    except DocmillError as error:
        named, fault = _client_named(body), error.message
    if named is None and len(clients) == 1:
        return Order(clients[0], body)
    if named is None:
        raise StartError(f"TASK_DATA: {fault}")
    if named not in clients:
        raise StartError(f"TASK_DATA: its client_id {named[:50]!r} is not in CLIENT_IDS")
    return Order(named, body)


def _body(text: str) -> bytes:
    """The message: as it stands there, or out of its base64, as it lies on a queue."""
    given = text.encode(errors="surrogateescape")
    try:
        inner = base64.b64decode(b"".join(given.split()), validate=True)
    except binascii.Error:
        return given
    return inner if inner.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else given


def _client_named(body: bytes) -> str | None:
    """Of a message that is not ours."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    named = data.get("client_id") if isinstance(data, dict) else None
    return named if isinstance(named, str) and named.isascii() else None
