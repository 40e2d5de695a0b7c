"""monitoring/ as Prometheus itself reads it, and one that scrapes a real worker until an alert fires."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.storage.queue import QueueClient

from shared.core import Core
from shared.measures import METRICS
from shared.settings import read_settings
from tests.system.packages import ROOT, tool
from worker.gauges import HELP

MONITORING = ROOT / "monitoring"
PACKAGE = "prometheus"
CLIENT = "acme"
EVERY = "500ms"


def promtool(*arguments: str | Path, given: bytes = b"") -> str:
    command = [tool("promtool", PACKAGE), *arguments]
    done = subprocess.run(
        command, cwd=MONITORING, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


def test_the_rules_are_rules() -> None:
    promtool("check", "rules", "alerts.yml")


def test_the_rules_fire_and_keep_silent_when_they_should() -> None:
    promtool("test", "rules", "alerts_test.yml")


def test_a_rule_that_is_wrong_fails_its_test(tmp_path: Path) -> None:
    """Or the tests would prove nothing."""
    changed = (MONITORING / "alerts.yml").read_text().replace("> 1000", "> 2000")
    (tmp_path / "alerts.yml").write_text(changed)
    (tmp_path / "alerts_test.yml").write_text((MONITORING / "alerts_test.yml").read_text())
    with pytest.raises(AssertionError, match="DocmillQueueDeep"):
        promtool("test", "rules", tmp_path / "alerts_test.yml")


def test_the_example_is_a_configuration() -> None:
    promtool("check", "config", "prometheus.yml")


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    filled = [text.replace("$__rate_interval", "1m").replace("$client", ".*") for text in asked]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(filled)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yml")


# --- a real Prometheus and a real worker -------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(
    true: Callable[[], object], process: subprocess.Popen[bytes], log: Path, seconds: float = 40
) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None and time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(0.1)


def get(url: str) -> tuple[int, str]:
    """0 when nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=15) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


@contextmanager
def started(command: list[str | Path], log: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """In a session of its own, which ends as a whole."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Worker:
    def __init__(self, azurite: str, directory: Path, stack: ExitStack) -> None:
        self.port, self.log = free_port(), directory / "worker.log"
        ours = ("AzureWebJobs", "AZURE_", "LOG_", "WORKER_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        settings = {
            "AzureWebJobsStorage": azurite,
            "CLIENT_IDS": CLIENT,
            "MAINTENANCE_SCHEDULE": "* * * * * *",
            "WORKER_MONITOR_PORT": str(self.port),
        }
        self.core = stack.enter_context(closing(Core(read_settings(settings))))
        self.core.prepare()
        self.queue = stack.enter_context(
            QueueClient.from_connection_string(azurite, f"{CLIENT}-tasks", api_version="2026-06-06")
        )
        command: list[str | Path] = [sys.executable, "-m", "worker", "--only", "queues", "--only", "timers"]
        self.process = stack.enter_context(started(command, self.log, {**kept, **settings}))
        until(lambda: self.get("/readyz")[0] == 200, self.process, self.log)

    def get(self, path: str) -> tuple[int, str]:
        return get(f"http://127.0.0.1:{self.port}{path}")

    def poison(self) -> None:
        """One message that no host can decode and one that is no task. Returns when both were given up."""
        self.queue.send_message("this is not base64!")
        self.core.queues.put(f"{CLIENT}-tasks", b"this is no task")
        until(lambda: self.core.dead_letters.count_open(CLIENT) == 2, self.process, self.log)


class Prometheus:
    """With the shipped files, but for the worker's port and the times, which are as short as they can be."""

    def __init__(self, target: int, directory: Path, stack: ExitStack) -> None:
        port, self.log = free_port(), directory / "prometheus.log"
        self.url = f"http://127.0.0.1:{port}"
        config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY}
        # Its first scrape waits for a look at the queues.
        config["scrape_configs"][0] |= {"scrape_interval": "3s", "scrape_timeout": "3s"}
        config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
        self.names = [rule["alert"] for rule in rules["groups"][0]["rules"]]
        for rule in rules["groups"][0]["rules"]:
            rule.pop("for", None)
        (directory / "alerts.yml").write_text(yaml.safe_dump(rules))
        command = [
            tool("prometheus", PACKAGE),
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        self.process = stack.enter_context(started(command, self.log, dict(os.environ)))
        until(lambda: get(f"{self.url}/-/ready")[0] == 200, self.process, self.log)

    def api(self, path: str, **query: str) -> Any:
        status, body = get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        return json.loads(body)["data"] if status == 200 else {}

    def firing(self) -> dict[str, dict[str, str]]:
        alerts = self.api("alerts").get("alerts", [])
        return {one["labels"]["alertname"]: one["labels"] for one in alerts if one["state"] == "firing"}

    def value(self, query: str) -> float:
        [found] = self.api("query", query=query)["result"]
        return float(found["value"][1])

    def until_firing(self, name: str) -> dict[str, str]:
        until(lambda: name in self.firing(), self.process, self.log)
        return self.firing()[name]


def test_an_alert_fires_when_a_message_is_poisoned_and_when_the_worker_is_gone(
    azurite: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        worker = Worker(azurite, tmp_path, stack)
        assert worker.get("/healthz")[0] == 200
        worker.poison()  # before the first look at the queues, which is kept for half a minute

        prometheus = Prometheus(worker.port, tmp_path, stack)
        assert prometheus.until_firing("DocmillDeadLetters")["client"] == CLIENT
        # A scrape that took too long is another alarm, and goes.
        until(
            lambda: prometheus.firing().keys() == {"DocmillDeadLetters"}, prometheus.process, prometheus.log
        )
        rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
        assert [rule["name"] for rule in rules] == prometheus.names
        assert {rule["health"] for rule in rules} == {"ok"}

        # What the functions process counted comes by way of the host.
        assert prometheus.value('docmill_dead_letters_total{reason="invalid_message"}') == 2
        assert prometheus.value('docmill_process_resident_bytes{process="functions"}') > 10_000_000
        status, metrics = worker.get("/metrics")
        assert status == 200
        promtool("check", "metrics", given=metrics.encode())
        named = {line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE docmill_")}
        assert named <= METRICS.keys() | HELP.keys() and named >= HELP.keys()

        os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        lost = prometheus.until_firing("DocmillWorkerLost")
        assert lost["instance"] == f"127.0.0.1:{worker.port}"
        prometheus.until_firing("DocmillWorkerAbsent")
