"""The table of formats, the whole way: one real file of each row is uploaded, ingested, read and found."""

from __future__ import annotations

import pytest

from shared.providers.conversion.formats import FORMATS, IMAGES, Format
from tests import files, scanned
from tests.e2e.api import Api
from tests.rows import MADE


@pytest.mark.parametrize("row", FORMATS, ids=lambda row: row.key)
def test_a_file_of_each_row_is_ingested_as_the_table_says(default: Api, row: Format) -> None:
    task = default.ingest(f"row.{row.endings[0]}", MADE[row.key]())
    result = default.result(task)
    assert result["format"] == row.key and not result["warnings"]
    document = f"/api/documents/{task['document_id']}"
    chunks = default.get(f"{document}/chunks")["items"]
    markdown = default.http.get(f"{document}/markdown").text
    title, text = (scanned.TITLE, scanned.TEXT) if row.key in IMAGES else (files.TITLE, files.TEXT)
    assert scanned.recall(text, " ".join(chunk["content"] for chunk in chunks)) >= 0.9
    if "headings" in row.kept:
        assert result["title"] == title and any(title in chunk["headings"] for chunk in chunks)
    if "tables" in row.kept:
        assert "| North | 11 m |" in markdown
    if "links" in row.kept:
        assert f"[{files.LINK[0]}]({files.LINK[1]})" in markdown
    paged = {"pages", "sheets", "slides"} & set(row.kept)
    assert {chunk["page"] for chunk in chunks} <= ({1, 2} if paged else {None})
    assert bool(result["pages"]) == bool(paged)
