"""PDF by docling-parse, page by page: bounded memory, progress, and a third of the time of a pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.documents import Block, ConvertedDocument
from shared.errors import DocumentCorrupt, DocumentEmpty, DocumentEncrypted, DocumentTooLarge
from shared.providers.conversion.layout import blocks_of
from shared.providers.conversion.lines import Line, Table
from shared.providers.conversion.marks import marks_of
from shared.providers.conversion.ocr_models import NOT_INSTALLED, installed
from shared.providers.conversion.request import Request
from shared.providers.conversion.scans import Scans
from shared.providers.conversion.streams import check_streams

_NEEDS_PASSWORD = 4
_THREADS = 2
_BUFFERED_PAGES = 4
_FREE_EVERY_PAGES = 16
_TAIL = 2048
_LABEL = 32  # characters of a page's label
_UNSAFE = re.compile(r"[-<>]{2,}|[<>]")


@dataclass
class _Gathered:
    """What was made of the pages so far. `searched`: those whose tables were found. `unread`: those that hold
    only images and were not read."""

    pages: dict[int, tuple[float, Sequence[Line | Table]]] = field(default_factory=dict)
    searched: set[int] = field(default_factory=set)
    unread: list[int] = field(default_factory=list)
    failed: int = 0


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
    gathered = _Gathered()
    progress(0, total)
    with closing(Scans(request)) as scans:
        for done, result in enumerate(parser.iterate_results(), 1):
            _gather(result, scans, gathered)
            progress(done, total)
    return _document(request, total, gathered)


def _gather(result: Any, scans: Scans, gathered: _Gathered) -> None:
    number, content = result.page_number, result.get_page() if result.success else None
    height, lines = marks_of(result, content.textline_cells) if content else (0.0, [])
    read = scans.read(number, bool(lines), damaged=content is None)
    if read and (read[1] or not lines):
        gathered.pages[number] = read
    elif content is None:
        gathered.failed += 1
    else:
        gathered.pages[number] = (height, lines)
        gathered.searched.add(number)
        if content.bitmap_resources and not lines:
            gathered.unread.append(number)


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
        # Words and shapes are looked at where they are, page by page: as Python objects they cost too much.
        word_cells_content_level=ContentLevel.COMPUTE,
        shapes_content_level=ContentLevel.COMPUTE,
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


def _document(request: Request, total: int, gathered: _Gathered) -> ConvertedDocument:
    pages, unread, failed = gathered.pages, sorted(gathered.unread), gathered.failed
    blocks = tuple(blocks_of(pages, searched=gathered.searched))
    if (failed or not all(lines for _, lines in pages.values())) and _is_cut_short(request.path):
        raise DocumentCorrupt
    if not blocks:
        raise _no_text(request, unread, failed)
    warnings = []
    if failed:
        warnings.append(f"{failed} of {total} pages are damaged and were left out.")
    if unread and request.options.ocr != "never":
        warnings.append(f"{len(unread)} of {total} pages hold only images. {_why_unread()}")
    return ConvertedDocument(
        format="pdf",
        title=_title(request.path) or heading(blocks),
        pages=total,
        blocks=blocks,
        warnings=tuple(warnings),
        unread=tuple(unread),
        page_labels=_page_labels(request.path, total),
    )


def _why_unread() -> str:
    return "They could not be drawn to be read." if installed() else NOT_INSTALLED


def _no_text(request: Request, unread: Sequence[int], failed: int) -> Exception:
    if failed:
        return DocumentCorrupt()
    if not unread:
        return DocumentEmpty("The pages hold no text.")
    if request.options.ocr == "never":
        return DocumentEmpty("The pages hold only images. Submit it again with the option ocr: auto.")
    return DocumentEmpty(f"The pages hold only images. {_why_unread()}")


def _is_cut_short(path: Path) -> bool:
    """Parsers repair what they find, but a part is better refused than taken for the whole document."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return b"%%EOF" not in file.read()


def heading(blocks: Sequence[Block]) -> str | None:
    """What the document begins with, if that is a heading, or the largest one of its first page."""
    headings = [block for block in blocks if block.kind == "heading" and block.page == blocks[0].page]
    if blocks[0].kind == "heading":
        return blocks[0].text
    return min(headings, key=lambda block: block.level or 1).text if headings else None


def _page_labels(path: Path, total: int) -> tuple[str, ...]:
    """One for each page; none when they are only 1, 2, 3."""
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        with PdfDocument(path) as document:
            found = [_label(document.get_page_label(index)) for index in range(len(document))]
    except (PdfiumError, UnicodeError):
        return ()
    numbers = [str(number) for number in range(1, total + 1)]
    labels = [label or number for label, number in zip(found, numbers, strict=False)]
    return tuple(labels) if len(labels) == total and labels != numbers else ()


def _label(text: str) -> str:
    """Short, and safe in a comment of Markdown."""
    return _UNSAFE.sub("-", " ".join(text.split()))[:_LABEL]


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
