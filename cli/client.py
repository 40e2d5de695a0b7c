"""Docmill's HTTP API as the command line and the demo use it.

    Failure                exit status
    |-- Misuse             2  wrong usage: no key, a wrong key, no such task, a payload that is refused
    |   |-- TaskUnsuccessful  1  the task that was asked about failed or was cancelled
    |   |-- Unreadable     2  a file of this machine cannot be read
    |-- OutOfReach         3  no connection, no answer in time, 5xx, 429
    |   |-- Busy              429 and 503 that say when to come again
    |   |-- CutOff            the connection ended in the middle

What the API sends is passed on as the JSON that it is (`Json`), so that `--json` prints every member.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, cast
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx

Json = dict[str, Any]

DEFAULT_URL = "http://127.0.0.1:7071"
FINAL = frozenset({"succeeded", "failed", "cancelled"})
POLL_SECONDS = 20
"""How long one request waits for a change; the API allows 30, some proxies cut at 30 as well."""
PATIENCE_SECONDS = 60
"""How long a wait bears a service that is away, a restart for instance."""
_TIMEOUT = httpx.Timeout(60, connect=5)
_TASK_FAILED = frozenset({"task_failed", "task_cancelled"})


class Failure(Exception):
    """Ends a command. The text is one line for the person who typed it."""

    exit_status: ClassVar[int] = 2


class Misuse(Failure):
    """The request was wrong, or the service refused it with `status`."""

    def __init__(self, message: str, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class TaskUnsuccessful(Misuse):
    """The task failed or was cancelled."""

    exit_status = 1


class Unreadable(Misuse):
    """A file that was named cannot be read."""


class OutOfReach(Failure):
    """The service did not answer, or said that it cannot at the moment: then `answer` is what it said."""

    exit_status = 3
    answer: Json | None = None


class Busy(OutOfReach):
    """`retry_after`: seconds that the service asks for."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CutOff(OutOfReach):
    """The other side closed the connection while we were still sending, or before it had answered."""


