"""Stores and models that go away while tasks run, and come back: tasks end, and the worker does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local import ports
from local.app import App
from local.stack import Stack
from tests.conftest import data_directory
from tests.e2e.api import FINAL, Api, Json
from tests.model_server import ModelServer, Reply, error, running

SETTINGS = {
    "CLIENT_IDS": "default",
    "TASK_LEASE_SECONDS": "4",
    "TASK_TIMEOUT_SECONDS": "10",
    "MAINTENANCE_SCHEDULE": "*/2 * * * * *",
    "MODEL_PROVIDER": "openai",
    "OPENAI_EMBEDDING_DIMENSIONS": "384",
}


@dataclass(frozen=True)
class World:
    stack: Stack
    app: App
    api: Api
    model: ModelServer


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with data_directory() as data:
        yield data


@pytest.fixture(scope="module")
def world(directory: Path) -> Iterator[World]:
    with running() as model, Stack(directory, ports.ANY) as stack:
        model.quick = True
        app = App(stack, {**SETTINGS, "OPENAI_BASE_URL": model.url})
        app.start()
        api = Api(app)
        try:
            yield World(stack, app, api, model)
        finally:
            api.close()
            app.stop()


@pytest.fixture(autouse=True)
def well_before_and_after(world: World) -> Iterator[None]:
    world.model.always = None
    world.model.replies.clear()
    yield
    world.model.always = None
    assert world.app.running
    done = world.api.ingest(f"after-{time.monotonic()}.txt", f"All is well again at {time.time()}.".encode())
    assert done["status"] == "succeeded"


def submitted(api: Api, count: int, mark: str) -> list[Json]:
    documents = [api.upload(f"{mark}-{n}.txt", f"Text {n} about the {mark}.".encode()) for n in range(count)]
    return [api.submit("ingestion", {"document_id": item["document_id"]}) for item in documents]


def ended(world: World, tasks: list[Json], seconds: float) -> list[Json]:
    """The tasks once all are final; the API may fail meanwhile."""
    until = time.monotonic() + seconds
    found = {task["task_id"]: task for task in tasks}
    while any(task["status"] not in FINAL for task in found.values()):
        assert time.monotonic() < until, found
        assert world.app.running
        time.sleep(0.3)
        for task_id in found:
            answer = world.api.http.get(f"/api/tasks/{task_id}")
            if answer.status_code == 200:
                found[task_id] = answer.json()
    return list(found.values())


def without(stop: Callable[[], None], start: Callable[[], None], seconds: float) -> None:
    stop()
    time.sleep(seconds)
    start()


def test_storage_away_for_fifteen_seconds(world: World) -> None:
    tasks = submitted(world.api, 6, "storage")
    azurite = world.stack.azurite
    without(azurite.stop, lambda: azurite.start(keep_open=world.stack.held), 15)
    assert {task["status"] for task in ended(world, tasks, 60)} == {"succeeded"}


def test_database_away_for_some_seconds(world: World) -> None:
    tasks = submitted(world.api, 6, "database")
    without(world.stack.stop_supabase, world.stack.start_supabase, 4)
    done = ended(world, tasks, 60)
    assert {task["status"] for task in done} == {"succeeded"}


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (error(429, "rate_limit_exceeded", Retry_After="1"), "model_rate_limited"),
        (error(500, Retry_After="1"), "model_unavailable"),
        (Reply(body=b"<html>garbage"), "model_unavailable"),
        (Reply(hang=True), "timeout"),
    ],
    ids=["429", "500", "garbage", "nothing"],
)
def test_a_model_that_is_ill_for_a_while(world: World, reply: Reply, code: str) -> None:
    world.model.always = reply
    (task,) = submitted(world.api, 1, f"model that says {code} and {reply.status} {reply.body!r}")
    until = time.monotonic() + 40
    while task["status"] != "retrying":
        assert time.monotonic() < until, task
        time.sleep(0.2)
        task = world.api.get(f"/api/tasks/{task['task_id']}")
    assert task["error"]["code"] == code
    world.model.always = None
    (done,) = ended(world, [task], 60)
    assert (done["status"], done["error"]) == ("succeeded", None)
