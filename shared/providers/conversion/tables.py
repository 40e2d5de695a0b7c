"""Tables on a page: in the cells of ruled grids, and in lines whose parts stand in common columns.

The lines keep the file's order. It goes through a table row by row or cell by cell, and that is how a row of
cells with several lines is told from two columns of text.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from shared.providers.conversion.lines import Line, joined_text
from shared.providers.conversion.markdown import table
from shared.providers.conversion.rules import Grid, Rule, Span, grids

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
_LONGEST_CELL = 600
_FILLED = 0.35  # of the cells of a grid
_BACK = 8  # lines that the first cell of a row may have
_MARKER = re.compile(r"\W{1,2}|[(\[]?\w{1,3}[.)\]]")
_LEADERS = re.compile(r"([.·…]\s?){4}")
_RTL = re.compile(r"[\u0590-\u07ff\ufb1d-\ufdff\ufe70-\ufeff]")


@dataclass(frozen=True)
class Table:
    """`text`: Markdown."""

    text: str
    left: float
    bottom: float
    right: float
    top: float


def need_words(lines: Sequence[Line], rules: Sequence[Rule]) -> bool:
    """Whether a page may hold a table or raised marks. Most pages hold neither, and words take time."""
    return len(rules) > 2 or _heights_vary(lines) or _parts_beside(lines) > 1 or _short_lines(lines) > 2


def _heights_vary(lines: Iterable[Line]) -> bool:
    """Whether lines of one font are of different heights."""
    lowest: dict[str, float] = {}
    for line in lines:
        lowest[line.font] = min(line.height, lowest.get(line.font, line.height))
    return any(line.height > 1.05 * lowest[line.font] for line in lines)


def _parts_beside(lines: Sequence[Line]) -> int:
    return sum(abs(one.top - other.top) < 0.4 * one.height for one, other in pairwise(lines))


def _short_lines(lines: Sequence[Line]) -> int:
    """The most lines in a row that leave a quarter of the width free."""
    widest = max((line.right - line.left for line in lines), default=0.0)
    longest = run = 0
    for line in lines:
        run = run + 1 if line.right - line.left < 0.75 * widest else 0
        longest = max(longest, run)
    return longest


def with_tables(items: Sequence[Line | Table], rules: Sequence[Rule]) -> list[Line | Table]:
    """The lines, with a table in the place of the first of those that it is made of."""
    found: list[Line | Table] = list(items)
    for grid in grids(rules):
        found = _with_grid(found, grid)
    return list(_with_aligned(found))


# --- ruled


def _with_grid(items: list[Line | Table], grid: Grid) -> list[Line | Table]:
    inside = [item for item in items if isinstance(item, Line) and _within(item, grid.box)]
    if not grid.verticals:
        grid = _with_row_above(grid, [item for item in items if isinstance(item, Line)])
        inside = [item for item in items if isinstance(item, Line) and _within(item, grid.box)]
    made = _cells_of(grid, inside)
    if not made:
        return items
    taken = {id(line) for line in inside}
    at = next(index for index, item in enumerate(items) if id(item) in taken)
    kept = [item for item in items[at:] if id(item) not in taken]
    return [*items[:at], Table(made, *grid.box), *kept]


def _with_row_above(grid: Grid, lines: Iterable[Line]) -> Grid:
    """Where lines stand only below rows, the first row stands above them all. It has several cells."""
    left, _, right, top = grid.box
    height = min(upper - lower for upper, lower in pairwise(grid.levels)) if len(grid.levels) > 1 else 0.0
    above = [line for line in lines if _within(line, (left, top, right, top + height))]
    pieces = [piece for line in above for piece in _pieces(line, line.height * _CELL_GAP)]
    if len(pieces) < 2 or any(abs(piece.top - pieces[0].top) > 2 for piece in pieces):
        return grid
    return Grid((*grid.horizontals, Span(top + height, left, right)), ())


def _within(line: Line, box: tuple[float, float, float, float]) -> bool:
    left, bottom, right, top = box
    return left <= (line.left + line.right) / 2 <= right and bottom <= (line.bottom + line.top) / 2 <= top


def _cells_of(grid: Grid, lines: Sequence[Line]) -> str:
    """Markdown, or nothing when the lines around the text are not those of a table."""
    levels = grid.levels
    edges = grid.edges
    if len(levels) < 3 or not lines:
        return ""
    if len(edges) < 3:
        edges = _edges_by_gaps(grid, lines)
        if len(edges) < 3:
            return ""
        return _checked(_open_rows(edges, levels, lines))
    cells: dict[tuple[int, int], list[Line]] = {}
    for word in _words(lines):
        cells.setdefault(_cell(grid, edges, levels, word), []).append(word)
    return _checked(_filled(cells, len(levels) - 1, len(edges) - 1))


def _cell(grid: Grid, edges: Sequence[float], levels: Sequence[float], word: Line) -> tuple[int, int]:
    """Row and column of a word; a cell that spans several counts as its first."""
    x, y = (word.left + word.right) / 2, (word.bottom + word.top) / 2
    column = _place([-edge for edge in edges], -x, len(edges) - 2)
    row = _place(levels, y, len(levels) - 2)
    while column > 0 and not grid.divides(edges[column], y):
        column -= 1
    while row > 0 and not grid.underlines(levels[row], x):
        row -= 1
    return row, column


def _place(falling: Sequence[float], at: float, last: int) -> int:
    """Index of the interval between falling numbers that `at` lies in."""
    return min(last, max(0, sum(number > at for number in falling) - 1))


def _edges_by_gaps(grid: Grid, lines: Sequence[Line]) -> list[float]:
    """Middles of the strips that no word covers, with the ends of the lines, where there are only level ones.

    What spans columns in a line or two, such as a title in the table, does not count."""
    left, _, right, _ = grid.box
    height = statistics.median(line.height for line in lines)
    pieces = [piece for line in lines for piece in _pieces(line, height * _NARROW_GAP)]
    columns = _columns(pieces)
    inner = [(one[1] + other[0]) / 2 for one, other in pairwise(columns)]
    return [left, *inner, right]


def _open_rows(edges: Sequence[float], levels: Sequence[float], lines: Sequence[Line]) -> list[list[str]]:
    """Rows between the lines; below a header with nothing but a last line, each line of text is a row."""
    cells: dict[tuple[int, int], list[Line]] = {}
    tops = list(levels) if len(levels) > 3 else _row_tops(edges, levels, lines)
    for word in _words(lines):
        x, y = (word.left + word.right) / 2, (word.bottom + word.top) / 2
        column = min(len(edges) - 2, max(0, sum(edge <= x for edge in edges) - 1))
        cells.setdefault((_place(tops, y, len(tops) - 2), column), []).append(word)
    return _filled(cells, len(tops) - 1, len(edges) - 1)


def _row_tops(edges: Sequence[float], levels: Sequence[float], lines: Sequence[Line]) -> list[float]:
    """The header's levels, and a top for each line that begins in the first column."""
    first = [line for line in lines if line.left < edges[1] and line.top <= levels[1] + line.height / 2]
    tops = [line.top + 1 for line in sorted(first, key=lambda line: -line.top)]
    distinct = [top for index, top in enumerate(tops) if not index or tops[index - 1] - top > 2]
    return [levels[0], *distinct, levels[-1]] if distinct else list(levels)


