"""Papers that reportlab's own layout engine sets: another writer than ours, with other habits."""

from __future__ import annotations

import io
from typing import Any

from benchmarks.typesetting import Piece, fonts

_SIZES = {1: 17, 2: 13, 3: 9}


class Story:
    """A PDF under way, with the members of a press that a paper is made of."""

    def __init__(self, columns: int = 1) -> None:
        fonts()
        self.read: list[Piece] = []
        self._columns = columns
        self._flow: list[Any] = []

    def put(self, *pieces: Piece) -> None:
        from reportlab.platypus import ListFlowable, Paragraph

        for piece in pieces:
            self.read.append(piece)
            if piece.kind == "heading":
                size = _SIZES[piece.level or 1]
                self._flow.append(Paragraph(piece.text, _style("VeraBd", size, before=8, after=4)))
            elif piece.kind == "list_item":
                item = Paragraph(piece.text, _style("Vera", 9))
                self._flow.append(ListFlowable([item], bulletType="bullet", start="\u2022", leftIndent=14))
            else:
                self._flow.append(Paragraph(piece.text, _style("Vera", 9, after=6, justify=True)))

    def table(self, piece: Piece, widths: list[float] | None, *commands: tuple[Any, ...]) -> None:
        """`commands`: of reportlab's TableStyle."""
        from reportlab.platypus import KeepTogether, Paragraph, Spacer, Table

        self.read.append(piece)
        rows: list[list[Any]] = [list(row) for row in piece.rows]
        if widths:  # cells that may break
            rows = [[Paragraph(cell, _style("Vera", 9)) for cell in row] for row in rows]
        look = [("FONT", (0, 0), (-1, -1), "Vera", 9), ("VALIGN", (0, 0), (-1, -1), "TOP"), *commands]
        self._flow += [KeepTogether(Table(rows, widths, style=look)), Spacer(1, 10)]

    def bytes(self) -> bytes:
        from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

        out = io.BytesIO()
        width = 480 / self._columns - 10
        frames = [Frame(55 + (width + 15) * column, 60, width, 720) for column in range(self._columns)]
        template = PageTemplate(frames=frames, onPage=_head)
        BaseDocTemplate(out, pagesize=(595, 842), pageTemplates=[template]).build(self._flow)
        return out.getvalue()


def _head(canvas: Any, document: Any) -> None:
    canvas.setFont("Vera", 7)
    canvas.drawString(55, 805, "Canal studies")
    canvas.drawRightString(540, 805, "Volume 3")
    canvas.drawCentredString(297, 30, str(document.page))


def _style(font: str, size: float, *, before: float = 0, after: float = 0, justify: bool = False) -> Any:
    from reportlab.lib.styles import ParagraphStyle

    return ParagraphStyle(
        f"{font}-{size}-{before}-{after}-{justify}",
        fontName=font,
        fontSize=size,
        leading=size * 1.2,
        spaceBefore=before,
        spaceAfter=after,
        alignment=4 if justify else 0,
    )
