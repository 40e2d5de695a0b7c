"""Formats that say themselves what is a heading and what a table: Office, HTML, Markdown, mail."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

from shared.documents import Block, ConvertedDocument
from shared.errors import ConversionFailed, DocumentCorrupt, DocumentEmpty, DocumentTooLarge
from shared.providers.conversion.markdown import table
from shared.providers.conversion.request import Limits

_INPUT_FORMATS = {"docx": "DOCX", "pptx": "PPTX", "xlsx": "XLSX", "html": "HTML", "md": "MD", "eml": "EMAIL"}
_SPACE_BEFORE_MARK = re.compile(r" ([,.;:!?)\]])(?= |$)")
_PAGED = {"pptx": "slides", "xlsx": "sheets"}


def convert(path: Path, fmt: str, limits: Limits) -> ConvertedDocument:
    if fmt in _PAGED:
        _check_parts(path, fmt, limits.pages)
    result = _docling(path, fmt)
    blocks = tuple(_blocks(result.document, fmt))
    if not any(block.text for block in blocks):
        raise DocumentEmpty
    partial = result.status.name != "SUCCESS"
    return ConvertedDocument(
        format=fmt,
        title=_title(blocks),
        pages=len(result.document.pages) or None if fmt in _PAGED else None,
        blocks=blocks,
        warnings=("Parts of the file could not be converted.",) if partial else (),
    )


def _title(blocks: tuple[Block, ...]) -> str | None:
    """The first heading of the highest level."""
    headings = [block for block in blocks if block.kind == "heading"]
    return min(headings, key=lambda block: block.level or 1).text if headings else None


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


def _blocks(document: Any, fmt: str) -> Iterator[Block]:
    sheets: set[int] = set()
    all_items = (item for item, _depth in document.iterate_items())
    for inline, group in groupby(all_items, key=lambda item: _inline_group(item, document)):
        items = list(group)
        for block in _inline(items, document, fmt) if inline else _single(items, document, fmt, sheets):
            if block.text:
                yield block


def _single(items: Iterable[Any], document: Any, fmt: str, sheets: set[int]) -> Iterator[Block]:
    """A block each; the first of a sheet comes after the sheet's name."""
    for item in items:
        page = _page(item, fmt)
        if fmt == "xlsx" and page and page not in sheets:
            sheets.add(page)
            yield Block(kind="heading", level=1, text=_sheet_name(item, document, page), page=page)
        yield _block(item, page)


def _page(item: Any, fmt: str) -> int | None:
    return item.prov[0].page_no if fmt in _PAGED and item.prov else None


def _inline_group(item: Any, document: Any) -> str | None:
    """The reference of the inline group that an item is part of: a link or a bold word in a paragraph."""
    if item.parent is None or not item.parent.cref.startswith("#/groups/"):
        return None
    return str(item.parent.cref) if item.parent.resolve(document).label.value == "inline" else None


def _inline(items: list[Any], document: Any, fmt: str) -> Iterator[Block]:
    """One block of the parts of a paragraph, of the kind of what they stand in."""
    text = " ".join(" ".join(str(getattr(item, "text", "")) for item in items).split())
    group = items[0].parent.resolve(document)
    around = group.parent.resolve(document) if group.parent else None
    label = getattr(getattr(around, "label", None), "value", "")
    empty = not str(getattr(around, "text", "")).strip()
    text, page = _SPACE_BEFORE_MARK.sub(r"\1", text), _page(items[0], fmt)
    if label in {"title", "section_header"} and empty:
        yield Block(kind="heading", level=_level(around), text=text, page=page)
    else:
        yield Block(kind="list_item" if label == "list_item" and empty else "text", text=text, page=page)


def _level(item: Any) -> int:
    return 1 if item.label.value == "title" else int(item.level) + 1


def _sheet_name(item: Any, document: Any, page: int) -> str:
    parent = item.parent.resolve(document)
    return str(getattr(parent, "name", "")).removeprefix("sheet: ") or f"Sheet {page}"


def _block(item: Any, page: int | None) -> Block:
    label = item.label.value
    if label == "table":
        return Block(kind="table", text=table(_rows(item)), page=page)
    text = str(getattr(item, "text", "")).strip()
    if label in {"title", "section_header"}:
        return Block(kind="heading", level=_level(item), text=" ".join(text.split()), page=page)
    if label == "code":
        return Block(kind="code", text=text, page=page)
    return Block(kind="list_item" if label == "list_item" else "text", text=text, page=page)


def _rows(item: Any) -> Iterator[list[str]]:
    """Cells by row; a cell that spans several is written once."""
    for index, row in enumerate(item.data.grid):
        yield [
            cell.text if (cell.start_row_offset_idx, cell.start_col_offset_idx) == (index, column) else ""
            for column, cell in enumerate(row)
        ]
