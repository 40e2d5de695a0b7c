"""`docmill smoke`: does a deployment do what it is there for? By its public API alone, and nothing stays."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import httpx
import typer

from cli import sample
from cli.client import FINAL, PATIENCE_SECONDS, Api, Busy, Failure, Json, Misuse, OutOfReach
from cli.config import Config, config
from cli.journal import Journals
from cli.output import note, print_json, print_table
from cli.uploads import Uploads

T = TypeVar("T")
OK, FAILED, SKIPPED = "ok", "failed", "skipped"
TIMEOUT_SECONDS = 600
CLEAN_UP_SECONDS = 60.0
"""What removing the document may take when the time for the test is up."""
PAUSE_SECONDS = 1.0


class Broken(Failure):
    """The deployment answered, and not as it should."""

    exit_status = 1


@dataclass(frozen=True)
class Step:
    """`result` is ok, failed or skipped; `detail` says what was seen, or what is wrong."""

    step: str
    result: str
    seconds: float
    detail: str = ""


def smoke(
    context: typer.Context,
    *,
    url: Annotated[str | None, typer.Option(help="The deployment. [DOCMILL_URL]")] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="The API key. Other users of the machine can read it here: DOCMILL_API_KEY is better.",
            show_default=False,
        ),
    ] = None,
    expect: Annotated[
        str, typer.Option(metavar="TEXT", help="Wait until the version that answers has this in it.")
    ] = "",
    timeout: Annotated[
        int, typer.Option(min=1, max=7200, help="Seconds after which it has failed.")
    ] = TIMEOUT_SECONDS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Try out a deployment: upload, ingest, search, summarise, delete, with the time that each step took.

    What it uploads it deletes, also when a step fails. It costs a few embeddings and one summary of a page.

    Exit status: 0 everything worked, 1 something did not.
    """
    settings = config(context)
    settings.url, settings.key = url or settings.url, key or settings.key
    try:
        steps = _tried(settings, timeout, expect)
    except Failure as error:
        note(str(error))
        raise typer.Exit(1) from None
    _print(steps, as_json)
    wrong = [step for step in steps if step.result == FAILED]
    for step in wrong:
        note(f"{step.step} failed: {step.detail}")
    if wrong:
        raise typer.Exit(1)


def _tried(settings: Config, timeout: float, expect: str) -> list[Step]:
    with settings.api() as api:
        return Smoke(api, Uploads(api, Journals.of(settings.environ)), timeout, expect).run()


def _print(steps: list[Step], as_json: bool) -> None:
    if as_json:
        ok = all(step.result == OK for step in steps)
        seconds = round(sum(step.seconds for step in steps), 3)
        print_json({"ok": ok, "seconds": seconds, "steps": [asdict(step) for step in steps]})
    else:
        rows = ((step.step, step.result, f"{step.seconds:.1f}", step.detail) for step in steps)
        print_table(("STEP", "RESULT", "SECONDS", "DETAIL"), rows)


