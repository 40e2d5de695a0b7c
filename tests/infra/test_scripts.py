"""What the workflows run beside our own commands. Stand-ins for `az` and `azd` note what they are told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.messages import TaskMessage
from tests.answering import KEY, Answer, Service, problem, serving

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / ".github" / "scripts"
RUN = {
    "GITHUB_SERVER_URL": "https://github.example",
    "GITHUB_REPOSITORY": "acme/docmill",
    "GITHUB_RUN_ID": "4711",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_REF_NAME": "main",
    "GITHUB_SHA": "0123456789abcdef0123456789abcdef01234567",
}
Done = subprocess.CompletedProcess[str]


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Done]:
    """Runs one of them, with the programs of `tmp_path/bin` alone before those of the machine."""
    (tmp_path / "bin").mkdir()

    def run(name: str, *words: str, stdin: str = "", **environ: str) -> Done:
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        env = {"PATH": path, **RUN, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), **environ}
        command = [sys.executable, str(SCRIPTS / name), *words]
        return subprocess.run(
            command, cwd=ROOT, env=env, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def stand_in(tmp_path: Path, name: str, body: str) -> Callable[[], list[list[str]]]:
    """A program in Python; what it was called with, each time."""
    noted = tmp_path / f"{name}.calls"
    program = tmp_path / "bin" / name
    program.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\n"
        f"with pathlib.Path({str(noted)!r}).open('a') as file:\n"
        f"    print(json.dumps(sys.argv[1:]), file=file)\n"
        f"{body}\n"
    )
    program.chmod(0o755)
    return lambda: [json.loads(line) for line in noted.read_text().splitlines()] if noted.exists() else []


# --- the last good package -------------------------------------------------------------------------------


def artifact(at: str, **changes: Any) -> dict[str, Any]:
    run = {
        "id": int(at),
        "repository_id": 1,
        "head_repository_id": 1,
        "head_branch": "main",
        "head_sha": f"sha-{at}",
    }
    run |= {name: value for name, value in changes.items() if name in run}
    return {
        "name": "docmill-good-production",
        "expired": changes.get("expired", False),
        "created_at": f"2026-11-{at}T00:00:00Z",
        "workflow_run": changes.get("workflow_run", run),
    }


@pytest.mark.parametrize(
    ("artifacts", "found"),
    [
        ([artifact("10"), artifact("12"), artifact("11")], "12 sha-12\n"),
        ([artifact("10"), artifact("12", expired=True)], "10 sha-10\n"),
        ([artifact("10"), artifact("12", head_branch="feature")], "10 sha-10\n"),
        # A fork may call its branch main.
        ([artifact("10"), artifact("12", head_repository_id=2)], "10 sha-10\n"),
        ([artifact("12", workflow_run=None)], ""),
        ([artifact("12", workflow_run={"id": 1, "head_branch": "main", "head_sha": "x"})], ""),
        ([], ""),
    ],
)
def test_only_a_package_of_main_is_gone_back_to(
    script: Callable[..., Done], artifacts: list[dict[str, Any]], found: str
) -> None:
    done = script("last_good.py", stdin=json.dumps({"total_count": 1, "artifacts": artifacts}))
    assert (done.returncode, done.stdout) == (0, found), done.stderr


# --- variables for azd -----------------------------------------------------------------------------------


def test_azd_is_told_what_the_template_asks_for(script: Callable[..., Done], tmp_path: Path) -> None:
    calls = stand_in(tmp_path, "azd", "")
    given = {"DOCMILL_MEMORY_MB": "4096", "AZURE_LOCATION": "westeurope", "DOCMILL_ALERT_EMAIL": ""}
    done = script("variables.py", VARIABLES=json.dumps({**given, "ACR_LOGIN_SERVER": "x", "PATH": "/evil"}))
    assert done.returncode == 0, done.stderr
    assert calls() == [
        ["env", "set", "AZURE_LOCATION", "westeurope"],
        ["env", "set", "DOCMILL_MEMORY_MB", "4096"],
    ]


def test_azd_that_refuses_ends_it(script: Callable[..., Done], tmp_path: Path) -> None:
    stand_in(tmp_path, "azd", "sys.exit(3)")
    assert script("variables.py", VARIABLES='{"AZURE_LOCATION": "westeurope"}').returncode != 0


# --- telling somebody ------------------------------------------------------------------------------------


def test_somebody_is_told(script: Callable[..., Done], service: Service, tmp_path: Path) -> None:
    service.on("POST /hook", (200, {}))
    done = script("tell.py", "Deployment failed", FAILURE_WEBHOOK_URL=f"{service.url}/hook")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    ((_, _, body),) = service.requests
    said = json.loads(body)["text"]
    assert said == (
        "Deployment failed: main at 0123456789ab, https://github.example/acme/docmill/actions/runs/4711"
    )
    assert (tmp_path / "summary.md").read_text() == f"{said}\n"


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9/secret-part", "no address: secret-part"])
def test_whom_nobody_hears_fails_nothing(script: Callable[..., Done], tmp_path: Path, url: str) -> None:
    done = script("tell.py", "Deployment failed", FAILURE_WEBHOOK_URL=url)
    assert done.returncode == 0, done.stderr
    assert "secret-part" not in done.stdout + done.stderr
    assert "Deployment failed" in (tmp_path / "summary.md").read_text()


# --- an image is tried out -------------------------------------------------------------------------------

AZ = """
if sys.argv[1:3] == ["container", "show"]:
    print(json.dumps({state}))
