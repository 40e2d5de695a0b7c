"""`make demo`: two clients, their documents, summaries, searches and webhooks, on a stack of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.rule import Rule
from rich.text import Text

from cli.client import Api, Failure, Json, Misuse
from cli.documents import print_match
from cli.output import line, note, print_table, say, stdout
from cli.progress import Board, board, follow
from local.app import App, Interrupted, interruptible
from local.ports import DEFAULTS
from local.receiver import Arrival, Receiver
from local.stack import ROOT, Stack, data_directory

SAMPLES = ROOT / "samples"
FORMATS = (".pdf", ".docx", ".html")
TASK_TYPES = ("ingestion", "summarization")
QUESTIONS = (
    "At which wind does Dagny stop sailing?",
    "How long is lost property kept?",
    "How much is paid for a kilometre in one's own car?",
)
STALL_SECONDS = 90
"""How long the tasks may stand still, every one of them, before we give up."""
WEBHOOK_SECONDS = 30


@dataclass
class Tenant:
    """A client of the service, what it sends and what came of it."""

    name: str
    api: Api
    secret: str
    files: Sequence[Path]
    documents: list[str] = field(default_factory=list)
    tasks: list[Json] = field(default_factory=list)


def main() -> int:
    """Exit status: 0 when everything went as it should, 1 when something did not, 130 after Ctrl-C."""
    started = time.monotonic()
    try:
        with interruptible():
            troubles = _demo()
    except Interrupted:
        note("Stopped.")
        return 130
    except Failure as error:
        troubles = [str(error)]
    for trouble in troubles:
        print(f"demo: {trouble}", file=sys.stderr)
    if not troubles:
        say(f"\nAll of it worked, in {time.monotonic() - started:.0f} s. Now try: make up")
    return 1 if troubles else 0


def _demo() -> list[str]:
    """What went wrong, a line each."""
    files = sorted(path for path in SAMPLES.iterdir() if path.suffix in FORMATS)
    if not files:
        return [f"there are no samples in {SAMPLES.name}/"]
    say("Starting Azurite, Postgres with pgvector, Supabase Lite and the app ...")
    # Any free ports: a stack of `make up` may be running beside us.
    with Stack(data_directory(os.environ) / "demo", dict.fromkeys(DEFAULTS, "0")) as stack:
        app = App(stack)
        try:
            app.start()
            return _show(app, files)
        finally:
            app.stop()


def _show(app: App, files: Sequence[Path]) -> list[str]:
    say(f"Ready on {app.url}")
    first = _tenant(app, "default", "", files)
    # The other client has some of the same files: what it sees of them is its own.
    second = _tenant(app, "acme", "_ACME", files[: (len(files) + 1) // 2])
    tenants = {tenant.name: tenant for tenant in (first, second)}
    secrets = {name: tenant.secret for name, tenant in tenants.items()}

    def status_of(client: str, task_id: str) -> str:
        try:
            return str(tenants[client].api.task(task_id)["status"])
        except Failure:
            return "unknown"

    troubles: list[str] = []
    with first.api, second.api, Receiver(secrets, status_of) as receiver:
        for tenant in tenants.values():
            troubles += _process(tenant, receiver.url(tenant.name))
            troubles += _print_summaries(tenant)
            troubles += _search(tenant)
        troubles += _isolation(first, second)
        troubles += _webhooks(list(tenants.values()), receiver)
    return troubles


def _tenant(app: App, name: str, suffix: str, files: Sequence[Path]) -> Tenant:
    api = Api(app.url, app.environment[f"DOCMILL_API_KEY{suffix}"])
    return Tenant(name, api, app.environment[f"DOCMILL_WEBHOOK_SECRET{suffix}"], files)


def _process(tenant: Tenant, webhook_url: str) -> list[str]:
    """Ingests and summarises the files, with live progress."""
    _heading(f"{tenant.name}: {len(tenant.files)} documents")
    rows = [f"{path.name} ({task_type})" for path in tenant.files for task_type in TASK_TYPES]
    with board(rows, stdout()) as shown:
        tenant.tasks = _submit(tenant, shown, webhook_url)
        ids = {row: task["task_id"] for row, task in enumerate(tenant.tasks)}
        tenant.tasks = list(follow(tenant.api, ids, shown, STALL_SECONDS).values())
    return [
        f"{tenant.name}: the task of {row} is {task['status']}: {(task['error'] or {}).get('message')}"
        for row, task in zip(rows, tenant.tasks, strict=True)
        if task["status"] != "succeeded"
    ]


def _submit(tenant: Tenant, shown: Board, webhook_url: str) -> list[Json]:
    sent: list[Json] = []
    for path in tenant.files:
        shown.show(len(sent), 0, "uploading")
        document_id = tenant.api.upload(path)["document_id"]
        tenant.documents.append(document_id)
        for task_type in TASK_TYPES:
            sent.append(tenant.api.submit(task_type, {"document_id": document_id}, webhook_url))
            shown.show(len(sent) - 1, 0, "queued")
    return sent


def _print_summaries(tenant: Tenant) -> list[str]:
    troubles = []
    for path, task in zip(tenant.files, tenant.tasks[1 :: len(TASK_TYPES)], strict=True):
        if task["status"] != "succeeded":
            continue
        summary = tenant.api.result(task["task_id"])["summary"]
        say(f"\nSummary of {path.name}:")
        stdout().print(Text(line(summary)))
        if not summary.strip():
            troubles.append(f"{tenant.name}: the summary of {path.name} is empty")
    return troubles


def _search(tenant: Tenant) -> list[str]:
    troubles = []
    for question in QUESTIONS:
        say(f"\nSearch: {question}")
        matches = tenant.api.search(question, top_k=3)["matches"]
        for rank, match in enumerate(matches, 1):
            print_match(rank, match, snippet=160)
        if not matches:
            troubles.append(f"{tenant.name}: the search for {question!r} found nothing")
    return troubles


def _isolation(owner: Tenant, other: Tenant) -> list[str]:
    """What one client has does not exist for the other."""
    _heading(f"{other.name} looks for what is {owner.name}'s")
    listed = {document["document_id"] for document in other.api.documents(limit=200)["items"]}
    troubles = []
    for path, document_id in zip(owner.files, owner.documents, strict=True):
        answer = _status_of_asking(other.api, document_id)
        say(f"GET /api/documents/{document_id} ({path.name}): {answer}")
        if answer != 404 or document_id in listed:
            troubles.append(f"{other.name} sees {path.name} of {owner.name}")
    found = {
        match["document_id"] for question in QUESTIONS for match in other.api.search(question)["matches"]
    }
    foreign = found & set(owner.documents)
    say(f"Hits of its searches in documents of {owner.name}: {len(foreign)}")
    return [*troubles, *(f"{other.name} finds {owner.name}'s {document_id}" for document_id in foreign)]


def _status_of_asking(api: Api, document_id: str) -> int | None:
    try:
        api.document(document_id)
    except Misuse as error:
        return error.status
    return 200


def _webhooks(tenants: Sequence[Tenant], receiver: Receiver) -> list[str]:
    _heading("Webhooks that arrived")
    tasks = {task["task_id"]: tenant for tenant in tenants for task in tenant.tasks}
    # Delivery is at least once: one that came twice is shown once.
    arrived = list(dict.fromkeys(receiver.wait_for(set(tasks), WEBHOOK_SECONDS)))
    columns = ("CLIENT", "EVENT", "TASK", "SIGNATURE", "THE API SAYS")
    print_table(columns, ((a.client, a.type, a.task_id, _signature(a), a.seen) for a in arrived))
    missing = set(tasks) - {arrival.task_id for arrival in arrived}
    return [
        *(f"no webhook came for {task_id} of {tasks[task_id].name}" for task_id in sorted(missing)),
        *(f"the webhook of {a.task_id} is not verified" for a in arrived if not a.verified),
        *(f"{a.type} came while {a.task_id} was {a.seen}" for a in arrived if a.verified and not a.good),
    ]


def _signature(arrival: Arrival) -> str:
    return "verified" if arrival.verified else "WRONG"


def _heading(text: str) -> None:
    stdout().print()
    stdout().print(Rule(Text(text, style="bold"), align="left", characters="-"), width=100)
