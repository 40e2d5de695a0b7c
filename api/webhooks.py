"""Webhooks: make, list, look at, change, delete, and a new secret."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Response

from api.access import Client, CoreOf, Cursor, Limit
from api.shapes import Listing
from api.webhook_shapes import (
    NewSubscriptionShape,
    RotationRequest,
    RotationShape,
    SubscriptionChange,
    SubscriptionRequest,
    SubscriptionShape,
)
from shared import webhooks
from shared.core import Core
from shared.subscriptions import Subscription
from shared.webhooks import Wish

router = APIRouter(tags=["webhooks"])


@router.post(
    "/webhooks",
    status_code=201,
    response_model=NewSubscriptionShape,
    responses={
        409: {"description": "There are too many already"},
        503: {"description": "The service cannot sign"},
    },
)
def create_webhook(
    core: CoreOf, client: Client, body: SubscriptionRequest, response: Response
) -> dict[str, Any]:
    """From now on it is told of events. The answer has its secret, which is not shown again."""
    webhook, secret = webhooks.create(core, client, Wish(**body.model_dump()))
    response.headers["Location"] = f"/api/webhooks/{webhook.webhook_id}"
    _confidential(response)
    return {**webhooks.shown(webhook, None), "secret": secret}


def _confidential(response: Response) -> None:
    """No cache may keep a secret that is shown once."""
    response.headers["Cache-Control"] = "no-store"


@router.get("/webhooks", response_model=Listing[SubscriptionShape])
def list_webhooks(core: CoreOf, client: Client, limit: Limit = 50, cursor: Cursor = None) -> dict[str, Any]:
    """In the order in which they were made."""
    page = webhooks.page(core, client, limit=limit, cursor=cursor)
    receivers = {receiver.key: receiver for receiver in core.receivers.of_client(client)}
    items = [webhooks.shown(webhook, receivers.get(webhook.webhook_id)) for webhook in page.items]
    return {"items": items, "next_cursor": page.next_cursor}


@router.get("/webhooks/{webhook_id}", response_model=SubscriptionShape)
def get_webhook(core: CoreOf, client: Client, webhook_id: str) -> dict[str, Any]:
    return _shown(core, webhooks.find(core, client, webhook_id))


def _shown(core: Core, webhook: Subscription) -> dict[str, Any]:
    receiver = core.receivers.get(webhook.client_id, webhook.webhook_id)
    return webhooks.shown(webhook, receiver.value if receiver else None)


@router.patch("/webhooks/{webhook_id}", response_model=SubscriptionShape)
def change_webhook(core: CoreOf, client: Client, webhook_id: str, body: SubscriptionChange) -> dict[str, Any]:
    """Changes what is given. `"enabled": true` also forgets how its receiver fared."""
    wish = Wish(**body.model_dump(exclude_unset=True))
    return _shown(core, webhooks.change(core, client, webhook_id, wish))


@router.delete("/webhooks/{webhook_id}", status_code=204)
def remove_webhook(core: CoreOf, client: Client, webhook_id: str) -> None:
    """What is on its way to it is given up."""
    webhooks.remove(core, client, webhook_id)


@router.post(
    "/webhooks/{webhook_id}/secret/rotate",
    response_model=RotationShape,
    responses={503: {"description": "The service cannot sign"}},
)
def rotate_secret(
    core: CoreOf,
    client: Client,
    webhook_id: str,
    response: Response,
    body: RotationRequest = RotationRequest(),
) -> dict[str, Any]:
    """A new secret, which is not shown again. The one before signs too for as long as you say."""
    made = webhooks.rotate(core, client, webhook_id, timedelta(seconds=body.overlap_seconds))
    _confidential(response)
    return {"webhook_id": webhook_id, "secret": made.secret, "previous_until": made.previous_until}
