"""`docmill submit` with large files and with many: real API and storage, a client whose tasks nobody runs."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.app import app as docmill
from cli.client import Api, Misuse
from cli.journal import Journal, Journals, Progress
from cli.uploads import Uploads
from local.app import App
from local.stack import ROOT
from shared.core import Core
from shared.keys import create_key
from shared.settings import read_settings
from shared.tasks import utc_now
from tests.serving import served
from tests.storage_proxy import StorageProxy, storage_proxy

BLOCK = 64 * 1024
LIMIT = 100_000
"""MAX_MULTIPART_BYTES of this service."""
CLIENT = "quiet"


@pytest.fixture(scope="module")
def storage(app: App) -> Iterator[StorageProxy]:
    found = re.search(
        r"BlobEndpoint=http://127\.0\.0\.1:(\d+)", app.environment["AZURE_STORAGE_CONNECTION_STRING"]
    )
    assert found is not None
    with storage_proxy(int(found[1])) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def core(app: App, storage: StorageProxy) -> Iterator[Core]:
    """The app's stores, its blobs by way of the proxy, with one client more that no worker serves."""
    connection = app.environment["AZURE_STORAGE_CONNECTION_STRING"]
    connection = re.sub(r"(BlobEndpoint=http://127\.0\.0\.1:)\d+", rf"\g<1>{storage.port}", connection)
    more = {
        "AZURE_STORAGE_CONNECTION_STRING": connection,
        "CLIENT_IDS": f"default,{CLIENT}",
        "MAX_MULTIPART_BYTES": str(LIMIT),
    }
    core = Core(read_settings({**app.environment, **more}))
    yield core
    core.close()


@dataclass(frozen=True)
class Service:
    url: str
    key: str


@pytest.fixture(scope="module")
def service(core: Core) -> Iterator[Service]:
    with served(core) as (url, _):
        yield Service(url, create_key(core.keys, CLIENT, utc_now())[0])


