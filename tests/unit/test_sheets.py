"""Workbooks that are read row by row, from the file as it came: what is read at once of them is limited."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import DocumentTooLarge
from shared.providers.conversion import archives, sheets
from shared.providers.conversion.request import Limits
from tests import files, hostile

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"


def workbook(folder: Path, part: str = "xl/sharedStrings.xml", before: str = "", strings: int = 2000) -> Path:
    """One cell that shows a shared text, of which there are many."""
    kind = f'<Override PartName="/{part}" ContentType="{KIND}"/></Types>'
    content = files.retyped(hostile.sheet('<row><c t="s"><v>0</v></c></row>'), "</Types>", kind)
    texts = f'{before}<sst xmlns="{MAIN}">{"<si><t>berth</t></si>" * strings}</sst>'
    path = folder / "book"
    path.write_bytes(files.replaced(content, {part: texts}))
    return path


def test_shared_texts_behind_white_space_are_counted(tmp_path: Path) -> None:
    path = workbook(tmp_path, before=" " * 2000)
    assert archives.copied(path, "xlsx", Limits())
    with pytest.raises(DocumentTooLarge, match="tags"):
        archives.copied(path, "xlsx", Limits(tags=3000))


@pytest.mark.parametrize("part", ["xl/sharedStrings.xml", "../strings.xml", "mimetype"])
def test_shared_texts_are_limited_by_the_reader_itself(tmp_path: Path, part: str) -> None:
    path = workbook(tmp_path, part)
    assert sheets.convert(path, Limits()).blocks[1].text == "| berth |\n| --- |"
    with pytest.raises(DocumentTooLarge, match="bytes"):
        sheets.convert(path, Limits(text_bytes=30_000))


def test_a_long_list_of_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "book"
    path.write_bytes(files.retyped(files.xlsx(), "</Types>", " " * 4 * 1024 * 1024 + "</Types>"))
    with pytest.raises(DocumentTooLarge, match="parts"):
        sheets.convert(path, Limits())


def test_what_the_cells_show_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "book"
    path.write_bytes(hostile.shared_text(50, 1000))
    assert sheets.convert(path, Limits(text_bytes=60_000)).pages == 2
    with pytest.raises(DocumentTooLarge, match="text in the tables"):
        sheets.convert(path, Limits(text_bytes=40_000))
