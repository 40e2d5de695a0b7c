"""`docmill smoke` against the real service: it finds it whole, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.app import app as docmill
from local.app import App
from shared.core import Core


def smoke(app: App, **environ: str) -> tuple[int, dict[str, str]]:
    """Its exit status, and what came of each step."""
    words = ["smoke", "--timeout", "120", "--json"]
    ran = CliRunner().invoke(docmill, words, env={**app.environment, **environ})
    return ran.exit_code, {step["step"]: step["result"] for step in json.loads(ran.stdout)["steps"]}


def documents(core: Core) -> set[str]:
    return {row.document_id for row in core.documents.page("default", limit=200).items}


def test_a_whole_deployment_passes(
    app: App, core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = documents(core)
    status, steps = smoke(app)
    assert (status, set(steps.values())) == (0, {"ok"}), steps
    assert documents(core) == before


def test_a_key_that_is_not_valid_fails_at_the_upload(app: App, tmp_path: Path) -> None:
    status, steps = smoke(app, DOCMILL_API_KEY="dm_default_000000000000_" + 64 * "0")
    assert status == 1
    assert steps["ready"] == "ok" and steps["upload"] == "failed" and steps["gone"] == "skipped"
