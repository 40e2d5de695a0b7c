"""`docmill webhooks`: the webhooks of a client, and what was sent to them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from cli.client import Api, Json, Misuse, OutOfReach
from cli.config import config
from cli.deliveries import advice, columns, ended, print_outcome, rows
from cli.listen import listen
from cli.output import note, print_json, print_table, say
from cli.tasks import AsJson, Cursor, Limit, more

webhooks = typer.Typer(no_args_is_help=True, help="Webhooks: who is told of events, and what became of it.")

WebhookId = Annotated[str, typer.Argument(metavar="ID", show_default=False)]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event", metavar="TYPE", help="What it is told of: task.failed, task.* and so on; may be repeated."
    ),
]
_SINCE = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


webhooks.command("listen")(listen)


@webhooks.command("create")
def create(
    context: typer.Context,
    *,
    url: Annotated[str, typer.Argument(metavar="URL", show_default=False)],
    event: Events = None,
    description: Annotated[str, typer.Option(help="For you to know it by.")] = "",
    disabled: Annotated[
        bool, typer.Option("--disabled", help="Send nothing to it before it is enabled.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a webhook. Its secret goes to stdout, this once.

    Without --event it is told when a task has succeeded, failed or was cancelled.
    """
    wish: Json = {"url": url, "description": description, "enabled": not disabled}
    if event:
        wish["event_types"] = event
    with config(context).api() as api:
        made = api.create_webhook(wish)
    if as_json:
        print_json(made)
        return
    sys.stdout.write(f"{made['secret']}\n")
    note(f"Webhook {made['webhook_id']} ({_state(made)}) is told of {', '.join(made['event_types'])}.")
    note(f"Keep the secret now: it is not shown again. To try it: docmill webhooks test {made['webhook_id']}")


@webhooks.command("list")
def list_(
    context: typer.Context, *, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False
) -> None:
    """List webhooks in the order in which they were made."""
    with config(context).api() as api:
        page = api.webhooks(limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    print_table(("WEBHOOK", "STATE", "URL", "EVENTS", "DESCRIPTION"), map(_row, page["items"]))
    more(page)


@webhooks.command("show")
def show(context: typer.Context, *, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Show a webhook, and how its receiver fares."""
    with config(context).api() as api:
        _print_webhook(api.webhook(webhook_id), as_json)


@webhooks.command("update")
def update(
    context: typer.Context,
    *,
    webhook_id: WebhookId,
    url: Annotated[str | None, typer.Option(help="Where to send from now on.")] = None,
    event: Events = None,
    description: Annotated[str | None, typer.Option(help="For you to know it by.")] = None,
    enabled: Annotated[
        bool | None,
        typer.Option("--enable/--disable", help="Send to it, or send nothing.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change a webhook. What is not given stays; --event replaces all its events."""
    given = {"url": url, "event_types": event or None, "description": description, "enabled": enabled}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise Misuse("Say what to change: --url, --event, --description, --enable or --disable.")
    with config(context).api() as api:
        _print_webhook(api.update_webhook(webhook_id, changes), as_json)
    if enabled and not as_json:
        note(f"To send what failed meanwhile: docmill webhooks recover {webhook_id} --since 2h")


@webhooks.command("delete")
def delete(context: typer.Context, *, webhook_id: WebhookId) -> None:
    """Delete a webhook. What is still to be sent to it is given up."""
    with config(context).api() as api:
        api.delete_webhook(webhook_id)
    note(f"Deleted {webhook_id}.")


@webhooks.command("rotate")
def rotate(
    context: typer.Context,
    *,
    webhook_id: WebhookId,
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=24, help="How long the secret before signs too; 0 ends it at once.")
    ] = 24,
    as_json: AsJson = False,
) -> None:
    """Replace the secret of a webhook. The new one goes to stdout, this once."""
    with config(context).api() as api:
        made = api.rotate_webhook(webhook_id, overlap_hours * 3600)
    if as_json:
        print_json(made)
        return
    sys.stdout.write(f"{made['secret']}\n")
    note("Keep it now: it is not shown again.")
    if made["previous_until"]:
        note(f"The secret before signs too until {made['previous_until']}.")


