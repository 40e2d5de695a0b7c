"""The package for Azure, packed with what it needs, unpacked and started where there is nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra.package import PACKAGES, ROOT, as_azd, files, pack

LIMIT_MB = 650
"""An instance has 0.8 GB of temporary files in all, and documents go there too."""
PREPACKAGE = ROOT / "infra" / "hooks" / "prepackage.py"
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"

NOWHERE = {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"}
"""An account that may be there or not: what is asked for here does not touch it."""

START = """
import asyncio, json, sys, types
root, packages = sys.argv[1:]
sys.path[:0] = [root, packages]  # as the host does it
import azure.functions as func
import function_app
functions = {f.get_function_name(): f for f in function_app.app.get_functions()}
early = sorted(sys.modules)
asked = func.HttpRequest(method="GET", url="http://localhost/api/health", body=b"", route_params={})
http = functions["http_app_func"].get_user_function()
answer = asyncio.run(http(asked, types.SimpleNamespace()))
import azure.data.tables, azure.identity, azure.monitor.opentelemetry.exporter
import azure.storage.blob, azure.storage.queue, cryptography.fernet, docling.document_converter
import docling_parse.pdf_parser, openai, opentelemetry.sdk.trace, supabase, tiktoken
import handlers.ingestion, handlers.summarization, shared.maintenance, shared.runner
print(json.dumps({
    "functions": sorted(functions),
    "early": early,
    "health": [answer.status_code, json.loads(answer.get_body())["status"]],
    "files": [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())],
}))
"""


@pytest.fixture(scope="module")
def unpacked() -> Iterator[Path]:
    """Half a gigabyte, so nothing of it is kept."""
    with tempfile.TemporaryDirectory(prefix="docmill-package-") as name:
        folder = Path(name)
        packages = folder / "packed" / PACKAGES
        command = [sys.executable, PREPACKAGE, "--python", THIS, "--target", packages]
        subprocess.run(command, check=True, timeout=900)
        archive = folder / "docmill.zip"
        ours = list(files(ROOT, as_azd((ROOT / ".funcignore").read_text())))
        pack(ROOT, (path for path in ours if not path.is_relative_to(PACKAGES)), archive)
        with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for path in sorted(packages.rglob("*")):
                packed.write(path, PACKAGES / path.relative_to(packages))
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder / "wwwroot")
        yield folder / "wwwroot"


@pytest.mark.timeout(1200)
def test_the_app_starts_where_there_is_nothing_else(unpacked: Path) -> None:
    """Without the project, its virtual environment or a package of the machine: requirements.txt has all."""
    command = [sys.executable, "-I", "-S", "-B", "-c", START, str(unpacked), str(unpacked / PACKAGES)]
    done = subprocess.run(
        command, cwd=unpacked, env=NOWHERE, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["functions"] == ["deliver_webhook", "http_app_func", "maintenance", "tasks_default"]
    assert found["health"] == [200, "ok"]
    assert not {"docling", "fastapi", "openai", "supabase"} & set(found["early"])
    standard = Path(sys.base_prefix)
    elsewhere = {file for file in found["files"] if not Path(file).is_relative_to(unpacked)}
    assert {file for file in elsewhere if not Path(file).is_relative_to(standard)} <= {"", "<string>"}
    assert not [file for file in elsewhere if "site-packages" in file]


def test_it_is_small_enough(unpacked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the whole and its largest parts."""
    sizes: Counter[str] = Counter()
    for path in unpacked.rglob("*"):
        if path.is_file():
            sizes[_part(path.relative_to(unpacked))] += path.stat().st_size
    megabytes = sum(sizes.values()) / 1e6
    largest = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in sizes.most_common(10))
    with capsys.disabled():
        sys.stdout.write(f"\nThe package for Azure, unpacked: {megabytes:.0f} MB ({largest})\n")
    assert megabytes < LIMIT_MB, f"Too large: {largest}"


def test_its_packages_are_compiled_for_good(unpacked: Path) -> None:
    """A zip file keeps times to two seconds: bytecode that goes by them would be made at each start."""
    compiled = list((unpacked / PACKAGES).rglob("*.pyc"))
    assert len(compiled) > 1000
    unchecked = 0b01
    assert {path.read_bytes()[4] for path in compiled} == {unchecked}


def _part(path: Path) -> str:
    """A package's folder with the libraries that stand beside it, or `docmill`."""
    if not path.is_relative_to(PACKAGES):
        return "docmill"
    return path.relative_to(PACKAGES).parts[0].removesuffix(".libs")
