"""Documents, chunks, summaries and search in memory: for tests, and to read what a DocumentStore is."""

from __future__ import annotations

import math
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import mul
from typing import Literal

from shared.documents import Document, DocumentStatus, EmbeddedChunk, Match, StoredChunk, StoredSummary
from shared.errors import BlobNotFound
from shared.ports import Page, Remains
from shared.storage.cursors import read_chunk_cursor, read_document_cursor, write_cursor

WORD = re.compile(r"\w+")
RANK_CONSTANT = 60


@dataclass(frozen=True)
class _Stored:
    model: str
    embedded: EmbeddedChunk


@dataclass
class _Entry:
    """A document and all its generations; `active` is 0 for none."""

    document: Document
    active: int = 0
    newest: int = 0
    deleted_at: datetime | None = None
    cleanup_due: datetime | None = None
    generations: dict[int, dict[int, _Stored]] = field(default_factory=dict)

    @property
    def deleted(self) -> bool:
        return self.deleted_at is not None

    @property
    def remains(self) -> Remains:
        return Remains(self.document, self.deleted_at, self.cleanup_due)

    @property
    def visible(self) -> list[_Stored]:
        rows = self.generations.get(self.active, {})
        return [rows[index] for index in sorted(rows)]


class MemoryDocuments:
    """A DocumentStore that ends with its process. Safe among threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._summaries: dict[tuple[str, str], StoredSummary] = {}

    def close(self) -> None:
        """Nothing to do."""

    # --- documents ---------------------------------------------------------------------------------------

    def add(self, document: Document) -> tuple[Document, bool]:
        key = (document.client_id, document.document_id)
        with self._lock:
            entry = self._entries.get(key)
            if entry and not entry.deleted:
                return entry.document, False
            again = datetime.now(UTC) + timedelta(hours=1) if entry and entry.cleanup_due else None
            newest = entry.newest + 1 if entry else 0
            self._entries[key] = _Entry(document, newest=newest, cleanup_due=again)
            return document, True

    def get(self, client_id: str, document_id: str) -> Document | None:
        with self._lock:
            entry = self._living(client_id, document_id)
            return entry.document if entry else None

    def stored(self, client_id: str, document_id: str, etag: str) -> Document | None:
        with self._lock:
            entry = self._living(client_id, document_id)
            if entry is None:
                return None
            if entry.document.status is DocumentStatus.PENDING:
                now = datetime.now(UTC)
                changes = {"status": DocumentStatus.STORED, "etag": etag, "updated_at": now}
                entry.document = entry.document.model_copy(update=changes)
            return entry.document

    def page(self, client_id: str, *, limit: int = 50, cursor: str | None = None) -> Page[Document]:
        before = read_document_cursor(cursor) if cursor else None
        with self._lock:
            documents = sorted((entry.document for entry in self._of(client_id)), key=_age, reverse=True)
        older = [document for document in documents if before is None or _age(document) < before]
        shown = older[:limit]
        return Page(shown, _after(shown[-1]) if len(older) > limit else None)

    def delete(self, client_id: str, document_id: str) -> Document | None:
        with self._lock:
            entry = self._entries.get((client_id, document_id))
            if entry is None:
                return None
            now = datetime.now(UTC)
            entry.deleted_at, entry.active, entry.generations = entry.deleted_at or now, 0, {}
            entry.cleanup_due = now + timedelta(minutes=1)
            for key, summary in list(self._summaries.items()):
                if key[0] == client_id and summary.document_id == document_id:
                    del self._summaries[key]
            return entry.document

    def to_clean(self, client_ids: Sequence[str], now: datetime, limit: int = 100) -> list[Remains]:
        with self._lock:
            entries = [entry for (client, _), entry in self._entries.items() if client in client_ids]
            due = [(entry.cleanup_due, entry.remains) for entry in entries if entry.cleanup_due]
        due.sort(key=lambda pair: pair[0])
        return [remains for moment, remains in due if moment <= now][:limit]

    def remains(self, client_id: str, document_id: str) -> Remains | None:
        with self._lock:
            entry = self._entries.get((client_id, document_id))
            return entry.remains if entry else None

    def cleaned(self, remains: Remains, again_at: datetime | None) -> None:
        with self._lock:
            entry = self._entries.get((remains.document.client_id, remains.document.document_id))
            if entry is not None and entry.cleanup_due == remains.cleanup_due:
                entry.cleanup_due = again_at

    # --- generations -------------------------------------------------------------------------------------

    def begin(self, client_id: str, document_id: str) -> int:
        with self._lock:
            entry = self._living(client_id, document_id)
            if entry is None:
                raise BlobNotFound
            entry.newest += 1
            return entry.newest

    def known(self, client_id: str, model: str, hashes: Sequence[str]) -> dict[str, tuple[float, ...]]:
        wanted = set(hashes)
        with self._lock:
            rows = [row for entry in self._of(client_id) for row in _all_rows(entry) if row.model == model]
        found = {row.embedded.chunk.content_hash: row.embedded.embedding for row in rows}
        return {content_hash: found[content_hash] for content_hash in wanted & found.keys()}

    def write(
        self, client_id: str, document_id: str, generation: int, model: str, chunks: Sequence[EmbeddedChunk]
    ) -> bool:
        with self._lock:
            entry = self._living(client_id, document_id)
            if entry is None or entry.newest != generation:
                return False
            rows = entry.generations.setdefault(generation, {})
            rows.update({embedded.chunk.chunk_index: _Stored(model, embedded) for embedded in chunks})
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
        changes = {
            "status": DocumentStatus.INGESTED,
            "embedding_model": model,
            "chunks": chunks,
            "pages": pages,
            "title": title,
            "markdown_blob": markdown_blob,
            "size": size,
            "sha256": sha256,
            "content_type": content_type,
            "updated_at": datetime.now(UTC),
        }
        with self._lock:
            entry = self._living(client_id, document_id)
            if entry is None:
                return False
            if entry.active == generation:
                return True
            rows = entry.generations.get(generation, {})
            kept = {index: row for index, row in rows.items() if index < chunks and row.model == model}
            if entry.newest != generation or len(kept) < chunks:
                return False
            entry.document = entry.document.model_copy(update=changes)
            entry.active, entry.generations = generation, {generation: kept}
            return True

    # --- reading -----------------------------------------------------------------------------------------

    def chunks(
        self, client_id: str, document_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[StoredChunk]:
        after = read_chunk_cursor(cursor) if cursor else -1
        with self._lock:
            entry = self._living(client_id, document_id)
            rows = entry.visible if entry else []
        rest = [row for row in rows if row.embedded.chunk.chunk_index > after]
        shown = [_stored_chunk(document_id, row) for row in rest[:limit]]
        return Page(shown, write_cursor(shown[-1].chunk_index) if len(rest) > limit else None)

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
        with self._lock:
            rows = [
                (entry.document, row)
                for entry in self._of(client_id)
                if document_id in (None, entry.document.document_id)
                for row in entry.visible
            ]
        lists = []
        if embedding is not None and mode != "text":
            lists.append(_ranked(rows, lambda row: _cosine(row, model, embedding)))
        if mode != "vector":
            words = _words(query)
            lists.append(_ranked(rows, lambda row: _overlap(row, words)))
        matches = _fused(lists) if mode == "hybrid" else lists[0]
        return matches[:top_k]

    # --- summaries ---------------------------------------------------------------------------------------

    def save_summary(self, client_id: str, task_id: str, summary: StoredSummary) -> bool:
        with self._lock:
            entry = self._entries.get((client_id, summary.document_id))
            if entry is not None and entry.deleted:
                return False
            self._summaries[client_id, task_id] = summary
            return True

    def summary(self, client_id: str, document_id: str) -> StoredSummary | None:
        with self._lock:
            of_document = [
                (summary.created_at, task_id, summary)
                for (client, task_id), summary in self._summaries.items()
                if client == client_id and summary.document_id == document_id
            ]
        return max(of_document)[2] if of_document else None

    def ping(self, timeout: float) -> None:
        """Always answers."""

    # --- inside ------------------------------------------------------------------------------------------

    def _living(self, client_id: str, document_id: str) -> _Entry | None:
        entry = self._entries.get((client_id, document_id))
        return entry if entry and not entry.deleted else None

    def _of(self, client_id: str) -> Iterator[_Entry]:
        return (
            entry for (client, _), entry in self._entries.items() if client == client_id and not entry.deleted
        )


def _all_rows(entry: _Entry) -> Iterator[_Stored]:
    return (row for rows in entry.generations.values() for row in rows.values())


def _age(document: Document) -> tuple[datetime, str]:
    return document.created_at, document.document_id


def _after(document: Document) -> str:
    return write_cursor(document.created_at.isoformat(), document.document_id)


def _stored_chunk(document_id: str, row: _Stored) -> StoredChunk:
    chunk = row.embedded.chunk
    return StoredChunk(
        chunk_id=f"{document_id}-{chunk.chunk_index:04d}",
        document_id=document_id,
        chunk_index=chunk.chunk_index,
        content=chunk.content,
        page=chunk.page,
        headings=chunk.headings,
        tokens=chunk.tokens,
    )


# --- ranking -----------------------------------------------------------------------------------------------


def _ranked(
    rows: Iterable[tuple[Document, _Stored]], score: Callable[[_Stored], float | None]
) -> list[Match]:
    scored = ((document, row, score(row)) for document, row in rows)
    return _sorted(_match(document, row, value) for document, row, value in scored if value is not None)


def _fused(lists: Sequence[list[Match]]) -> list[Match]:
    """Reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009."""
    scores: defaultdict[str, float] = defaultdict(float)
    for matches in lists:
        for place, match in enumerate(matches, start=1):
            scores[match.chunk_id] += 1 / (RANK_CONSTANT + place)
    unique = {match.chunk_id: match for matches in lists for match in matches}
    return _sorted(match.model_copy(update={"score": scores[key]}) for key, match in unique.items())


def _sorted(matches: Iterable[Match]) -> list[Match]:
    return sorted(matches, key=lambda match: (-match.score, match.document_id, match.chunk_index))


def _match(document: Document, row: _Stored, score: float) -> Match:
    chunk = _stored_chunk(document.document_id, row)
    return Match(filename=document.filename, score=score, **chunk.model_dump(exclude={"tokens"}))


def _cosine(row: _Stored, model: str, query: Sequence[float]) -> float | None:
    """None for a chunk that cannot be compared: of another model or another number of dimensions."""
    vector = row.embedded.embedding
    if row.model != model or len(vector) != len(query):
        return None
    lengths = math.hypot(*vector) * math.hypot(*query)
    return sum(map(mul, vector, query)) / lengths if lengths else 0.0


def _overlap(row: _Stored, words: set[str]) -> float | None:
    """The share of the query's words that the chunk and its headings hold; None for none of them."""
    common = words & _words(row.embedded.chunk.embedded_text)
    return len(common) / len(words) if common else None


def _words(text: str) -> set[str]:
    return {word.casefold() for word in WORD.findall(text)}
