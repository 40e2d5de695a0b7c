"""What a webhook is told, and how its receiver fares: values alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import InvalidPayload
from shared.subscriptions import (
    EVENT_TYPES,
    SKEW,
    Keyring,
    Receiver,
    Subscription,
    check_types,
    matches,
    origin_key,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def subscription(*types: str) -> Subscription:
    return Subscription(
        webhook_id="wh-1",
        client_id="acme",
        url="https://example.com/",
        event_types=types,
        created_at=NOW,
        updated_at=NOW,
        keyring=Keyring(ciphertext="a"),
    )


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("task.failed", {"task.failed"}),
        ("task.*", set(EVENT_TYPES)),
        ("*", set(EVENT_TYPES)),
        ("task", set()),
        ("task.fail*", set()),
        ("task.failed.*", set()),
        ("TASK.*", set()),
    ],
)
def test_patterns(pattern: str, matched: set[str]) -> None:
    assert {name for name in EVENT_TYPES if matches(pattern, name)} == matched


@pytest.mark.parametrize(
    "pattern", ["task", "task.fail*", "**", "task.**", "", "a b", "document.*", "x" * 99]
)
def test_a_type_that_never_comes_is_refused_with_those_that_do(pattern: str) -> None:
    with pytest.raises(InvalidPayload, match=r"task\.succeeded"):
        check_types((pattern,))


def test_types_are_kept_once() -> None:
    assert check_types(("task.*", "task.failed", "task.*")) == ("task.*", "task.failed")


def test_nothing_of_before_it_was_made_is_told() -> None:
    webhook = subscription("task.*")
    assert webhook.wants("task.queued", NOW - SKEW)
    assert not webhook.wants("task.queued", NOW - SKEW - timedelta(microseconds=1))
    assert not subscription("task.failed").wants("task.queued", NOW)


def test_the_first_reason_to_disable_stays() -> None:
    webhook = subscription("*").disabled("gone", NOW).disabled("failing", NOW + HOUR)
    assert (webhook.enabled, webhook.disabled_reason, webhook.disabled_at) == (False, "gone", NOW)


def test_secrets_sign_for_a_day_after_they_were_replaced() -> None:
    keyring = Keyring(ciphertext="a").rotated("b", NOW).rotated("c", NOW + HOUR)
    assert keyring.signing(NOW + 2 * HOUR) == ("c", "b", "a")
    assert keyring.signing(NOW + 24 * HOUR) == ("c", "b")
    assert keyring.signing(NOW + 25 * HOUR) == ("c",)
    assert keyring.rotated("d", NOW + 30 * HOUR).signing(NOW + 30 * HOUR) == ("d", "c")


def test_however_often_somebody_rotates_the_header_stays_short() -> None:
    keyring = Keyring(ciphertext="0")
    for number in range(1, 9):
        keyring = keyring.rotated(str(number), NOW)
    assert keyring.signing(NOW) == ("8", "7", "6", "5", "4")


def test_a_secret_that_got_out_is_replaced_at_once() -> None:
    keyring = Keyring(ciphertext="a").rotated("b", NOW).rotated("c", NOW, timedelta(0))
    assert keyring.signing(NOW) == ("c",)


def test_cooling_doubles_up_to_ten_minutes_and_one_success_ends_it() -> None:
    receiver, waits = Receiver(key="wh-1"), []
    for _ in range(7):
        receiver = receiver.timed_out(NOW, 30)
        assert receiver.cooling_until is not None
        waits.append((receiver.cooling_until - NOW).total_seconds())
    assert waits == [30, 60, 120, 240, 480, 600, 600]
    assert receiver.cooling(NOW) and not receiver.cooling(NOW + timedelta(minutes=10))
    assert receiver.succeeded() == Receiver(key="wh-1")


def test_a_wish_to_be_left_alone_has_a_limit() -> None:
    receiver = Receiver(key="wh-1").throttled(NOW, 1e12)
    assert receiver.cooling_until == NOW + HOUR


def test_who_holds_a_receiver_is_not_forgotten_by_a_success() -> None:
    held = Receiver(key="wh-1").taken("me", NOW, 30).failed(NOW)
    assert held.held(NOW) and not held.held(NOW + timedelta(seconds=30))
    assert held.succeeded().holder == "me"
    assert held.succeeded().released() == Receiver(key="wh-1")


def test_failing_is_counted_from_the_first_failure() -> None:
    receiver = Receiver(key="wh-1").failed(NOW).failed(NOW + HOUR)
    assert receiver.failing_percent(NOW + HOUR, 7200) == 50
    assert Receiver(key="wh-1").failing_percent(NOW, 7200) == 0


def test_tasks_own_urls_of_one_origin_have_one_receiver() -> None:
    key = origin_key("https://example.com/a?token=1")
    assert key == origin_key("https://EXAMPLE.com./b")
    assert key != origin_key("https://example.com:8443/a")
    assert key != origin_key("http://example.com/a")
    assert "example" not in key
