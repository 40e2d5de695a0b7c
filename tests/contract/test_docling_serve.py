"""PDFs and images that a docling-serve reads: what it is sent, what comes back, and all that may go wrong."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docling.datamodel.base_models import ConversionStatus, InputFormat, OutputFormat

from shared.documents import ConvertedDocument
from shared.errors import (
    ConversionCrashed,
    ConversionFailed,
    ConverterUnavailable,
    DocmillError,
    DocumentCorrupt,
    DocumentEmpty,
    DocumentEncrypted,
    DocumentTooLarge,
    TaskTimeout,
)
from shared.ports import ConversionOptions
from shared.providers.conversion.request import Limits
from shared.providers.docling import DoclingConverter
from shared.providers.docling_serve import DoclingServe
from shared.providers.tiers import TieredConverter
from tests.contract.test_converter import pdf
from tests.docling_documents import BLOCKS, PAGE_TWO, DoclingDocument, scan, timetable
from tests.docling_serve import DoclingServer, PublicFailureInfo, Reply, problem, running

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # see tests/docling_serve.py
KEY = "serve-key-0123456789"
TEXT = [("Helvetica", "Ferries leave on the hour.", 10.0)]
IMPATIENT = 0.5
"""Seconds that a client waits for an answer to begin, where none is to come."""


class Stop(Exception):
    """What a cancelled task's progress raises."""


@pytest.fixture(scope="module")
def own() -> Iterator[DoclingConverter]:
    made = DoclingConverter(processes=1, memory_mb=2048, limits=Limits(pages=20, expanded_bytes=1 << 22))
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[DoclingServer]:
    with running() as server:
        yield server


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    path = tmp_path / "a secret name"
    path.write_bytes(pdf(TEXT, TEXT))
    return path


Read = Callable[..., ConvertedDocument]


@pytest.fixture
def read(own: DoclingConverter, server: DoclingServer, paper: Path) -> Read:
    def _read(
        path: Path = paper,
        fmt: str = "pdf",
        pages: tuple[int, int] | None = None,
        timeout: float = 30,
        patience: float = 20,
        progress: Callable[[int, int], None] = lambda done, total: None,
        **options: object,
    ) -> ConvertedDocument:
        client = DoclingServe(server.url, KEY, own, request_timeout=patience, backoff=0.05)
        wanted = ConversionOptions.model_validate(options)
        return client.read(path, fmt, wanted, pages, timeout=timeout, progress=progress)

    return _read


# --- what is sent and what comes back --------------------------------------------------------------------


def test_a_document_comes_back_in_blocks(read: Read) -> None:
    document = read()
    assert document.blocks == BLOCKS
    assert (document.format, document.title, document.pages) == ("pdf", "Ferry timetable", 2)
    assert (document.warnings, document.unread) == ((), ())


def test_what_the_server_is_asked(read: Read, server: DoclingServer, paper: Path) -> None:
    server.key = KEY
    read(timeout=30)
    (sent,) = server.submissions
    options = sent.options
    assert (sent.filename, sent.content) == ("document.pdf", paper.read_bytes())
    assert (options.from_formats, options.to_formats) == ([InputFormat.PDF], [OutputFormat.JSON])
    assert (options.do_ocr, options.force_ocr, options.include_images) == (True, False, False)
    assert options.image_export_mode.value == "placeholder"
    # Behind our own deadline: a server that stops first would hand out a part of the document.
    assert options.document_timeout is not None and 30 < options.document_timeout <= 60
    assert all(headers["x-api-key"] == KEY for _, _, headers in server.seen)
    assert all("secret" not in path for _, path, _ in server.seen)


@pytest.mark.parametrize(
    ("ocr", "wanted"), [("auto", (True, False)), ("always", (True, True)), ("never", (False, False))]
)
def test_ocr_is_what_the_task_says(
    read: Read, server: DoclingServer, ocr: str, wanted: tuple[bool, bool]
) -> None:
    read(ocr=ocr)
    (sent,) = server.submissions
    assert (sent.options.do_ocr, sent.options.force_ocr) == wanted


def test_a_range_of_pages(read: Read, server: DoclingServer) -> None:
    document = read(pages=(2, 2))
    assert server.submissions[0].options.page_range == (2, 2)
    assert document.blocks == PAGE_TWO


