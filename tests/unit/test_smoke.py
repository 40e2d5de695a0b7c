"""`docmill smoke` against a small real service that does what the test says."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli import sample
from cli.app import app
from tests.answering import KEY, Answer, Service, problem, serving

STEPS = ["health", "ready", "upload", "ingest", "search", "summarise", "delete", "gone"]
DOCUMENT = "GET /api/documents/doc-1"
DELETION = "DELETE /api/documents/doc-1"
Run = Callable[..., Result]


class Deployment(Service):
    """Does everything right, but for what a test says by `on`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.number = ""
        self.deleted = False
        self.on("GET /api/health", (200, {"status": "ok", "version": "1.2.3"}))
        self.on("GET /api/health/ready", (200, {"status": "ok", "checks": {"storage": "ok", "index": "ok"}}))
        self.on("POST /api/documents", (201, {"document_id": "doc-1", "size": 1234}))
        for task_type in ("ingestion", "summarization"):
            self.on(f"GET /api/tasks/task-{task_type}", (200, task(f"task-{task_type}", "succeeded")))
        self.on("GET /api/tasks/task-ingestion/result", (200, {"chunks": 2, "embedding_model": "minilm"}))
        self.on("GET /api/tasks/task-summarization/result", (200, {"summary": "A harbour.", "model": "m"}))
        self.on(DELETION, (204, b""))

    def answer(self, route: str, headers: dict[str, str], body: bytes) -> Answer:
        if found := re.search(rb"has the number (\d{6})", body):
            self.number = found[1].decode()
        said = super().answer(route, headers, body)
        self.deleted = self.deleted or (route == DELETION and said[0] == 204)
        if route in self.answers:
            return said
        if route == "POST /api/tasks":
            return 202, task(f"task-{json.loads(body)['task_type']}", "queued")
        if route == "POST /api/search":
            hit = {"content": f"It has the number {self.number}."}
            return 200, {"matches": [] if self.deleted else [hit]}
        return said


def task(task_id: str, status: str, error: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"task_id": task_id, "status": status, "error": error}


@pytest.fixture
def service() -> Iterator[Deployment]:
    with serving(Deployment) as running:
        assert isinstance(running, Deployment)
        yield running


