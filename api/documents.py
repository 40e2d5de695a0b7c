"""Documents: upload, list, look at, read, delete."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, File, Header, Query, Response, UploadFile

from api.access import Client, CoreOf, Cursor, Limit
from api.shapes import (
    AnnouncedShape,
    ChunkShape,
    DocumentShape,
    Listing,
    SummaryShape,
    UploadedShape,
    UploadRequest,
)
from api.tasks import location
from shared.core import Core
from shared.deletion import delete_document
from shared.documents import Document, DocumentStatus, document_id_of_upload, new_document_id
from shared.errors import (
    BlobNotFound,
    Conflict,
    DocumentError,
    InvalidPayload,
    NotFound,
    NotReady,
    PayloadTooLarge,
    StorageUnavailable,
)
from shared.source import content_type_of
from shared.submission import Submission, admit, submit
from shared.tasks import utc_now
from shared.uploads import GRANTED, UNUSED, expiry_of, received

log = logging.getLogger(__name__)
router = APIRouter(tags=["documents"])
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")
_NAME_LIMIT = 200


@router.post(
    "/documents",
    status_code=201,
    response_model=UploadedShape,
    responses={200: {"model": UploadedShape, "description": "The same name and content again"}},
)
def upload_document(
    core: CoreOf,
    client: Client,
    response: Response,
    file: Annotated[UploadFile, File()],
    task: Annotated[str | None, Query(max_length=64)] = None,
    traceparent: Annotated[str | None, Header(max_length=128)] = None,
) -> dict[str, Any]:
    """Stores a file. `?task=ingestion` submits a task of that type for it as well."""
    if task is not None:
        admit(core, client)  # before the file is stored for nothing
    document, created = _store(core, client, file)
    if not created:
        response.status_code = 200
    accepted = None
    if task is not None:
        payload = {"document_id": document.document_id}
        wish = Submission(task_type=task, payload=payload, traceparent=traceparent)
        accepted = submit(core, client, wish).task
        location(response, accepted)
    return {**document.public(), "task": accepted.public() if accepted else None}


def _store(core: Core, client_id: str, file: UploadFile) -> tuple[Document, bool]:
    """The file first and its record after: there is never a record without a file. A reminder before both:
    a file whose record never comes is never forgotten.

    Its name is of this upload alone, so that whoever cleans up after a deletion cannot mean this one.
    """
    filename = _filename(file.filename)
    size, sha256 = _measure(file, core.settings.max_multipart_bytes)
    document_id = document_id_of_upload(client_id, filename, sha256)
    known = core.documents.get(client_id, document_id)
    if known is not None:
        return known, False
    now = utc_now()
    document = Document(
        document_id=document_id,
        client_id=client_id,
        filename=filename,
        content_type=_content_type(file, filename),
        size=size,
        sha256=sha256,
        created_at=now,
        updated_at=now,
        blob=_blob_name(client_id, document_id, filename),
    )
    core.tasks.remind(client_id, expiry_of(document))
    file.file.seek(0)
    core.blobs.put(document.blob, file.file, document.content_type)
    stored, created = core.documents.add(document)
    if stored.blob != document.blob:
        _drop(core, document.blob)
    return stored, created


def _blob_name(client_id: str, document_id: str, filename: str) -> str:
    return f"{client_id}/uploads/{document_id}/{secrets.token_hex(6)}/{filename}"


def _drop(core: Core, blob: str) -> None:
    """The file of an upload that came second. Left behind, it goes with its document."""
    try:
        core.blobs.delete(blob)
    except StorageUnavailable:
        log.warning("A file that was uploaded twice could not be removed.")


def _filename(given: str | None) -> str:
    """The last part of the name, without what a path or a header could trip over."""
    name = _UNSAFE.sub("_", re.split(r"[/\\]", given or "")[-1]).strip(" .")
    if not name:
        raise InvalidPayload('Send the file with its name: filename="report.pdf".')
    stem, dot, extension = name.rpartition(".")
    if len(name) <= _NAME_LIMIT:
        return name
    return f"{(stem or extension)[: _NAME_LIMIT - 20]}{dot}{extension[:19]}" if stem else name[:_NAME_LIMIT]


def _content_type(file: UploadFile, filename: str) -> str:
    given = file.content_type or ""
    plain = re.fullmatch(r"[\w.+-]+/[\w.+-]+(; ?charset=[\w-]+)?", given)
    unknown = not plain or given == "application/octet-stream"
    return content_type_of(filename) if unknown else given


def _measure(file: UploadFile, limit: int) -> tuple[int, str]:
    """Bytes and SHA-256. Raises PayloadTooLarge."""
    digest, size = hashlib.sha256(), 0
    while part := file.file.read(1024 * 1024):
        digest.update(part)
        size += len(part)
        if size > limit:
            raise PayloadTooLarge(
                f"A file sent this way may have {limit} bytes. "
                "Larger ones go straight to storage: POST /api/documents/uploads gives the address."
            )
    return size, digest.hexdigest()


@router.post("/documents/uploads", status_code=201, response_model=AnnouncedShape)
def announce_upload(core: CoreOf, client: Client, body: UploadRequest) -> dict[str, Any]:
    """Announces a file that then goes straight to storage, and gives the address for it.

    The reminder first: a document whose file never comes is never forgotten.
    """
    limit = core.settings.max_upload_bytes
    if body.size > limit:
        raise PayloadTooLarge(f"A file may have {limit} bytes. Split it and upload the parts.")
    document = _announced(client, _filename(body.filename), body.size)
    upload = _upload(core, document, blocks=body.blocks)
    core.tasks.remind(client, expiry_of(document))
    document, _ = core.documents.add(document)
    return {"document": document.public(), "upload": upload}


def _announced(client_id: str, filename: str, size: int) -> Document:
    now, document_id = utc_now(), new_document_id()
    return Document(
        document_id=document_id,
        client_id=client_id,
        filename=filename,
        content_type=content_type_of(filename),
        size=size,
        status=DocumentStatus.PENDING,
        created_at=now,
        updated_at=now,
        blob=_blob_name(client_id, document_id, filename),
    )


def _upload(core: Core, document: Document, *, blocks: bool) -> dict[str, Any]:
    seconds = GRANTED.total_seconds()
    grant = core.blobs.grant_upload(document.blob, document.content_type, seconds, blocks=blocks)
    return {"url": grant.url, "method": "PUT", "headers": grant.headers, "expires_at": grant.expires_at}


@router.post("/documents/{document_id}/upload", response_model=AnnouncedShape)
def renew_upload(
    core: CoreOf, client: Client, document_id: str, blocks: Annotated[bool, Query()] = False
) -> dict[str, Any]:
    """A new address for the same file, when the last one ended too soon. 409 once the file has come."""
    document = _looked_at(core, find(core, client, document_id))
    if document.status is not DocumentStatus.PENDING:
        raise Conflict("The file of this document is there. Submit a task for it.")
    if utc_now() > document.created_at + UNUSED:
        raise Conflict("This upload was announced too long ago. Announce it again.")
    return {"document": document.public(), "upload": _upload(core, document, blocks=blocks)}


def _looked_at(core: Core, document: Document) -> Document:
    """A pending document is `stored` from when somebody sees that its file is complete."""
    if document.status is not DocumentStatus.PENDING:
        return document
    try:
        return received(document, core.documents, core.blobs, core.settings.max_upload_bytes)
    except (DocumentError, StorageUnavailable):
        return document  # as it is known


@router.get("/documents", response_model=Listing[DocumentShape])
def list_documents(core: CoreOf, client: Client, limit: Limit = 50, cursor: Cursor = None) -> dict[str, Any]:
    page = core.documents.page(client, limit=limit, cursor=cursor)
    return {"items": [document.public() for document in page.items], "next_cursor": page.next_cursor}


def find(core: Core, client_id: str, document_id: str) -> Document:
    """Raises NotFound, also for what belongs to another client."""
    document = core.documents.get(client_id, document_id) if len(document_id) <= 64 else None
    if document is None:
        raise NotFound("There is no document of this id.")
    return document


@router.get("/documents/{document_id}", response_model=DocumentShape)
def get_document(core: CoreOf, client: Client, document_id: str) -> dict[str, Any]:
    return _looked_at(core, find(core, client, document_id)).public()


@router.get("/documents/{document_id}/markdown", response_class=Response)
def get_markdown(core: CoreOf, client: Client, document_id: str) -> Response:
    document = find(core, client, document_id)
    if document.markdown_blob is None:
        raise NotReady
    try:
        text = core.blobs.read(document.markdown_blob)
    except BlobNotFound as error:
        raise NotReady from error
    # It is somebody else's text: no browser may take it for a page.
    safe = {"X-Content-Type-Options": "nosniff"}
    return Response(text, media_type="text/markdown; charset=utf-8", headers=safe)


@router.get("/documents/{document_id}/summary", response_model=SummaryShape)
def get_summary(core: CoreOf, client: Client, document_id: str) -> dict[str, Any]:
    find(core, client, document_id)
    summary = core.documents.summary(client, document_id)
    if summary is None:
        raise NotReady
    return summary.model_dump()


@router.get("/documents/{document_id}/chunks", response_model=Listing[ChunkShape])
def list_chunks(
    core: CoreOf, client: Client, document_id: str, limit: Limit = 50, cursor: Cursor = None
) -> dict[str, Any]:
    if find(core, client, document_id).chunks is None:
        raise NotReady
    page = core.documents.chunks(client, document_id, limit=limit, cursor=cursor)
    return {"items": [chunk.model_dump() for chunk in page.items], "next_cursor": page.next_cursor}


@router.delete("/documents/{document_id}", status_code=204)
def remove_document(core: CoreOf, client: Client, document_id: str) -> None:
    """May be repeated. Whatever is out of reach now is removed later."""
    if len(document_id) > 64 or not delete_document(core, client, document_id):
        raise NotFound("There is no document of this id.")
