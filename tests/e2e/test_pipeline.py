"""The main job on real parts: files in; text, chunks, summaries and signed webhooks out."""

from __future__ import annotations

import base64
import io
import secrets
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from azure.storage.queue import QueueClient

from local.app import App
from local.receiver import Receiver
from shared.core import Core
from tests import files
from tests.e2e.api import Api, Json
from tests.scanned import pdf, scan

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
HANDBOOK = SAMPLES / "operations-handbook.pdf"
API_VERSION = "2026-06-06"


def unique(text: str) -> bytes:
    """Content that no other test has, so that every test has a document of its own."""
    return f"{text}\n\nMark {secrets.token_hex(8)}.\n".encode()


class TestIngestion:
    def test_a_document_of_pages_is_found_by_page(self, default: Api) -> None:
        task = default.ingest_file(HANDBOOK)
        result = default.result(task)
        assert (result["format"], result["pages"]) == ("pdf", 6)
        assert set(result["timings"]) == {"download", "convert", "chunk", "embed", "index"}
        assert (result["embedding_model"], result["dimensions"]) == ("all-minilm-l6-v2-int8", 384)
        assert task["progress"]["percent"] == 100
        questions = {
            "How many passengers may Corona carry?": 2,
            "At which wind does Dagny stop sailing?": 3,
            "Which form do dangerous goods need?": 5,
        }
        for question, page in questions.items():
            matches = default.search(question, top_k=3, document_id=task["document_id"])
            assert page in {match["page"] for match in matches}, question
        document = default.get(f"/api/documents/{task['document_id']}")
        assert (document["status"], document["pages"], document["chunks"]) == (
            "ingested",
            6,
            result["chunks"],
        )

    def test_a_scan_is_read_and_found(self, default: Api) -> None:
        mark = secrets.token_hex(3)
        task = default.ingest("scan.pdf", pdf([scan(f"Berth {mark}"), scan("Pilots", "Nothing to see.")]))
        assert default.result(task)["warnings"] == []
        best, *_ = default.search("When do letters arrive?", document_id=task["document_id"])
        assert best["page"] == 1
        assert "Thursday of the month" in best["content"]

    @pytest.mark.parametrize(
        ("sample", "words"), [("travel-policy.docx", "4.20 crowns"), ("passenger-faq.html", "60 days")]
    )
    def test_the_other_samples(self, default: Api, sample: str, words: str) -> None:
        task = default.ingest_file(SAMPLES / sample)
        assert default.result(task)["format"] == sample.rsplit(".", 1)[1]
        markdown = default.http.get(f"/api/documents/{task['document_id']}/markdown")
        assert markdown.headers["content-type"].startswith("text/markdown")
        assert words in markdown.text

    @pytest.mark.parametrize(
        ("name", "content", "fmt", "words"),
        [
            ("notes.md", b"# Mill\n\nThe quern turns.\n", "md", "The quern turns."),
            ("notes.txt", "Gr\u00fc\u00dfe an die M\u00fchle.".encode(), "txt", "M\u00fchle"),
            ("prices.csv", b"grain,price\nrye,12\nspelt,15\nbarley,9\n", "csv", "spelt"),
            (
                "page.html",
                b"<html><body><h1>Mill</h1><p>The wheel stands.</p></body></html>",
                "html",
                "The wheel",
            ),
            (
                "mail.eml",
                b"From: a@example.com\r\nTo: b@example.com\r\nSubject: Rye\r\n"
                b"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\n"
                b"Content-Type: text/plain\r\n\r\nPlease send two sacks.\r\n",
                "eml",
                "two sacks",
            ),
            ("rules.odt", files.odt(), "odt", files.TEXT),
            ("rules.epub", files.epub(), "epub", files.TEXT),
            ("rules.eml", files.eml(("a.docx", files.docx())), "eml", "11 m"),
            (
                "wrong.pdf",
                b"<!DOCTYPE html><html><body><p>Named wrongly.</p></body></html>",
                "html",
                "Named wrongly",
            ),
        ],
    )
    def test_every_format_that_is_text(
        self, default: Api, name: str, content: bytes, fmt: str, words: str
    ) -> None:
        task = default.ingest(name, content)
        assert default.result(task)["format"] == fmt
        chunks = default.get(f"/api/documents/{task['document_id']}/chunks")["items"]
        assert words in " ".join(chunk["content"] for chunk in chunks)

    def test_the_same_document_again_costs_nothing_and_doubles_nothing(self, default: Api) -> None:
        content = unique("# One\n\nThe first part.\n\n# Two\n\nThe second part.")
        first = default.ingest("again.md", content)
        again = default.ingest("again.md", content)
        assert first["document_id"] == again["document_id"]
        one, two = default.result(first), default.result(again)
        assert one["usage"]["embedding_tokens"] > 0 and one["chunks_reused"] == 0
        assert (
            two["usage"]["embedding_tokens"] == 0 and two["chunks_reused"] == two["chunks"] == one["chunks"]
        )
        chunks = default.get(f"/api/documents/{first['document_id']}/chunks?limit=200")["items"]
        assert [chunk["chunk_index"] for chunk in chunks] == list(range(one["chunks"]))

    def test_other_options_make_other_chunks(self, default: Api) -> None:
        content = unique("A sentence of the mill. " * 200)
        coarse = default.result(default.ingest("long.txt", content))
        fine = default.result(default.ingest("long.txt", content, chunk_tokens=60))
        assert fine["chunks"] > coarse["chunks"]
        listed = default.get(f"/api/documents/{fine['document_id']}/chunks?limit=200")["items"]
        assert len(listed) == fine["chunks"]

    def test_a_blob_is_ingested_by_its_name(self, default: Api, core: Core) -> None:
        name = f"reports/{secrets.token_hex(4)}.txt"
        core.blobs.put(f"default/uploads/{name}", unique("The tithe barn."), "text/plain")
        task = default.finished(default.submit("ingestion", {"blob": f"uploads/{name}"}))
        first = default.result(task)
        core.blobs.put(f"default/uploads/{name}", unique("The malt house."), "text/plain")
        second = default.result(default.finished(default.submit("ingestion", {"blob": f"uploads/{name}"})))
        assert first["document_id"] == second["document_id"]
        texts = default.get(f"/api/documents/{first['document_id']}/chunks")["items"]
        assert "malt house" in texts[0]["content"] and "tithe" not in texts[0]["content"]

    def test_a_deleted_document_is_nowhere(self, default: Api, core: Core) -> None:
        word = secrets.token_hex(6)
        task = default.ingest("secret.txt", f"The password of the barn is {word}.".encode())
        document = default.get(f"/api/documents/{task['document_id']}")
        assert default.search(word, mode="text")
        assert default.http.delete(f"/api/documents/{document['document_id']}").status_code == 204
        assert default.search(word, mode="text") == []
        assert default.http.get(task["result_url"]).status_code == 410
        for kind in ("uploads", "markdown", "results"):
            assert core.blobs.delete_all(f"default/{kind}/{document['document_id']}/") == 0


