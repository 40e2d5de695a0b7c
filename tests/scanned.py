"""Scans of our own making: text drawn with Pillow, as images and as pages of a PDF."""

from __future__ import annotations

import io
import re
import textwrap
from collections import Counter
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

DPI = 150
LINE = 34  # characters

TITLE = "Winter at the lighthouse"
TEXT = (
    "The keeper climbs the tower at dusk and winds the clockwork by hand. In December the lamp burns for "
    "sixteen hours, and 40 litres of oil are carried up each week. Ships from Bergen, Aberdeen and Hull "
    "report the light by radio. When fog comes in, the horn is sounded twice in every minute. Letters arrive "
    "with the supply boat, weather permitting, on the first Thursday of the month."
)


def scan(title: str = TITLE, text: str = TEXT, *, turn: int = 0, skew: float = 0) -> Image.Image:
    """A grey page, in points 300 x 420. `turn`: degrees anticlockwise by which it lies wrong."""
    page = Image.new("L", (300 * DPI // 72, 420 * DPI // 72), 250)
    draw = ImageDraw.Draw(page)
    draw.text((60, 60), title, 30, ImageFont.load_default(36))
    font = ImageFont.load_default(22)
    for index, line in enumerate(textwrap.wrap(text, LINE)):
        draw.text((60, 150 + 34 * index), line, 30, font)
    page = page.rotate(skew, Image.Resampling.BICUBIC, fillcolor=250)
    return page.rotate(turn, expand=True)


def pdf(pages: Sequence[Image.Image | str]) -> bytes:
    """An image fills its page; a text becomes a page with a text layer."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    for page in pages:
        if isinstance(page, str):
            canvas.setPageSize((420, 420))
            canvas.drawString(60, 300, page)
        else:
            size = (page.width * 72 / DPI, page.height * 72 / DPI)
            canvas.setPageSize(size)
            canvas.drawImage(ImageReader(page), 0, 0, *size)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def recall(wanted: str, got: str) -> float:
    """Part of the wanted words that are in the text, each as often as it is wanted."""
    words, found = (Counter(re.findall(r"\w+", text.lower())) for text in (wanted, got))
    return (words & found).total() / words.total()
