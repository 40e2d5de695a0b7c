"""`docmill submit`, `status`, `tasks`, `result`, `cancel`, `retry`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.client import FINAL, Api, Json, Misuse
from cli.config import config
from cli.files import Source, find
from cli.journal import Journals
from cli.output import note, print_json, print_table, say
from cli.progress import Board, board, follow
from cli.sending import IN_FLIGHT, Crew, Order, Outcome, summary
from cli.uploads import Uploads

AsJson = Annotated[bool, typer.Option("--json", help="Print the JSON that the API sends.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]
Cursor = Annotated[str | None, typer.Option(help="Where the last answer left off.")]
TaskId = Annotated[str, typer.Argument(metavar="TASK_ID", show_default=False)]


class TaskType(StrEnum):
    INGESTION = "ingestion"
    SUMMARIZATION = "summarization"


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


def submit(
    context: typer.Context,
    *,
    files: Annotated[
        list[Path], typer.Argument(exists=True, readable=True, metavar="FILE...", show_default=False)
    ],
    task_type: Annotated[TaskType, typer.Option("--type", help="What to do.")] = TaskType.INGESTION,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Directories too: every file below them.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until every task is final.")] = False,
    in_flight: Annotated[
        int, typer.Option("--in-flight", "--jobs", "-j", min=1, max=64, help="Files at the same time.")
    ] = IN_FLIGHT,
    once: Annotated[
        bool | None,
        typer.Option(
            "--once/--again",
            help="Submit nothing twice: a file that was submitted in an earlier run keeps its task. "
            "[default: --once for directories, --again for files]",
        ),
    ] = None,
    webhook_url: Annotated[str | None, typer.Option(help="Told when a task is final.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each Task as one line of JSON.")] = False,
) -> None:
    """Upload files and submit a task for each.

    Large files go straight to storage, in blocks. What was interrupted goes on when the same command is run
    again: blocks that arrived are not sent again, and with --once no task is submitted twice. Hidden files,
    and links that lead out of a directory, are left out.
    """
    found = find(files, recursive=recursive)
    many = any(path.is_dir() for path in files)
    order = Order(task_type, webhook_url, wait, many if once is None else once, in_flight)
    if not found.sources:
        raise Misuse("There is no file to submit.")
    if found.skipped:
        note(f"Left out: {found.skipped:,} that are hidden, lead elsewhere or are no files.")
    sources, settings = found.sources, config(context)
    with settings.api() as api:
        outcomes = _send_all(api, Uploads(api, Journals.of(settings.environ)), sources, order)
    sent = {row: outcome.task for row, outcome in sorted(outcomes.items()) if outcome.task is not None}
    _print_submitted(sources, sent, as_json)
    _end(sources, outcomes)


def _send_all(api: Api, uploads: Uploads, sources: Sequence[Source], order: Order) -> dict[int, Outcome]:
    with board([source.name for source in sources]) as shown:
        crew = Crew(api, uploads, order, shown)
        try:
            crew.send(sources)
        except KeyboardInterrupt:
            _interrupted(crew.outcomes, len(sources), once=order.once)
            raise
    return crew.outcomes


def _interrupted(outcomes: dict[int, Outcome], total: int, *, once: bool) -> None:
    submitted = sum(outcome.task is not None for outcome in outcomes.values())
    note(f"Stopped. {submitted:,} of {total:,} files are submitted, and the service goes on with those.")
    if once:
        note("To go on, run the same command again: nothing is sent or submitted twice.")
    else:
        note("To wait for one: docmill status TASK_ID --wait. With --once, the same command could go on.")


def _end(sources: Sequence[Source], outcomes: dict[int, Outcome]) -> None:
    """The summary of several files, and the exit status."""
    refused = next((found.refusal for _, found in sorted(outcomes.items()) if found.refusal), None)
    if len(sources) > 1:
        for text in summary(sources, outcomes):
            note(text)
        if refused is not None:
            raise typer.Exit(refused.exit_status)
    if refused is not None:
        raise refused
    _exit_for(outcome.task for outcome in outcomes.values() if outcome.task is not None)


def status(
    context: typer.Context,
    *,
    task_id: TaskId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the task is final.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a task. Exit status 1 when it failed or was cancelled."""
    with config(context).api() as api:
        task = api.task(task_id)
        if wait and task["status"] not in FINAL:
            with board([task_id]) as shown:
                task = _follow(api, {0: task}, shown)[0]
    if as_json:
        print_json(task)
    else:
        _print_task(task)
    _exit_for([task])


