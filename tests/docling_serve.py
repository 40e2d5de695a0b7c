"""A small real HTTP server that speaks the API of docling-serve v1, and can be told to misbehave.

Requests are checked by the models that Docling publishes for this API (`docling.datamodel.service`), and
answers are made with them: neither side of the conversation is ours alone.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from docling.datamodel.base_models import ConversionStatus, DoclingComponentType, ErrorItem
from docling_core.types.doc import DoclingDocument
from pydantic import ValidationError
from python_multipart import parse_form

from tests.docling_documents import timetable

with warnings.catch_warnings():
    # Its options read those of their own fields that are deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from docling.datamodel.service.options import ConvertDocumentsOptions
    from docling.datamodel.service.responses import (
        ConvertDocumentResponse,
        ExportDocumentResponse,
        PublicFailureInfo,
        TaskStatusResponse,
    )
    from docling.datamodel.service.tasks import TaskType

LAST_PAGE = 100_000


@dataclass(frozen=True)
class Reply:
    """What is sent in place of the right answer. `close`: nothing at all, the connection is closed."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drip: bool = False
    """White space every 0.2 s, for ever."""
    close: bool = False
    half: bool = False
    """The right answer up to the middle, then nothing."""


@dataclass(frozen=True)
class Submission:
    options: ConvertDocumentsOptions
    given: dict[str, list[str]]
    filename: str
    content: bytes


class DoclingServer(ThreadingHTTPServer):
    """`replies`: by kind of request (submit, poll, result, health) what the next ones get instead.

    `waits`: how many polls find a task pending, and then how many started. `outcome`: of every task.
    `document`: what the pages from a first to a last are made of.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key: str | None = None
        self.replies: dict[str, list[Reply]] = {}
        self.always: dict[str, Reply] = {}
        self.waits = (0, 0)
        self.outcome = ConversionStatus.SUCCESS
        self.errors: list[ErrorItem] = []
        self.failure: PublicFailureInfo | None = None
        self.failed = False
        self.document: Callable[[int, int], DoclingDocument] = timetable
        self.discards = False
        self.submissions: list[Submission] = []
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.tasks: dict[str, Submission] = {}
        self.polls: dict[str, int] = {}
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self, kind: str) -> int:
        return sum(kind == name for name, _, _ in self.seen)

    def reply(self, kind: str) -> Reply | None:
        waiting = self.replies.get(kind)
        return waiting.pop(0) if waiting else self.always.get(kind)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what half of these tests are about."""


def problem(message: str, category: str, page: int | None = None, *, component: str = "model") -> ErrorItem:
    return ErrorItem.model_validate(
        {
            "component_type": DoclingComponentType(component),
            "module_name": "test",
            "error_message": message,
            "category": category,
            "page_no": page,
        }
    )


