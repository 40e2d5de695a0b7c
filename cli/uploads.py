"""A file's way to the service: with one request, or, when it is large, straight to storage in blocks.

Blocks go up several at once. What storage has is noted (`cli.journal`), so a run that was interrupted is
continued by the next one, with the blocks that are missing and a new address if the old one has ended.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import httpx
import tenacity

from cli.client import Api, CutOff, Json, Misuse, OutOfReach, Unreadable, is_local
from cli.journal import Journal, Journals, Progress, now

MULTIPART_BYTES = 32 * 1024 * 1024
"""What a service takes in one request unless its operator chose otherwise."""
BLOCK_BYTES = 8 * 1024 * 1024
BLOCKS_AT_ONCE = 4
TRIES = 5
SET_BACKS = 20
"""An address holds for 15 minutes, so a file on a slow line may need many."""
_TIMEOUT = httpx.Timeout(120, connect=10)
_WORTH_ANOTHER_WAY = 256 * 1024
"""A larger file may have been cut off in the middle by a service that refuses it for its size."""

Report = Callable[[int, int], None]
"""Bytes that are there, bytes in all."""


class Uploads:
    """Threads may share it; of large files one goes at a time, since each takes the whole line."""

    def __init__(self, api: Api, journals: Journals, block_bytes: int = BLOCK_BYTES) -> None:
        self._api = api
        self._journals = journals
        self._block_bytes = block_bytes
        self._one = threading.Lock()

    def put(self, path: Path, report: Report) -> Json:
        """The Document of a file, whichever way it has to go. Raises Failure."""
        with _readable(path):
            size = path.stat().st_size
            if size > MULTIPART_BYTES:
                return self._in_blocks(path, report)
            try:
                return self._api.upload(path)
            except (Misuse, CutOff) as error:
                if not _too_large(error, size):
                    raise
                return self._other_way(path, report, error)

    def _other_way(self, path: Path, report: Report, refusal: Exception) -> Json:
        try:
            return self._in_blocks(path, report)
        except Misuse as error:
            if error.status == httpx.codes.NOT_FOUND:  # a service without that route
                raise refusal from error
            raise

    def _in_blocks(self, path: Path, report: Report) -> Json:
        with self._one:
            self._journals.tidy()
            journal = self._journals.of_file(self._api.identity, path)
            return LargeFile(self._api, path, journal, report, self._block_bytes).document()


def _too_large(error: Exception, size: int) -> bool:
    if isinstance(error, Misuse):
        return error.status == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    return size > _WORTH_ANOTHER_WAY


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or 'cannot be read'}.") from error


class AddressEnded(Exception):
    """Storage takes nothing more at this address."""


class BlocksLost(Exception):
    """Storage does not have the blocks that we noted."""


class LargeFile:
    """One upload in blocks, from the beginning or from where the journal says that it got to."""

    def __init__(self, api: Api, path: Path, journal: Journal, report: Report, block_bytes: int) -> None:
        """`block_bytes`: of a new upload; one that goes on keeps the size that it began with."""
        self._block_bytes = block_bytes
        self._api = api
        self._path = path
        self._journal = journal
        self._report = report
        found = path.stat()
        self._size, self._changed = found.st_size, found.st_mtime_ns
        self._set_backs = 0
        self._stop = threading.Event()

    def document(self) -> Json:
        """The Document, its file complete."""
        document = self._known()
        while document is None or document["status"] == "pending":
            progress = self._begun(document)
            if progress is None:  # the file has come meanwhile
                return self._api.document(str((document or {})["document_id"]))
            try:
                self._send(progress)
            except (AddressEnded, BlocksLost) as error:
                self._set_back(error)
                document = self._known()
                continue
            document = self._api.document(progress.document_id)
            if document["status"] == "pending":
                raise OutOfReach("Storage has the file, but the service does not see it. Try again.")
        return document

    def _set_back(self, error: Exception) -> None:
        """Not for ever: an address that ends at once, or blocks that vanish, are nothing to wait for."""
        self._set_backs += 1
        if self._set_backs > SET_BACKS:
            raise OutOfReach("Storage does not keep what it is sent. Run the same command again.") from error
        if isinstance(error, BlocksLost):
            self._journal.begin(self._announced())

    def _known(self) -> Json | None:
        """The document of an earlier run, if there is one and it was not deleted since."""
        progress = self._journal.progress
        if progress is None:
            return None
        try:
            return self._api.document(progress.document_id)
        except Misuse as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def _begun(self, document: Json | None) -> Progress | None:
        """Where this upload stands, with an address that can be used."""
        progress = self._journal.progress
        if progress is None or document is None:
            self._journal.begin(self._announced())
        elif not progress.usable(now()) or progress.complete:
            renewed = self._renewed(progress)
            if renewed is None and self._api.document(progress.document_id)["status"] != "pending":
                return None
            self._journal.begin(renewed or self._announced())
        return self._journal.progress

    def _announced(self) -> Progress:
        return _progress(self._api.announce(self._path.name, self._size), self._block_bytes)

    def _renewed(self, progress: Progress) -> Progress | None:
        """None when the service gives no new address for this document."""
        try:
            answer = self._api.renew(progress.document_id)
        except Misuse as error:
            if error.status == httpx.codes.CONFLICT:
                return None
            raise
        return _progress(answer, progress.block_bytes, progress.done)

    # --- blocks ------------------------------------------------------------------------------------------

    def _send(self, progress: Progress) -> None:
        """The blocks that storage lacks, several at once; then all of them become the file."""
        count = max(1, -(-self._size // progress.block_bytes))
        missing = [number for number in range(count) if number not in progress.done]
        with httpx.Client(timeout=_TIMEOUT, trust_env=not is_local(progress.url)) as http:
            storage = Storage(http, progress)
            self._tell(progress.block_bytes)
            self._send_blocks(storage, missing)
            self._unchanged()
            storage.commit(count)
        self._journal.completed()

    def _send_blocks(self, storage: Storage, missing: list[int]) -> None:
        todo: SimpleQueue[int] = SimpleQueue()
        for number in missing:
            todo.put(number)
        ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._stop.clear()
        # Daemons, so that Ctrl-C need not sit out the blocks under way.
        threads = [
            threading.Thread(target=self._work, args=(storage, todo, ended), daemon=True)
            for _ in range(min(BLOCKS_AT_ONCE, len(missing)))
        ]
        for thread in threads:
            thread.start()
        errors = [error for error in (ended.get() for _ in threads) if error is not None]
        if errors:
            raise errors[0]

    def _work(
        self, storage: Storage, todo: SimpleQueue[int], ended: SimpleQueue[BaseException | None]
    ) -> None:
        try:
            with self._path.open("rb") as file:
                while not self._stop.is_set():
                    number = todo.get_nowait()
                    file.seek(number * storage.block_bytes)
                    storage.put_block(number, file.read(storage.block_bytes))
                    self._journal.block_done(number)
                    self._tell(storage.block_bytes)
            ended.put(None)
        except Empty:
            ended.put(None)
        except BaseException as error:
            self._stop.set()
            ended.put(error)  # raised again by the one who waits

    def _tell(self, block_bytes: int) -> None:
        done = self._journal.progress.done if self._journal.progress else ()
        self._report(min(self._size, len(done) * block_bytes), self._size)

    def _unchanged(self) -> None:
        found = self._path.stat()
        if (found.st_size, found.st_mtime_ns) != (self._size, self._changed):
            raise Unreadable(f"{self._path}: it was changed while it was sent. Send it again.")


def _progress(answer: Json, block_bytes: int, done: tuple[int, ...] = ()) -> Progress:
    upload = answer["upload"]
    return Progress(
        document_id=answer["document"]["document_id"],
        url=upload["url"],
        content_type=upload["headers"].get("Content-Type", "application/octet-stream"),
        expires_at=upload["expires_at"],
        block_bytes=block_bytes,
        done=done,
    )


class Storage:
    """One blob at one signed address."""

    def __init__(self, http: httpx.Client, progress: Progress) -> None:
        self._http = http
        self._progress = progress

    @property
    def block_bytes(self) -> int:
        return self._progress.block_bytes

    def put_block(self, number: int, data: bytes) -> None:
        """Storage checks the sum, so what it says it has is what we read."""
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        answer = self._put(f"comp=block&blockid={_block_id(number)}", data, {"Content-MD5": md5})
        if not answer.is_success:
            raise self._failure(answer)

    def commit(self, count: int) -> None:
        """The blocks become the file. One that is there stays: the service says whether it is ours."""
        latest = "".join(f"<Latest>{_block_id(number)}</Latest>" for number in range(count))
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{latest}</BlockList>'
        headers = {"x-ms-blob-content-type": self._progress.content_type, "If-None-Match": "*"}
        answer = self._put("comp=blocklist", body.encode(), headers)
        code = answer.headers.get("x-ms-error-code") or ""
        if answer.is_success or code in {"BlobAlreadyExists", "UnauthorizedBlobOverwrite"}:
            return
        raise self._failure(answer)

    def _failure(self, answer: httpx.Response) -> Exception:
        if answer.status_code == httpx.codes.BAD_REQUEST and b"InvalidBlockList" in answer.content:
            return BlocksLost()
        if answer.status_code == httpx.codes.FORBIDDEN and not self._progress.usable(now()):
            return AddressEnded()
        if answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return OutOfReach("Storage cannot take the file at the moment. Run the same command again.")
        return Misuse(f"Storage refuses the file (status {answer.status_code}).", answer.status_code)

    def _put(self, query: str, data: bytes, headers: dict[str, str]) -> httpx.Response:
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(httpx.TransportError) | tenacity.retry_if_result(_passing),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=10),
            stop=tenacity.stop_after_attempt(TRIES),
            retry_error_callback=_last,
        )
        url = f"{self._progress.url}&{query}"
        return again(self._http.put, url, content=data, headers=headers)


def _passing(answer: httpx.Response) -> bool:
    return answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS


def _last(state: tenacity.RetryCallState) -> Any:
    if state.outcome is None or state.outcome.failed:
        raise OutOfReach("Storage is out of reach. Run the same command again to go on.")
    return state.outcome.result()


def _block_id(number: int) -> str:
    """Six digits in base64: all of one length, and nothing in it that a URL would have to escape."""
    return base64.b64encode(f"{number:06d}".encode()).decode()
