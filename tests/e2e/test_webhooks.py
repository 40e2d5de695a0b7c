"""Webhooks on their whole way, from the event to real receivers that hang, fail, or must never be reached."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import pytest

from shared import redelivery, signing, webhooks
from shared.deliveries import Delivery
from shared.errors import Conflict
from shared.ports import RowChanged
from shared.subscriptions import Receiver, Subscription
from shared.tasks import Task, utc_now
from shared.webhooks import Wish
from tests.e2e.endpoint import HANG, Answer, Endpoint
from tests.e2e.post_office import PostOffice, post_office, wait

CLIENTS = ("alpha", "beta")
TIMEOUT = COOLDOWN = 1
"""Seconds."""
MOST_VISITS = 8
"""To a receiver that hangs: the cool-down doubles each time from one second on, so more take two minutes."""
FIVE_DAYS = timedelta(days=5)
REDIRECTS = (301, 302, 303, 307, 308)


@pytest.fixture(scope="module")
def office() -> Iterator[PostOffice]:
    settings = {"WEBHOOK_COOLDOWN_SECONDS": str(COOLDOWN), "WEBHOOK_RETRY_SECONDS": "1,1,1,1,1,1"}
    with post_office(*CLIENTS, **settings) as office:
        yield office


@pytest.fixture(autouse=True)
def nothing_left_over(office: PostOffice) -> Iterator[None]:
    """The next test begins without webhooks."""
    yield
    for client in CLIENTS:
        for webhook in office.core.subscriptions.of_client(client):
            webhooks.remove(office.core, client, webhook.webhook_id)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


# --- a receiver that hangs -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Addressee:
    """One receiver: a webhook, or without one the URL of a client's tasks."""

    office: PostOffice
    endpoint: Endpoint
    client: str
    webhook: Subscription | None
    secret: str

    @property
    def path(self) -> str:
        return f"/{self.client}" if self.webhook else f"/own/{self.client}"

    @property
    def url(self) -> str:
        return self.endpoint.url(self.path)

    def deliveries(self, tasks: list[Task]) -> list[Delivery]:
        if self.webhook is not None:
            return self.office.of_webhook(self.webhook)
        own = [task for task in tasks if task.webhook and task.webhook.url == self.url]
        return [item for task in own for item in self.office.of_task(task) if item.webhook_id is None]

    def missing(self, tasks: list[Task]) -> int:
        told = self.endpoint.told(self.path)
        return sum(delivery.delivery_id not in told for delivery in self.deliveries(tasks))

    def visits(self) -> int:
        return len(self.endpoint.at(self.path))


def addressees(office: PostOffice, endpoint: Endpoint) -> list[Addressee]:
    found = []
    for client in CLIENTS:
        webhook, secret = office.webhook(client, endpoint.url(f"/{client}"))
        found.append(Addressee(office, endpoint, client, webhook, secret))
        own = signing.client_secret(office.core, client)
        found.append(Addressee(office, endpoint, client, None, own))
    return found


def test_a_receiver_that_hangs_harms_no_other(office: PostOffice, endpoint: Endpoint) -> None:
    """60 events each for one that answers and one that does not: to webhooks of two clients and to the URLs
    of their tasks."""
    impatient = {"WEBHOOK_TIMEOUT_SECONDS": str(TIMEOUT)}
    with Endpoint(HANG) as hanging, office.worker(**impatient), office.worker(**impatient):
        good, bad = addressees(office, endpoint), addressees(office, hanging)
        tasks = office.all_cancelled([(one.client, one.url) for one in good + bad if not one.webhook] * 6)
        wait(lambda: [one.missing(tasks) for one in good], lambda left: not any(left))
        wait(lambda: [one.visits() for one in bad], lambda visits: min(visits) > 1)
        assert max(one.visits() for one in bad) <= MOST_VISITS
        waiting = [delivery for one in bad for delivery in one.deliveries(tasks)]
        assert len(waiting) == 60 and all(delivery.pending for delivery in waiting)
        made = sum(delivery.made for delivery in waiting)  # some, on a slow machine, without a connection
        assert max(made, hanging.connections) <= MOST_VISITS * len(bad)
        hanging.always = Answer()
        wait(lambda: [one.missing(tasks) for one in bad], lambda left: not any(left), 120)
        office.quiet()
    for one in good + bad:
        assert_all_told(one, tasks)
    for one in bad:
        assert_left_alone(one, tasks)


