"""What goes to Azure, and what never does. tests/system/test_package.py starts it from there."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.infra.package import PACKAGES, ROOT, Ignores, as_azd, as_git, files

TEXT = (ROOT / ".funcignore").read_text()
INSIDE = {"LICENSE", "api", "function_app.py", "handlers", "host.json", "requirements.txt", "shared"}
READINGS = pytest.mark.parametrize("reading", [as_azd, as_git], ids=["azd", "git"])
Reading = Callable[[str], Ignores]

STAYS = (
    ".env",
    "production.env",
    "shared/secret.env",
    "local.settings.json",
    "api/local.settings.json",
    "local.settings.sample.json",
    ".azure/production/.env",
    ".azure/config.json",
    ".git/config",
    ".github/workflows/deploy.yml",
    ".local/env",
    ".venv/pyvenv.cfg",
    ".venv/lib/python3.12/site-packages/x.py",
    ".funcignore",
    ".gitignore",
    ".vscode/settings.json",
    "__pycache__/function_app.cpython-312.pyc",
    "api/__pycache__/app.cpython-312.pyc",
    "shared/providers/__pycache__/openai.cpython-312.pyc",
    "__azurite_db_queue__.json",
    "azure.yaml",
    "cli/app.py",
    "dist/docmill.zip",
    "docmill.egg-info/PKG-INFO",
    "docs/api.md",
    "infra/main.bicep",
    "infra/main.parameters.json",
    "local/node_modules/azurite/package.json",
    "requirements-dev.txt",
    "samples/make.py",
    "supabase/migrations/1.sql",
    "tests/conftest.py",
    "worker/host.py",
)
GOES = (
    "function_app.py",
    "host.json",
    "requirements.txt",
    "api/app.py",
    "handlers/ingestion.py",
    "shared/assets/cl100k_base.tiktoken",
    "shared/build.txt",
    "shared/providers/local.py",
    # Packages have folders of every name.
    f"{PACKAGES}/supabase/client.py",
    f"{PACKAGES}/huggingface_hub/cli/hf.py",
    f"{PACKAGES}/some/docs/tests/local/worker/build/infra/x.py",
    f"{PACKAGES}/some/__pycache__/x.cpython-312.pyc",
    f"{PACKAGES}/some/README.md",
)


@READINGS
def test_local_state_tests_and_secrets_stay_at_home(tmp_path: Path, reading: Reading) -> None:
    for name in (*STAYS, *GOES):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert {str(path) for path in files(tmp_path, reading(TEXT))} == set(GOES)


def test_azd_and_git_read_it_alike() -> None:
    assert list(files(ROOT, as_azd(TEXT))) == list(files(ROOT, as_git(TEXT)))


def test_the_package_has_nothing_that_is_not_named_here() -> None:
    """A new file or folder of the project belongs into .funcignore, or into INSIDE."""
    found = {path.parts[0] for path in files(ROOT, as_azd(TEXT))}
    assert found - {PACKAGES.parts[0]} == INSIDE


def test_it_keeps_to_what_every_reader_understands() -> None:
    patterns = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
    assert len(patterns) == len(set(patterns))
    for pattern in patterns:
        assert not pattern.startswith("!") and not pattern.endswith(("/", " ")), pattern
        assert re.fullmatch(r"/?[^/]+|/\w+/\*\*/[^/*]+", pattern), pattern


def test_all_that_the_app_imports_is_inside() -> None:
    """Of our own modules. What is not ours comes from requirements.txt."""
    ours = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    assert {"api", "cli", "shared", "worker"} <= ours
    for path in files(ROOT, as_azd(TEXT)):
        if path.suffix == ".py" and path.parts[0] != PACKAGES.parts[0]:
            missing = (_imported(ROOT / path) & ours) - INSIDE
            assert not missing, f"{path} imports {missing}"


def _imported(path: Path) -> set[str]:
    """First parts of the names of the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_azd_brings_the_packages_along() -> None:
    """Installed before it packs, so that nothing is left to be built in Azure."""
    service = yaml.safe_load((ROOT / "azure.yaml").read_text())["services"]["api"]
    assert service["remoteBuild"] is False and service["project"] == "."
    for hook in service["hooks"]["prepackage"].values():
        assert hook["run"].split()[1] == "infra/hooks/prepackage.py"
        assert "continueOnError" not in hook


def test_it_is_an_app_of_the_functions_host() -> None:
    """`host.json` at the top, once, and a `requirements.txt` without what only tests or servers need."""
    inside = list(files(ROOT, as_azd(TEXT)))
    assert [str(path) for path in inside if path.name == "host.json"] == ["host.json"]
    assert json.loads((ROOT / "host.json").read_text())["version"] == "2.0"
    required = {re.split(r"[=\[]", line)[0] for line in (ROOT / "requirements.txt").read_text().split()}
    assert "azure-functions" in required
    assert not required & {"pytest", "uvicorn", "azure-functions-worker", "rapidocr", "torch", "onnxruntime"}
