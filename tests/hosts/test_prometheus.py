"""The worker's figures as Prometheus reads them: every metric, within its bounds, over all processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from shared import telemetry
from shared.measures import BUCKETS, METRICS
from shared.settings import read_settings
from worker import metrics

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = read_settings({"CLIENT_IDS": "acme,beta"})
KNOWN = {"client": "acme", "task_type": "ingestion", "code": "timeout", "format": "pdf"}


def everything() -> None:
    """Each metric once, with the labels that it has."""
    for name, metric in METRICS.items():
        labels = {label: KNOWN.get(label, "some") for label in metric.labels}
        if metric.kind == "counter":
            telemetry.installed().count(name, 2, **labels)
        else:
            telemetry.installed().observe(name, 3.0, **labels)


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + str(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_every_metric_is_there_under_its_own_name() -> None:
    registry = CollectorRegistry()
    remove = metrics.install(SETTINGS, registry)
    try:
        everything()
        telemetry.installed().count("docmill_tasks_total", task_type="a", client="b", outcome="failed")
        telemetry.installed().count("not_a_metric", client="acme")
        telemetry.installed().count("docmill_pages_total", client="not a label of it")
        with telemetry.installed().span("submit", traceparent="x") as span:
            assert span.traceparent == "x"
    finally:
        remove()
    found = samples(generate_latest(registry).decode())
    for name, metric in METRICS.items():
        labels = sorted((label, KNOWN.get(label, "some")) for label in metric.labels)
        if metric.kind == "counter":
            assert found[f"{name}{labels}"] == 2
        else:
            assert found[f"{name}_count{labels}"] == 1 and found[f"{name}_sum{labels}"] == 3
            buckets = [key for key in found if key.startswith(f"{name}_bucket")]
            assert len(buckets) == len(BUCKETS) + 1
    other = [("client", "other"), ("outcome", "failed"), ("task_type", "other")]
    assert found[f"docmill_tasks_total{other}"] == 1
    assert not any("not_a_metric" in key for key in found)


COUNT = """
import sys
from shared import telemetry
from shared.settings import read_settings
from worker import metrics
metrics.install(read_settings({"CLIENT_IDS": "acme"}))
telemetry.installed().count("docmill_pages_total", int(sys.argv[1]))
telemetry.installed().observe("docmill_task_seconds", 1.0, task_type="ingestion")
"""
COLLECT = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def python(code: str, folder: Path, *arguments: str) -> str:
    environ = {"PATH": os.environ["PATH"], "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_processes_of_a_worker_add_up_also_those_that_have_ended(tmp_path: Path) -> None:
    python(COUNT, tmp_path, "2")
    python(COUNT, tmp_path, "3")
    found = samples(python(COLLECT, tmp_path))
    assert found["docmill_pages_total[]"] == 5
    assert found["docmill_task_seconds_count[('task_type', 'ingestion')]"] == 2


def test_a_folder_that_is_gone_costs_figures_and_no_task(tmp_path: Path) -> None:
    gone = 'import os, shutil\nshutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])\n'
    install, _, tell = COUNT.partition("telemetry.installed()")
    python(f"{install}{gone}telemetry.installed(){tell}", tmp_path, "2")
