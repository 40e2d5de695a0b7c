"""The JSON of webhooks and deliveries, as FastAPI documents and checks it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.deliveries import FailureKind, Reason, Status
from shared.subscriptions import DEFAULT_TYPES, OVERLAP, Disabled

MOST_SECONDS = int(OVERLAP.total_seconds())

Url = Annotated[str, Field(min_length=1, max_length=2048, examples=["https://example.com/hooks/docmill"])]
EventTypes = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=64)], ...],
    Field(
        min_length=1,
        max_length=20,
        description="What it is told of: exact types, `task.*` or `*`.",
        examples=[["task.succeeded", "task.failed"]],
    ),
]
Description = Annotated[str, Field(max_length=500, description="For you to know it by.")]


class SubscriptionRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: Url
    event_types: EventTypes = DEFAULT_TYPES
    description: Description = ""
    enabled: bool = True


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


_MAY_BE_LEFT_OUT = Field(default=None, json_schema_extra=_without_default)


class SubscriptionChange(BaseModel):
    """What is not given stays as it is; null is not a value for anything."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[Url, _MAY_BE_LEFT_OUT]
    event_types: Annotated[EventTypes, _MAY_BE_LEFT_OUT]
    description: Annotated[Description, _MAY_BE_LEFT_OUT]
    enabled: Annotated[bool, _MAY_BE_LEFT_OUT]


class SubscriptionShape(BaseModel):
    webhook_id: str = Field(examples=["wh-5f0c1a..."])
    client_id: str
    url: str
    event_types: list[str]
    description: str
    enabled: bool
    disabled_reason: Disabled | None
    disabled_at: datetime | None
    created_at: datetime
    updated_at: datetime
    failing_since: datetime | None = Field(description="The first failure after the last success.")
    warning_percent: Literal[50, 70, 90] | None = Field(
        description="How much of the time is used up after which nothing but failures disable it."
    )
    cooling_until: datetime | None = Field(description="Before then nothing is sent to it.")


class NewSubscriptionShape(SubscriptionShape):
    secret: str = Field(description="Not shown again.", examples=["whsec_..."])


class RotationRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    overlap_seconds: int = Field(
        default=MOST_SECONDS, ge=0, le=MOST_SECONDS, description="How long the secret before signs too."
    )


class RotationShape(BaseModel):
    webhook_id: str
    secret: str = Field(description="Not shown again.", examples=["whsec_..."])
    previous_until: datetime | None = Field(
        description="Until then the secret before signs too; null when it does not."
    )


class ExampleRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event_type: str | None = Field(
        default=None,
        max_length=64,
        description="What it is an example of; without it, of something that the webhook is told of.",
        examples=["task.failed"],
    )


class RecoveryRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    since: AwareDatetime = Field(
        description="With a time zone. Nothing is kept for longer than 30 days.",
        examples=["2026-11-24T04:00:00Z"],
    )


class RecoveryShape(BaseModel):
    recovered: int = Field(description="How many are sent again.")
    complete: bool = Field(description="If not, call again with the same `since`.")


class AttemptShape(BaseModel):
    """One HTTP request. `failure` is null for a success."""

    attempt: int
    at: datetime
    status_code: int | None
    failure: FailureKind | None
    duration_ms: int
    response: str | None = Field(description="How the answer began, at most 1 KiB.")


class DeliveryShape(BaseModel):
    """One event on its way to one receiver."""

    delivery_id: str = Field(
        description="The `webhook-id` header of every attempt.", examples=["msg_5f0c1a..."]
    )
    webhook_id: str | None = Field(description="null: the task's own `webhook_url`.")
    task_id: str | None = Field(description="null: an example that was asked for.")
    type: str
    sequence: int
    url: str = Field(description="Scheme and host alone.")
    status: Status
    reason: Reason | None = Field(description="Why it failed for good.")
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None
    attempt_count: int
    attempts: list[AttemptShape] = Field(description="The latest 10.")
