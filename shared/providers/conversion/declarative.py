"""Formats that say themselves what is a heading and what a table: Office, OpenDocument, HTML, Markdown."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

from shared.documents import Block, ConvertedDocument, Link
from shared.errors import ConversionFailed, DocmillError, DocumentCorrupt, DocumentEmpty, DocumentTooLarge
from shared.providers.conversion import archives, cues, opendocument, sheets
from shared.providers.conversion.cells import CellCount
from shared.providers.conversion.markdown import table
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
_SHEETS = {"xlsx", "ods"}
# At most 200 lines "name: value" between two rules. Markdown would make a heading of the last one.
_FRONT_MATTER = re.compile(
    rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n"
    rb"(?:(?:[\w-]+:.*|[ \t]+.*|- .*|#.*)?\r?\n){1,200}?"
    rb"(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)"
)
_JATS_TYPE = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal '
    b'Archiving and Interchange DTD v1.2 20190208//EN" "JATS-archivearticle1.dtd">\n'
)
_SPACE_BEFORE_MARK = re.compile(r" ([,.;:!?)\]])(?= |$)")
_LINKED = ("http://", "https://", "mailto:")
_URL = re.compile(r"[^\s()<>\[\]]{1,2000}$")


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
    """As Docling wants it: UTF-8, but for HTML, which says its encoding itself; articles of a known type."""
    if fmt == "html":
        return content
    content = decode(content).replace("\0", "").encode(errors="replace")
    if fmt == "md":
        return _FRONT_MATTER.sub(b"", content, count=1)
    start = content.find(b"<article") if fmt == "jats" else -1
    return content if start < 0 else _JATS_TYPE + content[start:]


def _text(path: Path, limits: Limits) -> bytes:
    if path.stat().st_size > limits.text_bytes:
        raise DocumentTooLarge(f"The file has more than {limits.text_bytes:,} bytes of text. Split it.")
    return path.read_bytes()


def _converted(content: bytes, fmt: str, limits: Limits) -> ConvertedDocument:
    result = _docling(content, fmt)
    reader = _Reader(result.document, fmt, limits)
    blocks = tuple(cues.blocks(result.document) if fmt == "vtt" else reader.blocks())
    if not any(block.text for block in blocks):
        raise DocumentEmpty
    partial = result.status.name != "SUCCESS"
    return ConvertedDocument(
        format=fmt,
        title=_title(blocks),
        pages=_pages(result.document, fmt),
        blocks=blocks,
        warnings=("Parts of the file could not be converted.",) if partial else (),
    )


def _title(blocks: tuple[Block, ...]) -> str | None:
    """The first heading of the highest level."""
    headings = [block for block in blocks if block.kind == "heading"]
    return min(headings, key=lambda block: block.level or 1).text if headings else None


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


class _Reader:
    """Docling's items as blocks."""

    def __init__(self, document: Any, fmt: str, limits: Limits) -> None:
        self._document = document
        self._fmt = fmt
        self._cells = CellCount(limits)
        self._sheets: set[int] = set()
        self._slides = {
            child.cref: number for number, child in enumerate(document.body.children, 1) if fmt == "odp"
        }

    def blocks(self) -> Iterator[Block]:
        all_items = (item for item, _depth in self._document.iterate_items())
        for inline, group in groupby(all_items, key=self._inline_group):
            items = list(group)
            for block in [self._inline(items)] if inline else self._single(items):
                if block.text:
                    yield block

    def _single(self, items: Iterable[Any]) -> Iterator[Block]:
        """A block each; the first of a sheet comes after the sheet's name."""
        for item in items:
            page = self._page(item)
            if self._fmt in _SHEETS and page and page not in self._sheets:
                self._sheets.add(page)
                yield Block(kind="heading", level=1, text=self._sheet_name(item, page), page=page)
            yield self._block(item, page)

    def _page(self, item: Any) -> int | None:
        if self._fmt == "odp":
            return self._slide(item)
        return item.prov[0].page_no if self._fmt in _PAGED and item.prov else None

    def _slide(self, item: Any) -> int | None:
        """OpenDocument's slides are groups, which have no number of their own."""
        while item is not None and item.self_ref not in self._slides:
            item = item.parent.resolve(self._document) if item.parent else None
        return self._slides.get(item.self_ref) if item is not None else None

    def _inline_group(self, item: Any) -> str | None:
        """The reference of the inline group that an item is part of: a link or a bold word in a paragraph."""
        if item.parent is None or not item.parent.cref.startswith("#/groups/"):
            return None
        return str(item.parent.cref) if item.parent.resolve(self._document).label.value == "inline" else None

    def _inline(self, items: list[Any]) -> Block:
        """One block of the parts of a paragraph, of the kind of what they stand in."""
        text = " ".join(" ".join(str(getattr(item, "text", "")) for item in items).split())
        group = items[0].parent.resolve(self._document)
        around = group.parent.resolve(self._document) if group.parent else None
        label = getattr(getattr(around, "label", None), "value", "")
        empty = not str(getattr(around, "text", "")).strip()
        text, page = _SPACE_BEFORE_MARK.sub(r"\1", text), self._page(items[0])
        links = tuple(link for item in items for link in _links(item))
        if label in {"title", "section_header"} and empty:
            return Block(kind="heading", level=_level(around), text=text, page=page, links=links)
        listed = label == "list_item" and empty
        return Block(kind="list_item" if listed else "text", text=text, page=page, links=links)

    def _sheet_name(self, item: Any, page: int) -> str:
        parent = item.parent.resolve(self._document)
        return str(getattr(parent, "name", "")).removeprefix("sheet: ") or f"Sheet {page}"

    def _block(self, item: Any, page: int | None) -> Block:
        label = item.label.value
        if label == "table":
            self._cells.check(item.data.num_rows, item.data.num_cols)
            return Block(kind="table", text=table(self._cells.counted(_rows(item))), page=page)
        text = str(getattr(item, "text", "")).strip()
        if label in {"title", "section_header"}:
            one_line = " ".join(text.split())
            return Block(kind="heading", level=_level(item), text=one_line, page=page, links=_links(item))
        if label == "code":
            return Block(kind="code", text=text, page=page)
        listed = label == "list_item"
        return Block(kind="list_item" if listed else "text", text=text, page=page, links=_links(item))


def _level(item: Any) -> int:
    return 1 if item.label.value == "title" else int(item.level) + 1


def _links(item: Any) -> tuple[Link, ...]:
    """Of an item that is a link as a whole, if it leads to the web or to a mailbox."""
    url, text = str(getattr(item, "hyperlink", None) or ""), " ".join(str(getattr(item, "text", "")).split())
    usable = (
        text
        and text != url
        and not set(text) & set("[]")
        and url.lower().startswith(_LINKED)
        and _URL.match(url)
    )
    return (Link(text=text, url=url),) if usable else ()


def _rows(item: Any) -> Iterator[list[str]]:
    """Cells by row; a cell that spans several is written once."""
    for index, row in enumerate(item.data.grid):
        yield [
            cell.text if (cell.start_row_offset_idx, cell.start_col_offset_idx) == (index, column) else ""
            for column, cell in enumerate(row)
        ]
