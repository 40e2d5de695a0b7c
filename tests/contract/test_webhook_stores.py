"""What the stores of webhooks must hold, run over the ones in memory and over Azurite."""

from __future__ import annotations

import base64
import itertools
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from shared.core import Core
from shared.deliveries import ATTEMPTS_KEPT, Delivery, DeliveryAttempt
from shared.errors import InvalidPayload
from shared.ports import (
    DeliveryStore,
    Page,
    ReceiverStore,
    RowChanged,
    RowExists,
    SecretStore,
    Stored,
    SubscriptionStore,
)
from shared.settings import read_settings
from shared.storage.memory_webhooks import (
    MemoryDeliveryStore,
    MemoryReceiverStore,
    MemorySecretStore,
    MemorySubscriptionStore,
)
from shared.storage.rows import listing_key, write_cursor
from shared.subscriptions import Keyring, Receiver, RetiredSecret, Subscription
from tests.storage_proxy import StorageProxy, storage_proxy

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
clients = (f"client-{secrets.token_hex(3)}-{number}" for number in itertools.count())
HOSTILE = [
    "", "~", "|", "wh-1|", "wh-", "wh-1|~", "a/b", "a\\b", "a#b", "a?b", "a%2fb", "a'b", "''", 'a"b', " ",
    "wh-1' or RowKey gt '", "\x00", "\n", "\x7f", "\x9f", "\u00e9", "\u20ac", "\U0001f389", "\ud800",
    "w" * 5000,
]  # fmt: skip


@dataclass
class Stores:
    secrets: SecretStore
    subscriptions: SubscriptionStore
    receivers: ReceiverStore
    deliveries: DeliveryStore


def in_memory() -> Stores:
    receivers = MemoryReceiverStore()
    return Stores(MemorySecretStore(), MemorySubscriptionStore(receivers), receivers, MemoryDeliveryStore())


@contextmanager
def opened(connection: str) -> Iterator[Core]:
    core = Core(read_settings({"AZURE_STORAGE_CONNECTION_STRING": connection}))
    core.prepare()
    yield core
    core.close()


def of(core: Core) -> Stores:
    return Stores(core.secrets, core.subscriptions, core.receivers, core.deliveries)


