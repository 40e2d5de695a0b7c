"""The demo's webhook receiver believes what is signed, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook

from local.receiver import Receiver

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = json.dumps({"type": "task.succeeded", "data": {"task_id": "task-1"}})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver({"acme": SECRET}, lambda client, task_id: "succeeded") as running:
        yield running


def deliver(url: str, body: str = BODY, signed: str = BODY) -> int:
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg-1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg-1", now, signed),
    }
    return httpx.post(url, content=body, headers=headers, trust_env=False).status_code


def test_a_genuine_webhook_is_noted_with_what_the_api_said(receiver: Receiver) -> None:
    assert deliver(receiver.url("acme")) == 204
    [arrival] = receiver.wait_for({"task-1"}, 5)
    assert arrival.good
    assert (arrival.client, arrival.type, arrival.seen) == ("acme", "task.succeeded", "succeeded")


@pytest.mark.parametrize(("client", "body"), [("acme", BODY + " "), ("default", BODY), ("acme", "[]")])
def test_a_forged_one_is_refused(receiver: Receiver, client: str, body: str) -> None:
    assert deliver(receiver.url(client), body) == 401
    assert not any(arrival.good for arrival in receiver.wait_for(set(), 5))


def test_what_never_comes_is_not_waited_for_for_ever(receiver: Receiver) -> None:
    assert receiver.wait_for({"task-1"}, 0.05) == []
