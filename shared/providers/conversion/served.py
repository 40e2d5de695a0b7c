"""What a docling-serve answers: the JSON of a result, or why there is none.

The result of a task (docling-serve v1, `GET /v1/result/{task_id}`), as far as it is of use here:

    {"status": "success|partial_success|skipped|failure",
     "errors": [{"component_type", "category", "page_no"}],
     "document": {"json_content": <DoclingDocument>}}
    or {"kind": "TaskFailureResult", "failure": {"category", "retryable"}}

Older servers know no categories. What they say in words may quote the document, so none of it goes on.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from shared.documents import ConvertedDocument
from shared.errors import (
    ConversionCrashed,
    ConversionFailed,
    ConverterUnavailable,
    DocmillError,
    DocumentCorrupt,
    DocumentTooLarge,
    TaskTimeout,
)
from shared.providers.conversion.docling_document import document_of
from shared.providers.conversion.request import Request

_OF_THE_SERVICE = {"capacity", "source_unavailable", "target_unavailable", "internal"}
_OF_THE_DOCUMENT = {"backend_failure", "inference_failure"}


class Failure(BaseModel):
    """Why a task failed. `retryable` is None where the server does not say."""

    category: str = "unknown"
    retryable: bool | None = None

    def error(self) -> DocmillError:
        if self.category == "timeout":
            return TaskTimeout(
                "docling-serve took too long on this document. Split it, or raise TASK_TIMEOUT_SECONDS."
            )
        if self.category == "policy":
            return ConversionFailed(
                "docling-serve refuses this document by its own policy, most likely for its pages or bytes. "
                "Split it, or raise the limits of that server."
            )
        if self.retryable or (self.category in _OF_THE_SERVICE and self.retryable is None):
            return ConverterUnavailable("docling-serve could not do its work. Its own log says why.")
        if self.category in _OF_THE_DOCUMENT or self.retryable is False:
            return ConversionFailed("docling-serve could not convert this file.")
        return ConversionCrashed("docling-serve failed on this file. Its own log says why.")


class _Problem(BaseModel):
    component_type: str = ""
    category: str = "unknown"
    page_no: int | None = None

    @property
    def is_broken_file(self) -> bool:
        """It could not even be opened."""
        return (self.component_type, self.category) == ("user_input", "backend_failure")


class _Document(BaseModel):
    json_content: dict[str, Any] | None = None


class _Answer(BaseModel):
    status: str = "failure"
    errors: list[_Problem] = []
    document: _Document = _Document()
    failure: Failure | None = None


def convert(request: Request) -> ConvertedDocument:
    """Reads the answer that lies at `path`. Raises what it says, or ConverterUnavailable for nonsense."""
    answer = _parsed(request)
    if answer.failure:
        raise answer.failure.error()
    categories = {problem.category for problem in answer.errors}
    if answer.status not in {"success", "partial_success"}:
        if any(problem.is_broken_file for problem in answer.errors):
            raise DocumentCorrupt
        raise Failure(category=min(categories, default="unknown")).error()
    if "timeout" in categories:  # a part of the document, which nobody asked for
        raise Failure(category="timeout").error()
    document = _document(answer.document.json_content)
    if len(document.pages) > request.limits.pages:
        raise DocumentTooLarge(f"The file has more than {request.limits.pages:,} pages. Split it.")
    failed = (problem.page_no for problem in answer.errors if problem.page_no)
    return document_of(
        document, request.format, request.limits, partial=answer.status == "partial_success", failed=failed
    )


def _parsed(request: Request) -> _Answer:
    try:
        return _Answer.model_validate_json(request.path.read_bytes())
    except ValidationError as error:
        raise ConverterUnavailable("docling-serve answered with something that is no result.") from error


def _document(content: dict[str, Any] | None) -> Any:
    from docling_core.types.doc.document import DoclingDocument

    if content is None:
        raise ConverterUnavailable("docling-serve answered without the JSON that it was asked for.")
    try:
        return DoclingDocument.model_validate(content)
    except (ValidationError, ValueError) as error:
        raise ConverterUnavailable(
            "docling-serve answered with a document that cannot be read here. Its version and the one of "
            "docling-slim in requirements.txt are too far apart."
        ) from error
