"""Lines of text in a picture of a page, by RapidOCR: which way up the page is, what it says, and where."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from shared.providers.conversion import ocr_models
from shared.providers.conversion.columns import in_reading_order
from shared.providers.conversion.lines import Line
from shared.providers.conversion.request import Recognition

_SURE = 0.88  # a line the right way up is read with 0.95 and more, upside down with 0.6 to 0.85
_GARBAGE = 0.5
_STANDING = 1.5  # height by width from which a box is turned by 90 degrees; RapidOCR turns it from there on
_SMALLEST = 8  # pixels; no letter is smaller
_LONGEST = 8000  # pixels; only a strip is longer, and nothing would be left of its letters
_PIECE = 1.5  # height by width of a piece, as of a sheet of paper
_SHORTEST = 700  # pixels of a piece
_STRIP = 3  # length by width of a strip
_ONE_SIZE = 1.18  # boxes of one font differ by up to this, with the letters that are in them

Page = tuple[float, list[Line]]
"""Height of the page and its lines, in points, in reading order."""


@dataclass(frozen=True)
class _Text:
    text: str
    score: float


def page(picture: Any, scale: float, recognition: Recognition) -> Page:
    """What `Reader.page` sees, with an engine that is loaded once, for the first picture with anything on it.

    OCR must be installed. Raises ConversionFailed when its models are not there."""
    if picture.min() == picture.max():
        return len(picture) / scale, []
    return _reader(recognition).page(picture, scale)


@lru_cache(maxsize=1)
def _reader(recognition: Recognition) -> Reader:
    return Reader(ocr_models.engine(recognition))


class Reader:
    """Reads pictures: arrays of height x width x 3 bytes, BGR."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def page(self, picture: Any, scale: float) -> Page:
        """`scale`: pixels to a point. The page is seen upright, however it lies in the picture."""
        boxes = self._boxes(picture)
        if not len(boxes):
            picture = _smooth(picture)
            boxes = self._boxes(picture)
        if _lies_on_its_side(boxes):
            picture = _turned(picture, 1)
            boxes = self._boxes(picture)
        texts, upside_down = self._texts(picture, boxes)
        if upside_down:
            boxes = _turned_over(boxes, picture)
        height = len(picture) / scale
        return height, in_reading_order(_lines(boxes / scale, texts, height))

    def _boxes(self, picture: Any) -> Any:
        """Corners of the lines: n x 4 x 2 pixels, from the top left clockwise."""
        import numpy

        pieces = [(numpy.array((0, top)), picture[top:end]) for top, end in _pieces(picture)]
        found = [self._boxes_of_piece(piece) + offset for offset, piece in pieces]
        return numpy.concatenate(found).astype(numpy.float32)

    def _boxes_of_piece(self, piece: Any) -> Any:
        import numpy

        sides = piece.shape[:2]
        if piece.min() != piece.max() and min(sides) >= _SMALLEST and max(sides) <= _LONGEST:
            found = self._engine(_padded(piece), use_det=True, use_cls=False, use_rec=False)
            if found.boxes is not None:
                return found.boxes
        return numpy.empty((0, 4, 2))

    def _texts(self, picture: Any, boxes: Any) -> tuple[list[_Text], bool]:
        """What stands in each box, and whether most of it is upside down.

        A line that reads badly is tried the other way up: it may be a label along a margin, too.
        """
        crops = self._engine.crop_text_regions(picture, boxes)
        texts = self._recognised(crops)
        odd = [index for index, text in enumerate(texts) if text.score < _SURE]
        again = self._recognised([_turned(crops[index], 2) for index in odd])
        both = zip(odd, again, strict=True)
        turned = {index: text for index, text in both if text.score > texts[index].score}
        best = [turned.get(index, text) for index, text in enumerate(texts)]
        characters = sum(len(text.text) for text in turned.values())
        return best, 2 * characters > sum(len(text.text) for text in best)

    def _recognised(self, crops: Sequence[Any]) -> list[_Text]:
        if not crops:
            return []
        found = self._engine.recognize_txt(list(crops))
        texts = zip(found.txts, found.scores, strict=True)
        return [_Text(" ".join(text.split()), float(score)) for text, score in texts]


