"""Shared access signatures: leave to put one blob, without a key of ours in the client's hands.

Signed with the account's key when there is one, else with a user delegation key, which the identity fetches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.tasks import utc_now

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient, UserDelegationKey

KEY_LIFE = timedelta(hours=24)
"""A delegation key may live seven days; a shorter one ends sooner what a lost one could sign."""
KEY_RESERVE = timedelta(hours=1)
"""A key that ends within this time signs nothing more: what it signed would end with it."""
CLOCK_SKEW = timedelta(minutes=5)
EMULATOR = "devstoreaccount1"


class DelegationKey:
    """The key of an identity, fetched by the first who needs it and again before it ends."""

    def __init__(self, fetch: Callable[[datetime, datetime], UserDelegationKey]) -> None:
        """`fetch`: asks the service for a key of that start and end."""
        self._fetch = fetch
        self._lock = threading.Lock()
        self._key: UserDelegationKey | None = None
        self._until: datetime | None = None

    def get(self, now: datetime) -> UserDelegationKey:
        with self._lock:
            if self._key is None or self._until is None or now > self._until - KEY_RESERVE:
                until = now + KEY_LIFE
                self._key, self._until = self._fetch(now - CLOCK_SKEW, until), until
            return self._key


class UploadSigner:
    """Signs uploads to the account of a client of the blob service."""

    def __init__(self, service: BlobServiceClient) -> None:
        self._service = service
        self._delegation = DelegationKey(service.get_user_delegation_key)

    def sign(self, container: str, name: str, until: datetime, *, blocks: bool) -> str:
        """The query of a URL that may create this blob and nothing else, until then; over TLS where there is
        TLS. Raises what the SDK raises when the identity gets no key.

        From service version 2026-04-06 on, the right to create covers blocks too; the emulator wants the
        right to write for them.
        """
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        account_key = getattr(self._service.credential, "account_key", None)
        write = blocks and self._service.account_name == EMULATOR
        return generate_blob_sas(
            str(self._service.account_name),
            container,
            name,
            account_key=account_key,
            user_delegation_key=None if account_key else self._delegation.get(utc_now()),
            permission=BlobSasPermissions(create=True, write=write),
            expiry=until,
            protocol="https" if self._service.url.startswith("https:") else None,
        )
