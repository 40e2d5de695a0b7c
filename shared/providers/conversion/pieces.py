"""Lines in pieces: cut where words stand far apart, and put together again as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from shared.providers.conversion.lines import Line, joined_text

_RTL = re.compile(r"[\u0590-\u07ff\ufb1d-\ufdff\ufe70-\ufeff]")


def cut(line: Line, gap: float) -> list[Line]:
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
    return Line(text_of(words), left, line.bottom, right, line.top, line.font, tuple(words))


def columns_of(pieces: Iterable[Line]) -> list[tuple[float, float]]:
    """Intervals that the pieces cover from left to right, those that overlap as one."""
    columns: list[tuple[float, float]] = []
    for piece in sorted(pieces, key=lambda piece: piece.left):
        if columns and piece.left < columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], piece.right))
        else:
            columns.append((piece.left, piece.right))
    return columns


def words_of(lines: Iterable[Line]) -> Iterator[Line]:
    for line in lines:
        yield from line.words or (line,)


def text_of(words: Sequence[Line]) -> str:
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


def directed(rows: list[list[str]]) -> list[list[str]]:
    """The first column is the one that is read first."""
    texts = [text for row in rows for text in row if text]
    rtl = sum(bool(_RTL.search(text)) for text in texts)
    return [row[::-1] for row in rows] if rtl * 2 > len(texts) else rows
