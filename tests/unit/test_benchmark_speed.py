"""What the benchmarks of the queue path, of growth and of waiting are made of."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks import queue, rows
from benchmarks.meter import Meter, Request
from local.azurite import ACCOUNT, KEY


@pytest.mark.parametrize(
    ("service", "method", "path", "found", "kind"),
    [
        ("table", "POST", "/account/$batch", 0, "transaction"),
        ("table", "GET", "/account/tasks(PartitionKey='a',RowKey='T%7Cb')", 1, "read one row of tasks, T|"),
        ("table", "GET", "/account/apikeys(PartitionKey='a',RowKey='0a')", 1, "read one row of apikeys"),
        ("table", "GET", "/account/webhooks()", 0, "list rows of webhooks"),
        ("table", "PATCH", "/account/apikeys(PartitionKey='a',RowKey='0a')", 0, "write one row of apikeys"),
        ("queue", "POST", "/account/acme-tasks/messages", 1, "put a message"),
        ("queue", "GET", "/account/acme-tasks/messages", 2, "receive messages"),
        ("queue", "GET", "/account/acme-tasks/messages", 0, "poll in vain"),
        ("queue", "DELETE", "/account/acme-tasks/messages/1", 0, "delete a message"),
        ("queue", "PUT", "/account/acme-tasks/messages/1", 0, "hold a message"),
        ("queue", "GET", "/account/acme-tasks", 0, "look at a queue"),
        ("blob", "PUT", "/account/docmill/acme/results/1.json", 0, "write a blob"),
        ("blob", "GET", "/account/docmill/acme/results/1.json", 0, "GET of a blob"),
    ],
)
def test_a_request_is_told_by_what_it_does(
    service: str, method: str, path: str, found: int, kind: str
) -> None:
    assert Request(service, method, path, 200, found).kind == kind


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_the_meter_passes_on_and_counts() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as behind:
        threading.Thread(target=behind.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{behind.server_port}/{ACCOUNT}"
        endpoints = ";".join(f"{kind}Endpoint={place}" for kind in ("Blob", "Queue", "Table"))
        with Meter(f"AccountName={ACCOUNT};AccountKey={KEY};{endpoints};").serving() as meter:
            before = dict(part.split("=", 1) for part in meter.connection_string.strip(";").split(";"))
            assert len({before[f"{kind}Endpoint"] for kind in ("Blob", "Queue", "Table")}) == 3
            port = int(before["TableEndpoint"].split(":")[2].partition("/")[0])

            def call() -> None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                for _ in range(2):
                    connection.request("POST", f"/{ACCOUNT}/$batch?x=y", b'{"value": [1, 2]}')
                    assert connection.getresponse().read() == b'{"value": [1, 2]}'
                connection.close()

            passed = meter.during(call)
        behind.shutdown()
    assert passed == [Request("table", "POST", f"/{ACCOUNT}/$batch", 201, 2)] * 2


def test_ratios_are_of_all_rounds() -> None:
    seconds = {"Docmill": [2.5] * 4, "bare SDK": [5.0] * 4, "Celery": [2.0, 2.0, 3.0, 3.0]}
    requests = Counter({"transaction": 3 * queue.COUNTED, "poll in vain": 99})
    report = queue._report(seconds, dict.fromkeys(seconds, requests))
    assert [figure.value for figure in report.figures] == [2.0, 1.0, 3.0]
    assert [figure.verdict for figure in report.figures] == ["met", "missed", "met"]


def test_a_copy_of_a_task_has_all_its_rows_under_a_name_of_its_own() -> None:
    name = "task-0123456789abcdef01234567"
    sample = [
        {"RowKey": f"T|{name}", "task": f'{{"task_id": "{name}"}}'},
        {"RowKey": f"L|{5:018d}|{name}", "task": f'{{"task_id": "{name}"}}'},
        {"RowKey": f"X|2026|task|{name}"},
    ]
    truth, listed, expiry = rows._copied(sample, name, 7)
    other = truth["RowKey"].removeprefix("T|")
    assert other != name and name not in str([truth, listed, expiry])
    assert listed["RowKey"] == f"L|{12:018d}|{other}" and expiry["RowKey"] == f"X|2026|task|{other}"
    assert truth["task"] == f'{{"task_id": "{other}"}}'