def _filled(cells: dict[tuple[int, int], list[Line]], rows: int, columns: int) -> list[list[str]]:
    return [[_text(cells.get((row, column), [])) for column in range(columns)] for row in range(rows)]


def _checked(rows: Sequence[Sequence[str]]) -> str:
    """A frame around prose, a page's border or the axes of a chart are no tables."""
    texts = [text for row in rows for text in row if text]
    full_rows = sum(any(row) for row in rows)
    full_columns = sum(any(column) for column in zip(*rows, strict=True))
    several = sum(sum(map(bool, row)) > 1 for row in rows)
    filled = len(texts) / (full_rows * full_columns) if texts else 0
    if full_rows < 2 or full_columns < 2 or several * 2 < full_rows or filled < _FILLED:
        return ""
    if statistics.mean(map(len, texts)) > _LONGEST_CELL:
        return ""
    kept = [index for index, column in enumerate(zip(*rows, strict=True)) if any(column)]
    return table(_directed([[row[index] for index in kept] for row in rows]))


def _directed(rows: list[list[str]]) -> list[list[str]]:
    """The first column is the one that is read first."""
    texts = [text for row in rows for text in row if text]
    rtl = sum(bool(_RTL.search(text)) for text in texts)
    return [row[::-1] for row in rows] if rtl * 2 > len(texts) else rows


