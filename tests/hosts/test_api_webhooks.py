"""Webhooks over HTTP: made, changed, tried out, and what was sent to them.

The storage is real, and of this module alone: no worker serves it, so messages wait for the tests.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from api.events import EventDataShape, EventShape
from local import ports
from local.stack import Stack
from shared import delivery, redelivery, webhooks
from shared.core import Core
from shared.keys import create_key
from shared.messages import DeliveryMessage, from_wire
from shared.names import DELIVERIES_QUEUE
from shared.settings import read_settings
from shared.storage.tables import ALL_TABLES
from shared.subscriptions import DEFAULT_TYPES, EVENT_TYPES, Receiver
from shared.tasks import utc_now
from tests.conftest import data_directory
from tests.hosts.test_api import problem
from tests.serving import served

URL = "https://hooks.example.com/in?token=hidden"
WEBHOOK = [
    "webhook_id", "client_id", "url", "event_types", "description", "enabled", "disabled_reason",
    "disabled_at", "created_at", "updated_at", "failing_since", "warning_percent", "cooling_until",
]  # fmt: skip
DELIVERY = [
    "delivery_id", "webhook_id", "task_id", "type", "sequence", "url", "status", "reason", "created_at",
    "next_attempt_at", "finished_at", "attempt_count", "attempts",
]  # fmt: skip
ATTEMPT = ["attempt", "at", "status_code", "failure", "duration_ms", "response"]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Settings of an app that is left alone, on an Azurite of its own."""
    with data_directory() as data, ExitStack() as after:
        stack = Stack(data, ports.ANY)
        after.callback(stack.stop)
        stack.start_azurite()
        yield {
            "AZURE_STORAGE_CONNECTION_STRING": stack.azurite.connection_string,
            "SECRETS_KEY": stack.secrets.secrets_key,
            "CLIENT_IDS": "acme,beta",
            "WEBHOOK_RETRY_SECONDS": "600",
        }


@contextmanager
def running(environment: dict[str, str], **more: str) -> Iterator[tuple[Core, str]]:
    core = Core(read_settings({**environment, **more}))
    core.prepare()
    with served(core) as (url, _):
        yield core, url
    core.close()


@pytest.fixture(scope="module")
def app(environment: dict[str, str]) -> Iterator[tuple[Core, str]]:
    """As in the cloud: https to the public internet, and nothing else."""
    with running(environment) as app:
        yield app


@pytest.fixture(scope="module")
def local(environment: dict[str, str]) -> Iterator[tuple[Core, str]]:
    """As in the local stack: it reaches the receivers of the tests."""
    more = {"WEBHOOK_ALLOW_HTTP": "true", "WEBHOOK_ALLOW_PRIVATE_NETWORKS": "true"}
    with running(environment, **more) as app:
        yield app


@contextmanager
def caller(app: tuple[Core, str], client_id: str = "acme") -> Iterator[httpx.Client]:
    core, url = app
    key = create_key(core.keys, client_id, utc_now())[0]
    with httpx.Client(base_url=url, headers={"X-API-Key": key}, trust_env=False, timeout=60) as http:
        yield http


@pytest.fixture(scope="module")
def callers(app: tuple[Core, str], local: tuple[Core, str]) -> Iterator[dict[str, httpx.Client]]:
    with caller(local) as http, caller(local, "beta") as beta, caller(app) as strict:
        yield {"http": http, "beta": beta, "strict": strict}


@pytest.fixture
def core(local: tuple[Core, str]) -> Iterator[Core]:
    """Each test ends without webhooks and messages."""
    core, _ = local
    yield core
    for client in ("acme", "beta"):
        for webhook in core.subscriptions.of_client(client):
            core.subscriptions.remove(client, webhook.webhook_id)
    due(core)


@pytest.fixture
def http(core: Core, callers: dict[str, httpx.Client]) -> httpx.Client:
    """As client `acme`."""
    return callers["http"]


@pytest.fixture
def beta(core: Core, callers: dict[str, httpx.Client]) -> httpx.Client:
    """As another client."""
    return callers["beta"]


