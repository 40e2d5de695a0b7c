"""The public contract over HTTP: by uvicorn in the running app, and by the app's own HTTP function."""

from __future__ import annotations

import concurrent.futures
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from local.app import App
from shared import maintenance
from shared.core import Core
from shared.keys import create_key
from shared.ports import DeadLetter
from shared.runner import settle_lost
from shared.settings import read_settings
from shared.tasks import TaskStatus, new_task, utc_now
from tests.hosts.http_function import HttpFunction
from tests.serving import served


@pytest.fixture(scope="module")
def core(app: App) -> Iterator[Core]:
    """The same storage, with one client more that no worker serves: its tasks stay as they are."""
    core = Core(read_settings({**app.environment, "CLIENT_IDS": "default,acme,quiet"}))
    yield core
    core.close()


@pytest.fixture(scope="module", params=["uvicorn", "functions"])
def http(request: pytest.FixtureRequest, app: App, core: Core) -> Iterator[httpx.Client]:
    """As client `default`."""
    headers = {"X-API-Key": app.environment["DOCMILL_API_KEY"]}
    serving = served(core) if request.param == "uvicorn" else called(core)
    with (
        serving as (url, transport),
        httpx.Client(base_url=url, headers=headers, transport=transport, timeout=60) as client,
    ):
        yield client


@contextmanager
def called(core: Core) -> Iterator[tuple[str, HttpFunction]]:
    yield "http://localhost:7071", HttpFunction(core)


@pytest.fixture
def acme(app: App) -> dict[str, str]:
    """Headers of the other client."""
    return {"X-API-Key": app.environment["DOCMILL_API_KEY_ACME"]}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) >= {"type", "title", "status", "detail", "code"}
    assert (body["status"], body["code"]) == (status, code)
    return body


def upload(
    http: httpx.Client, name: str = "note.txt", content: bytes | None = None, **more: Any
) -> httpx.Response:
    content = secrets.token_hex(8).encode() if content is None else content
    return http.post("/api/documents", files={"file": (name, content)}, **more)


class TestAccess:
    @pytest.mark.parametrize(
        "headers",
        [
            {"X-API-Key": ""},
            {"X-API-Key": "dm_default_000000000000_" + "0" * 64},
            {"X-API-Key": "dm_nobody_000000000000_" + "0" * 64},
            {"X-API-Key": "nonsense'; drop table keys"},
            {"X-API-Key": "", "Authorization": "Basic abc"},
        ],
    )
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/api/tasks"),
            ("POST", "/api/tasks"),
            ("GET", "/api/tasks/task-1"),
            ("GET", "/api/tasks/task-1/result"),
            ("POST", "/api/tasks/task-1/cancel"),
            ("POST", "/api/tasks/task-1/retry"),
            ("POST", "/api/documents"),
            ("POST", "/api/documents/uploads"),
            ("POST", "/api/documents/doc-1/upload"),
            ("GET", "/api/documents/doc-1/markdown"),
            ("DELETE", "/api/documents/doc-1"),
            ("POST", "/api/search"),
            ("GET", "/api/dead-letters"),
            ("GET", "/api/health/queues"),
        ],
    )
    def test_without_a_valid_key(
        self, http: httpx.Client, method: str, path: str, headers: dict[str, str]
    ) -> None:
        problem(http.request(method, path, headers=headers), 401, "unauthorized")

    def test_a_key_may_come_as_bearer(self, http: httpx.Client, app: App) -> None:
        key = app.environment["DOCMILL_API_KEY"]
        headers = {"X-API-Key": "", "Authorization": f"Bearer {key}"}
        assert http.get("/api/tasks", headers=headers).status_code == 200

    def test_a_secret_of_another_key_does_not_open_it(self, http: httpx.Client, app: App) -> None:
        mine, other = app.environment["DOCMILL_API_KEY"], app.environment["DOCMILL_API_KEY_ACME"]
        mixed = mine.rsplit("_", 1)[0] + "_" + other.rsplit("_", 1)[1]
        problem(http.get("/api/tasks", headers={"X-API-Key": mixed}), 401, "unauthorized")

    def test_a_revoked_key_is_refused(self, http: httpx.Client, core: Core) -> None:
        text, key = create_key(core.keys, "default", utc_now())
        core.keys.revoke("default", key.key_id, utc_now())
        problem(http.get("/api/tasks", headers={"X-API-Key": text}), 401, "unauthorized")

    def test_a_key_is_not_stored_as_it_is(self, core: Core, app: App) -> None:
        secret = app.environment["DOCMILL_API_KEY"].rsplit("_", 1)[1]
        assert all(secret not in key.model_dump_json() for key in core.keys.of_client("default"))

    def test_what_is_open_to_all(self, http: httpx.Client) -> None:
        nobody = {"X-API-Key": ""}
        health = http.get("/api/health", headers=nobody)
        assert health.json() == {"status": "ok", "version": "0.1.0"}
        ready = http.get("/api/health/ready", headers=nobody)
        assert (ready.status_code, ready.json()["status"]) == (200, "ok")
        assert set(ready.json()["checks"]) == {"storage", "supabase", "models"}
        assert http.get("/api/docs", headers=nobody).status_code == 200
        assert "/api/tasks/{task_id}" in http.get("/api/openapi.json", headers=nobody).json()["paths"]


