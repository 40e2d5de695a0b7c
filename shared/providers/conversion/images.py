"""Images: each frame is a page, and its text is what OCR reads in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shared.documents import ConvertedDocument
from shared.errors import DocumentCorrupt, DocumentEmpty, DocumentTooLarge
from shared.providers.conversion import ocr
from shared.providers.conversion.layout import blocks_of
from shared.providers.conversion.ocr_models import NOT_INSTALLED, installed
from shared.providers.conversion.pdf import heading
from shared.providers.conversion.rendering import TOO_MANY_PIXELS
from shared.providers.conversion.request import Limits, Request

_PIXELS = 12_000_000  # of what is read: A4 at 360 dpi; larger ones are made smaller
_LONG_SIDE = 842  # points, as of A4: the unit in which sizes of text are compared
_BAND = 1_000_000  # pixels that are converted at a time
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, OverflowError)
_WIDE_GREY = frozenset("IF")  # modes of 16 bits and more for a pixel


def convert(request: Request, progress: Callable[[int, int], None]) -> ConvertedDocument:
    with _opened(request) as image:
        with _decoding():
            total = _frames(image, request)
        _check_wish(request)
        pages = dict(_pages(image, total, request, progress))
    blocks = tuple(blocks_of(pages))
    if not blocks:
        raise DocumentEmpty("No text was found in the image.")
    return ConvertedDocument(format=request.format, title=heading(blocks), pages=total, blocks=blocks)


def _pages(
    image: Any, total: int, request: Request, progress: Callable[[int, int], None]
) -> Iterator[tuple[int, ocr.Page]]:
    progress(0, total)
    for number in range(1, total + 1):
        with _decoding():
            picture = _picture(image, number - 1)
        yield number, ocr.page(*picture, request.recognition)
        progress(number, total)


def _opened(request: Request) -> Any:
    """The image, of which only the header is read."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # `_check` has our limit, and an error for it
    with _decoding():
        return Image.open(request.path, formats=_plugins(request.format))


@contextmanager
def _decoding() -> Iterator[None]:
    """What Pillow raises on a broken file becomes ours."""
    try:
        yield
    except _BROKEN as error:
        raise DocumentCorrupt from error


def _plugins(fmt: str) -> list[str]:
    """No other decoder than the one for the content that was detected."""
    return ["JPEG", "MPO"] if fmt == "jpg" else [fmt.upper()]


def _frames(image: Any, request: Request) -> int:
    """Pages of a TIFF; of an animation, the first picture alone. Counted one by one: a file may claim any."""
    _check(image, request.limits)
    if request.format != "tiff":
        return 1
    for frame in range(1, request.limits.pages + 1):
        try:
            image.seek(frame)
        except EOFError:
            return frame
        _check(image, request.limits)
    raise DocumentTooLarge(f"The file has more than {request.limits.pages:,} pages. Split it.")


def _check(image: Any, limits: Limits) -> None:
    """A WebP is unpacked into several copies, 18 bytes a pixel in all; everything else into 4 to 6."""
    allowed = limits.pixels // 3 if image.format == "WEBP" else limits.pixels
    if image.width * image.height > allowed:
        raise DocumentTooLarge(TOO_MANY_PIXELS.format(*image.size, allowed))


def _check_wish(request: Request) -> None:
    if request.options.ocr == "never":
        raise DocumentEmpty("The text of an image is read by OCR. Submit it again with the option ocr: auto.")
    if not installed():
        raise DocumentEmpty(f"The text of an image is read by OCR. {NOT_INSTALLED}")


def _picture(image: Any, frame: int) -> tuple[Any, float]:
    """One frame upright: height x width x 3 bytes, BGR; and its pixels to a point."""
    import numpy
    from PIL import ExifTags, ImageOps

    image.seek(frame)
    image.load()
    smaller = _smaller(image)
    smaller.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
    upright = ImageOps.exif_transpose(smaller)
    pixels = numpy.ascontiguousarray(numpy.asarray(upright)[:, :, ::-1])
    return pixels, max(upright.size) / _LONG_SIDE


def _smaller(image: Any) -> Any:
    """RGB, and no larger than what is well read.

    Made band by band: unpacked, an image takes up to 4 bytes a pixel, and must not do so twice.
    """
    from PIL import Image

    factor = math.ceil(math.sqrt(image.width * image.height / _PIXELS))
    rows = max(1, _BAND // (image.width * factor)) * factor
    smaller = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    grey = _range(image)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        smaller.paste(_flat(band, grey).reduce(factor), (0, top // factor))
    return smaller


def _range(image: Any) -> tuple[float, float]:
    """The darkest and the lightest value, where white is not 255."""
    low, high = image.getextrema() if image.mode[0] in _WIDE_GREY else (0, 255)
    return float(low), float(max(high, low + 1))


def _flat(band: Any, grey: tuple[float, float]) -> Any:
    """RGB, with white where it is transparent: dark text on nothing would be dark on black."""
    from PIL import Image

    if band.mode[0] in _WIDE_GREY:
        low, high = grey
        slope = 255 / (high - low)
        return band.convert("F").point(lambda value: value * slope - low * slope).convert("RGB")
    if band.has_transparency_data:
        paper = Image.new("RGBA", band.size, "white")
        paper.alpha_composite(band.convert("RGBA"))
        band = paper
    return band.convert("RGB")
