"""What a signed address allows, tried on Azurite; which key signs it, read from the address itself."""

from __future__ import annotations

import base64
import io
import ipaddress
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob import BlobServiceClient, UserDelegationKey
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from local.node import script
from shared.core import Core
from shared.errors import BlobNotFound
from shared.settings import read_settings
from shared.storage.blobs import AzureBlobStore
from shared.storage.signatures import KEY_LIFE, KEY_RESERVE, DelegationKey, UploadSigner

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
WHOLE = {"x-ms-blob-type": "BlockBlob"}
BLOCK = base64.b64encode(b"000000").decode()
LIST = f'<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>{BLOCK}</Latest></BlockList>'


@pytest.fixture(scope="module")
def core(azurite: str) -> Iterator[Core]:
    core = Core(read_settings({"AZURE_STORAGE_CONNECTION_STRING": azurite}))
    core.prepare()
    yield core
    core.close()


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as http:
        yield http


def address(core: Core, name: str, seconds: float = 900, *, blocks: bool = False) -> str:
    return core.blobs.grant_upload(f"acme/uploads/{name}", "text/plain", seconds, blocks=blocks).url


def test_one_blob_may_be_created_once_and_nothing_else(core: Core, http: httpx.Client) -> None:
    url = address(core, "once.txt")
    assert parse_qs(urlsplit(url).query)["sp"] == ["c"]
    assert http.put(url, content=b"first", headers=WHOLE).status_code == 201
    assert http.put(url, content=b"second", headers=WHOLE).status_code == 403
    assert http.get(url).status_code == 403
    assert http.delete(url).status_code == 403
    assert http.put(url + "&comp=metadata", headers={"x-ms-meta-a": "b"}).status_code == 403
    assert http.put(url.replace("once.txt", "other.txt"), content=b"x", headers=WHOLE).status_code == 403
    folder = url.replace("/once.txt", "").replace("/acme/uploads", "")
    assert http.get(folder + "&restype=container&comp=list").status_code == 403
    assert core.blobs.read("acme/uploads/once.txt") == b"first"


def test_a_snapshot_keeps_nothing_from_being_deleted(core: Core, http: httpx.Client) -> None:
    """Who may create a blob may take snapshots of it."""
    url = address(core, "kept.txt")
    assert http.put(url, content=b"x", headers=WHOLE).status_code == 201
    assert http.put(url + "&comp=snapshot").status_code == 201
    core.blobs.delete("acme/uploads/kept.txt")
    with pytest.raises(BlobNotFound):
        core.blobs.info("acme/uploads/kept.txt")


def test_a_file_in_the_archive_is_not_asked_for_again_and_again(core: Core, http: httpx.Client) -> None:
    url = address(core, "cold.txt")
    assert http.put(url, content=b"x", headers={**WHOLE, "x-ms-access-tier": "Archive"}).status_code == 201
    with pytest.raises(BlobNotFound, match="archive"):
        core.blobs.download("acme/uploads/cold.txt", io.BytesIO())


def test_an_address_ends(core: Core, http: httpx.Client) -> None:
    late = address(core, "late.txt", -1)
    assert http.put(late, content=b"x", headers=WHOLE).status_code == 403


def test_a_file_may_come_in_blocks(core: Core, http: httpx.Client) -> None:
    """The emulator wants the right to write for that; Azure does not, from service version 2026-04-06 on."""
    url = address(core, "blocks.txt", blocks=True)
    only_create = address(core, "blocks.txt")
    assert http.put(f"{only_create}&comp=block&blockid={BLOCK}", content=b"x").status_code == 403
    assert http.put(f"{url}&comp=block&blockid={BLOCK}", content=b"block").status_code == 201
    new = {"If-None-Match": "*", "x-ms-blob-content-type": "text/plain"}
    assert http.put(f"{url}&comp=blocklist", content=LIST, headers=new).status_code == 201
    assert http.put(f"{url}&comp=blocklist", content=LIST, headers=new).status_code == 409
    assert http.get(f"{url}&comp=blocklist").status_code == 403
    assert core.blobs.read("acme/uploads/blocks.txt") == b"block"
    assert core.blobs.info("acme/uploads/blocks.txt").content_type == "text/plain"


# --- by identity -------------------------------------------------------------------------------------------


def key_of(start: datetime, end: datetime) -> UserDelegationKey:
    """As the service would give it."""
    key = UserDelegationKey()
    key.signed_oid, key.signed_tid = "object", "tenant"
    key.signed_start, key.signed_expiry = f"{start:%Y-%m-%dT%H:%M:%SZ}", f"{end:%Y-%m-%dT%H:%M:%SZ}"
    key.signed_service, key.signed_version = "b", "2026-10-06"
    key.value = base64.b64encode(b"k" * 32).decode()
    return key