@pytest.fixture
def strict(core: Core, callers: dict[str, httpx.Client]) -> httpx.Client:
    """As client `acme`, of the service that reaches the public internet alone."""
    return callers["strict"]


class Inbox(ThreadingHTTPServer):
    """A receiver: `status` is what it answers, `posts` what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _InboxHandler)
        self.status = 204
        self.posts: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/in?token=hidden"

    def last(self, secret: str) -> dict[str, Any]:
        """The newest event, verified."""
        headers, body = self.posts[-1]
        event: dict[str, Any] = Verifier(secret).verify(body, headers)
        return event


class _InboxHandler(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox() as inbox:
        threading.Thread(target=inbox.serve_forever, args=(0.02,), daemon=True).start()
        yield inbox
        inbox.shutdown()


def made(http: httpx.Client, url: str = URL, **more: Any) -> dict[str, Any]:
    answer = http.post("/api/webhooks", json={"url": url, **more})
    assert answer.status_code == 201, answer.text
    webhook: dict[str, Any] = answer.json()
    return webhook


def path(webhook: dict[str, Any], rest: str = "") -> str:
    return f"/api/webhooks/{webhook['webhook_id']}{rest}"


def got(http: httpx.Client, url: str, **query: Any) -> Any:
    answer = http.get(url, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def items(http: httpx.Client, url: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = got(http, url, **query)["items"]
    return found


def due(core: Core) -> list[DeliveryMessage]:
    """Takes the messages that are visible."""
    found = []
    for received in core.queues.receive(DELIVERIES_QUEUE):
        found.append(DeliveryMessage.decode(from_wire(received.text)))
        core.queues.delete(DELIVERIES_QUEUE, received)
    return found


def deliver(core: Core) -> list[DeliveryMessage]:
    """Takes the messages that are visible and works on them, as the queue's trigger would."""
    messages = due(core)
    for message in messages:
        delivery.deliver(core, message.encode())
    return messages


def cancelled(http: httpx.Client, **more: Any) -> str:
    """A task with two events, queued and cancelled; its id."""
    body = {"task_type": "ingestion", "payload": {"document_id": "doc-none"}, **more}
    task_id: str = http.post("/api/tasks", json=body).json()["task_id"]
    assert http.post(f"/api/tasks/{task_id}/cancel").status_code == 202
    return task_id


@pytest.fixture(scope="module")
def document(local: tuple[Core, str]) -> dict[str, Any]:
    """The OpenAPI document."""
    found: dict[str, Any] = httpx.get(f"{local[1]}/api/openapi.json", trust_env=False).json()
    return found


