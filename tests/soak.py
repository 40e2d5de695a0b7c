"""`python -m tests.soak`: work, kills and outages, and then the accounts. SOAK_SECONDS: 600 by default.

Two workers, the sweep and the API are processes of their own on a stack of their own. Three clients submit
over HTTP, as a good client does: with an Idempotency-Key, again until there is an answer. Meanwhile somebody
kills and stops what there is. At the end every task must have ended once, truly, and been told under one id.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from local import ports
from local.app import credentials
from local.receiver import Receiver
from local.stack import ROOT, Stack
from shared.core import Core
from shared.names import all_queues, poison_queue
from shared.settings import read_settings
from shared.tasks import Task

CLIENTS = ("soak-a", "soak-b", "soak-c")
TASK_LEASE_SECONDS, WORKER_LEASE_SECONDS = 3, 6
SETTLE_SECONDS = 240
OUTAGE_SECONDS = (2.0, 5.0)
SAMPLES = ROOT / "samples"
Json = dict[str, Any]


def environment(stack: Stack, temporary: Path) -> dict[str, str]:
    """Leases of seconds, a sweep every second, and more attempts than anybody will kill."""
    found = {
        **stack.environment(),
        "CLIENT_IDS": ",".join(CLIENTS),
        "TASK_LEASE_SECONDS": str(TASK_LEASE_SECONDS),
        "WORKER_LEASE_SECONDS": str(WORKER_LEASE_SECONDS),
        "TASK_MAX_ATTEMPTS": "50",
        "MAINTENANCE_SCHEDULE": "* * * * * *",
        "WEBHOOK_RETRY_SECONDS": "1,1,2,2,4,4,8,8,16,16",
        "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.3",
        # A message is given up after so many kills, and its task with it; here nothing is to be given up.
        "AzureFunctionsJobHost__extensions__queues__maxDequeueCount": "50",
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(temporary),
    }
    return {**found, **credentials(found, {})}


class Program:
    """One process of the app, started again whenever it was killed."""

    def __init__(self, part: str, environ: dict[str, str], log: Path) -> None:
        self._part, self._environ, self._log = part, environ, log
        self.kills = 0
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "worker", "--only", self._part]
        environ = {"PATH": os.environ["PATH"], "PYTHONFAULTHANDLER": "1", **self._environ}
        with self._log.open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)

    def kill(self) -> None:
        self.kills += 1
        self.process.kill()
        self.process.wait()
        time.sleep(random.uniform(0, 1))
        self.process = self._started()

    def kill_functions(self) -> bool:
        """The process that the host is to renew."""
        with suppress(psutil.Error):
            for functions in psutil.Process(self.process.pid).children():
                functions.kill()
                return True
        return False

    def kill_conversion(self) -> bool:
        with suppress(psutil.Error):
            for functions in psutil.Process(self.process.pid).children():
                for conversion in functions.children():
                    conversion.kill()
                    return True
        return False

    def stop(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # its log then says where every thread stands
            self.process.wait()
            raise


@dataclass
class Wishes:
    """What a client asked for: task id -> how it may end, parted by `|`; texts of its garbage."""

    tasks: dict[str, str] = field(default_factory=dict)
    documents: set[str] = field(default_factory=set)
    garbage: set[str] = field(default_factory=set)


class Client:
    """Submits for as long as it is told to, whatever the answers."""

    def __init__(self, name: str, environ: dict[str, str], core: Core, hook: str, seed: int) -> None:
        suffix = name.upper().replace("-", "_")
        self.name, self.wishes = name, Wishes()
        self.secret = environ[f"DOCMILL_WEBHOOK_SECRET_{suffix}"]
        headers = {"X-API-Key": environ[f"DOCMILL_API_KEY_{suffix}"]}
        self._http = httpx.Client(base_url=environ["DOCMILL_URL"], headers=headers, timeout=30)
        self._core, self._hook = core, hook
        self._random = random.Random(seed)

    def run(self, until: float) -> None:
        steps: Sequence[Callable[[], None]] = (
            self._ingest,
            self._summarize,
            self._send_bad,
            self._send_garbage,
            self._cancel,
        )
        while time.monotonic() < until:
            self._random.choices(steps, (6, 2, 2, 1, 2))[0]()
            time.sleep(self._random.uniform(0.3, 1.2))
        self._http.close()

    def _ingest(self) -> None:
        document = self._upload(
            f"{secrets.token_hex(4)}.{self._random.choice(('txt', 'md', 'html'))}", self._text()
        )
        self.wishes.documents.add(document)
        self._submit("ingestion", {"document_id": document, "options": {"chunk_tokens": 60}}, "succeeded")

    def _summarize(self) -> None:
        self._submit("summarization", {"document_id": self._upload("notes.txt", self._text())}, "succeeded")

    def _send_bad(self) -> None:
        content = b"%PDF-1.7\n" + secrets.token_bytes(500)
        self._submit("ingestion", {"document_id": self._upload("bad.pdf", content)}, "failed")

    def _send_garbage(self) -> None:
        text = f"garbage {secrets.token_hex(8)}"
        self.wishes.garbage.add(text)
        _again(lambda: self._core.queues.put(f"{self.name}-tasks", text.encode()))

    def _cancel(self) -> None:
        """It may come too late; a worker that is lost in the middle of a commit ends its task as failed."""
        document = self._upload("withdrawn.txt", self._text())
        task = self._submit("ingestion", {"document_id": document}, "cancelled|succeeded|failed")
        time.sleep(self._random.uniform(0, 2))
        _again(lambda: _good(self._http.post(f"/api/tasks/{task}/cancel"), 409))

    def _text(self) -> bytes:
        mark, lines = secrets.token_hex(6), self._random.randint(5, 60)
        paragraphs = (
            f"Line {n} of book {mark}: {n * 7} sacks of rye and {n * 3} of barley." for n in range(lines)
        )
        return "\n\n".join(paragraphs).encode()

    def _upload(self, name: str, content: bytes) -> str:
        sent = _again(lambda: _good(self._http.post("/api/documents", files={"file": (name, content)})))
        return str(sent["document_id"])

    def _submit(self, task_type: str, payload: Json, expected: str) -> str:
        body = {"task_type": task_type, "payload": payload, "webhook_url": self._hook}
        key = {"Idempotency-Key": secrets.token_hex(8)}
        task = _again(lambda: _good(self._http.post("/api/tasks", json=body, headers=key)))
        self.wishes.tasks[task["task_id"]] = expected
        return str(task["task_id"])


def _good(answer: httpx.Response, *also: int) -> Json:
    if answer.status_code >= 500:
        raise ConnectionError(answer.text)
    assert answer.is_success or answer.status_code in also, answer.text
    found: Json = answer.json()
    return found


def _again(call: Callable[[], Any]) -> Any:
    """What a client does that wants its answer."""
    from shared.errors import StorageUnavailable

    until = time.monotonic() + 120
    while True:
        try:
            return call()
        except (httpx.TransportError, ConnectionError, StorageUnavailable):
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


class Soak:
    """Everything that runs. `rough`: the sweep and the API are killed too, which costs a minute each time."""

    def __init__(self, directory: Path, *, rough: bool, seed: int) -> None:
        self._rough, self._random, self._seed = rough, random.Random(seed), seed
        self._directory, self.temporary = directory, directory / "tmp"
        self.temporary.mkdir()
        self.faults: Counter[str] = Counter()

    @contextmanager
    def running(self) -> Iterator[None]:
        with ExitStack() as exits:
            self.stack = exits.enter_context(Stack(self._directory / "data", ports.ANY))
            self.environ = environment(self.stack, self.temporary)
            self.core = Core(read_settings(self.environ))
            exits.callback(self.core.close)
            secrets_ = {
                name: self.environ[f"DOCMILL_WEBHOOK_SECRET_{name.upper().replace('-', '_')}"]
                for name in CLIENTS
            }
            self.receiver = exits.enter_context(Receiver(secrets_, lambda *_: ""))
            self.programs = [self._program(part, exits) for part in ("queues", "queues", "timers", "http")]
            yield

    def _program(self, part: str, exits: ExitStack) -> Program:
        program = Program(part, self.environ, self._directory / f"{part}.log")
        exits.callback(program.stop)
        return program

    def run(self, seconds: float) -> list[Client]:
        until = time.monotonic() + seconds
        clients = [
            Client(name, self.environ, self.core, self.receiver.url(name), self._seed + number)
            for number, name in enumerate(CLIENTS)
        ]
        threads = [threading.Thread(target=client.run, args=(until,)) for client in clients]
        for thread in threads:
            thread.start()
        while time.monotonic() < until - 10:
            time.sleep(self._random.uniform(2, 6))
            self._strike()
        for thread in threads:
            thread.join()
        return clients

    def _strike(self) -> None:
        first, second, sweep, api = self.programs
        strikes: list[tuple[str, Callable[[], object]]] = [
            ("worker killed", first.kill),
            ("worker killed", second.kill),
            ("functions process killed", self._kill_functions),
            ("conversion killed", self._kill_conversion),
            ("Azurite stopped", self._stop_azurite),
            ("Postgres stopped", self._stop_postgres),
        ]
        if self._rough:
            strikes += [("sweep killed", sweep.kill), ("API killed", api.kill)]
        name, strike = self._random.choice(strikes)
        self.faults[name] += 1
        strike()

    def _kill_functions(self) -> None:
        self._random.choice(self.programs[:2]).kill_functions()

    def _kill_conversion(self) -> None:
        any(program.kill_conversion() for program in self.programs[:2])

    def _stop_azurite(self) -> None:
        self.stack.azurite.stop()
        time.sleep(self._random.uniform(*OUTAGE_SECONDS))
        self.stack.start_azurite()

    def _stop_postgres(self) -> None:
        self.stack.stop_supabase()
        time.sleep(self._random.uniform(*OUTAGE_SECONDS))
        self.stack.start_supabase()

    def settled(self) -> float:
        """Seconds until no task and no queue has anything left. Raises AssertionError if it takes long."""
        began = time.monotonic()
        while not self._quiet():
            assert time.monotonic() - began < SETTLE_SECONDS, f"not settled: {self._left()}"
            time.sleep(0.5)
        return time.monotonic() - began

    def _quiet(self) -> bool:
        return not any(task.needs_attention for task in self.tasks()) and not any(self._depths().values())

    def _left(self) -> object:
        open_tasks = [
            (task.task_id, str(task.status), task.error) for task in self.tasks() if task.needs_attention
        ]
        return open_tasks, self._depths()

    def _depths(self) -> dict[str, int]:
        queues = all_queues(CLIENTS)
        queues += [poison_queue(queue) for queue in queues]
        return {queue: depth for queue in queues if (depth := self.core.queues.depth(queue))}

    def tasks(self) -> list[Task]:
        found: list[Task] = []
        for client in CLIENTS:
            cursor: str | None = None
            while True:
                page = self.core.tasks.page(client, limit=200, cursor=cursor)
                found += page.items
                cursor = page.next_cursor
                if cursor is None:
                    break
        return found

    def stop_app(self) -> None:
        for program in self.programs:
            program.stop()

    def left_over(self) -> tuple[list[str], list[int]]:
        """Temporary files, and processes that work on them."""
        files = [path.name for path in self.temporary.glob("docmill-*")]
        alive = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("TMPDIR", "").startswith(str(self.temporary)):
                    alive.append(process.pid)
        return files, alive


def accounts(soak: Soak, clients: list[Client], settled: float) -> dict[str, object]:
    """What became of everything; every figure under `must be 0` has to be."""
    wished = {task: how for client in clients for task, how in client.wishes.tasks.items()}
    ended = {task.task_id: task for task in soak.tasks()}
    states = Counter(str(task.status) for task in ended.values())
    arrivals: defaultdict[str, set[str]] = defaultdict(set)
    for arrival in soak.receiver.wait_for(set(), 0):
        arrivals[arrival.task_id].add(arrival.webhook_id)
    return {
        **{f"{name}": count for name, count in sorted(soak.faults.items())},
        "submitted": len(wished),
        **dict(sorted(states.items())),
        "attempts": sum(task.attempt for task in ended.values()),
        "webhooks received": len(soak.receiver.wait_for(set(), 0)),
        "garbage messages": sum(len(client.wishes.garbage) for client in clients),
        "seconds to settle": round(settled, 1),
        "must be 0": {
            "lost": len(wished.keys() - ended.keys()),
            "more than was submitted": len(ended.keys() - wished.keys()),
            "not ended": sum(not task.final for task in ended.values()),
            "ended otherwise than it should": sum(
                ended[task].status not in how.split("|") for task, how in wished.items() if task in ended
            ),
            "documents not whole": sum(_broken(soak, client) for client in clients),
            "never told": sum(not arrivals[task] for task in wished),
            "told under more than one id": sum(len(ids) > 1 for ids in arrivals.values()),
            "garbage without a dead letter": sum(_unrecorded(soak, client) for client in clients),
        },
    }


def _broken(soak: Soak, client: Client) -> int:
    """Documents with a chunk too few, one twice, or one of another generation than the active."""
    listed = soak.stack.postgres.sql(
        "select d.document_id from documents d left join chunks c using (client_id, document_id) "
        f"where client_id = '{client.name}' and d.status = 'ingested' "
        "group by client_id, d.document_id, d.chunks "
        "having count(*) = d.chunks and count(distinct c.chunk_index) = d.chunks "
        "and bool_and(c.generation = d.generation)"
    )
    return len(client.wishes.documents - set(listed.split()))


def _unrecorded(soak: Soak, client: Client) -> int:
    letters, cursor = set(), None
    while True:
        page = soak.core.dead_letters.page(client.name, limit=200, cursor=cursor)
        letters |= {letter.message for letter in page.items}
        cursor = page.next_cursor
        if cursor is None:
            return len(client.wishes.garbage - letters)


def soak(seconds: float, *, rough: bool, seed: int | None = None) -> dict[str, object]:
    """Runs it all and gives the accounts. Raises AssertionError when something did not end."""
    seed = random.randrange(10**6) if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="docmill-soak-") as directory:
        one = Soak(Path(directory), rough=rough, seed=seed)
        with one.running():
            clients = one.run(seconds)
            try:
                settled = one.settled()
            except AssertionError as error:
                raise AssertionError(f"{error}, logs in {kept(Path(directory), one, clients)}") from None
            found = accounts(one, clients, settled)
            one.stop_app()
            files, processes = one.left_over()
            found["must be 0"] |= {"temporary files": len(files), "processes left": len(processes)}  # type: ignore[operator]
            found["seed"] = seed
            if bad(found):
                found["logs"] = kept(Path(directory), one, clients)
            return found


def kept(directory: Path, soak: Soak, clients: list[Client]) -> str:
    """A folder that outlives the run: the logs, and the tasks that ended otherwise than they should."""
    folder = Path(tempfile.mkdtemp(prefix="soak-logs-"))
    for log in directory.glob("*.log"):
        shutil.copy(log, folder)
    wished = {task: how for client in clients for task, how in client.wishes.tasks.items()}
    wrong = [task for task in soak.tasks() if task.status not in wished.get(task.task_id, "").split("|")]
    (folder / "tasks.jsonl").write_text("".join(f"{task.model_dump_json()}\n" for task in wrong))
    return str(folder)


def memory(ingestions: int = 200, first: int = 20) -> dict[str, object]:
    """Resident MB of one worker's processes, after the first ingestions and after all."""
    with tempfile.TemporaryDirectory(prefix="docmill-soak-") as directory:
        temporary = Path(directory) / "tmp"
        temporary.mkdir()
        with Stack(Path(directory) / "data", ports.ANY) as stack:
            environ = environment(stack, temporary)
            core = Core(read_settings(environ))
            program = Program("queues", environ, Path(directory) / "log")
            client = _Direct(core)
            for _ in range(first):
                client.ingest()
            began = _resident(program)
            for _ in range(ingestions - first):
                client.ingest()
            ended = _resident(program)
            program.stop()
            core.close()
    return {"ingestions": ingestions, "after the first": began, "at the end": ended}


