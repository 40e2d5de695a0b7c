"""How many pages a PDF has, before somebody else is asked to read it."""

from __future__ import annotations

from pathlib import Path

from shared.documents import ConvertedDocument
from shared.errors import DocumentCorrupt, DocumentEncrypted, DocumentTooLarge
from shared.providers.conversion.request import Request

_NEEDS_PASSWORD = 4


def convert(request: Request) -> ConvertedDocument:
    """A document of no blocks; `pages` is None where the file cannot be counted.

    Raises DocumentEncrypted, DocumentTooLarge, DocumentCorrupt for a PDF without pages.
    """
    pages = _count(request.path) if request.format == "pdf" else None
    if pages == 0:
        raise DocumentCorrupt
    if pages and pages > request.limits.pages:
        raise DocumentTooLarge(
            f"The file has {pages:,} pages; {request.limits.pages:,} are allowed. Split it."
        )
    return ConvertedDocument(format=request.format, pages=pages, blocks=())


def _count(path: Path) -> int | None:
    """None for what pdfium cannot read: other readers mend more, so that is for them to say."""
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        with PdfDocument(path) as document:
            return len(document)
    except PdfiumError as error:
        if error.err_code == _NEEDS_PASSWORD:
            raise DocumentEncrypted from error
        return None
