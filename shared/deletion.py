"""Deleting a document: invisible at once, then everything it left behind."""

from __future__ import annotations

from shared.cancellation import cancel
from shared.errors import Conflict
from shared.ports import Services


def delete_document(services: Services, client_id: str, document_id: str) -> bool:
    """The tombstone first: from then on no search, no route and no ingestion still under way shows it.

    False when there never was such a document. A repetition finishes what an earlier one could not.
    """
    document = services.documents.delete(client_id, document_id)
    if document is None:
        return False
    for task_id in services.tasks.active(client_id, document_id):
        try:
            cancel(services, client_id, task_id)
        except Conflict:
            continue  # it has ended meanwhile
    services.blobs.delete(document.blob)
    for kind in ("uploads", "markdown", "checkpoints", "results"):
        services.blobs.delete_all(f"{client_id}/{kind}/{document_id}/")
    return True