def _turned(picture: Any, quarters: int) -> Any:
    """By so many quarters, anticlockwise."""
    import numpy

    return numpy.ascontiguousarray(numpy.rot90(picture, quarters))


def _pieces(picture: Any) -> Iterator[tuple[int, int]]:
    """First and last row of each part of a long picture: made small as a whole, it could not be read.

    Cut where a row has the least in it."""
    import numpy

    height, width = picture.shape[:2]
    top, usual = 0, max(_PIECE * width, _SHORTEST)
    while height - top > 2 * usual:
        first = top + int(0.75 * usual)
        rows = picture[first : top + int(1.25 * usual)].reshape(-1, width * 3)
        cut = first + int(numpy.argmin(numpy.ptp(rows, axis=1)))
        yield top, cut
        top = cut
    yield top, height


def _padded(picture: Any) -> Any:
    """A strip with paper beside it: RapidOCR makes the shorter side of a picture 736 pixels at least."""
    import numpy

    height, width = picture.shape[:2]
    below, right = max(0, width // _STRIP - height), max(0, height // _STRIP - width)
    if not below and not right:
        return picture
    return numpy.pad(picture, ((0, below), (0, right), (0, 0)), mode="edge")


def _smooth(picture: Any) -> Any:
    """Grey that is made of dots, as in a fax, hides the text from the detector."""
    import cv2

    return cv2.GaussianBlur(picture, (3, 3), 0)


def _lies_on_its_side(boxes: Any) -> bool:
    """Most of the text by length. What stands on a margin is no reason to turn the page."""
    widths, heights = _sizes(boxes)
    standing = heights >= _STANDING * widths
    return bool(2 * heights[standing].sum() > heights[standing].sum() + widths[~standing].sum())


def _turned_over(boxes: Any, picture: Any) -> Any:
    import numpy

    height, width = picture.shape[:2]
    return numpy.roll((width, height) - boxes, 2, axis=1)


def _sizes(boxes: Any) -> tuple[Any, Any]:
    """Widths and heights, along the lines."""
    import numpy

    edges = numpy.linalg.norm(boxes - numpy.roll(boxes, -1, axis=1), axis=2)
    return (edges[:, 0] + edges[:, 2]) / 2, (edges[:, 1] + edges[:, 3]) / 2


def _lines(boxes: Any, texts: Sequence[_Text], height: float) -> list[Line]:
    """`boxes` and `height` in points. Boxes of nearly one size get one height: their sizes make headings."""
    if not texts:
        return []
    widths, heights = _sizes(boxes)
    usual = _usual(heights, texts)
    lines = []
    for (x, y), text, wide, high in zip(_straight(boxes, widths), texts, widths, heights, strict=True):
        tall = usual if usual / _ONE_SIZE < high < usual * _ONE_SIZE else float(high)
        bottom, left = height - float(y) - tall / 2, float(x) - float(wide) / 2
        if text.text and text.score >= _GARBAGE:
            lines.append(Line(text.text, left, bottom, left + float(wide), bottom + tall))
    return lines


def _usual(heights: Any, texts: Sequence[_Text]) -> float:
    """The height that half of the characters stay below."""
    characters = [high for high, text in zip(heights, texts, strict=True) for _ in text.text]
    return float(statistics.median(characters)) if characters else 1.0


def _straight(boxes: Any, widths: Any) -> Any:
    """The middles of the boxes, once the page is turned so that its lines are level: scans lie askew."""
    import numpy

    slopes = boxes[:, 1] - boxes[:, 0]
    angles = numpy.repeat(numpy.arctan2(slopes[:, 1], slopes[:, 0]), numpy.maximum(1, widths.astype(int)))
    angle = float(numpy.median(angles))
    cos, sin = math.cos(angle), math.sin(angle)
    return boxes.mean(axis=1) @ numpy.array([[cos, -sin], [sin, cos]])
