"""Workers that are killed while they deliver a webhook: it comes again under the same id, never not at all.

All of them die first, then one worker delivers what they left behind: a receiver whose worker died is held
until its request must be over, and that is waited for once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from shared import signing
from shared.deliveries import Delivery
from shared.gate import MARGIN_SECONDS
from shared.subscriptions import Receiver, origin_key
from shared.tasks import Task, utc_now
from tests.e2e.endpoint import Answer, Endpoint
from tests.e2e.post_office import PostOffice, post_office, wait

TIMEOUT_SECONDS = 4
"""Nobody takes so long, not even on a busy machine; and all wait for it, and for the margin."""
HELD_SECONDS = int(TIMEOUT_SECONDS + MARGIN_SECONDS)


@dataclass(frozen=True)
class Case:
    """Where a worker dies and how the receiver answers it. `requests`: how all of them are answered in the
    end; `attempts`: those of them that the record knows."""

    point: str
    kind: str
    first: int
    requests: list[int]
    attempts: list[int]

    @property
    def client(self) -> str:
        """Nobody else's."""
        return f"{self.point}-{self.kind}"


CASES = [
    Case("taken", "own", 204, [204], [204]),
    Case("sent", "own", 204, [204, 204], [204]),
    Case("sent", "webhook", 204, [204, 204], [204]),
    Case("next", "own", 500, [500, 204], [204]),
    Case("recorded", "own", 204, [204], [204]),
    Case("recorded", "webhook", 500, [500, 204], [500, 204]),
    Case("marked", "own", 204, [204], [204]),
]
ZOMBIE = Case("sent", "zombie", 204, [204, 204], [204])


@dataclass(frozen=True)
class Event:
    """An event for one receiver."""

    office: PostOffice
    task: Task
    key: str
    secret: str

    @property
    def delivery(self) -> Delivery:
        (delivery,) = self.office.of_task(self.task)
        return delivery

    @property
    def receiver(self) -> Receiver:
        return self.office.receiver(self.task.client_id, self.key)


@dataclass(frozen=True)
class Aftermath:
    """What is left of all those deaths, once a worker has been at it that lives. Events by client."""

    endpoint: Endpoint
    events: dict[str, Event]
    held: set[str]
    """Clients whose receivers their dead workers held on to."""
    after_the_zombie: tuple[Delivery, Task, Receiver]


@pytest.fixture(scope="module")
def aftermath() -> Iterator[Aftermath]:
    settings = {
        "WEBHOOK_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        "WEBHOOK_RETRY_SECONDS": f"{HELD_SECONDS + 2},1,1",
    }
    clients = [case.client for case in (*CASES, ZOMBIE)]
    with Endpoint() as endpoint, post_office(*clients, **settings) as office:
        zombie = event(office, endpoint, ZOMBIE)
        stop = {"CRASH_SIGNAL": "SIGSTOP", "CRASH_AT": ZOMBIE.point, "CRASH_CLIENT": ZOMBIE.client}
        stop |= lease(len(CASES) + 1)
        with office.worker("tests.e2e.crashing_worker", **stop) as sleeping:
            wait(lambda: psutil.Process(sleeping.pid).status(), lambda now: now == psutil.STATUS_STOPPED)
            held: set[str] = set()
            countdown = zip(range(len(CASES), 0, -1), CASES, strict=True)
            events = {case.client: killed(office, endpoint, case, held, left) for left, case in countdown}
            with office.worker():
                office.quiet()
            before = zombie.delivery, office.task(zombie.task), zombie.receiver
            sleeping.send_signal(signal.SIGCONT)
            sleeping.send_signal(signal.SIGTERM)
            assert sleeping.wait(60) == 0
        yield Aftermath(endpoint, {**events, ZOMBIE.client: zombie}, held, before)


def lease(left: int) -> dict[str, str]:
    """Of a worker's messages: they come again when the hold is over, and so need not be put off, and when all
    have died: one that has to die may not take them up. `left`: how many have yet to."""
    return {"WORKER_LEASE_SECONDS": str(HELD_SECONDS + 1 + 2 * left)}


def killed(office: PostOffice, endpoint: Endpoint, case: Case, held: set[str], left: int) -> Event:
    found = event(office, endpoint, case)
    endpoint.first[f"/{case.client}"].append(Answer(case.first))
    crash = {"CRASH_AT": case.point, "CRASH_CLIENT": case.client}
    with office.worker("tests.e2e.crashing_worker", **crash, **lease(left)) as process:
        assert process.wait(60) == -signal.SIGKILL
    if found.receiver.held(utc_now()):
        held.add(case.client)
    return found


def event(office: PostOffice, endpoint: Endpoint, case: Case) -> Event:
    url = endpoint.url(f"/{case.client}")
    if case.kind == "webhook":
        webhook, secret = office.webhook(case.client, url, "task.cancelled")
        return Event(office, office.cancelled(case.client), webhook.webhook_id, secret)
    task = office.cancelled(case.client, url)
    return Event(office, task, origin_key(url), signing.client_secret(office.core, case.client))


@pytest.mark.parametrize("case", [*CASES, ZOMBIE], ids=lambda case: f"{case.point}, {case.kind}")
def test_kill_9_in_a_delivery(aftermath: Aftermath, case: Case) -> None:
    """Between taking a receiver and sending; between sending and the message of the next attempt, or the
    record; between that message and the record; between the record and the task's own mark; after that."""
    event = aftermath.events[case.client]
    delivery, requests = event.delivery, aftermath.endpoint.at(f"/{case.client}")
    answers = [request.status for request in requests]
    if case.point in {"recorded", "marked"}:
        assert answers == case.requests
    else:  # one more is right when the machine is so slow that a hold ends while others are still killed
        assert answers == case.requests + [204] * (len(answers) - len(case.requests))
    assert {request.webhook_id for request in requests} == {delivery.delivery_id}
    assert all(request.verified(event.secret) for request in requests)
    assert {request.event["data"]["task_id"] for request in requests} == {event.task.task_id}
    assert aftermath.endpoint.most[f"/{case.client}"] == 1

    assert (delivery.status, delivery.next_attempt_at) == ("delivered", None)
    assert [attempt.status_code for attempt in delivery.attempts] == case.attempts
    assert [attempt.attempt for attempt in delivery.attempts] == list(range(1, len(case.attempts) + 1))
    known = requests[-len(case.attempts) :]
    assert all(one.at >= request.at for one, request in zip(delivery.attempts, known, strict=True))

    told = event.office.task(event.task).webhook
    assert told is None if case.kind == "webhook" else told and told.status == "delivered"
    assert case is ZOMBIE or case.client in aftermath.held
    assert (event.receiver.holder, event.receiver.failing_since) == (None, None)


def test_a_zombie_that_has_sent_changes_nothing(aftermath: Aftermath) -> None:
    """It was stopped after it had sent, and went on when another had sent again and written it down."""
    zombie = aftermath.events[ZOMBIE.client]
    now = zombie.delivery, zombie.office.task(zombie.task), zombie.receiver
    assert now == aftermath.after_the_zombie
