"""What one search asks of others: counted where the libraries log each request, and at the model's server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from local.stack import Stack
from shared.core import Core
from shared.keys import create_key
from shared.tasks import utc_now
from tests.e2e.inside import client_of, core_on
from tests.hosts.http_function import HttpFunction
from tests.model_server import ModelServer, running


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def core(stack: Stack, model: ModelServer) -> Iterator[Core]:
    with core_on(
        stack, MODEL_PROVIDER="openai", OPENAI_BASE_URL=model.url, OPENAI_EMBEDDING_MODEL="minilm"
    ) as core:
        yield core


@pytest.fixture(scope="module")
def http(core: Core) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": create_key(core.keys, client_of(core), utc_now())[0]}
    with httpx.Client(base_url="http://api", headers=headers, transport=HttpFunction(core)) as client:
        yield client


@pytest.fixture
def search(http: httpx.Client) -> Any:
    def ask(mode: str) -> None:
        answer = http.post("/api/search", json={"query": "Who grinds the grain?", "mode": mode})
        assert answer.status_code == 200, answer.text

    ask("hybrid")  # the key is known and every client is made
    return ask


@pytest.mark.parametrize(("mode", "embeddings"), [("text", 0), ("vector", 1), ("hybrid", 1)])
def test_a_search_is_one_call_of_the_index_and_at_most_one_of_the_model(
    search: Any, model: ModelServer, caplog: pytest.LogCaptureFixture, mode: str, embeddings: int
) -> None:
    before = len(model.requests), model.texts
    with caplog.at_level(logging.INFO, "httpx"), caplog.at_level(logging.INFO, "azure"):
        search(mode)
    sent = [record.getMessage() for record in caplog.records]
    index = [line for line in sent if line.startswith("HTTP Request:") and "/rest/v1/" in line]
    assert len(index) == 1 and "/rpc/docmill_search" in index[0]
    assert (len(model.requests) - before[0], model.texts - before[1]) == (embeddings, embeddings)
    assert [line for line in sent if line.startswith("Request URL")] == []


def test_a_key_is_looked_up_once(http: httpx.Client, core: Core, caplog: pytest.LogCaptureFixture) -> None:
    """For half a minute; the counting above would be blind if this were not seen."""
    key = create_key(core.keys, client_of(core), utc_now())[0]
    with caplog.at_level(logging.INFO, "azure"):
        for _ in range(3):
            http.post("/api/search", json={"query": "x", "mode": "text"}, headers={"X-API-Key": key})
    sent = [record.getMessage() for record in caplog.records]
    assert len([line for line in sent if line.startswith("Request URL")]) == 1
