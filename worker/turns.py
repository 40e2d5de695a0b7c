"""Which of several workers runs a timer: one of them, once for each time that it is due.

A blob for each function in the container that the Functions host uses for the like. Its lease says who runs
the function now, its metadata when it ran last. A lease of one who died ends by itself.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared.settings import Settings

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobServiceClient

log = logging.getLogger(__name__)

CONTAINER = "azure-webjobs-hosts"
LEASE_SECONDS = 30
_COMPLAIN_EVERY = 60.0


class Turns:
    def __init__(self, service: BlobServiceClient, app: str) -> None:
        """`app`: what the workers that share the timers have in common, see `app_name`."""
        self._container, self._app = service.get_container_client(CONTAINER), app
        self._complained_at = -_COMPLAIN_EVERY

    def last(self, function: str) -> datetime | None:
        """When it ran last; None when that is not known."""
        with suppress(Exception):
            return _last(self._blob(function))
        return None

    @contextmanager
    def taken(self, function: str, due: datetime) -> Iterator[bool]:
        """Whether it is for us to run the function now, and to nobody else while this context lasts. Without
        storage it is not."""
        lease = self._lease(function, due)
        if lease is None:
            yield False
            return
        over = threading.Event()
        renewing = threading.Thread(target=_renew, args=(lease, over), daemon=True)
        renewing.start()
        try:
            yield True
        finally:
            over.set()
            renewing.join()
            _release(lease)

    def _lease(self, function: str, due: datetime) -> Any:
        from azure.core.exceptions import HttpResponseError

        try:
            blob = self._blob(function)
            lease = self._acquired(blob)
            last = _last(blob)
            if last is not None and last >= due:
                _release(lease)
                return None
            blob.set_blob_metadata({"last": datetime.now(UTC).isoformat()}, lease=lease)
        except HttpResponseError as error:
            if error.status_code != 409:  # somebody else runs it
                self._complain(function, error)
            return None
        except Exception as error:
            self._complain(function, error)
            return None
        return lease

    def _acquired(self, blob: BlobClient) -> Any:
        from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

        try:
            return blob.acquire_lease(lease_duration=LEASE_SECONDS)
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):
                self._container.create_container()
            with suppress(ResourceExistsError):
                blob.upload_blob(b"", overwrite=False)
            return blob.acquire_lease(lease_duration=LEASE_SECONDS)

    def _blob(self, function: str) -> BlobClient:
        return self._container.get_blob_client(f"docmill-timers/{self._app}/{function}")

    def _complain(self, function: str, error: Exception) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAIN_EVERY:
            self._complained_at = now
            reason = getattr(error, "error_code", None) or type(error).__name__
            log.warning("Timer %s is left out, whose turn it is cannot be told (%s)", function, reason)


def app_name(settings: Settings, environ: Mapping[str, str]) -> str:
    """Workers of the same clients are one app, as instances of one Function App are: what a timer does for
    other clients has to be done beside it. `AzureFunctionsWebHost__hostid` says it otherwise."""
    clients = ",".join(sorted(settings.client_ids))
    return environ.get("AzureFunctionsWebHost__hostid") or hashlib.sha256(clients.encode()).hexdigest()[:16]


def _last(blob: BlobClient) -> datetime | None:
    told = blob.get_blob_properties().metadata.get("last")
    return datetime.fromisoformat(told) if told else None


def _renew(lease: Any, over: threading.Event) -> None:
    while not over.wait(LEASE_SECONDS / 3):
        try:
            lease.renew()
        except Exception as error:
            log.warning("A timer's lease could not be renewed: %s", type(error).__name__)


def _release(lease: Any) -> None:
    with suppress(Exception):  # it ends by itself
        lease.release()
