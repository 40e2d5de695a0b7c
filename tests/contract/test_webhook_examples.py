"""The programs of docs/webhooks.md, as they stand there, verify what the app sends by the stock libraries."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from local import node, ports
from local.process import Child, base_environment
from shared import delivery, redelivery, runner, signing, webhooks
from shared.deliveries import Delivery
from shared.messages import from_wire
from shared.names import DELIVERIES_QUEUE
from shared.ports import Sent
from shared.providers.outbound import HttpSender
from shared.submission import Submission, submit
from shared.subscriptions import EVENT_TYPES
from shared.tasks import utc_now
from shared.webhooks import Wish
from tests.services import MemoryServices, memory_services, registered

PAGE = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"
LANGUAGES = {"python": "receiver.py", "javascript": "receiver.mjs"}


class Sender(HttpSender):
    """The real one, as the local stack has it, with a copy of what went out."""

    def __init__(self) -> None:
        super().__init__(allow_http=True, allow_private=True)
        self.sent: list[tuple[bytes, dict[str, str]]] = []

    def post(self, url: str, body: bytes, headers: dict[str, str], *, timeout: float) -> Sent:
        self.sent.append((body, headers))
        return super().post(url, body, headers, timeout=timeout)


@dataclass
class Services(MemoryServices):
    sender: Any = field(default_factory=Sender)

    def deliver_all(self) -> None:
        while messages := self.queues.receive(DELIVERIES_QUEUE):
            for message in messages:
                delivery.deliver(self, from_wire(message.text))
                self.queues.delete(DELIVERIES_QUEUE, message)

    def run(self, webhook_url: str | None = None) -> str:
        """The id of a task that was run, and told of."""
        with registered("scripted", "tests.scripted"):
            task = submit(self, "acme", Submission("scripted", {}, webhook_url)).task
            (message,) = self.queues.receive("acme-tasks")
            runner.run(self, "acme", from_wire(message.text), message_id=message.id)
            self.queues.delete("acme-tasks", message)
        self.deliver_all()
        return task.task_id

    def record(self, delivery_id: str) -> Delivery:
        stored = self.deliveries.get("acme", delivery_id)
        assert stored is not None
        return stored.value


@dataclass
class Example:
    """A program of the page. It starts anew with every secret, on the same port."""

    command: list[str]
    directory: Path
    port: int
    child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/docmill"

    @property
    def printed(self) -> list[list[str]]:
        """Type, task and sequence of each event that it believed."""
        lines = (self.directory / "log").read_text().splitlines()
        return [line.split() for line in lines if line.startswith("task.")]

    def start(self, secret: str) -> None:
        self.stop()
        settings = {"PORT": str(self.port), "DOCMILL_WEBHOOK_SECRET": secret}
        self.child = Child.start(
            "The receiver",
            self.command,
            log=self.directory / "log",
            cwd=self.directory,
            env={**base_environment(), **settings},
        )
        self.child.wait_until(self.listens, 60)

    def listens(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def answer(self, body: bytes, headers: dict[str, str]) -> int:
        return httpx.post(self.url, content=body, headers=headers, trust_env=False, timeout=60).status_code


@pytest.fixture(params=LANGUAGES)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Example]:
    language = str(request.param)
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    program = tmp_path / LANGUAGES[language]
    program.write_text(block)
    interpreter = sys.executable
    if language == "javascript":
        assert (node.modules() / "standardwebhooks").is_dir(), "Run make test, or: npm ci in local/"
        (tmp_path / "node_modules").symlink_to(node.modules())
        interpreter = shutil.which("node") or "node"
    found = Example([interpreter, str(program)], tmp_path, ports.choose(ports.ANY)["DOCMILL_PORT"])
    yield found
    found.stop()


@pytest.fixture
def services() -> Services:
    return Services(memory_services().settings)


def hook(services: Services, example: Example, *types: str) -> tuple[str, str]:
    """The id and the secret of a webhook that leads to the example."""
    webhook, secret = webhooks.create(services, "acme", Wish(url=example.url, event_types=types or None))
    return webhook.webhook_id, secret


def of_task(services: Services, task_id: str) -> list[Delivery]:
    """The oldest first."""
    return services.deliveries.of_task("acme", task_id).items[::-1]


def test_it_is_told_of_a_task(services: Services, example: Example) -> None:
    _, secret = hook(services, example, "task.*")
    example.start(secret)
    task_id = services.run()
    made = of_task(services, task_id)
    assert [(one.type, one.status, one.attempts[0].status_code) for one in made] == [
        ("task.queued", "delivered", 204),
        ("task.started", "delivered", 204),
        ("task.succeeded", "delivered", 204),
    ]
    assert example.printed == [[one.type, task_id, str(one.sequence)] for one in made]


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_it_takes_every_type(services: Services, example: Example, event_type: str) -> None:
    webhook_id, secret = hook(services, example)
    example.start(secret)
    made = redelivery.example(services, "acme", webhook_id, event_type)
    services.deliver_all()
    assert services.record(made.delivery_id).status == "delivered"
    assert example.printed[0][:2] == [event_type, "task-example"]


def test_the_url_of_a_task_is_signed_with_the_secret_of_the_client(
    services: Services, example: Example
) -> None:
    example.start(signing.client_secret(services, "acme"))
    [told] = of_task(services, services.run(example.url))
    assert (told.type, told.status) == ("task.succeeded", "delivered")


def test_a_secret_is_rotated_without_a_refusal(services: Services, example: Example) -> None:
    webhook_id, old = hook(services, example)
    example.start(old)

    new = webhooks.rotate(services, "acme", webhook_id).secret
    [told] = of_task(services, services.run())
    assert told.status == "delivered"
    assert len(services.sender.sent[-1][1]["webhook-signature"].split(" ")) == 2

    example.start(new)
    redelivery.redeliver(services, "acme", told.delivery_id)
    services.deliver_all()
    again = services.record(told.delivery_id)
    assert [attempt.status_code for attempt in again.attempts] == [204, 204]
    assert len(services.sender.sent[-1][1]["webhook-signature"].split(" ")) == 2


def test_a_secret_that_was_replaced_at_once_is_refused(services: Services, example: Example) -> None:
    webhook_id, old = hook(services, example)
    example.start(old)
    webhooks.rotate(services, "acme", webhook_id, timedelta(0))
    [told] = of_task(services, services.run())
    assert (told.status, told.attempts[0].status_code) == ("pending", 401)
    assert example.printed == []


def test_a_wrong_secret_refuses_everything(services: Services, example: Example) -> None:
    hook(services, example)
    example.start(signing.client_secret(services, "acme"))
    [told] = of_task(services, services.run())
    assert (told.status, told.attempts[0].failure, told.attempts[0].status_code) == (
        "pending",
        "http_status",
        401,
    )


def test_what_is_not_ours_is_refused(services: Services, example: Example) -> None:
    webhook_id, secret = hook(services, example)
    example.start(secret)
    services.run()
    body, headers = services.sender.sent[-1]
    keyring = webhooks.find(services, "acme", webhook_id).keyring

    def signed(minutes: int) -> dict[str, str]:
        at = utc_now() + timedelta(minutes=minutes)
        return signing.headers(services, keyring, headers["webhook-id"], body.decode(), at)

    forged = {
        "another body": (body.replace(b"succeeded", b"cancelled"), headers),
        "a space more": (body + b" ", headers),
        "no text": (b"\xff\xfe", headers),
        "another id": (body, {**headers, "webhook-id": "msg_0"}),
        "another time": (body, {**headers, "webhook-timestamp": str(int(utc_now().timestamp()) + 9)}),
        "no signature": (body, {**headers, "webhook-signature": ""}),
        "an old time, well signed": (body, signed(-6)),
        "a time to come, well signed": (body, signed(6)),
        "no headers": (body, {}),
    }
    for what, (text, given) in forged.items():
        assert example.answer(text, given) == 401, what
    assert len(example.printed) == 1
    assert example.answer(body, signed(0)) == 204  # it has come through all that
