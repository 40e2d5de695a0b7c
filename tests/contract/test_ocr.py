"""OCR in the converter's real child: scans of our own making, whose words are known."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from shared.documents import ConvertedDocument
from shared.errors import ConversionFailed, DocumentCorrupt, DocumentEmpty, DocumentTooLarge
from shared.ports import ConversionOptions
from shared.providers.conversion.formats import FORMATS, IMAGES, Format
from shared.providers.conversion.request import Limits, Recognition
from shared.providers.docling import DoclingConverter
from tests.scanned import TEXT, TITLE, pdf, recall, scan

ROOT = Path(__file__).parents[2]
NOTE = "Harbour dues are paid at the quay."
SMALL = 2_000_000


@pytest.fixture(scope="module")
def converter() -> Iterator[DoclingConverter]:
    made = DoclingConverter(processes=1, memory_mb=2048, limits=Limits(pages=30, pixels=SMALL))
    yield made
    made.close()


Convert = Callable[..., ConvertedDocument]


@pytest.fixture
def convert(converter: DoclingConverter, tmp_path: Path) -> Convert:
    def _convert(content: bytes, ocr: str = "auto") -> ConvertedDocument:
        return converted(converter, content, tmp_path / "file", ocr)

    return _convert


def converted(
    converter: DoclingConverter, content: bytes, path: Path, ocr: str = "auto"
) -> ConvertedDocument:
    path.write_bytes(content)
    options = ConversionOptions.model_validate({"ocr": ocr})
    return converter.convert(path, converter.detect(path, "x"), options, timeout=150, progress=quiet)


def quiet(done: int, total: int) -> None:
    """Progress that nobody follows."""


def text_of(document: ConvertedDocument, page: int = 1) -> str:
    return " ".join(block.text for block in document.blocks if block.page == page)


def image(picture: Image.Image, fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, fmt, **options)
    return buffer.getvalue()


# --- PDF -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def turned(converter: DoclingConverter, tmp_path_factory: pytest.TempPathFactory) -> ConvertedDocument:
    """Page 1 lies right, 2 to 4 on a side or the head, 5 is askew."""
    pages = [*(scan(turn=turn) for turn in (0, 90, 180, 270)), scan(skew=2)]
    return converted(converter, pdf(pages), tmp_path_factory.mktemp("turned") / "file")


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5], ids=["upright", "90", "180", "270", "askew"])
def test_a_page_is_read_however_it_lies(turned: ConvertedDocument, page: int) -> None:
    assert recall(f"{TITLE} {TEXT}", text_of(turned, page)) >= 0.9
    first, *others = (block for block in turned.blocks if block.page == page)
    assert (first.kind, first.text) == ("heading", TITLE)
    assert [block.kind for block in others] == ["text"], "one paragraph"


def test_what_was_read_is_not_called_unread(turned: ConvertedDocument) -> None:
    assert (turned.pages, turned.unread, turned.warnings) == (5, (), ())


def test_pages_with_and_without_text_stay_in_order(convert: Convert) -> None:
    document = convert(pdf([NOTE, scan("Second page", "A scan."), NOTE]))
    assert [block.page for block in document.blocks] == sorted(block.page or 0 for block in document.blocks)
    assert "Second page" in text_of(document, 2)
    assert text_of(document, 1) == text_of(document, 3) == NOTE


def test_never_reads_no_picture_and_says_which(convert: Convert) -> None:
    document = convert(pdf([NOTE, scan(), NOTE]), "never")
    assert (text_of(document, 2), document.unread, document.warnings) == ("", (2,), ())
    with pytest.raises(DocumentEmpty, match="ocr: auto"):
        convert(pdf([scan()]), "never")


def layered() -> bytes:
    """A scan with a text layer that says something else, as a bad scanner makes it."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(300, 420))
    canvas.drawImage(ImageReader(scan("Seen by the eye", "")), 0, 0, 300, 420)
    layer = canvas.beginText(60, 300)
    layer.setTextRenderMode(3)
    layer.textLine("H1dden 1ayer")
    canvas.drawText(layer)
    canvas.showPage()
    canvas.drawString(60, 300, NOTE)
    canvas.save()
    return buffer.getvalue()


def test_always_takes_what_is_seen_instead_of_the_text_layer(convert: Convert) -> None:
    assert text_of(convert(layered())) == "H1dden 1ayer"
    document = convert(layered(), "always")
    assert text_of(document) == "Seen by the eye"
    assert recall(NOTE, text_of(document, 2)) == 1


def test_text_drawn_as_lines_is_read(convert: Convert) -> None:
    """A page without any image or text: letters may be outlines. A page with nothing on it stays empty."""
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(300, 300))
    canvas.setLineWidth(9)
    for left in (60, 130, 200):  # H
        canvas.lines([(left, 100, left, 180), (left, 140, left + 40, 140), (left + 40, 100, left + 40, 180)])
    canvas.showPage()
    canvas.showPage()
    canvas.save()
    document = convert(buffer.getvalue())
    assert text_of(document).replace(" ", "") == "HHH"
    assert (document.pages, document.unread) == (2, ())