def test_an_image(read: Read, server: DoclingServer, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    server.document = lambda first, last: scan(first, last, total=1)
    document = read(path, "png")
    (sent,) = server.submissions
    assert (sent.filename, sent.options.from_formats) == ("document.png", [InputFormat.IMAGE])
    assert (document.format, document.pages, document.title) == ("png", 1, "Sheet 1")


def test_it_waits_in_the_queue_of_the_server(read: Read, server: DoclingServer) -> None:
    server.waits = (3, 2)
    said: list[tuple[int, int]] = []
    read(progress=lambda done, total: said.append((done, total)))
    assert server.asked("poll") == 6
    assert said[-1] == (2, 2) and all(pair == (0, said[0][1]) for pair in said[:1])


def test_without_a_key_none_is_sent(own: DoclingConverter, server: DoclingServer, paper: Path) -> None:
    client = DoclingServe(f"{server.url}/v1/", None, own)
    client.read(paper, "pdf", ConversionOptions(), None, timeout=30, progress=lambda done, total: None)
    assert all("x-api-key" not in headers for _, _, headers in server.seen)


def test_a_large_file_is_never_in_memory(read: Read, server: DoclingServer, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    server.always = {"submit": Reply(422)}
    server.discards = True
    tracemalloc.start()
    try:
        with pytest.raises(ConversionFailed):
            read(path, "tiff")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (pdf(TEXT, password="secret"), DocumentEncrypted),
        (pdf(*[TEXT] * 21), DocumentTooLarge),
    ],
    ids=["locked", "pages"],
)
def test_some_files_go_nowhere(
    read: Read, server: DoclingServer, paper: Path, content: bytes, error: type[DocmillError]
) -> None:
    paper.write_bytes(content)
    with pytest.raises(error):
        read()
    assert server.seen == []


def test_other_formats_stay_here(own: DoclingConverter, server: DoclingServer, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("All is well.")
    converter = TieredConverter(own, DoclingServe(server.url, None, own))
    assert converter.detect(path, "note.txt") == "txt"
    document = converter.convert(
        path, "txt", ConversionOptions(), timeout=30, progress=lambda done, total: None
    )
    assert document.blocks[0].text == "All is well."
    assert server.seen == []


# --- failures that the server tells ----------------------------------------------------------------------


def failure(category: str, retryable: bool) -> PublicFailureInfo:
    return PublicFailureInfo.model_validate(
        {"category": category, "message": "/srv/secret", "retryable": retryable, "phase": "execution"}
    )


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (failure("policy", False), ConversionFailed),
        (failure("backend_failure", False), ConversionFailed),
        (failure("inference_failure", False), ConversionFailed),
        (failure("internal", False), ConversionFailed),
        (failure("timeout", True), TaskTimeout),
        (failure("capacity", True), ConverterUnavailable),
        (failure("internal", True), ConverterUnavailable),
        (failure("unknown", True), ConverterUnavailable),
        (None, ConversionCrashed),
    ],
    ids=lambda told: f"{told.category.value}-{told.retryable}" if isinstance(told, PublicFailureInfo) else "",
)
def test_why_a_task_failed(
    read: Read, server: DoclingServer, told: PublicFailureInfo | None, error: type[DocmillError]
) -> None:
    server.failed, server.failure = True, told
    with pytest.raises(error) as raised:
        read()
    assert type(raised.value) is error
    assert "secret" not in raised.value.message


def test_a_failure_in_place_of_the_result(read: Read, server: DoclingServer) -> None:
    told = failure("capacity", True).model_dump(mode="json")
    server.always = {"result": Reply(body={"kind": "TaskFailureResult", "failure": told})}
    with pytest.raises(ConverterUnavailable):
        read()


def test_a_part_of_the_document_comes_with_a_warning(read: Read, server: DoclingServer) -> None:
    server.outcome = ConversionStatus.PARTIAL_SUCCESS
    server.errors = [problem("p", "backend_failure", page) for page in (3, 5, 3)]
    document = read()
    assert document.blocks == BLOCKS
    assert document.warnings == ("Pages that could not be converted and are missing: 3, 5.",)


def test_a_part_for_want_of_time_is_no_document(read: Read, server: DoclingServer) -> None:
    server.outcome = ConversionStatus.PARTIAL_SUCCESS
    server.errors = [problem("document timeout exceeded", "timeout", 2)]
    with pytest.raises(TaskTimeout):
        read()


@pytest.mark.parametrize("outcome", [ConversionStatus.FAILURE, ConversionStatus.SKIPPED])
def test_a_result_that_is_a_failure(read: Read, server: DoclingServer, outcome: ConversionStatus) -> None:
    server.outcome = outcome
    server.errors = [problem("/srv/secret", "backend_failure")]
    with pytest.raises(ConversionFailed) as raised:
        read()
    assert "secret" not in raised.value.message


