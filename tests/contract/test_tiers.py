"""The choice of readers, page by page, with the real child and a docling-serve that answers over HTTP."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.core import Core
from shared.documents import Block, ConvertedDocument
from shared.errors import (
    ConverterUnavailable,
    DocmillError,
    DocumentCorrupt,
    DocumentEmpty,
    DocumentEncrypted,
    DocumentTooLarge,
    UnsupportedFormat,
)
from shared.ports import ConversionOptions, Converter
from shared.providers.docling import DoclingConverter
from shared.providers.tiers import AutoConverter, TieredConverter
from shared.settings import read_settings
from tests.contract.test_converter import docx, pdf
from tests.docling_documents import scan, timetable
from tests.docling_serve import DoclingServer, Reply, running

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # see tests/docling_serve.py
LINE = "Page {} can be read by itself."


def quiet(done: int, total: int) -> None:
    """Progress that nobody follows."""


def mixed(pages: str, title: str | None = None) -> bytes:
    """A PDF whose pages are text (t), an image (i) or blank (b)."""
    from PIL import Image
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(595, 842))
    canvas.setTitle(title or "")
    for number, kind in enumerate(pages, 1):
        if kind == "i":
            canvas.drawImage(ImageReader(Image.new("RGB", (60, 60), "gray")), 0, 0, 500, 500)
        if kind == "t":
            canvas.setFont("Helvetica-Bold", 20)
            canvas.drawString(72, 760, f"Chapter {number}")
            canvas.setFont("Helvetica", 10)
            canvas.drawString(72, 700, LINE.format(number))
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator[DoclingServer]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def cores(server: DoclingServer) -> Iterator[dict[str, Core]]:
    """A core for each tier, as the settings make it."""
    made = {
        tier: Core(
            read_settings({"DOCLING_PIPELINE": tier, "DOCLING_SERVE_URL": server.url, "MAX_PAGES": "12"})
        )
        for tier in ("native", "remote", "auto")
    }
    yield made
    for core in made.values():
        core.close()


@pytest.fixture
def fresh(server: DoclingServer) -> DoclingServer:
    server.submissions.clear()
    server.always, server.replies = {}, {}
    server.document = lambda first, last: scan(first, last, total=12)
    return server


Convert = Callable[..., ConvertedDocument]


@pytest.fixture
def auto(cores: dict[str, Core], fresh: DoclingServer, tmp_path: Path) -> Convert:
    def _convert(content: bytes, progress: Callable[[int, int], None] = quiet, **options: object) -> object:
        return convert(cores["auto"].converter, tmp_path, content, progress, **options)

    return _convert  # type: ignore[return-value]


def convert(
    converter: Converter,
    folder: Path,
    content: bytes,
    progress: Callable[[int, int], None] = quiet,
    **options: object,
) -> ConvertedDocument:
    path = folder / "file"
    path.write_bytes(content)
    wanted = ConversionOptions.model_validate(options)
    fmt = converter.detect(path, "file.pdf")
    return converter.convert(path, fmt, wanted, timeout=60, progress=progress)


def asked(server: DoclingServer) -> list[tuple[int, int]]:
    return [sent.options.page_range for sent in server.submissions]


def texts(document: ConvertedDocument) -> list[tuple[str, int | None]]:
    return [(block.text, block.page) for block in document.blocks if block.kind == "text"]


# --- auto ------------------------------------------------------------------------------------------------


def test_only_pages_without_text_go_to_the_better_reader(auto: Convert, server: DoclingServer) -> None:
    document = auto(mixed("tiitti"))
    assert asked(server) == [(2, 3), (6, 6)]
    assert texts(document) == [
        (LINE.format(number) if kind == "t" else f"Read from the image {number}.", number)
        for number, kind in enumerate("tiitti", 1)
    ]
    assert (document.pages, document.title, document.unread) == (6, "Chapter 1", ())
    assert document.warnings == ()


def test_text_alone_goes_nowhere(auto: Convert, server: DoclingServer) -> None:
    said: list[tuple[int, int]] = []
    document = auto(mixed("ttt"), lambda done, total: said.append((done, total)))
    assert server.submissions == []
    assert len(texts(document)) == 3
    assert said[-1] == (3, 3)


def test_images_alone_go_as_a_whole(auto: Convert, server: DoclingServer) -> None:
    server.document = lambda first, last: scan(first, last, total=2)
    document = auto(mixed("ii"))
    assert asked(server) == [(1, 9223372036854775807)]
    assert (document.pages, document.title) == (2, "Sheet 1")


def test_never_means_never(auto: Convert, server: DoclingServer) -> None:
    document = auto(mixed("tit"), ocr="never")
    assert server.submissions == []
    assert [page for _, page in texts(document)] == [1, 3]
    with pytest.raises(DocumentEmpty):
        auto(mixed("ii"), ocr="never")


def test_always_means_all_of_it(auto: Convert, server: DoclingServer) -> None:
    auto(mixed("tt"), ocr="always")
    assert [sent.options.force_ocr for sent in server.submissions] == [True]


def test_many_gaps_are_read_along_and_dropped(auto: Convert, server: DoclingServer) -> None:
    server.document = lambda first, last: scan(first, last, total=12)
    document = auto(mixed("titititititi"))
    assert len(asked(server)) <= 8
    assert [page for _, page in texts(document)] == list(range(1, 13))
    assert all((text == LINE.format(page)) == bool(page and page % 2) for text, page in texts(document))


def test_a_title_of_the_first_page_wins_over_a_guess(auto: Convert) -> None:
    assert auto(mixed("it")).title == "Sheet 1"
    assert auto(mixed("it", title="Yearbook")).title == "Yearbook"


def test_a_photograph_has_nothing_to_read(auto: Convert, server: DoclingServer) -> None:
    server.document = lambda first, last: timetable(99, 99)
    document = auto(mixed("ti"))
    assert [page for _, page in texts(document)] == [1]
    with pytest.raises(DocumentEmpty):
        auto(mixed("ii"))


def test_out_of_reach_is_never_half_a_document(auto: Convert, server: DoclingServer) -> None:
    server.replies = {"submit": [Reply(429, headers={"Retry-After": "90"})]}
    with pytest.raises(ConverterUnavailable) as raised:
        auto(mixed("ti"))
    assert raised.value.retryable and raised.value.retry_after == 90


def test_progress_only_grows(auto: Convert) -> None:
    said: list[tuple[int, int]] = []
    auto(mixed("tiitti"), lambda done, total: said.append((done, total)))
    assert said == sorted(said) and said[-1] == (6, 6)
    assert {total for _, total in said} == {6}


# --- every tier ------------------------------------------------------------------------------------------


@pytest.fixture(params=["native", "remote", "auto"])
def converter(request: pytest.FixtureRequest, cores: dict[str, Core], fresh: DoclingServer) -> Converter:
    return cores[request.param].converter


def test_every_tier_reads_text(converter: Converter, tmp_path: Path) -> None:
    document = convert(converter, tmp_path, mixed("tt"))
    assert (document.format, document.pages is not None) == ("pdf", True)
    assert {block.page for block in document.blocks} >= {1, 2}
    assert document.title in {"Chapter 1", "Sheet 1"}


def test_every_tier_leaves_other_formats_here(
    converter: Converter, tmp_path: Path, server: DoclingServer
) -> None:
    document = convert(converter, tmp_path, docx())
    assert Block(kind="text", text="Book trains two weeks ahead.") in document.blocks
    assert server.submissions == []


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", DocumentEmpty),
        (b"\0\1\2\3" * 500, UnsupportedFormat),
        (pdf(title="x", password="secret"), DocumentEncrypted),
        (mixed("t" * 13), DocumentTooLarge),
    ],
    ids=["empty", "binary", "locked", "pages"],
)
def test_every_tier_refuses(
    converter: Converter, tmp_path: Path, content: bytes, error: type[DocmillError]
) -> None:
    with pytest.raises(error):
        convert(converter, tmp_path, content)


def test_native_and_auto_refuse_what_is_no_pdf(cores: dict[str, Core], tmp_path: Path) -> None:
    for tier in ("native", "auto"):
        with pytest.raises(DocumentCorrupt):
            convert(cores[tier].converter, tmp_path, b"%PDF-1.7\n" + bytes(3000))


def test_what_is_raised_by_progress_stops_every_tier(converter: Converter, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        convert(converter, tmp_path, mixed("ti"), stop)


def test_every_tier_has_a_version_of_its_own(cores: dict[str, Core]) -> None:
    """So that a text that was kept by one tier is not taken by another."""
    assert len({core.converter.version for core in cores.values()}) == len(cores)


def test_every_tier_is_there(converter: Converter) -> None:
    converter.ping(5)


# --- composition -----------------------------------------------------------------------------------------


def made(**environ: str) -> Converter:
    return Core(read_settings(environ)).converter


def test_who_is_asked() -> None:
    url = "http://127.0.0.1:9"
    assert type(made()) is DoclingConverter
    assert type(made(DOCLING_PIPELINE="remote", DOCLING_SERVE_URL=url)) is TieredConverter
    assert type(made(DOCLING_PIPELINE="standard")) is TieredConverter
    assert type(made(DOCLING_PIPELINE="auto", DOCLING_SERVE_URL=url)) is AutoConverter
    # Nothing better here: our own child, which has its own OCR where that is installed.
    assert type(made(DOCLING_PIPELINE="auto")) is DoclingConverter


def test_readiness_tells_of_the_tier() -> None:
    """Of none but those that depend on something outside."""
    found = {
        tier: Core(read_settings({"DOCLING_PIPELINE": tier, "DOCLING_SERVE_URL": "http://127.0.0.1:9"}))
        for tier in ("native", "remote", "standard")
    }
    assert "converter" not in found["native"].checks()
    assert "DOCLING_SERVE_URL" in str(found["remote"].checks()["converter"])
    assert "requirements-standard.txt" in str(found["standard"].checks()["converter"])
