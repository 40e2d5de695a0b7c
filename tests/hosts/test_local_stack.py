"""The local stack: it answers, it ends with whoever started it, it starts again on what it left."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from local import env, ports
from local.process import Child, StackError
from local.stack import ROOT, Stack

STARTER = """
import json, sys, time
from pathlib import Path
from local import ports
from local.stack import Stack
stack = Stack(Path(sys.argv[1]), ports.ANY)
stack.start()
stack.postgres.sql("create table kept (word text); insert into kept values ('still here')")
print(json.dumps(stack.environment()), flush=True)
time.sleep(600)
"""


def test_every_service_answers(stack: Stack) -> None:
    from azure.storage.queue import QueueServiceClient

    settings = stack.environment()
    with QueueServiceClient.from_connection_string(settings["AZURE_STORAGE_CONNECTION_STRING"]) as queues:
        queues.create_queue("stack-answers").close()
        assert "stack-answers" in [queue.name for queue in queues.list_queues()]
    address, key = settings["SUPABASE_URL"] + "/rest/v1/documents?limit=1", settings["SUPABASE_KEY"]
    assert httpx.get(address, headers={"apikey": key}).status_code == 200
    assert httpx.get(address).status_code == 401
    assert stack.postgres.sql("select 'Ä' ilike 'ä'").strip() == "t"


def test_settings_are_what_the_app_reads(stack: Stack) -> None:
    from shared.settings import read_settings

    settings = read_settings(stack.environment())
    assert settings.client_ids == ("default", "acme")
    assert settings.provider == "local"


def test_a_killed_starter_leaves_nothing_running_and_nothing_lost(
    stack: Stack, stack_directory: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(stack_directory)], cwd=ROOT, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout
        first = json.loads(starter.stdout.readline())
        started = psutil.Process(starter.pid).children(recursive=True)
        starter.send_signal(signal.SIGKILL)

    assert first["SUPABASE_URL"] != stack.environment()["SUPABASE_URL"], "two stacks ran side by side"
    assert len(started) >= 6, "three services and their watchdogs"
    again = Stack(stack_directory, ports.ANY)  # waits until the last of them has let go of the data
    try:
        assert [process for process in started if _lives(process)] == []
        again.start_supabase()
        assert again.postgres.sql("select word from kept").strip() == "still here"
        assert again.environment()["SUPABASE_KEY"] == first["SUPABASE_KEY"]
    finally:
        again.stop()


def test_a_pid_file_that_names_a_stranger_does_not_matter(stack_directory: Path) -> None:
    one = Stack(stack_directory, ports.ANY)
    try:
        one.postgres.start()
        one.postgres.stop()
        (stack_directory / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n/elsewhere\n")
        one.postgres.start()
        assert one.postgres.sql("select 1").strip() == "1"
    finally:
        one.stop()


def test_a_service_that_ends_says_why(tmp_path: Path) -> None:
    child = Child.start(
        "Brief",
        [sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"],
        log=tmp_path / "brief.log",
        cwd=tmp_path,
        env=os.environ,
    )
    with pytest.raises(StackError, match=r"Brief ended with status 3[\s\S]*no such thing"):
        child.wait_until(lambda: False, 30)
    child.stop()


def test_a_child_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
        "time.sleep(600)"
    )
    log = tmp_path / "deaf.log"
    child = Child.start(
        "Deaf", [sys.executable, "-c", deaf], log=log, cwd=tmp_path, env=os.environ, grace=0.2
    )
    child.wait_until(lambda: log.read_text() != "", 30)
    child.stop()
    assert child.returncode == 128 + signal.SIGKILL


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = str(busy.getsockname()[1])
        with pytest.raises(StackError, match="set DOCMILL_BLOB_PORT=0"):
            ports.choose(ports.ANY | {"DOCMILL_BLOB_PORT": taken})
    with pytest.raises(StackError, match="not a port"):
        ports.choose(ports.ANY | {"DOCMILL_BLOB_PORT": "http"})
    assert len(set(ports.choose(ports.ANY).values())) == len(ports.DEFAULTS)


def test_the_env_file_reads_back_in_a_shell(tmp_path: Path) -> None:
    values = {"PLAIN": "1", "AWKWARD": "a;b $HOME 'quoted' \"twice\" #no comment", "EMPTY": ""}
    file = tmp_path / "env"
    env.write(file, values)
    assert file.stat().st_mode & 0o777 == 0o600
    assert env.read(file) == values
    show = f"set -a; . ./env; exec {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    shown = subprocess.run(["sh", "-c", show], cwd=tmp_path, capture_output=True, check=True)
    assert {name: json.loads(shown.stdout)[name] for name in values} == values


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