def ours(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each route of webhooks."""
    for url, methods in document["paths"].items():
        if "webhooks" in url or "deliveries" in url:
            yield from ((method.upper(), url, described) for method, described in methods.items())


class TestRoutes:
    def test_none_is_open_to_all(self, http: httpx.Client, document: dict[str, Any]) -> None:
        routes = list(ours(document))
        assert len(routes) == 12
        for method, url, _ in routes:
            answer = http.request(method, re.sub(r"\{.+?\}", "a", url), headers={"X-API-Key": ""})
            problem(answer, 401, "unauthorized")

    def test_all_are_described(self, document: dict[str, Any]) -> None:
        for method, url, described in ours(document):
            good = next(status for status in described["responses"] if status.startswith("2"))
            assert good == "204" or described["responses"][good]["content"], (method, url)

    @pytest.mark.parametrize(
        "name", ["a'b", "%7C", "%00", "%0a", "a%2Fb", "..%2Fa", "wh-%C3%A9", "%F0%9F%A6%84", "x" * 3000, "~"]
    )
    def test_what_can_be_no_id_is_not_there(
        self, http: httpx.Client, document: dict[str, Any], name: str
    ) -> None:
        bodies = {"recover": {"since": "2026-11-24T04:00:00Z"}}
        for method, url, _ in ours(document):
            if "{" in url:
                body = bodies.get(url.rpartition("/")[2], {} if method in {"PATCH", "POST"} else None)
                problem(http.request(method, re.sub(r"\{.+?\}", name, url), json=body), 404, "not_found")

    def test_the_events_that_we_send_are_described(self, document: dict[str, Any]) -> None:
        assert tuple(document["webhooks"]) == EVENT_TYPES
        body = document["webhooks"]["task.failed"]["post"]["requestBody"]["content"]["application/json"]
        assert body["schema"] == {"$ref": "#/components/schemas/EventShape"}

    def test_a_change_has_no_defaults(self, document: dict[str, Any]) -> None:
        shape = document["components"]["schemas"]["SubscriptionChange"]
        assert set(shape["properties"]) == {"url", "event_types", "description", "enabled"}
        assert "required" not in shape
        assert all("default" not in member for member in shape["properties"].values())


class TestManaging:
    def test_one_is_made(self, strict: httpx.Client) -> None:
        answer = strict.post("/api/webhooks", json={"url": URL})
        assert answer.status_code == 201, answer.text
        webhook = answer.json()
        assert list(webhook) == [*WEBHOOK, "secret"]
        assert answer.headers["location"] == path(webhook)
        assert answer.headers["cache-control"] == "no-store"
        assert re.fullmatch(r"wh-[0-9a-f]{24}", webhook["webhook_id"])
        assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", webhook.pop("secret"))
        assert (webhook["client_id"], webhook["url"], webhook["enabled"]) == ("acme", URL, True)
        assert (webhook["event_types"], webhook["description"]) == (list(DEFAULT_TYPES), "")
        assert webhook["created_at"] == webhook["updated_at"] and webhook["created_at"].endswith("Z")
        nothing = ("disabled_reason", "disabled_at", "failing_since", "warning_percent", "cooling_until")
        assert all(webhook[name] is None for name in nothing)
        assert got(strict, path(webhook)) == webhook
        assert items(strict, "/api/webhooks") == [webhook]

    def test_as_it_is_wished(self, http: httpx.Client) -> None:
        wish = {
            "event_types": ["task.*", "task.failed", "task.*"],
            "description": "d" * 500,
            "enabled": False,
        }
        webhook = made(http, **wish)
        assert (webhook["event_types"], webhook["description"]) == (["task.*", "task.failed"], "d" * 500)
        assert (webhook["enabled"], webhook["disabled_reason"]) == (False, "by_client")
        assert webhook["disabled_at"] is not None

    def test_the_list_has_pages(self, http: httpx.Client) -> None:
        names = [made(http)["webhook_id"] for _ in range(5)]
        found, cursor = [], None
        while True:
            page = got(http, "/api/webhooks", limit=2, **({"cursor": cursor} if cursor else {}))
            found += [item["webhook_id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == names
        assert [item["webhook_id"] for item in items(http, "/api/webhooks")] == names

    def test_a_change_is_of_what_is_given(self, http: httpx.Client) -> None:
        webhook = made(http, description="a")
        del webhook["secret"]
        for change in (
            {"url": "https://other.example.com/"},
            {"event_types": ["*"]},
            {"description": "b"},
            {"description": ""},
            {"url": URL, "event_types": ["task.started"], "description": "c"},
        ):
            answer = http.patch(path(webhook), json=change)
            assert answer.status_code == 200, answer.text
            after = answer.json()
            assert after["updated_at"] > webhook["updated_at"]
            webhook |= change | {"updated_at": after["updated_at"]}
            assert after == webhook == got(http, path(webhook))

    def test_a_change_of_nothing_changes_nothing(self, http: httpx.Client) -> None:
        webhook = made(http)
        del webhook["secret"]
        answer = http.patch(path(webhook), json={})
        assert (answer.status_code, answer.json()) == (200, webhook)

    def test_it_is_disabled_and_enabled(self, http: httpx.Client) -> None:
        webhook = made(http)
        off = http.patch(path(webhook), json={"enabled": False}).json()
        assert (off["enabled"], off["disabled_reason"]) == (False, "by_client")
        assert off["disabled_at"] == off["updated_at"]
        problem(http.post(path(webhook, "/test")), 409, "conflict")
        problem(http.post(path(webhook, "/recover"), json={"since": webhook["created_at"]}), 409, "conflict")
        on = http.patch(path(webhook), json={"enabled": True}).json()
        assert (on["enabled"], on["disabled_reason"], on["disabled_at"]) == (True, None, None)
        assert http.post(path(webhook, "/test")).status_code == 202

    def test_one_that_is_enabled_begins_without_a_past(self, http: httpx.Client, core: Core) -> None:
        webhook, other = made(http), made(http)
        since = datetime(2026, 11, 20, tzinfo=UTC)
        receiver = Receiver(
            key=webhook["webhook_id"], failing_since=since, warning=90, cooling_until=since, timeouts=3
        )
        core.receivers.save("acme", None, receiver)
        webhooks.disable(core, "acme", webhook["webhook_id"], "failing", utc_now())
        past = {
            "disabled_reason": "failing",
            "failing_since": "2026-11-20T00:00:00Z",
            "warning_percent": 90,
            "cooling_until": "2026-11-20T00:00:00Z",
        }
        for shown in (got(http, path(webhook)), items(http, "/api/webhooks")[0]):
            assert {name: shown[name] for name in past} == past
        assert items(http, "/api/webhooks")[1]["failing_since"] is None
        after = http.patch(path(webhook), json={"enabled": True}).json()
        assert {after[name] for name in past} == {None}
        assert got(http, path(webhook)) == after
        assert got(http, path(other))["updated_at"] == other["updated_at"]

    def test_one_that_is_deleted_is_gone(self, http: httpx.Client) -> None:
        webhook = made(http)
        answer = http.delete(path(webhook))
        assert (answer.status_code, answer.content) == (204, b"")
        for method, rest in (
            ("DELETE", ""),
            ("GET", ""),
            ("PATCH", ""),
            ("POST", "/secret/rotate"),
            ("POST", "/test"),
            ("GET", "/deliveries"),
        ):
            body = {} if method in {"PATCH", "POST"} else None
            problem(http.request(method, path(webhook, rest), json=body), 404, "not_found")
        problem(
            http.post(path(webhook, "/recover"), json={"since": "2026-11-24T04:00:00Z"}), 404, "not_found"
        )
        assert items(http, "/api/webhooks") == []

    def test_there_is_a_limit(
        self, http: httpx.Client, beta: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webhooks, "MOST", 2)
        first, _ = made(http), made(http)
        told = problem(http.post("/api/webhooks", json={"url": URL}), 409, "conflict")
        assert "2 webhooks at most" in told["detail"]
        made(beta)
        assert http.delete(path(first)).status_code == 204
        made(http)

    def test_a_service_that_cannot_sign_makes_none(self, environment: dict[str, str], core: Core) -> None:
        with running(environment, SECRETS_KEY="") as app, caller(app) as http:
            answer = http.post("/api/webhooks", json={"url": URL})
            assert "SECRETS_KEY" in problem(answer, 503, "unavailable")["detail"]
            assert int(answer.headers["retry-after"]) > 0
            assert items(http, "/api/webhooks") == []


class TestRefusals:
    @pytest.mark.parametrize(
        "url",
        [
            "http://hooks.example.com/",
            "ftp://hooks.example.com/",
            "hooks.example.com",
            "https://",
            "https://user:pw@hooks.example.com/",
            "https://user@hooks.example.com/",
            "https://localhost/",
            "https://127.0.0.1/",
            "https://10.0.0.1/",
            "https://169.254.169.254/metadata",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://hooks.example.com:22/",
            "https://hooks.example.com/" + "x" * 2048,
            "https://hooks.example.com/a b",
            "https://h\u00f6oks.example.com/",
            "",
            None,
            7,
            ["https://hooks.example.com/"],
        ],
    )
    def test_a_url_that_cannot_be(self, strict: httpx.Client, url: Any) -> None:
        answer = strict.post("/api/webhooks", json={"url": url})
        problem(answer, 422, "invalid_payload")
        assert "pw" not in answer.text
        assert items(strict, "/api/webhooks") == []
        webhook = made(strict)
        problem(strict.patch(path(webhook), json={"url": url, "description": "b"}), 422, "invalid_payload")
        assert got(strict, path(webhook))["updated_at"] == webhook["updated_at"]

    @pytest.mark.parametrize(
        "wish",
        [
            {"event_types": []},
            {"event_types": ["task.failed", "task.unknown"]},
            {"event_types": ["tasks.*"]},
            {"event_types": ["task.f*"]},
            {"event_types": ["*.*"]},
            {"event_types": [""]},
            {"event_types": ["x" * 65]},
            {"event_types": "task.failed"},
            {"event_types": [None]},
            {"event_types": None},
            {"event_types": ["task.failed"] * 21},
            {"description": "d" * 501},
            {"description": "\ud800"},
            {"description": None},
            {"enabled": "perhaps"},
            {"enabled": None},
            {"secret": "whsec_bXk="},
            {"client_id": "beta"},
            {"webhook_id": "wh-1"},
        ],
    )
    def test_a_wish_that_cannot_be(self, http: httpx.Client, wish: dict[str, Any]) -> None:
        told = problem(sent(http, "POST", "/api/webhooks", {"url": URL, **wish}), 422, "invalid_payload")
        assert all({"loc", "msg"} <= set(error) for error in told["errors"])
        webhook = made(http)
        problem(sent(http, "PATCH", path(webhook), wish), 422, "invalid_payload")
        assert got(http, path(webhook))["updated_at"] == webhook["updated_at"]

    def test_a_type_that_there_is_not_is_told_with_those_that_there_are(self, http: httpx.Client) -> None:
        answer = http.post("/api/webhooks", json={"url": URL, "event_types": ["task.done"]})
        detail = problem(answer, 422, "invalid_payload")["detail"]
        assert "'task.done'" in detail and all(name in detail for name in EVENT_TYPES)

    @pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"[]", 422), (b"{}", 422), (b"", 422)])
    def test_no_wish_at_all(self, http: httpx.Client, body: bytes, status: int) -> None:
        answer = http.post("/api/webhooks", content=body, headers={"content-type": "application/json"})
        problem(answer, status, "invalid_json" if status == 400 else "invalid_payload")

    @pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=nonsense", "status=lost"])
    def test_wrong_questions(self, http: httpx.Client, query: str) -> None:
        webhook, task_id = made(http), cancelled(http)
        lists = [path(webhook, "/deliveries"), f"/api/tasks/{task_id}/deliveries"]
        for url in lists if "status" in query else [*lists, "/api/webhooks"]:
            problem(http.get(f"{url}?{query}"), 422, "invalid_payload")


def sent(http: httpx.Client, method: str, url: str, body: dict[str, Any]) -> httpx.Response:
    """Also what is no Unicode, escaped."""
    return http.request(method, url, content=json.dumps(body), headers={"content-type": "application/json"})


class TestSecrets:
    def test_one_is_shown_once_and_never_again(
        self, http: httpx.Client, core: Core, inbox: Inbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        webhook = made(http, inbox.url)
        rotated = http.post(path(webhook, "/secret/rotate"), json={}).json()
        secrets = [webhook.pop("secret"), rotated["secret"]]
        example = http.post(path(webhook, "/test"))
        assert len(deliver(core)) == 1
        one = path({"webhook_id": "deliveries"}, f"/{example.json()['delivery_id']}")
        answers = [
            example,
            http.get(path(webhook)),
            http.get("/api/webhooks"),
            http.patch(path(webhook), json={"description": "a"}),
            http.post("/api/webhooks", json={"url": "no URL"}),
            http.get(path(webhook, "/deliveries")),
            http.get(one),
            http.post(f"{one}/redeliver"),
            http.post(path(webhook, "/recover"), json={"since": webhook["created_at"]}),
        ]
        assert [answer.status_code for answer in answers] == [202, 200, 200, 200, 422, 200, 200, 202, 202]
        rows = [str(dict(row)) for name in ALL_TABLES for row in core._tables[name].list_entities()]
        texts = [answer.text for answer in answers] + rows + [caplog.text]
        for secret in secrets:
            plain = secret.removeprefix("whsec_")
            assert not [text for text in texts if plain in text]

    def test_the_one_before_signs_too_for_a_while(self, http: httpx.Client, core: Core, inbox: Inbox) -> None:
        webhook = made(http, inbox.url)
        before = utc_now()
        answer = http.post(path(webhook, "/secret/rotate"))
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        rotated = answer.json()
        assert list(rotated) == ["webhook_id", "secret", "previous_until"]
        assert rotated["webhook_id"] == webhook["webhook_id"]
        until = datetime.fromisoformat(rotated["previous_until"])
        assert before <= until - timedelta(hours=24) <= utc_now()
        http.post(path(webhook, "/test"))
        deliver(core)
        assert len(inbox.posts[-1][0]["webhook-signature"].split(" ")) == 2
        assert inbox.last(webhook["secret"]) == inbox.last(rotated["secret"])

    def test_one_that_got_out_is_replaced_at_once(self, http: httpx.Client, core: Core, inbox: Inbox) -> None:
        webhook = made(http, inbox.url)
        rotated = http.post(path(webhook, "/secret/rotate"), json={"overlap_seconds": 0}).json()
        assert rotated["previous_until"] is None
        http.post(path(webhook, "/test"))
        deliver(core)
        assert len(inbox.posts[-1][0]["webhook-signature"].split(" ")) == 1
        assert inbox.last(rotated["secret"])["data"]["example"] is True

    @pytest.mark.parametrize("body", [{"overlap_seconds": -1}, {"overlap_seconds": 86401}, {"hours": 1}])
    def test_wrong_wishes(self, http: httpx.Client, body: dict[str, Any]) -> None:
        problem(http.post(path(made(http), "/secret/rotate"), json=body), 422, "invalid_payload")


class TestIsolation:
    def test_nothing_of_another_client_is_seen_or_touched(
        self, http: httpx.Client, beta: httpx.Client, core: Core
    ) -> None:
        webhook = made(http, event_types=["*"])
        task_id = cancelled(http)
        [one, *_] = items(http, f"/api/tasks/{task_id}/deliveries")
        at = f"/api/webhooks/deliveries/{one['delivery_id']}"
        due(core)
        for method, url, body in (
            ("GET", path(webhook), None),
            ("PATCH", path(webhook), {"enabled": False}),
            ("PATCH", path(webhook), {}),
            ("DELETE", path(webhook), None),
            ("POST", path(webhook, "/secret/rotate"), {}),
            ("POST", path(webhook, "/test"), {}),
            ("POST", path(webhook, "/recover"), {"since": "2026-11-01T00:00:00Z"}),
            ("GET", path(webhook, "/deliveries"), None),
            ("GET", f"/api/tasks/{task_id}/deliveries", None),
            ("GET", at, None),
            ("POST", f"{at}/redeliver", None),
        ):
            problem(beta.request(method, url, json=body), 404, "not_found")
        assert items(beta, "/api/webhooks") == []
        cancelled(beta)
        assert due(core) == []
        del webhook["secret"]
        assert got(http, path(webhook)) == webhook
        assert got(http, at) == one


class TestExamples:
    @pytest.mark.parametrize("event_type", [None, *EVENT_TYPES])
    def test_one_is_signed_and_sent_like_the_real_thing(
        self, http: httpx.Client, core: Core, inbox: Inbox, event_type: str | None
    ) -> None:
        webhook = made(http, inbox.url, event_types=["task.failed"])
        answer = http.post(path(webhook, "/test"), json={"event_type": event_type} if event_type else {})
        assert answer.status_code == 202, answer.text
        one = answer.json()
        assert list(one) == DELIVERY
        at = f"/api/webhooks/deliveries/{one['delivery_id']}"
        assert answer.headers["location"] == at
        assert got(http, at) == one
        assert (one["webhook_id"], one["task_id"]) == (webhook["webhook_id"], None)
        assert (one["type"], one["status"]) == (event_type or "task.failed", "pending")
        assert (one["url"], one["attempt_count"], one["attempts"]) == ("http://127.0.0.1", 0, [])
        assert len(deliver(core)) == 1

        event = inbox.last(webhook["secret"])
        assert event["type"] == one["type"] and event["data"]["example"] is True
        assert inbox.posts[-1][0]["webhook-id"] == one["delivery_id"]
        assert set(event) == set(EventShape.model_fields)
        assert set(event["data"]) == set(EventDataShape.model_fields)
        assert EventShape.model_validate(event).data.status == event["data"]["status"]
        after = got(http, at)
        assert (after["status"], after["attempt_count"], after["next_attempt_at"]) == ("delivered", 1, None)
        [attempt] = after["attempts"]
        assert list(attempt) == ATTEMPT
        assert (attempt["attempt"], attempt["status_code"], attempt["failure"]) == (1, 204, None)
        assert attempt["at"] == after["finished_at"] and attempt["duration_ms"] >= 0
        assert items(http, path(webhook, "/deliveries")) == [after]

    def test_one_that_fails_is_not_tried_again(self, http: httpx.Client, core: Core, inbox: Inbox) -> None:
        inbox.status = 500
        answer = http.post(path(made(http, inbox.url), "/test"))
        deliver(core)
        after = got(http, answer.headers["location"])
        assert (after["status"], after["reason"]) == ("failed", "out_of_attempts")
        assert (after["attempts"][0]["failure"], after["attempts"][0]["status_code"]) == ("http_status", 500)

    @pytest.mark.parametrize("body", [{"event_type": "task.*"}, {"event_type": "x" * 65}, {"type": "a"}])
    def test_there_is_no_example_of_what_there_is_not(self, http: httpx.Client, body: dict[str, Any]) -> None:
        problem(http.post(path(made(http), "/test"), json=body), 422, "invalid_payload")


class TestDeliveries:
    def test_of_a_task_are_those_of_its_own_url_and_of_the_webhooks(
        self, http: httpx.Client, core: Core, inbox: Inbox
    ) -> None:
        webhook = made(http, inbox.url, event_types=["task.*"])
        task_id = cancelled(http, webhook_url=f"{inbox.url}&own")
        url = f"/api/tasks/{task_id}/deliveries"
        found = items(http, url)
        assert [list(one) for one in found] == [DELIVERY] * 3
        told = {(one["type"], one["webhook_id"]) for one in found}
        name = webhook["webhook_id"]
        assert told == {("task.queued", name), ("task.cancelled", name), ("task.cancelled", None)}
        assert found[-1]["type"] == "task.queued"
        assert {one["status"] for one in found} == {"pending"} and {one["task_id"] for one in found} == {
            task_id
        }
        assert len(deliver(core)) == 3
        assert {one["status"] for one in items(http, url)} == {"delivered"}
        assert items(http, url, status="pending") == [] and len(items(http, url, status="delivered")) == 3
        assert got(http, f"/api/tasks/{task_id}")["webhook"]["status"] == "delivered"
        assert "hidden" not in http.get(url).text

    def test_of_a_task_that_is_not_there(self, http: httpx.Client) -> None:
        problem(http.get("/api/tasks/task-unknown/deliveries"), 404, "not_found")

    def test_a_task_may_have_none(self, http: httpx.Client) -> None:
        assert got(http, f"/api/tasks/{cancelled(http)}/deliveries") == {"items": [], "next_cursor": None}

    def test_of_a_webhook_come_in_pages_newest_first(self, http: httpx.Client, core: Core) -> None:
        webhook = made(http, event_types=["*"])
        tasks = [cancelled(http) for _ in range(3)]
        url = path(webhook, "/deliveries")
        found, cursor = [], None
        while True:
            page = got(http, url, limit=4, **({"cursor": cursor} if cursor else {}))
            found += [(one["task_id"], one["type"]) for one in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        ends = ("task.cancelled", "task.queued")
        assert found == [(task_id, end) for task_id in reversed(tasks) for end in ends]
        foreign = got(http, url, limit=1)["next_cursor"]
        for other in (path(made(http), "/deliveries"), f"/api/tasks/{tasks[0]}/deliveries", "/api/webhooks"):
            problem(http.get(other, params={"cursor": foreign}), 422, "invalid_payload")

    def test_one_goes_out_once_more(self, http: httpx.Client, core: Core, inbox: Inbox) -> None:
        inbox.status = 500
        webhook = made(http, inbox.url)
        cancelled(http)
        deliver(core)
        [one] = items(http, path(webhook, "/deliveries"))
        assert (one["status"], one["attempt_count"]) == ("pending", 1)
        assert one["next_attempt_at"] > one["created_at"]
        at = f"/api/webhooks/deliveries/{one['delivery_id']}"
        inbox.status = 200
        for count in (2, 3):  # also when it was delivered already
            answer = http.post(f"{at}/redeliver")
            assert (answer.status_code, answer.headers["location"]) == (202, at)
            assert (answer.json()["status"], answer.json()["finished_at"]) == ("pending", None)
            assert [message.by_hand for message in deliver(core)] == [True]
            after = got(http, at)
            assert (after["status"], after["attempt_count"]) == ("delivered", count)
        assert len({headers["webhook-id"] for headers, _ in inbox.posts}) == 1
        assert [attempt["status_code"] for attempt in after["attempts"]] == [500, 200, 200]

    def test_none_goes_where_nobody_wants_it(self, http: httpx.Client) -> None:
        webhook = made(http)
        at = http.post(path(webhook, "/test")).headers["location"]
        http.patch(path(webhook), json={"enabled": False})
        assert "disabled" in problem(http.post(f"{at}/redeliver"), 409, "conflict")["detail"]
        http.delete(path(webhook))
        assert "deleted" in problem(http.post(f"{at}/redeliver"), 409, "conflict")["detail"]
        assert got(http, at)["status"] == "pending"  # it can be looked at all the same


class TestRecovery:
    @pytest.fixture
    def missed(self, http: httpx.Client, inbox: Inbox) -> dict[str, Any]:
        """A webhook that was disabled while three tasks ended."""
        webhook = made(http, inbox.url)
        http.patch(path(webhook), json={"enabled": False})
        for _ in range(3):
            cancelled(http)
        found = items(http, path(webhook, "/deliveries"), status="failed")
        assert [(one["reason"], one["attempts"]) for one in found] == [("webhook_disabled", [])] * 3
        http.patch(path(webhook), json={"enabled": True})
        return webhook

    def test_brings_everything_that_was_missed(
        self, http: httpx.Client, core: Core, inbox: Inbox, missed: dict[str, Any]
    ) -> None:
        answer = http.post(path(missed, "/recover"), json={"since": missed["created_at"]})
        assert (answer.status_code, answer.json()) == (202, {"recovered": 3, "complete": True})
        assert len(deliver(core)) == len(inbox.posts) == 3
        assert len(items(http, path(missed, "/deliveries"), status="delivered")) == 3
        again = http.post(path(missed, "/recover"), json={"since": missed["created_at"]})
        assert again.json() == {"recovered": 0, "complete": True}

    def test_goes_on_where_it_stopped(
        self, http: httpx.Client, missed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(redelivery, "AT_ONCE", 2)
        body = {"since": missed["created_at"]}
        answers = [http.post(path(missed, "/recover"), json=body).json() for _ in range(3)]
        assert [(one["recovered"], one["complete"]) for one in answers] == [(2, False), (1, True), (0, True)]

    @pytest.mark.parametrize(
        ("since", "recovered"),
        [
            (lambda created: created.astimezone().isoformat(), 3),
            (lambda created: (created - timedelta(days=90)).isoformat(), 3),
            (lambda _: "0001-01-01T00:00:00+14:00", 3),
            (lambda _: "9999-12-31T23:59:59-14:00", 0),
            (lambda created: (created + timedelta(days=1)).isoformat(), 0),
        ],
    )
    def test_since_any_moment(
        self, http: httpx.Client, missed: dict[str, Any], since: Callable[[datetime], str], recovered: int
    ) -> None:
        moment = since(datetime.fromisoformat(missed["created_at"]))
        answer = http.post(path(missed, "/recover"), json={"since": moment})
        assert (answer.status_code, answer.json()) == (202, {"recovered": recovered, "complete": True})

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"since": None},
            {"since": "yesterday"},
            {"since": "2026-11-24"},
            {"since": "2026-11-24T04:00:00"},
            {"since": "2026-11-24T04:00:00Z", "until": "2026-11-24T05:00:00Z"},
        ],
    )
    def test_since_no_moment(self, http: httpx.Client, body: dict[str, Any]) -> None:
        problem(http.post(path(made(http), "/recover"), json=body), 422, "invalid_payload")