@pytest.fixture(scope="module", params=["memory", "azurite"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    if request.param == "memory":
        yield in_memory()
        return
    with opened(request.getfixturevalue("azurite")) as core:
        yield of(core)


@pytest.fixture
def client() -> str:
    return next(clients)


def keyring(name: str = "one") -> Keyring:
    return Keyring(ciphertext=name, retired=(RetiredSecret(ciphertext=f"before {name}", until=NOW),))


def webhook(client: str, number: int = 1, **more: Any) -> Subscription:
    values = {
        "webhook_id": f"wh-{number}",
        "client_id": client,
        "url": "https://example.com/höök?a='b'",
        "created_at": NOW + number * SECOND,
        "updated_at": NOW,
        "keyring": keyring(),
    }
    return Subscription.model_validate({**values, **more})


def delivery(client: str, number: int = 1, **more: Any) -> Delivery:
    values = {
        "delivery_id": f"msg_{number}",
        "client_id": client,
        "webhook_id": "wh-1",
        "receiver": "wh-1",
        "task_id": "task-1",
        "type": "task.succeeded",
        "sequence": number,
        "url": "https://example.com",
        "body": f'{{"ä": {number}}}',
        "created_at": NOW + number * SECOND,
        "next_attempt_at": NOW,
    }
    return Delivery.model_validate({**values, **more})


def failed(one: Delivery) -> Delivery:
    return one.given_up("out_of_attempts", NOW + timedelta(hours=1))


def shown(one: Delivery) -> Delivery:
    """As a list shows it."""
    return one.model_copy(update={"body": ""})


def names(page: Page[Delivery]) -> list[str]:
    return [one.delivery_id for one in page.items]


def all_pages(ask: Callable[..., Page[Delivery]], limit: int) -> list[list[str]]:
    found, cursor = [], None
    while True:
        page = ask(limit=limit, cursor=cursor)
        found.append(names(page))
        cursor = page.next_cursor
        if cursor is None:
            return found


class TestSecrets:
    def test_the_first_keyring_stays(self, stores: Stores, client: str) -> None:
        assert stores.secrets.get(client) is None
        first = stores.secrets.add(client, keyring())
        assert first.value == keyring()
        assert stores.secrets.add(client, keyring("two")) == first
        assert stores.secrets.get(client) == first
        assert stores.secrets.get(next(clients)) is None

    def test_a_write_over_somebody_elses_is_refused(self, stores: Stores, client: str) -> None:
        first = stores.secrets.add(client, keyring())
        second = stores.secrets.save(client, first, keyring("two"))
        assert stores.secrets.save(client, first, keyring("two")) == second  # our own, whose answer was lost
        with pytest.raises(RowChanged):
            stores.secrets.save(client, first, keyring("three"))
        assert stores.secrets.get(client) == second
        assert stores.secrets.save(client, second, keyring("three")).value == keyring("three")

    def test_a_keyring_of_many_secrets_fits(self, stores: Stores, client: str) -> None:
        retired = tuple(RetiredSecret(ciphertext="x" * 200, until=NOW) for _ in range(300))
        many = Keyring(ciphertext="y", retired=retired)
        stores.secrets.add(client, many)
        found = stores.secrets.get(client)
        assert found is not None and found.value == many


class TestSubscriptions:
    def test_a_webhook_is_found_as_it_was_made(self, stores: Stores, client: str) -> None:
        one = webhook(client, description="x" * 40_000)
        added = stores.subscriptions.add(one)
        assert added.value == one
        assert stores.subscriptions.get(client, "wh-1") == added
        assert stores.subscriptions.get("other-client", "wh-1") is None
        assert stores.subscriptions.get(client, "wh-2") is None

    def test_an_id_is_used_once(self, stores: Stores, client: str) -> None:
        added = stores.subscriptions.add(webhook(client))
        assert stores.subscriptions.add(webhook(client)) == added  # our own, whose answer was lost
        with pytest.raises(RowExists):
            stores.subscriptions.add(webhook(client, description="another"))

    def test_they_are_listed_as_they_were_made(self, stores: Stores, client: str) -> None:
        made = [webhook(client, number) for number in (3, 1, 2)]
        made += [webhook(client, number, created_at=NOW) for number in (5, 4)]
        for one in made:
            stores.subscriptions.add(one)
            stores.receivers.save(client, None, Receiver(key=one.webhook_id))
        stores.secrets.add(client, keyring())
        found = stores.subscriptions.of_client(client)
        assert [one.webhook_id for one in found] == ["wh-4", "wh-5", "wh-1", "wh-2", "wh-3"]
        assert found[2] == made[1]
        assert stores.subscriptions.of_client("other-client") == []

    def test_a_write_over_somebody_elses_is_refused(self, stores: Stores, client: str) -> None:
        first = stores.subscriptions.add(webhook(client))
        changed = first.value.model_copy(update={"description": "new"})
        second = stores.subscriptions.save(first, changed)
        assert stores.subscriptions.save(first, changed) == second
        with pytest.raises(RowChanged):
            stores.subscriptions.save(first, first.value.disabled("gone", NOW))
        assert stores.subscriptions.get(client, "wh-1") == second

    def test_a_webhook_that_is_removed_takes_its_receiver_along(self, stores: Stores, client: str) -> None:
        first, _ = (stores.subscriptions.add(webhook(client, number)) for number in (1, 2))
        for key in ("wh-1", "wh-2", "url-1"):
            stores.receivers.save(client, None, Receiver(key=key))
        assert not stores.subscriptions.remove("other-client", "wh-1")
        assert stores.subscriptions.remove(client, "wh-1")
        assert not stores.subscriptions.remove(client, "wh-1")
        assert [one.webhook_id for one in stores.subscriptions.of_client(client)] == ["wh-2"]
        assert stores.receivers.of_client(client) == [Receiver(key="wh-2")]
        assert stores.receivers.get(client, "url-1") is not None
        with pytest.raises(RowChanged):
            stores.subscriptions.save(first, first.value.disabled("gone", NOW))
        assert stores.subscriptions.get(client, "wh-1") is None

    def test_one_that_was_never_sent_to_is_removed(self, stores: Stores, client: str) -> None:
        stores.subscriptions.add(webhook(client))
        assert stores.subscriptions.remove(client, "wh-1")


class TestReceivers:
    def test_the_first_to_write_wins(self, stores: Stores, client: str) -> None:
        assert stores.receivers.get(client, "wh-1") is None
        mine, yours = (Receiver(key="wh-1").taken(holder, NOW, 30) for holder in ("me", "you"))
        held = stores.receivers.save(client, None, mine)
        assert stores.receivers.save(client, None, mine) == held  # our own, whose answer was lost
        with pytest.raises(RowChanged):
            stores.receivers.save(client, None, yours)
        assert stores.receivers.get(client, "wh-1") == held
        free = stores.receivers.save(client, held, mine.released())
        with pytest.raises(RowChanged):
            stores.receivers.save(client, held, yours)
        assert stores.receivers.get(client, "wh-1") == free
        assert stores.receivers.get("other-client", "wh-1") is None

    def test_one_that_was_removed_cannot_be_saved(self, stores: Stores, client: str) -> None:
        stores.subscriptions.add(webhook(client))
        held = stores.receivers.save(client, None, Receiver(key="wh-1"))
        stores.subscriptions.remove(client, "wh-1")
        with pytest.raises(RowChanged):
            stores.receivers.save(client, held, held.value.failed(NOW))
        assert stores.receivers.get(client, "wh-1") is None

    def test_those_of_webhooks_are_listed(self, stores: Stores, client: str) -> None:
        for key in ("wh-b", "url-1", "wh-a", "wi-1"):
            stores.receivers.save(client, None, Receiver(key=key, timeouts=1))
        assert stores.receivers.of_client(client) == [
            Receiver(key="wh-a", timeouts=1),
            Receiver(key="wh-b", timeouts=1),
        ]
        assert stores.receivers.of_client("other-client") == []

    def test_of_many_who_take_it_one_has_it(self, stores: Stores, client: str) -> None:
        def take(number: int) -> bool:
            try:
                stores.receivers.save(client, None, Receiver(key="wh-1").taken(str(number), NOW, 30))
            except RowChanged:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(8))) == 1


