"""No client has all the slots of a process, however many receivers it has that hang."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared import delivery, gate, redelivery, webhooks
from shared.messages import from_wire
from shared.names import DELIVERIES_QUEUE
from shared.ports import Sent
from shared.webhooks import Wish
from tests.services import MemoryServices, RecordingSender, memory_services

ROOT = Path(__file__).parents[2]


class Slow(RecordingSender):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.answer = threading.Event()

    def post(self, url: str, body: bytes, headers: dict[str, str], *, timeout: float) -> Sent:
        self.begun.release()
        self.answer.wait(60)
        return super().post(url, body, headers, timeout=timeout)


def test_a_client_has_no_more_than_its_share() -> None:
    sender = Slow()
    services = memory_services()
    services.sender = sender
    messages = [example(services, "alpha") for _ in range(gate.SHARE + 1)]
    *under_way, one_more = messages
    threads = [threading.Thread(target=delivery.deliver, args=(services, one)) for one in under_way]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert sender.begun.acquire(timeout=60)

    delivery.deliver(services, one_more)
    assert services.queues.depth(DELIVERIES_QUEUE) == 1  # put off
    assert not sender.begun.acquire(blocking=False)
    with gate.share("beta"):
        sender.answer.set()
    for thread in threads:
        thread.join()
    delivery.deliver(services, one_more)
    assert len(sender.sent) == gate.SHARE + 1


def example(services: MemoryServices, client_id: str) -> bytes:
    """The message of an example for a webhook of its own."""
    webhook, _ = webhooks.create(services, client_id, Wish(url="https://example.com/"))
    redelivery.example(services, client_id, webhook.webhook_id)
    (message,) = services.queues.receive(DELIVERIES_QUEUE)
    services.queues.delete(DELIVERIES_QUEUE, message)
    return from_wire(message.text)


def test_a_share_is_given_back() -> None:
    for _ in range(2):
        with ExitStack() as taken:
            for _ in range(gate.SHARE):
                taken.enter_context(gate.share("alpha"))
            with pytest.raises(gate.Busy), gate.share("alpha"):
                raise AssertionError("one too many")


def test_the_host_goes_on_fetching_when_a_client_has_its_share() -> None:
    queues = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    assert queues["newBatchThreshold"] >= gate.SHARE
