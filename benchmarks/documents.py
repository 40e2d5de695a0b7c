"""Documents of many formats and sizes, made from a number: another number gives other text.

Equal text would be embedded once only, which is what no benchmark should measure.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.papers import SENTENCES
from local.stack import ROOT

SIZES = (1, 1, 2, 2, 3, 6, 8, 10)
"""Pages of the documents that each format gets."""
SAMPLES = ("operations-handbook.pdf", "passenger-faq.html", "travel-policy.docx")
_PARAGRAPHS, _LENGTH = 4, 5


@dataclass(frozen=True)
class Source:
    """One document. `pages`: of the file; where it has none, pieces as long as a page of the others."""

    filename: str
    content: bytes
    pages: int

    @property
    def format(self) -> str:
        return self.filename.rpartition(".")[2]


@dataclass(frozen=True)
class Section:
    """A page: a heading and its paragraphs."""

    heading: str
    paragraphs: tuple[str, ...]

    @property
    def sentences(self) -> list[str]:
        return [f"{part}." for text in self.paragraphs for part in text.removesuffix(".").split(". ")]


def collection(number: int) -> list[Source]:
    """Every format in every size, and the samples."""
    made = [
        make(ending, pages, f"{number}-{place}") for ending in MAKERS for place, pages in enumerate(SIZES)
    ]
    return made + [_sample(name, number) for name in SAMPLES]


def make(ending: str, pages: int, name: str) -> Source:
    sections = [section(f"{ending}-{name}", page) for page in range(1, pages + 1)]
    return Source(f"{name}.{ending}", MAKERS[ending](sections), pages)


def section(name: str, page: int) -> Section:
    """About 1,700 characters that no other page has."""
    chosen = random.Random(f"{name}-{page}")  # noqa: S311 - text, no secret
    paragraphs = (
        f"Minute {name}-{page}.{part}: {' '.join(chosen.sample(SENTENCES, _LENGTH))}"
        for part in range(1, _PARAGRAPHS + 1)
    )
    return Section(f"Section {page} of file {name}", tuple(paragraphs))


def _sample(name: str, number: int) -> Source:
    """As it is shipped, under another name: the same name and content would be one document."""
    return Source(
        f"{number}-{name}", (ROOT / "samples" / name).read_bytes(), 7 if name.endswith("pdf") else 1
    )


# --- formats


def _pdf(sections: list[Section]) -> bytes:
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.utils import simpleSplit
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4)
    for one in sections:
        y = 780.0
        for font, size, text in [
            ("Helvetica-Bold", 14, one.heading),
            *(("Helvetica", 10, p) for p in one.paragraphs),
        ]:
            canvas.setFont(font, size)
            for line in simpleSplit(text, font, size, 450):
                canvas.drawString(70, y, line)
                y -= size * 1.25
            y -= 10
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def _docx(sections: list[Section]) -> bytes:
    from docx import Document

    document = Document()
    for one in sections:
        document.add_heading(one.heading, 1)
        for text in one.paragraphs:
            document.add_paragraph(text)
    return _saved(document)


def _pptx(sections: list[Section]) -> bytes:
    from pptx import Presentation

    deck = Presentation()
    for one in sections:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = one.heading
        slide.placeholders[1].text = "\n".join(one.paragraphs)
    return _saved(deck)


def _xlsx(sections: list[Section]) -> bytes:
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.active)
    for number, one in enumerate(sections, 1):
        sheet = book.create_sheet(f"Section {number}")
        for row in _rows(one):
            sheet.append(row)
    return _saved(book)


def _csv(sections: list[Section]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(row for one in sections for row in _rows(one))
    return out.getvalue().encode()


def _rows(one: Section) -> Iterator[list[str]]:
    yield ["Section", "Number", "Remark"]
    for number, sentence in enumerate(one.sentences, 1):
        yield [one.heading, str(number), sentence]


def _html(sections: list[Section]) -> bytes:
    parts = (
        f"<h1>{escape(one.heading)}</h1>" + "".join(f"<p>{escape(text)}</p>" for text in one.paragraphs)
        for one in sections
    )
    return f"<!doctype html><html><body>{''.join(parts)}</body></html>".encode()


def _md(sections: list[Section]) -> bytes:
    return "\n\n".join("\n\n".join([f"# {one.heading}", *one.paragraphs]) for one in sections).encode()


def _txt(sections: list[Section]) -> bytes:
    return "\n\n".join("\n\n".join([one.heading, *one.paragraphs]) for one in sections).encode()


def _saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


MAKERS: dict[str, Callable[[list[Section]], bytes]] = {
    "pdf": _pdf,
    "docx": _docx,
    "pptx": _pptx,
    "xlsx": _xlsx,
    "html": _html,
    "md": _md,
    "csv": _csv,
    "txt": _txt,
}


# --- large ones


def book(pages: int) -> bytes:
    """A PDF of that many pages."""
    return make("pdf", pages, "book").content


def sheet(rows: int) -> bytes:
    """A workbook of one sheet with that many rows of five cells."""
    from openpyxl import Workbook

    workbook = Workbook(write_only=True)
    page = workbook.create_sheet("Ledger")
    page.append(["Number", "Ship", "Quay", "Tonnes", "Paid"])
    for number in range(1, rows):
        page.append([number, f"Ship {number % 977}", f"Q{number % 31}", number * 7 % 9001, "yes"])
    return _saved(workbook)


def scanned(path: Path, megabytes: int) -> None:
    """Writes a Word file with little text and one picture of random bytes, which cannot be compressed."""
    import zipfile

    path.write_bytes(make("docx", 2, f"large-{megabytes}").content)
    with zipfile.ZipFile(path, "a") as archive, archive.open("word/media/picture.png", "w") as picture:
        noise = random.Random(megabytes)  # noqa: S311 - no secret
        for _ in range(megabytes):
            picture.write(noise.randbytes(2**20))
