"""The parts of an ingestion and nothing between them, in one process: `python -m benchmarks.parts URL KEY`.

It takes lines of JSON, each a list of files, and answers each with the seconds of every stage of every file:
conversion, chunks, vectors, and one bulk upsert into the very table with its indexes.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.documents import Chunk, ConvertedDocument
    from supabase import Client

CLIENT = "bare"
TOKENS = 400
STAGES = ("convert", "chunk", "embed", "index")


class Parts:
    def __init__(self, url: str, key: str) -> None:
        from shared.providers.local import LocalModel
        from supabase import create_client

        self._client: Client = create_client(url, key)
        self._models = LocalModel()

    def run(self, name: str, path: Path) -> list[float]:
        """Seconds by stage. `name`: of the document, which has a row already."""
        from shared.chunking import chunk

        times = [time.perf_counter()]
        text = converted(path)
        times.append(time.perf_counter())
        chunks = chunk(text, TOKENS, self._models.count_tokens)
        times.append(time.perf_counter())
        vectors = self._models.embed([each.embedded_text for each in chunks], timeout=600).vectors
        times.append(time.perf_counter())
        rows = [self._row(name, each, list(vector)) for each, vector in zip(chunks, vectors, strict=True)]
        self._upsert(rows)
        times.append(time.perf_counter())
        return [end - begin for begin, end in itertools.pairwise(times)]

    def add(self, name: str) -> None:
        """The row that a foreign key asks for."""
        now = "2026-01-01T00:00:00Z"
        row = {
            "client_id": CLIENT,
            "document_id": name,
            "filename": name,
            "content_type": "text/plain",
            "size": 1,
            "status": "stored",
            "blob": name,
            "created_at": now,
            "updated_at": now,
        }
        self._client.table("documents").insert(row).execute()

    def _upsert(self, rows: list[dict[str, Any]]) -> None:
        from postgrest.types import ReturnMethod

        self._client.table("chunks").upsert(rows, returning=ReturnMethod.minimal).execute()

    def _row(self, name: str, chunk: Chunk, vector: list[float]) -> dict[str, Any]:
        return {
            "client_id": CLIENT,
            "document_id": name,
            "generation": 1,
            "chunk_index": chunk.chunk_index,
            "chunk_id": f"{name}-{chunk.chunk_index:04d}",
            "content": chunk.content,
            "page": chunk.page,
            "headings": json.dumps(chunk.headings),
            "tokens": chunk.tokens,
            "content_hash": chunk.content_hash,
            "model": self._models.embedding_model,
            "embedding": f"[{','.join(f'{value:.6g}' for value in vector)}]",
        }


def converted(path: Path) -> ConvertedDocument:
    """By the very functions that a conversion child calls."""
    from shared.providers.conversion import declarative, pdf, plain
    from shared.providers.conversion.request import Limits, Request

    kind = path.suffix.removeprefix(".")
    if kind == "pdf":
        return pdf.convert(Request(path=path, format=kind), lambda *_: None)
    if kind in {"txt", "csv"}:
        return plain.convert(path, kind, Limits())
    return declarative.convert(path, kind, Limits())


def main(url: str, key: str) -> None:
    parts, done = Parts(url, key), 0
    for line in sys.stdin:
        files = [(f"doc-{done + place}", Path(path)) for place, path in enumerate(json.loads(line))]
        done += len(files)
        for name, _ in files:
            parts.add(name)
        print(json.dumps([parts.run(name, path) for name, path in files]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