@pytest.fixture
def run(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `docmill smoke` with pauses that are short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cli.smoke.PAUSE_SECONDS", 0.01)

    def invoke(*words: str, **environ: str | None) -> Result:
        env = {"DOCMILL_URL": service.url, "DOCMILL_API_KEY": KEY, "DOCMILL_DATA_DIR": None, **environ}
        return CliRunner().invoke(app, ["smoke", *words], env=env)

    return invoke


def results(ran: Result) -> dict[str, str]:
    return {step["step"]: step["result"] for step in json.loads(ran.stdout)["steps"]}


def test_all_goes_well(run: Run, service: Deployment) -> None:
    ran = run("--json")
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    assert report["ok"] is True and report["seconds"] > 0
    assert [step["step"] for step in report["steps"]] == STEPS
    assert set(results(ran).values()) == {"ok"}
    assert service.deleted
    assert {headers["X-API-Key"] for _, headers, _ in service.requests} == {KEY}


def test_the_table_has_every_step(run: Run) -> None:
    ran = run()
    assert ran.exit_code == 0
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["STEP", *STEPS]
    assert "version 1.2.3" in ran.stdout and "storage, index" in ran.stdout


def test_url_and_key_may_stand_on_the_command_line(run: Run, service: Deployment) -> None:
    ran = run("--url", service.url, "--key", "dm_other", DOCMILL_URL=None, DOCMILL_API_KEY=None)
    assert ran.exit_code == 0, ran.output
    assert {headers["X-API-Key"] for _, headers, _ in service.requests} == {"dm_other"}


@pytest.mark.parametrize(
    ("route", "answer", "step", "said"),
    [
        ("POST /api/documents", problem(401, "unauthorized", "Send a valid key."), "upload", "valid key"),
        ("POST /api/documents", (201, {"status": "stored"}), "upload", "not what Docmill's API says"),
        ("POST /api/tasks", problem(422, "invalid_payload", "Mend it."), "ingest", "Mend it."),
        ("GET /api/tasks/task-ingestion/result", (200, {"chunks": 0}), "ingest", "without a single chunk"),
        ("POST /api/search", (200, {"matches": []}), "search", "0 hits"),
        ("POST /api/search", (200, {"matches": [{"content": "Else."}]}), "search", "1 hits, and none says"),
        ("GET /api/tasks/task-summarization/result", (200, {"summary": " "}), "summarise", "is empty"),
        (DOCUMENT, (200, {"document_id": "doc-1"}), "gone", "still there"),
    ],
)  # fmt: skip
def test_what_fails_is_named_and_the_rest_is_skipped(
    run: Run, service: Deployment, route: str, answer: Answer, step: str, said: str
) -> None:
    service.on(route, answer)
    ran = run("--json")
    assert ran.exit_code == 1
    found = results(ran)
    at = STEPS.index(step)
    assert [found[name] for name in STEPS] == ["ok"] * at + ["failed"] + ["skipped"] * (len(STEPS) - at - 1)
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(f"{step} failed: ") and said in last
    # What was uploaded is removed all the same, and nothing else is asked to be.
    assert service.deleted is (step != "upload")
    assert ("clean up" in found) is (step not in {"upload", "gone"})


def test_a_failed_task_is_told_with_its_error(run: Run, service: Deployment) -> None:
    error = {"code": "model_rejected", "message": "The model refused."}
    service.on("GET /api/tasks/task-ingestion", (200, task("task-ingestion", "failed", error)))
    ran = run()
    assert ran.exit_code == 1
    assert ran.stderr.splitlines()[-1] == (
        "ingest failed: task-ingestion failed: model_rejected: The model refused."
    )


def test_what_cannot_be_removed_is_named(run: Run, service: Deployment) -> None:
    service.on("POST /api/search", (200, {"matches": []}))
    service.on(DELETION, problem(403, "forbidden", "Not you."))
    ran = run("--json")
    assert ran.exit_code == 1
    assert results(ran)["clean up"] == "failed"
    assert "doc-1 could not be removed. Not you." in ran.stderr.splitlines()[-1]


def test_a_deletion_whose_answer_was_lost_is_one(run: Run, service: Deployment) -> None:
    service.on(DELETION, problem(404, "not_found", "There is nothing here under this id."))
    service.deleted = True
    service.on("POST /api/search", (200, {"matches": [{"content": "x"}]}))
    ran = run("--json")
    assert results(ran)["clean up"] == "ok"


def test_an_app_that_starts_is_waited_for(run: Run, service: Deployment) -> None:
    starting = problem(503, "unavailable", "The site is restarting.")
    nothing = (404, b"")
    service.on("GET /api/health", starting, nothing, (200, {"status": "ok", "version": "1"}))
    not_yet = (503, {"status": "unavailable", "checks": {"storage": "Access was refused.", "index": "ok"}})
    service.on("GET /api/health/ready", not_yet, (200, {"status": "ok", "checks": {"storage": "ok"}}))
    service.on("POST /api/search", starting, (200, {"matches": []}))
    ran = run("--json")
    assert results(ran) | {"search": "", "clean up": ""} == dict.fromkeys(STEPS, "skipped") | {
        "health": "ok", "ready": "ok", "upload": "ok", "ingest": "ok", "search": "", "clean up": "",
    }  # fmt: skip
    assert [route for route, _, _ in service.requests].count("POST /api/search") == 2


def test_the_version_before_is_not_taken_for_the_new_one(run: Run, service: Deployment) -> None:
    old, new = ((200, {"status": "ok", "version": f"0.1.0+{commit}"}) for commit in ("aaaa", "bbbb"))
    service.on("GET /api/health", old, old, new)
    ran = run("--expect", "bbbb")
    assert ran.exit_code == 0 and "0.1.0+bbbb" in ran.stdout
    service.on("GET /api/health", old)
    ran = run("--expect", "bbbb", "--timeout", "1")
    assert ran.exit_code == 1
    assert ran.stderr.splitlines()[-1] == "health failed: Version 0.1.0+aaaa answers, and not bbbb."


def test_what_is_not_ready_in_time_is_named(run: Run, service: Deployment) -> None:
    checks = {"storage": "ok", "index": "The index is out of reach."}
    service.on("GET /api/health/ready", (503, {"status": "unavailable", "checks": checks}))
    ran = run("--timeout", "1")
    assert ran.exit_code == 1
    assert ran.stderr.splitlines()[-1] == "ready failed: index: The index is out of reach."


def test_a_task_that_does_not_end_in_time_has_failed_and_its_document_goes(
    run: Run, service: Deployment
) -> None:
    service.on("GET /api/tasks/task-ingestion", (200, task("task-ingestion", "queued")))
    began = time.monotonic()
    ran = run("--timeout", "1")
    assert ran.exit_code == 1 and time.monotonic() - began < 30
    assert "task-ingestion is still queued after 1 s." in ran.stderr
    assert service.deleted


def test_nothing_at_that_address_is_1_in_one_line(run: Run) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ran = run("--timeout", "1", "--url", f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert ran.exit_code == 1
    assert "health failed: " in ran.stderr and "out of reach" in ran.stderr
    assert "Traceback" not in ran.output


@pytest.mark.parametrize("environ", [{"DOCMILL_API_KEY": None}, {"DOCMILL_URL": "nonsense"}])
def test_wrong_settings_are_1_in_one_line(run: Run, environ: dict[str, str | None]) -> None:
    ran = run("--timeout", "1", **environ)
    assert ran.exit_code == 1
    assert "DOCMILL_" in ran.stderr.splitlines()[-1]


def test_no_two_samples_are_the_same() -> None:
    one, two = sample.new(), sample.new()
    assert one.pdf() != two.pdf() and one.filename != two.filename
    assert one.answer not in one.question
    text = b" ".join(re.findall(rb"\((.*?)\) Tj", one.pdf())).decode()
    assert text.count(one.answer) == 1 and one.harbour in one.question
