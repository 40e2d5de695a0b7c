"""What becomes of a Supabase that is away, broken, slow or not set up: one error, soon."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local.stack import Stack
from shared import deadline
from shared.errors import IndexUnavailable, TaskTimeout
from shared.storage.supabase import SCHEMA_VERSION, SupabaseDocuments
from tests.conftest import SupabaseService
from tests.model_server import Reply, running

Answer = tuple[int, str]


class Server:
    """Answers each request by the next of `answers`, the last one for ever, and counts them."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                status, body = server.next()
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if body.startswith("<") else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def next(self) -> Answer:
        self.requests += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def documents(server: Server) -> Iterator[SupabaseDocuments]:
    with SupabaseDocuments(server.url, "sb_secret_x", timeout=5) as documents:
        yield documents


@pytest.mark.parametrize("behind", [1, 0, -1], ids=["older", "the same", "newer"])
def test_a_schema_of_a_later_release_will_do(
    documents: SupabaseDocuments, server: Server, behind: int
) -> None:
    """When the app is rolled back, its schema is not."""
    server.answers = [(200, str(SCHEMA_VERSION - behind))]
    with pytest.raises(IndexUnavailable, match="migrations") if behind > 0 else nullcontext():
        documents.ping(5)


@pytest.mark.parametrize("body", ["null", '"3"', "{}"])
def test_what_is_no_version_is_no_schema(documents: SupabaseDocuments, server: Server, body: str) -> None:
    server.answers = [(200, body)]
    with pytest.raises(IndexUnavailable, match="migrations"):
        documents.ping(5)


CALLS: dict[str, Callable[[SupabaseDocuments], object]] = {
    "get": lambda documents: documents.get("acme", "doc"),
    "page": lambda documents: documents.page("acme"),
    "begin": lambda documents: documents.begin("acme", "doc"),
    "chunks": lambda documents: documents.chunks("acme", "doc"),
    "known": lambda documents: documents.known("acme", "m", ["h"]),
    "ping": lambda documents: documents.ping(1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_server_that_is_away(call: Callable[[SupabaseDocuments], object]) -> None:
    with (
        SupabaseDocuments("http://127.0.0.1:9", "sb_secret_x", timeout=1) as documents,
        pytest.raises(IndexUnavailable, match="out of reach") as caught,
    ):
        call(documents)
    assert "127.0.0.1" not in caught.value.message


@pytest.mark.parametrize(
    "answer",
    [
        (500, '{"code": "XX000", "message": "secret detail", "details": null, "hint": null}'),
        (502, "<html>Bad gateway</html>"),
        (400, '{"code": "22P02", "message": "secret detail", "details": null, "hint": null}'),
        (200, "<html>a captive portal</html>"),
        (0, ""),
    ],
)
@pytest.mark.parametrize("call", ["known", "ping"])
def test_a_server_that_is_broken(
    server: Server, documents: SupabaseDocuments, call: str, answer: Answer
) -> None:
    server.answers = [answer]
    with pytest.raises(IndexUnavailable) as caught:
        CALLS[call](documents)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "answer",
    [
        (401, '{"message": "Invalid API key"}'),
        (403, '{"code": "42501", "message": "permission denied for function docmill_search"}'),
        (404, '{"code": "PGRST202", "message": "Could not find the function"}'),
    ],
)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_server_that_is_not_set_up(
    server: Server, documents: SupabaseDocuments, call: Callable[[SupabaseDocuments], object], answer: Answer
) -> None:
    server.answers = [answer]
    with pytest.raises(IndexUnavailable, match="apply the migrations in supabase/migrations"):
        call(documents)
    assert server.requests == 1


@pytest.mark.parametrize("hiccup", [(503, "{}"), (500, "{}"), (0, "")])
def test_a_hiccup_is_tried_again(server: Server, documents: SupabaseDocuments, hiccup: Answer) -> None:
    server.answers = [hiccup, hiccup, (200, "7")]
    assert documents.begin("acme", "doc") == 7
    assert server.requests == 3


def test_a_deletion_that_may_have_happened_is_not_tried_again(
    server: Server, documents: SupabaseDocuments
) -> None:
    """The second answer would be that there is no such document."""
    server.answers = [(0, ""), (200, "null")]
    with pytest.raises(IndexUnavailable):
        documents.delete("acme", "doc")
    assert server.requests == 1


def test_the_publishable_key_is_refused(supabase: SupabaseService, services: Stack) -> None:
    with (
        SupabaseDocuments(supabase.url, services.secrets.supabase.publishable) as documents,
        pytest.raises(IndexUnavailable, match="use the service key"),
    ):
        documents.ping(5)


def test_a_closed_store_opens_again(supabase: SupabaseService) -> None:
    documents = SupabaseDocuments(supabase.url, supabase.key)
    documents.close()
    assert documents.get("nobody", "doc") is None
    documents.close()
    documents.close()


def test_a_cheap_beginning() -> None:
    """Nothing is imported or connected before the first call."""
    SupabaseDocuments("http://127.0.0.1:9", "sb_secret_x").close()


def test_an_answer_that_drips_outlasts_neither_time() -> None:
    with running() as drips:
        drips.always = Reply(drip=True)
        with SupabaseDocuments(drips.url, "sb_secret_x", timeout=1) as documents:
            with pytest.raises(IndexUnavailable):
                documents.begin("acme", "doc")
            with deadline.within(0.6), pytest.raises(TaskTimeout):
                documents.begin("acme", "doc")
