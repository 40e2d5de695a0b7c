"""A DoclingDocument in blocks: one reading of it, whichever converter made it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from shared.documents import Block, ConvertedDocument
from shared.errors import DocumentEmpty
from shared.providers.conversion.markdown import table

_SPACE_BEFORE_MARK = re.compile(r" ([,.;:!?)\]])(?= |$)")
_SCANNED = {"pdf", "png", "jpg", "tiff", "webp", "bmp", "gif"}
_PAGED = {"pptx", "xlsx"} | _SCANNED
_NAMED_PAGES = 20


def document_of(document: Any, fmt: str, *, partial: bool, failed: Iterable[int]) -> ConvertedDocument:
    """A PDF or an image that Docling's models have read. `failed`: pages that it could not convert.

    Raises DocumentEmpty."""
    blocks = tuple(blocks_of(document, fmt))
    if not blocks:
        raise DocumentEmpty("No text was found on the pages.")
    return ConvertedDocument(
        format=fmt,
        title=title_of(blocks),
        pages=len(document.pages) or None,
        blocks=blocks,
        warnings=tuple(_gaps(partial, sorted(set(failed)))),
    )


def _gaps(partial: bool, failed: Sequence[int]) -> Iterator[str]:
    if failed:
        named = ", ".join(map(str, failed[:_NAMED_PAGES])) + (", ..." if len(failed) > _NAMED_PAGES else "")
        yield f"Pages that could not be converted and are missing: {named}."
    elif partial:
        yield "Parts of the file could not be converted."


def blocks_of(document: Any, fmt: str) -> Iterator[Block]:
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
        if item.label.value == "picture" and fmt in _SCANNED:
            yield Block(kind="text", text=_text_in(item, document), page=page)
        else:
            yield _block(item, page)


def _text_in(picture: Any, document: Any) -> str:
    """The words inside a picture, in one piece: a whole scanned page may have been taken for one."""
    captions = {reference.cref for reference in picture.captions}
    inside = document.iterate_items(root=picture, traverse_pictures=True)
    texts = (getattr(item, "text", "") for item, _ in inside if item.self_ref not in captions)
    return " ".join(" ".join(texts).split())


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
    # A formula that no model has read has the characters of the page alone.
    text = str(getattr(item, "text", "") or getattr(item, "orig", "")).strip()
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


def title_of(blocks: Sequence[Block]) -> str | None:
    """The first heading of the highest level."""
    headings = [block for block in blocks if block.kind == "heading"]
    return min(headings, key=lambda block: block.level or 1).text if headings else None
