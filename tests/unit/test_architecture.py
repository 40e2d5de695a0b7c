"""What import-linter cannot say: who reads the environment, who knows the Functions library."""

from __future__ import annotations

import ast
import runpy
from collections.abc import Iterator
from pathlib import Path

import handlers

ROOT = Path(__file__).resolve().parents[2]
APP = ("api", "handlers", "shared")


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def mentions(tree: ast.Module, *names: str) -> bool:
    return any(
        isinstance(node, ast.Attribute | ast.Name)
        and (getattr(node, "attr", None) or getattr(node, "id", "")) in names
        for node in ast.walk(tree)
    )


def imported(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module}
    return found


def test_settings_alone_reads_the_environment() -> None:
    readers = {name for name, tree in modules(*APP) if mentions(tree, "environ", "getenv")}
    # The converter's parent hands its child a part of the environment; it reads no setting from it.
    assert readers - {"shared/providers/docling.py"} == {"shared/settings.py"}


def test_only_the_hosts_know_the_functions_library() -> None:
    knowing = {name for name, tree in modules(*APP, "cli", "local") if "azure.functions" in imported(tree)}
    assert knowing == set()


def test_every_task_type_is_a_handler() -> None:
    for task_type in handlers.HANDLERS:
        handler = handlers.load(task_type)
        assert sum(handler.STAGES.values()) == 100
        assert handler.Payload.model_config.get("extra") == "forbid"
        assert callable(handler.run)


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    names = {Path(name).name for name, _ in modules(*APP, "worker", "cli", "local")}
    assert names.isdisjoint({"utils.py", "helpers.py", "common.py", "misc.py"})


def test_a_build_is_told_from_another_of_the_same_version(tmp_path: Path) -> None:
    """A pipeline notes its commit beside the module, for what API, worker and telemetry call themselves."""
    package = tmp_path / "shared" / "__init__.py"
    package.parent.mkdir()
    package.write_bytes((ROOT / "shared" / "__init__.py").read_bytes())
    assert runpy.run_path(str(package))["VERSION"] == "0.1.0"
    (package.parent / "build.txt").write_text("0123456789ab\n")
    assert runpy.run_path(str(package))["VERSION"] == "0.1.0+0123456789ab"
