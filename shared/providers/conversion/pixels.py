"""How large a picture is, by its header: nothing is decoded before that is known."""

from __future__ import annotations

import warnings
from pathlib import Path

from shared.errors import DocumentCorrupt, DocumentTooLarge
from shared.providers.conversion.request import Limits


def check_pixels(path: Path, limits: Limits) -> int:
    """The number of frames (pages of a TIFF). Raises DocumentTooLarge and DocumentCorrupt."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _checked(image, limits)
    except Image.DecompressionBombError as error:
        raise _too_many(limits) from error
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, TypeError, OverflowError) as error:
        raise DocumentCorrupt from error


def _checked(image: object, limits: Limits) -> int:
    """Frames are looked at one after the other: their number alone may be a lie, or a chain without end."""
    width, height = image.size  # type: ignore[attr-defined]
    if width * height > limits.pixels:
        raise _too_many(limits)
    frames = int(getattr(image, "n_frames", 1)) if image.format == "TIFF" else 1  # type: ignore[attr-defined]
    if frames > limits.pages:
        raise DocumentTooLarge(f"The picture has {frames:,} pages; {limits.pages:,} are allowed. Split it.")
    for frame in range(1, frames):
        image.seek(frame)  # type: ignore[attr-defined]
        width, height = image.size  # type: ignore[attr-defined]
        if width * height > limits.pixels:
            raise _too_many(limits)
    return frames


def _too_many(limits: Limits) -> DocumentTooLarge:
    return DocumentTooLarge(f"The picture has more than {limits.pixels:,} pixels. Make it smaller.")