if sys.argv[1:3] == ["deployment", "group"]:
    file = sys.argv[sys.argv.index("--parameters") + 1].removeprefix("@")
    pathlib.Path({kept!r}).write_text(pathlib.Path(file).read_text())
    sys.exit({deployed})
"""
TASK = "task-image-4711-2"


class Deployment(Service):
    """An API with one document and the task that the container has run."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.on("POST /api/documents", (201, {"document_id": "doc-1", "client_id": "smoke"}))
        self.on(f"GET /api/tasks/{TASK}", (200, {"status": "succeeded"}))
        self.on("DELETE /api/documents/doc-1", (204, b""))


@pytest.fixture
def try_image(script: Callable[..., Done], tmp_path: Path) -> Iterator[Callable[..., Done]]:
    with serving(Deployment) as service:

        def run(state: object, deployed: int = 0, answer: Answer | None = None, **environ: str) -> Done:
            if answer:
                service.on(f"GET /api/tasks/{TASK}", answer)
            body = AZ.format(state=repr(state), kept=str(tmp_path / "parameters.json"), deployed=deployed)
            run.az = stand_in(tmp_path, "az", body)  # type: ignore[attr-defined]
            settings = {
                "AZURE_RESOURCE_GROUP": "rg",
                "AZURE_STORAGE_ACCOUNT": "account",
                "AZURE_KEY_VAULT_NAME": "vault",
                "SUPABASE_URL": "https://x.supabase.co",
                "DOCMILL_URL": service.url,
                "DOCMILL_API_KEY": KEY,
                "TRY_PAUSE_SECONDS": "0",
                "TRY_ROUNDS": "3",
            }
            return script("try_image.py", **{**settings, **environ})

        run.service = service  # type: ignore[attr-defined]
        yield run


ENDED = {"state": "Terminated", "exitCode": 0}


def test_an_image_that_works(try_image: Any, tmp_path: Path) -> None:
    done = try_image(ENDED, ACI_PARAMETERS='{"memoryInGB": 4, "imageTag": "overruled"}')
    assert done.returncode == 0, done.stdout + done.stderr
    given = json.loads((tmp_path / "parameters.json").read_text())["parameters"]
    values = {name: member["value"] for name, member in given.items()}
    assert values["imageTag"] == RUN["GITHUB_SHA"] and values["memoryInGB"] == 4
    assert values["client"] == "smoke" and values["name"] == f"docmill-{TASK}-1" and len(values["name"]) <= 63
    message = TaskMessage.model_validate_json(values["taskData"])
    assert (message.task_id, message.client_id) == (TASK, "smoke")
    assert message.payload == {"document_id": "doc-1"} and message.task_type == "ingestion"
    assert KEY not in str(try_image.az()) and "x.supabase.co" not in str(try_image.az())


@pytest.mark.parametrize(
    ("state", "deployed", "answer", "said"),
    [
        ({"state": "Terminated", "exitCode": 2}, 0, None, '"exitCode": 2'),
        ({"state": "Waiting"}, 0, None, '"state": "Waiting"'),
        (None, 0, None, "ended like this: {}"),
        (ENDED, 0, (200, {"status": "failed"}), "the task is failed"),
        (ENDED, 0, problem(404, "not_found", "There is no task of this id."), "There is no task"),
        (ENDED, 1, None, "az deployment group failed"),
    ],
)
def test_an_image_that_does_not_work_and_what_is_left(
    try_image: Any, state: object, deployed: int, answer: Answer | None, said: str
) -> None:
    done = try_image(state, deployed, answer)
    assert done.returncode == 1
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("::error::"))
    assert said in line and "Traceback" not in done.stderr
    assert [call[:2] for call in try_image.az()][-1] == ["container", "delete"]
    assert "DELETE /api/documents/doc-1" in [route for route, _, _ in try_image.service.requests]


def test_what_is_not_set_is_named(try_image: Any) -> None:
    done = try_image(ENDED, SUPABASE_URL="", DOCMILL_URL="")
    assert done.returncode == 1 and "DOCMILL_URL, SUPABASE_URL" in done.stdout


def test_the_template_takes_what_it_is_given() -> None:
    """Where infra/aci is there: its parameters have these names."""
    template = ROOT / "infra" / "aci" / "container-group.bicep"
    if template.exists():
        parameters = set(re.findall(r"^param (\w+)", template.read_text(), re.MULTILINE))
        given = {
            "name",
            "taskData",
            "client",
            "imageTag",
            "storageAccountName",
            "keyVaultName",
            "supabaseUrl",
        }
        assert given <= parameters
