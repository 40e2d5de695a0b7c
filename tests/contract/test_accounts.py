"""How requests to an account leave us, by what the environment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.settings import read_settings
from shared.storage.accounts import table_service
from tests.answering import serving

ACCOUNT = "TableEndpoint=http://storage.example.test;SharedAccessSignature=sv=2020-12-06&sig=abc%3D"


@pytest.mark.parametrize("bypassed", ["", "core.windows.net,localhost", "windows.net"])
def test_an_account_of_any_host_is_reached_by_the_proxy(
    monkeypatch: pytest.MonkeyPatch, bypassed: str
) -> None:
    """Unless NO_PROXY names that host: accounts have names of their own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with serving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", bypassed)
        proxy.on("GET http://storage.example.test/Tables", (200, {"value": []}))
        with table_service(read_settings({"AZURE_STORAGE_CONNECTION_STRING": ACCOUNT})) as service:
            assert list(service.list_tables()) == []
    assert len(proxy.requests) == 1


def test_what_the_sdk_has_signed_is_sent_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A usual session would put a password from .netrc in place of the signature."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving() as storage:
        storage.on("GET /Tables", (200, {"value": []}))
        account = f"AccountName=ours;AccountKey=a2V5;TableEndpoint={storage.url}"
        with table_service(read_settings({"AZURE_STORAGE_CONNECTION_STRING": account})) as service:
            assert list(service.list_tables()) == []
    ((_, headers, _),) = storage.requests
    assert headers["Authorization"].startswith("SharedKey")
