"""Large workbooks, row by row: memory does not grow with the sheets, only with the text that comes out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from shared.documents import Block, ConvertedDocument
from shared.errors import DocmillError, DocumentCorrupt, DocumentEmpty, DocumentTooLarge
from shared.providers.conversion.cells import CellCount
from shared.providers.conversion.markdown import table
from shared.providers.conversion.request import Limits

_TYPES = "[Content_Types].xml"
_LONGEST_LIST = 4 * 1024 * 1024


def convert(path: Path, limits: Limits) -> ConvertedDocument:
    """Each visible sheet is its name and one table, as stored values."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            blocks, pages = _read(path, limits)
    except (DocmillError, MemoryError):
        raise
    except Exception as error:
        raise DocumentCorrupt from error
    if not blocks:
        raise DocumentEmpty
    return ConvertedDocument(format="xlsx", title=blocks[0].text, pages=pages, blocks=blocks)


def _read(path: Path, limits: Limits) -> tuple[tuple[Block, ...], int]:
    count = CellCount(limits)
    with path.open("rb") as file:  # of a path openpyxl would want the ending
        book = _book(file, limits)
        sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        blocks = tuple(block for page, sheet in enumerate(sheets, 1) for block in _blocks(sheet, page, count))
        book.close()
    return blocks, len(sheets)


def _book(file: IO[bytes], limits: Limits) -> Any:
    """The workbook, its sheets still unread. All else that openpyxl reads it reads at once, from the file as
    it came and not from a counted copy; so that is checked here. More than a member's stated size is never
    unpacked."""
    from openpyxl.reader.excel import ExcelReader

    reader = ExcelReader(file, read_only=True, data_only=True, keep_links=False)
    sizes = {member.filename: member.file_size for member in reader.archive.infolist()}
    if sizes.get(_TYPES, 0) > _LONGEST_LIST:
        raise DocumentTooLarge("The file has too long a list of parts. Split it.")
    reader.read_manifest()
    at_once = {part.PartName[1:] for part in reader.package.Override if _is_read_at_once(part.ContentType)}
    if sum(sizes.get(name, 0) for name in at_once) > limits.text_bytes:
        raise DocumentTooLarge(f"The file has more than {limits.text_bytes:,} bytes of text. Split it.")
    reader.read()
    return reader.wb


def _is_read_at_once(content_type: str) -> bool:
    return content_type.endswith("+xml") and not content_type.endswith(".worksheet+xml")


def _blocks(sheet: Any, page: int, count: CellCount) -> Iterator[Block]:
    text = table(count.counted(_rows(sheet)))
    if text:
        yield Block(kind="heading", level=1, text=sheet.title, page=page)
        yield Block(kind="table", text=text, page=page)


def _rows(sheet: Any) -> Iterator[list[str]]:
    sheet.reset_dimensions()  # what a file says of its own size may be wrong
    for row in sheet.iter_rows(values_only=True):
        yield ["" if value is None else str(value) for value in row]