def test_a_file_that_could_not_be_opened(read: Read, server: DoclingServer) -> None:
    """As docling-serve 1.38 answers for bytes that are no PDF."""
    server.outcome = ConversionStatus.FAILURE
    server.errors = [problem("could not load document", "backend_failure", component="user_input")]
    with pytest.raises(DocumentCorrupt):
        read()


def test_no_text_at_all(read: Read, server: DoclingServer) -> None:
    server.document = lambda first, last: timetable(9, 9)
    with pytest.raises(DocumentEmpty):
        read()


def test_more_pages_than_are_allowed(read: Read, server: DoclingServer, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"II*\0")
    server.document = lambda first, last: scan(first, last, total=21)
    with pytest.raises(DocumentTooLarge):
        read(path, "tiff")


def test_a_result_that_is_too_large(read: Read, server: DoclingServer) -> None:
    server.always = {"result": Reply(body=bytes((1 << 22) + 1))}
    with pytest.raises(DocumentTooLarge):
        read()


# --- failures of HTTP ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "status", "error", "says"),
    [
        ("submit", 400, ConversionFailed, "refused"),
        ("submit", 422, ConversionFailed, "refused"),
        ("submit", 401, ConverterUnavailable, "DOCLING_SERVE_API_KEY"),
        ("submit", 403, ConverterUnavailable, "DOCLING_SERVE_API_KEY"),
        ("submit", 402, ConverterUnavailable, "quota"),
        ("submit", 404, ConverterUnavailable, "DOCLING_SERVE_URL"),
        ("submit", 307, ConverterUnavailable, "DOCLING_SERVE_URL"),
        ("submit", 413, DocumentTooLarge, "larger"),
        ("submit", 500, ConverterUnavailable, "log"),
        ("poll", 401, ConverterUnavailable, "DOCLING_SERVE_API_KEY"),
        ("poll", 404, ConverterUnavailable, "lost the task"),
        ("poll", 500, ConverterUnavailable, "log"),
        ("result", 404, ConverterUnavailable, "lost the task"),
    ],
)
def test_statuses(
    read: Read, server: DoclingServer, stage: str, status: int, error: type[DocmillError], says: str
) -> None:
    server.always = {stage: Reply(status, {"detail": "/srv/secret"})}
    with pytest.raises(error) as raised:
        read()
    assert type(raised.value) is error
    assert says in raised.value.message
    for word in ("secret", KEY, server.url.split("//")[1]):
        assert word not in raised.value.message


def test_a_wrong_key(own: DoclingConverter, server: DoclingServer, read: Read) -> None:
    server.key = "another"
    with pytest.raises(ConverterUnavailable, match="DOCLING_SERVE_API_KEY"):
        read()
    assert server.tasks == {}


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(read: Read, server: DoclingServer, status: int) -> None:
    busy = Reply(status, headers={"Retry-After": "0.3"})
    server.replies = {"submit": [busy, busy], "poll": [busy], "result": [busy]}
    assert read().blocks == BLOCKS
    assert (server.asked("submit"), len(server.tasks)) == (3, 1)


def test_a_server_that_is_busy_for_long_lets_the_task_wait(read: Read, server: DoclingServer) -> None:
    server.always = {"submit": Reply(429, headers={"Retry-After": "120"})}
    with pytest.raises(ConverterUnavailable) as raised:
        read()
    assert raised.value.retry_after == 120
    assert server.asked("submit") == 1


def test_a_connection_that_breaks_while_waiting(read: Read, server: DoclingServer) -> None:
    server.replies = {
        "poll": [Reply(close=True), Reply(502)],
        "result": [Reply(close=True), Reply(half=True)],
    }
    assert read().blocks == BLOCKS
    assert server.asked("submit") == 1


def test_a_submission_that_breaks_is_not_sent_twice(read: Read, server: DoclingServer) -> None:
    """It may have made a task; the attempt ends, and the task's next one is later."""
    server.always = {"submit": Reply(close=True)}
    with pytest.raises(ConverterUnavailable, match="broke off"):
        read()
    assert server.asked("submit") == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<html>Welcome</html>"),
        Reply(body={"status": 7}),
        Reply(body=b"\xff\xfe\x00"),
        Reply(hang=True),
        Reply(drip=True),
        Reply(close=True),
    ],
    ids=["page", "other", "bytes", "hang", "drip", "close"],
)
@pytest.mark.parametrize("stage", ["poll", "result"])
def test_nonsense(read: Read, server: DoclingServer, stage: str, reply: Reply) -> None:
    server.always = {stage: reply}
    lasting = reply.drip and stage == "result"  # which is a slow download, and has the time that there is
    with pytest.raises(TaskTimeout if lasting else ConverterUnavailable):
        silent = (reply.hang or reply.drip) and not lasting
        read(timeout=2 if lasting else 30, patience=IMPATIENT if silent else 20)


