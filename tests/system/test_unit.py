"""The unit as systemd's own tools judge it. They need no running systemd."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.packages import ROOT, tool

WORKER = ROOT / "worker"
TEMPLATE = WORKER / "docmill-worker@.service"
EXPOSURE = 3.0


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """The unit of the client acme."""
    return Path(shutil.copy(TEMPLATE, tmp_path / "docmill-worker@acme.service"))


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [tool("systemd-analyze", "systemd"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", TEMPLATE.read_text(), re.MULTILINE)


def variables() -> dict[str, str]:
    return dict(line.strip('"').split("=", 1) for line in values("Environment"))


def test_it_is_verified_without_a_word(instance: Path) -> None:
    done = analyze("verify", instance)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_is_exposed_little(instance: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", "--no-pager", instance)
    assert done.returncode == 0, done.stdout
    [level] = re.findall(r"Overall exposure level for .*: ([\d.]+)", done.stdout)
    assert float(level) < EXPOSURE


def test_it_does_not_run_as_root_and_gains_nothing(instance: Path) -> None:
    done = analyze("security", "--offline=true", "--json=short", "--no-pager", instance)
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    for name in ("User=/DynamicUser=", "NoNewPrivileges=", "ProtectSystem=", "PrivateTmp="):
        assert findings[name]["set"], name


def test_the_drop_in_is_for_a_newer_systemd(instance: Path, tmp_path: Path) -> None:
    """install.sh looks at the version: an older systemd complains about what it does not know."""
    [version] = re.findall(r"^systemd (\d+)", analyze("--version").stdout)
    folder = tmp_path / f"{instance.name}.d"
    folder.mkdir()
    shutil.copy(WORKER / "backoff.conf", folder)
    said = analyze("verify", instance).stderr
    assert ("RestartSteps" in said) == (int(version) < 254), said


def test_the_client_is_the_name_of_the_instance() -> None:
    assert variables()["CLIENT_ID"] == "%i"
    assert variables()["WORKER_ARGS"] == "--clients %i"
    assert values("EnvironmentFile") == ["/etc/docmill/worker.env", "-/etc/docmill/%i.env"]


def test_the_arguments_are_those_of_the_worker() -> None:
    from worker.__main__ import _parser

    [command] = values("ExecStart")
    assert command == "/usr/bin/env venv/bin/python -m worker $WORKER_ARGS"
    given = _parser().parse_args(variables()["WORKER_ARGS"].replace("%i", "acme").split())
    assert given.clients == ("acme",)


def test_the_drain_ends_before_systemd_loses_patience() -> None:
    [stop] = values("TimeoutStopSec")
    assert float(variables()["WORKER_DRAIN_SECONDS"]) + 15 <= float(stop)


def test_the_watchdog_and_the_restart_are_on() -> None:
    assert values("Type") == ["notify"] and values("Restart") == ["always"]
    assert float(values("WatchdogSec")[0]) > 0 and float(values("RestartSec")[0]) > 0
