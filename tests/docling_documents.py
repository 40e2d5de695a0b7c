"""Documents as Docling's models make them: of our own invention, built with docling-core."""

from __future__ import annotations

from typing import Any

from docling_core.types.doc import (
    BoundingBox,
    DocItemLabel,
    DoclingDocument,
    ProvenanceItem,
    Size,
    TableCell,
    TableData,
)
from docling_core.types.doc.document import ContentLayer

from shared.documents import Block

BOX = BoundingBox(l=72, t=700, r=500, b=680)

PAGE_ONE = (
    Block(kind="heading", level=1, text="Ferry timetable", page=1),
    Block(kind="text", text="Ferries leave on the hour.", page=1),
    Block(kind="heading", level=2, text="Fares", page=1),
    Block(kind="list_item", text="Bicycles travel free", page=1),
    Block(kind="list_item", text="Dogs pay half", page=1),
)
PAGE_TWO = (
    Block(
        kind="table",
        text="| Route | Fare |  |\n| --- | --- | --- |\n| North | 4 \\| day | 6 \\| night |\n|  | 5 | 7 |",
        page=2,
    ),
    Block(kind="text", text="Table 1: fares in euro", page=2),
    Block(kind="text", text="PIER 4 keep clear", page=2),
    Block(kind="text", text="Figure 1: the pier", page=2),
    Block(kind="heading", level=3, text="Delays", page=2),
    Block(kind="text", text="t = d / v", page=2),
    Block(kind="code", text="wait(10)", page=2),
    Block(kind="text", text="1 Not on Sundays.", page=2),
)
BLOCKS = PAGE_ONE + PAGE_TWO


def timetable(first: int = 1, last: int = 2) -> DoclingDocument:
    """BLOCKS, with headers and footers around them. Only the pages of a range, as Docling would give them."""
    document = DoclingDocument(name="document")
    for number, fill in ((1, _page_one), (2, _page_two)):
        if first <= number <= last:
            document.add_page(page_no=number, size=Size(width=595, height=842))
            _furniture(document, number)
            fill(document)
    return document


def scan(first: int, last: int, *, total: int) -> DoclingDocument:
    """A heading and a line for each page of a range."""
    document = DoclingDocument(name="document")
    for number in range(first, min(last, total) + 1):
        document.add_page(page_no=number, size=Size(width=595, height=842))
        document.add_heading(f"Sheet {number}", prov=_on(number))
        document.add_text(DocItemLabel.TEXT, f"Read from the image {number}.", prov=_on(number))
    return document


def _on(page: int) -> ProvenanceItem:
    return ProvenanceItem(page_no=page, bbox=BOX, charspan=(0, 1))


def _furniture(document: DoclingDocument, page: int) -> None:
    for label, text in ((DocItemLabel.PAGE_HEADER, "Harbour Lines"), (DocItemLabel.PAGE_FOOTER, str(page))):
        document.add_text(label, text, prov=_on(page), content_layer=ContentLayer.FURNITURE)


def _page_one(document: DoclingDocument) -> None:
    document.add_title("Ferry timetable", prov=_on(1))
    document.add_text(DocItemLabel.TEXT, "Ferries leave on the hour.", prov=_on(1))
    document.add_heading("Fares", level=1, prov=_on(1))
    group = document.add_list_group()
    for text in ("Bicycles travel free", "Dogs pay half"):
        document.add_list_item(text, parent=group, prov=_on(1))


def _page_two(document: DoclingDocument) -> None:
    table = document.add_table(_fares(), prov=_on(2))
    _caption(document, table, "Table 1: fares in euro")
    picture = document.add_picture(prov=_on(2))
    _caption(document, picture, "Figure 1: the pier")
    for text in ("PIER 4", "keep clear"):
        document.add_text(DocItemLabel.TEXT, text, parent=picture, prov=_on(2))
    document.add_heading("Delays", level=2, prov=_on(2))
    document.add_text(DocItemLabel.FORMULA, "", orig="t = d / v", prov=_on(2))
    document.add_code("wait(10)", prov=_on(2))
    document.add_text(DocItemLabel.FOOTNOTE, "1 Not on Sundays.", prov=_on(2))


def _caption(document: DoclingDocument, item: Any, text: str) -> None:
    caption = document.add_text(DocItemLabel.CAPTION, text, parent=item, prov=_on(2))
    item.captions.append(caption.get_ref())


def _fares() -> TableData:
    """A header over two columns, and a first column of which one cell spans two rows."""
    cells = [
        _cell("Route", 0, 0, column_header=True),
        _cell("Fare", 0, 1, columns=2, column_header=True),
        _cell("North", 1, 0, rows=2),
        _cell("4 | day", 1, 1),
        _cell("6 | night", 1, 2),
        _cell("5", 2, 1),
        _cell("7", 2, 2),
    ]
    return TableData(table_cells=cells, num_rows=3, num_cols=3)


def _cell(
    text: str, row: int, column: int, *, rows: int = 1, columns: int = 1, column_header: bool = False
) -> TableCell:
    return TableCell(
        text=text,
        row_span=rows,
        col_span=columns,
        start_row_offset_idx=row,
        end_row_offset_idx=row + rows,
        start_col_offset_idx=column,
        end_col_offset_idx=column + columns,
        column_header=column_header,
    )