def assert_all_told(one: Addressee, tasks: list[Task]) -> None:
    """Each event under one id, one request at a time, and the records say so."""
    requests, deliveries = one.endpoint.at(one.path), one.deliveries(tasks)
    assert one.endpoint.most[one.path] == 1
    assert all(request.verified(one.secret) for request in requests)
    events = {(request.event["type"], request.event["data"]["task_id"]) for request in requests}
    ids = {request.webhook_id for request in requests}
    assert len(events) == len(ids) and ids == {delivery.delivery_id for delivery in deliveries}
    for delivery in deliveries:
        *before, last = delivery.attempts
        assert (delivery.status, last.status_code, delivery.made) == ("delivered", 204, len(before) + 1)
        assert {attempt.failure for attempt in before} <= {"timeout"}


def assert_left_alone(one: Addressee, tasks: list[Task]) -> None:
    """After each time-out for twice as long as after the one before."""
    attempts = [attempt for delivery in one.deliveries(tasks) for attempt in delivery.attempts]
    timeouts = sorted(attempt.at for attempt in attempts if attempt.failure)
    assert len(timeouts) > 1
    for count, (before, after) in enumerate(pairwise(timeouts)):
        assert after - before >= timedelta(seconds=COOLDOWN * 2**count + TIMEOUT)


# --- receivers that fail ---------------------------------------------------------------------------------


def test_five_days_of_failures(office: PostOffice, endpoint: Endpoint) -> None:
    """Three warnings, then it is disabled. What happens from then on is noted, and comes when asked for.

    The days are not waited for: the row of the receiver is told that they have gone by.
    """
    endpoint.always = Answer(500)
    webhook, _ = office.webhook("alpha", endpoint.url("/alpha"), "task.cancelled")
    with office.worker(WEBHOOK_RETRY_SECONDS="1"):
        office.cancelled("alpha")
        wait(lambda: row(office, webhook).failing_since, bool)
        for level in (50, 70, 90):
            assert row(office, webhook).warning < level
            failing_for(office, webhook, FIVE_DAYS * (level + 1) / 100)
            office.cancelled("alpha")
            wait(lambda: row(office, webhook).warning, level.__eq__)
            assert office.webhook_now(webhook).enabled
        failing_for(office, webhook, FIVE_DAYS)
        office.cancelled("alpha")
        wait(lambda: office.webhook_now(webhook).disabled_reason, lambda reason: reason == "failing")
        office.cancelled("alpha")
        office.cancelled("alpha")
        office.quiet()
        noted = office.of_webhook(webhook)
        assert [delivery.reason for delivery in noted[:2]] == ["webhook_disabled"] * 2
        assert [delivery.made for delivery in noted[:2]] == [0, 0]
        assert [delivery.status for delivery in noted] == ["failed"] * 7
        assert_recovered(office, endpoint, webhook)
    warnings = re.findall(rf"{webhook.webhook_id} has done nothing but fail for (\d+) %", office.logged())
    assert warnings == ["50", "70", "90"]
    assert f"{webhook.webhook_id} is disabled: failing" in office.logged()


def row(office: PostOffice, webhook: Subscription) -> Receiver:
    return office.receiver(webhook.client_id, webhook.webhook_id)


def failing_for(office: PostOffice, webhook: Subscription, time: timedelta) -> None:
    while True:
        stored = office.core.receivers.get(webhook.client_id, webhook.webhook_id)
        assert stored is not None
        aged = stored.value.model_copy(update={"failing_since": utc_now() - time})
        try:
            office.core.receivers.save(webhook.client_id, stored, aged)
            return
        except RowChanged:
            continue


def assert_recovered(office: PostOffice, endpoint: Endpoint, webhook: Subscription) -> None:
    """While it is disabled nothing can be recovered; enabled again, everything comes that had failed."""
    core, client, name = office.core, webhook.client_id, webhook.webhook_id
    failed = {delivery.delivery_id for delivery in office.of_webhook(webhook)}
    assert not failed & endpoint.told(f"/{client}")
    with pytest.raises(Conflict):
        redelivery.recover(core, client, name, webhook.created_at)
    endpoint.always = Answer()
    webhooks.change(core, client, name, Wish(enabled=True))
    assert (row(office, webhook).failing_since, row(office, webhook).warning) == (None, 0)
    recovery = redelivery.recover(core, client, name, webhook.created_at)
    assert recovery == redelivery.Recovery(len(failed), complete=True)
    wait(lambda: endpoint.told(f"/{client}"), lambda told: failed == told)
    office.quiet()
    assert {delivery.status for delivery in office.of_webhook(webhook)} == {"delivered"}
    assert redelivery.recover(core, client, name, webhook.created_at).recovered == 0


