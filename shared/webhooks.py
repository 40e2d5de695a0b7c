"""The webhooks of a client: made, changed, removed, their secrets rotated, disabled when nobody answers."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared import signing
from shared.errors import Conflict, InvalidPayload, NotFound
from shared.ports import Page, RowChanged, Services
from shared.subscriptions import (
    DEFAULT_TYPES,
    OVERLAP,
    Disabled,
    Receiver,
    Subscription,
    check_types,
    new_webhook_id,
)
from shared.tasks import utc_now

log = logging.getLogger(__name__)
MOST = 100
"""Webhooks that one client may have."""
_PLACE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00\|wh-[0-9a-f]{1,64}")

Change = Callable[[Subscription], Subscription]


@dataclass(frozen=True)
class Wish:
    """What a client asks for. Of a change, None leaves a thing as it is."""

    url: str | None = None
    event_types: tuple[str, ...] | None = None
    description: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True)
class Rotation:
    """`secret`: the new one, which is not shown again. `previous_until`: how long the one before signs too,
    None when it does not."""

    secret: str = field(repr=False)
    previous_until: datetime | None


def create(services: Services, client_id: str, wish: Wish) -> tuple[Subscription, str]:
    """The webhook and its secret, which is not shown again. `wish.url` is needed.

    Raises InvalidPayload, Conflict when there are too many, Unavailable when nothing can be signed.
    """
    services.sender.check(wish.url or "")
    types = check_types(DEFAULT_TYPES if wish.event_types is None else wish.event_types)
    keyring, secret = signing.new_keyring(services)
    if len(services.subscriptions.of_client(client_id)) >= MOST:
        raise Conflict(f"A client has {MOST} webhooks at most. Delete one that is not needed.")
    now = utc_now()
    webhook = Subscription(
        webhook_id=new_webhook_id(),
        client_id=client_id,
        url=wish.url or "",
        event_types=types,
        description=wish.description or "",
        created_at=now,
        updated_at=now,
        keyring=keyring,
    )
    if wish.enabled is False:
        webhook = webhook.disabled("by_client", now)
    stored = services.subscriptions.add(webhook)
    services.audience.forget(client_id)
    return stored.value, secret


def find(services: Services, client_id: str, webhook_id: str) -> Subscription:
    """Raises NotFound, also for what belongs to another client."""
    stored = services.subscriptions.get(client_id, webhook_id)
    if stored is None:
        raise NotFound("There is no webhook of this id.")
    return stored.value


def page(
    services: Services, client_id: str, *, limit: int = 50, cursor: str | None = None
) -> Page[Subscription]:
    """In the order in which they were made. Raises InvalidPayload for a cursor that is not ours."""
    start = _read_cursor(cursor) if cursor else ""
    left = [one for one in services.subscriptions.of_client(client_id) if _place(one) > start]
    return Page(left[:limit], _write_cursor(left[limit - 1]) if len(left) > limit else None)


def _place(webhook: Subscription) -> str:
    """Text that sorts as the list does."""
    return f"{webhook.created_at.isoformat(timespec='microseconds')}|{webhook.webhook_id}"


def _write_cursor(last: Subscription) -> str:
    return base64.urlsafe_b64encode(_place(last).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> str:
    try:
        place = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        place = ""
    if not _PLACE.fullmatch(place):
        raise InvalidPayload("The cursor is not one that a list gave.")
    return place


def change(services: Services, client_id: str, webhook_id: str, wish: Wish) -> Subscription:
    """Raises NotFound, InvalidPayload. One that is enabled again begins without a past."""
    if wish == Wish():
        return find(services, client_id, webhook_id)
    if wish.url is not None:
        services.sender.check(wish.url)
    types = None if wish.event_types is None else check_types(wish.event_types)
    now = utc_now()

    def changed(webhook: Subscription) -> Subscription:
        news = {"url": wish.url, "event_types": types, "description": wish.description}
        given = {name: value for name, value in news.items() if value is not None}
        after = webhook.model_copy(update={**given, "updated_at": now})
        if wish.enabled is None:
            return after
        return _enabled(after) if wish.enabled else after.disabled("by_client", now)

    if wish.enabled or wish.url is not None:
        # First: one that is enabled with its past would be disabled again by the next failure.
        _forget(services, client_id, webhook_id)
    return _save(services, client_id, webhook_id, changed)


def remove(services: Services, client_id: str, webhook_id: str) -> None:
    """Raises NotFound."""
    if not services.subscriptions.remove(client_id, webhook_id):
        raise NotFound("There is no webhook of this id.")


def rotate(services: Services, client_id: str, webhook_id: str, overlap: timedelta = OVERLAP) -> Rotation:
    """A new secret. The one before signs too until the overlap is over.

    Raises NotFound, Unavailable.
    """
    made: list[Rotation] = []

    def rotated(webhook: Subscription) -> Subscription:
        now = utc_now()
        keyring, secret = signing.rotated(services, webhook.keyring, now, overlap)
        made[:] = [Rotation(secret, keyring.retired[0].until if keyring.retired else None)]
        return webhook.model_copy(update={"keyring": keyring, "updated_at": now})

    _save(services, client_id, webhook_id, rotated)
    return made[0]


def disable(
    services: Services,
    client_id: str,
    webhook_id: str,
    reason: Disabled,
    now: datetime,
    *,
    url: str | None = None,
) -> None:
    """Nothing happens when it is gone, disabled already, or no longer of the `url` that is to blame."""

    def disabled(webhook: Subscription) -> Subscription:
        return webhook.disabled(reason, now) if url in {None, webhook.url} else webhook

    try:
        webhook = find(services, client_id, webhook_id)
        if disabled(webhook) == webhook:
            return
        if not _save(services, client_id, webhook_id, disabled).enabled:
            services.telemetry.count("docmill_webhooks_disabled_total", reason=reason)
            log.error("Webhook %s is disabled: %s.", webhook_id, reason, extra={"client_id": client_id})
    except NotFound:
        return


def shown(webhook: Subscription, receiver: Receiver | None) -> dict[str, Any]:
    """What its client sees, as JSON values."""
    return {**webhook.public(), **(receiver or Receiver(key=webhook.webhook_id)).public()}


def _save(services: Services, client_id: str, webhook_id: str, change_it: Change) -> Subscription:
    while True:
        stored = services.subscriptions.get(client_id, webhook_id)
        if stored is None:
            raise NotFound("There is no webhook of this id.")
        try:
            saved = services.subscriptions.save(stored, change_it(stored.value))
        except RowChanged:
            continue
        services.audience.forget(client_id)
        return saved.value


def _enabled(webhook: Subscription) -> Subscription:
    changes = {"enabled": True, "disabled_reason": None, "disabled_at": None}
    return webhook.model_copy(update=changes)


def _forget(services: Services, client_id: str, webhook_id: str) -> None:
    """How its receiver fared: the next delivery finds out anew. Who holds it goes on holding it."""
    while True:
        stored = services.receivers.get(client_id, webhook_id)
        if stored is None:
            return
        try:
            services.receivers.save(client_id, stored, stored.value.succeeded())
            return
        except RowChanged:
            continue