class TestTwoClients:
    def test_the_same_file_is_each_clients_own(self, default: Api, acme: Api) -> None:
        word = secrets.token_hex(6)
        content = f"The sluice key is {word}.".encode()
        mine, theirs = default.ingest("sluice.txt", content), acme.ingest("sluice.txt", content)
        assert mine["document_id"] != theirs["document_id"]
        assert acme.result(theirs)["chunks_reused"] == 0  # nothing is shared, embeddings neither
        for mode in ("text", "vector", "hybrid"):
            found = {
                match["document_id"] for match in default.search(f"sluice key {word}", mode=mode, top_k=50)
            }
            assert mine["document_id"] in found and theirs["document_id"] not in found
            assert acme.search(word, mode=mode, document_id=mine["document_id"]) == []


class TestSummarization:
    def test_a_summary_is_the_documents_own_words(self, default: Api) -> None:
        document = default.upload(HANDBOOK.name, HANDBOOK.read_bytes())
        payload = {
            "document_id": document["document_id"],
            "options": {"length": "short", "focus": "wind limits"},
        }
        result = default.result(default.finished(default.submit("summarization", payload)))
        assert result["model"] == "extractive" and result["summary"]
        assert result["usage"]["prompt_tokens"] > result["usage"]["completion_tokens"] > 0
        stored = default.get(f"/api/documents/{document['document_id']}/summary")
        assert stored["summary"] == result["summary"]

    def test_bullets_and_a_language_it_cannot_speak(self, default: Api) -> None:
        document = default.upload(
            "b.md", unique("The mill stands. The wheel turns. Rye is ground. Flour is sold.")
        )
        options = {"format": "bullets", "language": "sv"}
        payload = {"document_id": document["document_id"], "options": options}
        result = default.result(default.finished(default.submit("summarization", payload)))
        assert all(line.startswith("- ") for line in result["summary"].splitlines())
        assert "translate" in result["warnings"][0]


