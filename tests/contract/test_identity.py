"""Storage by identity: who is asked for a token, what the services get, and what is said when they refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.problems import of_error
from local.azurite import ACCOUNT, KEY
from shared.core import Core
from shared.errors import StorageUnavailable
from shared.settings import read_settings
from shared.storage.credentials import NoToken, identity
from shared.tasks import TaskStatus, new_task
from tests.identity import AUDIENCE, OBJECT_ID, Account
from worker.storage import queue_service_of

ROOT = Path(__file__).parents[2]
CLIENT = "00000000-1111-2222-3333-444444444444"
RESOURCE = "/subscriptions/1/resourcegroups/x/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mill"
SCOPE = f"{AUDIENCE}/.default"
CREDENTIAL = "AzureWebJobsStorage__credential"


@pytest.fixture
def core(identity_account: Account) -> Iterator[Core]:
    with closing(Core(read_settings(identity_account.settings))) as made:
        yield made


def round_trip(core: Core) -> None:
    """A task row, a queue message and a blob there and back."""
    core.prepare()
    task = new_task("default", "ingestion", {"blob": "uploads/a.txt"}, datetime.now(UTC))
    row = core.tasks.insert(task)
    core.tasks.save(row, task.to(TaskStatus.CANCELLED, datetime.now(UTC)))
    found = core.tasks.get("default", task.task_id)
    assert found is not None and found.task.status is TaskStatus.CANCELLED

    core.queues.put("default-tasks", b"turn")
    (message,) = core.queues.receive("default-tasks")
    core.queues.delete("default-tasks", message)
    assert core.queues.depth("default-tasks") == 0

    core.blobs.put("default/uploads/a.txt", b"grain", "text/plain")
    assert core.blobs.read("default/uploads/a.txt") == b"grain"


class TestWhoIsAsked:
    def test_all_three_services_by_one_token(self, core: Core, identity_account: Account) -> None:
        round_trip(core)
        assert identity_account.faults == []
        assert all(gate.seen for gate in identity_account.gates.values())
        assert identity_account.tokens.asked == [{"api-version": "2019-08-01", "resource": AUDIENCE}]

    @pytest.mark.parametrize(
        ("settings", "environ", "asked"),
        [
            ({"AzureWebJobsStorage__clientId": CLIENT}, {}, {"client_id": CLIENT}),
            (
                {"AzureWebJobsStorage__managedIdentityResourceId": RESOURCE},
                {},
                {"mi_res_id": RESOURCE},
            ),
            ({CREDENTIAL: ""}, {}, {}),
            ({CREDENTIAL: ""}, {"AZURE_CLIENT_ID": CLIENT}, {"client_id": CLIENT}),
            ({}, {"AZURE_CLIENT_ID": CLIENT}, {}),
        ],
        ids=["client id", "resource id", "chain", "chain by the SDK's variable", "not by the SDK's variable"],
    )
    def test_the_identity_that_is_named(
        self,
        settings: dict[str, str],
        environ: dict[str, str],
        asked: dict[str, str],
        identity_account: Account,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        identity_account.tokens.known = {CLIENT, RESOURCE, None}
        with closing(Core(read_settings({**identity_account.settings, **settings}))) as core:
            core.queues.depth("default-tasks")
        (query,) = identity_account.tokens.asked
        assert {name: query[name] for name in ("client_id", "mi_res_id") if name in query} == asked
        assert identity_account.faults == []

    @pytest.mark.parametrize(
        ("suffix", "authority"),
        [
            ("core.windows.net", "login.microsoftonline.com"),
            ("core.usgovcloudapi.net", "login.microsoftonline.us"),
            ("core.chinacloudapi.cn", "login.chinacloudapi.cn"),
        ],
    )
    def test_a_service_principal_of_each_cloud(
        self, suffix: str, authority: str, identity_account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("IDENTITY_ENDPOINT")
        for name, value in identity_account.authority.environment.items():
            monkeypatch.setenv(name, value)
        addresses = {
            f"AzureWebJobsStorage__{service}ServiceUri": f"https://mydocs.{service}.{suffix}"
            for service in ("blob", "queue", "table")
        }
        with closing(identity(read_settings(addresses))) as found:
            assert found.get_token_info(SCOPE).token
        ((host, form),) = identity_account.authority.asked
        assert (host, form["scope"], form["client_id"]) == (authority, SCOPE, "a-service")

    def test_a_token_that_ends_soon_is_replaced(self, core: Core, identity_account: Account) -> None:
        identity_account.tokens.lifetime = 60  # less than the five minutes that the SDK keeps in hand
        for _ in range(3):
            core.queues.depth("default-tasks")
        assert len(identity_account.tokens.asked) == 3

    def test_every_listener_of_the_worker_by_one_token(self, identity_account: Account) -> None:
        settings = read_settings(identity_account.settings)
        other = {
            "Other__queueServiceUri": identity_account.gates["queue"].url,
            "Other__credential": "managedidentity",
        }
        for connection in ("AzureWebJobsStorage", "AzureWebJobsStorage", "Other"):
            with queue_service_of(connection, settings, other) as service:
                assert service.get_service_properties()
        assert len(identity_account.tokens.asked) == 1
        identity(settings).close()

    def test_a_closed_core_gives_its_identity_back(self, identity_account: Account) -> None:
        for _ in range(2):
            with closing(Core(read_settings(identity_account.settings))) as core:
                core.queues.depth("default-tasks")
        assert len(identity_account.tokens.asked) == 2


CALLS: list[tuple[str, Callable[[Core], Any]]] = [
    ("blob", lambda core: core.blobs.read("default/x")),
    ("blob", lambda core: core.blobs.info("default/x")),
    ("blob", lambda core: core.blobs.put("default/x", b"", "text/plain")),
    ("queue", lambda core: core.queues.put("default-tasks", b"turn")),
    ("queue", lambda core: core.queues.depth("default-tasks")),
    ("table", lambda core: core.tasks.get("default", "task-12345678")),
    (
        "table",
        lambda core: core.tasks.insert(new_task("default", "ingestion", {}, datetime.now(UTC))),
    ),
]
ROLES = {
    "blob": "Storage Blob Data Owner",
    "queue": "Storage Queue Data Contributor",
    "table": "Storage Table Data Contributor",
}


def advice(call: Callable[[], object]) -> str:
    """What the operator is told. What clients are told is never more than that storage is away."""
    with pytest.raises(StorageUnavailable) as caught:
        call()
    assert caught.value.message == StorageUnavailable.default
    assert caught.value.advice is not None
    assert caught.value.advice.encode() not in bytes(of_error(caught.value).body)
    for secret in (KEY, ACCOUNT, "127.0.0.1", "hunter2"):
        assert secret not in caught.value.advice
    return caught.value.advice


class TestRefusals:
    @pytest.mark.parametrize(("service", "call"), CALLS)
    def test_the_missing_role_is_named(
        self, service: str, call: Callable[[Core], Any], core: Core, identity_account: Account
    ) -> None:
        identity_account.gates[service].refusal = (403, "AuthorizationPermissionMismatch")
        assert f"Give it the role {ROLES[service]}" in advice(partial(call, core))
        assert len(identity_account.gates[service].seen) == 1  # asking again would not help

    @pytest.mark.parametrize(("service", "call"), CALLS)
    def test_a_firewall_is_no_missing_role(
        self, service: str, call: Callable[[Core], Any], core: Core, identity_account: Account
    ) -> None:
        identity_account.gates[service].refusal = (403, "AuthorizationFailure")
        told = advice(partial(call, core))
        assert "network rules" in told and ROLES[service] not in told

    @pytest.mark.parametrize(
        ("claims", "refusal"),
        [
            ({"aud": "https://vault.azure.net"}, None),
            ({"exp": 1}, None),
            ({}, (401, "InvalidAuthenticationInfo")),
        ],
    )
    def test_a_token_that_is_not_accepted(
        self,
        claims: dict[str, Any],
        refusal: tuple[int, str] | None,
        core: Core,
        identity_account: Account,
    ) -> None:
        identity_account.tokens.claims = claims
        for gate in identity_account.gates.values():
            gate.refusal = refusal
        for _, call in CALLS:
            assert "same tenant and the same cloud" in advice(partial(call, core))

    def test_azurite_reads_the_token_too(self, core: Core, identity_account: Account) -> None:
        identity_account.tokens.claims = {"iss": "https://sts.example.com/"}
        for _, call in CALLS:
            assert "does not accept the identity's token" in advice(partial(call, core))
        assert identity_account.faults == []

    def test_no_managed_identity(self, core: Core, identity_account: Account) -> None:
        identity_account.tokens.known = set()
        assert "Turn on the identity of the app" in advice(lambda: core.queues.depth("default-tasks"))
        assert len(identity_account.tokens.asked) == 1

    def test_nobody_to_be(self, identity_account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("IDENTITY_ENDPOINT")
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
        settings = read_settings({**identity_account.settings, CREDENTIAL: ""})
        with closing(Core(settings)) as core:
            assert "run `az login`" in advice(lambda: core.queues.depth("default-tasks"))

    def test_a_service_principal_that_is_refused(
        self, identity_account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in identity_account.authority.environment.items():
            monkeypatch.setenv(name, value)
        identity_account.authority.refusal = "AADSTS7000215"
        found = identity(read_settings({"AzureWebJobsStorage__accountName": "mydocs"}))
        with closing(found), pytest.raises(NoToken, match="AADSTS7000215") as caught:
            found.get_token_info(SCOPE)
        assert "hunter2" not in str(caught.value)

    def test_nobody_gives_tokens(
        self, free_port: int, identity_account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{free_port}/token")

        def told(credential: str) -> str:
            settings = read_settings({**identity_account.settings, CREDENTIAL: credential})
            with closing(Core(settings)) as core:
                return advice(lambda: core.queues.depth("default-tasks"))

        with ThreadPoolExecutor(2) as pool:  # the SDK tries for some seconds
            for text in pool.map(told, ("managedidentity", "")):
                assert "gives tokens does not answer" in text

    def test_a_wrong_key(self, identity_account: Account) -> None:
        connection = identity_account.connection_string.replace(KEY, "c2VjcmV0")
        with closing(Core(read_settings({"AzureWebJobsStorage": connection}))) as core:
            for _, call in CALLS:
                assert "the key is not the account's" in advice(partial(call, core))

    def test_an_account_that_takes_no_keys(self, identity_account: Account) -> None:
        endpoints = "".join(
            f"{name.title()}Endpoint={gate.url};" for name, gate in identity_account.gates.items()
        )
        connection = f"DefaultEndpointsProtocol=https;AccountName={ACCOUNT};AccountKey={KEY};{endpoints}"
        for gate in identity_account.gates.values():
            gate.refusal = (403, "KeyBasedAuthenticationNotPermitted")
        with closing(Core(read_settings({"AzureWebJobsStorage": connection}))) as core:
            for _, call in CALLS:
                assert "allows no access by key" in advice(partial(call, core))


class TestWhereItIsSaid:
    @pytest.mark.parametrize("service", ["blob", "queue", "table"])
    def test_readiness_names_the_role(self, service: str, core: Core, identity_account: Account) -> None:
        core.prepare()
        assert core.checks()["storage"] is None
        identity_account.gates[service].refusal = (403, "InsufficientAccountPermissions")
        assert ROLES[service] in (core.checks()["storage"] or "")

    def test_docmill_by_identity(self, identity_account: Account, tmp_path: Path) -> None:
        """The command line in a process of its own: it makes the storage, and the doctor names the role."""
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DOCMILL_")},
            **identity_account.settings,
            "DOCMILL_DATA_DIR": str(tmp_path),
        }
        made = docmill(environ, "keys", "create", "--client", "default")
        assert made.returncode == 0, made.stderr
        identity_account.gates["queue"].refusal = (403, "AuthorizationPermissionMismatch")
        examined = docmill(environ, "doctor", "--json")
        assert examined.stderr == ""
        found = json.loads(examined.stdout)["items"]
        states = {item["check"]: (item["state"], item["advice"]) for item in found}
        assert states["blob storage"] == states["table storage"] == states["keys of default"] == ("ok", "")
        assert states["queue storage"][0] == "wrong"
        assert "Give it the role Storage Queue Data Contributor" in states["queue storage"][1]
        assert identity_account.faults == []


def docmill(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def test_a_sas_by_the_identity_creates_one_blob_once(core: Core, identity_account: Account) -> None:
    """What uploads rest on: a user delegation key, and a signature by it that Azurite checks."""
    from azure.storage.blob import BlobSasPermissions, generate_blob_sas

    from shared.storage.accounts import blob_service

    core.prepare()
    now = datetime.now(UTC)
    with blob_service(core.settings) as service:
        key = service.get_user_delegation_key(now - timedelta(minutes=5), now + timedelta(minutes=15))
    assert key.signed_oid == OBJECT_ID
    name = "default/uploads/by-sas.txt"
    signature = generate_blob_sas(
        ACCOUNT,
        "docmill",
        name,
        user_delegation_key=key,
        permission=BlobSasPermissions(create=True),
        expiry=now + timedelta(minutes=15),
    )
    url = f"{identity_account.gates['blob'].url}/docmill/{name}?{signature}"
    headers = {"x-ms-blob-type": "BlockBlob"}
    core.blobs.delete(name)
    with httpx.Client(verify=identity_account.trust) as http:
        assert http.put(url, content=b"grain", headers=headers).status_code == 201
        assert http.put(url, content=b"chaff", headers=headers).status_code == 403
        assert http.get(url).status_code == 403
    assert core.blobs.read(name) == b"grain"