class TestSubmission:
    def test_a_task_is_accepted(self, http: httpx.Client) -> None:
        answer = http.post(
            "/api/tasks", json={"task_type": "ingestion", "payload": {"document_id": "doc-none"}}
        )
        assert answer.status_code == 202, answer.text
        task = answer.json()
        url = f"/api/tasks/{task['task_id']}"
        assert answer.headers["location"] == answer.headers["operation-location"] == url
        assert answer.headers["retry-after"]
        assert list(task) == [
            "task_id", "client_id", "task_type", "status", "priority", "payload", "document_id", "progress",
            "attempt", "max_attempts", "next_attempt_at", "dead_lettered", "created_at", "started_at",
            "finished_at", "updated_at", "error", "result_url", "webhook",
        ]  # fmt: skip
        assert (task["client_id"], task["status"], task["document_id"]) == ("default", "queued", "doc-none")
        assert task["created_at"].endswith("Z")
        assert http.get(url).json()["task_id"] == task["task_id"]

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"{", 400, "invalid_json"),
            (b"\xff", 400, "invalid_json"),
            (b"[]", 422, "invalid_payload"),
            (b"{}", 422, "invalid_payload"),
            (b'{"task_type": "nothing", "payload": {}}', 422, "unknown_task_type"),
            (b'{"task_type": "ingestion", "payload": {}}', 422, "invalid_payload"),
            (
                b'{"task_type": "ingestion", "payload": {"document_id": "d", "blob": "b"}}',
                422,
                "invalid_payload",
            ),
            (b'{"task_type": "ingestion", "payload": {"blob": "../acme/uploads/a"}}', 422, "invalid_payload"),
            (
                b'{"task_type": "ingestion", "payload": {"blob": "acme/uploads/a.pdf"}}',
                422,
                "invalid_payload",
            ),
            (
                b'{"task_type": "ingestion", "payload": {"blob": "uploads/../../acme/a"}}',
                422,
                "invalid_payload",
            ),
            (b'{"task_type": "ingestion", "payload": {"blob": "/etc/passwd"}}', 422, "invalid_payload"),
            (
                b'{"task_type": "ingestion", "payload": {"document_id": "doc-1", "x": 1}}',
                422,
                "invalid_payload",
            ),
            (
                b'{"task_type": "ingestion", "payload": {"document_id": "doc-1"}, "priority": "high"}',
                422,
                "invalid_payload",
            ),
            (
                b'{"task_type": "ingestion", "payload": {"document_id": "doc-1"}, "webhook_url": "ftp://a.example"}',
                422,
                "invalid_payload",
            ),
            (
                b'{"task_type": "ingestion", "payload": {"document_id": "' + b"d" * 33000 + b'"}}',
                413,
                "payload_too_large",
            ),
            (b'{"a": "' + b"x" * 300_000 + b'"}', 413, "payload_too_large"),
        ],
    )
    def test_what_is_wrong_ends_here(self, http: httpx.Client, body: bytes, status: int, code: str) -> None:
        answer = http.post("/api/tasks", content=body, headers={"content-type": "application/json"})
        told = problem(answer, status, code)
        if code == "invalid_payload":
            assert all({"loc", "msg"} <= set(error) for error in told["errors"])
        assert "Traceback" not in answer.text

    @pytest.mark.parametrize("url", ["https://user:secret@example.com/", "https://example.com/" + "x" * 2050])
    def test_a_webhook_url_that_could_never_work(self, http: httpx.Client, url: str) -> None:
        body = {"task_type": "ingestion", "payload": {"document_id": "doc-1"}, "webhook_url": url}
        answer = http.post("/api/tasks", json=body)
        problem(answer, 422, "invalid_payload")
        assert "secret" not in answer.text

    def test_an_idempotency_key_gives_the_same_task(self, http: httpx.Client) -> None:
        key = {"Idempotency-Key": secrets.token_hex(8)}
        body = {"task_type": "ingestion", "payload": {"document_id": "doc-none", "options": {"ocr": "auto"}}}
        first = http.post("/api/tasks", json=body, headers=key)
        turned = json.dumps(dict(reversed(body.items())))
        again = http.post("/api/tasks", content=turned, headers={**key, "content-type": "application/json"})
        assert (first.status_code, again.status_code) == (202, 200)
        assert again.json()["task_id"] == first.json()["task_id"]
        other = {**body, "payload": {"document_id": "doc-other"}}
        problem(http.post("/api/tasks", json=other, headers=key), 409, "idempotency_conflict")

    def test_twenty_at_once_with_one_key_make_one_task(self, http: httpx.Client) -> None:
        key = {"Idempotency-Key": secrets.token_hex(8)}
        body = {"task_type": "ingestion", "payload": {"document_id": "doc-none"}}
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: http.post("/api/tasks", json=body, headers=key), range(20)))
        assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
        assert len({answer.json()["task_id"] for answer in answers}) == 1

    def test_an_idempotency_key_has_a_length(self, http: httpx.Client) -> None:
        body = {"task_type": "ingestion", "payload": {"document_id": "doc-none"}}
        problem(
            http.post("/api/tasks", json=body, headers={"Idempotency-Key": "k" * 256}), 422, "invalid_payload"
        )

    def test_another_clients_key_is_another_key(self, http: httpx.Client, acme: dict[str, str]) -> None:
        key = {"Idempotency-Key": secrets.token_hex(8)}
        body = {"task_type": "ingestion", "payload": {"document_id": "doc-none"}}
        mine = http.post("/api/tasks", json=body, headers=key)
        theirs = http.post("/api/tasks", json=body, headers={**key, **acme})
        assert (mine.status_code, theirs.status_code) == (202, 202)


