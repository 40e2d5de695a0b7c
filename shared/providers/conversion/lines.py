"""Pieces of text with their boxes, and the rows that they make on a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

_BOLD = re.compile(r"bold|black|heavy|demi", re.IGNORECASE)
_MARKER = re.compile(r"\W{1,2}|\(?\w{1,3}[.)]")
_CELL_GAP = 1.0  # in heights; words of one line are closer


@dataclass(frozen=True)
class Line:
    """A run of text as the file has it. The box is in points, the origin at the bottom left."""

    text: str
    left: float
    bottom: float
    right: float
    top: float
    font: str = ""

    @property
    def height(self) -> float:
        return self.top - self.bottom

    @property
    def bold(self) -> bool:
        return bool(_BOLD.search(self.font))


@dataclass(frozen=True)
class Row:
    """Everything on one level that follows in the file. More than one cell: far apart, as in tables."""

    page: int
    cells: tuple[Line, ...]

    @cached_property
    def text(self) -> str:
        return " ".join(cell.text for cell in self.cells)

    @cached_property
    def _main(self) -> Line:
        return max(self.cells, key=lambda cell: len(cell.text))

    @cached_property
    def size(self) -> float:
        return self._main.height

    @cached_property
    def bold(self) -> bool:
        return self._main.bold

    @cached_property
    def left(self) -> float:
        return min(cell.left for cell in self.cells)

    @cached_property
    def right(self) -> float:
        return max(cell.right for cell in self.cells)

    @cached_property
    def bottom(self) -> float:
        return self._main.bottom

    @cached_property
    def top(self) -> float:
        return self._main.top

    @property
    def width(self) -> float:
        return self.right - self.left

    def overlap(self, other: Row) -> float:
        """Width in points that both cover."""
        return min(self.right, other.right) - max(self.left, other.left)


def rows_of(page: int, lines: Iterable[Line]) -> Iterator[Row]:
    cells: list[Line] = []
    for line in lines:
        if cells and not _on_one_level(cells[-1], line):
            yield Row(page, tuple(cells))
            cells = []
        if cells and _adjoin(cells[-1], line):
            cells[-1] = _joined(cells[-1], line)
        else:
            cells.append(line)
    if cells:
        yield Row(page, tuple(cells))


def _on_one_level(one: Line, other: Line) -> bool:
    shared = min(one.top, other.top) - max(one.bottom, other.bottom)
    return shared > 0.5 * min(one.height, other.height)


def _adjoin(one: Line, other: Line) -> bool:
    gap = max(other.left - one.right, one.left - other.right)
    limit = 3.0 if _MARKER.fullmatch(one.text) else _CELL_GAP
    return gap < limit * max(one.height, other.height)


def _joined(one: Line, other: Line) -> Line:
    main = one if len(one.text) >= len(other.text) else other
    glued = abs(other.left - one.right) < 0.1 * main.height or abs(one.left - other.right) < 0.1 * main.height
    space = "" if glued and not other.text[:1].isalnum() else " "
    return Line(
        text=one.text + space + other.text,
        left=min(one.left, other.left),
        bottom=main.bottom,
        right=max(one.right, other.right),
        top=main.top,
        font=one.font if _MARKER.fullmatch(one.text) else main.font,
    )