@pytest.mark.parametrize(
    "content", [{}, {"schema_name": "DoclingDocument", "version": "99.0.0", "name": "x"}]
)
def test_a_document_that_cannot_be_read(
    read: Read, server: DoclingServer, content: dict[str, object]
) -> None:
    body = {"status": "success", "document": {"filename": "x", "json_content": content}}
    server.always = {"result": Reply(body=body)}
    with pytest.raises(ConverterUnavailable, match="version"):
        read()


def test_nobody_there(own: DoclingConverter, paper: Path) -> None:
    with running() as server:
        url = server.url
    client = DoclingServe(url, KEY, own, backoff=0.05)
    with pytest.raises(ConverterUnavailable, match="DOCLING_SERVE_URL"):
        client.read(paper, "pdf", ConversionOptions(), None, timeout=30, progress=lambda done, total: None)
    with pytest.raises(ConverterUnavailable, match="DOCLING_SERVE_URL"):
        client.ping(2)


# --- how it is stopped -----------------------------------------------------------------------------------


def test_a_task_that_never_ends(read: Read, server: DoclingServer) -> None:
    server.waits = (10_000, 0)
    with pytest.raises(TaskTimeout, match="TASK_TIMEOUT_SECONDS"):
        read(timeout=1)


@pytest.mark.parametrize(
    ("stage", "reply"),
    [("submit", Reply(hang=True)), ("poll", Reply(hang=True)), ("result", Reply(drip=True)), ("poll", None)],
    ids=["upload", "hung poll", "slow result", "queue"],
)
def test_cancelling(
    own: DoclingConverter, server: DoclingServer, paper: Path, stage: str, reply: Reply | None
) -> None:
    server.waits = (10_000, 0) if reply is None else (0, 0)
    server.always = {stage: reply} if reply else {}
    client = DoclingServe(server.url, KEY, own)  # which would itself wait for a minute

    def progress(done: int, total: int) -> None:
        if server.asked(stage):
            stopped_at.append(time.monotonic())
            raise Stop

    stopped_at: list[float] = []
    with pytest.raises(Stop):
        client.read(paper, "pdf", ConversionOptions(), None, timeout=100, progress=progress)
    assert len(stopped_at) == 1


def test_an_upload_ends_with_its_conversion(
    own: DoclingConverter, server: DoclingServer, tmp_path: Path
) -> None:
    """The file is not read on by a thread that nobody waits for."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64_000_000)
    server.always = {"submit": Reply(hang=True)}
    client = DoclingServe(server.url, KEY, own)
    with pytest.raises(TaskTimeout):
        client.read(path, "tiff", ConversionOptions(), None, timeout=1, progress=lambda done, total: None)
    server.released.set()
    until = time.monotonic() + 10
    while any(thread.name == "call" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.05)


# --- is it there -----------------------------------------------------------------------------------------


def test_ping(own: DoclingConverter, server: DoclingServer) -> None:
    server.key = KEY
    TieredConverter(own, DoclingServe(server.url, KEY, own)).ping(5)
    assert server.tasks == {}


@pytest.mark.parametrize(
    ("key", "always", "says"),
    [
        ("wrong", {}, "DOCLING_SERVE_API_KEY"),
        (KEY, {"health": Reply(404)}, "DOCLING_SERVE_URL"),
        (KEY, {"health": Reply(503)}, "starting"),
        (KEY, {"health": Reply(hang=True)}, "broke off"),
        (KEY, {"health": Reply(drip=True)}, "broke off"),
    ],
    ids=["key", "another server", "busy", "hang", "drip"],
)
def test_ping_says_what_is_wrong(
    own: DoclingConverter, server: DoclingServer, key: str, always: dict[str, Reply], says: str
) -> None:
    server.key, server.always = KEY, always
    with pytest.raises(ConverterUnavailable, match=says):
        DoclingServe(server.url, key, own, request_timeout=IMPATIENT).ping(5)


@pytest.mark.parametrize(("url", "key"), [("http://[::1", KEY), ("http://127.0.0.1:99999999", KEY)])
def test_an_address_that_is_none(own: DoclingConverter, url: str, key: str) -> None:
    with pytest.raises(ConverterUnavailable, match="DOCLING_SERVE_URL"):
        DoclingServe(url, key, own).ping(5)


def test_a_name_of_the_document_class() -> None:
    """The fixtures are documents of docling-core itself, through JSON and back."""
    document = timetable()
    assert DoclingDocument.model_validate_json(document.model_dump_json()) == document