def test_a_receiver_that_is_gone(office: PostOffice, endpoint: Endpoint) -> None:
    """One answer of 410 is enough. What waited for it is noted, without a connection."""
    webhook, _ = office.webhook("alpha", endpoint.url("/alpha"), "task.cancelled")
    endpoint.always = Answer(410)
    office.all_cancelled([("alpha", None)] * 4)
    with office.worker():
        office.quiet()
        now = office.webhook_now(webhook)
        assert (now.enabled, now.disabled_reason, endpoint.connections) == (False, "gone", 1)
        reasons = sorted(str(delivery.reason) for delivery in office.of_webhook(webhook))
        assert reasons == ["gone", *["webhook_disabled"] * 3]
        assert_recovered(office, endpoint, webhook)
    assert endpoint.connections == 5


def test_a_receiver_that_asks_for_time(office: PostOffice, endpoint: Endpoint) -> None:
    """It has it from everything: what was refused, what waited, and what happens meanwhile."""
    webhook, _ = office.webhook("alpha", endpoint.url("/alpha"), "task.cancelled")
    seconds = 2
    endpoint.first["/alpha"].append(Answer(429, {"Retry-After": str(seconds)}))
    office.all_cancelled([("alpha", None)] * 2)
    with office.worker():
        wait(lambda: row(office, webhook).cooling_until, bool)
        office.cancelled("alpha")
        wait(lambda: endpoint.told("/alpha"), lambda told: len(told) == 3)
        office.quiet()
    refused, *others = endpoint.at("/alpha")
    assert (refused.status, [other.status for other in others]) == (429, [204] * 3)
    assert all(other.at >= refused.at + timedelta(seconds=seconds) for other in others)
    assert row(office, webhook).cooling_until is None


# --- receivers that must not be reached ------------------------------------------------------------------


NAMES = (
    "inside.example=127.0.0.1 mapped.example=::ffff:127.0.0.1 "
    "mixed.example=127.0.0.1 mixed.example=93.184.216.34"
)
INSIDE = ("inside.example", "mixed.example", "mapped.example", "127.0.0.1", "[::ffff:7f00:1]")
NUMBERS = ("2130706433", "0x7f.1", "0177.0.0.1")
STRICT = {"WEBHOOK_ALLOW_HTTP": "", "WEBHOOK_ALLOW_PRIVATE_NETWORKS": "", "WEBHOOK_RETRY_SECONDS": "0"}


def test_no_way_in(office: PostOffice, endpoint: Endpoint) -> None:
    """Records that no check has kept out, and names that lead inside: a worker without switches connects to
    none of them. One with switches does, so somebody would have opened."""
    for host in INSIDE + NUMBERS:
        planted(office, endpoint.url("/", "https", host))
    planted(office, endpoint.url("/"))
    task = office.cancelled("alpha", endpoint.url("/own"))
    with office.worker("tests.e2e.naming_worker", NAMES=NAMES, **STRICT):
        office.quiet()
    deliveries = office.of_task(task)
    assert len(deliveries) == len(INSIDE) + len(NUMBERS) + 2
    for delivery in deliveries:
        assert (delivery.status, delivery.reason, delivery.made) == ("failed", "out_of_attempts", 2)
        assert {attempt.failure for attempt in delivery.attempts} == {"blocked_address"}
        assert {attempt.status_code for attempt in delivery.attempts} == {None}
    told = office.task(task).webhook
    assert told and (told.status, endpoint.connections) == ("failed", 0)

    for delivery in deliveries:
        redelivery.redeliver(office.core, "alpha", delivery.delivery_id)
    with office.worker("tests.e2e.naming_worker", NAMES=NAMES, WEBHOOK_RETRY_SECONDS="0"):
        office.quiet()
    found = Counter(delivery.attempts[-1].failure for delivery in office.of_task(task))
    assert found == {"tls_error": len(INSIDE), "blocked_address": len(NUMBERS), None: 2}
    assert endpoint.connections == 2 * len(INSIDE) + 2


def planted(office: PostOffice, url: str) -> None:
    """A webhook whose URL was never checked."""
    webhook, _ = office.webhook("alpha", "https://example.com", "task.cancelled")
    stored = office.core.subscriptions.get("alpha", webhook.webhook_id)
    assert stored is not None
    office.core.subscriptions.save(stored, webhook.model_copy(update={"url": url}))


def test_no_redirect_is_followed(office: PostOffice, endpoint: Endpoint) -> None:
    webhook, _ = office.webhook("alpha", endpoint.url("/alpha"), "task.cancelled")
    with Endpoint() as inside, office.worker(WEBHOOK_RETRY_SECONDS="0,0,0,0"):
        location = {"Location": inside.url("/secrets")}
        endpoint.first["/alpha"] += [Answer(status, location) for status in REDIRECTS]
        office.cancelled("alpha")
        office.quiet()
        (delivery,) = office.of_webhook(webhook)
        attempts = [(attempt.status_code, attempt.failure) for attempt in delivery.attempts]
        assert attempts == [(status, "http_status") for status in REDIRECTS]
        assert (delivery.reason, inside.connections) == ("out_of_attempts", 0)
