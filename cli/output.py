"""How the command line writes: results to stdout, everything else to stderr, nothing that a file name or a
document could turn into a terminal command."""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def stdout() -> Console:
    return _console(sys.stdout)


def stderr() -> Console:
    return _console(sys.stderr)


def _console(file: Any) -> Console:
    """A pipe gets whole lines: only a terminal has an edge to wrap or cut at.

    What the encoding of `file` does not have is replaced: no text from outside may end a command.
    """
    if isinstance(file, io.TextIOWrapper) and file.errors == "strict":
        file.reconfigure(errors="replace")
    width = None if file.isatty() else 10_000
    return Console(file=file, markup=False, highlight=False, emoji=False, width=width)


def clean(value: object) -> str:
    """Text without control characters and lone surrogates; line ends and tabs stay."""
    text = "" if value is None else str(value)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Cs"})


def line(value: object) -> str:
    """The same on one line."""
    return " ".join(clean(value).split())


def say(text: str = "") -> None:
    stdout().print(Text(clean(text)), soft_wrap=True)


def note(text: str) -> None:
    stderr().print(Text(line(text)), soft_wrap=True)


def print_json(value: object, indent: int | None = 2) -> None:
    """ASCII, so that it comes through whatever encoding the pipe has."""
    sys.stdout.write(json.dumps(value, indent=indent) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(line(cell) or "-") for cell in row))
    stdout().print(table)
