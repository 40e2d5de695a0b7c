"""What is printed on every page and belongs to none: running heads, footers, page numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from shared.providers.conversion.lines import Line, Table

_MARGIN = 0.1  # of the page's height, at the top and at the bottom
_TABLE_MARGIN = 0.15  # a head with a frame around its parts
_DIGITS = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(
    r"\W*(page|seite|p\.)?\s*(\d{1,5}|[ivxlc]{1,7})(\s*(of|von|/)\s*\d{1,5})?\W*", re.IGNORECASE
)
_NUMBER_AT_END = re.compile(
    r"^\d{1,5}\s+|\s+((page|seite)\s+)?\d{1,5}(\s*(of|von|/)\s*\d{1,5})?$", re.IGNORECASE
)
_LONG_ENOUGH = 10  # "Chapter 3" is a heading, "Annual report of the board 3" a running head

Mark = Line | Table
Pages = Mapping[int, tuple[float, Sequence[Mark]]]


def without_furniture(pages: Pages) -> dict[int, Sequence[Mark]]:
    """Lines by page, in the order of pages. A page that holds nothing else keeps what it has."""
    counts = Counter(key for page in pages for key in _keys_of(*pages[page]))
    repeated = {key for key, count in counts.items() if count >= min(3, max(2, len(pages)))}
    return {page: _cleaned(*pages[page], repeated) for page in sorted(pages)}


def _keys_of(height: float, lines: Sequence[Mark]) -> set[str]:
    return {key for line in lines for key in _key(height, line)}


def _cleaned(height: float, lines: Sequence[Mark], repeated: set[str]) -> Sequence[Mark]:
    kept = [line for line in lines if not repeated.intersection(_key(height, line))]
    return kept or lines


def _key(height: float, line: Mark) -> Iterator[str]:
    """What a line in a margin has in common with the lines at its place on other pages."""
    margin = (_TABLE_MARGIN if isinstance(line, Table) else _MARGIN) * height
    low, high = line.top < margin, line.bottom > height - margin
    if not (low or high):
        return
    place = "bottom" if low else "top"
    if _PAGE_NUMBER.fullmatch(line.text):
        yield f"{place} number"
        return
    if isinstance(line, Table):
        yield f"{place} table {_DIGITS.sub('', line.text)}"
        return
    words = _NUMBER_AT_END.sub("", line.text)
    yield f"{place} {round(line.bottom / 4)} {words if low or len(words) > _LONG_ENOUGH else line.text}"
