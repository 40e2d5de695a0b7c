"""What OCR needs besides its models: the geometry of a page, the order of its lines, settings that fit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy
import pytest

from shared.providers.conversion.columns import in_reading_order
from shared.providers.conversion.lines import Line
from shared.providers.conversion.ocr import Reader
from shared.providers.conversion.ocr_models import missing
from shared.providers.conversion.processors import processors
from shared.providers.conversion.request import Recognition
from shared.settings import OCR_LANGUAGES, OCR_MODELS, SettingsError, read_settings

# --- order -----------------------------------------------------------------------------------------------


def line(text: str, left: float, top: float, width: float = 200) -> Line:
    return Line(text, left, top - 10, left + width, top)


def columns(*lefts: float) -> list[Line]:
    """Six lines in each column, as a detector gives them: level by level."""
    return [line(f"{left:.0f}.{row}", left, 700 - 14 * row) for row in range(6) for left in lefts]


def order(lines: list[Line]) -> list[str]:
    return [line.text for line in in_reading_order(lines)]


def test_one_column_is_read_downwards() -> None:
    assert order(columns(50)[::-1]) == [f"50.{row}" for row in range(6)]


@pytest.mark.parametrize("lefts", [(50, 300), (50, 300, 550)])
def test_columns_are_read_one_after_the_other(lefts: tuple[float, ...]) -> None:
    assert order(columns(*lefts)) == [f"{left}.{row}" for left in lefts for row in range(6)]


def test_a_line_across_parts_what_is_above_from_what_is_below() -> None:
    above = columns(50, 300)
    below = [line(f"low {each.text}", each.left, each.top - 200) for each in above]
    title, middle = line("Title", 50, 760, 450), line("Middle", 50, 560, 450)
    read = order([title, *above, middle, *below])
    assert read[0] == "Title"
    assert read[1:13] == order(above)
    assert read[13] == "Middle"
    assert read[14:] == [f"low {text}" for text in order(above)]


def test_the_cells_of_a_table_stay_in_their_rows() -> None:
    lefts = {"a": 50, "b": 200}
    cells = [line(f"{row}{name}", lefts[name], 700 - 14 * row, 40) for row in range(6) for name in lefts]
    assert order(cells[::-1]) == [f"{row}{name}" for row in range(6) for name in "ab"]


def test_a_row_that_slopes_is_still_one_row() -> None:
    cells = [line("a", 50, 700, 40), line("b", 200, 702, 40), line("c", 350, 704, 40), line("d", 50, 688, 40)]
    assert order(cells) == ["a", "b", "c", "d"]


# --- geometry --------------------------------------------------------------------------------------------


class Found:
    """Answers as RapidOCR does: the boxes of a picture, and a text for each piece that is cut out."""

    def __init__(self, boxes: object) -> None:
        self.boxes = boxes
        self.txts: tuple[str, ...] = ()
        self.scores: tuple[float, ...] = ()


class Engine:
    """Sees the same boxes in every picture. `readings`: a list of texts and scores for each question."""

    def __init__(self, boxes: list[list[tuple[float, float]]], *readings: list[tuple[str, float]]) -> None:
        self.boxes = numpy.array(boxes, numpy.float32)
        self.readings = list(readings)

    def __call__(self, picture: object, **_: bool) -> Found:
        return Found(self.boxes.copy())

    def crop_text_regions(self, picture: object, boxes: list[object]) -> list[object]:
        return [numpy.zeros((10, 100, 3), numpy.uint8) for _ in boxes]

    def recognize_txt(self, pieces: list[object]) -> Found:
        found = Found(None)
        found.txts, found.scores = zip(*self.readings.pop(0), strict=True)
        return found


def box(left: float, top: float, width: float, height: float, angle: float = 0) -> list[tuple[float, float]]:
    """Corners from the top left clockwise, turned by `angle` degrees about the origin of the picture."""
    corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in corners]


def picture() -> object:
    return numpy.arange(800 * 600 * 3, dtype=numpy.uint32).astype(numpy.uint8).reshape(800, 600, 3)


def test_pixels_become_points_from_the_bottom_left() -> None:
    engine = Engine([box(100, 200, 300, 20)], [("Text", 0.99)])
    height, (only,) = Reader(engine).page(picture(), 2)
    assert height == 400
    assert (only.left, only.bottom, only.right, only.top) == pytest.approx((50, 290, 200, 300))


def test_lines_that_lie_askew_are_laid_level() -> None:
    engine = Engine([box(50, 100, 400, 20, 3), box(50, 130, 400, 20, 3)], [("One", 0.99), ("Two", 0.99)])
    _, (first, second) = Reader(engine).page(picture(), 1)
    assert first.height == pytest.approx(20, abs=0.1)
    assert first.bottom - second.top == pytest.approx(10, abs=0.2)
    assert first.left == pytest.approx(second.left, abs=0.2)


def test_what_reads_better_upside_down_turns_the_page() -> None:
    boxes = [box(50, 100, 400, 20), box(50, 700, 200, 20)]
    wrong, right = [("x", 0.6), ("y", 0.7)], [("The end of it", 0.99), ("The beginning", 0.99)]
    _, lines = Reader(Engine(boxes, wrong, right)).page(picture(), 1)
    assert [line.text for line in lines] == ["The beginning", "The end of it"]
    assert lines[0].left == pytest.approx(600 - 250)


def test_one_line_upside_down_does_not_turn_the_page() -> None:
    boxes = [box(50, 100, 400, 20), box(50, 700, 200, 20)]
    first, again = [("A whole line of text", 0.99), ("x", 0.6)], [("Label", 0.98)]
    _, lines = Reader(Engine(boxes, first, again)).page(picture(), 1)
    assert [line.text for line in lines] == ["A whole line of text", "Label"]


def test_boxes_of_nearly_one_size_get_one_height() -> None:
    boxes = [box(50, 100 + 40 * row, 400, high) for row, high in enumerate((20, 22, 18.5, 30))]
    engine = Engine(boxes, [("Some words of a line", 0.99)] * 4)
    _, lines = Reader(engine).page(picture(), 1)
    assert len({round(line.height, 2) for line in lines[:3]}) == 1
    assert lines[3].height == pytest.approx(30, abs=0.1)


def test_what_is_hardly_read_is_left_out() -> None:
    engine = Engine([box(50, 100, 400, 20)], [("#,;", 0.3)], [(";,#", 0.2)])
    assert Reader(engine).page(picture(), 1)[1] == []


# --- settings --------------------------------------------------------------------------------------------


def test_languages_and_models_are_those_of_rapidocr() -> None:
    from rapidocr import RapidOCR
    from rapidocr.utils.typings import ModelType, OCRVersion

    known = {
        f"{version.value}_{size.value}": set(languages)
        for version in OCRVersion
        for size in ModelType
        if (languages := RapidOCR.list_supported_langs("rec", version, size))
    }
    assert set(OCR_MODELS) == set(known)
    assert set().union(*known.values()) == OCR_LANGUAGES


def test_the_wheel_has_what_the_defaults_need() -> None:
    assert missing(Recognition()) is None


@pytest.mark.parametrize("language", ["de", "fr", "ch", "japan"])
def test_one_model_reads_many_languages(language: str) -> None:
    assert missing(Recognition(language=language)) is None


def test_a_model_that_is_missing_is_named() -> None:
    advice = missing(Recognition(language="cyrillic"))
    assert advice and "cyrillic_PP-OCRv5_rec_mobile.onnx" in advice and "OCR_MODEL_DIR" in advice


@pytest.mark.parametrize(
    ("name", "value"),
    [("OCR_LANGUAGE", "klingon"), ("OCR_MODEL", "best"), ("OCR_MODEL_DIR", "/nowhere")],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({name: value})


@pytest.mark.parametrize(
    ("quota", "share"), [("max 100000\n", None), ("100000 100000\n", 1), ("50000 100000\n", 1), ("", None)]
)
def test_a_container_may_use_its_quota_of_processors(tmp_path: Path, quota: str, share: int | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert processors(file) == (share or processors(tmp_path / "none"))
