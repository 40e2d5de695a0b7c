"""Which pages of a PDF are read as pictures, and their lines."""

from __future__ import annotations

from shared.providers.conversion import ocr
from shared.providers.conversion.ocr_models import installed
from shared.providers.conversion.rendering import Pages
from shared.providers.conversion.request import Request


class Scans:
    """OCR by the option `ocr`: `auto` reads pages without text, `always` every page, `never` none."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._pages = Pages(request.path, request.limits.pixels)

    def read(self, number: int, has_text: bool, *, damaged: bool) -> ocr.Page | None:
        """The page as OCR sees it. None: it is not to be read, or cannot be."""
        mode = self._request.options.ocr
        if mode == "never" or (mode == "auto" and (has_text or damaged)):
            return None
        drawn = self._pages.drawn(number) if installed() else None
        return ocr.page(*drawn, self._request.recognition) if drawn else None

    def close(self) -> None:
        self._pages.close()
