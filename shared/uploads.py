"""Files that go straight to storage: announced, put there by the client, looked at before they count."""

from __future__ import annotations

from datetime import timedelta

from shared.documents import Document
from shared.errors import BlobNotFound, DocumentCorrupt, DocumentTooLarge
from shared.ports import BlobStore, DocumentStore
from shared.tasks import Expiry

GRANTED = timedelta(minutes=15)
"""How long the address of an upload may be used."""
UNUSED = timedelta(hours=24)
"""How long an announced document may get a new address; then it expires as soon as the last one has ended."""


def expiry_of(document: Document) -> Expiry:
    """When a pending document goes, unless its file has come."""
    return Expiry(due=document.created_at + UNUSED + GRANTED, kind="upload", id=document.document_id)


def received(document: Document, documents: DocumentStore, blobs: BlobStore, limit: int) -> Document:
    """A pending document whose file is complete: `stored` now, and bound to this very file by its ETag.

    Raises BlobNotFound while there is no file, DocumentCorrupt for one of another size than was announced,
    DocumentTooLarge for one of more than `limit` bytes.
    """
    try:
        found = blobs.info(document.blob)
    except BlobNotFound as error:
        raise BlobNotFound("The file of this document was not uploaded yet. Upload it first.") from error
    if found.size > limit:
        raise DocumentTooLarge(f"The file is larger than {limit} bytes, the limit for uploads.")
    if found.size != document.size:
        raise DocumentCorrupt(
            f"The file has {found.size} bytes, but {document.size} were announced. "
            "Delete this document, then announce and upload the whole file again."
        )
    stored = documents.stored(document.client_id, document.document_id, found.etag)
    if stored is None:
        raise BlobNotFound("The document was deleted.")
    return stored
