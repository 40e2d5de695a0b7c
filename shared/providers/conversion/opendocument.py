"""What OpenDocument repeats: a cell, a row or a space can be written once and stand for a billion."""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import Any

from shared.errors import DocumentCorrupt, DocumentTooLarge
from shared.providers.conversion.request import Limits

_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_ROW, _CELL, _SPACE = f"{_TABLE}table-row", f"{_TABLE}table-cell", f"{_TEXT}s"


def check_repeats(archive: bytes, limits: Limits) -> None:
    """Raises DocumentTooLarge when more cells with text are meant than Docling bears, or too many spaces."""
    from lxml import etree

    cells = spaces = 0
    repeated = 1
    try:
        with zipfile.ZipFile(BytesIO(archive)) as zipped, zipped.open("content.xml") as content:
            # Whatever comes through here is our copy, without entities.
            events = etree.iterparse(content, events=("start", "end"), tag=(_ROW, _CELL, _SPACE))
            for event, element in events:
                if event == "start":
                    if element.tag == _ROW:
                        repeated = _number(element, f"{_TABLE}number-rows-repeated")
                elif element.tag == _SPACE:
                    spaces += _number(element, f"{_TEXT}c")
                elif element.tag == _CELL:
                    if any(text.strip() for text in element.itertext()):
                        cells += repeated * _number(element, f"{_TABLE}number-columns-repeated")
                    element.clear()
                if cells > limits.elements or spaces > limits.text_bytes:
                    raise DocumentTooLarge(f"The file has more than {limits.elements:,} cells. Split it.")
    except (etree.XMLSyntaxError, KeyError, zipfile.BadZipFile) as error:
        raise DocumentCorrupt from error


def _number(element: Any, name: str) -> int:
    text = element.get(name, "1")
    return int(text) if text.isdecimal() and len(text) < 20 else 1