class TestQuietTasks:
    """Tasks of a client that no worker serves, so that their states hold still."""

    @pytest.fixture
    def quiet(self, core: Core) -> dict[str, str]:
        return {"X-API-Key": create_key(core.keys, "quiet", utc_now())[0]}

    def test_states_and_their_results(self, http: httpx.Client, core: Core, quiet: dict[str, str]) -> None:
        row = core.tasks.insert(new_task("quiet", "ingestion", {}, utc_now()))
        url = f"/api/tasks/{row.task.task_id}"
        problem(http.get(f"{url}/result", headers=quiet), 404, "result_not_ready")
        row = core.tasks.save(row, row.task.to(TaskStatus.RUNNING, utc_now()))
        problem(http.get(f"{url}/result", headers=quiet), 404, "result_not_ready")
        blob = f"quiet/results/none/{row.task.task_id}-1-1.json"
        done = row.task.to(TaskStatus.SUCCEEDED, utc_now(), result_blob=blob)
        core.tasks.save(row, done)
        problem(http.get(f"{url}/result", headers=quiet), 410, "result_expired")
        core.blobs.put(blob, b'{"a": 1}', "application/json")
        assert http.get(f"{url}/result", headers=quiet).json() == {"a": 1}
        assert http.get(url, headers=quiet).json()["result_url"] == f"{url}/result"

    @pytest.mark.parametrize(("status", "code"), [("failed", "task_failed"), ("cancelled", "task_cancelled")])
    def test_ends_without_a_result(
        self, http: httpx.Client, core: Core, quiet: dict[str, str], status: str, code: str
    ) -> None:
        row = core.tasks.insert(new_task("quiet", "ingestion", {}, utc_now()))
        core.tasks.save(row, row.task.to(TaskStatus(status), utc_now()))
        problem(http.get(f"/api/tasks/{row.task.task_id}/result", headers=quiet), 404, code)

    def test_a_result_whose_time_is_up(self, http: httpx.Client, core: Core, quiet: dict[str, str]) -> None:
        now = utc_now()
        row = core.tasks.insert(new_task("quiet", "ingestion", {}, now))
        running = core.tasks.save(row, row.task.to(TaskStatus.RUNNING, now, owner="o"))
        blob = f"quiet/results/none/{row.task.task_id}-1-1.json"
        core.blobs.put(blob, b'{"chunks": 1}', "application/json")
        end = {"result_blob": blob, "result_until": now + timedelta(days=30)}
        core.tasks.save(running, running.task.to(TaskStatus.SUCCEEDED, now, **end))
        url = f"/api/tasks/{row.task.task_id}"
        assert http.get(f"{url}/result", headers=quiet).json() == {"chunks": 1}
        maintenance.expire_due(core, "quiet", now + timedelta(days=31), time.monotonic() + 30)
        problem(http.get(f"{url}/result", headers=quiet), 410, "result_expired")
        assert http.get(url, headers=quiet).json()["status"] == "succeeded"
        assert core.blobs.below(blob) == []

    def test_waiting_ends_with_a_change(self, http: httpx.Client, core: Core, quiet: dict[str, str]) -> None:
        row = core.tasks.insert(new_task("quiet", "ingestion", {}, utc_now()))
        url = f"/api/tasks/{row.task.task_id}"
        first = http.get(url, headers=quiet)
        seen = {**quiet, "If-None-Match": first.headers["etag"]}
        assert http.get(url, headers=seen).status_code == 304
        assert http.get(f"{url}?wait=1", headers=seen).status_code == 304
        assert http.get(f"{url}?wait=1", headers=quiet).status_code == 200
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(http.get, f"{url}?wait=20", headers=seen) for _ in range(4)]
            waiting += [pool.submit(http.get, f"{url}?wait=20", headers=quiet) for _ in range(4)]
            time.sleep(0.5)
            core.tasks.save(row, row.task.to(TaskStatus.RUNNING, utc_now()))
            answers = [answer.result() for answer in waiting]
        assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "running")}

    def test_a_lease_alone_is_no_change(self, http: httpx.Client, core: Core, quiet: dict[str, str]) -> None:
        row = core.tasks.insert(new_task("quiet", "ingestion", {}, utc_now()))
        row = core.tasks.save(row, row.task.to(TaskStatus.RUNNING, utc_now()))
        url = f"/api/tasks/{row.task.task_id}"
        before = http.get(url, headers=quiet).headers["etag"]
        core.tasks.touch(row, row.task.model_copy(update={"lease_until": utc_now()}))
        assert http.get(url, headers=quiet).headers["etag"] == before

    def test_a_task_is_cancelled_and_retried(
        self, http: httpx.Client, core: Core, quiet: dict[str, str], acme: dict[str, str]
    ) -> None:
        row = core.tasks.insert(new_task("quiet", "ingestion", {"document_id": "doc-1"}, utc_now()))
        url = f"/api/tasks/{row.task.task_id}"
        problem(http.post(f"{url}/retry", headers=quiet), 409, "conflict")
        for action in ("cancel", "retry"):
            problem(http.post(f"{url}/{action}", headers=acme), 404, "not_found")
            for unknown in ("task-unknown", "a'b", "%7C"):
                answer = http.post(f"/api/tasks/{unknown}/{action}", headers=quiet)
                problem(answer, 404, "not_found")
        cancelled = http.post(f"{url}/cancel", headers=quiet)
        assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
        assert cancelled.headers["location"] == url
        problem(http.post(f"{url}/cancel", headers=quiet), 409, "conflict")
        again = http.post(f"{url}/retry", headers=quiet)
        assert (again.status_code, again.json()["status"], again.json()["attempt"]) == (202, "queued", 0)
        assert again.json()["task_id"] == row.task.task_id and again.json()["finished_at"] is None
        problem(http.post(f"{url}/retry", headers=quiet), 409, "conflict")

    def test_a_running_task_is_told_to_stop(
        self, http: httpx.Client, core: Core, quiet: dict[str, str]
    ) -> None:
        row = core.tasks.insert(new_task("quiet", "ingestion", {}, utc_now()))
        until = utc_now() + timedelta(minutes=1)
        core.tasks.save(row, row.task.to(TaskStatus.RUNNING, utc_now(), owner="o", lease_until=until))
        for _ in range(2):
            answer = http.post(f"/api/tasks/{row.task.task_id}/cancel", headers=quiet)
            assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")

    def test_a_dead_letter_says_that_its_task_was_retried(
        self, http: httpx.Client, core: Core, quiet: dict[str, str]
    ) -> None:
        row = core.tasks.insert(new_task("quiet", "ingestion", {"document_id": "doc-1"}, utc_now()))
        settle_lost(core, row)
        name = row.task.task_id

        def retried() -> list[bool]:
            items = http.get("/api/dead-letters?limit=200", headers=quiet).json()["items"]
            return [item["retried_at"] is not None for item in items if item["task_id"] == name]

        assert http.get(f"/api/tasks/{name}", headers=quiet).json()["dead_lettered"]
        assert retried() == [False]
        assert http.post(f"/api/tasks/{name}/retry", headers=quiet).json()["dead_lettered"] is False
        assert retried() == [True]

    def test_dead_letters_and_queues(self, http: httpx.Client, core: Core, quiet: dict[str, str]) -> None:
        now = utc_now()
        letter = DeadLetter(
            dead_letter_id=f"dl-{secrets.token_hex(4)}",
            client_id="quiet",
            task_id=None,
            task_type=None,
            reason="invalid_message",
            error={"code": "invalid_json", "message": "Not JSON.", "retryable": False},
            attempts=0,
            message="{",
            first_seen_at=now,
            dead_lettered_at=now,
        )
        core.dead_letters.record(letter)
        (item, *_) = http.get("/api/dead-letters", headers=quiet).json()["items"]
        assert item["dead_letter_id"] == letter.dead_letter_id and item["retried_at"] is None
        assert "client_id" not in item
        core.queues.put("quiet-tasks", b"x")
        (queue,) = http.get("/api/health/queues", headers=quiet).json()["queues"]
        assert (queue["client_id"], queue["name"]) == ("quiet", "quiet-tasks")
        assert queue["dead_letters"] >= 1 and queue["depth"] >= 1 and queue["oldest_seconds"] >= 0


