"""Footnotes: small text that begins with a mark and stands below everything else in its column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from shared.providers.conversion.lines import Row

_SMALL = 0.93  # of the body's size
_MARK = re.compile(
    r"(?P<number>\d{1,3})[.)\]]?\s*(?=[^\W\d_]|[\"'(\u201c\u300c\u00ab])|[*\u2020\u2021\u00a7\u00b6]+\s*\S"
)
_SAME_LEFT = 12.0  # points; a note's first line may be indented


def with_notes(rows: Sequence[Row], body: float) -> Iterator[Row]:
    """The same rows; those of footnotes say so. `body`: the size of most text."""
    for _, page in groupby(rows, key=lambda row: row.page):
        yield from _marked(list(page), body)


def _marked(rows: Sequence[Row], body: float) -> Iterator[Row]:
    lowest = _lowest_text(rows, body)
    noted = False
    before: Row | None = None
    for row in rows:
        small = not row.table and row.size <= _SMALL * body
        begins = small and bool(_MARK.match(row.text))
        noted = (begins or (small and noted and _follows(before, row))) and _below(row, lowest)
        before = row
        yield replace(row, note=True) if noted else row


def _lowest_text(rows: Iterable[Row], body: float) -> list[Row]:
    return [row for row in rows if row.table or row.size > _SMALL * body]


def _below(row: Row, text: Iterable[Row]) -> bool:
    """Whether nothing of the text's size stands lower in the row's column."""
    return all(other.bottom > row.bottom or other.overlap(row) <= 0 for other in text)


def _follows(before: Row | None, row: Row) -> bool:
    if before is None:
        return False
    gap = before.bottom - row.top
    return -0.5 * row.size < gap < 1.5 * row.size and before.overlap(row) > 0


def starts_note(row: Row, before: Row) -> bool:
    """Whether another note begins here, and not a line that begins with a number by chance."""
    return bool(_MARK.match(row.text)) and (
        before.bottom < row.bottom  # another column
        or abs(before.left - row.left) < _SAME_LEFT
    )
