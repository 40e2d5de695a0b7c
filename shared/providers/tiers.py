"""Who reads which page. PDFs and images have a choice of readers; everything else our own child converts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from shared import deadline
from shared.documents import Block, ConvertedDocument
from shared.errors import ConverterUnavailable, DocumentEmpty
from shared.ports import ConversionOptions
from shared.providers.conversion import standard
from shared.providers.conversion.formats import IMAGES
from shared.providers.conversion.request import Request
from shared.providers.docling import DoclingConverter

READ = IMAGES | {"pdf"}
_MOST_RANGES = 8
"""Each range is a request of its own, for which a docling-serve is sent the whole file."""

Progress = Callable[[int, int], None]
Range = tuple[int, int]


class Reader(Protocol):
    """Reads PDFs and images better than our own child does, at a price."""

    @property
    def version(self) -> str: ...

    def read(
        self,
        path: Path,
        fmt: str,
        options: ConversionOptions,
        pages: Range | None,
        *,
        timeout: float,
        progress: Progress,
    ) -> ConvertedDocument:
        """The pages from the first to the last of `pages`, both within; all of them for None.

        Pages keep their numbers. Raises what `Converter.convert` raises.
        """

    def ping(self, timeout: float) -> None:
        """Raises ConverterUnavailable."""

    def close(self) -> None: ...


class StandardReader:
    """Docling's full pipeline, in our own child. `artifacts`: the folder of its models, if not the usual."""

    def __init__(self, own: DoclingConverter, artifacts: Path | None) -> None:
        self._own = own
        self._artifacts = artifacts

    @property
    def version(self) -> str:
        return "standard"

    def read(
        self,
        path: Path,
        fmt: str,
        options: ConversionOptions,
        pages: Range | None,
        *,
        timeout: float,
        progress: Progress,
    ) -> ConvertedDocument:
        first, last = pages or (1, None)
        request = Request(
            path=path.resolve(),
            format=fmt,
            options=options,
            limits=self._own.limits,
            reader="standard",
            first_page=first,
            last_page=last,
            artifacts=self._artifacts,
        )
        return self._own.run(request, timeout=timeout, progress=progress)

    def ping(self, timeout: float) -> None:  # noqa: ARG002
        if problem := standard.missing(self._artifacts):
            raise ConverterUnavailable(problem)

    def close(self) -> None:
        """The child is the converter's."""


class TieredConverter:
    """A `Converter`: PDFs and images go to `reader` as a whole, the rest to `own`."""

    def __init__(self, own: DoclingConverter, reader: Reader) -> None:
        self._own = own
        self._reader = reader

    @property
    def version(self) -> str:
        return f"{self._reader.version}-{self._own.version}"

    def detect(self, path: Path, filename: str) -> str:
        return self._own.detect(path, filename)

    def convert(
        self, path: Path, fmt: str, options: ConversionOptions, *, timeout: float, progress: Progress
    ) -> ConvertedDocument:
        if fmt in READ:
            return self._reader.read(path, fmt, options, None, timeout=timeout, progress=progress)
        return self._own.convert(path, fmt, options, timeout=timeout, progress=progress)

    def ping(self, timeout: float) -> None:
        self._own.ping(timeout)
        self._reader.ping(timeout)

    def close(self) -> None:
        self._reader.close()
        self._own.close()


