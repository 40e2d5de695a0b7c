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
