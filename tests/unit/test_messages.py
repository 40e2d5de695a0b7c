"""The wire form of messages."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DocmillError, InvalidPayload
from shared.messages import (
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
    DeliveryMessage,
    TaskMessage,
    derived_task_id,
    from_wire,
    to_wire,
)
from shared.tasks import new_task

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
# The Functions host copies these members of a message over the message's own metadata.
OVERWRITTEN = {"id", "dequeuecount", "insertiontime", "expirationtime", "nextvisibletime", "popreceipt"}


def test_a_task_message_has_the_contracts_members() -> None:
    task = new_task("acme", "ingestion", {"document_id": "doc-1"}, NOW, task_id="task-12345678")
    message = json.loads(TaskMessage.of(task).encode())
    assert message == {
        "schema_version": 1,
        "task_id": "task-12345678",
        "task_type": "ingestion",
        "client_id": "acme",
        "payload": {"document_id": "doc-1"},
        "webhook_url": None,
        "priority": "normal",
        "seq": 1,
        "created_at": "2026-11-22T04:00:00Z",
        "traceparent": None,
    }


@pytest.mark.parametrize("kind", [TaskMessage, DeliveryMessage])
def test_no_member_overwrites_the_hosts_metadata(kind: type[TaskMessage | DeliveryMessage]) -> None:
    assert {name.lower() for name in kind.model_fields}.isdisjoint(OVERWRITTEN)


def test_the_largest_message_fits_the_queue() -> None:
    payload = {"a": "x" * (MAX_PAYLOAD_BYTES - 8)}
    task = new_task("c" * 40, "ingestion", payload, NOW, webhook_url="https://example.com/" + "x" * 2000)
    assert len(TaskMessage.of(task).encode()) <= MAX_MESSAGE_BYTES
    assert len(to_wire(TaskMessage.of(task).encode())) <= 64 * 1024


def test_a_message_needs_only_type_and_payload() -> None:
    message = TaskMessage.decode(b'{"task_type": "ingestion", "payload": {}, "extra": 1}')
    assert (message.task_id, message.client_id, message.seq) == (None, None, 1)
    assert derived_task_id("m-1") == derived_task_id("m-1") != derived_task_id("m-2")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_in_our_words(body: bytes) -> None:
    try:
        TaskMessage.decode(body)
    except DocmillError as error:
        assert error.code in {"invalid_json", "invalid_payload"}


@given(st.binary(max_size=300))
def test_the_wire_form_is_undone(body: bytes) -> None:
    assert from_wire(to_wire(body)) == body


@pytest.mark.parametrize("text", ["{}", "not base64!", "YQ", "\u20ac"])
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(InvalidPayload):
        from_wire(text)
