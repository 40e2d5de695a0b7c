"""How the storage SDKs send: by a session of `requests` that adds nothing to a request.

What the SDK hands over is complete: quoted and signed, with time limits, and the SDK itself follows redirects
and retries. A usual session merges each request with headers, cookies, settings of its own and of the
environment, and a password from .netrc, which takes as long as to send it.
"""

from __future__ import annotations

from typing import Any

from requests import PreparedRequest, Response, Session


class PlainSession(Session):
    """For when the environment names no proxy."""

    def request(self, method: str, url: str, **options: Any) -> Response:  # type: ignore[override]
        prepared, given = PreparedRequest(), {name: options.pop(name, None) for name in _CONTENT}
        prepared.prepare(method, url, **given)
        return self.send(prepared, **{**options, "proxies": {}})


_CONTENT = ("headers", "data", "files")
