"""What lies on the queues, and the one place that knows its wire form (UTF-8 JSON, base64 around it)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from shared.deliveries import Delivery
from shared.errors import InvalidJson, InvalidPayload, PayloadTooLarge
from shared.tasks import TASK_ID_PATTERN, Task, Value

V = TypeVar("V", bound=Value)

MAX_PAYLOAD_BYTES = 32 * 1024
LARGE_PAYLOAD_BYTES = 16 * 1024
MAX_FINDINGS = 20
MAX_MESSAGE_BYTES = 48 * 1024
"""A queue message may be 64 KiB on the wire, that is 48 KiB before base64."""
_ETAG = re.compile(r"[!-)+-~]+")
"""Of one row as it was at one time: no `*`, which fits all, and nothing that could end a header."""


def payload_size(payload: dict[str, Any]) -> int:
    """Bytes of the payload as it goes over the wire. Raises PayloadTooLarge above 32 KiB."""
    try:
        size = len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode())
    except (UnicodeEncodeError, RecursionError) as error:
        raise InvalidPayload("The payload holds text that is not Unicode, or is nested too deep.") from error
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"The payload is {size} bytes of JSON, the limit is {MAX_PAYLOAD_BYTES}. "
            "Upload large content as a document and send its id."
        )
    return size


class TaskMessage(Value):
    """A nudge to run a task now, complete in itself so that any producer may write one."""

    schema_version: Literal[1] = 1
    task_id: str | None = Field(default=None, pattern=TASK_ID_PATTERN)
    task_type: str = Field(min_length=1, max_length=64)
    client_id: str | None = None
    payload: dict[str, Any]
    webhook_url: str | None = Field(default=None, max_length=2048)
    priority: Literal["normal"] = "normal"
    seq: int = Field(default=1, ge=1)
    created_at: datetime | None = None
    traceparent: str | None = Field(default=None, max_length=128)
    written: dict[str, Any] | None = None
    """Ours alone: the row as it was written before this message, and its ETag. See `row`."""

    @classmethod
    def of(cls, task: Task, etag: str | None = None) -> TaskMessage:
        """`etag`: of the row that holds exactly this task."""
        brought = etag if etag and _exact(task.payload) else None
        shown = task.model_dump(mode="json", exclude={"payload"}) if brought else None
        return cls(
            task_id=task.task_id,
            task_type=task.task_type,
            client_id=task.client_id,
            payload=task.payload,
            webhook_url=task.webhook.url if task.webhook else None,
            seq=task.seq,
            created_at=task.created_at,
            traceparent=task.traceparent,
            written={"etag": brought, "task": shown} if brought else None,
        )

    def row(self, client_id: str) -> tuple[Task, str] | None:
        """The task and the ETag of its row, for a write that is guarded by it: as long as the row has that
        ETag, nobody has written it since, and this is what stands there. It may be out of date, or somebody
        else's invention.
        """
        try:
            given = self.written or {}
            task = Task.model_validate({**given["task"], "payload": self.payload})
            etag = given["etag"]
        except (KeyError, TypeError, ValidationError):
            return None
        ours = (task.client_id, task.task_id) == (client_id, self.task_id) and task.created_at.tzinfo
        return (task, etag) if ours and isinstance(etag, str) and _ETAG.fullmatch(etag) else None

    def encode(self) -> bytes:
        return self.model_dump_json(exclude=None if self.written else {"written"}).encode()

    @classmethod
    def decode(cls, body: bytes) -> TaskMessage:
        """Raises InvalidJson, InvalidPayload or PayloadTooLarge, each saying what a producer has to mend."""
        message = decode_json(cls, body)
        payload_size(message.payload)
        return message


def _exact(payload: dict[str, Any]) -> bool:
    """Whether a message gives it back as it is: JSON has no NaN and no infinity."""
    try:
        json.dumps(payload, allow_nan=False)
    except ValueError:
        return False
    return True


class DeliveryMessage(Value):
    """When to look at a delivery. What is sent and where to stands in records: it may hold secrets."""

    client_id: str
    delivery_id: str
    receiver: str
    """The key of the receiver, one of whose deliveries goes at a time."""
    attempt: int = Field(default=1, ge=1)
    """The attempt that is meant; one that was made already is not made again."""
    deferred: int = Field(default=0, ge=0, le=10)
    """How often it was put off because the receiver was busy or left alone."""
    by_hand: bool = False
    """Somebody wants it sent again, also when it has ended."""

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryMessage:
        """That the next attempt is due."""
        return cls(
            client_id=delivery.client_id,
            delivery_id=delivery.delivery_id,
            receiver=delivery.receiver,
            attempt=delivery.made + 1,
        )

    def encode(self) -> bytes:
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, body: bytes) -> DeliveryMessage:
        return decode_json(cls, body)


def decode_json(kind: type[V], body: bytes) -> V:
    try:
        data = json.loads(body)
        json.dumps(data, ensure_ascii=False).encode()  # a lone surrogate could be stored nowhere
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJson("The message is not UTF-8 JSON.") from error
    if not isinstance(data, dict):
        raise InvalidPayload("The message is not a JSON object.")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise invalid_payload(error, "The message does not have the form of the contract") from error


def invalid_payload(error: ValidationError, what: str) -> InvalidPayload:
    """Pydantic's findings in our form: what is wrong and where, never the value itself."""
    found: list[dict[str, object]] = [
        {"loc": [_short(part) for part in item["loc"]], "msg": item["msg"]}
        for item in error.errors(include_url=False, include_input=False)[:MAX_FINDINGS]
    ]
    first = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in found[:3])  # type: ignore[call-overload]
    return InvalidPayload(f"{what}: {first}", errors=found)


def _short(part: str | int) -> str | int:
    """A place in a payload is told in the caller's own words, which may be long, or no Unicode at all."""
    return part if isinstance(part, int) else part[:64].encode(errors="replace").decode()


def to_wire(body: bytes) -> str:
    return base64.b64encode(body).decode()


def from_wire(text: str) -> bytes:
    """Raises InvalidPayload when the text is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidPayload("The message is not base64, which this queue expects.") from error


def derived_task_id(queue_message_id: str) -> str:
    """The id of a task whose producer gave none: the same for every delivery of that message."""
    return f"task-{hashlib.sha256(queue_message_id.encode()).hexdigest()[:24]}"
