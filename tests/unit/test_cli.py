"""`docmill` as a person or a script meets it: what it prints, how it exits.

The service is a small real one.
"""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from rich.console import Console
from typer.testing import CliRunner, Result

from cli.app import app
from cli.config import Config
from cli.progress import board
from tests.answering import KEY, Answer, Service, problem, serving


def document(document_id: str) -> dict[str, Any]:
    return {"document_id": document_id, "created_at": "2026-11-22T04:00:00Z"}


def task(status: str = "succeeded", **members: Any) -> dict[str, Any]:
    return {
        "task_id": "task-1",
        "client_id": "default",
        "task_type": "ingestion",
        "status": status,
        "priority": "normal",
        "payload": {"document_id": "doc-1"},
        "document_id": "doc-1",
        "progress": None,
        "attempt": 1,
        "max_attempts": 5,
        "next_attempt_at": None,
        "dead_lettered": False,
        "created_at": "2026-11-22T04:00:00Z",
        "started_at": None,
        "finished_at": None,
        "updated_at": "2026-11-22T04:00:00Z",
        "error": None,
        "result_url": None,
        "webhook": None,
        **members,
    }


def failed() -> dict[str, Any]:
    error = {
        "code": "document_corrupt",
        "message": "The file is damaged.",
        "retryable": False,
        "stage": "convert",
        "attempt": 1,
    }
    return task("failed", error=error)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


@pytest.fixture
def run(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `docmill` in an empty directory, with the service and a key in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("DOCMILL_DATA_DIR", "AzureWebJobsStorage", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*words: str, **environ: str | None) -> Result:
        env = {"DOCMILL_URL": service.url, "DOCMILL_API_KEY": KEY, **environ}
        return CliRunner().invoke(app, list(words), env=env)

    return invoke


Run = Callable[..., Result]


@pytest.fixture
def report(tmp_path: Path) -> str:
    path = tmp_path / "report.md"
    path.write_text("# Report\n\nAll is well.\n")
    return str(path)


# --- exit status -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (problem(400, "invalid_json", "The body is not valid JSON."), 2),
        (problem(401, "unauthorized", "Send a valid API key."), 2),
        (problem(404, "not_found", "There is nothing here under this id."), 2),
        (problem(422, "invalid_payload", "Mend the payload."), 2),
        (problem(429, "rate_limited", "Too many tasks are waiting."), 3),
        (problem(500, "internal", "Something went wrong."), 3),
        (problem(503, "unavailable", "A service is out of reach."), 3),
    ],
)
def test_a_refusal_is_one_line_and_a_status(run: Run, service: Service, answer: Answer, status: int) -> None:
    service.on("GET /api/tasks/task-1", answer)
    ran = run("status", "task-1")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (status, "", answer[1]["detail"] + "\n")