class TestBackPressure:
    def test_too_many_tasks_of_one_client(self, core: Core) -> None:
        few = Core(core.settings.model_copy(update={"max_queued_tasks_per_client": 2}))
        core.queues.put("crowded-tasks", b"x")
        key = create_key(core.keys, "crowded", utc_now())[0]
        few.settings = few.settings.model_copy(update={"client_ids": ("crowded",)})
        body = {"task_type": "ingestion", "payload": {"document_id": "doc-1"}}
        once = {"Idempotency-Key": secrets.token_hex(8)}
        with httpx.Client(
            transport=HttpFunction(few), base_url="http://test", headers={"X-API-Key": key}
        ) as http:
            first = http.post("/api/tasks", json=body, headers=once)
            assert first.status_code == 202, first.text
            refused = http.post("/api/tasks", json=body)
            problem(refused, 429, "rate_limited")
            assert int(refused.headers["retry-after"]) > 0
            problem(upload(http, params={"task": "ingestion"}), 429, "rate_limited")
            assert upload(http).status_code == 201
            assert http.post("/api/tasks", json=body, headers=once).status_code == 200
            assert http.post(f"{first.headers['location']}/cancel").status_code == 202
        few.close()


class TestListing:
    def test_tasks_come_in_pages(self, http: httpx.Client) -> None:
        for _ in range(3):
            http.post("/api/tasks", json={"task_type": "ingestion", "payload": {"document_id": "doc-none"}})
        first = http.get("/api/tasks?limit=2").json()
        second = http.get("/api/tasks", params={"limit": 2, "cursor": first["next_cursor"]}).json()
        created = [item["created_at"] for item in [*first["items"], *second["items"]]]
        assert created == sorted(created, reverse=True) and len(set(created)) >= 3
        only = http.get("/api/tasks?task_type=summarization").json()["items"]
        assert {item["task_type"] for item in only} <= {"summarization"}

    @pytest.mark.parametrize("query", ["limit=0", "limit=201", "status=lost", "cursor=nonsense"])
    def test_wrong_questions(self, http: httpx.Client, query: str) -> None:
        problem(http.get(f"/api/tasks?{query}"), 422, "invalid_payload")

    @pytest.mark.parametrize(
        "path", ["/api/nothing", "/api/tasks/task-unknown", "/api/documents/doc-unknown"]
    )
    def test_what_is_not_there(self, http: httpx.Client, path: str) -> None:
        problem(http.get(path), 404, "not_found")

    def test_a_method_that_is_not_there(self, http: httpx.Client) -> None:
        problem(http.delete("/api/tasks"), 405, "method_not_allowed")


