"""What a queue function gets, built by the very code that the Python worker of the Functions host uses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from azure.functions import QueueMessage


def queue_message(body: str, metadata: dict[str, Any]) -> QueueMessage:
    """`metadata`: Id, DequeueCount and so on. Raises ValueError when the payload spoils them."""
    from azure.functions.meta import Datum
    from azure.functions.queue import QueueMessageInConverter

    told = {**metadata, **_overwritten(body, metadata)}
    return cast(
        "QueueMessage",
        QueueMessageInConverter.decode(
            Datum(body, "string"),
            trigger_metadata={
                name: Datum(value, "string") for name, value in told.items() if value is not None
            },
        ),
    )


def _overwritten(body: str, metadata: dict[str, Any]) -> dict[str, str]:
    """Members of a JSON body that take the place of the real metadata, as in the Functions host
    (Utility.ApplyBindingData): a payload's `id` becomes the message's. Here too, to show early."""
    try:
        members = json.loads(body) if body.lstrip()[:1] == "{" else {}
    except (ValueError, RecursionError):
        return {}
    names = {name.lower(): name for name in metadata}
    return {
        names[member.lower()]: value if isinstance(value, str) else json.dumps(value)
        for member, value in members.items()
        if member.lower() in names and value is not None and not isinstance(value, list)
    }
