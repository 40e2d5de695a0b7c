"""What docs/deployment.md says of costs: the arithmetic, and the counts that it begins with."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from benchmarks.papers import Paper, heading, prose
from benchmarks.pdf import converted
from benchmarks.typesetting import Frame, Piece, Press
from shared import delivery, maintenance, runner
from shared.chunking import chunk
from shared.core import Core
from shared.keys import create_key
from shared.messages import from_wire
from shared.names import DELIVERIES_QUEUE
from shared.settings import read_settings
from shared.storage.memory_documents import MemoryDocuments
from shared.tasks import utc_now
from shared.tokens import count
from tests.e2e.endpoint import Endpoint
from tests.infra import costs
from tests.infra.docmill import WIDE, deployed
from tests.model_server import running
from tests.services import SECRETS_KEY
from tests.serving import served

SDK = "azure.core.pipeline.policies.http_logging_policy"
CLIENT = "costs"


def paper() -> Paper:
    """Ten pages of running text, each of about 480 words."""
    press = Press((Frame(65, 530, 785, 65),), size=11.2)
    number = 0
    while press.page < costs.PAGES:
        press.put(heading(2, f"Section {number}"))
        for part in range(3):
            text = prose(number * 7 + part * 3, 6).text
            press.put(Piece("text", f"{text} Paragraph {number}-{part}."))
        number += 1
    return Paper("ten pages", press.read, press.bytes())


def test_the_page_has_the_arithmetic() -> None:
    page = costs.PAGE.read_text()
    assert costs.written(page) == page, "python -m tests.infra.costs writes it anew"


def test_a_page_of_text_has_as_many_words_tokens_and_chunks() -> None:
    made = paper()
    assert sum(len(piece.words) for piece in made.pieces) / costs.PAGES == pytest.approx(480, rel=0.03)
    chunks = chunk(converted(made), 400, count)
    assert sum(one.tokens for one in chunks) / costs.PAGES == pytest.approx(costs.TOKENS, rel=0.03)
    assert len(chunks) / costs.PAGES == pytest.approx(costs.CHUNKS, rel=0.1)


def test_what_stands_is_what_the_templates_make() -> None:
    found = deployed(**WIDE)
    assert len(found.of("Microsoft.Insights/scheduledQueryRules")) == costs.QUERY_ALERTS
    assert len(found.of("Microsoft.Insights/metricAlerts")) == costs.METRIC_ALERTS
    test = found.one("Microsoft.Insights/webtests").properties
    runs = len(test["Locations"]) * costs.HOURS * 3600 // test["Frequency"]
    assert runs == costs.AVAILABILITY_TESTS
    for network, endpoints in ((WIDE, 5), ({**WIDE, "useAzureOpenAi": False}, 4)):
        private = deployed(**network)
        assert len(private.of("Microsoft.Network/privateEndpoints")) == endpoints
        assert len(private.of("Microsoft.Network/privateDnsZones")) == endpoints
        assert len(private.of("Microsoft.Network/natGateways")) == 1
        assert len(private.of("Microsoft.Network/publicIPAddresses")) == 1
    memory = deployed().one("Microsoft.Web/sites").properties["functionAppConfig"]["scaleAndConcurrency"]
    assert memory["instanceMemoryMB"] == costs.GIGABYTES * 1024


class Requests:
    """What the SDKs of storage say that they ask, by service and method."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self._log = log
        log.set_level(logging.INFO, SDK)

    def taken(self) -> Counter[tuple[str, str]]:
        """Those since the last time. A lease is no write to Azure's bill."""
        found: Counter[tuple[str, str]] = Counter()
        for record in self._log.records:
            text = record.getMessage()
            if record.name == SDK and text.startswith("Request URL"):
                url, method = re.findall(r"(?:Request URL|Request method): '([^\n]*)'", text)
                service = re.search(r"azsdk-python-(?:storage|data)-(\w+)", text)
                assert service is not None
                leased = service[1] == "blob" and urlsplit(url).query.startswith("comp=")
                found[service[1], "LEASE" if leased else method] += 1
        self._log.clear()
        return found


