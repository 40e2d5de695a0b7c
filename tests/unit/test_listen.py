"""`docmill webhooks listen` against requests that the stock library of Standard Webhooks signed."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from typer.testing import CliRunner, Result

from cli.app import app
from tests.answering import KEY, Service, problem, serving
from tests.listening import listening

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
FOREIGN = "whsec_" + "b3RoZXIgc2VjcmV0IG9mIHNvbWVib2R5"
DATA = {"task_id": "task-1", "status": "succeeded", "sequence": 3}


def body(**data: Any) -> str:
    return json.dumps(
        {"type": "task.succeeded", "timestamp": "2026-11-24T10:00:00Z", "data": {**DATA, **data}}
    )


def send(url: str, webhook_id: str, *secrets: str, text: str | None = None, age: float = 0) -> int:
    """The status that a delivery is answered with, signed by each of the secrets."""
    at = datetime.now(UTC) - timedelta(seconds=age)
    sent = body() if text is None else text
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(webhook_id, at, sent) for secret in secrets),
    }
    return httpx.post(url, content=sent, headers=headers, trust_env=False, timeout=30).status_code


def test_events_are_printed_as_they_come(tmp_path: Path) -> None:
    names = ("--secret-env", "FIRST", "--secret-env", "SECOND")
    with listening(tmp_path, *names, environ={"FIRST": SECRET, "SECOND": OTHER}) as listener:
        url = listener.url
        for webhook_id, status, last, given in (
            ("msg_good", 204, "verified", {"secrets": [SECRET]}),
            ("msg_second", 204, "verified", {"secrets": [OTHER]}),
            ("msg_rotated", 204, "verified", {"secrets": [FOREIGN, SECRET]}),
            ("msg_wrong", 401, "NOT VERIFIED: No matching signature found", {"secrets": [FOREIGN]}),
            ("msg_old", 401, "NOT VERIFIED: Message timestamp too old", {"secrets": [SECRET], "age": 600}),
            ("msg_bare", 401, "NOT VERIFIED: Missing webhook-signature", {"secrets": []}),
            ("msg_example", 204, "verified, an example", {"secrets": [SECRET], "text": body(example=True)}),
        ):
            assert send(url, webhook_id, *given.pop("secrets"), **given) == status
            line = listener.printed(webhook_id)
            assert line.split("  ")[1:] == ["task.succeeded", "task-1", "succeeded/3", webhook_id, last]
        assert listener.stop(signal.SIGINT) == 0
        assert "FIRST, SECOND" in listener.notes
        assert not any(secret in listener.notes + "".join(listener.lines) for secret in (SECRET, OTHER))


def test_a_repetition_is_marked_and_garbage_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local/env").write_text(f"DOCMILL_WEBHOOK_SECRET={SECRET}\n")
    with listening(tmp_path, environ={}) as listener:
        assert "(settings from .local/env)" in listener.notes
        assert send(listener.url, "msg_1", FOREIGN) == 401
        assert [send(listener.url, "msg_1", SECRET) for _ in range(2)] == [204, 204]
        assert listener.printed("repeated").endswith("verified, repeated")
        deep = '{"type": [[1]], "data": {"task_id": %s}}' % ("[" * 900 + "]" * 900)
        half = json.dumps({"type": "\ud800"})  # of a pair of surrogates: no encoding has it
        for text in (
            "",
            "[]",
            "nonsense",
            "[" * 200_000,
            deep,
            half,
            json.dumps({"type": "\x1b[31m" + 500 * "x"}),
        ):
            assert send(listener.url, "msg_2", FOREIGN, text=text) == 401
        assert send(listener.url, "msg_3", SECRET, text="[1]") == 204
        assert listener.printed("msg_3").split("  ")[1:] == ["-", "-", "-/-", "msg_3", "verified"]
        assert "\x1b" not in "".join(listener.lines)
        assert max(map(len, listener.lines)) < 300
        verdicts = [line.split("  ")[-1] for line in listener.lines if "msg_1" in line]
        assert verdicts == ["NOT VERIFIED: No matching signature found", "verified", "verified, repeated"]
        assert httpx.get(listener.url, trust_env=False).status_code == 501
        listener.until(lambda: listener.notes if "Turned away" in listener.notes else "", "a note")
        assert listener.stop(signal.SIGTERM) == 0


def test_json_holds_what_is_genuine(tmp_path: Path) -> None:
    with listening(tmp_path, "--json", environ={"DOCMILL_WEBHOOK_SECRET": SECRET}) as listener:
        send(listener.url, "msg_1", SECRET)
        send(listener.url, "msg_2", FOREIGN)
        listener.printed("msg_2")
        good, bad = (json.loads(line) for line in listener.lines)
    assert good.pop("received_at").endswith("Z")
    assert good == {
        "delivery_id": "msg_1",
        "verified": True,
        "doubt": None,
        "repeated": False,
        "event": json.loads(body()),
    }
    assert (bad["verified"], bad["doubt"], bad["event"]) == (False, "No matching signature found", None)


# --- what keeps it from listening ------------------------------------------------------------------------


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


@pytest.fixture
def run(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    for name in ("DOCMILL_DATA_DIR", "DOCMILL_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*words: str, **environ: str) -> Result:
        env = {"DOCMILL_URL": service.url, "DOCMILL_API_KEY": KEY, **environ}
        return CliRunner().invoke(app, ["webhooks", "listen", *words], env=env)

    return invoke


def test_a_port_that_is_taken_is_one_line_and_2(run: Callable[..., Result]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run("--port", str(port), DOCMILL_WEBHOOK_SECRET=SECRET)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr == f"Port {port} is taken. Choose another by --port.\n"


@pytest.mark.parametrize(
    ("words", "environ", "said"),
    [
        ([], {}, "Set DOCMILL_WEBHOOK_SECRET"),
        (["--secret-env", "ACME", "--subscribe", "*"], {}, "Set ACME"),
        (["--secret-env", "ACME"], {"ACME": KEY}, "ACME holds no webhook secret"),
        (["--secret-env", "ACME"], {"ACME": "whsec_"}, "ACME holds no webhook secret"),
        (["--secret-env", "ACME"], {"ACME": "whsec_x"}, "ACME holds no webhook secret"),
        (["--subscribe", "task.finished"], {}, "no event type 'task.finished'"),
        (["--port", "70000"], {"DOCMILL_WEBHOOK_SECRET": SECRET}, "--port"),
    ],
)
def test_wrong_usage_is_2(
    run: Callable[..., Result], service: Service, words: list[str], environ: dict[str, str], said: str
) -> None:
    ran = run("--port", "0", *words, **environ)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert KEY not in ran.stderr
    assert service.requests == []


# --- for as long as it runs ------------------------------------------------------------------------------

WEBHOOK = {"webhook_id": "wh-1", "event_types": ["task.*"], "secret": OTHER}


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (problem(422, "invalid_payload", "The webhook URL must begin with https://."), 2, "local stack"),
        (problem(409, "conflict", "A client has 100 webhooks at most."), 2, "100 webhooks"),
        (problem(503, "unavailable", "Set SECRETS_KEY."), 3, "SECRETS_KEY"),
    ],
)
def test_a_service_that_makes_no_webhook(
    run: Callable[..., Result], service: Service, answer: Any, status: int, said: str
) -> None:
    service.on("POST /api/webhooks", answer)
    ran = run("--port", "0", "--subscribe", "task.*")
    assert (ran.exit_code, ran.stdout) == (status, "")
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_webhook_is_made_and_deleted(service: Service, tmp_path: Path) -> None:
    service.on("POST /api/webhooks", (201, WEBHOOK))
    service.on("DELETE /api/webhooks/wh-1", (204, b""))
    environ = {"DOCMILL_URL": service.url, "DOCMILL_API_KEY": KEY, "DOCMILL_WEBHOOK_SECRET": SECRET}
    with listening(tmp_path, "--subscribe", "task.*", environ=environ) as listener:
        assert [send(listener.url, "msg_1", OTHER), send(listener.url, "msg_2", SECRET)] == [204, 204]
        assert listener.stop(signal.SIGTERM) == 0
        assert OTHER not in listener.notes
        assert len(listener.lines) == 2
    (_, _, made), (deleted, _, _) = service.requests
    assert json.loads(made) == {
        "url": listener.url,
        "event_types": ["task.*"],
        "description": "docmill webhooks listen",
    }
    assert deleted == "DELETE /api/webhooks/wh-1"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (problem(404, "not_found", "There is no webhook of this id."), 0),
        (problem(503, "unavailable", "Storage is out of reach."), 3),
    ],
)
def test_a_webhook_that_cannot_be_deleted_is_named(
    service: Service, tmp_path: Path, answer: Any, status: int
) -> None:
    service.on("POST /api/webhooks", (201, WEBHOOK))
    service.on("DELETE /api/webhooks/wh-1", answer)
    environ = {"DOCMILL_URL": service.url, "DOCMILL_API_KEY": KEY}
    with listening(tmp_path, "--subscribe", "task.*", environ=environ) as listener:
        assert listener.stop() == status
        assert ("docmill webhooks delete wh-1" in listener.notes) == (status > 0)