def tasks(
    context: typer.Context,
    *,
    status: Annotated[Status | None, typer.Option(help="Only those of this status.")] = None,
    task_type: Annotated[TaskType | None, typer.Option(help="Only those of this type.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    with config(context).api() as api:
        page = api.tasks(status=status, task_type=task_type, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    columns = ("TASK", "TYPE", "STATUS", "%", "ATTEMPT", "CREATED", "ERROR")
    print_table(columns, (_row(task) for task in page["items"]))
    more(page)


def result(context: typer.Context, task_id: TaskId, *, as_json: AsJson = False) -> None:
    """Print the result of a task: the summary, or what was ingested."""
    with config(context).api() as api:
        found = api.result(task_id)
    if as_json:
        print_json(found)
    elif "summary" in found:
        say(found["summary"])
    else:
        print_table(("", ""), ((name, _plain(value)) for name, value in found.items()))


def cancel(context: typer.Context, task_id: TaskId, *, as_json: AsJson = False) -> None:
    """Stop a task that is not finished."""
    with config(context).api() as api:
        _print_changed(api.cancel(task_id), as_json)


def retry(context: typer.Context, task_id: TaskId, *, as_json: AsJson = False) -> None:
    """Run a task that failed or was cancelled once more."""
    with config(context).api() as api:
        _print_changed(api.retry(task_id), as_json)


def _print_changed(task: Json, as_json: bool) -> None:
    if as_json:
        print_json(task)
    else:
        say(f"{task['task_id']}: {task['status']}")


def more(page: Json) -> None:
    """Says how to get the next page of a list."""
    if page.get("next_cursor"):
        note(f"There are more: --cursor {page['next_cursor']}")


def _follow(api: Api, sent: dict[int, Json], shown: Board) -> dict[int, Json]:
    try:
        return follow(api, {row: task["task_id"] for row, task in sent.items()}, shown)
    except KeyboardInterrupt:
        note("The service goes on. To wait again: docmill status TASK_ID --wait")
        raise


def _print_submitted(sources: Sequence[Source], tasks: dict[int, Json], as_json: bool) -> None:
    if as_json:
        for task in tasks.values():
            print_json(task, indent=None)
    elif tasks:
        rows = ((task["task_id"], task["status"], sources[row].name) for row, task in tasks.items())
        print_table(("TASK", "STATUS", "FILE"), rows)


def _print_task(task: Json) -> None:
    progress = task["progress"] or {}
    error = task["error"] or {}
    webhook = task["webhook"] or {}
    rows = {
        "task": task["task_id"],
        "type": task["task_type"],
        "status": task["status"],
        "document": task["document_id"],
        "progress": f"{progress['percent']}%  {progress['message']}" if progress else None,
        "attempt": f"{task['attempt']} of {task['max_attempts']}",
        "next attempt": task["next_attempt_at"],
        "created": task["created_at"],
        "finished": task["finished_at"],
        "error": f"{error['code']}: {error['message']}" if error else None,
        "webhook": webhook.get("status"),
    }
    print_table(("", ""), ((name, value) for name, value in rows.items() if value is not None))


def _row(task: Json) -> tuple[object, ...]:
    percent = (task["progress"] or {}).get("percent")
    error = (task["error"] or {}).get("message")
    return (
        task["task_id"],
        task["task_type"],
        task["status"],
        percent,
        task["attempt"],
        task["created_at"],
        error,
    )


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _exit_for(tasks: Iterable[Json]) -> None:
    if any(task["status"] in FINAL - {"succeeded"} for task in tasks):
        raise typer.Exit(1)
