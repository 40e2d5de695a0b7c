"""Tables without rules: lines whose parts stand in common columns.

The lines keep the file's order. It goes through a table row by row or cell by cell, and that is how a row of
cells with several lines is told from two columns of text.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from shared.providers.conversion.lines import Line, Table, joined_text
from shared.providers.conversion.markdown import table
from shared.providers.conversion.pieces import columns_of, cut, directed

_CELL_GAP = 1.0  # in heights: so far apart, two rows are enough
_NARROW_GAP = 0.45
_WIDER = 1.6  # than the usual space between words, and
_WIDEST_SPACE = 0.65  # in heights, for pages of nothing but tables
_SAME_EDGE = 0.25  # in heights
_ROWS_OF_NARROW = 3
_SAME_SIZE = 1.2
_MOST_ROWS = 200  # of one table on one page, and
_MOST_LINES = 5000  # of a page that tables are looked for on: what follows takes the square of them
_MEAN_LINE = 45  # characters; longer "cells" are columns of prose
_BACK = 8  # lines that the first cell of a row may have
_MARKER = re.compile(r"\W{1,2}|[(\[]?\w{1,3}[.)\]]")
_LEADERS = re.compile(r"([.·…]\s?){4}")


@dataclass
class _Band:
    """A row of a table under way: its cells from left to right, each with its lines from top to bottom."""

    cells: list[list[Line]]
    lines: list[Line]
    """What it was made of, before it was cut at gaps."""

    @property
    def top(self) -> float:
        return max(cell[0].top for cell in self.cells)

    @property
    def bottom(self) -> float:
        return min(cell[-1].bottom for cell in self.cells)

    @property
    def left(self) -> float:
        return min(line.left for cell in self.cells for line in cell)

    @property
    def right(self) -> float:
        return max(line.right for cell in self.cells for line in cell)

    @property
    def height(self) -> float:
        return self.cells[0][0].height


def aligned(lines: Sequence[Line]) -> Iterator[Line | Table]:
    if len(lines) > _MOST_LINES:
        yield from lines
        return
    bands = _bands(lines)
    start = 0
    while start < len(bands):
        end = _run_end(bands, start)
        first = next((at for at in range(start, min(start + 3, end)) if _is_table(bands[at:end])), end)
        for band in bands[start:first]:
            yield from band.lines
        if first < end:
            yield _table(bands[first:end])
        start = end


def _bands(lines: Sequence[Line]) -> list[_Band]:
    bands: list[_Band] = []
    space = _usual_space(lines)
    for line in lines:
        pieces = cut(line, _gap_of_cells(line, space))
        if bands and _same_band(bands[-1], line):
            bands[-1].cells += [[piece] for piece in pieces]
        elif bands and len(pieces) == 1 and _continues_cell(bands[-1], line):
            bands[-1].cells[-1].append(line)
        elif back := _beside(bands, line):
            bands[-back:] = [_stacked(bands[-back:])]
            bands[-1].cells += [[piece] for piece in pieces]
        else:
            bands.append(_Band([[piece] for piece in pieces], []))
        bands[-1].lines.append(line)
    return bands


def _gap_of_cells(line: Line, space: float) -> float:
    """Points from which on two words are in different cells. `space`: the usual one, in heights."""
    advances = [(word.right - word.left) / len(word.text) for word in line.words if len(word.text) > 2]
    if len(advances) > 1 and max(advances) < 1.03 * min(advances):  # letters of one width, as on a typewriter
        return max(line.height, 1.9 * advances[0])
    return line.height * max(_NARROW_GAP, min(_WIDEST_SPACE, _WIDER * space))


def _usual_space(lines: Sequence[Line]) -> float:
    """Between two words, in heights."""
    gaps = [
        (other.left - one.right) / line.height
        for line in lines
        if line.height > 0
        for one, other in pairwise(sorted(line.words, key=lambda word: word.left))
        if other.left > one.right
    ]
    return statistics.median(gaps) if gaps else 0.25


def _same_band(band: _Band, line: Line) -> bool:
    """At the height of the row's first lines, and right of all of it."""
    return abs(band.top - line.top) < 0.4 * line.height and line.left >= band.right


def _continues_cell(band: _Band, line: Line) -> bool:
    """A further line of the row's last cell, which is not its first."""
    last = band.cells[-1][-1]
    near = -0.3 * line.height < last.bottom - line.top < 0.6 * line.height
    return len(band.cells) > 1 and near and abs(line.left - band.cells[-1][0].left) < 2


def _beside(bands: Sequence[_Band], line: Line) -> int:
    """How many lines stand left of this one as the first cell of its row, none of them above it; 0: none."""
    for back in range(1, min(_BACK, len(bands)) + 1):
        band = bands[-back]
        if len(band.cells) > 1 or band.right > line.left or abs(band.left - bands[-1].left) > 2:
            return 0
        if abs(band.top - line.top) < 0.4 * line.height:
            return back
    return 0


