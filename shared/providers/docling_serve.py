"""PDFs and images that a docling-serve reads (its API v1): submit, poll, fetch the result.

    POST /v1/convert/file/async         the file, as multipart; answers {"task_id", "task_status"}
    GET  /v1/status/poll/{id}?wait=     {"task_status": "pending|started|success|failure", "failure"?}
    GET  /v1/result/{id}                the document, once
    GET  /health

The API has no way to cancel a task and none to remove a single result. So a task that nobody waits for any
more runs into the `document_timeout` that it was given, and its result expires on the server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar, cast

from pydantic import BaseModel, Field, ValidationError

from shared import deadline as clock
from shared import scratch
from shared.documents import ConvertedDocument
from shared.errors import (
    ConversionFailed,
    ConverterUnavailable,
    DocmillError,
    DocumentTooLarge,
    TaskTimeout,
)
from shared.ports import ConversionOptions
from shared.providers.conversion.request import Request
from shared.providers.conversion.served import Failure
from shared.providers.docling import DoclingConverter
from shared.providers.retry_after import retry_after

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

T = TypeVar("T")
Progress = Callable[[int, int], None]

_POLL: Final = "/v1/status/poll/"
_RESULT: Final = "/v1/result/"
_ATTEMPTS = 3
_LONGEST_PAUSE = 30.0
_WAIT_SECONDS = 5.0
"""For how long the server may keep one poll."""
_CHECKPOINT_SECONDS = 1.0
_SLACK_SECONDS = 30.0
"""The server's own limit lies behind ours, so that it never hands us the half of a document."""
_CHUNK = 1 << 20


class _Status(BaseModel):
    task_id: str = Field(pattern=r"^[\w.-]+$")
    task_status: str
    failure: Failure | None = None


class DoclingServe:
    """A `Reader` of PDFs and images. Nothing is parsed in this process: `own` has the child that counts the
    pages of a PDF before it is sent, and reads the answer.

    `request_timeout`: seconds for one answer to begin, and between two pieces of it. `backoff`: seconds
    before a request is repeated for the first time.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        own: DoclingConverter,
        *,
        request_timeout: float = 60,
        backoff: float = 0.5,
    ) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"X-Api-Key": api_key} if api_key else {}
        self._own = own
        self._request_timeout = request_timeout
        self._backoff = backoff

    @property
    def version(self) -> str:
        return "remote"

    def read(
        self,
        path: Path,
        fmt: str,
        options: ConversionOptions,
        pages: tuple[int, int] | None,
        *,
        timeout: float,
        progress: Progress,
    ) -> ConvertedDocument:
        watch = _Watch(timeout, progress)
        asked = Request(path=path.resolve(), format=fmt, options=options, limits=self._own.limits)
        count = asked.model_copy(update={"reader": "count"})
        watch.total = self._run(count, watch).pages or 1
        with scratch.folder() as folder, self._client() as http:
            answer = Path(folder) / "answer.json"
            job = _Job(http, watch, self._request_timeout, self._backoff)
            task_id = job.submit(path, _form(fmt, options, pages, watch.check()))
            job.wait(task_id)
            job.fetch(task_id, answer, self._own.limits.expanded_bytes)
            text = self._run(asked.model_copy(update={"reader": "served", "path": answer}), watch)
        progress(watch.total, watch.total)
        return text

    def ping(self, timeout: float) -> None:
        """Asks for its health, then whether it takes our key, by a question that has no other effect."""
        with self._client() as http, clock.within(timeout):
            watch = _Watch(timeout, _nobody)
            job = _Job(http, watch, min(timeout, self._request_timeout), self._backoff)
            job.call(lambda: job.get("/health"), _never)
            job.call(lambda: job.get(f"{_POLL}docmill-looks", but=404), _never)

    def close(self) -> None:
        """Nothing is kept open."""

    def _run(self, request: Request, watch: _Watch) -> ConvertedDocument:
        return self._own.run(request, timeout=watch.check(), progress=lambda *_: watch.pulse())

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        import httpx

        from shared.timed_body import timed

        hooks: dict[str, list[Callable[..., Any]]] = {"response": [timed(httpx)]}
        try:
            client = httpx.Client(base_url=self._url, headers=self._headers, event_hooks=hooks)
        except (httpx.InvalidURL, ValueError) as error:
            raise ConverterUnavailable(
                "DOCLING_SERVE_URL is no address, or DOCLING_SERVE_API_KEY cannot stand in a header."
            ) from error
        with client:
            yield client


class _Watch:
    """Deadline and progress of one conversion, in the caller's thread. `total`: pages, once known."""

    def __init__(self, timeout: float, progress: Progress) -> None:
        self._until = time.monotonic() + timeout
        self._progress = progress
        self._said_at = float("-inf")
        self.total = 1

    def pulse(self) -> None:
        """The server tells no pages, so there is no news; but the caller may want to stop."""
        if time.monotonic() - self._said_at >= _CHECKPOINT_SECONDS:
            self._said_at = time.monotonic()
            self._progress(0, self.total)

    def check(self) -> float:
        """Seconds left. Raises TaskTimeout when there are none, and what `progress` raises."""
        self.pulse()
        left = self._until - time.monotonic()
        if left <= 0:
            raise TaskTimeout(
                "docling-serve took too long. Raise TASK_TIMEOUT_SECONDS, give that server more workers, or "
                "split the document."
            )
        return left


