"""Text and CSV files, which need no parser of documents."""

from __future__ import annotations

import codecs
import csv
import io
import re
from pathlib import Path

from shared.documents import Block, ConvertedDocument
from shared.errors import DocumentEmpty, DocumentTooLarge
from shared.providers.conversion.cells import CellCount
from shared.providers.conversion.markdown import table
from shared.providers.conversion.request import Limits

_PARAGRAPHS = re.compile(r"\n[ \t\r]*\n\s*")
_MAX_FIELD = 1 << 24
_SHORT = 1000


def convert(path: Path, fmt: str, limits: Limits) -> ConvertedDocument:
    with path.open("rb") as file:  # read no further than the limit, however large the file says it is
        content = file.read(limits.text_bytes + 1)
    if len(content) > limits.text_bytes:
        raise DocumentTooLarge(f"The file has more than {limits.text_bytes:,} bytes of text. Split it.")
    text = decode(content).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    blocks = _tables(text, CellCount(limits)) if fmt == "csv" else _limited(paragraphs(text), limits)
    if not blocks:
        raise DocumentEmpty
    return ConvertedDocument(format=fmt, blocks=blocks)


def _limited(blocks: tuple[Block, ...], limits: Limits) -> tuple[Block, ...]:
    if len(blocks) > limits.paragraphs:
        raise DocumentTooLarge(f"The file has more than {limits.paragraphs:,} paragraphs. Split it.")
    return blocks


def decode(data: bytes) -> str:
    """UTF-8, UTF-16 with its mark, or the most likely encoding."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _guessed(data)


def _guessed(data: bytes) -> str:
    """Statistics need some text: a short one in Latin letters is taken for Western European."""
    foreign = sum(byte > 0x7F for byte in data[:_SHORT])
    if len(data) < _SHORT and foreign < len(data) / 4:
        return data.decode("cp1252", errors="replace")
    from charset_normalizer import from_bytes

    best = from_bytes(data[:1_000_000]).best()
    return data.decode(best.encoding if best else "cp1252", errors="replace")


def paragraphs(text: str) -> tuple[Block, ...]:
    parts = (part.strip() for part in _PARAGRAPHS.split(text))
    return tuple(Block(kind="text", text=part) for part in parts if part)


def _tables(text: str, count: CellCount) -> tuple[Block, ...]:
    csv.field_size_limit(_MAX_FIELD)
    try:
        markdown = table(count.counted(csv.reader(io.StringIO(text), _dialect(text))))
    except csv.Error:
        return paragraphs(text)
    return (Block(kind="table", text=markdown),) if markdown else ()


def _dialect(text: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff("\n".join(text[:8_000].splitlines()[:50]), delimiters=",;\t|")
    except csv.Error:
        return csv.excel
