"""The scripts inside the workflows, read by shellcheck; the packages with which they run our command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.system.packages import ROOT, tool

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = [
    pytest.param(step["run"], id=f"{path.stem}: {step.get('name', step['run'])[:40]}")
    for path in WORKFLOWS
    for job in yaml.safe_load(path.read_text())["jobs"].values()
    for step in job.get("steps", [])
    if "run" in step
]
COMMAND = """
import sys
sys.path[:0] = sys.argv[1:3]
sys.argv = ["docmill", "smoke", "--url", "http://127.0.0.1:9", "--key", "dm_x", "--timeout", "1"]
from cli.app import main
main()
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script: str) -> None:
    command = [tool("shellcheck", "shellcheck"), "--shell", "bash", "-"]
    done = subprocess.run(
        command, input=f"set -eo pipefail\n{script}", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_what_they_install_is_enough_for_docmill_smoke(tmp_path: Path) -> None:
    """In all places the same few packages, instead of all that the service needs."""
    text = "".join(path.read_text() for path in WORKFLOWS)
    lines = set(re.findall(r"pip install --quiet (-c constraints\.txt .+)", text))
    assert len(lines) == 1
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--root-user-action=ignore"]
    subprocess.run([*pip, "--target", tmp_path, *lines.pop().split()], cwd=ROOT, check=True, timeout=300)
    command = [sys.executable, "-I", "-S", "-B", "-c", COMMAND, str(ROOT), str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1 and "health failed: http://127.0.0.1:9 is out of reach" in done.stderr
