"""Conversion in warm child processes of our own.

A child is killed when the deadline passes, when the caller's `progress` raises, and when it takes too much
memory; it ends by itself when this process does. A fresh one takes its place.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared import scratch
from shared.documents import ConvertedDocument
from shared.errors import (
    ConversionCrashed,
    ConversionFailed,
    ConverterUnavailable,
    DocmillError,
    DocumentError,
    TaskTimeout,
)
from shared.ports import ConversionOptions
from shared.providers.conversion import detection, ocr_models
from shared.providers.conversion.processors import processors
from shared.providers.conversion.request import Limits, Recognition, Request

_log = logging.getLogger(__name__)
_APP_ROOT = Path(__file__).resolve().parents[2]
_POLL_SECONDS = 0.2
_CHECKPOINT_SECONDS = 1.0
_MEGABYTE = 1024 * 1024
_OUTPUT_VERSION = 2
"""To be raised when we make other blocks of the same file: texts kept from before are then not used."""

# What a process needs to run at all. Nothing else is handed on: the environment holds keys.
_INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "TZ")
_OFFLINE = {
    "PATH": "",  # Docling has LibreOffice draw pictures where it finds it; no document starts a program here
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}

_KINDS: list[type[DocmillError]] = [
    *DocumentError.__subclasses__(),
    ConversionCrashed,
    ConverterUnavailable,
    TaskTimeout,
]
_ERRORS = {kind.code: kind for kind in _KINDS}

Progress = Callable[[int, int], None]


class DoclingConverter:
    """Implements `Converter`. Children start on first use and stay; `processes` of them work at a time.

    memory_mb: resident size above which a child is killed. `recognition`: how pages without text are
    read; the children share the processors evenly.
    """

    def __init__(
        self, processes: int, memory_mb: int, limits: Limits, recognition: Recognition | None = None
    ) -> None:
        self._memory = memory_mb * _MEGABYTE
        self._limits = limits
        threads = max(1, processors() // processes)
        self._recognition = (recognition or Recognition()).model_copy(update={"threads": threads})
        self._lock = threading.Lock()
        self._children: set[_Child] = set()
        self._closed = False
        # Last in, first out: the child that is warm is taken before an empty place.
        self._places: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(processes):
            self._places.put(None)

    @property
    def version(self) -> str:
        ocr = ocr_models.fingerprint(self._recognition)
        return f"{_OUTPUT_VERSION}-{metadata.version('docling-slim')}-ocr-{ocr}"

    @property
    def limits(self) -> Limits:
        return self._limits

    def detect(self, path: Path, filename: str) -> str:
        return detection.detect(path, filename, self._limits.expanded_bytes)

    def convert(
        self, path: Path, fmt: str, options: ConversionOptions, *, timeout: float, progress: Progress
    ) -> ConvertedDocument:
        if fmt not in detection.SUPPORTED:
            raise detection.unsupported("This file format is not supported.")
        request = Request(
            path=path.resolve(),
            format=fmt,
            options=options,
            limits=self._limits,
            recognition=self._recognition,
        )
        return self.run(request, timeout=timeout, progress=progress)

    def run(self, request: Request, *, timeout: float, progress: Progress) -> ConvertedDocument:
        """What a child makes of any request. Raises what `convert` raises, and ConverterUnavailable."""
        watch = _Watch(time.monotonic() + timeout, progress)
        with self._child(watch) as child:
            child.send(request)
            return self._result(child, watch)

    def ping(self, timeout: float) -> None:  # noqa: ARG002
        """Whether what children import is there at all."""
        if missing := [name for name in ("docling", "docling_parse") if find_spec(name) is None]:
            raise ConverterUnavailable(
                f"The package {missing[0]} is not installed: pip install -r requirements.txt"
            )

    def close(self) -> None:
        """Ends all children; conversions under way raise ConversionCrashed."""
        with self._lock:
            self._closed = True
            children = list(self._children)
        for child in children:
            child.kill()

    @contextmanager
    def _child(self, watch: _Watch) -> Iterator[_Child]:
        """A child for one conversion; whatever stopped it half-way, the next caller gets another."""
        held = self._wait_for_place(watch)
        try:
            held = self._alive(held)
            yield held
        finally:
            self._places.put(self._kept(held))

    def _wait_for_place(self, watch: _Watch) -> _Child | None:
        while True:
            try:
                return self._places.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                watch.check()

    def _alive(self, child: _Child | None) -> _Child:
        if child is not None:
            if child.running:
                return child
            self._drop(child)
        fresh = _Child()
        with self._lock:
            self._children.add(fresh)
            closed = self._closed
        if closed:
            self._drop(fresh)
            raise ConversionCrashed("The service is shutting down. The conversion starts anew later.")
        return fresh

    def _kept(self, child: _Child | None) -> _Child | None:
        """The child if it can go on. One that came near its limit is replaced: freed memory seldom goes
        back to the system."""
        if child is not None and child.idle and child.running and child.resident < self._memory / 2:
            return child
        self._drop(child)
        return None

    def _drop(self, child: _Child | None) -> None:
        if child is not None:
            child.kill()
            with self._lock:
                self._children.discard(child)

    def _result(self, child: _Child, watch: _Watch) -> ConvertedDocument:
        while True:
            answer = child.receive(_POLL_SECONDS)
            if answer is None or "progress" in answer:
                self._check_memory(child)
                watch.check(answer["progress"] if answer else None)
            elif "error" in answer:
                kind = _ERRORS.get(answer["error"]["code"], ConversionFailed)
                raise kind(answer["error"]["message"])
            else:
                return ConvertedDocument.model_validate(answer["document"])

    def _check_memory(self, child: _Child) -> None:
        if child.resident > self._memory:
            raise ConversionCrashed(
                "The converter ran out of memory on this file. Try a smaller version of it."
            )


class _Watch:
    """Deadline and progress of one conversion, in the caller's thread."""

    def __init__(self, deadline: float, progress: Progress) -> None:
        self._deadline = deadline
        self._progress = progress
        self._last = (0, 1)
        self._said_at = time.monotonic()

    def check(self, news: Sequence[int] | None = None) -> None:
        """`news`: pages done and in all. Raises TaskTimeout past the deadline, and what `progress` raises."""
        now = time.monotonic()
        if now >= self._deadline:
            raise TaskTimeout(
                "The conversion took too long. Raise TASK_TIMEOUT_SECONDS or split the document."
            )
        if news:
            self._last = (news[0], news[1])
        if news or now - self._said_at >= _CHECKPOINT_SECONDS:
            self._said_at = now
            self._progress(*self._last)


