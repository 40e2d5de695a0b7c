"""Tokens of the process's own identity (a managed identity, or whoever is logged in) for Azure OpenAI.

azure-identity keeps a token and gets another five minutes before its end. What it does not do: let one
thread ask while the others wait, and drop a token that a service refuses before its time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from shared.errors import ModelUnavailable

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

EARLY: Final = 300.0
"""Seconds before its end at which a token is replaced; one that lives shorter is used for half its life."""
PAUSE: Final = 60.0
"""Seconds between two tokens that are asked for because one was refused, or because asking failed."""

_SUFFIXES: Final = {".us": "us", ".cn": "cn"}
_NOTHING_CAME = (
    "Azure gave this app no token for Azure OpenAI. Turn on its managed identity (AZURE_CLIENT_ID names a "
    "user-assigned one) and grant it the role 'Cognitive Services OpenAI User', or set AZURE_OPENAI_API_KEY."
)


def scope_of(endpoint: str) -> str:
    """What a token for this endpoint must be made for: each cloud has its own."""
    host = (urlsplit(endpoint).hostname or "").lower()
    cloud = next((name for end, name in _SUFFIXES.items() if host.endswith(f".azure{end}")), "com")
    return f"https://cognitiveservices.azure.{cloud}/.default"


class Identity:
    """Threads may share one. azure-identity is imported on the first token."""

    def __init__(
        self, scope: str, client_id: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """`client_id`: of a user-assigned managed identity. `clock`: seconds since 1970."""
        self._scope = scope
        self._client_id = client_id
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: AccessToken | None = None
        self._renew_at = 0.0
        self._dropped_at = float("-inf")

    def token(self) -> str:
        """One that is good for now. Raises ModelUnavailable."""
        with self._lock:
            kept = self._kept
            if kept is None or self._clock() >= self._renew_at:
                kept = self._kept = self._renewed()
            return kept.token

    def drop(self, refused: str) -> bool:
        """Forgets a token that was refused; whether another is worth a try. Not more than once a minute:
        an identity without the role is refused with every token."""
        with self._lock:
            if self._kept is None or self._kept.token != refused:
                return True
            if self._clock() < self._dropped_at + PAUSE:
                return False
            self._kept, self._dropped_at = None, self._clock()
            return True

    def _renewed(self) -> AccessToken:
        """A token that still lives outlasts a failure to replace it."""
        now = self._clock()
        try:
            fetched = self._fetched()
        except ModelUnavailable:
            if self._kept is None or self._kept.expires_on <= now:
                raise
            self._renew_at = now + PAUSE
            return self._kept
        life = fetched.expires_on - now
        self._renew_at = now + max(life - EARLY, life / 2)
        return fetched

    def _fetched(self) -> AccessToken:
        """By a new credential each time: what one has cached may be the token that was refused."""
        from azure.core.exceptions import AzureError
        from azure.identity import DefaultAzureCredential

        options = {"connection_timeout": 5, "read_timeout": 20, "retry_total": 2}
        if self._client_id:
            options["managed_identity_client_id"] = self._client_id  # type: ignore[assignment]
        try:
            with DefaultAzureCredential(**options) as credential:
                return credential.get_token(self._scope)
        except (AzureError, ValueError) as error:
            raise ModelUnavailable(_NOTHING_CAME) from error