class _Job:
    """The requests of one conversion. Each runs in a thread that is left alone when `watch` says stop."""

    def __init__(self, http: httpx.Client, watch: _Watch, request_timeout: float, backoff: float) -> None:
        self._http = http
        self._watch = watch
        self._request_timeout = request_timeout
        self._backoff = backoff

    def submit(self, path: Path, form: dict[str, Any]) -> str:
        """The id of the task. Sent again only when the server surely has made none."""

        def ask() -> _Status:
            with path.open("rb") as file:
                body = cast(BinaryIO, _Upload(file, stopped))
                files = {"files": (f"document.{form['extension']}", body, "application/octet-stream")}
                fields = {name: value for name, value in form.items() if name != "extension"}
                return _status(self._post("/v1/convert/file/async", data=fields, files=files))

        stopped = threading.Event()
        try:
            return self.call(ask, _was_not_taken).task_id
        finally:
            stopped.set()

    def wait(self, task_id: str) -> None:
        """Until the task has succeeded. Raises why it did not."""
        wait = min(_WAIT_SECONDS, self._request_timeout / 2)
        while True:
            status = self.call(lambda: _status(self.get(_POLL + task_id, wait=wait)), _may_pass)
            if status.task_status in {"success", "partial_success"}:
                return
            if status.task_status not in {"pending", "started"}:
                raise (status.failure or Failure()).error()
            # A server that does not wait itself would be asked without a pause.
            self._pause(0.2)

    def fetch(self, task_id: str, target: Path, limit: int) -> None:
        """Writes the result to `target`, piece by piece."""

        def ask() -> None:
            size = 0
            with self._http.stream("GET", _RESULT + task_id, timeout=self._request_timeout) as answer:
                _check(answer)
                with target.open("wb") as file:
                    for part in answer.iter_bytes(_CHUNK):
                        size += file.write(part)
                        if size > limit:
                            raise DocumentTooLarge("The converted document is too large. Split it.")

        self.call(ask, _may_pass)

    def get(self, path: str, *, but: int | None = None, **params: Any) -> httpx.Response:
        """A small answer. `but`: a status that is as good as 200."""
        with clock.within(self._request_timeout):
            answer = self._http.get(path, params=params, timeout=self._request_timeout)
        if answer.status_code != but:
            _check(answer)
        return answer

    def _post(self, path: str, **body: Any) -> httpx.Response:
        answer = self._http.post(path, timeout=self._request_timeout, **body)
        _check(answer)
        return answer

    def call(self, ask: Callable[[], T], again: Callable[[BaseException], bool]) -> T:
        """Repeats what may pass, as long as there is time, and translates errors."""
        import httpx
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_before_delay

        retrying = Retrying(
            retry=retry_if_exception(again),
            stop=stop_after_attempt(_ATTEMPTS) | stop_before_delay(self._watch.check()),
            wait=self._before_the_next,
            sleep=self._pause,
            reraise=True,
        )
        try:
            return retrying(lambda: clock.watched(ask, self._watch.check))
        except _Refused as refused:
            raise refused.translated() from refused
        except httpx.HTTPError as error:
            self._watch.check()
            raise ConverterUnavailable(_trouble(error)) from error

    def _before_the_next(self, state: RetryCallState) -> float:
        """Seconds: what the server asked for, or the back-off, doubled, with some chance in it."""
        from tenacity import wait_exponential, wait_random

        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _Refused) and error.wait is not None:
            return error.wait
        usual = wait_exponential(multiplier=self._backoff, max=8) + wait_random(0, self._backoff)
        return usual(state)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._watch.check()
            time.sleep(min(left, clock.POLL_SECONDS))


