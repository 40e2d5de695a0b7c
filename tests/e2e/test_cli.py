"""`docmill` against the real service: API, worker, storage, Supabase."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.app import app as docmill
from local.app import App
from local.stack import ROOT

Run = Callable[..., Result]
WORD = "quernstone"


@pytest.fixture
def run(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `docmill` with the service's own settings in the environment."""
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str, **environ: str) -> Result:
        return CliRunner().invoke(docmill, list(words), env={**app.environment, **environ})

    return invoke


@pytest.fixture
def report(tmp_path: Path) -> str:
    path = tmp_path / "mill report.md"
    path.write_text(
        f"# The mill\n\nThe {WORD} was dressed in May. It grinds rye for the village.\n\n"
        "# The wheel\n\nThe wheel turns slowly in summer, when the stream is low.\n"
    )
    return str(path)


def test_a_document_goes_all_the_way(run: Run, report: str) -> None:
    sent = run("submit", report, "--wait", "--json")
    assert sent.exit_code == 0, sent.output
    task = json.loads(sent.stdout)
    assert task["status"] == "succeeded"
    assert "100%  done" in sent.stderr

    assert run("status", task["task_id"], "--wait").exit_code == 0
    ingested = json.loads(run("result", task["task_id"], "--json").stdout)
    assert ingested["document_id"] == task["document_id"]
    assert ingested["chunks"] >= 1
    listed = json.loads(run("tasks", "--status", "succeeded", "--json").stdout)
    assert task["task_id"] in {item["task_id"] for item in listed["items"]}
    documents = json.loads(run("documents", "--json").stdout)
    assert task["document_id"] in {item["document_id"] for item in documents["items"]}
    found = run("search", f"When was the {WORD} dressed?", "--document", task["document_id"])
    assert "1. mill report.md" in found.stdout
    assert WORD in found.stdout


def test_a_summary_is_printed(run: Run, report: str) -> None:
    sent = run("submit", report, "--type", "summarization", "--wait", "--json")
    assert sent.exit_code == 0, sent.output
    assert run("result", json.loads(sent.stdout)["task_id"]).stdout.strip()


def test_a_file_that_cannot_be_read_is_1(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7\nthis is not one")
    sent = run("submit", str(broken), "--wait")
    assert sent.exit_code == 1
    assert "failed" in sent.stderr


def test_a_failed_task_is_retried_and_cannot_be_cancelled(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7\nnor is this")
    run("submit", str(broken), "--wait")
    tasks = json.loads(run("tasks", "--status", "failed", "--limit", "1", "--json").stdout)
    name = tasks["items"][0]["task_id"]
    assert run("cancel", name).exit_code == 2
    assert run("retry", name).stdout == f"{name}: queued\n"
    again = run("status", name, "--wait", "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout)["attempt"] == 1
    assert run("dead-letters", "retry", name).exit_code == 0
    assert run("dead-letters", "list", "--json").exit_code == 0


def test_another_client_sees_nothing_of_it(run: Run, report: str) -> None:
    sent = json.loads(run("submit", report, "--json").stdout)
    other = run("--key-env", "DOCMILL_API_KEY_ACME", "status", sent["task_id"])
    assert other.exit_code == 2
    assert "no task" in other.stderr


def test_a_wrong_key_is_2(run: Run) -> None:
    assert run("tasks", DOCMILL_API_KEY="dm_default_000000000000_" + 64 * "0").exit_code == 2


def test_a_new_key_works_until_it_is_revoked(run: Run) -> None:
    made = json.loads(run("keys", "create", "--client", "acme", "--json").stdout)
    assert run("documents", DOCMILL_API_KEY=made["key"]).exit_code == 0
    assert run("keys", "revoke", made["key_id"], "--client", "acme").exit_code == 0
    listed = run("keys", "list", "--client", "acme", "--json").stdout
    assert made["key"] not in listed
    [row] = [item for item in json.loads(listed)["items"] if item["key_id"] == made["key_id"]]
    assert row["revoked_at"]
    assert run("keys", "revoke", "0" * 12, "--client", "acme").exit_code == 2


def test_webhook_secrets(run: Run, app: App) -> None:
    assert (
        run("webhook-secret", "show", "--client", "default").stdout.strip()
        == (app.environment["DOCMILL_WEBHOOK_SECRET"])
    )
    first = run("webhook-secret", "show", "--client", "other-client").stdout
    rotated = run("webhook-secret", "rotate", "--client", "other-client").stdout
    assert rotated.startswith("whsec_")
    assert rotated != first
    assert run("webhook-secret", "show", "--client", "other-client").stdout == rotated


def test_doctor_finds_a_healthy_service_healthy(run: Run) -> None:
    ran = run("doctor", "--json")
    assert ran.exit_code == 0, ran.output
    states = {item["check"]: item["state"] for item in json.loads(ran.stdout)["items"]}
    assert states["Supabase"] == states["keys of acme"] == states["OCR"] == "ok"
    assert states["WEBHOOK_ALLOW_HTTP"] == "warning"


def test_doctor_finds_what_is_wrong(run: Run) -> None:
    wrong_settings = {"SUPABASE_KEY": "wrong", "SECRETS_KEY": "", "OCR_LANGUAGE": "korean"}
    ran = run("doctor", "--json", **wrong_settings, CLIENT_IDS="default,keyless")
    assert ran.exit_code == 1
    wrong = {item["check"] for item in json.loads(ran.stdout)["items"] if item["state"] == "wrong"}
    assert wrong == {"Supabase", "SECRETS_KEY", "OCR", "keys of keyless"}


@pytest.mark.parametrize(
    ("environ", "advice"),
    [
        ({"DOCLING_PIPELINE": "native"}, None),
        ({"DOCLING_PIPELINE": "standard"}, "requirements-standard.txt"),
        ({"DOCLING_PIPELINE": "remote", "DOCLING_SERVE_URL": "http://127.0.0.1:9"}, "DOCLING_SERVE_URL"),
    ],
)
def test_doctor_tells_of_the_conversion_tier(run: Run, environ: dict[str, str], advice: str | None) -> None:
    ran = run("doctor", "--json", **environ)
    (found,) = (
        item
        for item in json.loads(ran.stdout)["items"]
        if item["check"] == f"tier {environ['DOCLING_PIPELINE']}"
    )
    assert found["state"] == ("wrong" if advice else "ok")
    assert (advice or "") in found["advice"]


def test_python_m_cli(app: App) -> None:
    command = [sys.executable, "-m", "cli", "tasks", "--limit", "1", "--json"]
    ran = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env={**os.environ, **app.environment},
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert "items" in json.loads(ran.stdout)
