"""`docmill webhooks` against the real service: what it makes is told of real tasks, and listen hears them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.app import app as docmill
from cli.inbox import Inbox, Post, doubt
from local.app import App
from tests.listening import listening

Run = Callable[..., Result]
SECONDS = 90


@pytest.fixture
def run(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `docmill` with the service's own settings in the environment."""
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(docmill, list(words), env=app.environment)

    return invoke


@pytest.fixture
def submit(run: Run, tmp_path: Path) -> Callable[[str], str]:
    """Has a document ingested, waits for it, and gives the task's id."""

    def invoke(name: str) -> str:
        (tmp_path / name).write_text(f"# {name}\n\nThe miller of {tmp_path.name} keeps geese.\n")
        ran = run("submit", name, "--wait", "--json")
        assert ran.exit_code == 0, ran.output
        task_id: str = json.loads(ran.stdout)["task_id"]
        return task_id

    return invoke


class Receiver:
    """Answers as it is told to, and keeps what came with how the secrets judge it."""

    def __init__(self) -> None:
        self.answer = 204
        self.posts: list[Post] = []

    def take(self, post: Post) -> int:
        self.posts.append(post)
        return self.answer

    def last(self, count: int) -> Post:
        """The newest, once there were so many."""
        until = time.monotonic() + SECONDS
        while len(self.posts) < count:
            assert time.monotonic() < until, f"{len(self.posts)} of {count} came"
            time.sleep(0.05)
        assert len(self.posts) == count
        return self.posts[-1]


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    receiver = Receiver()
    with Inbox(0, receiver.take) as inbox:
        inbox.start()
        yield receiver, f"{inbox.url}hook"


def test_a_webhook_from_its_making_to_its_end(
    run: Run, submit: Callable[[str], str], receiver: tuple[Receiver, str]
) -> None:
    received, url = receiver
    made = json.loads(run("webhooks", "create", url, "--event", "task.succeeded", "--json").stdout)
    name, secret = made["webhook_id"], made["secret"]
    assert name in run("webhooks", "list").stdout
    assert "enabled" in run("webhooks", "show", name).stdout
    assert secret not in run("webhooks", "show", name, "--json").stdout

    tried = run("webhooks", "test", name)
    assert tried.exit_code == 0, tried.output
    assert tried.stdout.startswith("delivered: 204 after ")
    assert doubt([secret], received.last(1)) is None
    received.answer = 500
    broken = run("webhooks", "test", name, "--event", "task.failed")
    assert (broken.exit_code, broken.stdout.partition(" after ")[0]) == (1, "failed: 500")
    assert "log" in broken.stderr
    received.last(2)
    received.answer = 204

    task_id = submit("told.md")
    told = received.last(3)
    assert data(told)["task_id"] == task_id
    [delivery] = deliveries(run, "--task", task_id)
    assert (delivery["delivery_id"], delivery["status"]) == (told.webhook_id, "delivered")
    listed = run("webhooks", "deliveries", name, "--status", "delivered").stdout
    assert [row for row in listed.splitlines() if told.webhook_id in row and "204" in row]
    assert run("webhooks", "redeliver", told.webhook_id).exit_code == 0
    again = received.last(4)
    assert (again.webhook_id, again.body) == (told.webhook_id, told.body)

    rotated = run("webhooks", "rotate", name).stdout.strip()
    assert run("webhooks", "test", name).exit_code == 0
    assert {doubt([old_or_new], received.last(5)) for old_or_new in (secret, rotated)} == {None}
    last = run("webhooks", "rotate", name, "--overlap-hours", "0").stdout.strip()
    assert run("webhooks", "test", name).exit_code == 0
    verdicts = [doubt([one], received.last(6)) for one in (secret, rotated, last)]
    assert [verdict is None for verdict in verdicts] == [False, False, True]

    assert run("webhooks", "delete", name).exit_code == 0
    for words in (["show", name], ["test", name], ["delete", name], ["redeliver", told.webhook_id]):
        assert run("webhooks", *words).exit_code == 2


def test_what_was_missed_is_recovered(
    run: Run, submit: Callable[[str], str], receiver: tuple[Receiver, str]
) -> None:
    received, url = receiver
    made = run("webhooks", "create", url, "--event", "task.succeeded", "--description", "missing", "--json")
    name = json.loads(made.stdout)["webhook_id"]
    assert "disabled: by_client" in run("webhooks", "update", name, "--disable").stdout
    assert run("webhooks", "test", name).exit_code == 2
    task_id = submit("missed.md")
    until = time.monotonic() + SECONDS
    while not (missed := deliveries(run, name, "--status", "failed")):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert [(delivery["task_id"], delivery["reason"]) for delivery in missed] == [
        (task_id, "webhook_disabled")
    ]
    assert run("webhooks", "recover", name, "--since", "1h").exit_code == 2

    assert f"recover {name}" in run("webhooks", "update", name, "--enable").stderr
    recovered = run("webhooks", "recover", name, "--since", "1h")
    assert (recovered.exit_code, recovered.stdout) == (0, "1 delivery sent once more.\n"), recovered.output
    assert data(received.last(1))["task_id"] == task_id
    assert run("webhooks", "recover", name, "--since", "1h").stdout == "0 deliveries sent once more.\n"
    assert run("webhooks", "delete", name).exit_code == 0


def test_listening_hears_a_task(run: Run, app: App, submit: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "listener").mkdir()
    environ = {key: app.environment[key] for key in ("DOCMILL_URL", "DOCMILL_API_KEY")}
    words = ("--subscribe", "task.*")
    with listening(tmp_path / "listener", *words, environ=environ) as listener:
        [webhook] = [hook for hook in listed(run) if hook["url"] == listener.url]
        assert run("webhooks", "test", webhook["webhook_id"]).exit_code == 0
        assert listener.printed("task-example").endswith("verified, an example")
        task_id = submit("heard.md")
        heard = {}
        for event, status in (("queued", "queued"), ("started", "running"), ("succeeded", "succeeded")):
            line = listener.printed(f"task.{event}  {task_id}")
            assert f"  {status}/" in line and line.endswith("  verified")
            heard[event] = line.split("  ")[4]
        assert len(set(heard.values())) == 3
        assert run("webhooks", "redeliver", heard["succeeded"]).exit_code == 0
        assert heard["succeeded"] in listener.printed("verified, repeated")
        assert listener.stop(signal.SIGTERM) == 0
        assert f"Deleted webhook {webhook['webhook_id']}." in listener.notes
    assert listener.url not in {hook["url"] for hook in listed(run)}


def test_another_clients_webhook_does_not_exist(run: Run, receiver: tuple[Receiver, str]) -> None:
    _, url = receiver
    made = json.loads(run("webhooks", "create", url, "--disabled", "--json").stdout)
    acme = ("--key-env", "DOCMILL_API_KEY_ACME", "webhooks")
    for words in (["show"], ["delete"], ["rotate"], ["test"], ["update", "--enable"], ["deliveries"]):
        ran = run(*acme, words[0], made["webhook_id"], *words[1:])
        assert (ran.exit_code, ran.stdout) == (2, "")
    assert run("webhooks", "delete", made["webhook_id"]).exit_code == 0


def listed(run: Run) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(run("webhooks", "list", "--limit", "200", "--json").stdout)[
        "items"
    ]
    return items


def deliveries(run: Run, *words: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(run("webhooks", "deliveries", *words, "--json").stdout)["items"]
    return items


def data(post: Post) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(post.body)
    found: dict[str, Any] = event["data"]
    return found
