"""Every error of the contract, with its consequences."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared import errors
from shared.errors import ALWAYS, NEVER, ONCE, DocmillError

HTTP = {
    "unauthorized": 401, "not_found": 404, "not_ready": 404, "result_not_ready": 404, "task_failed": 404,
    "task_cancelled": 404, "conflict": 409, "idempotency_conflict": 409, "result_expired": 410,
    "payload_too_large": 413, "invalid_json": 400, "invalid_payload": 422, "unknown_task_type": 422,
    "rate_limited": 429, "unavailable": 503, "internal": 500, "unsupported_format": 415,
    "document_too_large": 413,
}  # fmt: skip
TASKS = {
    "blob_not_found": NEVER, "unsupported_format": NEVER, "document_corrupt": NEVER,
    "document_encrypted": NEVER, "document_empty": NEVER, "document_too_large": NEVER,
    "conversion_failed": NEVER, "conversion_crashed": ONCE, "timeout": ALWAYS, "model_rate_limited": ALWAYS,
    "converter_unavailable": ALWAYS,
    "model_unavailable": ALWAYS, "model_rejected": NEVER, "index_unavailable": ALWAYS,
    "storage_unavailable": ALWAYS, "worker_lost": ALWAYS, "worker_stopped": ALWAYS, "internal": ALWAYS,
    "invalid_payload": NEVER,
    "unknown_task_type": NEVER,
}  # fmt: skip


def kinds(base: type[DocmillError] = DocmillError) -> Iterator[type[DocmillError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


BY_CODE = {kind.code: kind for kind in kinds() if "code" in vars(kind)}


@pytest.mark.parametrize(("code", "status"), list(HTTP.items()))
def test_the_http_status(code: str, status: int) -> None:
    assert BY_CODE[code].status == status


@pytest.mark.parametrize(("code", "retries"), list(TASKS.items()))
def test_whether_a_task_runs_again(code: str, retries: int) -> None:
    assert BY_CODE[code].retries == retries


def test_there_is_no_error_that_the_contract_does_not_know() -> None:
    assert set(BY_CODE) == set(HTTP) | set(TASKS)


def test_the_drawing_of_the_tree_names_every_error() -> None:
    assert errors.__doc__ is not None
    for kind in kinds():
        assert kind.__name__ in errors.__doc__


def test_every_message_says_something() -> None:
    for kind in kinds():
        assert kind.default.endswith(".")
