"""The converter with its real child process: what goes in, what comes out, and how it is stopped."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from shared.documents import Block, ConvertedDocument
from shared.errors import (
    ConversionCrashed,
    DocmillError,
    DocumentCorrupt,
    DocumentEmpty,
    DocumentEncrypted,
    DocumentTooLarge,
    TaskTimeout,
    UnsupportedFormat,
)
from shared.ports import ConversionOptions
from shared.providers.conversion.request import Limits
from shared.providers.docling import DoclingConverter

ROOT = Path(__file__).parents[2]
MAX_PAGES = 20


def quiet(done: int, total: int) -> None:
    """Progress that nobody follows."""


@pytest.fixture(scope="module")
def converter() -> Iterator[DoclingConverter]:
    made = DoclingConverter(
        processes=1, memory_mb=2048, limits=Limits(pages=MAX_PAGES, expanded_bytes=1 << 26)
    )
    yield made
    made.close()


@pytest.fixture
def convert(converter: DoclingConverter, tmp_path: Path) -> Callable[..., ConvertedDocument]:
    def _convert(content: bytes, name: str, **options: object) -> ConvertedDocument:
        path = tmp_path / "file"
        path.write_bytes(content)
        fmt = converter.detect(path, name)
        return converter.convert(
            path, fmt, ConversionOptions.model_validate(options), timeout=100, progress=quiet
        )

    return _convert


# --- documents of our own --------------------------------------------------------------------------------


def pdf(*pages: list[tuple[str, str, float]], title: str | None = None, password: str | None = None) -> bytes:
    """Pages of (font, text, size), one under the other."""
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(595, 842), encrypt=password)
    if title:
        canvas.setTitle(title)
    for number, page in enumerate(pages, 1):
        canvas.setFont("Helvetica", 9)
        canvas.drawString(72, 810, "Harbour Lines annual handbook")
        canvas.drawString(280, 30, f"Page {number} of {len(pages)}")
        height = 760.0
        for font, text, size in page:
            canvas.setFont(font, size)
            canvas.drawString(72, height, text)
            height -= size * 1.25 if font == "Helvetica" else size * 2.2
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def long_pdf(pages: int) -> bytes:
    return pdf(*([("Helvetica", f"Line {n} of a page that is full of text.", 9)] * 55 for n in range(pages)))


def docx() -> bytes:
    from docx import Document

    document = Document()
    document.add_heading("Travel rules", 0)
    document.add_heading("Booking", 1)
    document.add_paragraph("Book trains two weeks ahead.")
    document.add_paragraph("Keep the receipt", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for index, text in enumerate(("City", "Limit", "Bergen", "140 | euro")):
        table.cell(index // 2, index % 2).text = text
    return saved(document)


def pptx() -> bytes:
    from pptx import Presentation

    deck = Presentation()
    for title, body in (("Kick-off", "Aims of the year"), ("Budget", "Forty thousand")):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    return saved(deck)


def xlsx() -> bytes:
    from openpyxl import Workbook

    book = Workbook()
    book.active.title = "Stock"
    for row in (["part", "count"], ["bolt", 12], ["nut", 7]):
        book.active.append(row)
    other = book.create_sheet("Suppliers")
    for row in (["name", "town"], ["Aasen", "Voss"]):
        other.append(row)
    return saved(book)


def saved(document: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


HTML = """<!doctype html><html><head><title>T</title></head><body><h1>Pumps</h1>
<p>A pump <b>moves</b> water.</p>
<h2>Care</h2><ul><li>Oil it</li><li>See <a href="https://example.com">notes</a></li></ul>
<table><tr><th>Part</th><th>Hours</th></tr><tr><td>Seal</td><td>900</td></tr></table>
<img src="file:///etc/hostname"><img src="http://127.0.0.1:9/x.png"></body></html>"""

MARKDOWN = """# Kitchen

Open at **nine**.

## Soup

- leek
- potato

```
boil()
```