def _stacked(bands: Sequence[_Band]) -> _Band:
    return _Band(
        [[line for band in bands for line in band.cells[0]]], [line for b in bands for line in b.lines]
    )


def _run_end(bands: Sequence[_Band], start: int) -> int:
    """Behind the last of the rows from `start` whose cells stand in common columns."""
    end = start + 1
    if len(bands[start].cells) < 2:
        return end
    last = min(len(bands), start + _MOST_ROWS)
    while end < last and _goes_on(bands, start, end) and _columns_fit(bands[start : end + 1]):
        end += 1
    return end


def _goes_on(bands: Sequence[_Band], start: int, end: int) -> bool:
    last, band = bands[end - 1], bands[end]
    if _is_bullet(last) != _is_bullet(band) and len(band.cells) > 1:
        return False
    gap = last.bottom - band.top
    if max(last.height, band.height) > _SAME_SIZE * min(last.height, band.height):
        return False
    near = -0.3 * band.height < gap < 2.5 * max(last.height, band.height)
    inner = band.left > bands[start].cells[0][0].right and gap < band.height
    return near and (len(band.cells) > 1 or inner)


def _is_bullet(band: _Band) -> bool:
    return not any(char.isalnum() for char in band.cells[0][0].text)


def _columns_fit(bands: Sequence[_Band]) -> bool:
    columns = columns_of([line for band in bands for cell in band.cells for line in cell])
    return len(columns) > 1 and all(len(set(_indices(band, columns))) == len(band.cells) for band in bands)


def _indices(band: _Band, columns: Sequence[tuple[float, float]]) -> list[int]:
    return [
        next(i for i, (left, right) in enumerate(columns) if left <= cell[0].left <= right)
        for cell in band.cells
    ]


def _is_table(bands: Sequence[_Band]) -> bool:
    if len(bands) < 2:
        return False
    pieces = [line for band in bands for cell in band.cells for line in cell]
    columns = columns_of(pieces)
    if any(_LEADERS.search(piece.text) for piece in pieces):
        return False
    if statistics.mean(len(piece.text) for piece in pieces) > _MEAN_LINE:
        return False
    first = [band.cells[0][0].text for band in bands if _indices(band, columns)[0] == 0]
    if _are_markers(first, len(columns)):
        return False
    gap = min(other[0] - one[1] for one, other in pairwise(columns))
    if gap < _CELL_GAP * bands[0].height and len(bands) < _ROWS_OF_NARROW:
        return False
    return all(_share_an_edge(bands, columns, index) for index in range(len(columns)))


def _are_markers(texts: Sequence[str], columns: int) -> bool:
    """Bullets or numbers, or one thing again and again: bullets of a font whose signs decode to anything."""
    if columns > 2:
        return not any(char.isalnum() for text in texts for char in text)
    marks = sum(bool(_MARKER.fullmatch(text)) for text in texts)
    return len(set(texts)) == 1 or marks * 2 > len(texts) or _count_up(texts)


def _count_up(texts: Sequence[str]) -> bool:
    numbers = [int(text) for text in texts if text.isdecimal() and len(text) < 4]
    return len(numbers) == len(texts) and all(other == one + 1 for one, other in pairwise(numbers))


def _share_an_edge(bands: Sequence[_Band], columns: Sequence[tuple[float, float]], index: int) -> bool:
    """Most cells of a column begin, end or are centred at one place."""
    cells = [
        cell
        for band in bands
        for cell, place in zip(band.cells, _indices(band, columns), strict=True)
        if place == index
    ]
    boxes = [(min(p.left for p in cell), max(p.right for p in cell)) for cell in cells]
    near = _SAME_EDGE * bands[0].height
    return any(
        _alike(places, near)
        for places in (
            [left for left, _ in boxes],
            [right for _, right in boxes],
            [(left + right) / 2 for left, right in boxes],
        )
    )


def _alike(places: Sequence[float], near: float) -> bool:
    middle = statistics.median(places)
    return sum(abs(place - middle) <= near for place in places) >= 0.75 * len(places)


def _table(bands: Sequence[_Band]) -> Table:
    columns = columns_of([line for band in bands for cell in band.cells for line in cell])
    rows: list[list[list[Line]]] = []
    for band in bands:
        row: list[list[Line]] = [[] for _ in columns]
        for cell, index in zip(band.cells, _indices(band, columns), strict=True):
            row[index] = cell
        if rows and not row[0]:  # further lines of the row above
            rows[-1] = [above + more for above, more in zip(rows[-1], row, strict=True)]
        else:
            rows.append(row)
    texts = directed([[joined_text([line.text for line in cell]) for cell in row] for row in rows])
    left, right = columns[0][0], columns[-1][1]
    return Table(table(texts), left, bands[-1].bottom, right, bands[0].top)