@pytest.fixture
def api(service: Service) -> Iterator[Api]:
    with Api(service.url, service.key) as api:
        yield api


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    return Journals(tmp_path / "state")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Seven blocks, the last one short."""
    path = tmp_path / "large file.bin"
    path.write_bytes(secrets.token_bytes(6 * BLOCK + 100))
    return path


@pytest.fixture(autouse=True)
def fresh(storage: StorageProxy) -> None:
    storage.forget()


def put(api: Api, journals: Journals, path: Path) -> tuple[dict[str, object], list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    document = Uploads(api, journals, BLOCK).put(path, lambda done, total: told.append((done, total)))
    return document, told


def stored(core: Core, document: dict[str, object]) -> bytes:
    kept = core.documents.get(CLIENT, str(document["document_id"]))
    assert kept is not None
    return core.blobs.read(kept.blob)


def journal(api: Api, journals: Journals, path: Path) -> Journal:
    return journals.of_file(api.identity, path)


def numbers(storage: StorageProxy) -> list[int]:
    return sorted(int(base64.b64decode(block)) for block in storage.blocks)


# --- large files -------------------------------------------------------------------------------------------


def test_a_file_that_is_too_large_for_one_request_goes_to_storage(
    api: Api, core: Core, storage: StorageProxy, journals: Journals, large: Path
) -> None:
    document, told = put(api, journals, large)
    assert (document["status"], document["filename"]) == ("stored", "large file.bin")
    assert stored(core, document) == large.read_bytes()
    assert numbers(storage) == list(range(7))
    assert told[0] == (0, 6 * BLOCK + 100) and max(told) == (6 * BLOCK + 100, 6 * BLOCK + 100)


def test_the_same_file_again_is_the_same_document(
    api: Api, storage: StorageProxy, journals: Journals, large: Path
) -> None:
    document, _ = put(api, journals, large)
    storage.forget()
    assert put(api, journals, large)[0] == document
    assert storage.blocks == []
    large.write_bytes(secrets.token_bytes(3 * BLOCK))
    assert put(api, journals, large)[0]["document_id"] != document["document_id"]
    assert numbers(storage) == [0, 1, 2]


def test_a_document_that_was_deleted_is_sent_anew(
    api: Api, core: Core, storage: StorageProxy, journals: Journals, large: Path
) -> None:
    first, _ = put(api, journals, large)
    core.documents.delete(CLIENT, str(first["document_id"]))
    storage.forget()
    again, _ = put(api, journals, large)
    assert again["document_id"] != first["document_id"]
    assert len(storage.blocks) == 7


def begun(api: Api, journals: Journals, large: Path, *, done: int, **changes: object) -> Journal:
    """As a run leaves it that was killed after so many blocks."""
    with pytest.raises(RuntimeError):
        Uploads(api, journals, BLOCK).put(large, _killed_after(done * BLOCK))
    notes = journal(api, journals, large)
    assert notes.progress is not None
    notes.begin(replace(notes.progress, **changes))  # type: ignore[arg-type]
    return notes


def _killed_after(size: int) -> Callable[[int, int], None]:
    def report(done: int, _: int) -> None:
        if done >= size:
            raise RuntimeError("killed")

    return report


def test_an_upload_goes_on_with_a_new_address_when_the_old_one_has_ended(
    api: Api, core: Core, storage: StorageProxy, journals: Journals, large: Path
) -> None:
    old = datetime.now(UTC) - timedelta(seconds=1)
    notes = begun(
        api, journals, large, done=3, expires_at=old.isoformat(), url="http://127.0.0.1:1/gone?sig=x"
    )
    assert notes.progress is not None
    there = set(notes.progress.done)
    storage.forget()
    document, _ = put(api, journals, large)
    assert document["document_id"] == notes.progress.document_id
    assert set(numbers(storage)) == set(range(7)) - there
    assert stored(core, document) == large.read_bytes()


def test_blocks_that_storage_lost_are_sent_again(
    api: Api, core: Core, storage: StorageProxy, journals: Journals, large: Path
) -> None:
    answer = api.announce(large.name, large.stat().st_size)
    way = answer["upload"]
    claimed = Progress(
        answer["document"]["document_id"], way["url"], "text/plain", way["expires_at"], BLOCK, tuple(range(7))
    )
    journal(api, journals, large).begin(claimed)
    document, _ = put(api, journals, large)
    assert document["document_id"] != claimed.document_id
    assert numbers(storage) == list(range(7))
    assert stored(core, document) == large.read_bytes()


def test_a_run_that_was_killed_after_the_last_block_has_lost_nothing(
    api: Api, storage: StorageProxy, journals: Journals, large: Path
) -> None:
    document, _ = put(api, journals, large)
    notes = journal(api, journals, large)
    assert notes.progress is not None
    renewed = replace(notes.progress, complete=False)  # as if the answer had never come
    notes.begin(renewed)
    storage.forget()
    assert put(api, journals, large)[0]["document_id"] == document["document_id"]
    assert storage.blocks == []


def test_a_file_that_changes_while_it_is_sent_is_refused(api: Api, journals: Journals, large: Path) -> None:
    def changed(done: int, total: int) -> None:
        if done == total:
            large.write_bytes(b"another one")

    with pytest.raises(Misuse, match="changed while it was sent"):
        Uploads(api, journals, BLOCK).put(large, changed)


def test_a_file_over_every_limit_is_refused(
    core: Core, service: Service, journals: Journals, large: Path
) -> None:
    small = Core(core.settings.model_copy(update={"max_upload_bytes": LIMIT}))
    with served(small) as (url, _), Api(url, service.key) as api:
        with pytest.raises(Misuse) as caught:
            put(api, journals, large)
        assert caught.value.code == "payload_too_large"
    small.close()


# --- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def run(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    env = {
        "DOCMILL_URL": service.url,
        "DOCMILL_API_KEY": service.key,
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    return lambda *words: CliRunner().invoke(docmill, list(words), env=env)


HEEDS_CTRL_C = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("cli", run_name="__main__")
"""
"""A shell has what it starts in the background ignore SIGINT, and that is inherited: by us, and from us."""


