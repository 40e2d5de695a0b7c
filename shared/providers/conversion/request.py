"""What the parent asks of the process that converts: one request, as JSON on one line."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from shared.ports import ConversionOptions
from shared.tasks import Value


class Limits(Value):
    """How much of a document is taken; above any of these it is refused as too large."""

    pages: int = 5000
    """Pages, slides or sheets."""
    expanded_bytes: int = 2 * 1024 * 1024 * 1024
    """Of a zip-based document, unpacked."""
    text_bytes: int = 48 * 1024 * 1024
    """Of text or markup: a text file, the parts of a zip that are parsed; also characters that come out."""
    link_characters: int = 2 * 1024 * 1024
    """Of the addresses of all links. Further links are kept as text alone."""
    paragraphs: int = 250_000
    """Of plain text."""
    content_bytes: int = 8 * 1024 * 1024
    """Of what is drawn on one page of a PDF, unpacked. Lines take a hundred times as much while they are
    read."""
    mail_bytes: int = 160 * 1024 * 1024
    """Of a mail with its attachments, which are read at once."""
    elements: int = 120_000
    """Paragraphs, runs and cells that Docling makes objects of, 5 KB and 0.3 ms each; a tag of HTML counts
    twice."""
    tags: int = 1_500_000
    """Of markup that becomes a tree before anything is read of it."""
    objects: int = 500_000
    """Of a PDF. Each takes a few hundred bytes before the first page is read."""
    tag_depth: int = 200
    """Of HTML."""
    cells: int = 2_000_000
    """Of all tables, the empty ones that fill their rows up included."""
    attachments: int = 200
    """Files in a mail, those in attached mails included."""
    depth: int = 5
    """Mails in mails."""
    pixels: int = 100_000_000
    """Of an image, or of one in a page that is read by OCR."""


class Recognition(Value):
    """How OCR reads. `threads`: of one process."""

    language: str = "en"
    """A name of RapidOCR's. One model reads every language of Latin script, Chinese and Japanese."""
    model: str | None = None
    """One that RapidOCR has for the language; None: the one in its wheel, or the newest for the language."""
    models: Path | None = None
    """Folder of the models that are not in the wheel."""
    threads: int = Field(default=1, ge=1)


class Request(Value):
    path: Path
    format: str
    reader: Literal["native", "standard", "served", "count"] = "native"
    """Who reads the file. `standard`: Docling's full pipeline. `served`: the file is the answer of a
    docling-serve that has. `count`: nobody, its pages are counted."""
    first_page: int = 1
    last_page: int | None = None
    """Both within the range, for `standard`."""
    artifacts: Path | None = None
    """Folder of the models, for `standard`."""
    options: ConversionOptions = ConversionOptions()
    limits: Limits = Limits()
    recognition: Recognition = Recognition()