def test_no_service_is_3(run: Run) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ran = run("tasks", DOCMILL_URL=f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert ran.exit_code == 3
    assert "out of reach" in ran.stderr


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]"])
def test_something_else_at_that_address_is_3(run: Run, service: Service, body: bytes) -> None:
    service.on("GET /api/tasks", (200, body))
    ran = run("tasks")
    assert ran.exit_code == 3
    assert "not Docmill" in ran.stderr


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://[", "nonsense"])
def test_a_bad_url_is_2(run: Run, url: str) -> None:
    assert run("tasks", DOCMILL_URL=url).exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["submit", "missing.pdf"],
        ["submit"],
        ["submit", ".", "--type", "ingestion"],
        ["tasks", "--status", "asleep"],
        ["tasks", "--limit", "0"],
        ["search"],
        ["search", "x", "--mode", "guess"],
        ["--env-file", "missing.env", "tasks"],
        ["keys", "create"],
        ["keys", "create", "--client", "No_Such"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_2(run: Run, service: Service, words: list[str]) -> None:
    assert run(*words).exit_code == 2
    assert service.requests == []


def test_no_key_is_2_and_says_which_variable(run: Run, service: Service) -> None:
    ran = run("--key-env", "ACME_KEY", "tasks")
    assert ran.exit_code == 2
    assert "ACME_KEY" in ran.stderr
    assert service.requests == []


def test_each_reason_of_a_422_is_told(run: Run, service: Service) -> None:
    errors = [{"loc": ["body", "top_k"], "msg": "too large"}]
    service.on("POST /api/search", problem(422, "invalid_payload", "Mend this.", errors=errors))
    assert run("search", "x").stderr == "Mend this. body.top_k: too large.\n"


# --- submit and status -----------------------------------------------------------------------------------


def test_submit_waits_and_shows_the_stages(run: Run, service: Service, report: str) -> None:
    half = {"stage": "embed", "current": 1, "total": 2, "percent": 61, "message": "Embedded 1/2 chunks"}
    service.on("POST /api/documents", (201, document("doc-1")))
    service.on("POST /api/tasks", (202, task("queued")))
    service.on(
        "GET /api/tasks/task-1", (200, task("queued")), (200, task("running", progress=half)), (200, task())
    )
    ran = run("submit", report, "--wait", "--json", "--webhook-url", "https://example.com/hook")
    assert ran.exit_code == 0
    assert json.loads(ran.stdout)["status"] == "succeeded"
    for shown in ("report.md", "uploading", "61%", "Embedded 1/2 chunks", "100%  done"):
        assert shown in ran.stderr
    _, headers, body = next(request for request in service.requests if request[0] == "POST /api/tasks")
    assert headers["X-API-Key"] == KEY
    assert json.loads(body) == {
        "task_type": "ingestion",
        "payload": {"document_id": "doc-1"},
        "webhook_url": "https://example.com/hook",
    }
    waits = [request for request in service.requests if request[0].startswith("GET /api/tasks/task-1?wait=2")]
    assert all("If-None-Match" in headers for _, headers, _ in waits)
    assert len(waits) == 2


def test_a_failed_task_is_1_and_says_why(run: Run, service: Service, report: str) -> None:
    service.on("POST /api/documents", (201, document("doc-1")))
    service.on("POST /api/tasks", (202, task("queued")))
    service.on("GET /api/tasks/task-1", (200, failed()))
    ran = run("submit", report, "--type", "summarization", "--wait")
    assert ran.exit_code == 1
    assert "The file is damaged." in ran.stderr
    assert run("status", "task-1").exit_code == 1


def test_a_cancelled_task_did_not_succeed(run: Run, service: Service) -> None:
    service.on("GET /api/tasks/task-1", (200, task("cancelled")))
    assert run("status", "task-1", "--wait").exit_code == 1


def test_waiting_bears_a_short_absence(run: Run, service: Service) -> None:
    away = problem(503, "unavailable", "A service is out of reach.")
    service.on("GET /api/tasks/task-1", (200, task("running")), away, (200, task()))
    assert run("status", "task-1", "--wait").exit_code == 0


def test_a_refused_file_does_not_keep_the_others(
    run: Run, service: Service, report: str, tmp_path: Path
) -> None:
    (tmp_path / "other.md").write_text("# Other\n")
    too_large = problem(413, "payload_too_large", "Too large.")
    service.on("POST /api/documents", too_large, (201, document("doc-2")))
    service.on("POST /api/tasks", (202, task("queued")))
    ran = run("submit", report, "other.md")
    assert ran.exit_code == 2
    assert "task-1" in ran.stdout
    assert "other.md" in ran.stdout
    assert "report.md" not in ran.stdout
    assert "Too large." in ran.stderr


def test_a_wrong_key_stops_at_the_first_file(run: Run, service: Service, report: str) -> None:
    service.on("POST /api/documents", problem(401, "unauthorized", "Send a valid API key."))
    assert run("submit", report, report).exit_code == 2
    assert len(service.requests) == 1


def folder(tmp_path: Path, count: int) -> None:
    (tmp_path / "docs").mkdir()
    for number in range(count):
        (tmp_path / "docs" / f"{number:03}.md").write_text(f"# {number}\n")


def keys(service: Service) -> list[str]:
    return [
        headers["Idempotency-Key"] for route, headers, _ in service.requests if route == "POST /api/tasks"
    ]


def test_a_directory_is_submitted_with_the_same_keys_each_time(
    run: Run, service: Service, tmp_path: Path
) -> None:
    folder(tmp_path, 3)
    service.on("POST /api/documents", *[(201, document(f"doc-{number}")) for number in range(4)])
    service.on("POST /api/tasks", (202, task("queued")))
    assert run("submit", "docs", "-r", "-j", "1").exit_code == 0
    first = keys(service)
    assert len(set(first)) == 3
    service.on("POST /api/documents", *[(201, document(f"doc-{number}")) for number in range(4)])
    run("submit", "docs", "-r", "-j", "1")
    assert keys(service)[3:] == first
    run("submit", "docs", "-r", "-j", "1", "--type", "summarization")
    run("submit", "docs", "-r", "-j", "1", "--again")
    run("submit", "docs/000.md")
    assert not set(keys(service)[6:]) & set(first)


def test_a_summary_says_what_failed_and_why(run: Run, service: Service, tmp_path: Path) -> None:
    folder(tmp_path, 4)
    service.on("POST /api/documents", (201, document("doc-1")))
    corrupt, fine = failed(), task()
    service.on("POST /api/tasks", *[(202, task("queued", task_id=f"task-{number}")) for number in range(4)])
    for number, end in enumerate((fine, corrupt, corrupt, task("cancelled"))):
        service.on(f"GET /api/tasks/task-{number}", (200, end))
    ran = run("submit", "docs", "-r", "-j", "1", "--wait")
    assert ran.exit_code == 1
    said = ran.stderr.splitlines()[-5:]
    assert said == [
        "4 files: 1 succeeded, 2 failed, 1 cancelled",
        "document_corrupt, 2 files: The file is damaged.",
        "docs/001.md, docs/002.md",
        "cancelled, 1 file: The task was cancelled.",
        "docs/003.md",
    ]


def test_refusals_are_told_by_their_code_and_keep_no_other_file(
    run: Run, service: Service, tmp_path: Path
) -> None:
    folder(tmp_path, 3)
    (tmp_path / "docs" / "001.md").chmod(0)
    refusal = problem(415, "unsupported_format", "This file format is not supported.")
    service.on("POST /api/documents", (201, document("doc-1")), refusal)
    service.on("POST /api/tasks", (202, task("queued")))
    ran = run("submit", "docs", "-r", "-j", "1")
    assert ran.exit_code == 2
    assert "unsupported_format, " in ran.stderr
    assert ran.stderr.count("refused: ") == 2
    assert "3 files: 1 submitted, 2 refused" in ran.stderr


def test_what_every_file_would_meet_stops_all(run: Run, service: Service, tmp_path: Path) -> None:
    folder(tmp_path, 9)
    service.on("POST /api/documents", (201, document("doc-1")))
    service.on("POST /api/tasks", (202, task("queued")), problem(500, "internal", "Something went wrong."))
    ran = run("submit", "docs", "-r", "-j", "1")
    assert ran.exit_code == 3
    assert "9 files: 1 submitted, 1 refused, 7 not sent" in ran.stderr
    assert len([route for route, _, _ in service.requests if route == "POST /api/tasks"]) == 2


def test_a_busy_service_is_given_its_time(run: Run, service: Service, report: str) -> None:
    service.on("POST /api/documents", (201, document("doc-1")))
    busy = problem(429, "rate_limited", "Too many tasks are waiting.", retry_after=0)
    service.on("POST /api/tasks", busy, busy, (202, task("queued")))
    ran = run("submit", report)
    assert ran.exit_code == 0, ran.stderr
    assert "waits: Too many tasks are waiting." in ran.stderr
    sent = keys(service)
    assert len(sent) == 3


class Counting(Service):
    """Counts the files that were uploaded and not submitted so far."""

    under_way = peak = 0
    lock = threading.Lock()

    def answer(self, route: str, headers: dict[str, str], body: bytes) -> Answer:
        with self.lock:
            self.under_way += {"POST /api/documents": 1, "POST /api/tasks": -1}[route]
            self.peak = max(self.peak, self.under_way)
            return super().answer(route, headers, body)


def test_no_more_than_so_many_files_are_in_flight(run: Run, tmp_path: Path) -> None:
    folder(tmp_path, 30)
    with serving(Counting) as service:
        assert isinstance(service, Counting)
        service.on("POST /api/documents", (201, document("doc-1")))
        service.on("POST /api/tasks", (202, task("queued")))
        ran = run("submit", "docs", "-r", "--in-flight", "3", DOCMILL_URL=service.url)
        assert ran.exit_code == 0, ran.stderr
        assert 1 <= service.peak <= 3
        assert len(service.requests) == 60


def test_a_file_that_was_cut_off_for_its_size_goes_the_other_way(
    run: Run, service: Service, tmp_path: Path
) -> None:
    """Without that route, the first refusal is what is told."""
    (tmp_path / "large.md").write_bytes(b"x" * 300_000)
    service.on("POST /api/documents", problem(413, "payload_too_large", "Too large for one request."))
    service.on("POST /api/documents/uploads", problem(413, "payload_too_large", "Too large at all."))
    assert "Too large at all." in run("submit", "large.md").stderr
    service.answers.pop("POST /api/documents/uploads")
    ran = run("submit", "large.md")
    assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (2, "Too large for one request.")


@pytest.mark.parametrize("words", [["empty", "-r"], ["docs"], ["docs", "-r", "--in-flight", "0"]])
def test_wrong_directories_are_2(run: Run, service: Service, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    folder(tmp_path, 1)
    assert run("submit", *words).exit_code == 2
    assert service.requests == []


def test_ids_from_the_command_line_stay_in_their_place(run: Run, service: Service) -> None:
    run("status", "../health?x=1#")
    assert service.requests[0][0] == "GET /api/tasks/..%2Fhealth%3Fx%3D1%23"


# --- reading ---------------------------------------------------------------------------------------------

PAGE = {"items": [task("running"), failed()], "next_cursor": "abc"}
DOCUMENT = {
    "document_id": "doc-1",
    "filename": "a\x1b[31m.pdf",
    "status": "ingested",
    "pages": 3,
    "chunks": 9,
    "size": 10,
}
MATCH = {
    "chunk_id": "c",
    "document_id": "doc-1",
    "filename": "a.pdf",
    "content": "The [bold]mill\x1b]0;x\x07 grinds.",
    "score": 0.5,
    "page": 2,
    "headings": ["One", "Two"],
    "chunk_index": 0,
}


@pytest.mark.parametrize(
    ("words", "route", "body"),
    [
        (["status", "task-1"], "GET /api/tasks/task-1", task()),
        (["tasks"], "GET /api/tasks", PAGE),
        (["result", "task-1"], "GET /api/tasks/task-1/result", {"document_id": "doc-1", "chunks": 3}),
        (["documents"], "GET /api/documents", {"items": [DOCUMENT], "next_cursor": None}),
        (["cancel", "task-1"], "POST /api/tasks/task-1/cancel", task("cancelling")),
        (["retry", "task-1"], "POST /api/tasks/task-1/retry", task("queued")),
        (["dead-letters", "list"], "GET /api/dead-letters", {"items": [], "next_cursor": None}),
        (["search", "mill"], "POST /api/search", {"matches": [MATCH]}),
    ],
)
def test_json_is_what_the_api_sent(
    run: Run, service: Service, words: list[str], route: str, body: dict[str, Any]
) -> None:
    service.on(route, (200, body))
    ran = run(*words, "--json")
    assert ran.exit_code == 0
    assert json.loads(ran.stdout) == body


def test_tasks_are_filtered_and_listed(run: Run, service: Service) -> None:
    service.on("GET /api/tasks", (200, PAGE))
    ran = run("tasks", "--status", "failed", "--task-type", "ingestion", "--limit", "2")
    assert "The file is damaged." in ran.stdout
    assert "--cursor abc" in ran.stderr
    assert service.requests[0][0] == "GET /api/tasks?status=failed&task_type=ingestion&limit=2"


def test_search_shows_file_page_and_score(run: Run, service: Service) -> None:
    service.on("POST /api/search", (200, {"matches": [MATCH]}))
    ran = run("search", "who grinds?", "--top-k", "3", "--mode", "text", "--document", "doc-1")
    assert "1. a.pdf, page 2  (score 0.500)" in ran.stdout
    assert "One > Two" in ran.stdout
    assert "The [bold]mill" in ran.stdout
    assert json.loads(service.requests[0][2]) == {
        "query": "who grinds?",
        "top_k": 3,
        "mode": "text",
        "document_id": "doc-1",
    }


def test_documents_cannot_command_the_terminal(run: Run, service: Service) -> None:
    service.on("POST /api/search", (200, {"matches": [MATCH]}))
    service.on("GET /api/documents", (200, {"items": [DOCUMENT], "next_cursor": None}))
    assert "\x1b" not in run("search", "mill").stdout + run("documents").stdout


def test_a_summary_is_printed_as_text(run: Run, service: Service) -> None:
    service.on("GET /api/tasks/task-1/result", (200, {"summary": "Short.\nGood.", "model": "m"}))
    assert run("result", "task-1").stdout == "Short.\nGood.\n"


@pytest.mark.parametrize(("code", "status"), [("task_failed", 1), ("result_not_ready", 2)])
def test_a_result_that_is_not_there(run: Run, service: Service, code: str, status: int) -> None:
    service.on("GET /api/tasks/task-1/result", problem(404, code, "There is none."))
    assert run("result", "task-1").exit_code == status


# --- settings --------------------------------------------------------------------------------------------


def test_the_local_stacks_settings_are_read_aloud(run: Run, service: Service, tmp_path: Path) -> None:
    service.on("GET /api/tasks", (200, {"items": [], "next_cursor": None}))
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local/env").write_text(f"DOCMILL_URL='{service.url}'\nDOCMILL_API_KEY='local key'\n")
    ran = run("tasks", DOCMILL_URL=None, DOCMILL_API_KEY=None)
    assert ran.exit_code == 0
    assert ".local/env" in ran.stderr
    assert service.requests[0][1]["X-API-Key"] == "local key"


def test_the_environment_comes_before_the_local_stack(run: Run, service: Service, tmp_path: Path) -> None:
    service.on("GET /api/tasks", (200, {"items": [], "next_cursor": None}))
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local/env").write_text("DOCMILL_URL=http://127.0.0.1:1\nDOCMILL_API_KEY=local\n")
    assert run("tasks").stderr == ""
    assert service.requests[0][1]["X-API-Key"] == KEY


def test_a_file_that_was_named_wins(run: Run, service: Service, tmp_path: Path) -> None:
    service.on("GET /api/tasks", (200, {"items": [], "next_cursor": None}))
    (tmp_path / "x.env").write_text("DOCMILL_API_KEY_ACME='it is $HOME'\n")
    run("--env-file", "x.env", "--key-env", "DOCMILL_API_KEY_ACME", "tasks")
    assert service.requests[0][1]["X-API-Key"] == "it is $HOME"


def test_the_repr_of_settings_shows_no_key() -> None:
    assert KEY not in repr(Config(environ={"DOCMILL_API_KEY": KEY}))


def test_secrets_key_is_a_fernet_key(run: Run) -> None:
    Fernet(run("secrets-key").stdout.strip())


def test_version(run: Run) -> None:
    assert run("version").stdout.startswith("docmill ")


# --- doctor ----------------------------------------------------------------------------------------------


def test_doctor_names_the_wrong_setting(run: Run) -> None:
    ran = run("doctor", "--json", AzureWebJobsStorage="x", CLIENT_IDS="No_Such")
    assert ran.exit_code == 1
    [finding] = json.loads(ran.stdout)["items"]
    assert finding["state"] == "wrong"
    assert "CLIENT_IDS" in finding["advice"]


@pytest.mark.parametrize("before", [True, False], ids=["before the command", "behind it"])
def test_doctor_takes_the_files_that_the_service_reads(run: Run, tmp_path: Path, before: bool) -> None:
    """As the unit of the worker has them: one for all, then one for its client, which wins."""
    (tmp_path / "worker.env").write_text("CLIENT_IDS=acme\nTASK_MAX_ATTEMPTS=0\n")
    (tmp_path / "acme.env").write_text("CLIENT_IDS=No_Such\nTASK_MAX_ATTEMPTS=\n")
    files = ["--env-file", "worker.env", "--env-file", "acme.env"]
    ran = run(*files, "doctor", "--json") if before else run("doctor", "--json", *files)
    assert ran.exit_code == 1
    [finding] = json.loads(ran.stdout)["items"]
    assert "CLIENT_IDS" in finding["advice"] and "TASK_MAX_ATTEMPTS" not in finding["advice"]


# --- bars ------------------------------------------------------------------------------------------------


def test_a_terminal_gets_bars(tmp_path: Path) -> None:
    with (tmp_path / "terminal").open("w+") as file:
        console = Console(file=file, force_terminal=True, width=100)
        with board(["a.pdf", "[b]b.pdf"], console) as shown:
            shown.show(0, 40, "Converted 2/5 pages", "running")
            shown.show(1, 100, "done", "succeeded")
        file.seek(0)
        text = file.read()
    for words in ("a.pdf", "[b]b.pdf", "40%", "100%", "Converted 2/5 pages", "done"):
        assert words in text


def test_many_files_get_one_bar_and_those_of_what_is_under_way(tmp_path: Path) -> None:
    names = [f"{number}.pdf" for number in range(2000)]
    with (tmp_path / "terminal").open("w+") as file:
        console = Console(file=file, force_terminal=True, width=100, height=20)
        with board(names, console) as shown:
            for row in range(30):
                shown.show(row, 40, "Converted 2/5 pages", "running")
                shown.show(row, 100, "done", "succeeded")
            shown.show(30, 40, "failed: The file is damaged.", "failed")
            shown.show(31, 10, "Converting", "running")
        file.seek(0)
        last = file.read().rsplit("all files", 1)[1]
    assert "31/2,000" in last
    assert "31.pdf" in last and "Converting" in last
    assert "29.pdf" not in last
    file = io.StringIO()
    with board(names, Console(file=file, width=1000)) as shown:
        shown.show(0, 0, "uploading")
        shown.show(0, 100, "done", "succeeded")
    assert file.getvalue().count("\n") == 1


# --- stopping and running again --------------------------------------------------------------------------


def letter(task_id: str | None, reason: str = "out_of_attempts", **members: Any) -> dict[str, Any]:
    return {
        "dead_letter_id": f"dl-{task_id}",
        "task_id": task_id,
        "task_type": "ingestion",
        "reason": reason,
        "error": {"code": "internal", "message": "An unexpected error."},
        "attempts": 5,
        "message": "{}",
        "first_seen_at": "2026-11-22T04:00:00Z",
        "dead_lettered_at": "2026-11-22T04:00:00Z",
        "retried_at": None,
        **members,
    }


def test_a_task_is_cancelled_and_retried(run: Run, service: Service) -> None:
    service.on("POST /api/tasks/task-1/cancel", (202, task("cancelled")))
    service.on("POST /api/tasks/task-1/retry", (202, task("queued")))
    assert run("cancel", "task-1").stdout == "task-1: cancelled\n"
    assert run("retry", "task-1").stdout == "task-1: queued\n"


def test_a_finished_task_cannot_be_cancelled(run: Run, service: Service) -> None:
    service.on("POST /api/tasks/task-1/cancel", problem(409, "conflict", "The task has ended."))
    ran = run("cancel", "task-1")
    assert (ran.exit_code, ran.stderr) == (2, "The task has ended.\n")


def test_dead_letters_are_listed(run: Run, service: Service) -> None:
    service.on("GET /api/dead-letters", (200, {"items": [letter("task-1")], "next_cursor": "abc"}))
    ran = run("dead-letters", "list")
    assert "task-1" in ran.stdout and "out_of_attempts" in ran.stdout
    assert "--cursor abc" in ran.stderr


def test_all_dead_letters_are_retried(run: Run, service: Service) -> None:
    first = [letter("task-1"), letter("task-2", retried_at="2026-11-22T05:00:00Z"), letter(None)]
    second = [letter("task-1"), letter("task-3", "invalid_message"), letter("task-4"), letter("task-5")]
    service.on(
        "GET /api/dead-letters",
        (200, {"items": first, "next_cursor": "more"}),
        (200, {"items": second, "next_cursor": None}),
    )
    service.on("POST /api/tasks/task-1/retry", (202, task("queued")))
    service.on("POST /api/tasks/task-4/retry", problem(409, "conflict", "This one is running."))
    service.on("POST /api/tasks/task-5/retry", (202, task("queued", task_id="task-5")))
    ran = run("dead-letters", "retry", "--all")
    assert ran.exit_code == 0
    assert ran.stdout == "task-1: queued\ntask-5: queued\n"
    assert "task-4: This one is running." in ran.stderr
    posted = [route for route, _, _ in service.requests if route.startswith("POST")]
    assert posted == [f"POST /api/tasks/task-{number}/retry" for number in (1, 4, 5)]


@pytest.mark.parametrize("words", [[], ["task-1", "--all"]])
def test_which_dead_letters_must_be_said(run: Run, words: list[str]) -> None:
    assert run("dead-letters", "retry", *words).exit_code == 2
