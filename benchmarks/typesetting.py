"""A small typesetter: it puts pieces of text on PDF pages and breaks lines in ways that are known.

The fonts come with reportlab. Hebrew and Arabic letters borrow the shapes of Latin ones: what is measured is
reading, and a reader goes by the characters that the font says, not by their outlines.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

LEADING = 1.25
_MARK = re.compile(r"\^(\w+|\*)")
_SUPERSCRIPT = 0.7  # of the size
_RISE = 0.5
_RTL = range(0x0590, 0x0700)
_NUMBER = re.compile(r"[0-9A-Za-z.,]+")


@dataclass(frozen=True)
class Piece:
    """What an author wrote. `text` may hold `word^1`, a raised mark. `rows`: of a table."""

    kind: str
    text: str = ""
    level: int | None = None
    rows: tuple[tuple[str, ...], ...] = ()

    @property
    def plain(self) -> str:
        """As a reader should see it: marks are words of their own."""
        return " ".join(_MARK.sub(r" \1", self.text).split())

    @property
    def words(self) -> list[str]:
        cells = [cell for row in self.rows for cell in row]
        return " ".join([self.plain, *cells]).split()


@dataclass(frozen=True)
class Frame:
    """A column of a page, in points from the bottom left."""

    left: float
    right: float
    top: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left


@dataclass
class Press:
    """A PDF under way. Text flows from frame to frame, and from the last frame to a new page."""

    frames: Sequence[Frame]
    size: float = 10
    hyphenate: bool = False
    justify: bool = False
    turned: bool = False
    head: str = ""
    foot: str = ""
    labels: Sequence[tuple[int, str]] = ()
    """First page (from 0) and style of its page labels: "ROMAN_LOWER", "ARABIC"."""
    page_size: tuple[float, float] = (595, 842)
    ligatures: bool = False
    page: int = 0
    read: list[Piece] = field(default_factory=list)
    """What was put, as it should be read: a page's notes after the last paragraph that begins on it."""
    _frame: int = 0
    _y: float = 0
    _notes: list[Piece] = field(default_factory=list)
    _page_notes: list[Piece] = field(default_factory=list)

    def __post_init__(self) -> None:
        from reportlab.pdfgen.canvas import Canvas

        fonts()
        self._out = io.BytesIO()
        # reportlab swaps the sides of a page that it turns, so both kinds get the size that is seen.
        self._canvas: Any = Canvas(self._out, self.page_size)
        for page, style in self.labels:
            self._canvas.addPageLabel(page, style=style, start=1)
        self._line: Callable[[float, float, float, float], None] = self._stroke
        self._begin_page()

    def bytes(self) -> bytes:
        self._end_frame()
        self._read_notes()
        self._canvas.save()
        return self._out.getvalue()

    # --- pieces

    def put(self, *pieces: Piece) -> None:
        for piece in pieces:
            if piece.kind == "heading":
                self._heading(piece)
            else:
                self._paragraph(piece)

    def put_with_note(self, piece: Piece, note: Piece) -> None:
        """A paragraph whose first line and `note` stand on one page."""
        self._need(self.size * LEADING * 5)
        self._notes.append(note)
        self._page_notes.append(note)
        self.put(piece)

    def ruled(
        self, piece: Piece, widths: Sequence[float], *, vertical: bool = True, boxes: bool = False
    ) -> None:
        """A table with lines around its cells, which are drawn cell by cell, as most writers do.

        `boxes`: the lines are thin filled boxes, one for each side of each cell."""
        self._line = self._box if boxes else self._stroke
        self._table(piece, widths, pad=3, rules=vertical, horizontals=True)

    def aligned(self, piece: Piece, widths: Sequence[float], *, right: bool = False) -> None:
        """A table without lines; `right`: all columns but the first end at a common edge."""
        self._table(piece, widths, pad=0, rules=False, horizontals=False, right=right)

    def code(self, *lines: str) -> None:
        """Lines of a listing, as one block."""
        self._need(len(lines) * self.size * LEADING)
        self.read.append(Piece("code", " ".join(lines)))
        for line in lines:
            self._y -= self.size * LEADING
            self._canvas.setFont("Courier", self.size)
            self._canvas.drawString(self.frames[self._frame].left, self._y, line)
        self._y -= self.size * 0.7

    def contents(self, *entries: tuple[str, int]) -> None:
        """Titles with dots and page numbers behind them."""
        for title, page in entries:
            self._y -= self.size * LEADING
            frame = self.frames[self._frame]
            room = frame.width - _width(f"{title}  {page}", "Vera", self.size)
            dots = "." * int(room / _width(".", "Vera", self.size))
            self._set_line(f"{title} {dots} {page}", "Vera", self.size)
            self.read.append(Piece("entry", f"{title} {page}"))
        self._y -= self.size * 0.7

    def sideways(self, piece: Piece) -> None:
        """Lines that run upwards, on a page that is not turned and has room for them."""
        self.read.append(piece)
        lines = list(self._broken(piece.text, 600, self.size))
        self._canvas.saveState()
        self._canvas.translate(200, 120)
        self._canvas.rotate(90)
        for index, line in enumerate(lines):
            self._draw(0, -index * self.size * LEADING, line, "Vera", self.size)
        self._canvas.restoreState()

    def break_page(self) -> None:
        self._end_frame()
        self._end_page()

    # --- pages and frames

    def _begin_page(self) -> None:
        self.page += 1
        if self.turned:
            self._canvas.setPageRotation(90)
            self._canvas.translate(self.page_size[1], 0)
            self._canvas.rotate(90)
        self._frame, self._y = 0, self.frames[0].top
        width, height = self.page_size
        if self.head:
            self._draw(72, height - 40, self.head, "Vera", 8)
        if self.foot:
            self._draw(width / 2, 30, self.foot.format(page=self.page), "Vera", 8)

    def _read_notes(self) -> None:
        self.read += self._page_notes
        self._page_notes = []

    def _end_page(self) -> None:
        self._read_notes()
        self._canvas.showPage()
        self._begin_page()

    def _end_frame(self) -> None:
        notes, self._notes = self._notes, []
        frame = self.frames[self._frame]
        lines = [line for note in notes for line in self._broken(note.text, frame.width, self.size * 0.8)]
        top = frame.bottom + len(lines) * self.size * 0.8 * LEADING
        if lines:
            self._canvas.line(frame.left, top + 2, frame.left + 80, top + 2)
        for index, line in enumerate(lines, 1):
            y = top - index * self.size * 0.8 * LEADING + 2
            self._draw(frame.left, y, line, "Vera", self.size * 0.8)

    def _room(self) -> float:
        frame = self.frames[self._frame]
        small = self.size * 0.8
        lines = sum(len(list(self._broken(note.text, frame.width, small))) for note in self._notes)
        return self._y - frame.bottom - (lines * small * LEADING + 12 if lines else 0)

    def _need(self, height: float) -> None:
        if self._room() >= height:
            return
        self._end_frame()
        if self._frame + 1 < len(self.frames):
            self._frame += 1
            self._y = self.frames[self._frame].top
        else:
            self._end_page()

    # --- text

    def _heading(self, piece: Piece) -> None:
        size = {1: 1.8, 2: 1.35, 3: 1.0}[piece.level or 1] * self.size
        self._need(size * LEADING * 3)
        self.read.append(piece)
        self._y -= size * 0.7
        for line in self._broken(piece.text, self.frames[self._frame].width, size, "VeraBd"):
            self._y -= size * LEADING
            self._set_line(line, "VeraBd", size)
        self._y -= size * 0.3

    def _paragraph(self, piece: Piece) -> None:
        item = piece.kind == "list_item"
        bullet = "\u2022 " if item and not piece.text[:1].isdigit() else ""
        indent = 14 if bullet else 0
        self._need(self.size * LEADING)
        self.read.append(piece)
        lines = list(self._broken(piece.text, self.frames[self._frame].width - indent, self.size))
        for index, line in enumerate(lines):
            self._need(self.size * LEADING)
            self._y -= self.size * LEADING
            stretched = self.justify and index + 1 < len(lines)
            self._set_line(line, "Vera", self.size, indent, "" if index else bullet, stretched)
        self._y -= self.size * 0.7

    def _set_line(
        self, line: str, font: str, size: float, indent: float = 0, bullet: str = "", justify: bool = False
    ) -> None:
        frame = self.frames[self._frame]
        if bullet:
            self._draw(frame.left, self._y, bullet, font, size)
        left = frame.left + indent
        if _is_rtl(line):
            left = frame.right - _width(line, font, size)
        room = frame.width - indent - _width(line, font, size)
        gap = room / max(1, line.count(" ")) if justify else 0
        self._draw(left, self._y, line, font, size, gap)

    def _broken(self, text: str, width: float, size: float, font: str = "Vera") -> Iterator[str]:
        """Lines of at most `width`; where asked to, a word is cut before it."""
        line = ""
        for word in text.split():
            tried = f"{line} {word}".strip()
            if _width(tried, font, size) <= width:
                line = tried
                continue
            cut = self._cut(line, word, width, size, font) if self.hyphenate else 0
            yield f"{line} {word[:cut]}-".strip() if cut else line
            line = word[cut:]
        yield line

    def _cut(self, line: str, word: str, width: float, size: float, font: str) -> int:
        if not word.isalpha() or not word.islower():
            return 0
        places = range(len(word) - 3, 2, -1)
        return next((n for n in places if _width(f"{line} {word[:n]}-", font, size) <= width), 0)

    def _draw(self, left: float, y: float, text: str, font: str, size: float, gap: float = 0) -> None:
        """One line. `gap`: added to each space, by putting each word where it belongs."""
        if self.ligatures:
            text = text.replace("fi", "\ufb01").replace("fl", "\ufb02")
        for chunk, mark in _chunks(_visual(text)):
            self._canvas.setFont(font, size)
            for word in chunk.split(" ") if gap else [chunk]:
                self._canvas.drawString(left, y, word)
                left += _width(word + " " if gap else word, font, size) + gap
            left -= _width(" ", font, size) + gap if gap else 0
            if mark:
                self._canvas.setFont(font, size * _SUPERSCRIPT)
                self._canvas.drawString(left, y + size * _RISE, mark)
                left += _width(mark, font, size * _SUPERSCRIPT)

    # --- tables

    def _stroke(self, left: float, top: float, right: float, bottom: float) -> None:
        self._canvas.line(left, top, right, bottom)

    def _box(self, left: float, top: float, right: float, bottom: float) -> None:
        """In two halves: writers put a line together of pieces."""
        x, y = (left + right) / 2, (top + bottom) / 2
        for x0, y0, x1, y1 in ((left, top, x, y), (x, y, right, bottom)):
            self._canvas.rect(x0, y1, max(x1 - x0, 0.5), max(y0 - y1, 0.5), stroke=0, fill=1)

    def _table(
        self,
        piece: Piece,
        widths: Sequence[float],
        *,
        pad: float,
        rules: bool,
        horizontals: bool,
        right: bool = False,
    ) -> None:
        cells = [
            [
                list(self._broken(text, width - 2 * pad, self.size))
                for text, width in zip(row, widths, strict=True)
            ]
            for row in piece.rows
        ]
        heights = [max(map(len, row)) * self.size * LEADING + 2 * pad for row in cells]
        self._need(sum(heights) + self.size)
        self.read.append(piece)
        self._y -= self.size * 0.5
        left = self.frames[self._frame].left
        edges = [left + sum(widths[:index]) for index in range(len(widths) + 1)]
        top = self._y
        for row, height in zip(cells, heights, strict=True):
            if horizontals:
                self._line(edges[0], self._y, edges[-1], self._y)
            self._cells(row, edges, pad, right)
            self._y -= height
        if horizontals:
            self._line(edges[0], self._y, edges[-1], self._y)
        for edge in edges if rules else ():
            self._line(edge, top, edge, self._y)
        self._y -= self.size

    def _cells(self, row: Sequence[Sequence[str]], edges: Sequence[float], pad: float, right: bool) -> None:
        for index, lines in enumerate(row):
            for number, line in enumerate(lines, 1):
                left = edges[index] + pad
                if right and index:
                    left = edges[index + 1] - pad - _width(line, "Vera", self.size)
                self._draw(left, self._y - pad - number * self.size * LEADING + 3, line, "Vera", self.size)


