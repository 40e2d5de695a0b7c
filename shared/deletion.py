"""Deleting a document: invisible at once, then everything it left behind.

The tombstone remembers what is left to do. Whoever cleans up looks first, then makes sure that the document
is still deleted, and then removes exactly what was seen: a document that is revived meanwhile loses nothing,
since each life has names of its own for everything that it writes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.cancellation import cancel
from shared.documents import Document
from shared.errors import BlobNotFound, Conflict, IndexUnavailable, StorageUnavailable
from shared.ports import BlobInfo, Remains, Services
from shared.tasks import utc_now
from shared.uploads import GRANTED

log = logging.getLogger(__name__)
FOLDERS = ("uploads", "markdown", "checkpoints", "results")
UNDER_WAY = timedelta(hours=1)
"""A file that no record names may be one whose record is about to be written; after that long it is not."""
SOON = timedelta(minutes=1)


def delete_document(services: Services, client_id: str, document_id: str) -> bool:
    """The tombstone first: from then on no search, no route and no ingestion still under way shows it.

    False when there never was such a document. Files that are out of reach are left to maintenance.
    """
    document = services.documents.delete(client_id, document_id)
    if document is None:
        return False
    try:
        clean_up(services, document, utc_now(), at_once=True)
    except (StorageUnavailable, IndexUnavailable) as error:
        log.warning("A deletion is left to the sweep: %s", error.message, extra={"client_id": client_id})
    return True


def clean_up(
    services: Services, document: Document, now: datetime, *, at_once: bool = False
) -> datetime | None:
    """Removes what a deleted document, or the former life of a revived one, has left.

    When to look again; None when nothing is left. `at_once`: this is the deletion itself.
    """
    seen = _look(services, document)
    remains = services.documents.remains(document.client_id, document.document_id)
    if remains is None:
        return None
    busy = remains.deleted_at is not None and _cancel(services, document.client_id, seen.tasks)
    verdict = _Verdict(remains, now, at_once)
    for file in seen.files:
        if verdict.goes(file):
            services.blobs.delete(file.name, file.etag)
    if busy:
        return now + SOON
    if any(verdict.unclear(file) for file in seen.files):
        return now + UNDER_WAY
    return verdict.grant_ends


@dataclass(frozen=True)
class _Seen:
    tasks: list[str]
    files: list[BlobInfo]


def _look(services: Services, document: Document) -> _Seen:
    client_id, document_id = document.client_id, document.document_id
    tasks = services.tasks.active(client_id, document_id)
    files = [
        file for folder in FOLDERS for file in services.blobs.below(f"{client_id}/{folder}/{document_id}/")
    ]
    if not document.immutable:
        try:
            files.append(services.blobs.info(document.blob))
        except BlobNotFound:
            log.debug("The file of a deleted document is gone already.")
    return _Seen(tasks, files)


def _cancel(services: Services, client_id: str, task_ids: list[str]) -> bool:
    """Whether any of them still runs."""
    busy = False
    for task_id in task_ids:
        try:
            busy |= not cancel(services, client_id, task_id).final
        except Conflict:
            continue  # it has ended meanwhile
    return busy


@dataclass(frozen=True)
class _Verdict:
    """What may go of the files that were seen before `remains` was read."""

    remains: Remains
    now: datetime
    at_once: bool

    def goes(self, file: BlobInfo) -> bool:
        document, deleted_at = self.remains.document, self.remains.deleted_at
        if file.name == document.blob:
            return deleted_at is not None and self._own(file, deleted_at)
        if self._in("uploads", file):
            return self._old(file)
        if deleted_at is not None:
            return True
        # Of a revived document only texts are looked for: its results and checkpoints end by their age.
        return self._in("markdown", file) and file.name != document.markdown_blob and self._old(file)

    def unclear(self, file: BlobInfo) -> bool:
        """Nobody's, as far as we know, but too young to tell."""
        document = self.remains.document
        if file.name in {document.blob, document.markdown_blob} or self._old(file):
            return False
        alive = self.remains.deleted_at is None
        return self._in("uploads", file) or (alive and self._in("markdown", file))

    @property
    def grant_ends(self) -> datetime | None:
        """Until then somebody may put the file of a deleted document where it was."""
        document, deleted_at = self.remains.document, self.remains.deleted_at
        if deleted_at is None or not document.announced:
            return None
        ends = deleted_at + GRANTED + SOON
        return ends if ends > self.now else None

    def _own(self, file: BlobInfo, deleted_at: datetime) -> bool:
        """A blob that the client named itself may since have been written anew, to be submitted next."""
        return self.at_once or self.remains.document.immutable or file.modified_at <= deleted_at

    def _in(self, folder: str, file: BlobInfo) -> bool:
        document = self.remains.document
        return file.name.startswith(f"{document.client_id}/{folder}/{document.document_id}/")

    def _old(self, file: BlobInfo) -> bool:
        return file.modified_at < self.now - UNDER_WAY