def started(service: Service, folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEEDS_CTRL_C, *words],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DOCMILL_URL": service.url,
            "DOCMILL_API_KEY": service.key,
            "XDG_STATE_HOME": str(folder / "state"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_after_a_kill_only_the_missing_blocks_are_sent(
    service: Service,
    run: Callable[..., Result],
    core: Core,
    storage: StorageProxy,
    tmp_path: Path,
    how: signal.Signals,
) -> None:
    path = tmp_path / "video.bin"
    with path.open("wb") as file:
        file.truncate(42 * 1024 * 1024)  # six blocks of 8 MiB, the last one short
        file.seek(9 * 1024 * 1024)
        file.write(secrets.token_bytes(1024))
    storage.passes = 2
    with started(service, tmp_path, "submit", "video.bin") as process:
        assert storage.waiting.wait(60)
        state = tmp_path / "state" / "docmill" / "uploads"
        until = time.monotonic() + 30
        while sum(len(json.loads(file.read_text())["done"]) for file in state.glob("*.json")) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(how)
        _, said = process.communicate(timeout=30)
        assert process.returncode != 0
    if how is signal.SIGINT:
        assert "Stopped. 0 of 1 files" in said
        (notes,) = state.glob("*.json")
        assert notes.stat().st_mode & 0o077 == 0
    first = numbers(storage)
    # What was waiting must not get through any more: its sender is gone.
    storage.blocks, storage.passes = [], None
    sent = run("submit", "video.bin", "--json")
    assert sent.exit_code == 0, sent.stderr
    assert "uploading" in sent.stderr
    assert sorted({*first, *numbers(storage)}) == list(range(6))
    assert len(first) == 2 and len(numbers(storage)) == 4
    task = json.loads(sent.stdout)
    document = core.documents.get(CLIENT, task["document_id"])
    assert document is not None and document.size == path.stat().st_size
    assert core.blobs.read(document.blob) == path.read_bytes()


def tasks(api: Api) -> set[str]:
    return {task["task_id"] for task in api.tasks(limit=200)["items"]}


def test_a_directory_is_submitted_once_however_often(
    run: Callable[..., Result], api: Api, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    for name in ("a.md", "b.md", "sub/a.md", "sub/deep/c.txt", ".hidden/d.md", "sub/.e.md"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name} {secrets.token_hex(4)}\n")
    (folder / "outside.md").symlink_to(tmp_path / "outside.md")
    (tmp_path / "outside.md").write_text("outside")
    before = tasks(api)
    first = run("submit", "docs", "--recursive", "--json", "--jobs", "3")
    assert first.exit_code == 0, first.stderr
    ids = [json.loads(text)["task_id"] for text in first.stdout.splitlines()]
    assert len(set(ids)) == 4
    assert "4 files: 4 submitted" in first.stderr
    assert "Left out: 3" in first.stderr
    again = run("submit", "docs", "-r", "--json")
    assert [json.loads(text)["task_id"] for text in again.stdout.splitlines()] == ids
    assert tasks(api) - before == set(ids)
    anew = run("submit", "docs", "-r", "--again", "--json")
    assert len(anew.stdout.splitlines()) == 4
    assert not {json.loads(text)["task_id"] for text in anew.stdout.splitlines()} & set(ids)


def test_after_ctrl_c_the_same_command_goes_on(
    service: Service, run: Callable[..., Result], api: Api, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.md").write_text(f"# {number} {secrets.token_hex(4)}\n")
    before = tasks(api)
    with started(service, tmp_path, "submit", "docs", "-r", "--in-flight", "2") as process:
        until = time.monotonic() + 60
        while len(tasks(api) - before) < 3:
            assert time.monotonic() < until
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert re.search(r"Stopped\. \d+ of 60 files are submitted", said), said
    assert "run the same command again" in said
    assert len(tasks(api) - before) < 60
    again = run("submit", "docs", "-r")
    assert again.exit_code == 0, again.stderr
    assert len(tasks(api) - before) == 60