def workbook_cut_short() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<not closed")
    return file.getvalue()[:-30]


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "content", "code"),
        [
            ("empty.pdf", b"", "document_empty"),
            ("blank.txt", b" \n\t\n", "document_empty"),
            ("garbage.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 8, "document_corrupt"),
            ("cut.docx", workbook_cut_short(), "document_corrupt"),
            ("old.docx", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(2048), "document_encrypted"),
            ("program.exe", b"MZ" + bytes(range(256)) * 16, "unsupported_format"),
            ("program.pdf", b"\x7fELF" + bytes(range(256)) * 16, "unsupported_format"),
        ],
    )
    def test_a_bad_file_fails_once_and_says_why(
        self, default: Api, name: str, content: bytes, code: str
    ) -> None:
        task = default.ingest(name, content)
        assert (task["status"], task["attempt"], task["dead_lettered"]) == ("failed", 1, False)
        assert task["error"]["code"] == code and task["error"]["retryable"] is False
        assert not any(
            part in task["error"]["message"] for part in ("/tmp", "Traceback", "docling", "127.0.0.1")
        )
        again = default.http.get(f"/api/tasks/{task['task_id']}/result")
        assert (again.status_code, again.json()["code"]) == (404, "task_failed")

    @pytest.mark.parametrize(
        "payload", [{"blob": "uploads/nothing.pdf"}, {"document_id": "doc-nothing"}], ids=["blob", "document"]
    )
    def test_what_is_not_there(self, default: Api, payload: Json) -> None:
        task = default.finished(default.submit("ingestion", payload))
        assert task["error"]["code"] == "blob_not_found"

    def test_garbage_on_the_queue_becomes_a_dead_letter(self, default: Api, app: App) -> None:
        mark = secrets.token_hex(6)
        before = {item["dead_letter_id"] for item in default.get("/api/dead-letters?limit=200")["items"]}
        connection = app.environment["AZURE_STORAGE_CONNECTION_STRING"]
        with QueueClient.from_connection_string(
            connection, "default-tasks", api_version=API_VERSION
        ) as queue:
            for text in ("not json", f'{{"task_type": "{mark}", "payload": {{}}}}'):
                queue.send_message(base64.b64encode(text.encode()).decode())
            other = '{"task_type": "ingestion", "payload": {"document_id": "doc-1"}, "client_id": "acme"}'
            queue.send_message(base64.b64encode(other.encode()).decode())
        until = time.monotonic() + 30
        new: list[Any] = []
        while len(new) < 3 and time.monotonic() < until:
            time.sleep(0.3)
            items = default.get("/api/dead-letters?limit=200")["items"]
            new = [item for item in items if item["dead_letter_id"] not in before]
        assert {item["error"]["code"] for item in new} == {
            "invalid_json",
            "unknown_task_type",
            "invalid_payload",
        }
        assert {item["reason"] for item in new} == {"invalid_message"}
        assert default.ingest("after.txt", unique("The service goes on."))["status"] == "succeeded"

    def test_another_producers_message_is_run(self, default: Api, app: App) -> None:
        document = default.upload("other.txt", unique("Put by another producer."))
        text = f'{{"task_type": "ingestion", "payload": {{"document_id": "{document["document_id"]}"}}}}'
        connection = app.environment["AZURE_STORAGE_CONNECTION_STRING"]
        with QueueClient.from_connection_string(
            connection, "default-tasks", api_version=API_VERSION
        ) as queue:
            queue.send_message(base64.b64encode(text.encode()).decode())
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.3)
            if default.get(f"/api/documents/{document['document_id']}")["status"] == "ingested":
                return
        pytest.fail("it was not run")


