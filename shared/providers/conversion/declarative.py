"""Formats that say themselves what is a heading and what a table: Office, OpenDocument, HTML, Markdown."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from shared.documents import ConvertedDocument
from shared.errors import ConversionFailed, DocmillError, DocumentCorrupt, DocumentEmpty, DocumentTooLarge
from shared.providers.conversion import archives, cues, opendocument, sheets
from shared.providers.conversion.docling_document import Reader, title_of
from shared.providers.conversion.markup import check_text
from shared.providers.conversion.plain import decode
from shared.providers.conversion.request import Limits

_INPUT_FORMATS = {
    "docx": "DOCX",
    "pptx": "PPTX",
    "xlsx": "XLSX",
    "odt": "ODT",
    "ods": "ODS",
    "odp": "ODP",
    "epub": "EPUB",
    "html": "HTML",
    "md": "MD",
    "asciidoc": "ASCIIDOC",
    "jats": "XML_JATS",
    "vtt": "VTT",
}
_NAMES = {"asciidoc": "document.adoc", "jats": "document.nxml"}
_OPENDOCUMENT = {"odt", "ods", "odp"}
_ZIPPED = {"docx", "pptx", "xlsx", "epub", *_OPENDOCUMENT}
_PAGED = {"pptx", "xlsx", "ods", "odp"}
# At most 200 lines "name: value" between two rules. Markdown would make a heading of the last one.
_FRONT_MATTER = re.compile(
    rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n"
    rb"(?:(?:[\w-]+:.*|[ \t]+.*|- .*|#.*)?\r?\n){1,200}?"
    rb"(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)"
)
_PARTIAL = ("Parts of the file could not be converted.",)
_JATS_TYPE = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal '
    b'Archiving and Interchange DTD v1.2 20190208//EN" "JATS-archivearticle1.dtd">\n'
)


def convert(path: Path, fmt: str, limits: Limits) -> ConvertedDocument:
    if fmt not in _ZIPPED:
        return convert_text(_text(path, limits), fmt, limits)
    copy = archives.copied(path, fmt, limits)
    if copy is None:
        return sheets.convert(path, limits)
    if fmt in _OPENDOCUMENT:
        opendocument.check_repeats(copy, limits)
    return _converted(copy, fmt, limits)


def convert_text(content: bytes, fmt: str, limits: Limits) -> ConvertedDocument:
    """A text of one file, as its bytes."""
    content = _prepared(content, fmt)
    check_text(content, fmt, limits)
    return _converted(content, fmt, limits)


def _prepared(content: bytes, fmt: str) -> bytes:
    """As Docling wants it: UTF-8, articles of a known type."""
    if fmt == "html":
        return _page(content)
    content = decode(content).replace("\0", "").encode(errors="replace")
    if fmt == "md":
        return _FRONT_MATTER.sub(b"", content, count=1)
    start = content.find(b"<article") if fmt == "jats" else -1
    return content if start < 0 else _JATS_TYPE + content[start:]


def _page(content: bytes) -> bytes:
    """A page says its encoding itself. It is decoded before it is counted, by what Docling's reader would
    decode it with: in UTF-16, or in one of the encodings that Python has besides, no tag looks like one."""
    from bs4 import UnicodeDammit

    text = UnicodeDammit(content, is_html=True).unicode_markup
    if text is None:
        text = content.decode(errors="replace")
    return text.encode("utf-8-sig", errors="replace")


def _text(path: Path, limits: Limits) -> bytes:
    if path.stat().st_size > limits.text_bytes:
        raise DocumentTooLarge(f"The file has more than {limits.text_bytes:,} bytes of text. Split it.")
    return path.read_bytes()


def _converted(content: bytes, fmt: str, limits: Limits) -> ConvertedDocument:
    result = _docling(content, fmt)
    reader = Reader(result.document, fmt, limits)
    blocks = tuple(cues.blocks(result.document) if fmt == "vtt" else reader.blocks())
    if not any(block.text for block in blocks):
        raise DocumentEmpty
    partial = result.status.name != "SUCCESS"
    return ConvertedDocument(
        format=fmt,
        title=title_of(blocks),
        pages=_pages(result.document, fmt),
        blocks=blocks,
        warnings=(*(_PARTIAL if partial else ()), *reader.links.warnings),
    )


def _pages(document: Any, fmt: str) -> int | None:
    if fmt == "odp":
        return len(document.body.children) or None
    return len(document.pages) or None if fmt in _PAGED else None


def _docling(content: bytes, fmt: str) -> Any:
    """Docling's result. Its messages hold paths, so none of them goes on."""
    from docling.datamodel.base_models import ConversionStatus, DocumentStream, InputFormat
    from docling.document_converter import DocumentConverter

    converter = DocumentConverter(allowed_formats=[InputFormat[_INPUT_FORMATS[fmt]]])
    try:
        # The name's extension would overrule the content, so the stream gets the one we know.
        name = _NAMES.get(fmt, f"document.{fmt}")
        result = converter.convert(DocumentStream(name=name, stream=BytesIO(content)))
    except MemoryError:
        raise
    except Exception as error:
        raise _failure(error) from error
    if result.status not in {ConversionStatus.SUCCESS, ConversionStatus.PARTIAL_SUCCESS}:
        raise ConversionFailed
    return result


def _failure(error: BaseException) -> DocmillError:
    causes = list(_causes(error))
    if any(isinstance(cause, RecursionError) for cause in causes):
        return DocumentTooLarge("The file is nested too deeply. Save it anew or simplify it.")
    if any(type(cause).__name__ in {"ArchiveLimitError", "SecurityError"} for cause in causes):
        return DocumentTooLarge()
    return DocumentCorrupt() if any(map(_is_broken, causes)) else ConversionFailed()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_broken(error: BaseException) -> bool:
    """Whether the file could not even be opened."""
    if isinstance(error, zipfile.BadZipFile | KeyError):
        return True
    if type(error).__name__ in {
        "DocumentLoadError",
        "XMLSyntaxError",
        "PackageNotFoundError",
        "ValidationError",
    }:
        return True
    text = str(error)
    return "could not load document" in text or "is not valid" in text