class Identity:
    """A credential whose tokens say what Azurite reads of one, signed by nobody."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": "https://sts.windows.net/11111111-2222-3333-4444-555555555555/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + 3600,
            "oid": "object",
            "tid": "tenant",
        }
        parts = ({"alg": "none", "typ": "JWT"}, claims, "unsigned")
        return AccessToken(".".join(map(_part, parts)), now + 3600)


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of 127.0.0.1, trusted by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    day = timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - day, datetime.now(UTC) + day)
    signed = made.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem, secret = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(signed.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pem, secret


@contextmanager
def azurite_by_identity(folder: Path, port: int) -> Iterator[AzureBlobStore]:
    """Blobs of an Azurite that speaks HTTPS and reads tokens."""
    pem, secret = certificate(folder)
    options = ["--oauth", "basic", "--cert", str(pem), "--key", str(secret), "--blobPort", str(port)]
    quiet = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(folder)]
    with subprocess.Popen([*script("azurite-blob"), *options, *quiet], stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            url, version = f"https://127.0.0.1:{port}/devstoreaccount1", "2026-06-06"
            with BlobServiceClient(
                url, Identity(), connection_verify=str(pem), api_version=version
            ) as service:
                store = AzureBlobStore(service)
                store.ensure()
                yield store
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < until, "Azurite did not start"
            time.sleep(0.05)
        else:
            return


def test_azurite_takes_what_a_delegation_key_signed(tmp_path: Path, free_port: int) -> None:
    with azurite_by_identity(tmp_path, free_port) as blobs:
        trust = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
        grant = blobs.grant_upload("acme/uploads/a b.txt", "text/plain", 900, blocks=False)
        query = parse_qs(urlsplit(grant.url).query)
        assert (query["skoid"], query["sp"], query["spr"]) == (["object"], ["c"], ["https"])
        with httpx.Client(trust_env=False, verify=trust) as http:
            assert http.put(grant.url, content=b"first", headers=grant.headers).status_code == 201
            assert http.put(grant.url, content=b"second", headers=grant.headers).status_code == 403
            assert http.get(grant.url).status_code == 403
        assert blobs.read("acme/uploads/a b.txt") == b"first"


class Delegating(BlobServiceClient):
    """The service's own client, answered without a service."""

    fetched = 0

    def get_user_delegation_key(self, *args: Any, **named: Any) -> UserDelegationKey:
        self.fetched += 1
        return key_of(*args[:2])


@pytest.mark.parametrize("blocks", [False, True])
def test_an_identity_signs_with_a_delegation_key(blocks: bool) -> None:
    with Delegating("https://account.blob.core.windows.net", Identity()) as service:
        signer = UploadSigner(service)
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=15)
        query = parse_qs(signer.sign("docmill", "acme/uploads/a.pdf", until, blocks=blocks))
        signer.sign("docmill", "acme/uploads/b.pdf", until, blocks=blocks)
        assert service.fetched == 1
    shown = {name: query[name][0] for name in ("sp", "sr", "spr", "skoid", "sktid", "sks", "se")}
    assert shown == {
        "sp": "c",
        "sr": "b",
        "spr": "https",
        "skoid": "object",
        "sktid": "tenant",
        "sks": "b",
        "se": f"{until:%Y-%m-%dT%H:%M:%SZ}",
    }
    assert query["sv"][0] >= "2026-04-06"  # from then on the right to create covers blocks
    assert query["ske"][0] > query["se"][0]


def test_an_account_key_signs_for_tls_only() -> None:
    with BlobServiceClient(
        "https://account.blob.core.windows.net", base64.b64encode(b"k").decode()
    ) as service:
        query = parse_qs(UploadSigner(service).sign("docmill", "a", NOW, blocks=True))
    assert (query["sp"], query["spr"]) == (["c"], ["https"])
    assert "skoid" not in query


def test_a_delegation_key_is_fetched_again_before_it_ends() -> None:
    asked: list[tuple[datetime, datetime]] = []

    def fetch(start: datetime, end: datetime) -> UserDelegationKey:
        asked.append((start, end))
        return key_of(start, end)

    key = DelegationKey(fetch)
    first = key.get(NOW)
    assert key.get(NOW + KEY_LIFE - KEY_RESERVE) is first
    assert key.get(NOW + KEY_LIFE - KEY_RESERVE + timedelta(seconds=1)) is not first
    assert [start < NOW + KEY_LIFE < end + KEY_LIFE for start, end in asked] == [True, True]
