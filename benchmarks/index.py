"""Chunks straight into the index: what a benchmark of reading needs first, in a minute and not in three."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.corpus import TOKENS, Part, as_halfvec

if TYPE_CHECKING:
    import psycopg

_BUILT_LAST = ("chunks_embedding_384", "chunks_fts")
_COPY = (
    "copy chunks (client_id, document_id, generation, chunk_index, chunk_id, content, tokens, content_hash,"
    " model, embedding) from stdin (format binary)"
)
_TYPES = ("text", "text", "int8", "int4", "text", "text", "int4", "text", "text", "bytea")
_DOCUMENTS = """
    insert into documents (client_id, document_id, filename, content_type, size, status, chunks, blob,
        embedding_model, generation, newest_generation, created_at, updated_at)
    select %s, document_id, document_id || '.pdf', 'application/pdf', 1, 'ingested', chunks, 'b', %s, 1, 1,
        now(), now()
    from unnest(%s::text[], %s::integer[]) as d (document_id, chunks)
"""


def load(url: str, model: str, parts: Sequence[Part]) -> None:
    """`url`: of Postgres itself. The large indexes are dropped and made again, as the migrations make them:
    that is ten times faster than filling them row by row."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as database:
        with (
            _without_indexes(database),
            ThreadPoolExecutor(2) as pool,
        ):  # Postgres splits words on one core each
            list(pool.map(lambda part: _copy(url, model, part), parts))
        database.execute("vacuum analyze chunks, documents")  # as it would do by itself a minute later


@contextmanager
def _without_indexes(database: psycopg.Connection) -> Iterator[None]:
    rows = [
        database.execute("select pg_get_indexdef(%s::regclass)", (name,)).fetchone() for name in _BUILT_LAST
    ]
    for name in _BUILT_LAST:
        database.execute(f"drop index {name}")
    yield
    for row in rows:
        assert row is not None
        database.execute(row[0])


def _copy(url: str, model: str, part: Part) -> None:
    import psycopg

    with psycopg.connect(url) as database:
        database.execute(_DOCUMENTS, (part.client, model, *map(list, zip(*part.documents, strict=True))))
        with database.cursor().copy(_COPY) as copy:
            copy.set_types(_TYPES)
            for piece in part:
                place = (part.client, piece.document_id, 1, piece.place, piece.chunk_id)
                digest = hashlib.sha256(piece.content.encode()).hexdigest()
                copy.write_row((*place, piece.content, TOKENS, digest, model, as_halfvec(piece.vector)))
