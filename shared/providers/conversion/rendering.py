"""Pages of a PDF as pictures, by pdfium."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from shared.errors import DocumentTooLarge

_SCALE = 2.0  # 144 dpi: small print is read without an error, and more makes it slower only
_PIXELS = 6_000_000  # of a picture: A3 at this scale; larger sheets are drawn smaller

TOO_MANY_PIXELS = "An image of {0:,} x {1:,} pixels is too large; {2:,} pixels are allowed. Save it smaller."


class Pages:
    """Draws one page after the other. `pixels`: allowed in each image that the file holds."""

    def __init__(self, path: Path, pixels: int) -> None:
        self._path = path
        self._pixels = pixels
        self._document: Any = None

    def drawn(self, number: int) -> tuple[Any, float] | None:
        """An array of height x width x 3 bytes, BGR, and its pixels to a point; None when pdfium cannot."""
        from pypdfium2 import PdfDocument, PdfiumError

        try:
            if self._document is None:
                self._document = PdfDocument(self._path)
            page = self._document[number - 1]
            try:
                return self._draw(page)
            finally:
                page.close()
        except PdfiumError:
            return None

    def close(self) -> None:
        if self._document is not None:
            self._document.close()

    def _draw(self, page: Any) -> tuple[Any, float]:
        self._check_images(page)
        width, height = page.get_size()
        scale = min(_SCALE, math.sqrt(_PIXELS / max(width * height, 1)))
        bitmap = page.render(scale=scale)
        try:
            return bitmap.to_numpy().copy(), scale
        finally:
            bitmap.close()

    def _check_images(self, page: Any) -> None:
        """Drawing unpacks an image whole, whatever its size on the page is."""
        from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

        for image in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE]):
            width, height = image.get_px_size()
            if width * height > self._pixels:
                raise DocumentTooLarge(TOO_MANY_PIXELS.format(width, height, self._pixels))
