"""Documents, chunks, summaries and search in Supabase (Postgres with pgvector), through its REST interface.

Every call is one function of `supabase/migrations`, so each is one transaction and one round trip.
Embeddings and structured arguments travel as text, which every PostgREST-compatible server passes unchanged.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from shared import deadline
from shared.documents import Chunk, Document, EmbeddedChunk, Match, StoredChunk, StoredSummary
from shared.errors import BlobNotFound, IndexUnavailable, TaskTimeout
from shared.ports import Page, Remains
from shared.storage.cursors import read_chunk_cursor, read_document_cursor, write_cursor

if TYPE_CHECKING:
    import httpx

    from supabase import Client

T = TypeVar("T")

SCHEMA_VERSION = 3
HASHES_PER_CALL = 100
CHUNKS_PER_CALL = 100
"""Of 3,072 dimensions they take a second or two; hosted Supabase ends a statement after eight."""
LARGEST_PAGE = 500
"""Hosted Supabase cuts every answer off after 1,000 rows."""
ATTEMPTS = 4
KEEPALIVE_SECONDS = 4
"""Less than servers commonly wait (Node: 5 s), or we would write into connections that they are closing."""

_SET_UP = "The search index is not set up: apply the migrations in supabase/migrations, use the service key."
_REFUSED_STATUS = {401, 403, 404}
_REFUSED_CODES = {"42501", "42P01", "42883", "PGRST106", "PGRST202", "PGRST205"}


class SupabaseDocuments:
    """A DocumentStore. One may be shared by all threads: underneath is one httpx client, which may be."""

    def __init__(self, url: str, key: str, *, timeout: float = 20) -> None:
        """`key`: the service key. `timeout`: seconds for connecting, and for each wait for the network."""
        self._url = url
        self._key = key
        self._timeout = timeout
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._client: Client | None = None

    def close(self) -> None:
        with self._lock:
            if self._http:
                self._http.close()
            self._http = self._client = None

    def __enter__(self) -> SupabaseDocuments:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- documents ---------------------------------------------------------------------------------------

    def add(self, document: Document) -> tuple[Document, bool]:
        row = document.model_dump(mode="json") | {"filename": _storable(document.filename)}
        answer = self._call_once("docmill_add_document", p_document=json.dumps(row))
        return _document(answer["document"]), answer["new"]

    def get(self, client_id: str, document_id: str) -> Document | None:
        row = self._call("docmill_get_document", p_client=client_id, p_document=document_id)
        return _document(row) if row else None

    def stored(self, client_id: str, document_id: str, etag: str) -> Document | None:
        row = self._call("docmill_document_stored", p_client=client_id, p_document=document_id, p_etag=etag)
        return _document(row) if row else None

    def page(self, client_id: str, *, limit: int = 50, cursor: str | None = None) -> Page[Document]:
        limit = min(limit, LARGEST_PAGE)
        arguments: dict[str, Any] = {"p_client": client_id, "p_limit": limit + 1}
        if cursor:
            time, document_id = read_document_cursor(cursor)
            arguments |= {"p_before_time": time.isoformat(), "p_before_id": document_id}
        rows = self._call("docmill_page_documents", **arguments)
        documents = [_document(row) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(documents, _after(documents[-1]) if more else None)

    def delete(self, client_id: str, document_id: str) -> Document | None:
        row = self._call_once("docmill_delete_document", p_client=client_id, p_document=document_id)
        return _document(row) if row else None

    def to_clean(self, client_ids: Sequence[str], now: datetime, limit: int = 100) -> list[Remains]:
        rows = self._call(
            "docmill_documents_to_clean",
            p_clients=json.dumps(list(client_ids)),
            p_now=now.isoformat(),
            p_limit=min(limit, LARGEST_PAGE),
        )
        return [_remains(row) for row in rows]

    def remains(self, client_id: str, document_id: str) -> Remains | None:
        row = self._call("docmill_document_remains", p_client=client_id, p_document=document_id)
        return _remains(row) if row else None

    def cleaned(self, remains: Remains, again_at: datetime | None) -> None:
        self._call(
            "docmill_document_cleaned",
            p_client=remains.document.client_id,
            p_document=remains.document.document_id,
            p_due=remains.cleanup_due and remains.cleanup_due.isoformat(),
            p_again=again_at and again_at.isoformat(),
        )

    # --- generations -------------------------------------------------------------------------------------

    def begin(self, client_id: str, document_id: str) -> int:
        generation = self._call("docmill_begin_generation", p_client=client_id, p_document=document_id)
        if generation is None:
            raise BlobNotFound
        return int(generation)

    def known(self, client_id: str, model: str, hashes: Sequence[str]) -> dict[str, tuple[float, ...]]:
        found: dict[str, tuple[float, ...]] = {}
        for batch in _batches(list(dict.fromkeys(hashes)), HASHES_PER_CALL):
            rows = self._call(
                "docmill_known_embeddings", p_client=client_id, p_model=model, p_hashes=json.dumps(batch)
            )
            found |= {row["content_hash"]: tuple(json.loads(row["embedding"])) for row in rows}
        return found

    def write(
        self, client_id: str, document_id: str, generation: int, model: str, chunks: Sequence[EmbeddedChunk]
    ) -> bool:
        for batch in _batches(chunks, CHUNKS_PER_CALL):
            written = self._call(
                "docmill_write_chunks",
                p_client=client_id,
                p_document=document_id,
                p_generation=generation,
                p_model=model,
                p_chunks=json.dumps([_row(document_id, embedded) for embedded in batch]),
            )
            if written < len(batch):
                return False
        return True

    def activate(
        self,
        client_id: str,
        document_id: str,
        generation: int,
        *,
        model: str,
        chunks: int,
        pages: int | None,
        title: str | None,
        markdown_blob: str,
        size: int,
        sha256: str,
        content_type: str,
    ) -> bool:
        active = self._call(
            "docmill_activate_generation",
            p_client=client_id,
            p_document=document_id,
            p_generation=generation,
            p_model=model,
            p_chunks=chunks,
            p_pages=pages,
            p_title=title and _storable(title),
            p_markdown_blob=markdown_blob,
            p_size=size,
            p_sha256=sha256,
            p_content_type=content_type,
        )
        return bool(active)

    # --- reading -----------------------------------------------------------------------------------------

    def chunks(
        self, client_id: str, document_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[StoredChunk]:
        limit = min(limit, LARGEST_PAGE)
        rows = self._call(
            "docmill_page_chunks",
            p_client=client_id,
            p_document=document_id,
            p_limit=limit + 1,
            p_after=read_chunk_cursor(cursor) if cursor else -1,
        )
        chunks = [StoredChunk.model_validate(row) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(chunks, write_cursor(chunks[-1].chunk_index) if more else None)

    def search(
        self,
        client_id: str,
        *,
        mode: Literal["hybrid", "vector", "text"],
        query: str,
        model: str,
        embedding: Sequence[float] | None,
        top_k: int,
        document_id: str | None = None,
    ) -> list[Match]:
        if embedding is None and mode != "text":
            raise ValueError(f"a search in mode {mode} needs an embedding")
        rows = self._call(
            "docmill_search",
            p_client=client_id,
            p_mode=mode,
            p_query=_storable(query),
            p_model=model,
            p_embedding=None if embedding is None else _vector(embedding),
            p_top=top_k,
            p_document=document_id,
        )
        return [Match.model_validate(row) for row in rows]

    # --- summaries ---------------------------------------------------------------------------------------

    def save_summary(self, client_id: str, task_id: str, summary: StoredSummary) -> bool:
        saved = self._call(
            "docmill_save_summary",
            p_client=client_id,
            p_task=task_id,
            p_document=summary.document_id,
            p_summary=_storable(summary.summary),
            p_model=summary.model,
            p_created_at=summary.created_at.isoformat(),
        )
        return bool(saved)

    def summary(self, client_id: str, document_id: str) -> StoredSummary | None:
        row = self._call("docmill_newest_summary", p_client=client_id, p_document=document_id)
        return StoredSummary.model_validate(row) if row else None

    def ping(self, timeout: float) -> None:
        """Raises IndexUnavailable when the store does not answer or lacks our schema. A newer schema has it:
        migrations only add, so that a release goes on while the next one comes, and when it goes again."""
        with _translated():
            timeout = min(timeout, self._timeout)
            http = _http_client(timeout)
            with http, deadline.within(timeout):
                version = _rpc(_supabase_client(self._url, self._key, http), "docmill_schema_version", {})
        if not isinstance(version, int) or version < SCHEMA_VERSION:
            raise IndexUnavailable(_SET_UP)

    # --- calls -------------------------------------------------------------------------------------------

    def _call(self, function: str, **arguments: Any) -> Any:
        """Calls a function that may be called again when we do not know whether it ran."""
        return self._send(_passing, function, arguments)

    def _call_once(self, function: str, **arguments: Any) -> Any:
        """Calls a function whose second answer would differ: again only when the first did not get there."""
        return self._send(_unsent, function, arguments)

    def _send(self, again: Callable[[BaseException], bool], function: str, arguments: dict[str, Any]) -> Any:
        import tenacity

        # A try may last as long as the timeout, so after one that did there is no other.
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(again),
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(self._timeout / 2),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=2),
            reraise=True,
        )

        def ask() -> Any:
            with deadline.within(self._timeout):
                return _rpc(self._connected(), function, arguments)

        with _translated():
            return retrying(ask)

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                self._http = _http_client(self._timeout)
                self._client = _supabase_client(self._url, self._key, self._http)
            return self._client


# --- the wire ----------------------------------------------------------------------------------------------


def _http_client(timeout: float) -> httpx.Client:
    """HTTP/1.1: a pool of connections, where HTTP/2 would put all threads on one that the server ends."""
    import httpx

    from shared.timed_body import timed

    limits = httpx.Limits(
        max_connections=64, max_keepalive_connections=32, keepalive_expiry=KEEPALIVE_SECONDS
    )
    hooks: dict[str, list[Callable[..., Any]]] = {
        "request": [_hurry],
        "response": [timed(httpx), _expect_json],
    }
    return httpx.Client(timeout=timeout, limits=limits, event_hooks=hooks)


def _hurry(request: httpx.Request) -> None:
    """Waits no longer than there is time. Raises TaskTimeout when there is none."""
    usual = request.extensions["timeout"]
    request.extensions["timeout"] = {name: deadline.left(seconds) for name, seconds in usual.items()}


def _expect_json(response: httpx.Response) -> None:
    """Before postgrest sees it, whose error does not tell the status and who takes any text for data."""
    import httpx

    if response.is_error:
        response.read()
        response.raise_for_status()
    if "json" not in response.headers.get("content-type", ""):
        raise httpx.DecodingError("the answer is not JSON", request=response.request)


def _supabase_client(url: str, key: str, http: httpx.Client) -> Client:
    # Imported here: 0.24 s that only a process which touches documents should pay.
    from supabase import ClientOptions, create_client

    options = ClientOptions(
        httpx_client=http, auto_refresh_token=False, persist_session=False, postgrest_client_retry=False
    )
    client = create_client(url, key, options)
    _ = client.postgrest  # made on first touch, which is not safe among threads
    return client


def _rpc(client: Client, function: str, arguments: dict[str, Any]) -> Any:
    return client.rpc(function, arguments).execute().data


# --- errors ------------------------------------------------------------------------------------------------


@contextmanager
def _translated() -> Iterator[None]:
    import httpx
    from postgrest.exceptions import APIError

    try:
        yield
    except httpx.HTTPStatusError as error:
        raise IndexUnavailable(_SET_UP if _refused(error.response) else None) from error
    except (httpx.HTTPError, httpx.InvalidURL, APIError, ValueError) as error:
        if deadline.passed():
            raise TaskTimeout from error
        raise IndexUnavailable from error


def _refused(response: httpx.Response) -> bool:
    """Whether the schema or a permission is missing, which no second try would cure."""
    return response.status_code in _REFUSED_STATUS or _code(response) in _REFUSED_CODES


def _code(response: httpx.Response) -> str | None:
    """Of PostgREST or Postgres, if it was one of them that answered."""
    try:
        return str(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return None


def _passing(error: BaseException) -> bool:
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR and not _refused(
            error.response
        )
    return isinstance(error, httpx.TransportError)


def _unsent(error: BaseException) -> bool:
    import httpx

    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


# --- rows --------------------------------------------------------------------------------------------------


def _document(row: dict[str, Any]) -> Document:
    return Document.model_validate({name: row[name] for name in Document.model_fields})


def _remains(row: dict[str, Any]) -> Remains:
    return Remains(_document(row), _moment(row["deleted_at"]), _moment(row["cleanup_due"]))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _after(document: Document) -> str:
    return write_cursor(document.created_at.isoformat(), document.document_id)


def _row(document_id: str, embedded: EmbeddedChunk) -> dict[str, Any]:
    chunk: Chunk = embedded.chunk
    return {
        "chunk_index": chunk.chunk_index,
        "chunk_id": f"{document_id}-{chunk.chunk_index:04d}",
        "content": _storable(chunk.content),
        "page": chunk.page,
        "headings": [_storable(heading) for heading in chunk.headings],
        "tokens": chunk.tokens,
        "content_hash": chunk.content_hash,
        "embedding": _vector(embedded.embedding),
    }


def _storable(text: str) -> str:
    """Without what Postgres cannot hold: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def _vector(embedding: Sequence[float]) -> str:
    """pgvector's text form; six digits are more than the 11 bits of a halfvec keep."""
    return f"[{','.join(f'{value:.6g}' for value in embedding)}]"


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
