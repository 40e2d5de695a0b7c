"""A PDF of 500 pages: the memory of parent and child, progress by page, and stopping at any of them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from shared.ports import ConversionOptions
from shared.providers.conversion.request import Limits
from shared.providers.docling import DoclingConverter

ROOT = Path(__file__).parents[2]
PAGES = 500
MEGABYTES = 700

PARENT = """
import json, sys
from pathlib import Path
from shared.ports import ConversionOptions
from shared.providers.conversion.request import Limits
from shared.providers.docling import DoclingConverter

made, seen = DoclingConverter(1, 2048, Limits()), []
text = made.convert(
    Path(sys.argv[1]), "pdf", ConversionOptions(), timeout=150, progress=lambda *pages: seen.append(pages)
)
made.close()
print(json.dumps({"seen": seen, "pages": sorted({block.page for block in text.blocks})}))
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(595, 842), pageCompression=1)
    for page in range(1, PAGES + 1):
        for line in range(45):
            canvas.drawString(72, 770 - 15 * line, f"Line {line} of page {page} tells of tides and lamps.")
        canvas.showPage()
    canvas.save()
    path = tmp_path_factory.mktemp("book") / "book.pdf"
    path.write_bytes(buffer.getvalue())
    return path


def test_five_hundred_pages_in_bounded_memory(book: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(book)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        peak = highest_memory(psutil.Process(parent.pid))
        assert parent.stdout
        answer = json.loads(parent.stdout.read())
    assert peak < MEGABYTES << 20, f"{peak >> 20} MB"
    assert answer["pages"] == list(range(1, PAGES + 1))
    pages = [done for done, total in answer["seen"] if total == PAGES]
    assert list(dict.fromkeys(pages)) == list(range(PAGES + 1))


def highest_memory(parent: psutil.Process) -> int:
    """Of a process and its children together, until it ends; resident bytes."""
    highest = 0
    while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
        with suppress(psutil.Error):
            family = [parent, *parent.children(recursive=True)]
            highest = max(highest, sum(process.memory_info().rss for process in family))
        time.sleep(0.03)
    return highest


@pytest.fixture
def converter() -> Iterator[DoclingConverter]:
    made = DoclingConverter(1, 2048, Limits())
    yield made
    made.close()


class Stop(Exception):
    """What a cancelled task raises at its checkpoint."""


@pytest.mark.parametrize("page", [0, 499])
def test_it_can_be_stopped_at_any_page(converter: DoclingConverter, book: Path, page: int) -> None:
    stopped: list[tuple[float, psutil.Process]] = []

    def stop(done: int, total: int) -> None:
        if total == PAGES and done >= page:
            stopped.append((time.monotonic(), child()))
            raise Stop

    with pytest.raises(Stop):
        converter.convert(book, "pdf", ConversionOptions(), timeout=150, progress=stop)
    began, process = stopped[0]
    assert time.monotonic() - began < 3
    assert not process.is_running()


def child() -> psutil.Process:
    return max(psutil.Process().children(), key=lambda process: process.create_time())