class TestWebhooks:
    def test_the_receiver_verifies_it_and_the_row_is_already_there(self, default: Api, acme: Api) -> None:
        apis = {"default": default, "acme": acme}

        def status_of(client: str, task_id: str) -> str:
            return str(apis[client].get(f"/api/tasks/{task_id}")["status"])

        with Receiver({name: api.secret for name, api in apis.items()}, status_of) as receiver:
            tasks = {}
            for name, api in apis.items():
                document = api.upload("hook.txt", unique("A document with a webhook."))
                payload = {"document_id": document["document_id"]}
                good = api.submit("ingestion", payload, webhook_url=receiver.url(name))
                bad = api.submit("ingestion", {"document_id": "doc-none"}, webhook_url=receiver.url(name))
                tasks |= {good["task_id"]: "task.succeeded", bad["task_id"]: "task.failed"}
            arrivals = receiver.wait_for(set(tasks), 60)
            assert {arrival.task_id: arrival.type for arrival in arrivals} == tasks
            assert all(arrival.good for arrival in arrivals)
        until = time.monotonic() + 20
        for api in apis.values():
            for item in api.get("/api/tasks?limit=2")["items"]:
                while item["webhook"]["status"] == "pending" and time.monotonic() < until:
                    time.sleep(0.2)
                    item = api.get(f"/api/tasks/{item['task_id']}")  # noqa: PLW2901
                assert item["webhook"]["status"] == "delivered"

    def test_a_receiver_that_is_not_there_fails_the_webhook_and_not_the_task(
        self, default: Api, free_port: int
    ) -> None:
        document = default.upload("nohook.txt", unique("Nobody listens."))
        payload = {"document_id": document["document_id"]}
        url = f"http://127.0.0.1:{free_port}/hook"
        task = default.finished(default.submit("ingestion", payload, webhook_url=url))
        assert task["status"] == "succeeded"
        until = time.monotonic() + 40
        while task["webhook"]["status"] == "pending" and time.monotonic() < until:
            time.sleep(0.5)
            task = default.get(f"/api/tasks/{task['task_id']}")
        assert task["webhook"]["status"] == "failed"


class TestCancelling:
    def test_a_running_ingestion_shows_nothing_and_can_be_retried(self, default: Api) -> None:
        word = f"quern{secrets.token_hex(6)}"
        paragraphs = (f"{word} number {number}: the mill grinds rye. " * 12 for number in range(600))
        document = default.upload("long.txt", unique("\n\n".join(paragraphs)))
        task = default.submit("ingestion", {"document_id": document["document_id"]})
        url = f"/api/tasks/{task['task_id']}"
        while task["status"] == "queued" or (task["progress"] or {}).get("stage") != "embed":
            task = default.get(url)
            assert task["status"] in {"queued", "running"}, task
            time.sleep(0.1)
        answer = default.http.post(f"{url}/cancel")
        assert answer.status_code == 202, answer.text
        asked = time.monotonic()
        cancelled = default.finished(answer.json())
        assert cancelled["status"] == "cancelled" and time.monotonic() - asked < 3  # the contract's
        assert default.search(word, mode="text", document_id=document["document_id"]) == []
        assert default.get(f"/api/documents/{document['document_id']}")["status"] == "stored"
        again = default.http.post(f"{url}/retry")
        assert (again.status_code, again.json()["status"]) == (202, "queued")
        assert default.http.post(f"{url}/cancel").status_code == 202
        assert default.finished(default.get(url))["status"] == "cancelled"
