"""PDF by docling-parse, page by page: bounded memory, progress, and a third of the time of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from shared.documents import Block, ConvertedDocument
from shared.errors import DocumentCorrupt, DocumentEmpty, DocumentEncrypted, DocumentTooLarge
from shared.providers.conversion.layout import blocks_of
from shared.providers.conversion.lines import Line
from shared.providers.conversion.request import Request
from shared.providers.conversion.streams import check_streams

_NEEDS_PASSWORD = 4
_THREADS = 2
_BUFFERED_PAGES = 4
_FREE_EVERY_PAGES = 16
_TAIL = 2048


def convert(request: Request, progress: Callable[[int, int], None]) -> ConvertedDocument:
    check_streams(request.path, request.limits)
    parser, key = _open(request.path)
    total = parser.page_count(key)
    if total == 0:
        raise DocumentCorrupt
    if total > request.limits.pages:
        raise DocumentTooLarge(
            f"The file has {total:,} pages; {request.limits.pages:,} are allowed. Split it."
        )
    pages: dict[int, tuple[float, list[Line]]] = {}
    images: list[int] = []
    failed = 0
    progress(0, total)
    for done, result in enumerate(parser.iterate_results(), 1):
        if result.success:
            page = result.get_page()
            pages[result.page_number] = (result.page_height, list(_lines(page)))
            if page.bitmap_resources and not page.textline_cells:
                images.append(result.page_number)
        else:
            failed += 1
        progress(done, total)
    return _document(request, total, pages, sorted(images), failed)


def _open(path: Path) -> tuple[Any, str]:
    from docling_parse.pdf_parser import (
        ContentConfig,
        ContentLevel,
        DecodeConfig,
        DoclingThreadedPdfParser,
        ThreadedPdfParserConfig,
    )

    wanted = ContentConfig(
        char_cells_content_level=ContentLevel.SKIP,
        word_cells_content_level=ContentLevel.SKIP,
        shapes_content_level=ContentLevel.SKIP,
        include_bitmap_bytes=False,
    )
    parser = DoclingThreadedPdfParser(
        ThreadedPdfParserConfig(
            threads=_THREADS,
            render_config=None,
            max_concurrent_results=_BUFFERED_PAGES,
            page_content_config=wanted,
        ),
        DecodeConfig(enforce_same_font=True, release_native_memory_every_n_pages=_FREE_EVERY_PAGES),
    )
    try:
        return parser, parser.load(path)
    except RuntimeError as error:
        raise _why_not(path) from error


def _why_not(path: Path) -> Exception:
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        PdfDocument(path).close()
    except PdfiumError as error:
        return DocumentEncrypted() if error.err_code == _NEEDS_PASSWORD else DocumentCorrupt()
    return DocumentCorrupt()


def _lines(page: Any) -> Iterator[Line]:
    for cell in page.textline_cells:
        box = cell.rect.to_bounding_box()
        text = " ".join(cell.text.split())
        if text:
            yield Line(text, box.l, box.b, box.r, box.t, cell.font_name)


def _document(
    request: Request,
    total: int,
    pages: dict[int, tuple[float, list[Line]]],
    images: Sequence[int],
    failed: int,
) -> ConvertedDocument:
    blocks = tuple(blocks_of(pages))
    if (failed or not all(lines for _, lines in pages.values())) and _is_cut_short(request.path):
        raise DocumentCorrupt
    if not blocks:
        raise _no_text(images, failed)
    warnings = []
    if failed:
        warnings.append(f"{failed} of {total} pages are damaged and were left out.")
    if images and request.options.ocr != "never":
        warnings.append(
            f"{len(images)} of {total} pages hold only images; OCR is not installed, so they were left out."
        )
    return ConvertedDocument(
        format="pdf",
        title=_title(request.path) or _heading(blocks),
        pages=total,
        blocks=blocks,
        warnings=tuple(warnings),
        unread=tuple(images),
    )


def _no_text(images: Sequence[int], failed: int) -> Exception:
    if failed:
        return DocumentCorrupt()
    if images:
        return DocumentEmpty(
            "The pages hold only images and OCR is not installed. Upload a version with a text layer."
        )
    return DocumentEmpty("The pages hold no text.")


def _is_cut_short(path: Path) -> bool:
    """Parsers repair what they find, but a part is better refused than taken for the whole document."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return b"%%EOF" not in file.read()


def _heading(blocks: Sequence[Block]) -> str | None:
    """What the document begins with, if that is a heading, or the largest one of its first page."""
    headings = [block for block in blocks if block.kind == "heading" and block.page == blocks[0].page]
    if blocks[0].kind == "heading":
        return blocks[0].text
    return min(headings, key=lambda block: block.level or 1).text if headings else None


def _title(path: Path) -> str | None:
    """The title that the author gave, not the file name that an application put in its place."""
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        with PdfDocument(path) as document:
            title = " ".join(document.get_metadata_value("Title").split())
    except (PdfiumError, UnicodeError):
        return None
    named_after_file = "." in title[-5:-2] or title.startswith("Microsoft ")
    return None if named_after_file or title.lower() in {"", "untitled", "(anonymous)"} else title
