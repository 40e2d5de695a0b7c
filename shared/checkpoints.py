"""What an attempt has converted, kept for the next one: of this task, or of another on the same content.

    {client}/checkpoints/{document_id}/{sha256 of the content}-{hash of all that shapes the text}.json

The blob is gzipped JSON of a ConvertedDocument. It only saves work, so whatever is wrong with it is ignored.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import zlib

from shared.documents import ConvertedDocument
from shared.errors import BlobNotFound, StorageUnavailable, TaskTimeout
from shared.handler import Context
from shared.ports import ConversionOptions

log = logging.getLogger(__name__)


class Checkpoint:
    """The converted text of one content. `fmt`: the format that the content was taken for."""

    def __init__(
        self, ctx: Context, document_id: str, sha256: str, fmt: str, options: ConversionOptions
    ) -> None:
        shape = json.dumps([ctx.converter.version, fmt, options.model_dump(mode="json")], sort_keys=True)
        digest = hashlib.sha256(shape.encode()).hexdigest()[:16]
        self._ctx = ctx
        self.name = f"{ctx.client_id}/checkpoints/{document_id}/{sha256}-{digest}.json"

    def read(self) -> ConvertedDocument | None:
        try:
            data = self._ctx.blobs.read(self.name)
            return ConvertedDocument.model_validate_json(gzip.decompress(data))
        except BlobNotFound:
            return None
        except (StorageUnavailable, OSError, EOFError, zlib.error, ValueError) as error:
            self._ignored("read", error)
            return None

    def write(self, text: ConvertedDocument) -> None:
        try:
            data = gzip.compress(text.model_dump_json().encode(), compresslevel=1, mtime=0)
            self._ctx.blobs.put(self.name, data, "application/gzip")
        except (StorageUnavailable, ValueError) as error:
            self._ignored("written", error)

    def remove(self) -> None:
        """For the end of the work, which this must not spoil."""
        try:
            self._ctx.blobs.delete(self.name)
        except (StorageUnavailable, TaskTimeout) as error:
            self._ignored("removed", error)

    def _ignored(self, done: str, error: Exception) -> None:
        extra = {"client_id": self._ctx.client_id, "task_id": self._ctx.task_id}
        log.warning("A checkpoint could not be %s: %s.", done, type(error).__name__, extra=extra)
