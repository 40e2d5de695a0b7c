"""What the benchmarks of speed are made of. Their figures are for `make bench`: no test has a clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks import documents, memory, package, parts, starting

ROOT = Path(__file__).parents[2]


def test_a_collection_has_sixty_documents_in_eight_formats_and_no_text_twice() -> None:
    one, other = documents.collection(1), documents.collection(2)
    assert len(one) >= 60
    assert len({source.format for source in one}) >= 8
    assert len({source.filename for source in one + other}) == len(one + other)
    made = [source for source in one + other if not source.filename.endswith(documents.SAMPLES)]
    assert len({source.content for source in made}) == len(made)
    assert {source.pages > 5 for source in one} == {True, False}


@pytest.mark.parametrize("ending", documents.MAKERS)
def test_every_word_of_a_made_document_is_read_by_the_bare_parts(ending: str, tmp_path: Path) -> None:
    source = documents.make(ending, 2, "7-1")
    path = tmp_path / source.filename
    path.write_bytes(source.content)
    found = " ".join(" ".join(block.text for block in parts.converted(path).blocks).split())
    for page in (1, 2):
        section = documents.section(f"{ending}-7-1", page)
        assert section.heading in found
        assert all(sentence in found for sentence in section.sentences)


def test_large_documents_are_as_large_as_they_are_said_to_be(tmp_path: Path) -> None:
    from openpyxl import load_workbook
    from pypdfium2 import PdfDocument

    book, sheet, large = (tmp_path / name for name in ("book.pdf", "sheet.xlsx", "large.docx"))
    book.write_bytes(documents.book(3))
    sheet.write_bytes(documents.sheet(50))
    documents.scanned(large, 2)
    pdf = PdfDocument(book)
    assert len(pdf) == 3
    pdf.close()
    workbook = load_workbook(sheet)
    assert workbook.active.max_row == 50
    assert large.stat().st_size > 2 << 20
    assert zipfile.ZipFile(large).testzip() is None


def test_peaks_are_kept_each_for_itself_and_together() -> None:
    peak = memory.Peak()
    for parent, child in ((100, 300), (200, 50)):
        peak.see(parent, child)
    assert (peak.parent, peak.child, peak.both) == (200, 300, 400)


def test_a_process_says_what_its_start_was() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.starting", "app"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"seconds", "ended", "modules", "megabytes"}


def test_everything_is_all_that_our_modules_import_anywhere() -> None:
    names = starting.names()
    assert {"function_app", "shared.runner", "api.tasks"} <= names
    assert {"docling.document_converter", "openai", "supabase", "fastapi", "azure.data.tables"} <= names


def installed(folder: Path, name: str, size: int, *needs: str) -> None:
    """A package as pip leaves it."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n" + "".join(f"Requires-Dist: {n}\n" for n in needs)
    )
    module = folder / name / "tests" / "data.bin"
    module.parent.mkdir(parents=True)
    module.write_bytes(b"x" * size)
    (info / "RECORD").write_text(f"{name}/tests/data.bin,,\n{name}-1.dist-info/METADATA,,\n")


def test_a_package_is_shown_with_what_it_is_for_and_who_brought_it(tmp_path: Path) -> None:
    installed(tmp_path, "openai", 1_000_000, "pandas (>=2); extra == 'datalib'")
    installed(tmp_path, "docling_slim", 1_000_000, "docling-parse; extra == 'format-pdf'", "docling-core")
    installed(tmp_path, "docling_core", 1_000_000, "pandas")
    installed(tmp_path, "docling_parse", 1_000_000)
    installed(tmp_path, "pandas", 5_000_000)
    found = package.report(tmp_path)
    (table,) = found.tables
    rows = table.data()
    assert rows["pandas"]["MB"] == pytest.approx(5.0, abs=0.01)
    assert rows["pandas"]["brought by"] == "docling-slim > docling-core"
    assert rows["docling-slim"]["brought by"] == "requirements.txt"
    assert rows["pandas"]["for"]
    tests = next(figure for figure in found.figures if "tests" in figure.name)
    assert tests.value == pytest.approx(9.0, abs=0.01)
