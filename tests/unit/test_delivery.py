"""Deliveries in memory: who is told, when it is tried again, what is written down, who is left alone."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from shared import delivery, gate, maintenance, redelivery, webhooks
from shared.cancellation import cancel
from shared.deliveries import KEPT, Delivery
from shared.errors import Conflict, InvalidPayload, NotFound, StorageUnavailable, Unavailable
from shared.messages import DeliveryMessage, from_wire
from shared.names import DELIVERIES_QUEUE, poison_queue
from shared.ports import Sent, Stored
from shared.submission import Submission, submit
from shared.subscriptions import EVENT_TYPES, Receiver, Subscription
from shared.tasks import Task, utc_now
from shared.webhooks import Wish
from tests.services import MemoryServices, memory_services, registered

URL = "https://hooks.example.com/in?token=hidden"
REFUSED = Sent(None, "connection_refused")


@pytest.fixture
def services() -> Iterator[MemoryServices]:
    with registered("scripted", "tests.scripted"):
        yield memory_services({"WEBHOOK_RETRY_SECONDS": "0,0,0", "WEBHOOK_COOLDOWN_SECONDS": "60"})


def made(services: MemoryServices, *types: str, **wish: object) -> tuple[Subscription, str]:
    return webhooks.create(services, "acme", Wish(url=URL, event_types=types or None, **wish))  # type: ignore[arg-type]


def cancelled(services: MemoryServices, webhook_url: str | None = None) -> Task:
    """A task with two events, queued and cancelled, that cost nothing."""
    task = submit(services, "acme", Submission("scripted", {}, webhook_url)).task
    return cancel(services, "acme", task.task_id)


def due(services: MemoryServices) -> list[DeliveryMessage]:
    """Takes all visible messages."""
    found = []
    for received in services.queues.receive(DELIVERIES_QUEUE, 32):
        found.append(DeliveryMessage.decode(from_wire(received.text)))
        services.queues.delete(DELIVERIES_QUEUE, received)
    return found


def send(services: MemoryServices, *answers: Sent) -> None:
    """Works on what is visible, and on what becomes so without delay."""
    services.sender.answers = list(answers)
    while messages := due(services):
        for message in messages:
            delivery.deliver(services, message.encode())


def send_all_but_the_last(services: MemoryServices) -> None:
    for _ in range(3):
        (message,) = due(services)
        services.sender.answers = [REFUSED]
        delivery.deliver(services, message.encode())


def log_of(services: MemoryServices, webhook: Subscription) -> list[Delivery]:
    """Oldest first."""
    return services.deliveries.of_webhook("acme", webhook.webhook_id, limit=200).items[::-1]


def receiver(services: MemoryServices, key: str) -> Receiver:
    stored = services.receivers.get("acme", key)
    assert stored is not None
    return stored.value


class TestWhoIsTold:
    def test_everybody_who_wants_it_by_an_id_and_a_secret_of_their_own(
        self, services: MemoryServices
    ) -> None:
        all_of_it, first = made(services, "task.*")
        end, second = made(services)
        task = cancelled(services, URL)
        send(services)
        sent = [(headers, body) for _, body, headers in services.sender.sent]
        assert len({headers["webhook-id"] for headers, _ in sent}) == len(sent) == 4
        told = {headers["webhook-id"]: (headers, body) for headers, body in sent}
        for webhook, secret, types in (
            (all_of_it, first, ["task.queued", "task.cancelled"]),
            (end, second, ["task.cancelled"]),
        ):
            log = log_of(services, webhook)
            assert [one.type for one in log] == types
            for one in log:
                headers, body = told[one.delivery_id]
                event = Verifier(secret).verify(body, headers)
                assert (event["type"], event["data"]["task_id"]) == (one.type, task.task_id)
        assert len(services.deliveries.of_task("acme", task.task_id).items) == 4

    def test_a_new_one_is_told_also_where_the_clock_is_a_little_slow(self, services: MemoryServices) -> None:
        """It was made on a machine whose clock is ahead of the one on which its first event happens."""
        webhook, _ = made(services)
        stored = services.subscriptions.get("acme", webhook.webhook_id)
        assert stored is not None
        ahead = stored.value.model_copy(update={"created_at": utc_now() + timedelta(seconds=5)})
        services.subscriptions.save(stored, ahead)
        cancelled(services)
        send(services)
        assert len(services.sender.sent) == 1

    def test_nothing_of_before_and_nothing_of_another_client(self, services: MemoryServices) -> None:
        cancelled(services)
        webhook, _ = made(services, "*")
        submit(services, "beta", Submission("scripted", {}))
        send(services)
        assert services.sender.sent == [] and log_of(services, webhook) == []

    def test_a_client_without_webhooks_costs_no_second_write(self, services: MemoryServices) -> None:
        task = cancelled(services)
        assert not task.has_outbox and due(services) == []

    def test_one_that_is_disabled_is_not_told_but_can_have_it_later(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        webhooks.change(services, "acme", webhook.webhook_id, Wish(enabled=False))
        cancelled(services)
        send(services)
        (one,) = log_of(services, webhook)
        assert (one.status, one.reason, one.attempts) == ("failed", "webhook_disabled", ())
        assert services.sender.sent == []

    def test_a_second_flush_tells_nobody_twice(self, services: MemoryServices) -> None:
        made(services)
        task = submit(services, "acme", Submission("scripted", {})).task
        queues, failures = services.queues, [StorageUnavailable(), None]
        put = queues.put

        def broken(queue: str, body: bytes, *, delay: float = 0) -> None:
            put(queue, body, delay=delay)
            failure = failures.pop(0) if queue == DELIVERIES_QUEUE and failures else None
            if failure:
                raise failure

        queues.put = broken  # type: ignore[method-assign]
        assert cancel(services, "acme", task.task_id).has_outbox
        row = services.tasks.get("acme", task.task_id)
        assert row is not None
        services.tasks.save(row, row.task.model_copy(update={"check_at": utc_now()}))
        maintenance.sweep(services)
        send(services)
        assert len(services.sender.sent) == 1


class TestAttempts:
    def test_each_is_written_down(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        send(services, Sent(500, excerpt="oh no", seconds=0.25), REFUSED, Sent(204, seconds=0.01))
        (one,) = log_of(services, webhook)
        assert (one.status, one.made, one.next_attempt_at) == ("delivered", 3, None)
        assert [(try_.attempt, try_.status_code, try_.failure) for try_ in one.attempts] == [
            (1, 500, "http_status"),
            (2, None, "connection_refused"),
            (3, 204, None),
        ]
        assert (one.attempts[0].response, one.attempts[0].duration_ms) == ("oh no", 250)
        assert len({headers["webhook-id"] for _, _, headers in services.sender.sent}) == 1

    def test_after_the_last_it_has_failed(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        send(services, *[Sent(302)] * 4)
        (one,) = log_of(services, webhook)
        assert (one.status, one.reason, one.made) == ("failed", "out_of_attempts", 4)

    def test_one_that_was_made_is_not_made_again(self, services: MemoryServices) -> None:
        made(services)
        cancelled(services)
        (message,) = due(services)
        for _ in range(3):
            delivery.deliver(services, message.encode())
        assert len(services.sender.sent) == 1

    def test_who_dies_before_the_record_sends_it_again_under_the_same_id(
        self, services: MemoryServices
    ) -> None:
        webhook, _ = made(services)
        cancelled(services)
        (message,) = due(services)
        save = services.deliveries.save
        services.deliveries.save = _out_of_reach  # type: ignore[method-assign,assignment]
        with pytest.raises(StorageUnavailable):
            delivery.deliver(services, message.encode())
        services.deliveries.save = save  # type: ignore[method-assign]
        delivery.deliver(services, message.encode())
        assert len({headers["webhook-id"] for _, _, headers in services.sender.sent}) == 1
        assert len(services.sender.sent) == 2
        assert log_of(services, webhook)[0].status == "delivered"

    def test_a_webhook_that_went_away_meanwhile(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        task = cancelled(services)
        webhooks.remove(services, "acme", webhook.webhook_id)
        send(services)
        (one,) = services.deliveries.of_task("acme", task.task_id).items
        assert (one.status, one.reason) == ("failed", "webhook_deleted")
        assert services.receivers.get("acme", webhook.webhook_id) is None
        assert services.sender.sent == []

    def test_what_cannot_be_signed_is_tried_again_and_is_not_the_receivers_fault(
        self, services: MemoryServices
    ) -> None:
        webhook, _ = made(services)
        cancelled(services)
        key, services.settings = services.settings, memory_services({"SECRETS_KEY": "x" * 43 + "="}).settings
        (message,) = due(services)
        delivery.deliver(services, message.encode())
        services.settings = key
        assert receiver(services, webhook.webhook_id).failing_since is None
        (one,) = log_of(services, webhook)
        assert (one.status, one.attempts[0].failure) == ("pending", "signing_failed")

    def test_nor_without_any_key(self, services: MemoryServices) -> None:
        task = cancelled(services, URL)
        (message,) = due(services)
        services.settings = memory_services({"SECRETS_KEY": ""}).settings
        delivery.deliver(services, message.encode())
        (one,) = services.deliveries.of_task("acme", task.task_id).items
        assert (one.status, one.attempts[0].failure) == ("pending", "signing_failed")

    def test_a_message_for_another_receiver_than_the_records_is_dropped(
        self, services: MemoryServices
    ) -> None:
        made(services)
        cancelled(services)
        (message,) = due(services)
        delivery.deliver(services, message.model_copy(update={"receiver": "wh-other"}).encode())
        delivery.deliver(services, message.model_copy(update={"deferred": 10**9}).encode())
        assert services.sender.sent == []

    def test_a_message_that_is_not_ours_is_dropped(self, services: MemoryServices) -> None:
        for body in (b"{", b"{}", b'{"client_id": "acme", "delivery_id": "msg_none", "receiver": "wh-none"}'):
            delivery.deliver(services, body)
        assert services.sender.sent == []

    def test_what_the_host_gave_up_goes_on(self, services: MemoryServices) -> None:
        made(services)
        cancelled(services)
        (message,) = due(services)
        services.queues.put(poison_queue(DELIVERIES_QUEUE), message.encode())
        maintenance.sweep(services)
        assert services.queues.depth(DELIVERIES_QUEUE) == 1
        assert services.queues.depth(poison_queue(DELIVERIES_QUEUE)) == 0

    def test_what_the_host_gave_up_after_its_attempt_comes_not_before_its_time(
        self, services: MemoryServices
    ) -> None:
        made(services)
        cancelled(services)
        (message,) = due(services)
        services.sender.answers = [REFUSED]
        delivery.deliver(services, message.encode())
        assert len(due(services)) == 1
        services.queues.put(poison_queue(DELIVERIES_QUEUE), message.encode())
        maintenance.sweep(services)
        assert services.queues.depth(DELIVERIES_QUEUE) == 0

    def test_what_lost_its_message_goes_on(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        send_all_but_the_last(services)
        assert len(due(services)) == 1  # and nobody works on it
        now = utc_now()
        for hours in (23, 25, 26):
            later = now + timedelta(hours=hours)
            maintenance.remind_deliveries(services, "acme", later, float("inf"))
        assert services.queues.depth(DELIVERIES_QUEUE) == 1
        send(services)
        assert log_of(services, webhook)[0].status == "delivered"

    def test_a_reminder_of_what_waits_sends_nothing_twice(self, services: MemoryServices) -> None:
        made(services)
        cancelled(services)
        later = utc_now() + timedelta(hours=25)
        maintenance.remind_deliveries(services, "acme", later, float("inf"))
        assert services.queues.depth(DELIVERIES_QUEUE) == 2
        send(services)
        assert len(services.sender.sent) == 1


def _out_of_reach(*_: object, **__: object) -> None:
    raise StorageUnavailable


class TestReceivers:
    def test_one_that_did_not_answer_is_left_alone(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        for _ in range(5):
            cancelled(services)
        send(services, Sent(None, "timeout"))
        assert len(services.sender.sent) == 1
        assert services.queues.depth(DELIVERIES_QUEUE) == 5
        assert receiver(services, webhook.webhook_id).timeouts == 1
        assert [one.made for one in log_of(services, webhook)].count(0) == 4  # put off is no attempt

    @pytest.mark.parametrize("status", [429, 503])
    def test_one_that_asks_for_it_is_left_alone(self, services: MemoryServices, status: int) -> None:
        webhook, _ = made(services)
        for _ in range(3):
            cancelled(services)
        send(services, Sent(status, retry_after=120))
        assert len(services.sender.sent) == 1
        cooling = receiver(services, webhook.webhook_id).cooling_until
        assert cooling is not None and cooling - utc_now() > timedelta(seconds=110)
        (tried,) = [one for one in log_of(services, webhook) if one.made]
        assert tried.next_attempt_at is not None
        assert tried.next_attempt_at - utc_now() > timedelta(seconds=110)

    def test_a_wish_with_any_other_answer_is_not_heeded(self, services: MemoryServices) -> None:
        made(services)
        cancelled(services)
        send(services, Sent(500, retry_after=120))
        assert len(services.sender.sent) == 2

    def test_one_at_a_time(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        held = gate.take(services, "acme", webhook.webhook_id)
        send(services)
        assert services.sender.sent == [] and services.queues.depth(DELIVERIES_QUEUE) == 1
        gate.release(services, "acme", held, lambda fared: fared)
        held = gate.take(services, "acme", webhook.webhook_id)
        assert held.value.held(utc_now())

    def test_who_finds_it_busy_comes_back_in_minutes_however_often(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        gate.take(services, "acme", webhook.webhook_id)
        (message,) = due(services)
        for _ in range(20):
            delivery.deliver(services, message.model_copy(update={"deferred": 10}).encode())
        latest = time.monotonic() + 3 * services.settings.webhook_cooldown_seconds
        lying = services.queues._queues[DELIVERIES_QUEUE]
        assert len(lying) == 20 and all(one.visible_at <= latest for one in lying)

    def test_a_hold_of_a_worker_that_died_ends(self, services: MemoryServices) -> None:
        held = gate.take(services, "acme", "wh-1")
        services.receivers.save("acme", held, held.value.taken("dead", utc_now() - timedelta(minutes=5), 30))
        assert gate.take(services, "acme", "wh-1").value.holder != "dead"

    def test_the_others_are_told_meanwhile(self, services: MemoryServices) -> None:
        slow, _ = made(services)
        gate.take(services, "acme", slow.webhook_id)
        quick, _ = made(services)
        cancelled(services)
        send(services)
        assert [one.status for one in log_of(services, quick)] == ["delivered"]
        assert [one.status for one in log_of(services, slow)] == ["pending"]


class TestFailing:
    def test_it_is_warned_of_and_then_disabled(
        self, services: MemoryServices, caplog: pytest.LogCaptureFixture
    ) -> None:
        webhook, _ = made(services)
        name, allowed = webhook.webhook_id, services.settings.webhook_disable_after_seconds
        levels = []
        for share in (0.4, 0.51, 0.6, 0.72, 0.95, 1.01):
            cancelled(services)
            stored = services.receivers.get("acme", name)
            since = utc_now() - timedelta(seconds=allowed * share)
            before = stored.value if stored else Receiver(key=name)
            services.receivers.save("acme", stored, before.model_copy(update={"failing_since": since}))
            (message,) = due(services)
            services.sender.answers = [REFUSED]
            delivery.deliver(services, message.encode())
            due(services)
            levels.append(receiver(services, name).warning)
        assert levels == [0, 50, 50, 70, 90, 90]
        after = webhooks.find(services, "acme", name)
        assert (after.enabled, after.disabled_reason) == (False, "failing")
        warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert [line for line in warned if "nothing but fail" in line and name in line]

    def test_one_failure_of_long_ago_and_one_of_today_are_no_end(self, services: MemoryServices) -> None:
        """Nothing was sent in between, so nobody was warned either."""
        webhook, _ = made(services)
        name = webhook.webhook_id
        redelivery.example(services, "acme", name)
        send(services, REFUSED)
        stored = services.receivers.get("acme", name)
        assert stored is not None
        long_ago = utc_now() - timedelta(days=20)
        services.receivers.save("acme", stored, stored.value.model_copy(update={"failing_since": long_ago}))
        cancelled(services)
        (message,) = due(services)
        services.sender.answers = [REFUSED]
        delivery.deliver(services, message.encode())
        assert webhooks.find(services, "acme", name).enabled
        assert receiver(services, name).warning == 50
        send(services, REFUSED)
        assert receiver(services, name) == Receiver(key=name)  # it had only failed for a moment

    def test_gone_disables_at_once(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        cancelled(services)
        send(services, Sent(410))
        assert webhooks.find(services, "acme", webhook.webhook_id).disabled_reason == "gone"
        assert [one.reason for one in log_of(services, webhook)] == ["gone", "webhook_disabled"]
        assert len(services.sender.sent) == 1

    def test_also_when_that_cannot_be_written_at_first(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        (message,) = due(services)
        save = services.subscriptions.save
        services.subscriptions.save = _out_of_reach  # type: ignore[method-assign,assignment]
        services.sender.answers = [Sent(410), Sent(410)]
        with pytest.raises(StorageUnavailable):
            delivery.deliver(services, message.encode())
        services.subscriptions.save = save  # type: ignore[method-assign]
        delivery.deliver(services, message.encode())
        assert webhooks.find(services, "acme", webhook.webhook_id).disabled_reason == "gone"

    @pytest.mark.parametrize("answer", [Sent(410), REFUSED])
    def test_nobody_is_disabled_for_what_an_address_did_that_was_replaced_meanwhile(
        self, services: MemoryServices, answer: Sent
    ) -> None:
        webhook, _ = made(services)
        name, other = webhook.webhook_id, Wish(url="https://new.example.com/")
        long_ago = utc_now() - timedelta(seconds=services.settings.webhook_disable_after_seconds + 1)
        services.receivers.save("acme", None, Receiver(key=name, failing_since=long_ago))
        cancelled(services)

        def post(*_: object, **__: object) -> Sent:
            webhooks.change(services, "acme", name, other)
            return answer

        services.sender.post = post  # type: ignore[method-assign]
        for message in due(services):
            delivery.deliver(services, message.encode())
        assert webhooks.find(services, "acme", name).enabled
        assert receiver(services, name).failing_since != long_ago

    def test_what_is_noted_while_it_is_being_enabled_comes_all_the_same(
        self, services: MemoryServices
    ) -> None:
        """Whoever notes it saw the webhook disabled; whoever recovers does not see the note yet."""
        webhook, _ = made(services)
        name, start = webhook.webhook_id, utc_now()
        webhooks.change(services, "acme", name, Wish(enabled=False))
        add = services.deliveries.add

        def overtaken(one: Delivery) -> Stored[Delivery]:
            webhooks.change(services, "acme", name, Wish(enabled=True))
            assert redelivery.recover(services, "acme", name, start).recovered == 0
            return add(one)

        services.deliveries.add = overtaken  # type: ignore[method-assign]
        cancelled(services)
        send(services)
        assert [one.status for one in log_of(services, webhook)] == ["delivered"]

    def test_nor_is_what_was_on_its_way_lost(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        name, start, save = webhook.webhook_id, utc_now(), services.deliveries.save
        cancelled(services)
        webhooks.change(services, "acme", name, Wish(enabled=False))

        def overtaken(*arguments: Any) -> Stored[Delivery]:
            services.deliveries.save = save  # type: ignore[method-assign]
            webhooks.change(services, "acme", name, Wish(enabled=True))
            assert redelivery.recover(services, "acme", name, start).recovered == 0
            return save(*arguments)

        services.deliveries.save = overtaken  # type: ignore[method-assign]
        send(services)
        assert [one.status for one in log_of(services, webhook)] == ["delivered"]

    def test_enabled_again_everything_comes_back(self, services: MemoryServices) -> None:
        webhook, _ = made(services, "task.*")
        start = utc_now()
        cancelled(services)
        send(services, Sent(410))
        cancelled(services)
        with pytest.raises(Conflict, match="enabled"):
            redelivery.recover(services, "acme", webhook.webhook_id, start)
        after = webhooks.change(services, "acme", webhook.webhook_id, Wish(enabled=True))
        assert (after.enabled, after.disabled_reason, after.disabled_at) == (True, None, None)
        recovery = redelivery.recover(services, "acme", webhook.webhook_id, start)
        assert (recovery.recovered, recovery.complete) == (4, True)
        send(services)
        assert {one.status for one in log_of(services, webhook)} == {"delivered"}
        assert redelivery.recover(services, "acme", webhook.webhook_id, start).recovered == 0


class TestAgain:
    def test_a_delivery_that_was_made_goes_out_once_more_under_its_id(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        send(services)
        (one,) = log_of(services, webhook)
        assert redelivery.redeliver(services, "acme", one.delivery_id).status == "pending"
        send(services)
        (after,) = log_of(services, webhook)
        assert (after.status, after.made) == ("delivered", 2)
        assert len({headers["webhook-id"] for _, _, headers in services.sender.sent}) == 1

    def test_with_the_whole_schedule_before_it(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        send(services, *[REFUSED] * 4)
        redelivery.redeliver(services, "acme", log_of(services, webhook)[0].delivery_id)
        send(services, *[REFUSED] * 4)
        assert (log_of(services, webhook)[0].made, log_of(services, webhook)[0].status) == (8, "failed")

    def test_who_dies_before_the_record_says_so_sends_it_all_the_same(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        send(services, *[REFUSED] * 4)
        save = services.deliveries.save
        services.deliveries.save = _out_of_reach  # type: ignore[method-assign,assignment]
        with pytest.raises(StorageUnavailable):
            redelivery.redeliver(services, "acme", log_of(services, webhook)[0].delivery_id)
        services.deliveries.save = save  # type: ignore[method-assign]
        send(services)
        assert log_of(services, webhook)[0].status == "delivered"

    def test_a_wish_in_the_middle_of_the_last_attempt_is_not_lost(self, services: MemoryServices) -> None:
        """The message that it puts names the attempt that is under way."""
        webhook, _ = made(services)
        cancelled(services)
        send_all_but_the_last(services)
        (one,), post = log_of(services, webhook), services.sender.post
        told = []

        def overtaken(*arguments: Any, **named: Any) -> Sent:
            services.sender.post = post  # type: ignore[method-assign]
            told.append(redelivery.redeliver(services, "acme", one.delivery_id).status)
            return REFUSED

        services.sender.post = overtaken  # type: ignore[method-assign]
        send(services, REFUSED)
        (after,) = log_of(services, webhook)
        assert told == ["pending"]
        assert (after.status, after.made, after.before) == ("delivered", 6, 4)

    def test_nor_when_that_attempt_ends_in_the_middle_of_the_wish(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        send_all_but_the_last(services)
        (one,), save = log_of(services, webhook), services.deliveries.save

        def overtaken(*arguments: Any) -> Stored[Delivery]:
            services.deliveries.save = save  # type: ignore[method-assign]
            services.sender.answers = [REFUSED]
            delivery.deliver(services, due(services)[0].encode())
            return save(*arguments)

        services.deliveries.save = overtaken  # type: ignore[method-assign]
        assert redelivery.redeliver(services, "acme", one.delivery_id).status == "pending"
        send(services)
        assert log_of(services, webhook)[0].status == "delivered"

    def test_of_another_client_there_is_none(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        with pytest.raises(NotFound):
            redelivery.redeliver(services, "beta", log_of(services, webhook)[0].delivery_id)
        with pytest.raises(NotFound):
            redelivery.recover(services, "beta", webhook.webhook_id, utc_now())
        with pytest.raises(NotFound):
            redelivery.example(services, "beta", webhook.webhook_id)

    @pytest.mark.parametrize(
        "event_type",
        [None, *EVENT_TYPES],
    )
    def test_an_example_has_the_form_of_the_real_thing_and_says_what_it_is(
        self, services: MemoryServices, event_type: str | None
    ) -> None:
        webhook, secret = made(services)
        example = redelivery.example(services, "acme", webhook.webhook_id, event_type)
        send(services)
        ((_, body, headers),) = services.sender.sent
        event = Verifier(secret).verify(body, headers)
        cancelled(services)
        send(services)
        real = json.loads(services.sender.sent[-1][1])
        assert event["type"] == example.type == (event_type or "task.succeeded")
        assert event["data"]["example"] is True
        assert event["data"]["status"] == example.type.removeprefix("task.").replace("started", "running")
        assert set(event["data"]) - {"example"} == set(real["data"])
        assert headers["webhook-id"] == example.delivery_id

    @pytest.mark.parametrize(
        ("moment", "count"), [("0001-01-01T00:00+14:00", 1), ("9999-12-31T23:59-14:00", 0)]
    )
    def test_any_moment_will_do(self, services: MemoryServices, moment: str, count: int) -> None:
        """Also those that have none in UTC."""
        webhook, _ = made(services)
        cancelled(services)
        send(services, *[REFUSED] * 4)
        made_again = redelivery.recover(services, "acme", webhook.webhook_id, datetime.fromisoformat(moment))
        assert (made_again.recovered, made_again.complete) == (count, True)

    def test_an_example_is_tried_once(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        redelivery.example(services, "acme", webhook.webhook_id)
        send(services, REFUSED)
        (one,) = log_of(services, webhook)
        assert (one.status, one.reason, one.made) == ("failed", "out_of_attempts", 1)

    def test_there_is_no_example_of_what_there_is_not(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        with pytest.raises(InvalidPayload, match=r"task\.failed"):
            redelivery.example(services, "acme", webhook.webhook_id, "task.*")


class TestManaging:
    def test_without_a_key_none_is_made(self) -> None:
        services = memory_services({"SECRETS_KEY": ""})
        with pytest.raises(Unavailable, match="SECRETS_KEY"):
            made(services)

    def test_there_is_a_limit(self, services: MemoryServices, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(webhooks, "MOST", 1)
        made(services)
        with pytest.raises(Conflict, match="1 webhooks at most"):
            made(services)

    def test_a_rotation_signs_with_both(self, services: MemoryServices) -> None:
        webhook, old = made(services)
        new = webhooks.rotate(services, "acme", webhook.webhook_id).secret
        cancelled(services)
        send(services)
        ((_, body, headers),) = services.sender.sent
        assert len(headers["webhook-signature"].split()) == 2
        for secret in (old, new):
            Verifier(secret).verify(body, headers)

    def test_a_rotation_says_how_long_the_one_before_signs(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        before = utc_now()
        rotation = webhooks.rotate(services, "acme", webhook.webhook_id, timedelta(hours=2))
        assert rotation.previous_until is not None
        assert before <= rotation.previous_until - timedelta(hours=2) <= utc_now()
        assert rotation.secret not in repr(rotation)
        at_once = webhooks.rotate(services, "acme", webhook.webhook_id, timedelta(0))
        assert at_once.previous_until is None and at_once.secret != rotation.secret

    def test_a_change_of_nothing_changes_nothing(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        assert webhooks.change(services, "acme", webhook.webhook_id, Wish()) == webhook
        with pytest.raises(NotFound):
            webhooks.change(services, "beta", webhook.webhook_id, Wish())

    def test_none_is_enabled_with_its_past(self, services: MemoryServices) -> None:
        """It would be disabled again by the next failure."""
        webhook, _ = made(services)
        webhooks.disable(services, "acme", webhook.webhook_id, "failing", utc_now())
        services.receivers.save("acme", None, Receiver(key=webhook.webhook_id, failing_since=utc_now()))
        services.receivers.save = _out_of_reach  # type: ignore[method-assign,assignment]
        with pytest.raises(StorageUnavailable):
            webhooks.change(services, "acme", webhook.webhook_id, Wish(enabled=True))
        assert webhooks.find(services, "acme", webhook.webhook_id).disabled_reason == "failing"

    def test_pages_are_in_the_order_of_making(self, services: MemoryServices) -> None:
        names = [made(services)[0].webhook_id for _ in range(5)]
        first = webhooks.page(services, "acme", limit=2)
        webhooks.remove(services, "acme", names[1])  # where the next page begins
        second = webhooks.page(services, "acme", limit=2, cursor=first.next_cursor)
        third = webhooks.page(services, "acme", limit=2, cursor=second.next_cursor)
        assert [one.webhook_id for page in (first, second, third) for one in page.items] == names
        assert third.next_cursor is None
        assert webhooks.page(services, "acme", limit=4).next_cursor is None
        assert webhooks.page(services, "beta").items == []

    @pytest.mark.parametrize("cursor", ["nonsense", "=", "\u20ac", "RXx3aC0xfA", "e" * 400])
    def test_a_cursor_of_somebody_elses_making_is_refused(
        self, services: MemoryServices, cursor: str
    ) -> None:
        with pytest.raises(InvalidPayload, match="cursor"):
            webhooks.page(services, "acme", cursor=cursor)

    def test_a_change_leaves_the_rest_as_it_is(self, services: MemoryServices) -> None:
        webhook, _ = made(services, "task.failed", description="a")
        after = webhooks.change(services, "acme", webhook.webhook_id, Wish(description="b"))
        assert (after.url, after.event_types, after.description) == (URL, ("task.failed",), "b")

    def test_the_log_of_a_month_ago_goes(self, services: MemoryServices) -> None:
        webhook, _ = made(services)
        cancelled(services)
        now = utc_now()
        maintenance.expire_deliveries(services, "acme", now + KEPT - timedelta(minutes=1), float("inf"))
        assert len(log_of(services, webhook)) == 1
        maintenance.expire_deliveries(services, "acme", now + KEPT + timedelta(minutes=1), float("inf"))
        assert log_of(services, webhook) == []