class AutoConverter(TieredConverter):
    """Our own child reads what has a text layer, `reader` the pages that hold only images, and images."""

    @property
    def version(self) -> str:
        return f"auto-{super().version}"

    def convert(
        self, path: Path, fmt: str, options: ConversionOptions, *, timeout: float, progress: Progress
    ) -> ConvertedDocument:
        if fmt not in READ or options.ocr == "never":
            return self._own.convert(path, fmt, options, timeout=timeout, progress=progress)
        if fmt != "pdf" or options.ocr == "always":
            return self._reader.read(path, fmt, options, None, timeout=timeout, progress=progress)
        with deadline.within(timeout):
            return self._by_page(path, options, timeout, _Halves(progress))

    def _by_page(
        self, path: Path, options: ConversionOptions, timeout: float, halves: _Halves
    ) -> ConvertedDocument:
        without = options.model_copy(update={"ocr": "never"})
        try:
            text = self._own.convert(path, "pdf", without, timeout=timeout, progress=halves.first)
        except DocumentEmpty:
            # Not one page has a text layer.
            return self._read(path, options, None, timeout, halves.second(0, 1))
        if not text.unread:
            halves.end()
            return text
        parts = list(self._parts(path, options, ranges(text.unread), timeout, halves))
        halves.end()
        return merged(text, parts)

    def _parts(
        self, path: Path, options: ConversionOptions, wanted: Sequence[Range], timeout: float, halves: _Halves
    ) -> Iterator[ConvertedDocument]:
        for index, pages in enumerate(wanted):
            progress = halves.second(index, len(wanted))
            try:
                yield self._read(path, options, pages, timeout, progress)
            except DocumentEmpty:  # photographs: nothing to read on these pages
                continue

    def _read(
        self, path: Path, options: ConversionOptions, pages: Range | None, timeout: float, progress: Progress
    ) -> ConvertedDocument:
        left = deadline.left(timeout)
        return self._reader.read(path, "pdf", options, pages, timeout=left, progress=progress)


class _Halves:
    """One progress of two passes: the first counts to half, since nobody knows what it leaves undone."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._pages = 1
        self._done = 0

    def first(self, done: int, total: int) -> None:
        self._pages = max(total, 1)
        self._say(done / max(total, 1) / 2)

    def second(self, index: int, of: int) -> Progress:
        """For the part `index` (from 0) of `of` parts."""
        return lambda done, total: self._say(0.5 + (index + done / max(total, 1)) / of / 2)

    def end(self) -> None:
        self._say(1.0)

    def _say(self, share: float) -> None:
        self._done = max(self._done, int(share * self._pages))
        self._progress(self._done, self._pages)


def ranges(pages: Iterable[int], most: int = _MOST_RANGES) -> list[Range]:
    """Ranges that hold all of these pages, at most `most`: then the narrowest gaps are read along."""
    ordered = sorted(set(pages))
    gaps = sorted(((after - before, before) for before, after in pairwise(ordered)), reverse=True)
    ends = {before for width, before in gaps[: most - 1] if width > 1}
    found: list[Range] = []
    first = None
    for page in ordered:
        first = first or page
        if page in ends or page == ordered[-1]:
            found.append((first, page))
            first = None
    return found


def merged(text: ConvertedDocument, parts: Iterable[ConvertedDocument]) -> ConvertedDocument:
    """`text` with the pages that it left unread, from the `parts` that hold them."""
    unread = set(text.unread)
    parts = list(parts)
    added = [block for part in parts for block in part.blocks if block.page in unread]
    # Sorting is stable: within a page the order stays.
    blocks = tuple(sorted((*text.blocks, *added), key=lambda block: block.page or 0))
    if not blocks:
        raise DocumentEmpty("The pages hold no text.")
    warnings = dict.fromkeys((*text.warnings, *(warning for part in parts for warning in part.warnings)))
    return text.model_copy(
        update={
            "blocks": blocks,
            "title": _title(text, blocks, unread),
            "warnings": tuple(warnings),
            "unread": (),
        }
    )


def _title(text: ConvertedDocument, blocks: Sequence[Block], unread: set[int]) -> str | None:
    """The one that was known, unless it is a heading of some page after a first one that was read later."""
    first = next((block for block in blocks if block.kind == "heading"), None)
    if first is None or first.page not in unread:
        return text.title
    guessed = {block.text for block in text.blocks if block.kind == "heading"}
    return first.text if text.title is None or text.title in guessed else text.title