def of(found: Counter[tuple[str, str]], service: str, *methods: str) -> int:
    return sum(
        times
        for (name, method), times in found.items()
        if name == service and (method in methods or not methods)
    )


@contextmanager
def core_on(azurite: str, **settings: str) -> Iterator[Core]:
    """Real storage, conversion, models over HTTP and webhooks. The index is in memory: it is billed apart."""
    given = {"AZURE_STORAGE_CONNECTION_STRING": azurite, "CLIENT_IDS": CLIENT, "SECRETS_KEY": SECRETS_KEY}
    core = Core(read_settings({**given, **settings}))
    documents = MemoryDocuments()
    core._part("documents", lambda: documents)
    core.prepare()
    try:
        yield core
    finally:
        core.close()


def test_storage_is_asked_as_often_as_the_arithmetic_says(
    azurite: str, caplog: pytest.LogCaptureFixture
) -> None:
    requests = Requests(caplog)
    with running() as models, Endpoint() as receiver:
        models.quick = True
        settings = {
            "OPENAI_BASE_URL": models.url,
            "OPENAI_EMBEDDING_DIMENSIONS": "1536",
            "WEBHOOK_ALLOW_HTTP": "true",
            "WEBHOOK_ALLOW_PRIVATE_NETWORKS": "true",
        }
        with core_on(azurite, **settings) as core, api(core) as http:
            http.post("/api/webhooks", json={"url": receiver.url("/costs")}).raise_for_status()
            maintenance.sweep(core)  # the first one makes the blob of its lock
            requests.taken()
            for _ in range(costs.SWEEP_ROUNDS):
                maintenance.sweep(core)
            sweep = requests.taken()
            began = time.monotonic()
            ingested(core, http)
            found, seconds = requests.taken(), time.monotonic() - began
        assert [request.status for request in receiver.requests] == [204]

    assert sweep == {
        ("blob", "LEASE"): costs.SWEEP_BLOB_OTHERS,
        ("queue", "GET"): costs.SWEEP_QUEUE,
        ("tables", "GET"): costs.SWEEP_TABLE,
    }
    assert of(found, "blob", "PUT") == costs.BLOB_WRITES
    assert of(found, "blob", "GET", "HEAD") == costs.BLOB_OTHERS
    # The depth of the queue is remembered for two seconds, and may be known already.
    assert costs.QUEUE - 1 <= of(found, "queue") <= costs.QUEUE
    most = costs.TABLE + costs.TELLING + costs.HEARTBEATS * (seconds + 1)
    assert costs.TABLE <= of(found, "tables") <= most


@contextmanager
def api(core: Core) -> Iterator[httpx.Client]:
    key, _ = create_key(core.keys, CLIENT, utc_now())
    with (
        served(core) as (url, _),
        httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60) as client,
    ):
        client.get("/api/documents")  # the key is remembered from now on
        yield client


def ingested(core: Core, http: httpx.Client) -> None:
    """One document from its upload to its result, with what the hosts do: receive, run, delete."""
    files = {"file": ("paper.pdf", paper().content)}
    answer = http.post("/api/documents", params={"task": "ingestion"}, files=files)
    task = answer.json()["task"]["task_id"]
    (message,) = core.queues.receive(f"{CLIENT}-tasks", limit=1)
    runner.run(core, CLIENT, from_wire(message.text), message_id=message.id)
    core.queues.delete(f"{CLIENT}-tasks", message)
    (message,) = core.queues.receive(DELIVERIES_QUEUE, limit=1)
    delivery.deliver(core, from_wire(message.text))
    core.queues.delete(DELIVERIES_QUEUE, message)
    result = http.get(f"/api/tasks/{task}/result")
    assert result.is_success and result.json()["pages"] == costs.PAGES, result.text
