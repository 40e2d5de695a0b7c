"""Docmill as it runs: `python -m worker` with its API, with one task type more, which does nothing."""

from __future__ import annotations

import http.client
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType

from benchmarks import noop, noop_app
from benchmarks.bare import Sample
from benchmarks.program import ended, shared
from benchmarks.service import Json, Service
from local import ports
from local.app import credentials


class Docmill:
    """Workers on a storage account, and what it takes to submit to them. `processes`: theirs."""

    def __init__(self, service: Service) -> None:
        self.service, self.core = service, service.core
        self.clients = self.core.settings.client_ids
        self.processes: list[int] = []

    @classmethod
    @contextmanager
    def started(
        cls, connection: str, clients: Sequence[str], *options: str, workers: int = 1
    ) -> Iterator[Docmill]:
        """`options`: further ones of a worker's command line. `workers`: how many, the first with HTTP."""
        from shared.core import Core
        from shared.settings import read_settings

        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="docmill-")))
            settings = _settings(connection, clients)
            core = Core(read_settings(settings))
            stack.callback(core.close)
            docmill = cls(Service(core, settings, folder))
            command = ["--app-root", str(noop_app.make(folder / "app")), *options]
            for number in range(workers):
                only = ["--only", "queues"] if number else []
                process = stack.enter_context(docmill.service.worker(*command, *only))
                docmill.processes.append(process.pid)
            docmill.service.wait_until_healthy()
            yield docmill

    def run(self, count: int, seconds: float = 0) -> None:
        """That many tasks that take so long. Returns when all have ended."""
        shared(count, partial(self._submit, seconds))
        ended(lambda: not any(self.core.queues.depth(f"{client}-tasks") for client in self.clients))

    def _submit(self, seconds: float, numbers: Sequence[int]) -> None:
        with self.connection() as connection:
            for number in numbers:
                body = {"task_type": noop.NAME, "payload": {"number": number, "seconds": seconds}}
                headers = self.headers(self.clients[number // 2 % len(self.clients)])
                connection.told("POST", "/api/tasks", json.dumps(body), headers)

    def get(self, client: str, path: str) -> Json:
        with self.connection() as connection:
            return connection.told("GET", path, None, self.headers(client))

    def headers(self, client: str) -> dict[str, str]:
        return {"X-API-Key": self.service.environment[f"DOCMILL_API_KEY_{client.upper().replace('-', '_')}"]}

    def connection(self) -> Connection:
        return Connection("127.0.0.1", int(self.service.environment["DOCMILL_PORT"]), timeout=60)

    def sample(self) -> Sample:
        """Of the task that has ended last."""
        from azure.data.tables import TableServiceClient

        from shared.messages import TaskMessage

        client = self.clients[0]
        task = self.core.tasks.page(client, limit=1).items[0]
        with TableServiceClient.from_connection_string(
            self.service.environment["AzureWebJobsStorage"]
        ) as tables:
            found = tables.get_table_client("tasks").get_entity(client, f"T|{task.task_id}")
        message = TaskMessage.of(task, str(found.metadata["etag"])).encode()
        return Sample(dict(found), message, self.core.blobs.read(str(task.result_blob)))


class Connection(http.client.HTTPConnection):
    """Kept open, and closed at the end."""

    def told(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Json:
        self.request(method, path, body, {"Content-Type": "application/json", **headers})
        answer = self.getresponse()
        content = answer.read()
        if answer.status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"{method} {path} was answered with {answer.status}: {content.decode()}")
        found: Json = json.loads(content)
        return found

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _settings(connection: str, clients: Sequence[str]) -> dict[str, str]:
    port = ports.choose(ports.ANY)["DOCMILL_PORT"]
    settings = {
        "CLIENT_IDS": ",".join(clients),
        "AZURE_STORAGE_CONNECTION_STRING": connection,
        "AzureWebJobsStorage": connection,
        "DOCMILL_PORT": str(port),
        "DOCMILL_URL": f"http://127.0.0.1:{port}",
        "MODEL_PROVIDER": "local",
        "LOG_LEVEL": "WARNING",
        "SECRETS_KEY": "YmVuY2htYXJrcy1vbmx5LWJlbmNobWFya3Mtb25seS0=",
    }
    return settings | credentials(settings, known={})
