"""The JSON of the contract, as FastAPI documents and checks it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from shared.documents import DocumentStatus
from shared.tasks import TaskStatus

T = TypeVar("T")


class Listing(BaseModel, Generic[T]):
    items: list[T]
    next_cursor: str | None


class TaskRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    task_type: str = Field(min_length=1, max_length=64, examples=["ingestion"])
    payload: dict[str, Any] = Field(examples=[{"document_id": "doc-5f0c1a..."}])
    webhook_url: str | None = Field(default=None, examples=["https://example.com/hooks/docmill"])
    priority: Literal["normal"] = "normal"


class ProgressShape(BaseModel):
    stage: str
    current: int
    total: int
    percent: int
    message: str


class TaskErrorShape(BaseModel):
    code: str
    message: str
    retryable: bool
    stage: str | None
    attempt: int


class WebhookShape(BaseModel):
    url: str
    status: Literal["pending", "delivered", "failed"]


class TaskShape(BaseModel):
    task_id: str
    client_id: str
    task_type: str
    status: TaskStatus
    priority: str
    payload: dict[str, Any]
    document_id: str | None
    progress: ProgressShape | None
    attempt: int
    max_attempts: int
    next_attempt_at: datetime | None
    dead_lettered: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    error: TaskErrorShape | None
    result_url: str | None
    webhook: WebhookShape | None


class DocumentShape(BaseModel):
    document_id: str
    client_id: str
    filename: str
    content_type: str
    size: int
    sha256: str | None
    status: DocumentStatus
    pages: int | None
    chunks: int | None
    embedding_model: str | None
    created_at: datetime
    updated_at: datetime


class UploadedShape(DocumentShape):
    task: TaskShape | None


class UploadRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    filename: str = Field(min_length=1, max_length=1000, examples=["report.pdf"])
    size: int = Field(ge=0, description="Of the file, in bytes.", examples=[104857600])
    blocks: bool = Field(default=False, description="Whether the file comes in blocks (Put Block).")


class UploadShape(BaseModel):
    """`PUT url` with these headers, once, before `expires_at`."""

    url: str
    method: Literal["PUT"]
    headers: dict[str, str]
    expires_at: datetime


class AnnouncedShape(BaseModel):
    document: DocumentShape
    upload: UploadShape


class SummaryShape(BaseModel):
    document_id: str
    summary: str
    model: str
    created_at: datetime


class ChunkShape(BaseModel):
    chunk_id: str
    document_id: str
    chunk_index: int
    content: str
    page: int | None
    headings: list[str]
    tokens: int


class SearchRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, max_length=4000)
    top_k: int = Field(default=5, ge=1, le=50)
    mode: Literal["hybrid", "vector", "text"] = "hybrid"
    document_id: str | None = Field(default=None, max_length=64)


class MatchShape(BaseModel):
    chunk_id: str
    document_id: str
    filename: str
    content: str
    score: float
    page: int | None
    headings: list[str]
    chunk_index: int


class SearchShape(BaseModel):
    matches: list[MatchShape]


class DeadLetterShape(BaseModel):
    dead_letter_id: str
    task_id: str | None
    task_type: str | None
    reason: Literal["invalid_message", "out_of_attempts", "worker_lost"]
    error: dict[str, Any] | None
    attempts: int
    message: str
    first_seen_at: datetime
    dead_lettered_at: datetime
    retried_at: datetime | None


class HealthShape(BaseModel):
    status: Literal["ok"]
    version: str


class ReadyShape(BaseModel):
    status: Literal["ok", "unavailable"]
    checks: dict[str, str]


class QueueShape(BaseModel):
    client_id: str
    name: str
    depth: int
    dead_letters: int
    oldest_seconds: int | None


class QueuesShape(BaseModel):
    queues: list[QueueShape]
