"""`docmill webhooks`: what it asks the service for, what it prints, how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner, Result

from cli.app import app
from cli.client import Api, Misuse
from cli.deliveries import ADVICE, advice
from cli.webhooks import _since
from shared.deliveries import FailureKind
from tests.answering import KEY, Answer, Service, problem, serving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Run = Callable[..., Result]


def webhook(**members: Any) -> dict[str, Any]:
    return {
        "webhook_id": "wh-1",
        "client_id": "default",
        "url": "https://example.com/hook",
        "event_types": ["task.succeeded", "task.failed", "task.cancelled"],
        "description": "",
        "enabled": True,
        "disabled_reason": None,
        "disabled_at": None,
        "created_at": "2026-11-24T10:00:00Z",
        "updated_at": "2026-11-24T10:00:00Z",
        "failing_since": None,
        "warning_percent": None,
        "cooling_until": None,
        **members,
    }


def attempt(number: int = 1, **members: Any) -> dict[str, Any]:
    made = {"attempt": number, "at": "2026-11-24T10:00:00Z", "status_code": 204, "failure": None}
    return {**made, "duration_ms": 1234, "response": None, **members}


def delivery(status: str = "delivered", *attempts: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "delivery_id": "msg_1",
        "webhook_id": "wh-1",
        "task_id": "task-1",
        "type": "task.succeeded",
        "sequence": 3,
        "url": "https://example.com",
        "status": status,
        "reason": None,
        "created_at": "2026-11-24T10:00:00Z",
        "next_attempt_at": None,
        "finished_at": None,
        "attempt_count": len(attempts),
        "attempts": list(attempts),
        **members,
    }


def failed(failure: str, status_code: int | None = None, response: str | None = None) -> dict[str, Any]:
    made = attempt(failure=failure, status_code=status_code, response=response)
    return delivery("failed", made, reason="out_of_attempts")


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


@pytest.fixture
def run(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str) -> Result:
        env = {"DOCMILL_URL": service.url, "DOCMILL_API_KEY": KEY}
        return CliRunner().invoke(app, ["webhooks", *words], env=env)

    return invoke


def sent(service: Service, number: int = -1) -> Any:
    return json.loads(service.requests[number][2])


# --- making and changing ---------------------------------------------------------------------------------


def test_the_secret_of_a_new_webhook_is_all_of_stdout(run: Run, service: Service) -> None:
    service.on("POST /api/webhooks", (201, webhook(secret=SECRET)))
    ran = run("create", "https://example.com/hook")
    assert (ran.exit_code, ran.stdout) == (0, f"{SECRET}\n")
    assert "wh-1" in ran.stderr and "task.cancelled" in ran.stderr and SECRET not in ran.stderr
    assert sent(service) == {"url": "https://example.com/hook", "description": "", "enabled": True}


def test_everything_can_be_said_at_once(run: Run, service: Service) -> None:
    made = webhook(secret=SECRET, enabled=False, disabled_reason="by_client")
    service.on("POST /api/webhooks", (201, made))
    words = ("--event", "task.*", "--event", "task.failed", "--description", "mine", "--disabled", "--json")
    assert json.loads(run("create", "https://a.example", *words).stdout) == made
    assert sent(service) == {
        "url": "https://a.example",
        "event_types": ["task.*", "task.failed"],
        "description": "mine",
        "enabled": False,
    }


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (["--url", "https://b.example"], {"url": "https://b.example"}),
        (["--event", "*"], {"event_types": ["*"]}),
        (["--description", ""], {"description": ""}),
        (["--enable"], {"enabled": True}),
        (["--disable"], {"enabled": False}),
    ],
)
def test_only_what_is_given_is_changed(
    run: Run, service: Service, words: list[str], changes: dict[str, Any]
) -> None:
    service.on("PATCH /api/webhooks/wh-1", (200, webhook()))
    ran = run("update", "wh-1", *words)
    assert ran.exit_code == 0
    assert sent(service) == changes
    assert ("recover wh-1" in ran.stderr) == (words == ["--enable"])


def test_a_webhook_is_deleted(run: Run, service: Service) -> None:
    service.on("DELETE /api/webhooks/wh-1", (204, b""))
    assert run("delete", "wh-1").exit_code == 0
    assert run("delete", "wh-2").exit_code == 2


@pytest.mark.parametrize(
    ("words", "seconds", "until"),
    [([], 86400, "2026-11-25T10:00:00Z"), (["--overlap-hours", "0"], 0, None)],
)
def test_a_secret_is_rotated(
    run: Run, service: Service, words: list[str], seconds: int, until: str | None
) -> None:
    rotated = {"webhook_id": "wh-1", "secret": SECRET, "previous_until": until}
    service.on("POST /api/webhooks/wh-1/secret/rotate", (200, rotated))
    ran = run("rotate", "wh-1", *words)
    assert (ran.exit_code, ran.stdout) == (0, f"{SECRET}\n")
    assert sent(service) == {"overlap_seconds": seconds}
    assert ("until 2026-11-25T10:00:00Z" in ran.stderr) == (until is not None)


@pytest.mark.parametrize(
    "words",
    [
        ["create"],
        ["update", "wh-1"],
        ["rotate", "wh-1", "--overlap-hours", "25"],
        ["rotate", "wh-1", "--overlap-hours", "-1"],
        ["deliveries"],
        ["deliveries", "wh-1", "--task", "task-1"],
        ["deliveries", "wh-1", "--status", "asleep"],
        ["recover", "wh-1"],
        ["recover", "wh-1", "--since", "yesterday"],
        ["recover", "wh-1", "--since", "2026-11-24T10:00:00"],
    ],
)
def test_wrong_usage_is_2(run: Run, service: Service, words: list[str]) -> None:
    ran = run(*words)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert service.requests == []


# --- reading ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "route", "answer"),
    [
        (["list"], "GET /api/webhooks", {"items": [webhook()], "next_cursor": None}),
        (["show", "wh-1"], "GET /api/webhooks/wh-1", webhook()),
        (["update", "wh-1", "--enable"], "PATCH /api/webhooks/wh-1", webhook()),
        (["test", "wh-1"], "POST /api/webhooks/wh-1/test", delivery("delivered", attempt())),
        (["redeliver", "msg_1"], "POST /api/webhooks/deliveries/msg_1/redeliver", delivery("pending")),
        (
            ["deliveries", "wh-1"],
            "GET /api/webhooks/wh-1/deliveries",
            {"items": [delivery()], "next_cursor": None},
        ),
        (
            ["deliveries", "--task", "task-1"],
            "GET /api/tasks/task-1/deliveries",
            {"items": [delivery()], "next_cursor": None},
        ),
    ],
)
def test_json_is_what_the_api_sent(
    run: Run, service: Service, words: list[str], route: str, answer: dict[str, Any]
) -> None:
    service.on(route, (200, answer))
    ran = run(*words, "--json")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == answer


@pytest.mark.parametrize(
    ("members", "state"),
    [
        ({}, "enabled"),
        ({"failing_since": "2026-11-23T10:00:00Z"}, "failing"),
        ({"failing_since": "2026-11-20T10:00:00Z", "warning_percent": 70}, "failing, 70 % of the time"),
        ({"enabled": False, "disabled_reason": "gone"}, "disabled: gone"),
    ],
)
def test_a_webhook_says_how_it_fares(run: Run, service: Service, members: dict[str, Any], state: str) -> None:
    shown = webhook(cooling_until="2026-11-24T10:10:00Z", description="\x1b[31mred", **members)
    service.on("GET /api/webhooks/wh-1", (200, shown))
    service.on("GET /api/webhooks", (200, {"items": [shown], "next_cursor": "abc"}))
    one, all_ = run("show", "wh-1"), run("list", "--limit", "1", "--cursor", "xyz")
    assert state in one.stdout and state in all_.stdout
    assert "2026-11-24T10:10:00Z" in one.stdout
    assert "--cursor abc" in all_.stderr
    assert service.requests[-1][0] == "GET /api/webhooks?limit=1&cursor=xyz"
    assert "\x1b" not in one.stdout + all_.stdout


def test_every_attempt_has_a_row(run: Run, service: Service) -> None:
    tried = delivery(
        "pending",
        attempt(1, failure="timeout", status_code=None, duration_ms=15_000),
        attempt(2, failure="http_status", status_code=503),
        next_attempt_at="2026-11-24T12:00:00Z",
    )
    dropped = delivery("failed", delivery_id="msg_2", reason="webhook_disabled", task_id=None)
    page = {"items": [tried, dropped, delivery("delivered", attempt())], "next_cursor": "abc"}
    service.on("GET /api/webhooks/wh-1/deliveries", (200, page))
    ran = run("deliveries", "wh-1", "--status", "failed")
    cells = [line.split() for line in ran.stdout.splitlines()[1:]]
    about = ["msg_1", "task.succeeded/3", "task-1"]
    assert cells == [
        [*about, "pending", "1", "2026-11-24T10:00:00Z", "timeout", "15,000", "ms"],
        [*about, "pending", "2", "2026-11-24T10:00:00Z", "503", "1,234", "ms"],
        [*about, "pending", "-", "2026-11-24T12:00:00Z", "due", "-"],
        ["msg_2", "task.succeeded/3", "-", "failed:", "webhook_disabled", "-", "-", "-", "-"],
        [*about, "delivered", "1", "2026-11-24T10:00:00Z", "204", "1,234", "ms"],
    ]
    assert "--cursor abc" in ran.stderr
    assert service.requests[0][0] == "GET /api/webhooks/wh-1/deliveries?status=failed&limit=50"


def test_the_deliveries_of_a_task_name_their_webhook(run: Run, service: Service) -> None:
    own = delivery("delivered", attempt(), webhook_id=None)
    page = {"items": [delivery("delivered", attempt()), own], "next_cursor": None}
    service.on("GET /api/tasks/task-1/deliveries", (200, page))
    lines = run("deliveries", "--task", "task-1").stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["WEBHOOK", "wh-1", "webhook_url"]


# --- sending ---------------------------------------------------------------------------------------------


def test_an_example_is_waited_for(run: Run, service: Service) -> None:
    away = problem(503, "unavailable", "A service is out of reach.")
    done = delivery("delivered", attempt(status_code=200, response="thanks\x1b[0m"))
    service.on("POST /api/webhooks/wh-1/test", (202, delivery("pending")))
    service.on("GET /api/webhooks/deliveries/msg_1", (200, delivery("pending")), away, (200, done))
    ran = run("test", "wh-1", "--event", "task.failed")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout == "delivered: 200 after 1,234 ms\nthanks[0m\n"
    assert sent(service, 0) == {"event_type": "task.failed"}


@pytest.mark.parametrize("failure", get_args(FailureKind))
def test_every_failure_comes_with_advice(run: Run, service: Service, failure: str) -> None:
    code = 500 if failure == "http_status" else None
    service.on("POST /api/webhooks/wh-1/test", (202, failed(failure, code, "Oh no.")))
    ran = run("test", "wh-1")
    assert ran.exit_code == 1
    assert ran.stdout == f"failed: {code or failure} after 1,234 ms\nOh no.\n"
    assert len(ran.stderr.splitlines()) == 1
    assert failure in ADVICE


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (301, "redirects"),
        (400, "refused the request"),
        (401, "secret of this webhook"),
        (403, "forbids"),
        (404, "Check the URL"),
        (405, "POST"),
        (410, "docmill webhooks update wh-1 --enable"),
        (413, "64 KiB"),
        (418, "any 2xx"),
        (429, "pause"),
        (502, "its log"),
    ],
)
def test_a_status_says_more_than_that_it_failed(status: int, said: str) -> None:
    assert said in advice(failed("http_status", status))


@pytest.mark.parametrize("reason", ["webhook_disabled", "webhook_deleted", "task_deleted"])
def test_what_was_never_sent_says_why(run: Run, service: Service, reason: str) -> None:
    service.on("POST /api/webhooks/wh-1/test", (202, delivery("failed", reason=reason)))
    ran = run("test", "wh-1")
    assert (ran.exit_code, ran.stdout) == (1, f"failed: {reason}\n")
    assert ran.stderr


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (problem(409, "conflict", "The webhook is disabled."), 2),
        (problem(404, "not_found", "There is no webhook of this id."), 2),
        (problem(500, "internal", "Something went wrong."), 3),
    ],
)
def test_a_refusal_is_one_line_and_a_status(run: Run, service: Service, answer: Answer, status: int) -> None:
    service.on("POST /api/webhooks/wh-1/test", answer)
    service.on("POST /api/webhooks/deliveries/msg_1/redeliver", answer)
    for words in (["test", "wh-1"], ["redeliver", "msg_1"]):
        ran = run(*words)
        assert (ran.exit_code, ran.stdout, ran.stderr) == (status, "", answer[1]["detail"] + "\n")


def test_a_delivery_is_sent_again(run: Run, service: Service) -> None:
    service.on("POST /api/webhooks/deliveries/msg_1/redeliver", (202, delivery("pending")))
    assert run("redeliver", "msg_1").stdout == "msg_1: pending\n"


def test_recovery_goes_on_until_it_is_complete(run: Run, service: Service) -> None:
    part, end = {"recovered": 1000, "complete": False}, {"recovered": 1, "complete": True}
    service.on("POST /api/webhooks/wh-1/recover", (202, part), (202, part), (202, end))
    ran = run("recover", "wh-1", "--since", "2026-11-24T12:00:00+02:00")
    assert (ran.exit_code, ran.stdout) == (0, "2,001 deliveries sent once more.\n")
    assert [json.loads(body) for _, _, body in service.requests] == 3 * [{"since": "2026-11-24T10:00:00Z"}]
    assert json.loads(run("recover", "wh-1", "--since", "2h", "--json").stdout)["recovered"] == 1
    since = datetime.fromisoformat(sent(service)["since"])
    assert timedelta(hours=2) <= datetime.now(UTC) - since < timedelta(hours=2, minutes=5)


def test_a_recovery_that_gets_nowhere_ends(run: Run, service: Service) -> None:
    service.on("POST /api/webhooks/wh-1/recover", (202, {"recovered": 0, "complete": False}))
    assert run("recover", "wh-1", "--since", "3d").exit_code == 3


NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("45s", NOW - timedelta(seconds=45)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("2026-11-24T10:00:00Z", NOW - timedelta(hours=2)),
        ("2026-11-24T10:00:00.5+00:00", NOW - timedelta(hours=1, minutes=59, seconds=59.5)),
    ],
)
def test_since_is_a_duration_or_a_time(text: str, since: datetime) -> None:
    assert _since(text, NOW) == since


@pytest.mark.parametrize(
    "text", ["", "2", "h", "-2h", "2h30m", "2 weeks", "999999999d", "2026-11-24", "0001-01-01T00:00:00+14:00"]
)
def test_any_other_since_is_misuse(text: str) -> None:
    with pytest.raises(Misuse, match="--since"):
        _since(text, NOW)


def test_an_id_stays_in_its_place(service: Service) -> None:
    service.on("GET /api/webhooks/..%2Ftasks%3F", (200, webhook()))
    with Api(service.url, KEY) as api:
        assert api.webhook("../tasks?")["webhook_id"] == "wh-1"
