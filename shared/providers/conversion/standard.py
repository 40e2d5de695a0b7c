"""The full Docling pipeline: models for layout, tables and OCR. Nothing is ever downloaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.documents import ConvertedDocument
from shared.errors import ConversionFailed, ConverterUnavailable, DocumentCorrupt
from shared.ports import ConversionOptions
from shared.providers.conversion import page_count
from shared.providers.conversion.docling_document import document_of
from shared.providers.conversion.request import Request

# Without rapidocr Docling would go without OCR and say so in its log alone.
_PACKAGES = ("torch", "torchvision", "transformers", "docling_ibm_models", "rapidocr")
_PLACE = Path(".cache/docling/models")
"""Below the home folder: where `docling-tools models download` puts them."""


def missing(artifacts: Path | None, packages: Sequence[str] = _PACKAGES) -> str | None:
    """What this tier lacks here, for the operator; None when nothing. Imports none of it."""
    lacking = [name for name in packages if find_spec(name) is None]
    if lacking:
        return (
            f"The tier `standard` needs the package {lacking[0]}, which is not installed: "
            "pip install -r requirements-standard.txt"
        )
    if artifacts is None and not _usual().is_dir():
        return "DOCLING_ARTIFACTS_PATH is not set, and the models are not where Docling puts them. " + _FETCH
    if artifacts is not None and not artifacts.is_dir():
        return "DOCLING_ARTIFACTS_PATH is not a folder on this machine. " + _FETCH
    return None


_FETCH = "Fetch them once (docling-tools models download -o FOLDER) and set DOCLING_ARTIFACTS_PATH=FOLDER."


def _usual() -> Path:
    return Path.home() / _PLACE


def convert(request: Request, progress: Callable[[int, int], None]) -> ConvertedDocument:
    """The pages from `first_page` to `last_page`. Raises the document errors and ConverterUnavailable."""
    if problem := missing(request.artifacts):
        raise ConverterUnavailable(problem)
    counted = page_count.convert(request)
    progress(0, counted.pages or 1)
    converter = _converter(request.artifacts or _usual(), request.options.ocr)
    return read(converter, request, counted.pages, progress)


def read(
    converter: Any, request: Request, pages: int | None, progress: Callable[[int, int], None]
) -> ConvertedDocument:
    """`converter`: a DocumentConverter. Its messages hold paths, so none of them goes on."""

    def report(event: Any) -> None:
        if event.kind.value == "page_completed":
            progress(event.completed_pages, event.total_pages)

    last = min(request.last_page or request.limits.pages, pages or request.limits.pages)
    with tempfile.TemporaryDirectory() as folder:
        # Docling goes by the name's extension, and by the content only where there is none.
        path = Path(folder) / f"document.{request.format}"
        path.symlink_to(request.path)
        try:
            result = converter.convert(
                path,
                raises_on_error=False,
                max_num_pages=request.limits.pages,
                page_range=(request.first_page, last),
                progress_callback=report,
            )
        except MemoryError:
            raise
        except Exception as error:
            # Models are loaded before the document is touched; what happens later is in the result.
            raise ConverterUnavailable("The models of the tier `standard` do not load. " + _FETCH) from error
    return _text(result, request)


def _text(result: Any, request: Request) -> ConvertedDocument:
    status = result.status.value
    categories = {error.category.value for error in result.errors}
    if status not in {"success", "partial_success"}:
        raise DocumentCorrupt if not result.input.valid else ConversionFailed
    failed = [error.page_no for error in result.errors if error.page_no]
    if "timeout" in categories:
        raise ConversionFailed("Docling gave this document up. Split it.")
    return document_of(
        result.document, request.format, request.limits, partial=status != "success", failed=failed
    )


@lru_cache(maxsize=1)
def _converter(artifacts: Path, ocr: str) -> Any:
    """Kept for the next document: loading the models takes longer than reading a page."""
    from docling.datamodel.base_models import InputFormat
    from docling.document_converter import DocumentConverter, ImageFormatOption, PdfFormatOption

    options = pipeline_options(artifacts, ConversionOptions.model_validate({"ocr": ocr}))
    return DocumentConverter(
        allowed_formats=[InputFormat.PDF, InputFormat.IMAGE],
        format_options={
            InputFormat.PDF: PdfFormatOption(pipeline_options=options),
            InputFormat.IMAGE: ImageFormatOption(pipeline_options=options),
        },
    )


def pipeline_options(artifacts: Path, options: ConversionOptions) -> Any:
    """Text, layout and tables; no pictures, no enrichment, no service of anybody else."""
    from docling.datamodel.pipeline_options import OcrAutoOptions, OcrMode, ThreadedPdfPipelineOptions

    mode = OcrMode.FULL_PAGE if options.ocr == "always" else OcrMode.DEFAULT

    return ThreadedPdfPipelineOptions(
        artifacts_path=artifacts,
        do_ocr=options.ocr != "never",
        ocr_options=OcrAutoOptions(mode=mode),
        do_table_structure=True,
        generate_page_images=False,
        generate_picture_images=False,
        enable_remote_services=False,
        allow_external_plugins=False,
    )
