"""The parts of an ingestion and nothing between them, in one process: `python -m benchmarks.parts URL KEY`.

It takes lines of JSON, `{"embed": HOW, "files": [...]}`, and answers each with the seconds of every stage of
every file: conversion, chunks, vectors, and one bulk upsert into the very table with its indexes. HOW is
`bare`, the model as it comes, one text after the other with a thread for each processor, or `ours`, the same
model as Docmill calls it.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.documents import Chunk, ConvertedDocument
    from supabase import Client

CLIENT = "bare"
TOKENS = 400
STAGES = ("convert", "chunk", "embed", "index")


Embed = Callable[[Sequence[str]], list[tuple[float, ...]]]


class Parts:
    def __init__(self, url: str, key: str) -> None:
        from supabase import create_client

        self._client: Client = create_client(url, key)
        self._embed = {"bare": bare_embed(), "ours": our_embed()}

    def run(self, how: str, name: str, path: Path) -> list[float]:
        """Seconds by stage. `name`: of the document, which has a row already."""
        from shared import tokens
        from shared.chunking import chunk

        times = [time.perf_counter()]
        text = converted(path)
        times.append(time.perf_counter())
        chunks = chunk(text, TOKENS, tokens.count)
        times.append(time.perf_counter())
        vectors = self._embed[how]([each.embedded_text for each in chunks])
        times.append(time.perf_counter())
        rows = [_row(name, each, vector) for each, vector in zip(chunks, vectors, strict=True)]
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


def _row(name: str, chunk: Chunk, vector: Sequence[float]) -> dict[str, Any]:
    from shared.providers import minilm

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
        "model": minilm.NAME,
        "embedding": f"[{','.join(f'{value:.6g}' for value in vector)}]",
    }


def bare_embed() -> Embed:
    from shared.providers import minilm
    from shared.providers.conversion.processors import processors

    encode = minilm.load(threads=processors())
    return lambda texts: [encode(text, "document")[0] for text in texts]


def our_embed() -> Embed:
    from shared.providers.local import LocalModel

    model = LocalModel()
    return lambda texts: model.embed(texts, timeout=600).vectors


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
        wish = json.loads(line)
        files = [(f"doc-{done + place}", Path(path)) for place, path in enumerate(wish["files"])]
        done += len(files)
        for name, _ in files:
            parts.add(name)
        print(json.dumps([parts.run(wish["embed"], name, path) for name, path in files]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
