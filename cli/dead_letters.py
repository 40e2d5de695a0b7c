"""`docmill dead-letters list`, `retry`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from cli.client import Api, Json, Misuse
from cli.config import config
from cli.output import note, print_json, print_table, say
from cli.tasks import AsJson, Cursor, Limit, more

dead_letters = typer.Typer(no_args_is_help=True, help="What was given up: list it, run it again.")
_GONE_OR_BUSY = frozenset({404, 409})
"""Refusals that say nothing about the next letter: its task is gone, or was run again meanwhile."""


@dead_letters.command("list")
def list_(
    context: typer.Context, *, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False
) -> None:
    """List dead letters, newest first."""
    with config(context).api() as api:
        page = api.dead_letters(limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    print_table(("TASK", "TYPE", "REASON", "WHEN", "RETRIED", "ERROR"), map(_row, page["items"]))
    more(page)


@dead_letters.command("retry")
def retry(
    context: typer.Context,
    *,
    task_id: Annotated[str | None, typer.Argument(metavar="TASK_ID", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All that were not retried yet.")] = False,
) -> None:
    """Run the task of a dead letter once more, or all of them."""
    if (task_id is None) != every:
        raise Misuse("Give either a TASK_ID or --all.")
    with config(context).api() as api:
        if task_id is not None:
            _say(api.retry(task_id))
            return
        # To the end of the list first: a task that fails again at once comes back as a new letter.
        for name in dict.fromkeys(_open(api)):
            _retry(api, name)


def _open(api: Api) -> Iterator[str]:
    """The tasks of all letters that were not retried. A message that never was a task has none."""
    cursor: str | None = None
    while True:
        page = api.dead_letters(limit=200, cursor=cursor)
        for letter in page["items"]:
            if letter["retried_at"] is None and letter["reason"] != "invalid_message" and letter["task_id"]:
                yield letter["task_id"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _retry(api: Api, task_id: str) -> None:
    try:
        _say(api.retry(task_id))
    except Misuse as error:
        if error.status not in _GONE_OR_BUSY:
            raise
        note(f"{task_id}: {error}")


def _say(task: Json) -> None:
    say(f"{task['task_id']}: {task['status']}")


def _row(letter: Json) -> tuple[object, ...]:
    error = (letter["error"] or {}).get("message")
    return (
        letter["task_id"],
        letter["task_type"],
        letter["reason"],
        letter["dead_lettered_at"],
        letter["retried_at"],
        error,
    )
