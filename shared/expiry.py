"""What becomes of things whose time is up. An expiry is a nudge: the row that it names decides."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from shared.dead_letters import KEPT
from shared.deletion import UNDER_WAY, delete_document
from shared.documents import DocumentStatus
from shared.errors import DocumentError
from shared.ports import Services
from shared.tasks import LEFT_BEHIND, Expiry, Task
from shared.uploads import received


def expire(services: Services, client_id: str, expiry: Expiry, now: datetime) -> None:
    """Removes what is due, then its expiry, so that a repetition finishes what was interrupted.

    Raises RowChanged when somebody wrote the row meanwhile: it is due again at the next round.
    """
    _KINDS[expiry.kind](services, client_id, expiry, now)
    services.tasks.forget(client_id, expiry)


def _result(services: Services, client_id: str, expiry: Expiry, _: datetime) -> None:
    """The row first: from then on its result counts as expired, whenever the blob goes."""
    row = services.tasks.get(client_id, expiry.id)
    if row is None or expiry not in row.task.expiries:
        return
    if not row.task.expired:
        services.tasks.save(row, row.task.model_copy(update={"expired": True}))
    if row.task.result_blob is not None:
        services.blobs.delete(row.task.result_blob)


def _task(services: Services, client_id: str, expiry: Expiry, now: datetime) -> None:
    """What a finished task has left. One that ran again has another expiry, of its later end."""
    row = services.tasks.get(client_id, expiry.id)
    if row is None or expiry not in row.task.expiries:
        return
    _drop_other_results(services, row.task)
    if row.task.document_id is not None:
        _drop_checkpoints(services, client_id, row.task.document_id, now)


def _drop_other_results(services: Services, task: Task) -> None:
    """Those of attempts that wrote a result and then lost their lease."""
    start = f"{task.client_id}/results/{task.document_id or 'none'}/{task.task_id}-"
    name = re.compile(re.escape(start) + r"\d+-\d+\.json")
    for blob in services.blobs.below(start):
        if name.fullmatch(blob.name) and blob.name != task.result_blob:
            services.blobs.delete(blob.name)


def _drop_checkpoints(services: Services, client_id: str, document_id: str, now: datetime) -> None:
    if services.tasks.active(client_id, document_id):
        return  # another task uses them; its own end has an expiry too
    for blob in services.blobs.below(f"{client_id}/checkpoints/{document_id}/"):
        if blob.modified_at < now - LEFT_BEHIND:
            services.blobs.delete(blob.name, blob.etag)


def _idempotency(services: Services, client_id: str, expiry: Expiry, now: datetime) -> None:
    found = services.tasks.idempotency(client_id, expiry.id)
    if found is not None and found.expiry.due <= now:
        services.tasks.forget_idempotency(client_id, found)


def _letter(services: Services, client_id: str, expiry: Expiry, now: datetime) -> None:
    services.dead_letters.remove(client_id, expiry.id, now - KEPT)


def _upload(services: Services, client_id: str, expiry: Expiry, now: datetime) -> None:
    """A document whose file never came, or came otherwise than announced; and files that no document names:
    their upload died before the record was written. What is complete is kept."""
    document = services.documents.get(client_id, expiry.id)
    if document is None or document.status is not DocumentStatus.PENDING:
        _drop_unrecorded(services, client_id, expiry.id, now)
        return
    if services.tasks.active(client_id, document.document_id):
        services.tasks.remind(client_id, expiry.model_copy(update={"due": now + LEFT_BEHIND}))
        return  # a task that waits for its turn may be about to find the file
    try:
        received(document, services.documents, services.blobs, services.settings.max_upload_bytes)
    except DocumentError:
        delete_document(services, client_id, document.document_id)
        # An upload that began before its address ended may still be under way.
        services.tasks.remind(client_id, expiry.model_copy(update={"due": now + LEFT_BEHIND}))


def _drop_unrecorded(services: Services, client_id: str, document_id: str, now: datetime) -> None:
    """First what is there, then whose it is: a record that was written meanwhile keeps its file."""
    files = services.blobs.below(f"{client_id}/uploads/{document_id}/")
    document = services.documents.get(client_id, document_id)
    nobodys = [file for file in files if document is None or file.name != document.blob]
    for file in nobodys:
        if file.modified_at < now - UNDER_WAY:
            services.blobs.delete(file.name, file.etag)
    if any(file.modified_at >= now - UNDER_WAY for file in nobodys):
        again = Expiry(due=now + UNDER_WAY, kind="upload", id=document_id)
        services.tasks.remind(client_id, again)


_KINDS: dict[str, Callable[[Services, str, Expiry, datetime], None]] = {
    "task": _task,
    "result": _result,
    "idempotency": _idempotency,
    "letter": _letter,
    "upload": _upload,
}