def test_a_picture_without_text_is_empty(convert: Convert) -> None:
    with pytest.raises(DocumentEmpty, match="no text"):
        convert(pdf([Image.effect_noise((400, 400), 5)]))


def test_two_columns_are_read_one_after_the_other(convert: Convert) -> None:
    sheet = Image.new("L", (1250, 875), 250)
    sheet.paste(scan(), (0, 0))
    other = (
        "Nobody swims in the bay before June. The water stays cold until the herring comes, and seals rest."
    )
    sheet.paste(scan("Summer", other), (625, 0))
    text = text_of(convert(pdf([sheet])))
    assert recall(f"{TITLE} {TEXT} Summer {other}", text) >= 0.9
    assert text.index("supply boat") < text.index("swims")


# --- images ----------------------------------------------------------------------------------------------

SHORT = scan("Berth 14 is closed", "")


@pytest.mark.parametrize("row", [row for row in FORMATS if row.key in IMAGES], ids=lambda row: row.key)
def test_an_image_of_each_row_of_the_table_is_one_page(convert: Convert, row: Format) -> None:
    document = convert(image(SHORT, {"jpg": "jpeg"}.get(row.key, row.key)))
    assert text_of(document) == "Berth 14 is closed"
    assert (document.format, document.pages, row.kept) == (row.key, 1, ("headings", "pages"))


def test_the_headings_of_an_image_are_kept(convert: Convert) -> None:
    document = convert(image(scan(), "png"))
    assert document.blocks[0].kind == "heading" and document.title == TITLE


def test_every_frame_of_a_tiff_is_a_page(convert: Convert) -> None:
    second = scan("Berth 15 is open", "").convert("1")  # grey in dots, like a fax
    document = convert(image(SHORT, "tiff", save_all=True, append_images=[second], compression="tiff_lzw"))
    assert [text_of(document, page) for page in (1, 2)] == ["Berth 14 is closed", "Berth 15 is open"]
    assert document.pages == 2


def test_an_image_is_turned_as_the_camera_says(convert: Convert) -> None:
    """Orientation 5 mirrors: no way of turning the page would make it right again."""
    exif = Image.Exif()
    exif[0x0112] = 5
    mirrored = SHORT.transpose(Image.Transpose.TRANSPOSE)
    assert text_of(convert(image(mirrored, "jpeg", exif=exif))) == "Berth 14 is closed"


def test_a_long_picture_is_read_in_pieces(convert: Convert) -> None:
    """As of a screen that was scrolled, or a till receipt."""
    strip = Image.new("L", (SHORT.width, 3000), 250)
    for index in range(3):
        strip.paste(scan(f"Berth {index} is closed", ""), (0, 1000 * index))
    assert text_of(convert(image(strip, "png"))).split(" Berth") == [
        "Berth 0 is closed",
        " 1 is closed",
        " 2 is closed",
    ]


def test_a_thin_strip_is_read(convert: Convert) -> None:
    strip = Image.new("L", (30_000, 60), 250)
    strip.paste(SHORT.crop((50, 60, 600, 110)), (1000, 0))
    document = convert(image(strip.crop((0, 0, 3000, 60)), "png"))
    assert text_of(document) == "Berth 14 is closed"
    with pytest.raises(DocumentEmpty):
        convert(image(strip.resize((30_000, 20)), "png"))


def test_dark_text_on_nothing_is_read(convert: Convert) -> None:
    clear = Image.new("RGBA", SHORT.size, (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), mask=SHORT.point(lambda value: 255 - value))
    assert text_of(convert(image(clear, "png"))) == "Berth 14 is closed"


def test_an_image_with_sixteen_bits_is_read(convert: Convert) -> None:
    wide = SHORT.convert("I").point(lambda value: value * 200).convert("I;16")
    assert text_of(convert(image(wide, "png"))) == "Berth 14 is closed"


def test_an_image_of_too_many_pixels_is_not_unpacked(convert: Convert) -> None:
    with pytest.raises(DocumentTooLarge, match="pixels"):
        convert(image(Image.new("1", (2000, 1001)), "png"))
    with pytest.raises(DocumentTooLarge, match="pixels"):
        convert(image(SHORT, "tiff", save_all=True, append_images=[Image.new("1", (2000, 1001))]))
    with pytest.raises(DocumentTooLarge, match="pixels"):
        convert(pdf([Image.new("1", (2000, 1001))]))


def test_too_many_frames_are_refused(convert: Convert) -> None:
    dot = Image.new("1", (8, 8))
    with pytest.raises(DocumentTooLarge, match="30 pages"):
        convert(image(dot, "tiff", save_all=True, append_images=[dot] * 30))