class _Direct:
    """Ingests one after the other: a PDF, a page of HTML, text."""

    def __init__(self, core: Core) -> None:
        self._core, self._count = core, 0

    def ingest(self) -> None:
        from shared.submission import Submission, submit

        name = ("operations-handbook.pdf", "passenger-faq.html", "travel-policy.docx", "notes.txt")[
            self._count % 4
        ]
        mark = f"<!-- {self._count} -->" if name.endswith("html") else f"Entry {self._count}. " * 200
        sample = SAMPLES / name
        content = sample.read_bytes() if sample.exists() else b""
        if name.endswith((".html", ".txt")):
            content += mark.encode()
        blob = f"uploads/{self._count}/{name}"
        self._core.blobs.put(f"{CLIENTS[0]}/{blob}", content, "application/octet-stream")
        task = submit(self._core, CLIENTS[0], Submission("ingestion", {"blob": blob})).task
        until = time.monotonic() + 60
        while True:
            row = self._core.tasks.get(CLIENTS[0], task.task_id)
            assert row is not None and time.monotonic() < until
            if row.task.final:
                assert row.task.status == "succeeded", row.task.error
                break
            time.sleep(0.05)
        self._count += 1


def _resident(program: Program) -> dict[str, float]:
    host = psutil.Process(program.process.pid)
    (functions,) = host.children()
    sizes = {
        "host": host.memory_info().rss,
        "functions": functions.memory_info().rss,
        "conversion": sum(one.memory_info().rss for one in functions.children()),
    }
    return {name: round(size / 1024 / 1024, 1) for name, size in sizes.items()}


def bad(found: dict[str, object]) -> dict[str, int]:
    """Those of the figures that must be 0 and are not."""
    must: Any = found["must be 0"]
    return {name: count for name, count in must.items() if count}


def table(found: dict[str, object]) -> str:
    rows = [(name, value) for name, value in found.items() if not isinstance(value, dict)]
    for value in found.values():
        if isinstance(value, dict):
            rows += value.items()
    return "\n".join(f"{name:<32} {value:>8}" for name, value in rows)


def main() -> int:
    """Exit status: 0 when the accounts are right."""
    found = soak(float(os.environ.get("SOAK_SECONDS") or 600), rough=True)
    print(table(found), flush=True)
    sizes: Any = memory()
    grown = {name: sizes["at the end"][name] / size - 1 for name, size in sizes["after the first"].items()}
    for name, share in grown.items():
        at = f"{sizes['after the first'][name]} -> {sizes['at the end'][name]} MB"
        print(
            f"{'resident size of the ' + name:<32} {at} ({share:+.1%}) over {sizes['ingestions']} ingestions"
        )
    return 1 if bad(found) or max(grown.values()) > 0.1 else 0


if __name__ == "__main__":
    sys.exit(main())