class _Handler(BaseHTTPRequestHandler):
    server: DoclingServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/health":
            self._reply("health", lambda: {"status": "ok"})
        elif parts.path.startswith("/v1/status/poll/"):
            wait = float(parse_qs(parts.query).get("wait", ["0"])[0])
            self._reply("poll", lambda: self._status(parts.path.rsplit("/", 1)[1], wait))
        elif parts.path.startswith("/v1/result/"):
            self._reply("result", lambda: self._result(parts.path.rsplit("/", 1)[1]))
        else:
            self._send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        if self.path != "/v1/convert/file/async":
            self._send(404, {"detail": "Not Found"})
            return
        self._reply("submit", self._submit)

    def _reply(self, kind: str, answer: Callable[[], Any]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((kind, self.path, headers))
        reply = self.server.reply(kind)
        if reply and not reply.half:
            self._misbehave(reply)
        elif kind != "health" and self.server.key not in {None, headers.get("x-api-key")}:
            self._send(401, {"detail": "The provided API Key is invalid."})
        else:
            made = answer()
            status, body = made if isinstance(made, tuple) else (200, made)
            self._send(status, body, half=bool(reply))

    def _submit(self) -> Any:
        try:
            taken = self._submission()
        except ValidationError as error:
            return 422, {"detail": json.loads(error.json(include_url=False))}
        task_id = f"task-{len(self.server.tasks)}"
        self.server.tasks[task_id] = taken
        self.server.submissions.append(taken)
        return self._told(task_id, ConversionStatus.PENDING)

    def _submission(self) -> Submission:
        fields: dict[str, list[str]] = {}
        files: list[tuple[str, bytes]] = []

        def keep(file: Any) -> None:
            file.file_object.seek(0)
            files.append((file.file_name.decode(), file.file_object.read()))

        headers = {name: value.encode() for name, value in self.headers.items()}
        parse_form(
            headers,
            self.rfile,
            lambda item: fields.setdefault(item.field_name.decode(), []).append(item.value.decode()),
            keep,
        )
        options = {name: _form_value(name, values) for name, values in fields.items()}
        target = options.pop("target_type", "inbody")
        assert target == "inbody" and len(files) == 1
        assert set(options) <= set(ConvertDocumentsOptions.model_fields)
        return Submission(ConvertDocumentsOptions.model_validate(options), fields, *files[0])

    def _status(self, task_id: str, wait: float) -> Any:
        if task_id not in self.server.tasks:
            return 404, {"detail": "Task not found."}
        polls = self.server.polls[task_id] = self.server.polls.get(task_id, 0) + 1
        pending, started = self.server.waits
        if polls > pending + started:
            failed = self.server.failed
            return self._told(task_id, ConversionStatus.FAILURE if failed else ConversionStatus.SUCCESS)
        time.sleep(min(wait, 0.05))
        return self._told(task_id, ConversionStatus.PENDING if polls <= pending else ConversionStatus.STARTED)

    def _told(self, task_id: str, status: ConversionStatus) -> Any:
        answer = TaskStatusResponse(
            task_id=task_id,
            task_type=TaskType.CONVERT,
            task_status=status,
            task_position=1 if status is ConversionStatus.PENDING else None,
            failure=self.server.failure if status is ConversionStatus.FAILURE else None,
        )
        return answer.model_dump(mode="json", exclude_none=True)

    def _result(self, task_id: str) -> Any:
        if task_id not in self.server.tasks:
            return 404, {"detail": "Task not found."}
        first, last = self.server.tasks[task_id].options.page_range
        document = self.server.document(first, min(last, LAST_PAGE))
        answer = ConvertDocumentResponse(
            document=ExportDocumentResponse(filename="document.pdf", json_content=document),
            status=self.server.outcome,
            errors=self.server.errors,
            processing_time=0.5,
        )
        return answer.model_dump(mode="json")

    def _misbehave(self, reply: Reply) -> None:
        if self.server.discards:
            self._discard()
        if reply.hang:
            self.server.released.wait(30)
        if reply.drip:
            self._drip()
        if reply.hang or reply.drip or reply.close:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._discard()
        self._send(reply.status, reply.body, headers=reply.headers)

    def _discard(self) -> None:
        left = int(self.headers.get("content-length") or 0)
        while left > 0 and (part := self.rfile.read(min(left, 1 << 16))):
            left -= len(part)
        del self.headers["content-length"]  # so that it is not read twice

    def _send(
        self, status: int, body: Any, *, headers: dict[str, str] | None = None, half: bool = False
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        self.close_connection = half

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        with suppress(OSError):
            while not self.server.released.wait(0.2):
                self.wfile.write(b" ")

    def log_message(self, format: str, *args: object) -> None:
        pass


def _form_value(name: str, values: list[str]) -> Any:
    """Lists come as repeated fields, as in `FormDepends` of docling-serve."""
    declared = ConvertDocumentsOptions.model_fields.get(name)
    many = declared is not None and str(declared.annotation).startswith(("list", "typing.List", "tuple"))
    return values if many or name == "page_range" else values[-1]


@contextmanager
def running() -> Iterator[DoclingServer]:
    server = DoclingServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
