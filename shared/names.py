"""What the queues are called. Nothing is imported here, so that the app can name its triggers at once."""

from __future__ import annotations

from collections.abc import Iterable

DELIVERIES_QUEUE = "webhook-deliveries"


def tasks_queue(client_id: str) -> str:
    return f"{client_id}-tasks"


def poison_queue(queue: str) -> str:
    """Where the host puts what it gives up."""
    return f"{queue}-poison"


def all_queues(client_ids: Iterable[str]) -> list[str]:
    return [*(tasks_queue(client) for client in client_ids), DELIVERIES_QUEUE]