def _chunks(text: str) -> Iterator[tuple[str, str]]:
    """Text between raised marks, each with the mark after it."""
    parts = _MARK.split(text)
    for index in range(0, len(parts), 2):
        yield parts[index], parts[index + 1] if index + 1 < len(parts) else ""


def _is_rtl(text: str) -> bool:
    return any(ord(letter) in _RTL for letter in text)


def _visual(text: str) -> str:
    """From left to right as it is printed: a right-to-left line is reversed, numbers in it are not."""
    if not _is_rtl(text):
        return text
    return _NUMBER.sub(lambda found: found.group()[::-1], text[::-1])


def _width(text: str, font: str, size: float) -> float:
    from reportlab.pdfbase.pdfmetrics import stringWidth

    fonts()
    return sum(
        float(stringWidth(chunk, font, size)) + float(stringWidth(mark, font, size * _SUPERSCRIPT))
        for chunk, mark in _chunks(text)
    )


@cache
def fonts() -> None:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    for name in ("Vera", "VeraBd"):
        font = TTFont(name, f"{name}.ttf")
        for code in _RTL:
            like = ord("a") + code % 26
            font.face.charToGlyph[code] = font.face.charToGlyph[like]
            font.face.charWidths[code] = font.face.charWidths[like]
        pdfmetrics.registerFont(font)
