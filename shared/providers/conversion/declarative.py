"""Formats that say themselves what is a heading and what a table: Office, HTML, Markdown, mail."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from shared.documents import ConvertedDocument
from shared.errors import ConversionFailed, DocumentCorrupt, DocumentEmpty, DocumentTooLarge
from shared.providers.conversion.docling_document import blocks_of, title_of
from shared.providers.conversion.request import Limits

_INPUT_FORMATS = {"docx": "DOCX", "pptx": "PPTX", "xlsx": "XLSX", "html": "HTML", "md": "MD", "eml": "EMAIL"}
_PAGED = {"pptx": "slides", "xlsx": "sheets"}


def convert(path: Path, fmt: str, limits: Limits) -> ConvertedDocument:
    if fmt in _PAGED:
        _check_parts(path, fmt, limits.pages)
    result = _docling(path, fmt)
    blocks = tuple(blocks_of(result.document, fmt))
    if not any(block.text for block in blocks):
        raise DocumentEmpty
    partial = result.status.name != "SUCCESS"
    return ConvertedDocument(
        format=fmt,
        title=title_of(blocks),
        pages=len(result.document.pages) or None if fmt in _PAGED else None,
        blocks=blocks,
        warnings=("Parts of the file could not be converted.",) if partial else (),
    )


def _check_parts(path: Path, fmt: str, max_pages: int) -> None:
    folder = {"pptx": "ppt/slides/slide", "xlsx": "xl/worksheets/sheet"}[fmt]
    with zipfile.ZipFile(path) as archive:
        count = sum(name.startswith(folder) and name.endswith(".xml") for name in archive.namelist())
    if count > max_pages:
        raise DocumentTooLarge(f"The file has {count:,} {_PAGED[fmt]}; {max_pages:,} are allowed. Split it.")


def _docling(path: Path, fmt: str) -> Any:
    """Docling's result. Its messages hold paths, so none of them goes on."""
    from docling.datamodel.base_models import ConversionStatus, DocumentStream, InputFormat
    from docling.document_converter import DocumentConverter

    converter = DocumentConverter(allowed_formats=[InputFormat[_INPUT_FORMATS[fmt]]])
    try:
        with path.open("rb") as file:
            # The name's extension would overrule the content, so the stream gets the one we know.
            source = DocumentStream(name=f"document.{fmt}", stream=BytesIO(file.read()))
        result = converter.convert(source)
    except MemoryError:
        raise
    except Exception as error:
        raise (DocumentCorrupt if _is_broken(error) else ConversionFailed)() from error
    if result.status not in {ConversionStatus.SUCCESS, ConversionStatus.PARTIAL_SUCCESS}:
        raise ConversionFailed
    return result


def _is_broken(error: BaseException | None) -> bool:
    """Whether the file could not even be opened."""
    while error is not None:
        if isinstance(error, zipfile.BadZipFile | KeyError) or type(error).__name__ == "DocumentLoadError":
            return True
        if "could not load document" in str(error) or "is not valid" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
