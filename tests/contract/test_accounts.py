"""How requests to an account leave us, by what the environment says."""

from __future__ import annotations

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