class TestDocuments:
    def test_uploads_of_one_file_at_once_leave_one_file(self, http: httpx.Client, core: Core) -> None:
        content = secrets.token_bytes(20)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            sent = [
                pool.submit(http.post, "/api/documents", files={"file": ("a.txt", content)}) for _ in range(8)
            ]
        answers = [future.result() for future in sent]
        assert {answer.status_code for answer in answers} <= {200, 201}
        (document_id,) = {answer.json()["document_id"] for answer in answers}
        (file,) = core.blobs.below(f"default/uploads/{document_id}/")
        document = core.documents.get("default", document_id)
        assert document is not None and document.blob == file.name and document.immutable

    def test_a_file_is_stored_once(self, http: httpx.Client) -> None:
        content = secrets.token_bytes(20).hex().encode()
        first, again = upload(http, "r\u00e9port.txt", content), upload(http, "r\u00e9port.txt", content)
        assert (first.status_code, again.status_code) == (201, 200), first.text
        document = first.json()
        assert document["task"] is None
        assert list(document)[:-1] == [
            "document_id", "client_id", "filename", "content_type", "size", "sha256", "status", "pages",
            "chunks", "embedding_model", "created_at", "updated_at",
        ]  # fmt: skip
        assert (document["filename"], document["size"], document["status"]) == (
            "r\u00e9port.txt",
            40,
            "stored",
        )
        assert again.json() == document
        assert upload(http, "other.txt", content).json()["document_id"] != document["document_id"]
        url = f"/api/documents/{document['document_id']}"
        assert http.get(url).json() == {name: document[name] for name in document if name != "task"}
        for part in ("markdown", "summary", "chunks"):
            problem(http.get(f"{url}/{part}"), 404, "not_ready")

    def test_a_task_may_be_asked_for_at_once(self, http: httpx.Client) -> None:
        answer = upload(http, params={"task": "ingestion"})
        task = answer.json()["task"]
        assert task["task_type"] == "ingestion"
        assert task["payload"] == {"document_id": answer.json()["document_id"]}
        assert answer.headers["location"] == f"/api/tasks/{task['task_id']}"
        problem(upload(http, params={"task": "nothing"}), 422, "unknown_task_type")

    @pytest.mark.parametrize(
        ("given", "stored"),
        [
            ("../../etc/passwd", "passwd"),
            ("C:\\docs\\a.txt", "a.txt"),
            ("x" * 300 + ".pdf", None),
            ("..", "422"),
        ],
    )
    def test_names_lead_nowhere(self, http: httpx.Client, given: str, stored: str | None) -> None:
        answer = upload(http, given)
        if stored == "422":
            problem(answer, 422, "invalid_payload")
            return
        name = answer.json()["filename"]
        assert name == stored if stored else (len(name) <= 200 and name.endswith(".pdf"))

    def test_a_file_that_is_too_large_is_told_where_to_go(self, app: App, core: Core) -> None:
        small = Core(core.settings.model_copy(update={"max_multipart_bytes": 1000}))
        headers = {"X-API-Key": app.environment["DOCMILL_API_KEY"]}
        with httpx.Client(transport=HttpFunction(small), base_url="http://test", headers=headers) as http:
            for size in (1001, 200_000):
                body = problem(upload(http, "a.txt", b"x" * size), 413, "payload_too_large")
                assert "/api/documents/uploads" in body["detail"]
        small.close()

    def test_a_form_without_a_file(self, http: httpx.Client) -> None:
        problem(http.post("/api/documents", data={"a": "b"}), 422, "invalid_payload")

    def test_a_deleted_document_is_gone_and_may_come_again(self, http: httpx.Client, core: Core) -> None:
        content = secrets.token_hex(20).encode()
        document = upload(http, "gone.txt", content).json()
        url = f"/api/documents/{document['document_id']}"
        assert http.delete(url).status_code == 204
        problem(http.get(url), 404, "not_found")
        assert http.delete(url).status_code == 204  # an interrupted deletion can be finished
        problem(http.delete("/api/documents/doc-unknown"), 404, "not_found")
        listed = http.get("/api/documents?limit=200").json()["items"]
        assert document["document_id"] not in {item["document_id"] for item in listed}
        again = upload(http, "gone.txt", content)
        assert (again.status_code, again.json()["document_id"]) == (201, document["document_id"])


