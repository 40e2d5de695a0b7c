"""Every error that Docmill reports, each knowing its own consequences.

    DocmillError                       code, HTTP status, how often a task may run again
    |-- Unauthorized                   401
    |-- NotFound                       404
    |   |-- NotReady, ResultNotReady, TaskFailed, TaskCancelled
    |-- Conflict, IdempotencyConflict  409
    |-- ResultExpired                  410
    |-- PayloadTooLarge                413
    |-- InvalidJson                    400
    |-- InvalidPayload, UnknownTaskType  422  (on a queue: a dead letter)
    |-- RateLimited                    429
    |-- Unavailable                    503
    |-- DocumentError                  the document itself is at fault, so trying again is no use
    |   |-- BlobNotFound (and DocumentChanged), UnsupportedFormat, DocumentCorrupt, DocumentEncrypted
    |   |-- DocumentEmpty, DocumentTooLarge, ConversionFailed
    |-- ConversionCrashed              tried once more
    |-- ConverterUnavailable           tried again
    |-- TaskTimeout                    tried again
    |-- ModelRateLimited, ModelUnavailable   tried again
    |-- ModelRejected                  final
    |-- IndexUnavailable, StorageUnavailable  tried again
    |-- WorkerLost, WorkerStopped      tried again
    |-- InternalError                  tried again

Messages are read by the client's developers: they say what to do, and hold no path, host name, key or
stack trace. What only the operator can mend is `advice`: for logs, checks and `docmill doctor`. The cause
goes to the log by `raise ... from`.
"""

from __future__ import annotations

from typing import ClassVar

NEVER = 0
ONCE = 1
ALWAYS = 1_000_000


class DocmillError(Exception):
    """Base of all. `retries`: how often a task that met this error may run again, if attempts are left."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retries: ClassVar[int] = NEVER
    default: ClassVar[str] = "Something went wrong. Try again later."

    def __init__(
        self, message: str | None = None, *, retry_after: float | None = None, advice: str | None = None
    ) -> None:
        """`retry_after`: seconds that whoever refused us asked us to wait. `advice`: what the operator can do
        about it, which is no client's business."""
        self.message = message or self.default
        self.retry_after = retry_after
        self.advice = advice
        super().__init__(self.message)

    @property
    def retryable(self) -> bool:
        return self.retries > NEVER


class Unauthorized(DocmillError):
    code, status = "unauthorized", 401
    default = "Send a valid API key in the X-API-Key header or as Authorization: Bearer."


class NotFound(DocmillError):
    code, status = "not_found", 404
    default = "There is nothing here under this id."


class NotReady(NotFound):
    code = "not_ready"
    default = "There is none so far. Submit a task for this document and wait until it has succeeded."


class ResultNotReady(NotFound):
    code = "result_not_ready"
    default = "The task is not finished yet. Wait for it with GET /api/tasks/{task_id}?wait=30."


class TaskFailed(NotFound):
    code = "task_failed"
    default = "The task failed, so it has no result. Its `error` says why."


class TaskCancelled(NotFound):
    code = "task_cancelled"
    default = "The task was cancelled, so it has no result."


class Conflict(DocmillError):
    code, status = "conflict", 409
    default = "The state of this resource does not allow that."


class IdempotencyConflict(Conflict):
    code = "idempotency_conflict"
    default = "This Idempotency-Key was used with another body. Use a new key for a new request."


class ResultExpired(DocmillError):
    code, status = "result_expired", 410
    default = "The result was removed because its time was up. Submit the task again."


class PayloadTooLarge(DocmillError):
    code, status = "payload_too_large", 413
    default = "The payload is larger than 32 KiB. Upload large content as a document and send its id."


class InvalidJson(DocmillError):
    code, status = "invalid_json", 400
    default = "The body is not valid JSON."


class InvalidPayload(DocmillError):
    """`errors`: one `{loc, msg}` for each thing that is wrong."""

    code, status = "invalid_payload", 422
    default = "The payload does not have the form that this task type needs."

    def __init__(self, message: str | None = None, *, errors: list[dict[str, object]] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or []


class UnknownTaskType(DocmillError):
    code, status = "unknown_task_type", 422
    default = "There is no such task type."


class RateLimited(DocmillError):
    code, status = "rate_limited", 429
    default = "Too many tasks are waiting. Try again after the time in Retry-After."


class Unavailable(DocmillError):
    code, status = "unavailable", 503
    default = "A service that Docmill needs is out of reach. Try again in a moment."


class DocumentError(DocmillError):
    """The document itself is at fault."""

    status = 422


class BlobNotFound(DocumentError):
    code = "blob_not_found"
    default = "The file of this document does not exist (any more). Upload it again."


class DocumentChanged(BlobNotFound):
    """There is a file of that name, but it is not the one that was meant."""

    default = (
        "The file was replaced after this task had first seen it. "
        "Submit a new task, or upload the new file as a document of its own."
    )


class UnsupportedFormat(DocumentError):
    code, status = "unsupported_format", 415
    default = "This file format is not supported."


class DocumentCorrupt(DocumentError):
    code = "document_corrupt"
    default = "The file is damaged or cut short. Open and save it again, then upload it."


class DocumentEncrypted(DocumentError):
    code = "document_encrypted"
    default = "The file is protected by a password. Remove the protection and upload it again."


class DocumentEmpty(DocumentError):
    code = "document_empty"
    default = "The file holds no text."


class DocumentTooLarge(DocumentError):
    code, status = "document_too_large", 413
    default = "The file is larger than the limits allow. Split it and upload the parts."


class ConversionFailed(DocumentError):
    code = "conversion_failed"
    default = "The file could not be converted to text."


class ConversionCrashed(DocmillError):
    code, retries = "conversion_crashed", ONCE
    default = "The converter crashed or ran out of memory on this file. Try a smaller version of it."


class ConverterUnavailable(DocmillError):
    """A part that converts is out of reach or not set up: nothing that the document could mend.

    Tried again even where an operator has to do something first: what runs out of attempts meanwhile is a
    dead letter, and all of those are retried with one command.
    """

    code, status, retries = "converter_unavailable", 503, ALWAYS
    default = "The service that converts documents is out of reach. Try again in a moment."


class TaskTimeout(DocmillError):
    code, status, retries = "timeout", 503, ALWAYS
    default = "The task took longer than TASK_TIMEOUT_SECONDS."


class ModelRateLimited(DocmillError):
    code, status, retries = "model_rate_limited", 503, ALWAYS
    default = "The model provider asked us to slow down."


class ModelUnavailable(DocmillError):
    code, status, retries = "model_unavailable", 503, ALWAYS
    default = "The model provider did not give a usable answer."


class ModelRejected(DocmillError):
    code, status = "model_rejected", 503
    default = "The model provider refused the request. Check the model name, its dimensions and the API key."


class IndexUnavailable(DocmillError):
    code, status, retries = "index_unavailable", 503, ALWAYS
    default = "The search index is out of reach. Try again in a moment."


class StorageUnavailable(DocmillError):
    code, status, retries = "storage_unavailable", 503, ALWAYS
    default = "Storage is out of reach. Try again in a moment."


class WorkerLost(DocmillError):
    code, retries = "worker_lost", ALWAYS
    default = "The worker stopped while it ran this task, as often as attempts are allowed. Retry it by hand."


class WorkerStopped(DocmillError):
    code, status, retries = "worker_stopped", 503, ALWAYS
    default = "The worker was stopped while it ran this task. Nothing is wrong with the task itself."


class InternalError(DocmillError):
    code, retries = "internal", ALWAYS
    default = "An unexpected error stopped the task. The log of the service has the details."
