"""Ingestion: file -> text -> chunks -> embeddings -> a new generation in the index, made visible at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from shared.chunking import chunk
from shared.documents import Chunk, ConvertedDocument, Document, EmbeddedChunk
from shared.errors import (
    BlobNotFound,
    DocmillError,
    DocumentEmpty,
    IndexUnavailable,
    StorageUnavailable,
    TaskTimeout,
)
from shared.handler import Context
from shared.parallel import completed
from shared.ports import ConversionOptions, Embeddings
from shared.source import File, SourcePayload, check_pin, checkpoint_of, converted, fetched, locate

log = logging.getLogger(__name__)
STAGES = {"download": 5, "convert": 45, "chunk": 5, "embed": 40, "index": 5}
WRITE_BATCH = 200
KNOWN_BATCH = 500
T = TypeVar("T")


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    chunk_tokens: int = Field(default=400, ge=50, le=2000)
    ocr: Literal["auto", "never", "always"] = "auto"


class Payload(SourcePayload):
    options: Options = Options()


class Usage(BaseModel):
    """Of all attempts of the task."""

    embedding_tokens: int = 0


class Result(BaseModel):
    """`timings`: seconds for each stage. `chunks_reused`: those whose embedding was there already.

    `page_labels`: "iv" and the like, for pages 1, 2, 3; empty where pages are simply counted."""

    document_id: str
    format: str
    title: str | None
    pages: int | None
    page_labels: list[str]
    characters: int
    chunks: int
    chunks_reused: int
    embedding_model: str
    dimensions: int
    markdown_blob: str
    timings: dict[str, float]
    usage: Usage
    warnings: list[str]


def run(payload: Payload, ctx: Context) -> Result:
    laps = Laps()
    document = locate(payload, ctx)
    check_pin(document, ctx)  # a retry that can only fail must not stand in the way of a newer ingestion
    # Begun before the file is read: whoever began last has seen the newest file, and is the one to be shown.
    generation = ctx.documents.begin(ctx.client_id, document.document_id)
    with fetched(document, ctx) as file:
        laps.end("download")
        options = ConversionOptions(ocr=payload.options.ocr)
        text = converted(file, options, ctx)
        laps.end("convert")
    chunks = _chunks(text, payload.options.chunk_tokens, ctx)
    laps.end("chunk")
    build = Build(ctx, document, generation)
    build.write(chunks)
    laps.end("embed")
    dimensions = ctx.models.dimensions  # asks a model that nobody knows: nothing may fail after the end
    markdown = _publish(build, file, text, len(chunks))
    checkpoint_of(file, options, ctx).remove()
    laps.end("index")
    return Result(
        document_id=document.document_id,
        format=text.format,
        title=text.title,
        pages=text.pages,
        page_labels=list(text.page_labels),
        characters=text.characters,
        chunks=len(chunks),
        chunks_reused=build.reused,
        embedding_model=ctx.models.embedding_model,
        dimensions=dimensions,
        markdown_blob=markdown,
        timings=laps.seconds,
        usage=Usage(**ctx.spent),
        warnings=list(text.warnings),
    )


def _chunks(text: ConvertedDocument, limit: int, ctx: Context) -> list[Chunk]:
    ctx.progress("chunk", 0, 1, "Chunking")
    chunks = chunk(text, limit, ctx.models.count_tokens)
    if not chunks:
        raise DocumentEmpty
    ctx.telemetry.count("docmill_chunks_total", len(chunks))
    ctx.progress("chunk", 1, 1, f"Made {len(chunks)} chunks")
    return chunks


class Build:
    """One generation while it is written. Nothing of it is visible before it is activated."""

    def __init__(self, ctx: Context, document: Document, generation: int) -> None:
        self.ctx = ctx
        self.document = document
        self.generation = generation
        self.reused = 0
        self._written = 0

    def write(self, chunks: list[Chunk]) -> None:
        """Writes every chunk, and embeds each text that this client has no embedding of."""
        self._report(len(chunks))
        known = self._known(chunks)
        self.reused = sum(chunk.content_hash in known for chunk in chunks)
        self._put([chunk for chunk in chunks if chunk.content_hash in known], known, len(chunks))
        fresh = [chunk for chunk in chunks if chunk.content_hash not in known]
        for batch, embeddings in self._embedded(fresh):
            self.ctx.spend(embedding_tokens=embeddings.tokens)
            hashes = [same[0].content_hash for same in batch]
            vectors = dict(zip(hashes, embeddings.vectors, strict=True))
            self._put([chunk for same in batch for chunk in same], vectors, len(chunks))

    def _known(self, chunks: list[Chunk]) -> dict[str, tuple[float, ...]]:
        model = self.ctx.models.embedding_model
        hashes = sorted({chunk.content_hash for chunk in chunks})
        known: dict[str, tuple[float, ...]] = {}
        for batch in batches(hashes, KNOWN_BATCH):
            known |= self.ctx.documents.known(self.ctx.client_id, model, batch)
            self._report(len(chunks))
        return known

    def _embedded(self, chunks: list[Chunk]) -> Iterator[tuple[list[list[Chunk]], Embeddings]]:
        """Batches as they get ready, so that each can be written then: chunks of the same text together, and
        one vector for them."""
        same: dict[str, list[Chunk]] = {}
        for one in chunks:
            same.setdefault(one.content_hash, []).append(one)
        models = self.ctx.models
        made = batches(list(same.values()), models.embedding_batch)
        return completed(self._embed, made, models.concurrency, self.ctx.remaining)

    def _embed(self, batch: list[list[Chunk]]) -> Embeddings:
        texts = [same[0].embedded_text for same in batch]
        return self.ctx.models.embed(texts, timeout=self.ctx.remaining())

    def _put(self, chunks: list[Chunk], vectors: dict[str, tuple[float, ...]], total: int) -> None:
        for batch in batches(chunks, WRITE_BATCH):
            written = self.ctx.documents.write(
                self.ctx.client_id,
                self.document.document_id,
                self.generation,
                self.ctx.models.embedding_model,
                [EmbeddedChunk(chunk=chunk, embedding=vectors[chunk.content_hash]) for chunk in batch],
            )
            if not written:
                raise self.outdated()
            self._written += len(batch)
            self._report(total)

    def outdated(self) -> DocmillError:
        """Why this generation may not be shown."""
        if self.ctx.documents.get(self.ctx.client_id, self.document.document_id) is None:
            return BlobNotFound("The document was deleted while it was ingested.")
        # Longer each time, so that two tasks on one document do not overtake each other for ever.
        return IndexUnavailable(
            "Another ingestion of this document began later. This one is tried again after it.",
            retry_after=30.0 * 2**self.ctx.attempt,
        )

    def _report(self, total: int) -> None:
        self.ctx.progress("embed", self._written, total, f"Embedded {self._written}/{total} chunks")


def _publish(build: Build, file: File, text: ConvertedDocument, chunks: int) -> str:
    """Writes the Markdown, then makes the generation the visible one. Raises when it must not be."""
    ctx, document = build.ctx, build.document
    ctx.progress("index", 0, 1, "Indexing")
    # A name of this generation alone: whoever lost the race overwrites nobody's text.
    markdown = f"{ctx.client_id}/markdown/{document.document_id}/{build.generation}.md"
    ctx.blobs.put(markdown, text.markdown().encode(), "text/markdown; charset=utf-8")
    ctx.progress("index", 0, 1, "Indexing")
    active = ctx.commit(
        lambda: ctx.documents.activate(
            ctx.client_id,
            document.document_id,
            build.generation,
            model=ctx.models.embedding_model,
            chunks=chunks,
            pages=text.pages,
            title=text.title,
            markdown_blob=markdown,
            size=file.size,
            sha256=file.sha256,
            content_type=document.content_type,
        )
    )
    if not active:
        _remove(ctx, markdown)
        raise build.outdated()
    if document.markdown_blob not in {None, markdown}:
        _remove(ctx, str(document.markdown_blob))
    return markdown


def _remove(ctx: Context, blob: str) -> None:
    """A text that nobody is shown any more. Left behind, it goes with its document."""
    try:
        ctx.blobs.delete(blob)
    except (StorageUnavailable, TaskTimeout):
        log.warning("A text that is out of date could not be removed.", extra={"client_id": ctx.client_id})


class Laps:
    """Seconds from one stage's end to the next."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def end(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now


def batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    return (list(items[start : start + size]) for start in range(0, len(items), size))