def announce(http: httpx.Client, size: int, name: str = "note.txt", **more: Any) -> dict[str, Any]:
    answer = http.post("/api/documents/uploads", json={"filename": name, "size": size, **more})
    assert answer.status_code == 201, answer.text
    announced: dict[str, Any] = answer.json()
    return announced


def put(announced: dict[str, Any], content: bytes) -> httpx.Response:
    """As any client would, with nothing but what the answer says."""
    way = announced["upload"]
    return httpx.request(way["method"], way["url"], headers=way["headers"], content=content, trust_env=False)


def finished(http: httpx.Client, task_type: str, document: dict[str, Any]) -> dict[str, Any]:
    body = {"task_type": task_type, "payload": {"document_id": document["document_id"]}}
    task = http.post("/api/tasks", json=body).json()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and task["status"] not in {"failed", "succeeded"}:
        task = http.get(f"/api/tasks/{task['task_id']}?wait=10").json()
    found: dict[str, Any] = task
    return found


class TestUploads:
    def test_a_file_goes_straight_to_storage(self, http: httpx.Client, core: Core) -> None:
        content = b"The sluice was mended in March. " + secrets.token_hex(8).encode()
        announced = announce(http, len(content), "../sluice.txt")
        document, way = announced["document"], announced["upload"]
        assert (document["status"], document["size"], document["sha256"]) == ("pending", len(content), None)
        assert (document["filename"], document["content_type"]) == ("sluice.txt", "text/plain")
        assert way["method"] == "PUT"
        assert way["headers"] == {"x-ms-blob-type": "BlockBlob", "Content-Type": "text/plain"}
        assert way["expires_at"].endswith("Z")
        url = f"/api/documents/{document['document_id']}"
        assert http.get(url).json() == document

        assert put(announced, content).status_code == 201
        assert put(announced, b"x" * len(content)).status_code == 403
        assert http.get(url).json()["status"] == "stored"
        problem(http.post(f"{url}/upload"), 409, "conflict")
        task = finished(http, "ingestion", document)
        assert task["status"] == "succeeded", task["error"]
        ingested = http.get(url).json()
        assert (ingested["status"], ingested["size"]) == ("ingested", len(content))
        assert len(ingested["sha256"]) == 64
        row = core.tasks.get("default", task["task_id"])
        kept = core.documents.get("default", document["document_id"])
        assert row is not None and kept is not None and row.task.source_etag == kept.etag
        found = http.post("/api/search", json={"query": "sluice", "document_id": document["document_id"]})
        assert found.json()["matches"]

    def test_two_files_of_one_name_are_two_documents(self, http: httpx.Client) -> None:
        first, second = announce(http, 5), announce(http, 5)
        assert first["document"]["document_id"] != second["document"]["document_id"]
        assert put(first, b"first").status_code == put(second, b"other").status_code == 201

    def test_a_task_that_comes_before_the_file_says_so(self, http: httpx.Client) -> None:
        task = finished(http, "summarization", announce(http, 5)["document"])
        assert task["error"]["code"] == "blob_not_found"
        assert "Upload it first" in task["error"]["message"]

    def test_the_format_is_told_by_the_content(self, http: httpx.Client) -> None:
        announced = announce(http, 4, "report.pdf")
        assert put(announced, b"\x00\x01\x02\x03").status_code == 201
        task = finished(http, "ingestion", announced["document"])
        assert task["error"]["code"] in {"unsupported_format", "document_corrupt"}

    def test_a_file_of_another_size_is_refused(self, http: httpx.Client) -> None:
        announced = announce(http, 100)
        put(announced, b"cut short")
        assert (
            http.get(f"/api/documents/{announced['document']['document_id']}").json()["status"] == "pending"
        )
        task = finished(http, "ingestion", announced["document"])
        assert task["error"]["code"] == "document_corrupt"
        assert "9 bytes, but 100 were announced" in task["error"]["message"]

    def test_a_new_address_leads_to_the_same_file(self, http: httpx.Client, acme: dict[str, str]) -> None:
        announced = announce(http, 5)
        url = f"/api/documents/{announced['document']['document_id']}/upload"
        problem(http.post(url, headers=acme), 404, "not_found")
        again = http.post(url).json()
        assert again["document"] == announced["document"]
        assert put(again, b"fifth").status_code == 201
        assert put(announced, b"other").status_code == 403

    def test_a_deleted_one_is_gone(self, http: httpx.Client, core: Core) -> None:
        announced = announce(http, 5)
        url = f"/api/documents/{announced['document']['document_id']}"
        assert put(announced, b"fifth").status_code == 201
        assert http.delete(url).status_code == 204
        problem(http.get(url), 404, "not_found")
        problem(http.post(f"{url}/upload"), 404, "not_found")
        assert core.blobs.below(f"default/uploads/{announced['document']['document_id']}/") == []

    def test_a_file_that_is_too_large_is_refused_at_once(self, http: httpx.Client, core: Core) -> None:
        limit = core.settings.max_upload_bytes
        body = {"filename": "a.txt", "size": limit + 1}
        assert (
            str(limit)
            in problem(http.post("/api/documents/uploads", json=body), 413, "payload_too_large")["detail"]
        )
        assert announce(http, limit)["document"]["size"] == limit

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"filename": "a.txt"},
            {"filename": "a.txt", "size": -1},
            {"filename": "a.txt", "size": "many"},
            {"filename": "", "size": 1},
            {"filename": "..", "size": 1},
            {"filename": "a.txt", "size": 1, "more": 1},
        ],
    )
    def test_wrong_announcements(self, http: httpx.Client, body: dict[str, Any]) -> None:
        problem(http.post("/api/documents/uploads", json=body), 422, "invalid_payload")


