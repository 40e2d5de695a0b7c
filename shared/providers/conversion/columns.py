"""The order in which the lines of a scanned page are read: a picture says nothing about it, unlike a file."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from shared.providers.conversion.lines import Line

_COLUMN_LINES = 4
_PROSE = 8.0  # width of a usual line of prose, in heights; what is narrower may be the column of a table
_CROSSING = 0.34  # part of the lines that may run across the gap, as titles and footers do


def in_reading_order(lines: Sequence[Line]) -> list[Line]:
    """From top to bottom; columns of prose one after the other, between the lines that run across them."""
    gap = _gap(lines)
    if gap is None:
        return _by_rows(lines)
    ordered: list[Line] = []
    for across, group in groupby(sorted(lines, key=_depth), key=lambda line: _crosses(line, gap)):
        band = list(group)
        if across:
            ordered += _by_rows(band)
        else:
            ordered += in_reading_order([line for line in band if line.right <= gap])
            ordered += in_reading_order([line for line in band if line.left >= gap])
    return ordered


def _depth(line: Line) -> float:
    return -(line.bottom + line.top)


def _crosses(line: Line, gap: float) -> bool:
    return line.left < gap < line.right


def _gap(lines: Sequence[Line]) -> float | None:
    """Where the right one of two columns of prose begins, if there are any."""
    starts = {math.floor(line.left) for line in lines}
    fitting = [gap for gap in starts if _parts_columns(lines, gap)]
    return min(fitting, key=lambda gap: (_crossings(lines, gap), gap), default=None)


def _crossings(lines: Iterable[Line], gap: float) -> int:
    return sum(_crosses(line, gap) for line in lines)


def _parts_columns(lines: Sequence[Line], gap: float) -> bool:
    left = [line for line in lines if line.right <= gap]
    right = [line for line in lines if line.left >= gap]
    if _crossings(lines, gap) > _CROSSING * len(lines):
        return False
    return _is_prose(left) and _is_prose(right) and _are_side_by_side(left, right)


def _is_prose(column: Sequence[Line]) -> bool:
    if len(column) < _COLUMN_LINES:
        return False
    return statistics.median((line.right - line.left) / line.height for line in column) > _PROSE


def _are_side_by_side(left: Sequence[Line], right: Sequence[Line]) -> bool:
    top = min(max(line.top for line in side) for side in (left, right))
    bottom = max(min(line.bottom for line in side) for side in (left, right))
    heights = [max(line.top for line in side) - min(line.bottom for line in side) for side in (left, right)]
    return top - bottom > 0.5 * min(heights)


def _by_rows(lines: Iterable[Line]) -> list[Line]:
    return [line for row in _rows(lines) for line in sorted(row, key=lambda line: line.left)]


def _rows(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Lines on one level. Each is compared with the row's first, or a slope would make one row of a page."""
    row: list[Line] = []
    for line in sorted(lines, key=_depth):
        if row and (line.bottom + line.top) / 2 < row[0].bottom:
            yield row
            row = []
        row.append(line)
    if row:
        yield row
