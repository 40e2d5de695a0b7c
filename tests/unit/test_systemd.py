"""What systemd hears of the worker: by real datagram sockets, as sd_notify(3) has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.systemd import notify, watchdog_seconds


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.settimeout(10)
        yield made


def test_a_state_is_one_datagram(listener: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    listener.bind(path)
    notify("READY=1\nSTATUS=Serving 3 queues", {"NOTIFY_SOCKET": path})
    notify("WATCHDOG=1", {"NOTIFY_SOCKET": path})
    assert listener.recv(4096) == b"READY=1\nSTATUS=Serving 3 queues"
    assert listener.recv(4096) == b"WATCHDOG=1"


def test_an_abstract_socket_is_named_with_an_at_sign(listener: socket.socket) -> None:
    name = f"docmill-test-{os.getpid()}"
    listener.bind("\0" + name)
    notify("STOPPING=1", {"NOTIFY_SOCKET": "@" + name})
    assert listener.recv(4096) == b"STOPPING=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_systemd_nothing_is_said(environ: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    notify("READY=1", environ)
    assert not caplog.records


def test_a_socket_that_is_gone_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notify("WATCHDOG=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert "systemd was not told WATCHDOG=1" in caplog.text


def test_a_full_socket_stops_nothing(listener: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    listener.bind(path)
    for _ in range(2000):  # more than any queue of datagrams holds
        notify("WATCHDOG=1", {"NOTIFY_SOCKET": path})


def test_the_socket_is_found_in_the_environment(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    notify("READY=1")
    assert listener.recv(4096) == b"READY=1"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid() + 1)}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
    ],
)
def test_the_watchdog(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environ) == seconds
