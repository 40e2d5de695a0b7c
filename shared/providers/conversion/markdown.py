"""Markdown tables, without padding: every space would be paid for as a token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(rows: Iterable[Sequence[str]]) -> str:
    """The first row is the header. Empty without any text."""
    kept = [list(map(_cell, row)) for row in rows]
    kept = [row for row in kept if any(row)]
    if not kept:
        return ""
    width = max(map(len, kept))
    lines = [_line(row + [""] * (width - len(row))) for row in kept]
    return "\n".join((lines[0], _line(["---"] * width), *lines[1:]))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
