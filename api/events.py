"""What we send to webhooks, for the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import FastAPI, Header
from pydantic import BaseModel, Field, create_model

from api.shapes import TaskShape
from shared.subscriptions import EVENT_TYPES

_told: Any = {
    name: (field.annotation, field) for name, field in TaskShape.model_fields.items() if name != "payload"
}
EventDataShape: Any = create_model(
    "EventDataShape",
    __doc__="The Task as it was then, without `payload`, and of its webhook's URL scheme and host alone.",
    **_told,
    sequence=(int, Field(description="Grows with every event of the task.")),
    example=(bool, Field(default=False, description="It was asked for: there is no such task.")),
)


class EventShape(BaseModel):
    """The body of a webhook."""

    type: str
    timestamp: datetime
    data: EventDataShape


def describe(app: FastAPI) -> None:
    def event(
        body: EventShape,
        webhook_id: Annotated[str, Header(description="The same for every attempt at one delivery.")],
        webhook_timestamp: Annotated[int, Header(description="Of this attempt, seconds since 1970.")],
        webhook_signature: Annotated[
            str,
            Header(description="`v1,...` by Standard Webhooks; of several, with spaces between, one fits."),
        ],
    ) -> None:
        """Any 2xx in time will do; everything else is sent again."""

    for name in EVENT_TYPES:
        app.webhooks.post(name, status_code=204, tags=["webhooks"], summary=f"Sent for {name}")(event)
