"""A small real HTTP server that speaks OpenAI's API, records requests and can be told to misbehave."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from random import Random
from typing import Any

from shared.providers.extractive import summarize
from shared.providers.local import LocalModel

MODEL = LocalModel()
DOCUMENT = re.compile(r"<document-([0-9a-f]+)>\n(.*)\n</document-\1>", re.DOTALL)


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drip: bool = False
    """One byte of the body, and then one of white space each half second, for ever."""


def error(status: int, code: str | None = None, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"message": "no", "type": code, "code": code, "param": None}}, named)


def chat(content: str | None, finish: str = "stop") -> Reply:
    return Reply(body=_chat_body(content, finish))


def embeddings(count: int) -> Reply:
    return Reply(body={"data": [{"index": index, "embedding": [1.0]} for index in range(count)]})


class ModelServer(ThreadingHTTPServer):
    """`replies`: answers for the next requests (None: as it should); afterwards `always`, or as it should.

    `texts`: how many it has embedded. `quick`: embeds by chance, which costs nothing and means nothing.
    `bears`: how many requests at once; more are refused. `slow`: seconds that a request takes at least.
    `under_way`: requests at once; `most` of them so far, `refused` for being too many.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: list[Reply | None] = []
        self.always: Reply | None = None
        self.texts = 0
        self.quick = False
        self.bears = 1000
        self.slow = 0.0
        self.under_way = self.most = self.refused = 0
        self.counting = threading.Lock()
        self.requests: list[Request] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._reply({"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self) -> None:
        if self._bears_it():
            self._reply(None)
            return
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self._send(error(429, "rate_limit_exceeded", retry_after_ms="20"))

    def _bears_it(self) -> bool:
        """Counted out before the answer is sent: whoever has that may send the next request at once."""
        with self.server.counting:
            self.server.under_way += 1
            self.server.most = max(self.server.most, self.server.under_way)
            bears = self.server.under_way <= self.server.bears
            self.server.refused += not bears
        time.sleep(self.server.slow)
        with self.server.counting:
            self.server.under_way -= 1
        return bears

    def _reply(self, listing: dict[str, Any] | None) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.loads(raw) if raw else {}
        self.server.requests.append(
            Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        )
        reply = self.server.replies.pop(0) if self.server.replies else self.server.always
        if reply is None:
            answers = {**ANSWERS, "/embeddings": _by_chance} if self.server.quick else ANSWERS
            reply = Reply(body=listing or answers[self.path.partition("/v1")[2]](body))
            self.server.texts += len(body.get("input", ()))
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        if reply.hang:
            self.server.released.wait(30)
            self.close_connection = True
            return
        if reply.drip:
            self._drip()
            return
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _drip(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        with suppress(OSError):
            while not self.server.released.wait(0.5):
                self.wfile.write(b" ")

    def log_message(self, format: str, *args: object) -> None:
        pass


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    found = MODEL.embed(body["input"], timeout=60)
    # Backwards and not of length 1, so that order and norm are the client's to restore.
    data = [
        {"object": "embedding", "index": index, "embedding": _stretched(vector, body)}
        for index, vector in reversed(list(enumerate(found.vectors)))
    ]
    return {"object": "list", "model": body["model"], "data": data, "usage": {"prompt_tokens": found.tokens}}


def _stretched(vector: tuple[float, ...], body: dict[str, Any]) -> list[float]:
    """As long as was asked for, over and over again; not of length 1."""
    return [3 * value for value in islice(cycle(vector), body.get("dimensions", len(vector)))]


def _by_chance(body: dict[str, Any]) -> dict[str, Any]:
    made, size = [Random(text) for text in body["input"]], body.get("dimensions", MODEL.dimensions)
    data = [
        {
            "index": index,
            "embedding": [chance.uniform(-1, 1) for _ in range(size)],
        }
        for index, chance in enumerate(made)
    ]
    return {"data": data, "usage": {"prompt_tokens": len(data)}}


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    document = DOCUMENT.search(body["messages"][-1]["content"])
    bullets = '"- "' in body["messages"][0]["content"]
    text = summarize(document[2] if document else "", "short", "bullets" if bullets else "paragraph")
    return _chat_body(text, "stop")


def _chat_body(content: str | None, finish: str) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}
    return {"choices": [choice], "usage": {"prompt_tokens": 50, "completion_tokens": 10}}


ANSWERS = {"/embeddings": _embeddings, "/chat/completions": _completion}


@contextmanager
def running() -> Iterator[ModelServer]:
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
