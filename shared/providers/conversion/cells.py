"""Rows on their way into a table, counted: a few bytes of a file can stand for billions of cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from shared.errors import DocumentTooLarge
from shared.providers.conversion.request import Limits


class CellCount:
    """Over all tables of one document."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._cells = 0
        self._characters = 0

    def counted(self, rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
        """The rows that hold text. Raises DocumentTooLarge, also for what filling up all rows to the width
        of the widest would cost."""
        height = width = 0
        for row in rows:
            if any(row):
                height, width = height + 1, max(width, len(row))
                self._characters += sum(map(len, row))
                self._check(height * width)
                yield row
        self._cells += height * width

    def check(self, height: int, width: int) -> None:
        """Of a table that is not built yet."""
        self._check(height * width)

    def _check(self, cells: int) -> None:
        if self._cells + cells > self._limits.cells:
            raise DocumentTooLarge(f"The tables have more than {self._limits.cells:,} cells. Split the file.")
        if self._characters > self._limits.text_bytes:
            raise DocumentTooLarge("The text in the tables is too long. Split the file.")
