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

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        *,
        headers: Any = None,
        data: Any = None,
        files: Any = None,
        **options: Any,
    ) -> Response:
        prepared = PreparedRequest()
        prepared.prepare(method, url, headers=headers, data=data, files=files)
        return self.send(prepared, **{**options, "proxies": {}})
