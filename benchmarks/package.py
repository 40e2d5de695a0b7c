"""The package for Azure as azd packs it, unpacked: its size, and what its largest packages are for.

The hook that azd calls installs the packages, into a temporary folder, for the Python of this process.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from benchmarks.report import Figure, Report, Table, below
from local.stack import ROOT
from tests.infra.package import PACKAGES, as_azd, files

if TYPE_CHECKING:
    from packaging.requirements import Requirement

LIMIT_MB = 650
"""As in tests/system/test_package.py: an instance of Flex Consumption has 0.8 GB for temporary files."""
SHOWN = 10
PURPOSES = {
    "pandas": "tables of documents: Docling imports it with its document, whatever is read",
    "docling-parse": "reads PDFs: characters, lines and rules of each page, and its fonts and CMaps",
    "openai": "embeddings and summaries by OpenAI, Azure OpenAI and servers that speak like them",
    "numpy": "what pandas stands on; geometry of pages",
    "lxml": "Office files, HTML and OpenDocument: their XML",
    "cryptography": "webhook secrets at rest, certificates of identities",
    "pillow": "pictures, and pages that OCR reads",
    "pypdfium2": "why a PDF cannot be read, titles, page labels, pictures of pages for OCR",
    "docling-slim": "the converters of Office files, HTML, Markdown, mail and OpenDocument",
    "docling-core": "the document that Docling's converters make",
    "azure-storage-blob": "files, texts, results, locks",
    "pydantic-core": "settings, payloads, shapes of the API: their validation",
    "tiktoken": "counts tokens",
    "supabase": "the index",
    "pygments": "colours of docling-core's command line, which nobody calls here",
}
DOCMILL = "Docmill itself"


def run() -> Report:
    with tempfile.TemporaryDirectory(prefix="docmill-package-") as name:
        target = Path(name, PACKAGES)
        hook = _hook()
        hook.install(f"{sys.version_info.major}.{sys.version_info.minor}", target)
        hook.compile_all(target)
        return report(target)


def report(target: Path) -> Report:
    """`target`: the installed packages."""
    found = {_named(one): one for one in distributions(path=[str(target)])}
    sizes = {name: _size(one) for name, one in found.items()} | {DOCMILL: _own_size()}
    whole = sum(path.stat().st_size for path in _files_of(target)) + sizes[DOCMILL]
    largest = sorted(sizes, key=lambda name: -sizes[name])[:SHOWN]
    brought = _brought(found)
    rows = {
        name: (sizes[name] / 1e6, PURPOSES.get(name, ""), brought.get(name, ""))
        for name in [*largest, DOCMILL]
    }
    bytecode = sum(path.stat().st_size for path in _files_of(target) if path.suffix == ".pyc")
    tests = sum(path.stat().st_size for path in _files_of(target) if _is_test(path.relative_to(target)))
    return Report(
        "Package for Azure",
        [
            Figure("unzipped, MB", whole / 1e6, below(LIMIT_MB), f"{len(found)} packages"),
            Figure("of it bytecode, MB", bytecode / 1e6, note="saves its making at each start"),
            Figure("of it tests of packages, MB", tests / 1e6),
            Figure(f"the {SHOWN} largest, MB", sum(sizes[name] for name in largest) / 1e6),
        ],
        [Table("largest packages", ("MB", "for", "brought by"), rows)],
    )


def _hook() -> ModuleType:
    """What azd runs before it packs."""
    spec = importlib.util.spec_from_file_location("prepackage", ROOT / "infra/hooks/prepackage.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError("infra/hooks/prepackage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _own_size() -> int:
    ignores = as_azd((ROOT / ".funcignore").read_text())
    ours = (path for path in files(ROOT, ignores) if not path.is_relative_to(PACKAGES))
    return sum((ROOT / path).stat().st_size for path in ours)


def _files_of(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _size(one: Distribution) -> int:
    """Of its files and their bytecode, which was made later and stands in no list."""
    paths = {Path(str(one.locate_file(file))) for file in one.files or ()}
    compiled = {
        path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
        for path in paths
        if path.suffix == ".py"
    }
    return sum(path.stat().st_size for path in paths | compiled if path.is_file())


def _is_test(path: Path) -> bool:
    return bool({"tests", "test"} & {part.lower() for part in path.parts[:-1]})


def _named(one: Distribution) -> str:
    return _plain(one.metadata["Name"])


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _brought(found: Mapping[str, Distribution]) -> dict[str, str]:
    """Who needs each package, from the line of requirements.txt that begins it, by the shortest way."""
    from packaging.requirements import Requirement

    waiting: list[tuple[Requirement, tuple[str, ...]]] = [(Requirement(line), ()) for line in _lines()]
    ways: dict[str, tuple[str, ...]] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    for asked, way in waiting:  # which grows
        name, extras = _plain(asked.name), frozenset(asked.extras)
        if name not in found or (name, extras) in seen:
            continue
        seen.add((name, extras))
        ways.setdefault(name, way)
        waiting += [(need, (*way, name)) for need in _needs(found[name], extras)]
    return {name: " > ".join(way) or "requirements.txt" for name, way in ways.items()}


def _lines() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _needs(one: Distribution, extras: Collection[str]) -> Iterator[Requirement]:
    """With those of the extras that were asked for."""
    from packaging.requirements import Requirement

    for need in map(Requirement, one.requires or ()):
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield need