|a|b|
|-|-|
|1|2|
"""

MAIL = (
    "From: Ann <ann@example.com>\r\nTo: Bo <bo@example.com>\r\nSubject: Delivery on Friday\r\n"
    "Content-Type: text/plain\r\n\r\nThe crates arrive at noon.\r\n"
)


def headings(document: ConvertedDocument) -> list[tuple[str, int | None, int | None]]:
    return [(b.text, b.level, b.page) for b in document.blocks if b.kind == "heading"]


def of_kind(document: ConvertedDocument, kind: str) -> list[str]:
    return [block.text for block in document.blocks if block.kind == kind]


# --- what comes out --------------------------------------------------------------------------------------


def test_pdf(convert: Callable[..., ConvertedDocument]) -> None:
    content = pdf(
        [
            ("Helvetica-Bold", "Operations", 20),
            ("Helvetica-Bold", "Opening hours", 13),
            ("Helvetica", "The gate opens at six in the morn-", 10),
            ("Helvetica", "ing and closes at ten at night.", 10),
        ],
        [("Helvetica-Bold", "Safety", 13), ("Helvetica", "Wear a helmet on the quay.", 10)],
        [("Helvetica", "The end.", 10)],
        title="Handbook",
    )
    document = convert(content, "handbook.pdf")
    assert (document.format, document.title, document.pages) == ("pdf", "Handbook", 3)
    assert headings(document) == [("Operations", 1, 1), ("Opening hours", 2, 1), ("Safety", 2, 2)]
    assert [(b.text, b.page) for b in document.blocks if b.kind == "text"] == [
        ("The gate opens at six in the morning and closes at ten at night.", 1),
        ("Wear a helmet on the quay.", 2),
        ("The end.", 3),
    ]


def test_pdf_with_a_table(convert: Callable[..., ConvertedDocument]) -> None:
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Table

    buffer = io.BytesIO()
    rows = [["Berth", "Depth", "Crane"], ["North", "11 m", "yes"], ["South", "7 m", "no"]]
    text = Paragraph(
        "These are the berths of the harbour and what they can take.", getSampleStyleSheet()["Normal"]
    )
    SimpleDocTemplate(buffer).build([text, Table(rows, colWidths=120)])
    assert of_kind(convert(buffer.getvalue(), "a.pdf"), "table") == [
        "| Berth | Depth | Crane |\n| --- | --- | --- |\n| North | 11 m | yes |\n| South | 7 m | no |"
    ]


def test_docx(convert: Callable[..., ConvertedDocument]) -> None:
    document = convert(docx(), "rules.docx")
    assert (document.format, document.title, document.pages) == ("docx", "Travel rules", None)
    assert headings(document) == [("Travel rules", 1, None), ("Booking", 2, None)]
    assert of_kind(document, "text") == ["Book trains two weeks ahead."]
    assert of_kind(document, "list_item") == ["Keep the receipt"]
    assert of_kind(document, "table") == ["| City | Limit |\n| --- | --- |\n| Bergen | 140 \\| euro |"]


def test_pptx(convert: Callable[..., ConvertedDocument]) -> None:
    document = convert(pptx(), "deck.pptx")
    assert (document.pages, headings(document)) == (2, [("Kick-off", 1, 1), ("Budget", 1, 2)])
    assert [(b.text, b.page) for b in document.blocks if b.kind != "heading"] == [
        ("Aims of the year", 1),
        ("Forty thousand", 2),
    ]


def test_xlsx(convert: Callable[..., ConvertedDocument]) -> None:
    document = convert(xlsx(), "stock.xlsx")
    assert (document.pages, headings(document)) == (2, [("Stock", 1, 1), ("Suppliers", 1, 2)])
    assert [(b.text, b.page) for b in document.blocks if b.kind == "table"] == [
        ("| part | count |\n| --- | --- |\n| bolt | 12 |\n| nut | 7 |", 1),
        ("| name | town |\n| --- | --- |\n| Aasen | Voss |", 2),
    ]


def test_html(convert: Callable[..., ConvertedDocument]) -> None:
    document = convert(HTML.encode(), "pumps.html")
    assert (document.title, document.pages) == ("Pumps", None)
    assert headings(document) == [("Pumps", 1, None), ("Care", 2, None)]
    assert of_kind(document, "text") == ["A pump moves water."]
    assert of_kind(document, "list_item") == ["Oil it", "See notes"]
    assert of_kind(document, "table") == ["| Part | Hours |\n| --- | --- |\n| Seal | 900 |"]


def test_markdown(convert: Callable[..., ConvertedDocument]) -> None:
    document = convert(MARKDOWN.encode(), "kitchen.md")
    assert headings(document) == [("Kitchen", 1, None), ("Soup", 2, None)]
    assert of_kind(document, "text") == ["Open at nine."]
    assert of_kind(document, "list_item") == ["leek", "potato"]
    assert of_kind(document, "code") == ["boil()"]
    assert of_kind(document, "table") == ["| a | b |\n| --- | --- |\n| 1 | 2 |"]


def test_mail(convert: Callable[..., ConvertedDocument]) -> None:
    document = convert(MAIL.encode(), "note.eml")
    assert document.title == "Delivery on Friday"
    assert "The crates arrive at noon." in of_kind(document, "text")


def test_csv(convert: Callable[..., ConvertedDocument]) -> None:
    document = convert(b'town;people\n"Voss; old";14000\n', "towns.csv")
    assert document.blocks == (
        Block(kind="table", text="| town | people |\n| --- | --- |\n| Voss; old | 14000 |"),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text(convert: Callable[..., ConvertedDocument], encoding: str) -> None:
    content = "Größe und Länge prüfen.\r\n\r\nDanach die Tür schließen."
    assert of_kind(convert(content.encode(encoding), "a.txt"), "text") == content.split("\r\n\r\n")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_a_part_of_a_pdf_is_not_taken_for_all(
    convert: Callable[..., ConvertedDocument], share: float
) -> None:
    content = long_pdf(10)
    with pytest.raises(DocumentCorrupt):
        convert(content[: int(len(content) * share)], "cut.pdf")


def test_the_right_type_behind_a_wrong_name(convert: Callable[..., ConvertedDocument]) -> None:
    assert convert(docx(), "rules.pdf").format == "docx"


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 3]


def broken_member(content: bytes) -> bytes:
    """An Office file whose main part is no XML."""
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(
                name, b"<broken" if name.endswith(("document.xml", "workbook.xml")) else old.read(name)
            )
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "error"),
    [
        (b"", "a.html", DocumentEmpty),
        (b"<html><body></body></html>", "a.html", DocumentEmpty),
        (pdf(title="x", password="secret"), "a.pdf", DocumentEncrypted),
        (b"%PDF-1.7\n" + os.urandom(3000), "a.pdf", DocumentCorrupt),
        (truncated(pdf([("Helvetica", "text", 10)])), "a.pdf", DocumentCorrupt),
        (truncated(docx()), "a.docx", DocumentCorrupt),
        (broken_member(docx()), "a.docx", DocumentCorrupt),
        (broken_member(xlsx()), "a.xlsx", DocumentCorrupt),
        (long_pdf(MAX_PAGES + 1), "a.pdf", DocumentTooLarge),
        (os.urandom(2000) + bytes(50), "a.bin", UnsupportedFormat),
    ],
    ids=[
        "empty",
        "no text",
        "locked",
        "garbage",
        "cut",
        "cut zip",
        "bad docx",
        "bad xlsx",
        "pages",
        "binary",
    ],
)
def test_refused(
    convert: Callable[..., ConvertedDocument],
    tmp_path: Path,
    content: bytes,
    name: str,
    error: type[DocmillError],
) -> None:
    with pytest.raises(error) as raised:
        convert(content, name)
    assert type(raised.value) is error
    assert str(tmp_path) not in raised.value.message


def test_an_unknown_format_is_refused(converter: DoclingConverter, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat):
        converter.convert(tmp_path / "x", "exe", ConversionOptions(), timeout=5, progress=quiet)


# --- how it is stopped -----------------------------------------------------------------------------------


def one(memory_mb: int = 2048) -> DoclingConverter:
    return DoclingConverter(processes=1, memory_mb=memory_mb, limits=Limits(expanded_bytes=1 << 30))


def children(pid: int | None = None) -> list[psutil.Process]:
    found = psutil.Process(pid).children()
    return [child for child in found if "shared.providers.conversion.child" in child.cmdline()]


@pytest.fixture
def fresh() -> Iterator[DoclingConverter]:
    made = one()
    yield made
    made.close()


@pytest.fixture
def hang(tmp_path: Path) -> Iterator[Path]:
    """A file that is never read to its end: a pipe that somebody holds open and writes nothing to."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR)
    yield path
    os.close(end)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.txt"
    path.write_text("All is well.")
    return path


