"""How much of a PDF's structure is found, against papers whose text is known.

recall, precision: of words. order: the longest sequence of words that the truth and the result share, as a
part of the words that both have. blocks: paragraphs, items and notes that come out whole and alone. headings:
by text and level. cells: of tables, by text, row and column. labels: of pages.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.papers import Paper, papers
from benchmarks.report import Report, Table
from shared.documents import Block, ConvertedDocument

COLUMNS = (
    "words",
    "recall",
    "precision",
    "order",
    "blocks",
    "headings recall",
    "headings precision",
    "cells",
    "tables precision",
    "labels",
)


_PARTS = {"heading", "table", "code", "entry"}  # counted elsewhere, or free to share a block


@dataclass(frozen=True)
class Share:
    """`hits` of `total`. Shares add up, so a total is over things and not over papers."""

    hits: int
    total: int

    def __add__(self, other: Share) -> Share:
        return Share(self.hits + other.hits, self.total + other.total)

    @property
    def value(self) -> float | None:
        return self.hits / self.total if self.total else None


@dataclass(frozen=True)
class Score:
    recall: Share
    precision: Share
    order: Share
    blocks: Share
    headings_recall: Share
    headings_precision: Share
    cells: Share
    tables_precision: Share
    labels: Share

    def __add__(self, other: Score) -> Score:
        return Score(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def row(self) -> list[float | int | None]:
        shares = [getattr(self, name).value for name in self.__dataclass_fields__]
        return [self.recall.total, *shares]


def run() -> Report:
    scores = {paper.name: score(paper, converted(paper)) for paper in papers()}
    first, *others = scores.values()
    rows = {name: found.row() for name, found in scores.items()}
    table = Table("papers", COLUMNS, rows | {"all": sum(others, start=first).row()})
    return Report("PDF structure", tables=[table])


def converted(paper: Paper) -> ConvertedDocument:
    from shared.providers.conversion import pdf
    from shared.providers.conversion.request import Request

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "paper.pdf")
        path.write_bytes(paper.content)
        return pdf.convert(Request(path=path, format="pdf"), lambda *_: None)


def score(paper: Paper, document: ConvertedDocument) -> Score:
    truth = [word for piece in paper.pieces for word in piece.words]
    found = [word for block in document.blocks for word in _words(block)]
    common = (Counter(truth) & Counter(found)).total()
    return Score(
        recall=Share(common, len(truth)),
        precision=Share(common, len(found)),
        order=Share(common_length(truth, found), common),
        blocks=_blocks(paper, document.blocks),
        **_headings(paper, document.blocks),
        **_tables(paper, document.blocks),
        labels=_labels(paper, document),
    )


def _words(block: Block) -> list[str]:
    if block.kind != "table":
        return block.text.split()
    return [word for row in table_rows(block.text) for cell in row for word in cell.split()]


def table_rows(markdown: str) -> list[list[str]]:
    """Cells of a Markdown table, without the rule under its header."""
    lines = [line for index, line in enumerate(markdown.splitlines()) if index != 1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, by Hyyrö's bit-parallel algorithm (2004)."""
    places: dict[str, int] = {}
    for index, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << index
    full = (1 << len(one)) - 1
    rest = full
    for word in other:
        hits = rest & places.get(word, 0)
        rest = ((rest + hits) | (rest - hits)) & full
    return len(one) - rest.bit_count()


def _blocks(paper: Paper, blocks: Iterable[Block]) -> Share:
    wanted = Counter(piece.plain for piece in paper.pieces if piece.kind not in _PARTS)
    found = Counter(" ".join(block.text.split()) for block in blocks if block.kind in {"text", "list_item"})
    return Share((wanted & found).total(), wanted.total())


def _headings(paper: Paper, blocks: Iterable[Block]) -> dict[str, Share]:
    """Levels count from the highest one that the paper has."""
    pieces = [piece for piece in paper.pieces if piece.kind == "heading"]
    highest = min((piece.level or 1 for piece in pieces), default=1) - 1
    wanted = Counter((piece.plain, (piece.level or 1) - highest) for piece in pieces)
    found = Counter((block.text, block.level or 1) for block in blocks if block.kind == "heading")
    hits = (wanted & found).total()
    return {
        "headings_recall": Share(hits, wanted.total()),
        "headings_precision": Share(hits, found.total()),
    }


def _tables(paper: Paper, blocks: Iterable[Block]) -> dict[str, Share]:
    """Each table is compared with the one that fits it best. One that fits none is no table."""
    wanted = [piece.rows for piece in paper.pieces if piece.kind == "table"]
    found = [table_rows(block.text) for block in blocks if block.kind == "table"]
    hits = sum(max((_same_cells(rows, other) for other in found), default=0) for rows in wanted)
    real = sum(any(_same_cells(rows, other) for rows in wanted) for other in found)
    return {
        "cells": Share(hits, sum(len(row) for rows in wanted for row in rows)),
        "tables_precision": Share(real, len(found)),
    }


def _labels(paper: Paper, document: ConvertedDocument) -> Share:
    hits = sum(map(str.__eq__, paper.labels, document.page_labels))
    return Share(hits, len(paper.labels))


def _same_cells(wanted: Iterable[Sequence[str]], found: Iterable[Sequence[str]]) -> int:
    pairs = (zip(row, other, strict=False) for row, other in zip(wanted, found, strict=False))
    return sum(one == two for pair in pairs for one, two in pair)
