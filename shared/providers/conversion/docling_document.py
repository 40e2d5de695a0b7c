"""A DoclingDocument in blocks: one reading of it, whichever converter made it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from shared.documents import Block, ConvertedDocument, Link
from shared.errors import DocumentEmpty
from shared.providers.conversion.cells import CellCount
from shared.providers.conversion.formats import IMAGES
from shared.providers.conversion.markdown import table
from shared.providers.conversion.request import Limits

_SPACE_BEFORE_MARK = re.compile(r" ([,.;:!?)\]])(?= |$)")
_LINKED = ("http://", "https://", "mailto:")
_URL = re.compile(r"[^\s()<>\[\]]{1,2000}$")
_SHEETS = {"xlsx", "ods"}
_SCANNED = IMAGES | {"pdf"}
_PAGED = {"pptx", "xlsx", "ods", "odp"} | _SCANNED
_NAMED_PAGES = 20
_LINKS_LEFT_OUT = "The addresses of the links are too long together: the last links are kept as text alone."


def document_of(
    document: Any, fmt: str, limits: Limits, *, partial: bool, failed: Iterable[int]
) -> ConvertedDocument:
    """A PDF or an image that Docling's models have read. `failed`: pages that it could not convert.

    Raises DocumentEmpty."""
    reader = Reader(document, fmt, limits)
    blocks = tuple(reader.blocks())
    if not blocks:
        raise DocumentEmpty("No text was found on the pages.")
    return ConvertedDocument(
        format=fmt,
        title=title_of(blocks),
        pages=len(document.pages) or None,
        blocks=blocks,
        warnings=(*_gaps(partial, sorted(set(failed))), *reader.links.warnings),
    )


def _gaps(partial: bool, failed: Sequence[int]) -> Iterator[str]:
    if failed:
        named = ", ".join(map(str, failed[:_NAMED_PAGES])) + (", ..." if len(failed) > _NAMED_PAGES else "")
        yield f"Pages that could not be converted and are missing: {named}."
    elif partial:
        yield "Parts of the file could not be converted."


class LinkBudget:
    """Over all links of one document: an address that is written once can be used by very many of them."""

    def __init__(self, limits: Limits) -> None:
        self._left = limits.link_characters
        self.warnings: tuple[str, ...] = ()

    def within(self, links: tuple[Link, ...]) -> tuple[Link, ...]:
        """Those that there is room for; after the first that there is none for, no other."""
        kept = []
        for link in links:
            self._left -= len(link.url)
            if self._left < 0:
                self._left, self.warnings = 0, (_LINKS_LEFT_OUT,)
                break
            kept.append(link)
        return tuple(kept)


class Reader:
    """Docling's items as blocks. `links` has warnings once the blocks are read."""

    def __init__(self, document: Any, fmt: str, limits: Limits) -> None:
        self._document = document
        self._fmt = fmt
        self._cells = CellCount(limits)
        self.links = LinkBudget(limits)
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
            if item.label.value == "picture" and self._fmt in _SCANNED:
                yield Block(kind="text", text=_text_in(item, self._document), page=page)
            else:
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
        words = [_tidy(str(getattr(item, "text", ""))) for item in items]
        text = _tidy(" ".join(words))
        group = items[0].parent.resolve(self._document)
        around = group.parent.resolve(self._document) if group.parent else None
        label = getattr(getattr(around, "label", None), "value", "")
        empty = not str(getattr(around, "text", "")).strip()
        page = self._page(items[0])
        links = tuple(link for found in map(self._links, items, words) for link in found)
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
        # A formula that no model has read has the characters of the page alone.
        text = str(getattr(item, "text", "") or getattr(item, "orig", "")).strip()
        if label == "code":
            return Block(kind="code", text=text, page=page)
        headed = label in {"title", "section_header"}
        text = " ".join(text.split()) if headed else text
        links = self._links(item, text)
        if headed:
            return Block(kind="heading", level=_level(item), text=text, page=page, links=links)
        listed = label == "list_item"
        return Block(kind="list_item" if listed else "text", text=text, page=page, links=links)

    def _links(self, item: Any, text: str) -> tuple[Link, ...]:
        """Of an item that is a link as a whole, if it leads to the web or to a mailbox.

        `text`: its words as they stand in the block."""
        url = str(getattr(item, "hyperlink", None) or "")
        usable = (
            text
            and text != url
            and not set(text) & set("[]")
            and url.lower().startswith(_LINKED)
            and _URL.match(url)
        )
        return self.links.within((Link(text=text, url=url),)) if usable else ()


def _level(item: Any) -> int:
    return 1 if item.label.value == "title" else int(item.level) + 1


def _tidy(text: str) -> str:
    return _SPACE_BEFORE_MARK.sub(r"\1", " ".join(text.split()))


def _rows(item: Any) -> Iterator[list[str]]:
    """Cells by row; a cell that spans several is written once."""
    for index, row in enumerate(item.data.grid):
        yield [
            cell.text if (cell.start_row_offset_idx, cell.start_col_offset_idx) == (index, column) else ""
            for column, cell in enumerate(row)
        ]


def _text_in(picture: Any, document: Any) -> str:
    """The words inside a picture, in one piece: a whole scanned page may have been taken for one."""
    captions = {reference.cref for reference in picture.captions}
    inside = document.iterate_items(root=picture, traverse_pictures=True)
    texts = (getattr(item, "text", "") for item, _ in inside if item.self_ref not in captions)
    return " ".join(" ".join(texts).split())


def title_of(blocks: Sequence[Block]) -> str | None:
    """The first heading of the highest level."""
    headings = [block for block in blocks if block.kind == "heading"]
    return min(headings, key=lambda block: block.level or 1).text if headings else None
