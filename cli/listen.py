"""`docmill webhooks listen`: what comes in, verified, line by line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import Annotated

import typer

from cli.client import Api, Failure, Json, Misuse
from cli.config import Config, config
from cli.inbox import Inbox, Post, data_of, doubt
from cli.output import line, note, print_json, say

USUAL = "DOCMILL_WEBHOOK_SECRET"
DESCRIPTION = "docmill webhooks listen"
_REMEMBERED = 10_000
"""Ids of events, to know a repetition by."""
_UNPROCESSABLE = 422


@dataclass(frozen=True)
class Arrival:
    """A request that came in. `doubt`: why it is not believed. `repeated`: its webhook-id came before."""

    at: str
    post: Post
    doubt: str | None
    repeated: bool


@dataclass
class Ear:
    """Judges requests and puts them in `arrivals`. Several threads may call `take`.

    `secrets` are read at each request.
    """

    secrets: Mapping[str, str]
    arrivals: SimpleQueue[Arrival] = field(default_factory=SimpleQueue)
    _seen: dict[str, None] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def take(self, post: Post) -> int:
        """The status to answer with. What is not genuine is not remembered either."""
        reason = doubt(self.secrets.values(), post)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._lock:
            repeated = reason is None and self._came_before(post.webhook_id)
            self.arrivals.put(Arrival(now, post, reason, repeated))
        return 204 if reason is None else 401

    def _came_before(self, webhook_id: str) -> bool:
        if webhook_id in self._seen:
            return True
        if len(self._seen) >= _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[webhook_id] = None
        return False


def listen(
    context: typer.Context,
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 is any free one.")
    ] = 8090,
    secret_env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"A variable that holds a secret; several may be named. [{USUAL}]"),
    ] = None,
    subscribe: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="Make a webhook for these events, for as long as this runs."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON.")] = False,
) -> None:
    """Receive webhooks on this machine and print them: time, type, task, status and sequence, webhook-id,
    and whether the signature is genuine.

    A genuine one is answered with 204, any other with 401. One whose webhook-id came before is marked.
    Without --subscribe the secret of the receiver has to be in the environment, as `docmill webhooks create`
    or `docmill webhook-secret show` printed it. Ctrl-C ends it.
    """
    settings = config(context)
    secrets = _secrets(settings, secret_env, needed=not subscribe)
    _check_types(subscribe or [])
    ear = Ear(secrets)
    with _stop() as stopped:
        with (
            Inbox(port, ear.take, _turned_away) as inbox,
            _subscription(settings, inbox.url, subscribe or []) as made,
        ):
            secrets |= made
            inbox.start()
            note(f"Listening on {inbox.url}, verifying with {', '.join(secrets)}. Ctrl-C ends it.")
            _print_all(ear, stopped, as_json)
        while not ear.arrivals.empty():
            _print(ear.arrivals.get(), as_json)


def _secrets(settings: Config, named: Sequence[str] | None, *, needed: bool) -> dict[str, str]:
    """By the variable's name. Whatever was named must be there; the usual one only when it is needed."""
    names = named or [USUAL]
    found = dict(settings.webhook_secrets(names))
    for name in names:
        if name not in found and (named or needed):
            raise Misuse(
                f"There is no webhook secret. Set {name}, name a dotenv file by --env-file, "
                "or let --subscribe make a webhook."
            )
    for name, secret in found.items():
        _check_secret(name, secret)
    return found


def _check_secret(name: str, secret: str) -> None:
    from standardwebhooks import Webhook
    from standardwebhooks.webhooks import EmptyWebhookSecretError

    try:
        if secret.startswith("whsec_"):
            Webhook(secret)
            return
    except (EmptyWebhookSecretError, ValueError):
        pass
    raise Misuse(f"{name} holds no webhook secret. One is whsec_ and base64.")


def _check_types(types: Sequence[str]) -> None:
    """Here, so that what the service refuses afterwards is the address."""
    from shared.subscriptions import check_types

    check_types(tuple(types))


@contextmanager
def _stop() -> Iterator[Event]:
    """Set by SIGINT or SIGTERM. Repetitions change nothing: a webhook has to be deleted before the end."""
    stopped = Event()
    before = {
        number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _subscription(settings: Config, url: str, types: Sequence[str]) -> Iterator[dict[str, str]]:
    """A webhook of the service that leads here, if there are types: its secret, by a name."""
    if not types:
        yield {}
        return
    with settings.api() as api:
        webhook_id, secret = _create(api, url, types)
        try:
            yield {f"the secret of {webhook_id}": secret}
        finally:
            _delete(api, webhook_id)


def _create(api: Api, url: str, types: Sequence[str]) -> tuple[str, str]:
    try:
        webhook = api.create_webhook({"url": url, "event_types": list(types), "description": DESCRIPTION})
    except Misuse as error:
        raise _explained(error) if error.status == _UNPROCESSABLE else error from None
    note(f"Webhook {webhook['webhook_id']} is told of {', '.join(webhook['event_types'])} while this runs.")
    return webhook["webhook_id"], webhook["secret"]


def _explained(error: Misuse) -> Misuse:
    return Misuse(
        f"{error} Only the local stack (`make up`) sends to http and to addresses of this machine. For "
        "another service, lead a public https address to this port and name it: docmill webhooks create URL"
    )


def _delete(api: Api, webhook_id: str) -> None:
    try:
        api.delete_webhook(webhook_id)
    except Failure as error:
        if isinstance(error, Misuse) and error.status == 404:
            return
        note(f"Webhook {webhook_id} is still there. To delete it: docmill webhooks delete {webhook_id}")
        raise
    note(f"Deleted webhook {webhook_id}.")


def _print_all(ear: Ear, stopped: Event, as_json: bool) -> None:
    while not stopped.is_set():
        try:
            # Not for ever: the system may hand a signal to another thread, which does not wake this one.
            _print(ear.arrivals.get(timeout=0.2), as_json)
        except Empty:
            continue


def _print(arrival: Arrival, as_json: bool) -> None:
    if as_json:
        print_json(_members(arrival), indent=None)
        sys.stdout.flush()
        return
    event = arrival.post.event()
    data = data_of(event)
    cells = (
        arrival.at,
        (event or {}).get("type"),
        data.get("task_id"),
        f"{_cell(data.get('status'))}/{_cell(data.get('sequence'))}",
        arrival.post.webhook_id,
        _verdict(arrival, example=data.get("example") is True),
    )
    say("  ".join(map(_cell, cells)))


def _members(arrival: Arrival) -> Json:
    """What a program reads. It gets no event that is not genuine."""
    return {
        "received_at": arrival.at,
        "delivery_id": arrival.post.webhook_id,
        "verified": arrival.doubt is None,
        "doubt": arrival.doubt,
        "repeated": arrival.repeated,
        "event": arrival.post.event() if arrival.doubt is None else None,
    }


def _cell(value: object) -> str:
    """Short, and no lists within lists: whoever reaches the port may send anything."""
    return (line(value)[:100] if isinstance(value, str | int) else "") or "-"


def _verdict(arrival: Arrival, *, example: bool) -> str:
    if arrival.doubt is not None:
        return f"NOT VERIFIED: {arrival.doubt}"
    marks = ("repeated" if arrival.repeated else "", "an example" if example else "")
    return ", ".join(("verified", *filter(None, marks)))


def _turned_away(reason: str) -> None:
    note(f"Turned away: {reason}")