class _Child:
    """One process, the thread that reads its answers, and the thread that logs its stderr."""

    def __init__(self) -> None:
        self._folder = scratch.folder()
        self._process = self._start()
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.idle = True
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._log)]
        for thread in self._threads:
            thread.start()

    def _start(self) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "shared.providers.conversion.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=_environment(self._folder.name),
                cwd=self._folder.name,
                # Ctrl-C goes to a whole process group; whether a conversion ends is our caller's to say.
                start_new_session=True,
            )
        except OSError as error:
            self._folder.cleanup()
            raise ConversionCrashed("The converter could not be started. Try again later.") from error

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def resident(self) -> int:
        """Resident size in bytes; 0 when the process is gone."""
        import psutil

        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def send(self, request: Request) -> None:
        assert self._process.stdin
        self.idle = False
        try:
            self._process.stdin.write(request.model_dump_json() + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:  # it died, or `close` ended it
            raise ConversionCrashed from error

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """The next answer, or None when there is none within `timeout` seconds.

        Raises ConversionCrashed when the process has ended."""
        try:
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            return None
        if line is None:
            raise ConversionCrashed
        answer: dict[str, Any] = json.loads(line)
        crashed = answer.get("error", {}).get("code") == ConversionCrashed.code
        self.idle = "progress" not in answer and not crashed
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            _close(stream)
        self._folder.cleanup()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def _log(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            _log.debug("converter: %s", line.rstrip()[:500])


def _close(stream: Any) -> None:
    try:
        stream.close()
    except OSError:
        _log.debug("the converter's pipe was broken already")


def _environment(folder: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    search = os.pathsep.join((str(_APP_ROOT), *(entry for entry in sys.path if entry)))
    return {**kept, **_OFFLINE, "PYTHONPATH": search, "PYTHONUNBUFFERED": "1", "TMPDIR": folder}
