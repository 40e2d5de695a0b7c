"""What the Functions host sees of the app, each import in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "docling",
    "docling_core",
    "openai",
    "supabase",
    "scipy",
    "pandas",
    "onnxruntime",
    "fastapi",
    "azure.storage",
    "azure.monitor",
    "opentelemetry",
    "prometheus_client",
)

INDEX = """
import json, sys
import function_app
functions = function_app.app.get_functions()
print(json.dumps({
    "functions": {f.get_function_name(): [json.loads(b) for b in f.get_raw_bindings()] for f in functions},
    "modules": sorted(sys.modules),
}))
"""


def python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean, capture_output=True, text=True, check=False
    )


def index(**environ: str) -> dict[str, Any]:
    done = python(INDEX, **environ)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def queue_trigger(queue: str) -> list[dict[str, str]]:
    return [
        {
            "direction": "IN",
            "type": "queueTrigger",
            "name": "message",
            "queueName": queue,
            "connection": "AzureWebJobsStorage",
        }
    ]


def expected(clients: list[str]) -> dict[str, list[dict[str, Any]]]:
    http = {
        "direction": "IN",
        "type": "httpTrigger",
        "name": "req",
        "authLevel": "ANONYMOUS",
        "route": "/{*route}",
    }
    timer = {"direction": "IN", "type": "timerTrigger", "name": "timer", "schedule": "%MAINTENANCE_SCHEDULE%"}
    return {
        "http_app_func": [http, {"direction": "OUT", "type": "http", "name": "$return"}],
        **{f"tasks_{client}": queue_trigger(f"{client}-tasks") for client in clients},
        "deliver_webhook": queue_trigger("webhook-deliveries"),
        "maintenance": [{**timer, "runOnStartup": False}],
    }


@pytest.mark.parametrize(
    ("environ", "clients"),
    [
        ({}, ["default"]),
        ({"CLIENT_ID": "solo"}, ["solo"]),
        ({"CLIENT_IDS": "acme"}, ["acme"]),
        ({"CLIENT_IDS": ",".join(f"client-{n}" for n in range(20))}, [f"client-{n}" for n in range(20)]),
        ({"CLIENT_IDS": "acme,beta", "TASK_TRIGGER_CLIENTS": "beta"}, ["beta"]),
        ({"CLIENT_IDS": "acme,beta", "TASK_TRIGGER_CLIENTS": ""}, []),
    ],
)
def test_the_host_finds_exactly_these_functions(environ: dict[str, str], clients: list[str]) -> None:
    found = index(**environ)["functions"]
    methods = found["http_app_func"][0].pop("methods")
    assert {"GET", "POST", "DELETE"} <= set(methods)
    assert found == expected(clients)


def test_importing_the_app_imports_nothing_heavy() -> None:
    modules = index()["modules"]
    assert [heavy for heavy in HEAVY if heavy in modules] == []


def test_importing_the_app_reads_only_the_two_settings() -> None:
    """Everything else may be wrong or missing: one bad setting must not hide every function."""
    wrong = {"TASK_MAX_ATTEMPTS": "many", "LOG_LEVEL": "loud", "AzureWebJobsStorage": "nonsense"}
    assert set(index(**wrong)["functions"]) == set(expected(["default"]))


def test_a_wrong_client_stops_the_import_with_one_line() -> None:
    done = python("import function_app", CLIENT_IDS="Not A Client")
    assert done.returncode != 0
    assert "SettingsError: CLIENT_IDS: 'Not A Client' is not a client id" in done.stderr


def test_host_json_sets_every_queue_setting() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    assert host["version"] == "2.0"
    assert host["extensions"]["http"]["routePrefix"] == ""
    queues = host["extensions"]["queues"]
    assert set(queues) == {
        "maxPollingInterval", "visibilityTimeout", "batchSize", "newBatchThreshold", "maxDequeueCount",
        "messageEncoding",
    }  # fmt: skip
    assert queues["messageEncoding"] == "base64"
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))
    from shared.settings import read_settings

    assert hours * 3600 + minutes * 60 + seconds > read_settings({}).task_timeout_seconds


def test_the_sample_settings_are_all_there_and_none_that_nobody_reads() -> None:
    from shared.settings import environment_names, read_settings

    sample = json.loads((ROOT / "local.settings.sample.json").read_text())
    assert sample["IsEncrypted"] is False
    values = sample["Values"]
    assert values.pop("FUNCTIONS_WORKER_RUNTIME") == "python"
    known = {name for names in environment_names().values() for name in names}
    assert set(values) <= known
    for names in environment_names().values():
        # An account by identity excludes the sample's; and the Azure SDK reads an empty authority as one.
        optional = names[0].startswith(("AzureWebJobsStorage__", "AZURE_AUTHORITY_HOST"))
        assert optional or set(names) & set(values), f"{names[0]} is missing in local.settings.sample.json"
    assert read_settings(values).client_ids


FIRST_REQUEST = """
import asyncio, logging, types
import azure.functions as func
import function_app
logging.basicConfig()
http = next(f for f in function_app.app.get_functions() if f.get_function_name() == "http_app_func")
asked = func.HttpRequest(method="GET", url="http://localhost/api/health", body=b"", route_params={})
asyncio.run(http.get_user_function()(asked, types.SimpleNamespace()))
"""


def test_a_wrong_setting_is_logged_by_the_first_request() -> None:
    done = python(FIRST_REQUEST, TASK_MAX_ATTEMPTS="many")
    assert done.returncode != 0
    assert "TASK_MAX_ATTEMPTS: Input should be a valid integer" in done.stderr
    assert "Example: TASK_MAX_ATTEMPTS=5" in done.stderr