# --- aligned


def _with_aligned(items: Sequence[Line | Table]) -> Iterator[Line | Table]:
    """Tables in the place of lines that make one, whatever else as it is."""
    run: list[Line] = []
    for item in items:
        if isinstance(item, Line):
            run.append(item)
            continue
        yield from _aligned(run)
        yield item
        run = []
    yield from _aligned(run)


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


def _aligned(lines: Sequence[Line]) -> Iterator[Line | Table]:
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
        pieces = _pieces(line, _gap_of_cells(line, space))
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


def _pieces(line: Line, gap: float) -> list[Line]:
    """The line cut where two words are further apart than `gap` points."""
    words = sorted(line.words, key=lambda word: word.left)
    groups: list[list[Line]] = []
    for word in words:
        if groups and word.left - max(other.right for other in groups[-1]) < gap:
            groups[-1].append(word)
        else:
            groups.append([word])
    return [_piece(group, line) for group in groups] if len(groups) > 1 else [line]


def _piece(words: Sequence[Line], line: Line) -> Line:
    left, right = min(word.left for word in words), max(word.right for word in words)
    return Line(_text(words), left, line.bottom, right, line.top, line.font, tuple(words))


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
    columns = _columns([line for band in bands for cell in band.cells for line in cell])
    return len(columns) > 1 and all(len(set(_indices(band, columns))) == len(band.cells) for band in bands)


def _indices(band: _Band, columns: Sequence[tuple[float, float]]) -> list[int]:
    return [
        next(i for i, (left, right) in enumerate(columns) if left <= cell[0].left <= right)
        for cell in band.cells
    ]


def _columns(pieces: Iterable[Line]) -> list[tuple[float, float]]:
    """Intervals that the pieces cover from left to right, those that overlap as one."""
    columns: list[tuple[float, float]] = []
    for piece in sorted(pieces, key=lambda piece: piece.left):
        if columns and piece.left < columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], piece.right))
        else:
            columns.append((piece.left, piece.right))
    return columns


def _is_table(bands: Sequence[_Band]) -> bool:
    if len(bands) < 2:
        return False
    pieces = [line for band in bands for cell in band.cells for line in cell]
    columns = _columns(pieces)
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
    columns = _columns([line for band in bands for cell in band.cells for line in cell])
    rows: list[list[list[Line]]] = []
    for band in bands:
        row: list[list[Line]] = [[] for _ in columns]
        for cell, index in zip(band.cells, _indices(band, columns), strict=True):
            row[index] = cell
        if rows and not row[0]:  # further lines of the row above
            rows[-1] = [above + more for above, more in zip(rows[-1], row, strict=True)]
        else:
            rows.append(row)
    texts = _directed([[joined_text([line.text for line in cell]) for cell in row] for row in rows])
    left, right = columns[0][0], columns[-1][1]
    return Table(table(texts), left, bands[-1].bottom, right, bands[0].top)


# --- words


def _words(lines: Iterable[Line]) -> Iterator[Line]:
    for line in lines:
        yield from line.words or (line,)


def _text(words: Sequence[Line]) -> str:
    """Words as text: by lines from top to bottom, in each in the direction of its letters."""
    lines: list[list[Line]] = []
    for word in sorted(words, key=lambda word: -(word.top + word.bottom)):
        if lines and abs(_middle(lines[-1][0]) - _middle(word)) < 0.5 * max(lines[-1][0].height, word.height):
            lines[-1].append(word)
        else:
            lines.append([word])
    return joined_text([_in_direction(line) for line in lines])


def _middle(word: Line) -> float:
    return (word.top + word.bottom) / 2


def _in_direction(words: Sequence[Line]) -> str:
    ordered = sorted(words, key=lambda word: word.left)
    rtl = sum(bool(_RTL.search(word.text)) for word in ordered)
    return " ".join(word.text for word in (ordered[::-1] if rtl * 2 > len(ordered) else ordered))
