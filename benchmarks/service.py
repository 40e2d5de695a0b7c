"""Docmill as it is run, for benchmarks: services of its own, workers, and clients of its API."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local import ports
from local.app import credentials
from local.process import base_environment
from local.stack import ROOT, Stack

if TYPE_CHECKING:
    import httpx

    from shared.core import Core
    from shared.tasks import Task

READY_SECONDS = 60
FINAL_SECONDS = 300
LOOK_SECONDS = 0.1
Json = dict[str, Any]


@dataclass(frozen=True)
class Service:
    """`core`: our own hands on its stores. `environment`: of its processes. `folder`: for temporary files.
    `database_url`: of Postgres itself, where there is one."""

    core: Core
    environment: Mapping[str, str]
    folder: Path
    database_url: str = ""

    @contextmanager
    def worker(
        self, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A `python -m worker`, as it is after the start of its process."""
        log = self.folder / "worker.log"
        command = [sys.executable, "-m", "worker", "--drain-seconds", "1", *arguments]
        environment = {**base_environment(), **self.environment, **(environ or {})}
        with (
            log.open("ab") as output,
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output) as process,
        ):
            try:
                yield process
                if process.poll() is not None:
                    raise RuntimeError(f"A worker ended by itself: {log.read_text()[-2000:]}")
            finally:
                process.terminate()
                process.wait(30)

    @contextmanager
    def client(self, name: str) -> Iterator[httpx.Client]:
        import httpx

        url, headers = self.environment["DOCMILL_URL"], {"X-API-Key": self.key(name)}
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            yield client

    def key(self, client: str) -> str:
        suffix = "" if client == "default" else f"_{client.upper().replace('-', '_')}"
        return self.environment[f"DOCMILL_API_KEY{suffix}"]

    def wait_until_ready(self) -> None:
        """Until everything that it depends on answers too."""
        self._wait_for("/api/health/ready")

    def wait_until_healthy(self) -> None:
        self._wait_for("/api/health")

    def _wait_for(self, path: str) -> None:
        import httpx

        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            with suppress(httpx.HTTPError):
                url = f"{self.environment['DOCMILL_URL']}{path}"
                if httpx.get(url, timeout=15, trust_env=False).is_success:
                    return
            time.sleep(LOOK_SECONDS)
        raise TimeoutError("The worker does not answer.")

    def ended(self, client: str, task_ids: Sequence[str], seconds: float = FINAL_SECONDS) -> list[Task]:
        """These tasks once all have succeeded. Looks seldom: what is measured stands in their rows."""
        until = time.monotonic() + seconds
        return [self._ended(client, task_id, until) for task_id in task_ids]

    def _ended(self, client: str, task_id: str, until: float) -> Task:
        while time.monotonic() < until:
            row = self.core.tasks.get(client, task_id)
            if row and row.task.final:
                if row.task.status != "succeeded":
                    raise RuntimeError(f"A task ended as {row.task.status}: {row.task.error}")
                return row.task
            time.sleep(LOOK_SECONDS)
        raise TimeoutError("A task did not end in time.")


@contextmanager
def service(clients: Sequence[str] = ("default",), *, index: bool = True) -> Iterator[Service]:
    """Storage, and with `index` the database, with everything made that an app needs. No worker runs yet."""
    from shared.core import Core
    from shared.settings import read_settings

    with tempfile.TemporaryDirectory(prefix="docmill-") as name:
        stack = Stack(Path(name, "stack"), ports.ANY)
        try:
            stack.start() if index else stack.start_azurite()
            environment = {**stack.environment(), "CLIENT_IDS": ",".join(clients), "LOG_LEVEL": "WARNING"}
            environment |= credentials(environment, known={})
            with closing(Core(read_settings(environment))) as core:
                yield Service(core, environment, Path(name), stack.postgres.url)
        finally:
            stack.stop()


def uploaded(client: httpx.Client, filename: str, content: bytes, task: str | None = "ingestion") -> Json:
    """The document; its "task" is that of the type that was asked for."""
    answer = client.post(
        "/api/documents", params={"task": task} if task else {}, files={"file": (filename, content)}
    )
    answer.raise_for_status()
    found: Json = answer.json()
    return found
