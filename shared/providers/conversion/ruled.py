"""Tables in the cells that rules enclose, or that stand between level rules alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise

from shared.providers.conversion.lines import Line, Table
from shared.providers.conversion.markdown import table
from shared.providers.conversion.pieces import columns_of, cut, directed, text_of, words_of
from shared.providers.conversion.rules import Grid, Span

_CELL_GAP = 1.0  # in heights: so far apart, two rows are enough
_NARROW_GAP = 0.45
_LONGEST_CELL = 600
_FILLED = 0.35  # of the cells of a grid


def with_grid(items: list[Line | Table], grid: Grid) -> list[Line | Table]:
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
    pieces = [piece for line in above for piece in cut(line, line.height * _CELL_GAP)]
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
    for word in words_of(lines):
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
    pieces = [piece for line in lines for piece in cut(line, height * _NARROW_GAP)]
    columns = columns_of(pieces)
    inner = [(one[1] + other[0]) / 2 for one, other in pairwise(columns)]
    return [left, *inner, right]


def _open_rows(edges: Sequence[float], levels: Sequence[float], lines: Sequence[Line]) -> list[list[str]]:
    """Rows between the lines; below a header with nothing but a last line, each line of text is a row."""
    cells: dict[tuple[int, int], list[Line]] = {}
    tops = list(levels) if len(levels) > 3 else _row_tops(edges, levels, lines)
    for word in words_of(lines):
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
    return [[text_of(cells.get((row, column), [])) for column in range(columns)] for row in range(rows)]


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
    return table(directed([[row[index] for index in kept] for row in rows]))
