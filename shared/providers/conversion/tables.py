"""Tables on a page: in the cells of ruled grids, and in lines whose parts stand in common columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from shared.providers.conversion.aligned import aligned
from shared.providers.conversion.lines import Line, Table
from shared.providers.conversion.ruled import with_grid
from shared.providers.conversion.rules import Rule, grids


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
        found = with_grid(found, grid)
    return list(_with_aligned(found))


def _with_aligned(items: Sequence[Line | Table]) -> Iterator[Line | Table]:
    """Tables in the place of lines that make one, whatever else as it is."""
    run: list[Line] = []
    for item in items:
        if isinstance(item, Line):
            run.append(item)
            continue
        yield from aligned(run)
        yield item
        run = []
    yield from aligned(run)
