"""Runs one task in a container group of its own, with an image that was just pushed, and checks how it ended:
the group by its exit code, the task by the API. What it makes it removes.

The task does not go by the queue: whoever serves that would take it first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cli import sample  # noqa: E402
from cli.client import Api, Failure  # noqa: E402

NEEDED = (
    "AZURE_RESOURCE_GROUP",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_KEY_VAULT_NAME",
    "DOCMILL_API_KEY",
    "DOCMILL_URL",
    "SUPABASE_URL",
)
TEMPLATE = ROOT / "infra" / "aci" / "container-group.bicep"
ROUNDS = int(os.environ.get("TRY_ROUNDS", "60"))
PAUSE_SECONDS = float(os.environ.get("TRY_PAUSE_SECONDS", "10"))


class Trouble(Exception):
    """The text says what is wrong."""


def main() -> int:
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        print(f"::error::Not set: {', '.join(missing)}. See docs/ci.md.")
        return 1
    try:
        with Api(os.environ["DOCMILL_URL"], os.environ["DOCMILL_API_KEY"]) as api:
            _try(api)
    except (Trouble, Failure) as error:
        print(f"::error::{error}")
        return 1
    except subprocess.CalledProcessError as error:
        print(f"::error::az {' '.join(error.cmd[1:3])} failed.")
        return 1
    return 0


def _try(api: Api) -> None:
    task = f"task-image-{os.environ['GITHUB_RUN_ID']}-{os.environ['GITHUB_RUN_ATTEMPT']}"
    group = f"docmill-{task}-1"
    made = sample.new()
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / made.filename
        file.write_bytes(made.pdf())
        document = api.upload(file)
        try:
            _start(group, _message(task, document), document["client_id"], Path(name) / "parameters.json")
            _ended_well(group)
        finally:
            _az("container", "delete", "--name", group, "--yes", check=False)
            state = _state(api, task)
            api.delete_document(document["document_id"])
    # For a task that failed the group ends with 0 too. With this document it should not fail.
    if state != "succeeded":
        raise Trouble(f"The container ended well, but the task is {state}.")
    print(f"{task} succeeded in {group}.")


def _message(task: str, document: dict[str, Any]) -> str:
    return json.dumps(
        {
            "schema_version": 1,
            "task_id": task,
            "task_type": "ingestion",
            "client_id": document["client_id"],
            "payload": {"document_id": document["document_id"]},
        }
    )


def _start(group: str, message: str, client: str, file: Path) -> None:
    """ACI_PARAMETERS: further parameters of the template, JSON, such as `settings` and `secrets`."""
    values = {
        **json.loads(os.environ.get("ACI_PARAMETERS") or "{}"),
        "name": group,
        "taskData": message,
        "client": client,
        "imageTag": os.environ["GITHUB_SHA"],
        "storageAccountName": os.environ["AZURE_STORAGE_ACCOUNT"],
        "keyVaultName": os.environ["AZURE_KEY_VAULT_NAME"],
        "supabaseUrl": os.environ["SUPABASE_URL"],
    }
    file.write_text(json.dumps({"parameters": {name: {"value": value} for name, value in values.items()}}))
    _az("deployment", "group", "create", "--name", group, "--template-file", str(TEMPLATE),
        "--parameters", f"@{file}")  # fmt: skip


def _ended_well(group: str) -> None:
    state: dict[str, Any] = {}
    for _ in range(ROUNDS):
        query = ["--query", "containers[0].instanceView.currentState"]
        state = json.loads(_az("container", "show", "--name", group, *query) or "null") or {}
        if state.get("state") == "Terminated":
            break
        time.sleep(PAUSE_SECONDS)
    print(_az("container", "logs", "--name", group, check=False))
    if state.get("state") != "Terminated" or state.get("exitCode") != 0:
        raise Trouble(f"The container group ended like this: {json.dumps(state)}")


def _state(api: Api, task: str) -> str:
    try:
        return str(api.task(task)["status"])
    except Failure as error:
        return f"not to be seen: {error}"


def _az(*words: str, check: bool = True) -> str:
    """What it prints. Raises CalledProcessError."""
    where = ["--resource-group", os.environ["AZURE_RESOURCE_GROUP"]]
    output = [] if "logs" in words else ["--output", "json"]
    command = ["az", *words, *where, *output]
    return subprocess.run(command, check=check, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