class TestDeliveries:
    def test_a_delivery_is_found_as_it_was_made(self, stores: Stores, client: str) -> None:
        one = delivery(client)
        added = stores.deliveries.add(one)
        assert added.value == one
        assert stores.deliveries.get(client, "msg_1") == added
        assert stores.deliveries.get("other-client", "msg_1") is None
        assert stores.deliveries.get(client, "msg_2") is None

    def test_the_first_of_an_id_stays(self, stores: Stores, client: str) -> None:
        added = stores.deliveries.add(delivery(client))
        assert stores.deliveries.add(delivery(client)) == added
        other = failed(delivery(client, body="another", created_at=NOW))
        assert stores.deliveries.add(other) == added
        assert stores.deliveries.failed_since(client, "wh-1", NOW, 9) == []
        saved = stores.deliveries.save(added, failed(added.value))
        assert stores.deliveries.add(delivery(client)) == saved
        assert names(stores.deliveries.of_webhook(client, "wh-1")) == ["msg_1"]

    def test_of_many_who_add_one_all_are_told_of_the_same(self, stores: Stores, client: str) -> None:
        made = [delivery(client, body=str(number)) for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            stored = list(pool.map(stores.deliveries.add, made))
        assert [one == stored[0] for one in stored] == [True] * 8

    def test_a_write_over_somebody_elses_is_refused(self, stores: Stores, client: str) -> None:
        first = stores.deliveries.add(delivery(client))
        second = stores.deliveries.save(first, failed(first.value))
        assert second.value == failed(first.value)
        assert stores.deliveries.save(first, failed(first.value)) == second  # our own, its answer was lost
        with pytest.raises(RowChanged):
            stores.deliveries.save(first, first.value.again(NOW))
        assert stores.deliveries.get(client, "msg_1") == second
        assert stores.deliveries.of_webhook(client, "wh-1").items == [shown(second.value)]
        assert stores.deliveries.of_task(client, "task-1").items == [shown(second.value)]

    def test_one_that_is_not_there_cannot_be_saved(self, stores: Stores, client: str) -> None:
        one = delivery(client)
        with pytest.raises(RowChanged):
            stores.deliveries.save(Stored(one, 'W/"x"'), failed(one))
        assert stores.deliveries.of_webhook(client, "wh-1").items == []

    def test_lists_are_newest_first_and_hold_no_body(self, stores: Stores, client: str) -> None:
        made = [delivery(client, number) for number in range(5)]
        made += [
            delivery(client, 5, webhook_id=None, receiver="url-1"),
            delivery(client, 6, task_id=None),
            delivery(client, 7, webhook_id="wh-10", task_id="task-10"),
        ]
        for one in made:
            stores.deliveries.add(one)
        of_webhook = [shown(one) for one in (made[6], *made[4::-1])]
        assert stores.deliveries.of_webhook(client, "wh-1").items == of_webhook
        assert stores.deliveries.of_task(client, "task-1").items == [shown(one) for one in made[5::-1]]
        assert names(stores.deliveries.of_webhook(client, "wh-10")) == ["msg_7"]
        assert stores.deliveries.of_webhook("other-client", "wh-1").items == []
        assert stores.deliveries.of_task("other-client", "task-1").items == []

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
    def test_pages_show_each_once(self, stores: Stores, client: str, limit: int) -> None:
        """Also those that were made in the same moment."""
        for number in range(6):
            stores.deliveries.add(delivery(client, number, created_at=NOW + number // 3 * SECOND))
        everything = [f"msg_{number}" for number in (3, 4, 5, 0, 1, 2)]
        pages = [everything[start : start + limit] for start in range(0, 6, limit)]
        assert all_pages(partial(stores.deliveries.of_webhook, client, "wh-1"), limit) == pages
        assert all_pages(partial(stores.deliveries.of_task, client, "task-1"), limit) == pages

    def test_a_status_is_looked_for_over_pages(self, stores: Stores, client: str) -> None:
        for number in range(9):
            one = delivery(client, number)
            stores.deliveries.add(failed(one) if number % 2 else one)
        of_status = partial(stores.deliveries.of_webhook, client, "wh-1")
        assert all_pages(partial(of_status, status="failed"), 2) == [["msg_7", "msg_5"], ["msg_3", "msg_1"]]
        assert all_pages(partial(of_status, status="pending"), 3) == [
            ["msg_8", "msg_6", "msg_4"],
            ["msg_2", "msg_0"],
        ]
        assert all_pages(partial(of_status, status="delivered"), 3) == [[]]
        of_task = partial(stores.deliveries.of_task, client, "task-1", status="failed")
        assert all_pages(of_task, 3) == [["msg_7", "msg_5", "msg_3"], ["msg_1"]]

    def test_what_changes_between_pages_is_shown_as_it_is(self, stores: Stores, client: str) -> None:
        added = [stores.deliveries.add(delivery(client, number)) for number in range(4)]
        first = stores.deliveries.of_webhook(client, "wh-1", limit=2)
        for one in (added[3], added[1]):
            stores.deliveries.save(one, failed(one.value))
        stores.deliveries.add(delivery(client, 9))
        second = stores.deliveries.of_webhook(client, "wh-1", limit=2, cursor=first.next_cursor)
        assert [(one.delivery_id, one.status) for one in second.items] == [
            ("msg_1", "failed"),
            ("msg_0", "pending"),
        ]

    def test_a_cursor_leads_on_in_its_own_list_alone(self, stores: Stores, client: str) -> None:
        for number in range(3):
            stores.deliveries.add(delivery(client, number))
        ours = stores.deliveries.of_webhook(client, "wh-1", limit=1).next_cursor
        tasks = stores.deliveries.of_task(client, "task-1", limit=1).next_cursor
        for foreign in (tasks, "nonsense", "VHxh", "\u20ac", "=", "e" * 9000):
            with pytest.raises(InvalidPayload):
                stores.deliveries.of_webhook(client, "wh-1", cursor=foreign)
        for owner in ("wh-2", "wh-", "wh-1|"):
            with pytest.raises(InvalidPayload):
                stores.deliveries.of_webhook(client, owner, cursor=ours)
        with pytest.raises(InvalidPayload):
            stores.deliveries.of_task(client, "task-1", cursor=ours)
        with pytest.raises(InvalidPayload):
            stores.deliveries.of_task(client, "task-2", cursor=tasks)

    @pytest.mark.parametrize(
        "end", ["", "~", "\x00", "1", "a" * 18 + "|b", "0" * 18 + "|\n", "0" * 18 + "|'"]
    )
    def test_a_cursor_of_somebody_elses_making_is_refused(
        self, stores: Stores, client: str, end: str
    ) -> None:
        forged = base64.urlsafe_b64encode(f"E|wh-1|{end}".encode()).decode().rstrip("=")
        with pytest.raises(InvalidPayload):
            stores.deliveries.of_webhook(client, "wh-1", cursor=forged)

    def test_a_cursor_outlives_what_it_points_at(self, stores: Stores, client: str) -> None:
        stores.deliveries.add(delivery(client, 1))
        gone = write_cursor(listing_key("E|wh-1|", NOW + 2 * SECOND, "msg_2"))
        assert names(stores.deliveries.of_webhook(client, "wh-1", cursor=gone)) == ["msg_1"]

    def test_the_largest_record_fits(self, stores: Stores, client: str) -> None:
        """JSON takes six characters for one that cannot be seen, UTF-16 two units for one that smiles."""
        one = delivery(client, body="\U0001f389\u00e4'" * 20_000)
        for number in range(ATTEMPTS_KEPT + 1):
            response = ("\x01" if number % 2 else "\U0001f389") * 1024
            attempt = DeliveryAttempt(
                attempt=number,
                at=NOW,
                status_code=500,
                failure="http_status",
                duration_ms=1,
                response=response,
            )
            one = one.after(attempt, NOW, None)
        added = stores.deliveries.add(one)
        assert stores.deliveries.get(client, "msg_1") == added
        small = one.model_copy(update={"attempts": (), "body": ""})
        stores.deliveries.save(added, small)
        found = stores.deliveries.get(client, "msg_1")
        assert found is not None and found.value == small

    def test_what_failed_is_found_the_oldest_first(self, stores: Stores, client: str) -> None:
        for number in (4, 1, 3, 2):
            stores.deliveries.add(failed(delivery(client, number)))
        stores.deliveries.add(failed(delivery(client, 5, webhook_id="wh-10")))
        stores.deliveries.add(failed(delivery(client, 6, webhook_id=None)))
        stores.deliveries.add(delivery(client, 7))
        since = partial(stores.deliveries.failed_since, client, "wh-1")
        assert since(NOW, 9) == ["msg_1", "msg_2", "msg_3", "msg_4"]
        assert since(NOW, 3) == ["msg_1", "msg_2", "msg_3"]
        assert since(NOW + 2 * SECOND, 9) == ["msg_2", "msg_3", "msg_4"]
        assert since(NOW + 2 * SECOND + timedelta(microseconds=1), 1) == ["msg_3"]
        assert since(NOW + 9 * SECOND, 9) == []
        assert stores.deliveries.failed_since("other-client", "wh-1", NOW, 9) == []

    def test_what_is_sent_again_has_not_failed(self, stores: Stores, client: str) -> None:
        since = partial(stores.deliveries.failed_since, client, "wh-1", NOW, 9)
        stored = stores.deliveries.add(delivery(client))
        for _ in range(2):
            stored = stores.deliveries.save(stored, failed(stored.value))
            assert since() == ["msg_1"]
            stored = stores.deliveries.save(stored, stored.value.model_copy(update={"made": 1}))
            assert since() == ["msg_1"]
            stored = stores.deliveries.save(stored, stored.value.again(NOW))
            assert since() == []

    def test_what_should_have_been_sent_is_found_the_earliest_first(
        self, stores: Stores, client: str
    ) -> None:
        def due(number: int) -> Delivery:
            return delivery(client, number, next_attempt_at=NOW + number * SECOND)

        stored = {number: stores.deliveries.add(due(number)) for number in (3, 1, 4, 2)}
        stores.deliveries.add(failed(due(0)))
        overdue = partial(stores.deliveries.overdue, client)
        assert overdue(NOW + 4 * SECOND) == ["msg_1", "msg_2", "msg_3"]
        assert overdue(NOW + 4 * SECOND, limit=2) == ["msg_1", "msg_2"]
        assert overdue(NOW + SECOND) == stores.deliveries.overdue("other-client", NOW + 9 * SECOND) == []
        stores.deliveries.save(stored[1], failed(stored[1].value))
        later = stored[2].value.model_copy(update={"next_attempt_at": NOW + 8 * SECOND})
        moved = stores.deliveries.save(stored[2], later)
        assert overdue(NOW + 9 * SECOND) == ["msg_3", "msg_4", "msg_2"]
        stores.deliveries.save(moved, failed(later))
        stores.deliveries.expire(client, NOW + 4 * SECOND)
        assert overdue(NOW + 9 * SECOND) == ["msg_4"]

    def test_what_is_old_goes_in_portions(self, stores: Stores, client: str) -> None:
        for number in range(5):
            one = delivery(client, number)
            stores.deliveries.add(failed(one) if number % 2 else one)
        stores.deliveries.add(delivery(client, 1, delivery_id="msg_url", webhook_id=None))
        stores.deliveries.add(delivery(client, 1, delivery_id="msg_example", task_id=None))
        expire = partial(stores.deliveries.expire, client)
        assert expire(NOW) == 0
        assert stores.deliveries.expire("other-client", NOW + 9 * SECOND) == 0
        assert expire(NOW + 3 * SECOND, limit=2) == 2
        assert stores.deliveries.get(client, "msg_0") is None
        assert [expire(NOW + 3 * SECOND, limit=2) for _ in range(3)] == [2, 1, 0]
        assert expire(NOW + 3 * SECOND) == 0
        assert names(stores.deliveries.of_webhook(client, "wh-1")) == ["msg_4", "msg_3"]
        assert names(stores.deliveries.of_task(client, "task-1")) == ["msg_4", "msg_3"]
        assert stores.deliveries.failed_since(client, "wh-1", NOW, 9) == ["msg_3"]
        assert expire(NOW + 9 * SECOND) == 2
        assert stores.deliveries.of_task(client, "task-1").items == []
        assert stores.deliveries.failed_since(client, "wh-1", NOW, 9) == []

    def test_what_expired_does_not_come_back_by_a_late_write(self, stores: Stores, client: str) -> None:
        stored = stores.deliveries.add(delivery(client))
        assert stores.deliveries.expire(client, NOW + 9 * SECOND) == 1
        with pytest.raises(RowChanged):
            stores.deliveries.save(stored, failed(stored.value))
        assert stores.deliveries.of_webhook(client, "wh-1").items == []
        assert stores.deliveries.failed_since(client, "wh-1", NOW, 9) == []
        assert stores.deliveries.add(delivery(client)).value == delivery(client)
        assert names(stores.deliveries.of_webhook(client, "wh-1")) == ["msg_1"]

    def test_expiry_and_writes_at_once_leave_nothing_behind(self, stores: Stores, client: str) -> None:
        """Whatever a writer adds in between goes too: nothing is left of which only a part is there."""
        stored = [stores.deliveries.add(delivery(client, number)) for number in range(12)]

        def write(one: Stored[Delivery]) -> None:
            try:
                for _ in range(60):  # more than it lasts, but it must not last for ever
                    one = stores.deliveries.save(one, failed(one.value))
                    one = stores.deliveries.save(one, one.value.again(NOW))
            except RowChanged:
                return  # it is gone

        writers = [threading.Thread(target=write, args=(one,), daemon=True) for one in stored[::4]]
        for writer in writers:
            writer.start()
        removed, later = 0, NOW + 99 * SECOND
        with ThreadPoolExecutor(2) as pool:
            while removed < len(stored):
                removed += sum(pool.map(lambda _: stores.deliveries.expire(client, later), range(2)))
        for writer in writers:
            writer.join(60)
        assert removed == len(stored)
        assert stores.deliveries.of_webhook(client, "wh-1").items == []
        assert stores.deliveries.of_task(client, "task-1").items == []
        assert stores.deliveries.failed_since(client, "wh-1", NOW, 99) == []


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_an_id_of_strange_characters_finds_nothing_and_breaks_nothing(stores: Stores, name: str) -> None:
    client = "hostile-client"
    stores.subscriptions.remove(client, "wh-1")
    stores.subscriptions.add(webhook(client))
    stores.deliveries.add(failed(delivery(client)))
    assert stores.subscriptions.get(client, name) is None
    assert not stores.subscriptions.remove(client, name)
    assert stores.receivers.get(client, name) is None
    assert stores.deliveries.get(client, name) is None
    assert stores.deliveries.of_webhook(client, name) == Page([])
    assert stores.deliveries.of_webhook(client, name, status="failed", limit=1) == Page([])
    assert stores.deliveries.of_task(client, name) == Page([])
    assert stores.deliveries.failed_since(client, name, NOW, 9) == []
    assert stores.subscriptions.of_client(client) == [webhook(client)]


@pytest.fixture(scope="module")
def proxy(azurite: str) -> Iterator[StorageProxy]:
    found = re.search(r"TableEndpoint=http://127\.0\.0\.1:(\d+)/", azurite)
    assert found is not None
    with storage_proxy(int(found[1])) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def behind(azurite: str, proxy: StorageProxy) -> Iterator[Stores]:
    """The stores on the far side of the proxy."""
    endpoint = rf"\g<1>{proxy.port}/"
    with opened(re.sub(r"(TableEndpoint=http://127\.0\.0\.1:)\d+/", endpoint, azurite)) as core:
        yield of(core)


@pytest.fixture
def losing(proxy: StorageProxy) -> Iterator[Callable[[], None]]:
    """Loses the answer to the next write, once."""

    def lose() -> None:
        assert proxy.losses == 0
        proxy.losses = 1

    yield lose
    assert proxy.losses == 0


class TestLostAnswers:
    """A write is done, and its answer is lost: the SDK tries again, and meets its own work."""

    def test_of_keyrings(self, behind: Stores, losing: Callable[[], None], client: str) -> None:
        losing()
        added = behind.secrets.add(client, keyring())
        losing()
        saved = behind.secrets.save(client, added, keyring("two"))
        assert behind.secrets.get(client) == saved

    def test_of_webhooks(self, behind: Stores, losing: Callable[[], None], client: str) -> None:
        losing()
        added = behind.subscriptions.add(webhook(client))
        losing()
        saved = behind.subscriptions.save(added, added.value.disabled("gone", NOW))
        assert behind.subscriptions.get(client, "wh-1") == saved
        losing()
        assert behind.subscriptions.remove(client, "wh-1")

    def test_of_receivers(self, behind: Stores, losing: Callable[[], None], client: str) -> None:
        losing()
        held = behind.receivers.save(client, None, Receiver(key="wh-1").taken("me", NOW, 30))
        losing()
        free = behind.receivers.save(client, held, held.value.released())
        assert behind.receivers.get(client, "wh-1") == free

    def test_of_deliveries(self, behind: Stores, losing: Callable[[], None], client: str) -> None:
        losing()
        added = behind.deliveries.add(delivery(client))
        losing()
        saved = behind.deliveries.save(added, failed(added.value))
        assert behind.deliveries.get(client, "msg_1") == saved
        losing()
        again = behind.deliveries.save(saved, saved.value.again(NOW))
        assert behind.deliveries.failed_since(client, "wh-1", NOW, 9) == []
        losing()
        behind.deliveries.expire(client, NOW + 9 * SECOND)
        assert behind.deliveries.get(client, again.value.delivery_id) is None
        assert behind.deliveries.of_task(client, "task-1").items == []


def test_a_secret_of_the_time_before_keyrings_still_signs(azurite: str, client: str) -> None:
    with opened(azurite) as core:
        entity = {"PartitionKey": client, "RowKey": "S|client", "ciphertext": "old"}
        core._tables["webhooks"].upsert_entity(entity)
        found = core.secrets.add(client, keyring())
        assert found.value == Keyring(ciphertext="old")
        saved = core.secrets.save(client, found, keyring("new"))
        assert core.secrets.get(client) == saved