class Api:
    """One client of one Docmill. Threads may share it. Every method raises Failure."""

    def __init__(self, url: str, key: str) -> None:
        try:
            self._http = httpx.Client(
                base_url=url,
                headers={"X-API-Key": key},
                timeout=_TIMEOUT,
                trust_env=not is_local(url),  # no proxy stands between this machine and itself
            )
        except (httpx.InvalidURL, UnicodeError, ValueError):
            raise Misuse("DOCMILL_URL or the API key holds characters that cannot be sent.") from None
        self.identity = hashlib.sha256(f"{url}\0{key}".encode()).hexdigest()
        """Tells one client of one service from another, and no key."""

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def health(self) -> Json:
        """`{status, version}`. 404 is out of reach: so answers a host that has no functions yet."""
        try:
            return self._json("GET", "/api/health")
        except Misuse as error:
            if error.status == httpx.codes.NOT_FOUND:
                raise OutOfReach("There is no Docmill at this URL, or it has not started yet.") from error
            raise

    def ready(self) -> Json:
        """`{status, checks}`, also when something is not ready: `checks` says what is wrong with it."""
        try:
            return self._json("GET", "/api/health/ready")
        except OutOfReach as error:
            if error.answer is not None and "checks" in error.answer:
                return error.answer
            raise

    def upload(self, path: Path) -> Json:
        """The Document; the same one again when this file was uploaded before."""
        try:
            with path.open("rb") as file:
                return self._json("POST", "/api/documents", files={"file": (path.name, file)})
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror or 'cannot be read'}.") from error

    def announce(self, filename: str, size: int) -> Json:
        """`{document, upload}` of a file that goes straight to storage, in blocks."""
        return self._json(
            "POST", "/api/documents/uploads", json={"filename": filename, "size": size, "blocks": True}
        )

    def renew(self, document_id: str) -> Json:
        """The same with a new address."""
        return self._json("POST", f"/api/documents/{_part(document_id)}/upload", params={"blocks": True})

    def submit(
        self, task_type: str, payload: Json, webhook_url: str | None = None, key: str | None = None
    ) -> Json:
        """The Task, accepted. The idempotency key, a random one by default, makes a repetition harmless."""
        body: Json = {"task_type": task_type, "payload": payload}
        if webhook_url:
            body["webhook_url"] = webhook_url
        return self._json("POST", "/api/tasks", json=body, headers={"Idempotency-Key": key or str(uuid4())})

    def task(self, task_id: str) -> Json:
        return self._json("GET", f"/api/tasks/{_part(task_id)}")

    def tasks(self, **query: str | int | None) -> Json:
        return self._json("GET", "/api/tasks", params=_given(query))

    def result(self, task_id: str) -> Json:
        return self._json("GET", f"/api/tasks/{_part(task_id)}/result")

    def cancel(self, task_id: str) -> Json:
        """The Task: cancelled, or `cancelling` until its worker has stopped."""
        return self._json("POST", f"/api/tasks/{_part(task_id)}/cancel")

    def retry(self, task_id: str) -> Json:
        """The Task, queued again."""
        return self._json("POST", f"/api/tasks/{_part(task_id)}/retry")

    def dead_letters(self, **query: str | int | None) -> Json:
        return self._json("GET", "/api/dead-letters", params=_given(query))

    def create_webhook(self, wish: Json) -> Json:
        """The Webhook with its `secret`, which is not shown again."""
        return self._json("POST", "/api/webhooks", json=wish)

    def webhooks(self, **query: str | int | None) -> Json:
        return self._json("GET", "/api/webhooks", params=_given(query))

    def webhook(self, webhook_id: str) -> Json:
        return self._json("GET", _webhook(webhook_id))

    def update_webhook(self, webhook_id: str, changes: Json) -> Json:
        return self._json("PATCH", _webhook(webhook_id), json=changes)

    def delete_webhook(self, webhook_id: str) -> None:
        self._send("DELETE", _webhook(webhook_id))

    def rotate_webhook(self, webhook_id: str, overlap_seconds: int) -> Json:
        """`{webhook_id, secret, previous_until}`."""
        body = {"overlap_seconds": overlap_seconds}
        return self._json("POST", f"{_webhook(webhook_id)}/secret/rotate", json=body)

    def test_webhook(self, webhook_id: str, event_type: str | None = None) -> Json:
        """The Delivery of an example."""
        body = _given({"event_type": event_type})
        return self._json("POST", f"{_webhook(webhook_id)}/test", json=body)

    def recover_webhook(self, webhook_id: str, since: str) -> Json:
        """`{recovered, complete}`; if not complete, the same request goes on."""
        return self._json("POST", f"{_webhook(webhook_id)}/recover", json={"since": since})

    def webhook_deliveries(self, webhook_id: str, **query: str | int | None) -> Json:
        return self._json("GET", f"{_webhook(webhook_id)}/deliveries", params=_given(query))

    def task_deliveries(self, task_id: str, **query: str | int | None) -> Json:
        return self._json("GET", f"/api/tasks/{_part(task_id)}/deliveries", params=_given(query))

    def delivery(self, delivery_id: str) -> Json:
        return self._json("GET", f"/api/webhooks/deliveries/{_part(delivery_id)}")

    def redeliver(self, delivery_id: str) -> Json:
        """The Delivery, pending again."""
        return self._json("POST", f"/api/webhooks/deliveries/{_part(delivery_id)}/redeliver")

    def documents(self, **query: str | int | None) -> Json:
        return self._json("GET", "/api/documents", params=_given(query))

    def document(self, document_id: str) -> Json:
        return self._json("GET", f"/api/documents/{_part(document_id)}")

    def delete_document(self, document_id: str) -> None:
        """With everything that was made of it. Its tasks are cancelled."""
        self._send("DELETE", f"/api/documents/{_part(document_id)}")

    def search(
        self, query: str, top_k: int = 5, mode: str = "hybrid", document_id: str | None = None
    ) -> Json:
        body = _given({"query": query, "top_k": top_k, "mode": mode, "document_id": document_id})
        return self._json("POST", "/api/search", json=body)

    def watch(self, task_id: str) -> Iterator[Json]:
        """The Task now and after every visible change, the final state last (long polling)."""
        task, etag = self._changed(task_id, None, 0)
        while task is None or task["status"] not in FINAL:
            if task is not None:
                yield task
            task, etag = self._changed(task_id, etag, POLL_SECONDS)
        yield task

    def _changed(self, task_id: str, etag: str | None, wait: int) -> tuple[Json | None, str | None]:
        """The Task if it differs from the one of `etag`, and its ETag."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            began = time.monotonic()
            try:
                answer = self._send(
                    "GET",
                    f"/api/tasks/{_part(task_id)}",
                    params={"wait": wait},
                    headers={"If-None-Match": etag} if etag else {},
                )
            except OutOfReach:
                if time.monotonic() > until:
                    raise
            else:
                if answer.status_code != httpx.codes.NOT_MODIFIED:
                    return _decoded(answer), answer.headers.get("etag")
                if time.monotonic() - began > 1:
                    return None, etag
            time.sleep(1)

    def _json(self, method: str, path: str, **request: Any) -> Json:
        return _decoded(self._send(method, path, **request))

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TimeoutException as error:
            raise OutOfReach(f"{self._where} did not answer in time.") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise Misuse("DOCMILL_URL is not a URL. Example: DOCMILL_URL=http://127.0.0.1:7071") from error
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError) as error:
            raise CutOff(f"{self._where} ended the connection. Try again.") from error
        except httpx.TransportError as error:
            raise OutOfReach(f"{self._where} is out of reach. Is it running (`make up`)?") from error
        if answer.is_success or answer.status_code == httpx.codes.NOT_MODIFIED:
            return answer
        raise _failure(answer)

    @property
    def _where(self) -> str:
        """Without a user or password that somebody put into the URL."""
        url = self._http.base_url
        return f"{url.scheme}://{url.netloc.decode()}"


def _failure(answer: httpx.Response) -> Failure:
    """What a problem+json, or any other refusal, means for the one who typed the command."""
    problem = _object(answer) or {}
    detail = str(
        problem.get("detail") or problem.get("title") or f"The service answered {answer.status_code}."
    )
    detail += "".join(f" {_location(error)}: {error.get('msg')}." for error in problem.get("errors") or [])
    if answer.status_code >= 500 or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        wait = answer.headers.get("Retry-After", "")
        failure = Busy(detail, float(wait)) if wait.isdigit() else OutOfReach(detail)
        failure.answer = problem
        return failure
    kind = TaskUnsuccessful if problem.get("code") in _TASK_FAILED else Misuse
    return kind(detail, answer.status_code, problem.get("code"))


def _location(error: Json) -> str:
    return ".".join(str(part) for part in error.get("loc") or ["body"])


def _decoded(answer: httpx.Response) -> Json:
    value = _object(answer)
    if value is None:
        raise OutOfReach("Whatever answers there is not Docmill. Check DOCMILL_URL.")
    return value


def _object(answer: httpx.Response) -> Json | None:
    try:
        value = answer.json()
    except ValueError:
        return None
    return cast(Json, value) if isinstance(value, dict) else None


def _given(query: Json) -> Json:
    return {name: value for name, value in query.items() if value is not None}


def _webhook(webhook_id: str) -> str:
    return f"/api/webhooks/{_part(webhook_id)}"


def _part(name: str) -> str:
    return quote(name, safe="")


def is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