class Smoke:
    """One pass through the service with one document."""

    def __init__(self, api: Api, uploads: Uploads, seconds: float, expect: str = "") -> None:
        self._api = api
        self._expect = expect
        self._uploads = uploads
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._sample = sample.new()
        self._document_id = ""
        self._there = False
        """There is a document to remove."""

    def run(self) -> list[Step]:
        """Every step, those that were not reached too; then the removal, where a step left something."""
        asks: dict[str, Callable[[], str]] = {
            "health": self._health,
            "ready": self._ready,
            "upload": self._upload,
            "ingest": self._ingest,
            "search": self._search,
            "summarise": self._summarise,
            "delete": self._delete,
            "gone": self._gone,
        }
        steps: list[Step] = []
        try:
            for name, ask in asks.items():
                whole = all(step.result == OK for step in steps)
                steps.append(_step(name, ask) if whole else Step(name, SKIPPED, 0.0))
        finally:  # also after Ctrl-C
            if self._there:
                steps.append(_step("clean up", self._clean_up))
        return steps

    # --- steps -------------------------------------------------------------------------------------------

    def _health(self) -> str:
        """An app that was just deployed may be starting, or the one before it still there, so this step has
        all the time there is."""
        while True:
            version = str(self._patiently(self._api.health, self._until)["version"])
            if self._expect in version:
                return f"version {version}"
            if time.monotonic() > self._until:
                raise Broken(f"Version {version} answers, and not {self._expect}.")
            time.sleep(PAUSE_SECONDS)

    def _ready(self) -> str:
        while True:
            answer = self._patiently(self._api.ready, self._until)
            wrong = {name: state for name, state in answer["checks"].items() if state != "ok"}
            if not wrong:
                return ", ".join(answer["checks"])
            if time.monotonic() > self._until:
                raise Broken("; ".join(f"{name}: {state}" for name, state in wrong.items()))
            time.sleep(PAUSE_SECONDS)

    def _upload(self) -> str:
        with _file(self._sample) as path:
            document = self._patiently(lambda: self._uploads.put(path, lambda _done, _total: None))
        self._document_id, self._there = document["document_id"], True
        return f"{self._document_id}, {document['size']} bytes"

    def _ingest(self) -> str:
        result = self._result_of("ingestion")
        if result["chunks"] < 1:
            raise Broken("The document was ingested without a single chunk.")
        return f"{result['chunks']} chunks, {result['embedding_model']}"

    def _search(self) -> str:
        """The answer stands in no question, so whoever returns it has read the document."""
        found = self._matches()
        if not any(self._sample.answer in match["content"] for match in found):
            raise Broken(f"{len(found)} hits, and none says what the document says.")
        return f"{len(found)} hits"

    def _summarise(self) -> str:
        result = self._result_of("summarization", options={"length": "short"})
        if not str(result["summary"]).strip():
            raise Broken("The summary is empty.")
        return f"{len(result['summary'])} characters, {result['model']}"

    def _delete(self) -> str:
        self._remove(self._until)
        return ""

    def _gone(self) -> str:
        try:
            self._patiently(lambda: self._api.document(self._document_id))
        except Misuse as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
        else:
            raise Broken(f"{self._document_id} is still there after it was deleted.")
        if self._matches():
            raise Broken(f"{self._document_id} is still found after it was deleted.")
        return ""

    def _clean_up(self) -> str:
        try:
            self._remove(time.monotonic() + CLEAN_UP_SECONDS)
        except Failure as error:
            raise Broken(f"{self._document_id} could not be removed. {error}") from error
        return f"{self._document_id} removed"

    # --- what they are made of ---------------------------------------------------------------------------

    def _matches(self) -> list[Json]:
        ask = partial(self._api.search, self._sample.question, document_id=self._document_id)
        found: list[Json] = self._patiently(ask)["matches"]
        return found

    def _result_of(self, task_type: str, **payload: Json) -> Json:
        """What came of a task for the document. Raises Broken unless it succeeded in time."""
        wish = {"document_id": self._document_id, **payload}
        key = f"docmill-smoke-{self._sample.harbour}-{self._sample.answer}-{task_type}"
        task = self._patiently(partial(self._api.submit, task_type, wish, key=key))
        name = task["task_id"]
        while task["status"] not in FINAL:
            if time.monotonic() > self._until:
                raise Broken(f"{name} is still {task['status']} after {self._seconds:g} s.")
            time.sleep(PAUSE_SECONDS)
            task = self._patiently(partial(self._api.task, name))
        if task["status"] != "succeeded":
            error = task["error"] or {}
            raise Broken(f"{name} {task['status']}: {error.get('code')}: {error.get('message')}")
        return self._patiently(partial(self._api.result, name))

    def _remove(self, until: float) -> None:
        try:
            self._patiently(partial(self._api.delete_document, self._document_id), until)
        except Misuse as error:
            if error.status != httpx.codes.NOT_FOUND:  # the answer to a deletion before this one was lost
                raise
        self._there = False

    def _patiently(self, ask: Callable[[], T], until: float | None = None) -> T:
        """A service that is away for a moment, or starts, is asked again."""
        until = until or min(self._until, time.monotonic() + PATIENCE_SECONDS)
        while True:
            try:
                return ask()
            except OutOfReach as error:
                pause = error.retry_after if isinstance(error, Busy) else PAUSE_SECONDS
                if time.monotonic() + pause > until:
                    raise
                time.sleep(pause)


def _step(name: str, ask: Callable[[], str]) -> Step:
    note(f"{name} ...")
    began = time.monotonic()
    try:
        result, detail = OK, ask()
    except Failure as error:
        result, detail = FAILED, str(error)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        result, detail = FAILED, f"The answer is not what Docmill's API says ({type(error).__name__})."
    return Step(name, result, round(time.monotonic() - began, 3), detail)


@contextmanager
def _file(made: sample.Sample) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="docmill-smoke-") as folder:
        path = Path(folder) / made.filename
        path.write_bytes(made.pdf())
        yield path
