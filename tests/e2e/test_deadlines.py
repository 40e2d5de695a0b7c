"""TASK_TIMEOUT_SECONDS holds wherever an attempt hangs: model, database, blob store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from local.stack import Stack
from shared.core import Core
from shared.tasks import Task, TaskStatus
from tests.e2e.inside import attempted, code_of, core_on, given, now_of, stored
from tests.model_server import ModelServer, Reply, running
from tests.proxy import Proxy, proxy

SECONDS = 3
SLACK = 4
"""For the first import of an SDK on a busy machine, and for the row's last write."""


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with running() as server:
        server.quick = True  # loading a real model may take longer than an attempt has
        yield server


def in_time(core: Core, task: Task) -> Task:
    started = time.monotonic()
    done = attempted(core, task)
    assert time.monotonic() - started < SECONDS + SLACK
    return done


def openai(model: ModelServer) -> dict[str, str]:
    return {"MODEL_PROVIDER": "openai", "OPENAI_BASE_URL": model.url, "OPENAI_EMBEDDING_DIMENSIONS": "384"}


@pytest.mark.parametrize("reply", [Reply(hang=True), Reply(drip=True)], ids=["hangs", "drips"])
@pytest.mark.parametrize("task_type", ["ingestion", "summarization"])
def test_a_model_that_does_not_answer(stack: Stack, model: ModelServer, task_type: str, reply: Reply) -> None:
    with core_on(stack, TASK_TIMEOUT_SECONDS=str(SECONDS), **openai(model)) as core:
        task = given(core, stored(core, f"A text for a model that {reply}."), task_type)
        model.always = reply
        done = in_time(core, task)
        assert (done.status, code_of(done)) == (TaskStatus.RETRYING, "timeout")
        assert done.error is not None and done.error.stage in {"embed", "summarize"}
        model.always = None
        assert attempted(core, task).status is TaskStatus.SUCCEEDED


def test_a_model_that_does_not_answer_the_last_attempt(stack: Stack, model: ModelServer) -> None:
    with core_on(stack, TASK_TIMEOUT_SECONDS="1", TASK_MAX_ATTEMPTS="1", **openai(model)) as core:
        model.always = Reply(hang=True)
        done = attempted(core, given(core, stored(core, "Once only.")))
        assert (done.status, code_of(done), done.dead_lettered) == (TaskStatus.FAILED, "timeout", True)


@pytest.fixture
def index(stack: Stack) -> Iterator[Proxy]:
    port = urlsplit(stack.supabase.url).port
    assert port
    with proxy(port) as made:
        yield made


def test_a_database_that_does_not_answer(stack: Stack, index: Proxy) -> None:
    limit = {"TASK_TIMEOUT_SECONDS": str(SECONDS), "SUPABASE_URL": index.url}
    with core_on(stack, **limit) as core:
        task = given(core, stored(core, "A text for a database that hangs."))
        index.stall()
        done = in_time(core, task)
        assert (done.status, code_of(done)) == (TaskStatus.RETRYING, "timeout")
        index.flow()
        assert attempted(core, task).status is TaskStatus.SUCCEEDED


def test_a_blob_store_that_does_not_answer(stack: Stack) -> None:
    blob = stack.ports["DOCMILL_BLOB_PORT"]
    with proxy(blob) as hanging:
        connection = stack.azurite.connection_string.replace(f":{blob}/", f":{hanging.port}/")
        limit = {"TASK_TIMEOUT_SECONDS": str(SECONDS), "AZURE_STORAGE_CONNECTION_STRING": connection}
        with core_on(stack, **limit) as core:
            task = given(core, stored(core, "A text for a blob store that hangs."))
            hanging.stall()
            done = in_time(core, task)
            assert (done.status, code_of(done)) == (TaskStatus.RETRYING, "timeout")
            hanging.flow()
            assert attempted(core, task).status is TaskStatus.SUCCEEDED
            assert now_of(core, task).attempt == 2
