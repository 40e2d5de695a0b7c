"""Blob Storage: one container, every name under its client's prefix."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

from shared.errors import BlobNotFound, DocumentChanged, StorageUnavailable, Unavailable
from shared.ports import BlobInfo, UploadGrant
from shared.storage.accounts import patience, storage_errors
from shared.storage.signatures import UploadSigner
from shared.tasks import utc_now

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient, ContainerClient

log = logging.getLogger(__name__)
CONTAINER = "docmill"
_ARCHIVED = "The file lies in the archive tier of storage. Upload it again, in the usual tier."
_QUOTE = '"'


class AzureBlobStore:
    """BlobStore on Blob Storage, and the lock that maintenance takes."""

    def __init__(self, service: BlobServiceClient) -> None:
        self._service = service
        self._container: ContainerClient = service.get_container_client(CONTAINER)
        self._signer = UploadSigner(service)

    def put(self, name: str, data: bytes | BinaryIO, content_type: str) -> BlobInfo:
        from azure.storage.blob import ContentSettings

        with _missing():
            blob = self._container.get_blob_client(name)
            written = blob.upload_blob(
                data,
                overwrite=True,
                content_settings=ContentSettings(content_type=content_type),
                **patience(),
            )
        size = len(data) if isinstance(data, bytes) else data.tell()
        return BlobInfo(name, size, written["etag"], content_type, written["last_modified"])

    def info(self, name: str) -> BlobInfo:
        with _missing():
            return _info(name, self._container.get_blob_client(name).get_blob_properties(**patience()))

    def read(self, name: str) -> bytes:
        with _missing():
            return bytes(self._container.download_blob(name, **patience()).readall())

    def download(
        self,
        name: str,
        file: BinaryIO,
        progress: Callable[[int, int], None] | None = None,
        etag: str | None = None,
    ) -> BlobInfo:
        """The SDK asks for each further range of the very ETag that the first one had."""
        from azure.core.exceptions import ResourceModifiedError

        try:
            with _missing():
                return self._download(name, file, progress, etag)
        except StorageUnavailable as error:
            if isinstance(error.__cause__, ResourceModifiedError):
                raise DocumentChanged from error
            if getattr(error.__cause__, "error_code", None) == "BlobArchived":
                raise BlobNotFound(_ARCHIVED) from error
            raise

    def _download(
        self, name: str, file: BinaryIO, progress: Callable[[int, int], None] | None, etag: str | None
    ) -> BlobInfo:
        stream = self._container.download_blob(name, **_only(etag), **patience())
        total, done = int(stream.size), 0
        for part in stream.chunks():
            file.write(part)
            done += len(part)
            if progress:
                progress(done, total)
        return _info(name, stream.properties)

    def grant_upload(self, name: str, content_type: str, seconds: float, *, blocks: bool) -> UploadGrant:
        blob = self._container.get_blob_client(name)
        until = utc_now().replace(microsecond=0) + timedelta(seconds=seconds)
        with _missing():
            query = self._signer.sign(CONTAINER, name, until, blocks=blocks)
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": content_type}
        return UploadGrant(f"{blob.url}?{query}", headers, until)

    def delete(self, name: str, etag: str | None = None) -> None:
        from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

        with _missing(), suppress(ResourceNotFoundError, ResourceModifiedError):
            # Who may put a blob may take snapshots of it too, and a blob with snapshots stays.
            self._container.delete_blob(name, delete_snapshots="include", **_only(etag), **patience())

    def below(self, prefix: str) -> list[BlobInfo]:
        with _missing():
            return [_info(blob.name, blob) for blob in self._container.list_blobs(name_starts_with=prefix)]

    def delete_all(self, prefix: str) -> int:
        with _missing():
            names = list(self._container.list_blob_names(name_starts_with=prefix))
        for name in names:
            self.delete(name)
        return len(names)

    def ensure(self) -> None:
        from azure.core.exceptions import ResourceExistsError

        try:
            with storage_errors():
                self._container.create_container()
        except ResourceExistsError:
            return

    def acquire(self, name: str, seconds: float) -> Callable[[], None] | None:
        """Lock by a blob lease: it ends by itself when we do not release it."""
        from azure.core.exceptions import HttpResponseError

        blob = self._container.get_blob_client(f".locks/{name}")
        try:
            with storage_errors():
                lease = self._leased(blob, int(min(60, max(15, seconds))))
        except HttpResponseError as error:
            if error.status_code == 409:
                return None
            raise Unavailable from error

        def release() -> None:
            try:
                with storage_errors():
                    lease.release()
            except HttpResponseError:
                log.info("A lock had ended before it was released.")

        return release

    def _leased(self, blob: Any, seconds: int) -> Any:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return blob.acquire_lease(lease_duration=seconds)
        except ResourceNotFoundError:  # for the first time
            self._touch(blob)
            return blob.acquire_lease(lease_duration=seconds)

    @staticmethod
    def _touch(blob: Any) -> None:
        from azure.core.exceptions import HttpResponseError, ResourceExistsError

        try:
            blob.upload_blob(b"", overwrite=False)
        except ResourceExistsError:
            return
        except HttpResponseError as error:
            if error.status_code not in {409, 412}:
                raise

    def close(self) -> None:
        self._service.close()


def _only(etag: str | None) -> dict[str, Any]:
    """Options of a call that is for this very version of a blob."""
    from azure.core import MatchConditions

    return {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}


def _info(name: str, properties: Any) -> BlobInfo:
    return BlobInfo(
        name=name,
        size=int(properties.size),
        etag=f'"{properties.etag.strip(_QUOTE)}"',  # a listing leaves the quotes out
        content_type=properties.content_settings.content_type,
        modified_at=properties.last_modified,
    )


@contextmanager
def _missing() -> Iterator[None]:
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    try:
        with storage_errors():
            yield
    except ResourceNotFoundError as error:
        raise BlobNotFound from error
    except HttpResponseError as error:
        raise StorageUnavailable("The file was changed while it was read.") from error