class TestIsolation:
    def test_nothing_of_another_client_is_seen_by_any_route(
        self, http: httpx.Client, acme: dict[str, str]
    ) -> None:
        content = secrets.token_hex(20).encode()
        mine = upload(http, "same.txt", content, params={"task": "ingestion"}).json()
        theirs = upload(http, "same.txt", content, headers=acme).json()
        assert mine["document_id"] != theirs["document_id"]
        task, document = f"/api/tasks/{mine['task']['task_id']}", f"/api/documents/{mine['document_id']}"
        for path in (task, f"{task}?wait=1", f"{task}/result", document):
            problem(http.get(path, headers=acme), 404, "not_found")
        for part in ("markdown", "summary", "chunks"):
            problem(http.get(f"{document}/{part}", headers=acme), 404, "not_found")
        problem(http.delete(document, headers=acme), 404, "not_found")
        assert http.get(document).status_code == 200
        for path in ("/api/tasks?limit=200", "/api/documents?limit=200"):
            assert {item["client_id"] for item in http.get(path, headers=acme).json()["items"]} == {"acme"}

    def test_a_task_for_anothers_document_finds_nothing(
        self, http: httpx.Client, acme: dict[str, str]
    ) -> None:
        mine = upload(http, "mine.txt").json()
        body = {"task_type": "ingestion", "payload": {"document_id": mine["document_id"]}}
        task = http.post("/api/tasks", json=body, headers=acme).json()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and task["status"] not in {"failed", "succeeded"}:
            task = http.get(f"/api/tasks/{task['task_id']}?wait=10", headers=acme).json()
        assert task["error"]["code"] == "blob_not_found"


class TestSearch:
    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"query": ""},
            {"query": "a", "top_k": 0},
            {"query": "a", "top_k": 51},
            {"query": "a", "mode": "x"},
        ],
    )
    def test_wrong_questions(self, http: httpx.Client, body: dict[str, Any]) -> None:
        problem(http.post("/api/search", json=body), 422, "invalid_payload")

    @pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
    def test_a_question_without_an_answer(self, http: httpx.Client, mode: str) -> None:
        body = {"query": "anything", "mode": mode, "document_id": "doc-unknown"}
        assert http.post("/api/search", json=body).json() == {"matches": []}
