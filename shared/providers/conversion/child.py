"""The process that converts. It reads one request per line on stdin and answers in lines on stdout.

    request   <Request>
    answers   {"progress": [done, total]} ...  then one of
              {"document": <ConvertedDocument>}
              {"error": {"code", "message"}}

It holds no secret and no network switch is on. It ends when stdin does, also in the middle of a conversion:
that is how it never outlives its parent.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from shared.documents import ConvertedDocument
from shared.errors import ConversionCrashed, ConversionFailed, DocmillError
from shared.providers.conversion.formats import IMAGES
from shared.providers.conversion.request import Request

_log = logging.getLogger(__name__)


def main() -> None:
    answers = _take_stdout()
    for request in _requests():
        _kill_at_end_of_stdin(True)
        outcome = _outcome(request, lambda done, total: _answer(answers, {"progress": [done, total]}))
        _kill_at_end_of_stdin(False)
        _answer(answers, outcome)


def _take_stdout() -> TextIO:
    """The answers' stream. What native code prints goes to stderr, so that it cannot break a line of ours."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _requests() -> Iterator[Request]:
    """Requests as they come. A thread reads them, so that the end of stdin is seen at any time."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    while True:
        yield Request.model_validate_json(lines.get())


def _read(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def _kill_at_end_of_stdin(on: bool) -> None:
    """Has the kernel do it, where it can (Linux): the thread above waits while native code holds the GIL.

    During a conversion nothing is written to stdin, so any event on it is its end.
    """
    set_signal = getattr(fcntl, "F_SETSIG", None)
    if set_signal is None:
        return
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, set_signal, signal.SIGKILL)
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_ASYNC if on else flags & ~os.O_ASYNC)


def _answer(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _outcome(request: Request, progress: Callable[[int, int], None]) -> dict[str, Any]:
    try:
        return {"document": _convert(request, progress).model_dump(mode="json")}
    except DocmillError as error:
        _log.debug("refused", exc_info=True)
        return _error(error)
    except MemoryError:
        return _error(ConversionCrashed())
    except Exception:
        _log.exception("conversion failed")
        return _error(ConversionFailed())


def _error(error: DocmillError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.message}}


def _convert(request: Request, progress: Callable[[int, int], None]) -> ConvertedDocument:
    path, fmt = request.path, request.format
    if request.reader != "native":
        return _other_reader(request, progress)
    if fmt == "pdf":
        from shared.providers.conversion import pdf

        return pdf.convert(request, progress)
    if fmt in IMAGES:
        from shared.providers.conversion import images

        return images.convert(request, progress)
    if fmt in {"txt", "csv"}:
        from shared.providers.conversion import plain

        return plain.convert(path, fmt, request.limits)
    if fmt in {"eml", "msg", "mhtml"}:
        from shared.providers.conversion import mail

        return mail.convert(request, lambda attached: _convert(attached, lambda _done, _total: None))
    from shared.providers.conversion import declarative

    return declarative.convert(path, fmt, request.limits)


def _other_reader(request: Request, progress: Callable[[int, int], None]) -> ConvertedDocument:
    if request.reader == "standard":
        from shared.providers.conversion import standard

        return standard.convert(request, progress)
    if request.reader == "count":
        from shared.providers.conversion import page_count

        return page_count.convert(request)
    from shared.providers.conversion import served

    return served.convert(request)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    main()
