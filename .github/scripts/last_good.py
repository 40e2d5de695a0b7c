"""Of a list of artifacts, as GitHub's API gives it, the last good package: its run and commit, or nothing.

A name proves nothing: the workflow of a pull request can upload an artifact of any name. It has to come from
a run on main in this repository itself, where every change has been accepted by somebody.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def last_good(artifacts: list[dict[str, Any]]) -> tuple[int, str] | None:
    """The newest that can be trusted: id of the run, commit."""
    ours = [artifact for artifact in artifacts if not artifact["expired"] and _trusted(artifact)]
    if not ours:
        return None
    run = max(ours, key=lambda artifact: str(artifact["created_at"]))["workflow_run"]
    return run["id"], run["head_sha"]


def _trusted(artifact: dict[str, Any]) -> bool:
    run = artifact["workflow_run"] or {}
    own = run.get("repository_id") is not None and run.get("head_repository_id") == run["repository_id"]
    return own and run.get("head_branch") == "main"


if __name__ == "__main__":
    found = last_good(json.load(sys.stdin)["artifacts"])
    if found:
        print(*found)
