"""Deliveries: try a webhook out, list, look at, send again one or everything that failed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from api import tasks
from api.access import Client, CoreOf, Cursor, Limit
from api.shapes import Listing
from api.webhook_shapes import DeliveryShape, ExampleRequest, RecoveryRequest, RecoveryShape
from shared import redelivery, webhooks
from shared.deliveries import Delivery, Status
from shared.ports import Page

router = APIRouter(tags=["webhooks"])


@router.post(
    "/webhooks/{webhook_id}/test",
    status_code=202,
    response_model=DeliveryShape,
    responses={409: {"description": "The webhook is disabled"}},
)
def send_example(
    core: CoreOf,
    client: Client,
    webhook_id: str,
    response: Response,
    body: ExampleRequest = ExampleRequest(),
) -> dict[str, Any]:
    """An example, signed and sent like a real event, once. Its `data` has `"example": true`."""
    return _under_way(response, redelivery.example(core, client, webhook_id, body.event_type))


def _under_way(response: Response, delivery: Delivery) -> dict[str, Any]:
    response.headers["Location"] = f"/api/webhooks/deliveries/{delivery.delivery_id}"
    return delivery.public()


@router.post(
    "/webhooks/{webhook_id}/recover",
    status_code=202,
    response_model=RecoveryShape,
    responses={409: {"description": "The webhook is disabled"}},
)
def recover(core: CoreOf, client: Client, webhook_id: str, body: RecoveryRequest) -> dict[str, Any]:
    """Sends again everything that failed for good since then, the oldest first."""
    made = redelivery.recover(core, client, webhook_id, body.since)
    return {"recovered": made.recovered, "complete": made.complete}


@router.get("/webhooks/{webhook_id}/deliveries", response_model=Listing[DeliveryShape])
def list_deliveries(
    core: CoreOf,
    client: Client,
    webhook_id: str,
    status: Status | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Newest first, of the last 30 days."""
    webhooks.find(core, client, webhook_id)
    page = core.deliveries.of_webhook(client, webhook_id, status=status, limit=limit, cursor=cursor)
    return _listing(page)


def _listing(page: Page[Delivery]) -> dict[str, Any]:
    return {"items": [delivery.public() for delivery in page.items], "next_cursor": page.next_cursor}


@router.get("/tasks/{task_id}/deliveries", response_model=Listing[DeliveryShape])
def list_deliveries_of_task(
    core: CoreOf,
    client: Client,
    task_id: str,
    status: Status | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Newest first: to its own `webhook_url` and to the webhooks of the client."""
    tasks.find(core, client, task_id)
    page = core.deliveries.of_task(client, task_id, status=status, limit=limit, cursor=cursor)
    return _listing(page)


@router.get("/webhooks/deliveries/{delivery_id}", response_model=DeliveryShape)
def get_delivery(core: CoreOf, client: Client, delivery_id: str) -> dict[str, Any]:
    return redelivery.find(core, client, delivery_id).public()


@router.post(
    "/webhooks/deliveries/{delivery_id}/redeliver",
    status_code=202,
    response_model=DeliveryShape,
    responses={409: {"description": "The webhook is disabled or deleted"}},
)
def redeliver(core: CoreOf, client: Client, delivery_id: str, response: Response) -> dict[str, Any]:
    """Sends it once more, whatever became of it, with the whole schedule of attempts before it."""
    return _under_way(response, redelivery.redeliver(core, client, delivery_id))
