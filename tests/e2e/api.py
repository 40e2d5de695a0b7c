"""A client of the running app, as short as tests want it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx

from local.app import App

FINAL = {"succeeded", "failed", "cancelled"}
Json = dict[str, Any]


class Api:
    def __init__(self, app: App, client: str = "default") -> None:
        suffix = "" if client == "default" else f"_{client.upper()}"
        self.secret = app.environment[f"DOCMILL_WEBHOOK_SECRET{suffix}"]
        headers = {"X-API-Key": app.environment[f"DOCMILL_API_KEY{suffix}"]}
        self.http = httpx.Client(base_url=app.url, headers=headers, timeout=60)

    def close(self) -> None:
        self.http.close()

    def get(self, path: str) -> Json:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def upload(self, name: str, content: bytes) -> Json:
        answer = self.http.post("/api/documents", files={"file": (name, content)})
        assert answer.status_code in {200, 201}, answer.text
        document: Json = answer.json()
        return document

    def submit(self, task_type: str, payload: Json, **more: Any) -> Json:
        answer = self.http.post("/api/tasks", json={"task_type": task_type, "payload": payload, **more})
        assert answer.status_code == 202, answer.text
        task: Json = answer.json()
        return task

    def finished(self, task: Json, seconds: float = 120) -> Json:
        until = time.monotonic() + seconds
        while task["status"] not in FINAL:
            assert time.monotonic() < until, f"not finished in time: {task}"
            task = self.get(f"/api/tasks/{task['task_id']}?wait=20")
        return task

    def ingest(self, name: str, content: bytes, **options: Any) -> Json:
        """Uploads and ingests; the finished task."""
        payload: Json = {"document_id": self.upload(name, content)["document_id"]}
        if options:
            payload["options"] = options
        return self.finished(self.submit("ingestion", payload))

    def ingest_file(self, path: Path) -> Json:
        return self.ingest(path.name, path.read_bytes())

    def result(self, task: Json) -> Json:
        assert task["status"] == "succeeded", task["error"]
        return self.get(task["result_url"])

    def search(self, query: str, **more: Any) -> list[Json]:
        answer = self.http.post("/api/search", json={"query": query, **more})
        assert answer.status_code == 200, answer.text
        matches: list[Json] = answer.json()["matches"]
        return matches