def works(converter: DoclingConverter, path: Path) -> bool:
    document = converter.convert(path, "txt", ConversionOptions(), timeout=60, progress=quiet)
    return document.blocks[0].text == "All is well."


def gone(process: psutil.Process) -> bool:
    """Within ten seconds. A zombie is dead; whoever adopted it reaps it some time."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_warm_child_is_kept(fresh: DoclingConverter, good: Path) -> None:
    before = {child.pid for child in children()}
    assert works(fresh, good)
    first = {child.pid for child in children()} - before
    assert works(fresh, good)
    assert len(first) == 1
    assert {child.pid for child in children()} - before == first


def test_a_hang_ends_at_the_deadline(fresh: DoclingConverter, hang: Path, good: Path) -> None:
    works(fresh, good)
    with pytest.raises(TaskTimeout):
        fresh.convert(hang, "txt", ConversionOptions(), timeout=0.5, progress=quiet)
    assert works(fresh, good)


def test_waiting_for_a_child_counts(fresh: DoclingConverter, hang: Path, good: Path) -> None:
    thread = threading.Thread(target=_until_timeout, args=(fresh, hang, 4))
    thread.start()
    time.sleep(1)
    with pytest.raises(TaskTimeout):
        fresh.convert(good, "txt", ConversionOptions(), timeout=0.5, progress=quiet)
    thread.join()
    assert works(fresh, good)


def _until_timeout(converter: DoclingConverter, path: Path, timeout: float) -> None:
    with pytest.raises(TaskTimeout):
        converter.convert(path, "txt", ConversionOptions(), timeout=timeout, progress=quiet)


class Stop(Exception):
    """What a cancelled task raises at its checkpoint."""


def test_what_progress_raises_stops_it(fresh: DoclingConverter, hang: Path, good: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise Stop

    works(fresh, good)
    child = newest()
    with pytest.raises(Stop):
        fresh.convert(hang, "txt", ConversionOptions(), timeout=60, progress=stop)
    assert gone(child)
    assert works(fresh, good)


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_reported_and_mended(
    fresh: DoclingConverter, hang: Path, good: Path, how: signal.Signals
) -> None:
    def crash(done: int, total: int) -> None:
        newest().send_signal(how)

    with pytest.raises(ConversionCrashed):
        fresh.convert(hang, "txt", ConversionOptions(), timeout=60, progress=crash)
    assert works(fresh, good)


def newest() -> psutil.Process:
    return max(children(), key=lambda child: child.create_time())


def test_too_much_memory(hang: Path) -> None:
    small = one(memory_mb=1)
    try:
        with pytest.raises(ConversionCrashed, match="memory"):
            small.convert(hang, "txt", ConversionOptions(), timeout=60, progress=quiet)
    finally:
        small.close()


def test_progress_counts_pages_in_the_callers_thread(converter: DoclingConverter, tmp_path: Path) -> None:
    path = tmp_path / "long.pdf"
    path.write_bytes(long_pdf(12))
    seen: list[tuple[int, int, threading.Thread]] = []
    converter.convert(
        path,
        "pdf",
        ConversionOptions(),
        timeout=60,
        progress=lambda done, total: seen.append((done, total, threading.current_thread())),
    )
    pages = [done for done, total, _ in seen if total == 12]
    assert pages == list(range(13))
    assert {thread for *_, thread in seen} == {threading.current_thread()}


def test_two_work_at_a_time(tmp_path: Path, good: Path) -> None:
    pair = DoclingConverter(processes=2, memory_mb=2048, limits=Limits(pages=10, expanded_bytes=1 << 20))
    before = len(children())
    try:
        threads = [threading.Thread(target=works, args=(pair, good)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(children()) - before == 2
    finally:
        pair.close()
    assert len(children()) == before


def test_close_stops_what_is_under_way(hang: Path) -> None:
    closing = one()
    with pytest.raises(ConversionCrashed):
        closing.convert(
            hang, "txt", ConversionOptions(), timeout=60, progress=lambda done, total: closing.close()
        )
    with pytest.raises(ConversionCrashed, match="shutting down"):
        closing.convert(hang, "txt", ConversionOptions(), timeout=60, progress=quiet)


PARENT = """
import sys
from pathlib import Path
from shared.ports import ConversionOptions
from shared.providers.conversion.request import Limits
from shared.providers.docling import DoclingConverter
made = DoclingConverter(1, 2048, Limits())
made.convert(Path(sys.argv[1]), "txt", ConversionOptions(), timeout=60, progress=lambda done, total: None)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals of the parent's end are Linux's")
def test_the_child_dies_with_its_parent(hang: Path, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(hang)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
    )
    try:
        child = _wait_for_child(parent.pid)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert gone(child)


def _reads_a_pipe_by_name(pid: int) -> bool:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            if str(file.readlink()).endswith("/pipe"):
                return True
    return False


def _wait_for_child(pid: int) -> psutil.Process:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = children(pid)
        if found and _reads_a_pipe_by_name(found[0].pid):
            return found[0]
        time.sleep(0.1)
    raise AssertionError("no child was started")


def test_the_child_has_no_secrets(
    fresh: DoclingConverter, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_KEY", "sb_secret_x")
    works(fresh, good)
    environment = newest().environ()
    assert "SUPABASE_KEY" not in environment
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_the_parent_stays_light(good: Path, tmp_path: Path) -> None:
    """Whatever the working directory is, and without importing docling."""
    code = (
        PARENT + "made.close()\nprint([name for name in sys.modules if name.split('.')[0] in sys.argv[2:]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(good), "docling", "docling_core", "docling_parse", "pandas"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
