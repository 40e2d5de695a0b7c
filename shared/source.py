"""The document that a task works on: which one, what file it is, and its text."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shared import measures, scratch
from shared.checkpoints import Checkpoint
from shared.documents import ConvertedDocument, Document, DocumentStatus, document_id_of_blob
from shared.errors import BlobNotFound, DocumentChanged, DocumentTooLarge
from shared.handler import Context
from shared.ports import ConversionOptions
from shared.tasks import utc_now
from shared.uploads import received

MEGABYTE = 1_000_000


class SourcePayload(BaseModel):
    """Names a document by its id, or by the name of a blob below the client's own prefix."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    document_id: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{3,63}$")
    blob: str | None = Field(default=None, min_length=9, max_length=900)

    @field_validator("blob")
    @classmethod
    def _own(cls, value: str | None) -> str | None:
        """A name that can lead nowhere else: no way up, no other prefix, nothing that a path could hide."""
        if value is None:
            return None
        parts = value.split("/")
        odd = "\\" in value or any(ord(character) < 32 for character in value)
        if parts[0] != "uploads" or odd or any(part in {"", ".", ".."} for part in parts):
            raise ValueError("a blob is named like uploads/report.pdf, inside your own files")
        return value

    @model_validator(mode="after")
    def _one(self) -> SourcePayload:
        if (self.document_id is None) == (self.blob is None):
            raise ValueError("give either document_id or blob")
        return self

    def document_of(self, client_id: str) -> str:
        """The id of the document, known before anything is read."""
        return self.document_id or document_id_of_blob(client_id, self.full_name(client_id))

    def full_name(self, client_id: str) -> str:
        return f"{client_id}/{self.blob}"


def locate(source: SourcePayload, ctx: Context) -> Document:
    """The document's record; a blob that has none gets one. Raises BlobNotFound."""
    if source.blob is None:
        document = ctx.documents.get(ctx.client_id, source.document_of(ctx.client_id))
        if document is None:
            raise BlobNotFound("There is no document of this id. Upload it first, with POST /api/documents.")
        return document
    info = ctx.blobs.info(source.full_name(ctx.client_id))
    filename, now = source.blob.rsplit("/", 1)[-1], utc_now()
    announced = Document(
        document_id=source.document_of(ctx.client_id),
        client_id=ctx.client_id,
        filename=filename,
        content_type=info.content_type or content_type_of(filename),
        size=info.size,
        created_at=now,
        updated_at=now,
        blob=info.name,
    )
    document, _ = ctx.documents.add(announced)
    return document


def content_type_of(filename: str) -> str:
    return mimetypes.guess_type(filename)[0] or "application/octet-stream"


@dataclass(frozen=True)
class File:
    """A document's file on this machine, for as long as `fetched` lasts."""

    document_id: str
    path: Path
    size: int
    sha256: str
    format: str


class _Hashing:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        if self.size > self._limit:
            raise DocumentTooLarge(f"The file is larger than {self._limit} bytes, the limit for uploads.")
        self._hash.update(data)
        return self._file.write(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def fetched(document: Document, ctx: Context) -> Iterator[File]:
    """Downloads the file chunk by chunk to a temporary one, and tells its real format by its content.

    It is the one file that this task saw first, whatever attempt this is. Raises DocumentChanged when that is
    not there any more, and what `received` raises.
    """

    def report(done: int, total: int) -> None:
        ctx.progress("download", done, total, f"Downloaded {done / MEGABYTE:.1f}/{total / MEGABYTE:.1f} MB")

    etag = _pinned(document, ctx)
    with scratch.folder() as folder:
        path = Path(folder) / "document"
        with path.open("wb") as file:
            hashing = _Hashing(file, ctx.max_bytes)
            ctx.blobs.download(document.blob, cast(BinaryIO, hashing), report, etag)
        fmt = ctx.converter.detect(path, document.filename)
        yield File(document.document_id, path, hashing.size, hashing.sha256, fmt)


def check_pin(document: Document, ctx: Context) -> None:
    """Raises DocumentChanged when an earlier attempt has seen another file than the one that is there."""
    if ctx.pinned is not None and ctx.blobs.info(document.blob).etag != ctx.pinned:
        raise DocumentChanged


def _pinned(document: Document, ctx: Context) -> str:
    """The ETag of the file that this task works on. What was checked is what is read, in every range."""
    if document.status is DocumentStatus.PENDING:
        document = received(document, ctx.documents, ctx.blobs, ctx.max_bytes)
    etag = ctx.pin(document.etag or ctx.blobs.info(document.blob).etag)
    if document.etag not in {None, etag}:
        raise DocumentChanged
    return etag


def converted(file: File, options: ConversionOptions, ctx: Context) -> ConvertedDocument:
    """The file's text, with progress by page; one that an earlier attempt has made is taken instead."""
    ctx.progress("convert", 0, 1, "Converting")  # for plain kinds the next report is of their end, or none
    checkpoint = checkpoint_of(file, options, ctx)
    known = checkpoint.read()
    if known is not None:
        ctx.progress("convert", 1, 1, "Took the text of an earlier attempt")
        return known

    def report(done: int, total: int) -> None:
        unit = "page" if total == 1 else "pages"
        ctx.progress("convert", done, total, f"Converted {done}/{total} {unit}")

    with measures.conversion(ctx.telemetry, file.format):
        timeout = ctx.remaining()
        text = ctx.converter.convert(file.path, file.format, options, timeout=timeout, progress=report)
    ctx.telemetry.count("docmill_pages_total", text.pages or 0)
    checkpoint.write(text)
    return text


def checkpoint_of(file: File, options: ConversionOptions, ctx: Context) -> Checkpoint:
    return Checkpoint(ctx, file.document_id, file.sha256, file.format, options)
