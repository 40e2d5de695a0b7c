"""Tasks: submit, list, look at, wait for, fetch the result of, cancel, retry."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from api.access import Client, CoreOf, Cursor, Limit
from api.shapes import Listing, TaskRequest, TaskShape
from api.waiting import Watches, etag, seen_by
from shared.cancellation import cancel
from shared.core import Core
from shared.errors import (
    BlobNotFound,
    NotFound,
    ResultExpired,
    ResultNotReady,
    TaskCancelled,
    TaskFailed,
)
from shared.resubmission import resubmit
from shared.submission import Submission, submit
from shared.tasks import Task, TaskStatus

router = APIRouter(tags=["tasks"])
RETRY_AFTER = "2"

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]


@router.post("/tasks", status_code=202, response_model=TaskShape)
def submit_task(
    core: CoreOf,
    client: Client,
    body: TaskRequest,
    idempotency_key: IdempotencyKey = None,
    traceparent: Annotated[str | None, Header(max_length=128)] = None,
) -> Response:
    accepted = submit(
        core,
        client,
        Submission(
            task_type=body.task_type,
            payload=body.payload,
            webhook_url=body.webhook_url,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
        ),
    )
    # Not by way of the model, which describes the answer: it would check a copy in one more thread.
    response = JSONResponse(accepted.task.public(), 202 if accepted.created else 200)
    location(response, accepted.task)
    return response


def location(response: Response, task: Task) -> None:
    """Where the accepted task is looked at."""
    url = f"/api/tasks/{task.task_id}"
    response.headers["Location"] = url
    response.headers["Operation-Location"] = url
    response.headers["Retry-After"] = RETRY_AFTER


@router.get("/tasks", response_model=Listing[TaskShape])
def list_tasks(
    core: CoreOf,
    client: Client,
    status: TaskStatus | None = None,
    task_type: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> dict[str, Any]:
    page = core.tasks.page(client, status=status, task_type=task_type, limit=limit, cursor=cursor)
    return {"items": [task.public() for task in page.items], "next_cursor": page.next_cursor}


@router.get("/tasks/{task_id}", response_model=TaskShape, responses={304: {"description": "No change"}})
async def get_task(
    core: CoreOf,
    client: Client,
    request: Request,
    response: Response,
    task_id: str,
    wait: Annotated[float, Query(ge=0, le=30)] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Any:
    """Async because waiting must not hold a thread; nothing in here blocks."""
    task = await run_in_threadpool(find, core, client, task_id)
    current = etag(task)
    seen = seen_by(if_none_match, current) if if_none_match else current
    unchanged = current == seen
    if wait and unchanged and not task.final:
        watches: Watches = request.app.state.watches
        changed = await watches.next(client, task_id, seen, wait)
        task, unchanged = changed or task, changed is None
    if if_none_match and unchanged:
        return Response(status_code=304, headers={"ETag": etag(task)})
    response.headers["ETag"] = etag(task)
    if not task.final:
        response.headers["Retry-After"] = RETRY_AFTER
    return task.public()


def find(core: Core, client_id: str, task_id: str) -> Task:
    """Raises NotFound, also for what belongs to another client."""
    row = core.tasks.get(client_id, _possible(task_id))
    if row is None:
        raise NotFound("There is no task of this id.")
    return row.task


def _possible(task_id: str) -> str:
    """Raises NotFound for what can be no task's id."""
    if not task_id.replace("-", "").isalnum():
        raise NotFound("There is no task of this id.")
    return task_id


@router.get("/tasks/{task_id}/result")
def get_result(core: CoreOf, client: Client, task_id: str) -> Response:
    task = find(core, client, task_id)
    if task.status is TaskStatus.FAILED:
        raise TaskFailed
    if task.status is TaskStatus.CANCELLED:
        raise TaskCancelled
    if not task.final or task.result_blob is None:
        raise ResultNotReady
    if task.expired:
        raise ResultExpired
    try:
        return Response(core.blobs.read(task.result_blob), media_type="application/json")
    except BlobNotFound as error:
        raise ResultExpired from error


@router.post("/tasks/{task_id}/cancel", status_code=202, response_model=TaskShape)
def cancel_task(core: CoreOf, client: Client, response: Response, task_id: str) -> dict[str, Any]:
    """At once while the task waits; within seconds while it runs, unless its work is done first."""
    task = cancel(core, client, _possible(task_id))
    location(response, task)
    return task.public()


@router.post("/tasks/{task_id}/retry", status_code=202, response_model=TaskShape)
def retry_task(core: CoreOf, client: Client, response: Response, task_id: str) -> dict[str, Any]:
    """Runs a task that failed or was cancelled once more, with all its attempts."""
    task = resubmit(core, client, _possible(task_id))
    location(response, task)
    return task.public()