class _Upload:
    """A file that nobody can read any more once its conversion was stopped."""

    def __init__(self, file: BinaryIO, stopped: threading.Event) -> None:
        self._file = file
        self._stopped = stopped

    def read(self, size: int = -1) -> bytes:
        if self._stopped.is_set() or clock.passed():
            raise TaskTimeout
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _form(fmt: str, options: ConversionOptions, pages: tuple[int, int] | None, left: float) -> dict[str, Any]:
    """The options of the API, as form fields. No file name leaves this machine."""
    fields: dict[str, Any] = {
        "extension": fmt,
        "target_type": "inbody",
        "from_formats": "pdf" if fmt == "pdf" else "image",
        "to_formats": "json",
        "image_export_mode": "placeholder",
        "include_images": False,
        "do_ocr": options.ocr != "never",
        "force_ocr": options.ocr == "always",
        "abort_on_error": False,
        "document_timeout": round(left + _SLACK_SECONDS, 1),
    }
    return {**fields, "page_range": list(pages)} if pages else fields


def _status(answer: httpx.Response) -> _Status:
    try:
        return _Status.model_validate_json(answer.content)
    except ValidationError as error:
        raise _Refused(answer.status_code) from error


class _Refused(Exception):
    """An answer other than the one that was asked for. 200: it was nonsense.

    `wait`: seconds that the server asked for. `lost`: it knows our task no more.
    """

    def __init__(self, status: int, wait: float | None = None, *, lost: bool = False) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.wait = wait
        self.lost = lost

    @property
    def soon(self) -> bool:
        """Whether it is worth waiting here; otherwise the whole task waits, and holds no place meanwhile."""
        return (self.wait or 0) <= _LONGEST_PAUSE

    def translated(self) -> DocmillError:
        if self.status == 413:
            return DocumentTooLarge(
                "The file is larger than docling-serve takes. Split it, or raise the limit of that server."
            )
        if self.status in {400, 415, 422}:
            return ConversionFailed(
                "docling-serve refused the file or the options that it was sent with. Is it a version 1, and "
                "its DOCLING_SERVE_MAX_DOCUMENT_TIMEOUT above TASK_TIMEOUT_SECONDS?"
            )
        if self.lost:
            return ConverterUnavailable(
                "docling-serve has lost the task. If it runs in several copies, let them share one queue, or "
                "make its load balancer keep a client with the same copy."
            )
        return ConverterUnavailable(_ADVICE.get(self.status, _NO_ANSWER), retry_after=self.wait)


_NO_ANSWER = "docling-serve gave no usable answer. Check DOCLING_SERVE_URL, and the log of that server."
_KEY = "docling-serve refused the key. Set DOCLING_SERVE_API_KEY to the key that the server was started with."
_ADVICE = {
    401: _KEY,
    403: _KEY,
    402: "The quota of the docling-serve is used up.",
    404: "There is no docling-serve of version 1 at DOCLING_SERVE_URL.",
    429: "docling-serve has too much to do. It is asked again later.",
    503: "docling-serve has too much to do, or is starting. It is asked again later.",
}


def _check(answer: httpx.Response) -> None:
    if answer.status_code != 200:
        about_task = any(part in answer.request.url.path for part in (_POLL, _RESULT))
        lost = answer.status_code == 404 and about_task
        raise _Refused(answer.status_code, retry_after(answer.headers), lost=lost)


def _nobody(done: int, total: int) -> None:
    """Progress that nobody follows."""


def _never(error: BaseException) -> bool:  # noqa: ARG001
    return False


def _may_pass(error: BaseException) -> bool:
    import httpx

    if isinstance(error, _Refused):
        return error.soon and (error.status == 429 or error.status >= 500)
    return isinstance(error, httpx.TransportError)


def _was_not_taken(error: BaseException) -> bool:
    """Whether a submission has certainly made no task, so that another makes no second."""
    import httpx

    if isinstance(error, _Refused):
        return error.soon and error.status in {429, 503}
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def _trouble(error: httpx.HTTPError) -> str:
    import httpx

    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        return "docling-serve is out of reach. Check DOCLING_SERVE_URL, and whether that server runs."
    return "The connection to docling-serve broke off. It is tried again."
