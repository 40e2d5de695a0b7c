"""Docling's full pipeline, as far as it goes without its models.

The converter is Docling's own. Its pipeline reads no page with a model: it hands out a document that was made
beforehand, which is what everything behind the models sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from docling.datamodel.base_models import ConversionStatus, ErrorItem, InputFormat
from docling.datamodel.pipeline_options import NativePdfPipelineOptions, OcrMode
from docling.document_converter import DocumentConverter, PdfFormatOption
from docling.pipeline.native_pdf_pipeline import NativePdfPipeline

from shared.documents import ConvertedDocument
from shared.errors import (
    ConversionFailed,
    ConverterUnavailable,
    DocmillError,
    DocumentCorrupt,
    DocumentEmpty,
    DocumentEncrypted,
    DocumentTooLarge,
)
from shared.ports import ConversionOptions
from shared.providers.conversion import page_count, standard
from shared.providers.conversion.request import Limits, Request
from shared.providers.docling import DoclingConverter
from shared.providers.tiers import StandardReader
from tests.contract.test_converter import pdf, quiet
from tests.docling_documents import BLOCKS, PAGE_ONE, PAGE_TWO, timetable

TEXT = [("Helvetica", "Ferries leave on the hour.", 10.0)]


class Recorded(NativePdfPipeline):
    """Reads the pages by Docling's own means, and forgets them for what was recorded."""

    errors: ClassVar[list[ErrorItem]] = []
    empty: ClassVar[bool] = False

    def _assemble_document(self, result: Any) -> Any:
        numbers = [page.page_no for page in result.pages]
        result.document = timetable(9, 9) if self.empty else timetable(min(numbers), max(numbers))
        result.errors.extend(self.errors)
        return result


class Partial(Recorded):
    errors: ClassVar[list[ErrorItem]] = [
        ErrorItem.model_validate(
            {"component_type": "model", "module_name": "x", "error_message": "/secret", "page_no": 2}
        )
    ]


class TooSlow(Recorded):
    errors: ClassVar[list[ErrorItem]] = [
        ErrorItem.model_validate(
            {"component_type": "model", "module_name": "x", "error_message": "x", "category": "timeout"}
        )
    ]


class Failing(Recorded):
    def _assemble_document(self, result: Any) -> Any:
        raise ValueError("/secret")


class Empty(Recorded):
    empty = True


class Unloaded(Recorded):
    """Models are loaded when the pipeline is made."""

    def __init__(self, pipeline_options: NativePdfPipelineOptions) -> None:
        raise FileNotFoundError("/secret/model.safetensors")


def converter(pipeline: type[Recorded] = Recorded) -> DocumentConverter:
    option = PdfFormatOption(pipeline_cls=pipeline, pipeline_options=NativePdfPipelineOptions())
    return DocumentConverter(allowed_formats=[InputFormat.PDF], format_options={InputFormat.PDF: option})


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    path = tmp_path / "document"
    path.write_bytes(pdf(TEXT, TEXT))
    return path


def read(path: Path, pipeline: type[Recorded] = Recorded, **more: object) -> ConvertedDocument:
    request = Request.model_validate({"path": path, "format": "pdf", **more})
    return standard.read(converter(pipeline), request, 2, quiet)


def test_a_document_comes_back_in_blocks(paper: Path) -> None:
    document = read(paper)
    assert document.blocks == BLOCKS
    assert (document.title, document.pages, document.warnings) == ("Ferry timetable", 2, ())


def test_a_range_of_pages(paper: Path) -> None:
    assert read(paper, first_page=2, last_page=2).blocks == PAGE_TWO
    assert read(paper, first_page=1, last_page=1).blocks == PAGE_ONE
    assert read(paper, first_page=2, last_page=900).blocks == PAGE_TWO


def test_progress_by_page(paper: Path) -> None:
    said: list[tuple[int, int]] = []
    request = Request(path=paper, format="pdf")
    standard.read(converter(), request, 2, lambda done, total: said.append((done, total)))
    assert said == [(1, 2), (2, 2)]