@webhooks.command("test")
def test(
    context: typer.Context,
    *,
    webhook_id: WebhookId,
    event: Annotated[str | None, typer.Option(metavar="TYPE", help="What it is an example of.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send a signed example and wait for what comes of it. Exit status 1 when it failed."""
    with config(context).api() as api:
        delivery = api.test_webhook(webhook_id, event)
        try:
            delivery = ended(api, delivery)
        except KeyboardInterrupt:
            note(f"It is under way. To look later: docmill webhooks deliveries {webhook_id}")
            raise
    if as_json:
        print_json(delivery)
    else:
        print_outcome(delivery)
    if delivery["status"] != "delivered":
        note(advice(delivery))
        raise typer.Exit(1)


@webhooks.command("deliveries")
def deliveries(
    context: typer.Context,
    *,
    webhook_id: Annotated[str | None, typer.Argument(metavar="ID", show_default=False)] = None,
    task: Annotated[str | None, typer.Option(metavar="TASK_ID", help="Those of a task.")] = None,
    status: Annotated[DeliveryStatus | None, typer.Option(help="Only those of this status.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List the deliveries to a webhook, or those of a task, newest first: a line for each attempt."""
    with config(context).api() as api:
        if webhook_id is not None and task is None:
            page = api.webhook_deliveries(webhook_id, status=status, limit=limit, cursor=cursor)
        elif task is not None and webhook_id is None:
            page = api.task_deliveries(task, status=status, limit=limit, cursor=cursor)
        else:
            raise Misuse("Give either the ID of a webhook or --task TASK_ID.")
    if as_json:
        print_json(page)
        return
    found = (row for delivery in page["items"] for row in rows(delivery, _related(delivery, task)))
    print_table(columns("WEBHOOK" if task else "TASK"), found)
    more(page)


@webhooks.command("redeliver")
def redeliver(
    context: typer.Context,
    *,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY_ID", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Send a delivery once more, whatever became of it."""
    with config(context).api() as api:
        delivery = api.redeliver(delivery_id)
    if as_json:
        print_json(delivery)
    else:
        say(f"{delivery['delivery_id']}: {delivery['status']}")


@webhooks.command("recover")
def recover(
    context: typer.Context,
    *,
    webhook_id: WebhookId,
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="30m, 2h or 3d ago, or a time: 2026-11-24T10:00:00Z.")
    ],
    as_json: AsJson = False,
) -> None:
    """Send everything once more that failed for good since then."""
    begin = _since(since, datetime.now(UTC)).isoformat().replace("+00:00", "Z")
    done = 0
    with config(context).api() as api:
        for recovered in _recovered(api, webhook_id, begin):
            done += recovered
    if as_json:
        print_json({"webhook_id": webhook_id, "since": begin, "recovered": done, "complete": True})
    else:
        say(f"{done:,} {'delivery' if done == 1 else 'deliveries'} sent once more.")


def _recovered(api: Api, webhook_id: str, since: str) -> Iterator[int]:
    """How many each request took up, until nothing is left."""
    while True:
        answer = api.recover_webhook(webhook_id, since)
        yield answer["recovered"]
        if answer["complete"]:
            return
        if not answer["recovered"]:
            raise OutOfReach("The service takes up none of them at the moment. Run the same command again.")
        note(f"{answer['recovered']:,} more are under way.")


def _since(text: str, now: datetime) -> datetime:
    """UTC. Raises Misuse."""
    try:
        if ago := _SINCE.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Misuse("--since is how long ago (30m, 2h, 3d) or a time with its zone (2026-11-24T10:00:00Z).")


def _related(delivery: Json, task: str | None) -> object:
    return delivery["webhook_id"] or "webhook_url" if task else delivery["task_id"]


def _state(webhook: Json) -> str:
    if not webhook["enabled"]:
        return f"disabled: {webhook['disabled_reason']}"
    percent = webhook["warning_percent"]
    if percent:
        return f"failing, {percent} % of the time it has"
    return "failing" if webhook["failing_since"] else "enabled"


def _row(webhook: Json) -> tuple[object, ...]:
    return (
        webhook["webhook_id"],
        _state(webhook),
        webhook["url"],
        ", ".join(webhook["event_types"]),
        webhook["description"],
    )


def _print_webhook(webhook: Json, as_json: bool) -> None:
    if as_json:
        print_json(webhook)
        return
    members = {
        "webhook": webhook["webhook_id"],
        "url": webhook["url"],
        "state": _state(webhook),
        "events": ", ".join(webhook["event_types"]),
        "description": webhook["description"] or None,
        "disabled": webhook["disabled_at"],
        "failing since": webhook["failing_since"],
        "left alone until": webhook["cooling_until"],
        "created": webhook["created_at"],
        "updated": webhook["updated_at"],
    }
    print_table(("", ""), ((name, value) for name, value in members.items() if value is not None))
