"""How much there is in a piece of markup, before anybody parses it: bytes go by, nothing is kept."""

from __future__ import annotations

import codecs
import re

from shared.errors import DocumentCorrupt, DocumentTooLarge
from shared.providers.conversion.request import Limits

_TAG = re.compile(rb"<[A-Za-z]")
# Paragraphs, runs, headings, cells: what Docling makes an object of, in Office, OpenDocument and web pages.
_ELEMENT = re.compile(rb"<(?:[\w.-]+:)?(?:p|r|h|tc|c|span|table-cell)[\s/>]")
_CELL = re.compile(rb"<(?:[\w.-]+:)?c[\s/>]")
# OpenDocument says "a thousand spaces" and "this row a million times" in a few bytes.
_REPEATED = re.compile(rb'(?::c|-repeated)\s*=\s*["\'](\d{1,18})')
_TAG_NAME = re.compile(rb"<(/?)([A-Za-z][A-Za-z0-9]*)")
_NOT_DEEPER = frozenset(
    b"area base br col embed hr img input link meta param source track wbr "
    b"p li dt dd tr td th thead tbody tfoot colgroup option optgroup rt rp".split()
)
_NESTED_MARKS = re.compile(rb"^(?:[ \t]*(?:[>*+-]|\d{1,9}[.)])[ \t]*){60}", re.MULTILINE)
_DECLARATION = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\s([^>]*)(>?)")
_ENCODING = re.compile(rb"""encoding\s*=\s*["']([^"']*)""")
_PLAIN_ENCODINGS = re.compile(
    r"(utf-?8|utf-?16(le|be)?|us-ascii|ascii|iso-8859-\d+|windows-125\d)$", re.IGNORECASE
)
_LONGEST_RUN = 16 * 1024 * 1024
_MANY_CELLS = 50_000
_MANY_ROWS = 200_000
_LARGE_SHEETS = 32 * 1024 * 1024
# Parsers take UTF-16 also without its mark, and some of them let white space come first.
_WIDE = {
    "utf-16-le": re.compile(rb"\xff\xfe|(?:[ \t\r\n]\0)*<\0|(?:[ \t\r\n]\0)+\Z"),
    "utf-16-be": re.compile(rb"\xfe\xff|(?:\0[ \t\r\n])*\0<|(?:\0[ \t\r\n])+\Z"),
}
_WIDER = re.compile(
    rb"\xff\xfe\0\0|\0\0\xfe\xff|(?:[ \t\r\n]\0\0\0)*<\0\0\0|(?:\0\0\0[ \t\r\n])*\0\0\0<\0\0\0"
)


class Tally:
    """Sums over all parts of one document. Raises DocumentTooLarge as soon as one is above its limit."""

    def __init__(self, limits: Limits, weight: int = 1) -> None:
        """`weight`: how many elements one of this format counts for."""
        self._limits = limits
        self._weight = weight
        self.bytes = self.tags = self.elements = 0
        self.cells = self.rows = self.sheet_bytes = 0

    @property
    def many_cells(self) -> bool:
        """Whether the sheets are to be read row by row: Docling takes 3 KB for each cell."""
        return self.cells > _MANY_CELLS or self.rows > _MANY_ROWS or self.sheet_bytes > _LARGE_SHEETS

    def add(self, text: bytes, *, sheet: bool = False) -> None:
        """`text`: whole tags. Of a sheet only cells count, since it can be read row by row."""
        if b"<!ENTITY" in text:
            raise DocumentCorrupt("The file declares XML entities, which its format does not have.")
        if sheet:
            self.sheet_bytes += len(text)
            self.cells += len(_CELL.findall(text))
            self.rows += text.count(b"row ") + text.count(b"row/")
            self._check(self.cells, self._limits.cells, "cells")
            return
        self.bytes += len(text)
        self.tags += len(_TAG.findall(text))
        self.elements += len(_ELEMENT.findall(text)) * self._weight
        self._check(self.bytes, self._limits.text_bytes, "bytes of text and markup")
        self._check(self.tags, self._limits.tags, "tags")
        self._check(self.elements, self._limits.elements, "paragraphs, runs and cells")

    def _check(self, number: int, most: int, what: str) -> None:
        if number > most:
            raise DocumentTooLarge(f"The file has more than {most:,} {what}. Split it.")


class Part:
    """One piece of markup that comes in chunks, as UTF-8 or UTF-16, counted by whole tags."""

    def __init__(self, tally: Tally, start: bytes, *, sheet: bool = False) -> None:
        self._tally = tally
        self._sheet = sheet
        self._held = b""
        if _WIDER.match(start) or _declares_another_encoding(start):
            raise DocumentCorrupt("The file is in an encoding that documents of its kind do not use.")
        wide = next((name for name, begin in _WIDE.items() if begin.match(start)), None)
        self._wide = codecs.getincrementaldecoder(wide)(errors="replace") if wide else None

    def feed(self, chunk: bytes, *, last: bool = False) -> None:
        text = self._held + (self._wide.decode(chunk).encode() if self._wide else chunk)
        if len(self._held) > _LONGEST_RUN:
            raise DocumentTooLarge("The file has a piece of text of more than 16 MB without any tag.")
        end = len(text) if last else max(0, text.rfind(b"<"))
        self._held = text[end:]
        self._tally.add(text[:end], sheet=self._sheet)


def is_markup(start: bytes) -> bool:
    """Whether a part begins as XML or HTML does, or with so much white space that nobody knows yet."""
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"<") or (start and not text):
        return True
    return any(begin.match(start) for begin in (_WIDER, *_WIDE.values()))


def _declares_another_encoding(start: bytes) -> bool:
    """Also when the declaration is longer than the start, as none is."""
    declaration = _DECLARATION.match(start)
    if not declaration:
        return False
    encoding = _ENCODING.search(declaration[1])
    named = encoding[1].decode(errors="replace") if encoding else "utf-8"
    return not declaration[2] or not _PLAIN_ENCODINGS.match(named)


def check_text(content: bytes, fmt: str, limits: Limits) -> None:
    """Raises DocumentTooLarge for a text that would take Docling more memory than there is."""
    if fmt in {"html", "jats"}:
        number = len(_TAG.findall(content)) * 2
    else:
        number = content.count(b"\n") + sum(map(content.count, (b"|", b"*", b"_", b"`", b"[", b">"))) // 2
    if number > limits.elements:
        raise DocumentTooLarge(f"The file has more than {limits.elements:,} lines and tags. Split it.")
    if fmt == "md" and _NESTED_MARKS.search(content):
        raise _too_deep()
    if fmt in {"html", "md"}:
        check_depth(content, limits)


def check_depth(content: bytes, limits: Limits) -> None:
    """Raises DocumentTooLarge where HTML is so deep that its reader takes time by the square, or gives up.

    A tag that may be left open closes the one before it, so those are not counted."""
    open_tags: list[bytes] = []
    for closing, name in _TAG_NAME.findall(content):
        if name.lower() in _NOT_DEEPER:
            continue
        if not closing:
            open_tags.append(name)
            if len(open_tags) > limits.tag_depth:
                raise _too_deep()
        elif name in open_tags:
            while open_tags.pop() != name:
                pass


def _too_deep() -> DocumentTooLarge:
    return DocumentTooLarge("The file is nested too deeply. Simplify it and upload it again.")