@pytest.mark.parametrize("fmt", ["png", "jpeg", "tiff", "webp", "bmp", "gif"])
def test_a_part_of_an_image_is_refused(convert: Convert, fmt: str) -> None:
    content = image(SHORT, fmt)
    with pytest.raises(DocumentCorrupt):
        convert(content[: len(content) // 2])


def test_an_image_is_not_read_against_the_wish(convert: Convert) -> None:
    with pytest.raises(DocumentEmpty, match="ocr: auto"):
        convert(image(SHORT, "png"), "never")


# --- the child -------------------------------------------------------------------------------------------


class Stop(Exception):
    """What a cancelled task raises at its checkpoint."""


def test_progress_moves_by_page_and_can_stop_it(converter: DoclingConverter, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pdf([scan()] * 20))
    seen: list[tuple[int, int]] = []
    stopped_at = [0.0]

    def follow(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            stopped_at[0] = time.monotonic()
            raise Stop

    with pytest.raises(Stop):
        converter.convert(path, "pdf", ConversionOptions(), timeout=150, progress=follow)
    assert time.monotonic() - stopped_at[0] < 3
    assert [pages for pages in dict.fromkeys(seen) if pages[1] == 20] == [(0, 20), (1, 20), (2, 20)]


def child() -> psutil.Process:
    found = psutil.Process().children()
    return max(found, key=lambda process: process.create_time())


def test_the_engine_stays_in_its_child(convert: Convert) -> None:
    """A child that has read pages is not larger than half of its limit, so it is kept."""
    convert(image(SHORT, "png"))
    before = child()
    convert(pdf([scan()]))
    assert child().pid == before.pid
    assert child().memory_info().rss < 1 << 30


# --- languages and models --------------------------------------------------------------------------------


def test_a_model_that_is_not_there_is_named_and_never_downloaded(tmp_path: Path) -> None:
    folder, name = tmp_path / "models", "korean_PP-OCRv5_rec_mobile.onnx"
    folder.mkdir()
    korean = DoclingConverter(1, 2048, Limits(), Recognition(language="korean", models=folder))
    try:
        with pytest.raises(ConversionFailed, match=f"{name}.*OCR_MODEL_DIR"):
            converted(korean, image(SHORT, "png"), tmp_path / "file")
        before = korean.version
        shutil.copy(in_the_wheel("PP-OCRv6_rec_small.onnx"), folder / name)  # any recogniser will do
        assert text_of(converted(korean, image(SHORT, "png"), tmp_path / "file")) == "Berth 14 is closed"
        assert korean.version != before, "another model may make another text"
    finally:
        korean.close()


def in_the_wheel(name: str) -> Path:
    return Path(sysconfig.get_path("purelib")) / "rapidocr" / "models" / name


def test_a_model_that_does_not_read_the_language_is_refused(tmp_path: Path) -> None:
    made = DoclingConverter(1, 2048, Limits(), Recognition(language="korean", model="PP-OCRv6_small"))
    try:
        with pytest.raises(ConversionFailed, match="OCR_MODEL"):
            converted(made, image(SHORT, "png"), tmp_path / "file")
    finally:
        made.close()


def test_the_version_tells_the_language() -> None:
    english, german = (
        DoclingConverter(1, 2048, Limits(), Recognition(language=language)).version
        for language in ("en", "de")
    )
    assert english != german


# --- without OCR -----------------------------------------------------------------------------------------

PARENT = """
import json, sys
from pathlib import Path
from shared.errors import DocmillError
from shared.ports import ConversionOptions
from shared.providers.conversion.request import Limits
from shared.providers.docling import DoclingConverter

made, found = DoclingConverter(1, 2048, Limits()), [DoclingConverter(1, 2048, Limits()).version]
for name in sys.argv[1:]:
    path = Path(name)
    try:
        text = made.convert(
            path, made.detect(path, name), ConversionOptions(), timeout=60, progress=lambda done, total: None
        )
        found.append([text.markdown(), text.unread, text.warnings])
    except DocmillError as error:
        found.append([error.code, error.message])
made.close()
print(json.dumps(found))
"""


def without_ocr(folder: Path) -> Path:
    """A Python that has every package but RapidOCR."""
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.lower().startswith("rapidocr") and not (packages / entry.name).exists():
            (packages / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


def test_without_ocr_it_says_what_to_install(converter: DoclingConverter, tmp_path: Path) -> None:
    files = {"scan.pdf": pdf([scan()]), "mixed.pdf": pdf([NOTE, scan()]), "scan.png": image(SHORT, "png")}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [without_ocr(tmp_path / "venv"), "-c", PARENT, *(tmp_path / name for name in files)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    version, scanned, mixed, picture = json.loads(done.stdout)
    for code, message in (scanned, picture):
        assert code == "document_empty"
        assert "requirements-ocr.txt" in message
    assert mixed[:2] == [f"{NOTE}\n", [2]]
    assert "1 of 2 pages" in mixed[2][0] and "requirements-ocr.txt" in mixed[2][0]
    assert version != converter.version, "a text made without OCR must not be taken once it is installed"
