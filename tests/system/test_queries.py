"""monitoring/queries.kql as Kusto's own parser reads it, with the tables of Application Insights."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.system.packages import ROOT

CHECK = Path(__file__).with_name("queries.cjs")
QUERIES = ROOT / "monitoring" / "queries.kql"


def problems(file: Path) -> str:
    modules = ROOT / "local" / "node_modules"
    done = subprocess.run(["node", CHECK, modules, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_queries_are_queries() -> None:
    assert problems(QUERIES) == ""


def test_one_that_is_wrong_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.kql"
    wrong.write_text("traces\n| where mesage startswith 'Queue'\n")
    assert "mesage" in problems(wrong)
