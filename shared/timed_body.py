"""Bodies of HTTP answers that are read only as long as there is time.

The read timeout of an HTTP client begins anew with every byte that arrives; this one does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from shared import deadline


def timed(http: ModuleType) -> Callable[[Any], None]:
    """A response hook for clients of `http`: httpx, or httpx2, which has the same interface."""

    def read(body: Any) -> Iterator[bytes]:
        for part in body.stream:
            if deadline.passed():
                raise http.ReadTimeout("the answer came too slowly")
            yield part

    # Their responses take subclasses of their own class alone.
    members = {"__iter__": read, "close": lambda body: body.stream.close()}
    kind = type("TimedBody", (http.SyncByteStream,), members)

    def hook(response: Any) -> None:
        body = kind()
        body.stream = response.stream
        response.stream = body

    return hook