def test_a_page_that_failed_is_a_warning(paper: Path) -> None:
    document = read(paper, Partial)
    assert document.warnings == ("Pages that could not be converted and are missing: 2.",)


@pytest.mark.parametrize(
    ("pipeline", "error"),
    [
        (Failing, ConversionFailed),
        (TooSlow, ConversionFailed),
        (Empty, DocumentEmpty),
        (Unloaded, ConverterUnavailable),
    ],
)
def test_failures(paper: Path, pipeline: type[Recorded], error: type[DocmillError]) -> None:
    with pytest.raises(error) as raised:
        read(paper, pipeline)
    assert type(raised.value) is error
    assert "secret" not in raised.value.message


def test_a_file_that_is_no_pdf(paper: Path) -> None:
    paper.write_bytes(b"%PDF-1.7\n" + bytes(3000))
    with pytest.raises(DocumentCorrupt):
        read(paper)


@pytest.mark.filterwarnings("ignore:This field is deprecated:DeprecationWarning")  # read by Docling itself
def test_the_real_pipeline_says_what_it_lacks(paper: Path, tmp_path: Path) -> None:
    """Without torch and models it does not load, which is no fault of the document."""
    made = standard._converter(tmp_path, "never")
    with pytest.raises(ConverterUnavailable, match="DOCLING_ARTIFACTS_PATH"):
        standard.read(made, Request(path=paper, format="pdf"), 2, quiet)


@pytest.mark.parametrize(
    ("ocr", "does", "mode"),
    [
        ("auto", True, OcrMode.DEFAULT),
        ("always", True, OcrMode.FULL_PAGE),
        ("never", False, OcrMode.DEFAULT),
    ],
)
def test_what_the_pipeline_is_asked(tmp_path: Path, ocr: str, does: bool, mode: OcrMode) -> None:
    options = standard.pipeline_options(tmp_path, ConversionOptions.model_validate({"ocr": ocr}))
    assert (options.do_ocr, options.ocr_options.mode, options.do_table_structure) == (does, mode, True)
    assert (options.enable_remote_services, options.allow_external_plugins) == (False, False)
    assert options.artifacts_path == tmp_path


# --- what is missing -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own() -> Iterator[DoclingConverter]:
    made = DoclingConverter(processes=1, memory_mb=2048, limits=Limits(pages=20))
    yield made
    made.close()


def test_the_child_says_what_is_missing(own: DoclingConverter, paper: Path) -> None:
    reader = StandardReader(own, None)
    for call in (
        lambda: reader.read(paper, "pdf", ConversionOptions(), None, timeout=30, progress=quiet),
        lambda: reader.ping(5),
    ):
        with pytest.raises(ConverterUnavailable, match=r"torch.*requirements-standard\.txt"):
            call()


def test_models_are_looked_for(tmp_path: Path) -> None:
    assert "not a folder" in str(standard.missing(tmp_path / "nowhere", ["json"]))
    assert standard.missing(tmp_path, ["json"]) is None
    assert "no_such_package" in str(standard.missing(tmp_path, ["json", "no_such_package"]))


# --- counting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (pdf(TEXT, password="secret"), DocumentEncrypted),
        (pdf(*[TEXT] * 4), DocumentTooLarge),
    ],
    ids=["locked", "pages"],
)
def test_what_is_known_before_anybody_reads(paper: Path, content: bytes, error: type[DocmillError]) -> None:
    paper.write_bytes(content)
    with pytest.raises(error):
        page_count.convert(Request(path=paper, format="pdf", limits=Limits(pages=3)))


def test_pages_are_counted_where_that_is_possible(paper: Path) -> None:
    assert page_count.convert(Request(path=paper, format="pdf")).pages == 2
    assert page_count.convert(Request(path=paper, format="png")).pages is None
    paper.write_bytes(b"%PDF-1.7\n" + bytes(3000))
    assert page_count.convert(Request(path=paper, format="pdf")).pages is None


def test_a_status_that_docling_has() -> None:
    assert {status.value for status in ConversionStatus} >= {"success", "partial_success"}
