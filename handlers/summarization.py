"""Summarization: any length, by summarising sections that fit the model and then their summaries."""

from __future__ import annotations

import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.chunking import chunk
from shared.documents import Block, ConvertedDocument, Document, DocumentStatus, StoredSummary
from shared.errors import BlobNotFound, DocumentEmpty
from shared.handler import Context
from shared.languages import tag_of
from shared.parallel import completed
from shared.ports import ConversionOptions, Summary, SummaryOptions
from shared.source import SourcePayload, converted, fetched, locate
from shared.tasks import utc_now

STAGES = {"download": 5, "convert": 35, "summarize": 55, "save": 5}
ROUNDS = 5
"""Summaries of summaries: enough for any length, and an end for a model that does not shorten."""


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    length: Literal["short", "medium", "long"] = "medium"
    format: Literal["paragraph", "bullets"] = "paragraph"
    focus: str | None = Field(default=None, min_length=1, max_length=500)
    language: str | None = Field(default=None, max_length=60)
    """Of the summary, as a BCP 47 tag; a name of a language becomes its tag. None: the document's own."""

    @field_validator("language")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        tag = tag_of(value) if value is not None else None
        if tag is None and value is not None:
            raise ValueError("give a language as a tag like de or pt-BR, or by its name in English")
        return tag


class Payload(SourcePayload):
    options: Options = Options()


class Usage(BaseModel):
    """Of all attempts of the task."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Result(BaseModel):
    """`sections`: how many pieces the text was summarised in. `timings`: seconds for each stage."""

    document_id: str
    summary: str
    model: str
    sections: int
    usage: Usage
    timings: dict[str, float]
    warnings: list[str]


def run(payload: Payload, ctx: Context) -> Result:
    timings: dict[str, float] = {}
    options = SummaryOptions(**payload.options.model_dump())
    document = locate(payload, ctx)
    text, warnings = _text(document, ctx, timings)
    started = time.perf_counter()
    reducer = MapReduce(ctx, options)
    summary = reducer.summarize(text)
    timings["summarize"] = round(time.perf_counter() - started, 3)
    timings["save"] = _save(document, summary, ctx)
    return Result(
        document_id=document.document_id,
        summary=summary,
        model=ctx.models.summary_model,
        sections=reducer.sections,
        usage=Usage(**ctx.spent),
        timings=timings,
        warnings=[*warnings, *ctx.models.warnings(options)],
    )


def _text(document: Document, ctx: Context, timings: dict[str, float]) -> tuple[str, list[str]]:
    """The document as Markdown: what an ingestion has made of it, or converted here."""
    started = time.perf_counter()
    known = _ingested_text(document, ctx) if document.immutable else None
    if known is None:
        with fetched(document, ctx) as file:
            timings["download"] = round(time.perf_counter() - started, 3)
            # A blob may have been overwritten since: the text is reused for the very same bytes only.
            known = _ingested_text(document, ctx) if file.sha256 == document.sha256 else None
            if known is None:
                result = converted(file, ConversionOptions(), ctx)
                timings["convert"] = round(time.perf_counter() - started - timings["download"], 3)
                return result.markdown(), list(result.warnings)
    ctx.progress("convert", 1, 1, "Took the text of the ingestion")
    timings.setdefault("download", round(time.perf_counter() - started, 3))
    timings["convert"] = 0.0
    return known, []


def _ingested_text(document: Document, ctx: Context) -> str | None:
    if document.status is not DocumentStatus.INGESTED or document.markdown_blob is None:
        return None
    try:
        return ctx.blobs.read(document.markdown_blob).decode()
    except BlobNotFound:
        return None


class MapReduce:
    """Map-reduce over sections of at most `section_tokens` of the model."""

    def __init__(self, ctx: Context, options: SummaryOptions) -> None:
        self._ctx = ctx
        self._options = options
        self._done = 0
        self._total = 1
        self.sections = 0

    def summarize(self, text: str) -> str:
        sections = self._split(text)
        if not sections:
            raise DocumentEmpty
        self.sections = len(sections)
        notes = self._options.model_copy(update={"length": "medium", "format": "paragraph"})
        for _ in range(ROUNDS):
            if len(sections) == 1:
                break
            self._total = self._done + len(sections) + 1
            sections = self._split("\n\n".join(self._summaries(sections, notes)))
        return self._summaries(sections[:1], self._options)[0]

    def _split(self, text: str) -> list[str]:
        blocks = tuple(Block(kind="text", text=part) for part in text.split("\n\n") if part.strip())
        document = ConvertedDocument(format="md", blocks=blocks)
        pieces = chunk(document, self._ctx.models.section_tokens, self._ctx.models.count_tokens)
        return [piece.content for piece in pieces]

    def _summaries(self, sections: list[str], options: SummaryOptions) -> list[str]:
        """One for each section, in their order, whichever is ready first."""
        ctx, models = self._ctx, self._ctx.models

        def call(place: int) -> Summary:
            return models.summarize(sections[place], options, timeout=ctx.remaining())

        self._report()
        found: dict[int, str] = {}
        for place, summary in completed(call, range(len(sections)), models.concurrency, ctx.remaining):
            ctx.spend(prompt_tokens=summary.prompt_tokens, completion_tokens=summary.completion_tokens)
            found[place] = summary.text
            self._done += 1
            self._report()
        return [found[place] for place in range(len(sections))]

    def _report(self) -> None:
        total = max(self._total, self._done)
        self._ctx.progress("summarize", self._done, total, f"Summarised {self._done}/{total} sections")


def _save(document: Document, summary: str, ctx: Context) -> float:
    started = time.perf_counter()
    ctx.progress("save", 0, 1, "Saving")
    stored = StoredSummary(
        document_id=document.document_id,
        summary=summary,
        model=ctx.models.summary_model,
        created_at=utc_now(),
    )
    if not ctx.commit(lambda: ctx.documents.save_summary(ctx.client_id, ctx.task_id, stored)):
        raise BlobNotFound("The document was deleted while it was summarised.")
    return round(time.perf_counter() - started, 3)
