"""Settings: every one with a default that holds, each wrong one refused in one line."""

from __future__ import annotations

import pytest

from shared.settings import SettingsError, read_settings, trigger_clients


def test_nothing_set_is_a_working_set_of_defaults() -> None:
    settings = read_settings({})
    assert settings.client_ids == ("default",)
    assert settings.provider == "local"
    assert settings.task_max_attempts == 5


@pytest.mark.parametrize(
    ("environ", "clients"),
    [
        ({"CLIENT_ID": "acme"}, ("acme",)),
        ({"CLIENT_ID": "acme", "CLIENT_IDS": "beta, gamma"}, ("beta", "gamma")),
        ({"CLIENT_IDS": "", "CLIENT_ID": "acme"}, ("acme",)),
        ({"CLIENT_IDS": "acme,beta", "TASK_TRIGGER_CLIENTS": "beta"}, ("beta",)),
        ({"CLIENT_IDS": "acme,beta", "TASK_TRIGGER_CLIENTS": ""}, ()),
    ],
)
def test_which_clients_get_a_trigger(environ: dict[str, str], clients: tuple[str, ...]) -> None:
    assert trigger_clients(environ) == clients


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"CLIENT_IDS": "a"}, "CLIENT_IDS: 'a' is not a client id"),
        ({"CLIENT_IDS": "x" * 41}, "3 to 40 of"),
        ({"CLIENT_IDS": "ac--me"}, "doubled"),
        ({"CLIENT_IDS": "acme,acme"}, "CLIENT_IDS: a client is named twice"),
        ({"TASK_TRIGGER_CLIENTS": "beta"}, "TASK_TRIGGER_CLIENTS names 'beta', which is not in CLIENT_IDS"),
        ({"TASK_MAX_ATTEMPTS": "0"}, "Example: TASK_MAX_ATTEMPTS=5"),
        ({"TASK_LEASE_SECONDS": "soon"}, "Example: TASK_LEASE_SECONDS=60"),
        ({"WEBHOOK_ALLOW_HTTP": "perhaps"}, "Example: WEBHOOK_ALLOW_HTTP=false"),
        ({"MODEL_PROVIDER": "magic"}, "MODEL_PROVIDER: Input should be 'openai' or 'local'"),
        ({"SUPABASE_URL": "project.supabase.co"}, "SUPABASE_URL: a URL begins with https://"),
        ({"MAINTENANCE_SCHEDULE": "* * * * *"}, "six fields"),
        (
            {"WEBHOOK_RETRY_SECONDS": "5,x"},
            "Example: WEBHOOK_RETRY_SECONDS=5,300,1800,7200,18000,36000,36000",
        ),
        ({"AzureWebJobsStorage": "banana"}, "AZURE_STORAGE_CONNECTION_STRING: it is not"),
        ({"SECRETS_KEY": "short"}, "SECRETS_KEY: "),
        ({"DOCLING_PIPELINE": "best"}, "Example: DOCLING_PIPELINE=native"),
        ({"DOCLING_PIPELINE": "remote"}, "Example: DOCLING_SERVE_URL=https://"),
        ({"DOCLING_SERVE_URL": "docling:5001"}, "DOCLING_SERVE_URL: a URL begins with https://"),
    ],
)
def test_a_wrong_setting_is_one_line_with_an_example(environ: dict[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(environ)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_secret_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"SECRETS_KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_secrets_do_not_show_themselves() -> None:
    settings = read_settings({"OPENAI_API_KEY": "sk-hunter2", "SUPABASE_KEY": "hunter2"})
    assert "hunter2" not in repr(settings)
    assert settings.provider == "openai"


def test_names_are_found_in_any_case() -> None:
    assert read_settings({"AZUREWEBJOBSSTORAGE__ACCOUNTNAME": "docs"}).storage_account_name == "docs"


BLOB, QUEUE, TABLE = (f"AzureWebJobsStorage__{service}ServiceUri" for service in ("blob", "queue", "table"))
NAME = {"AzureWebJobsStorage__accountName": "mydocs"}
CREDENTIAL = {"AzureWebJobsStorage__credential": "managedidentity"}
CLIENT = {"AzureWebJobsStorage__clientId": "00000000-1111-2222-3333-444444444444"}
RESOURCE = {"AzureWebJobsStorage__managedIdentityResourceId": "/subscriptions/1/resourceGroups/x"}


def addresses(suffix: str = "core.windows.net", **changed: str) -> dict[str, str]:
    made = {name: f"https://mydocs.{name[21:-10]}.{suffix}" for name in (BLOB, QUEUE, TABLE)}
    return {**made, **{f"AzureWebJobsStorage__{name}ServiceUri": uri for name, uri in changed.items()}}


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"AzureWebJobsStorage__accountName": "https://x"}, "accountName: it is not an account's name"),
        ({"AzureWebJobsStorage__accountName": "My-Docs"}, "Example: AzureWebJobsStorage__accountName=mydocu"),
        (addresses(blob="http://127.0.0.1:10000/devstoreaccount1"), "blobServiceUri: the address of a stor"),
        (addresses(blob="mydocs.blob.core.windows.net"), "begins with https://"),
        (addresses(queue="https://mydocs.blob.core.windows.net"), "it is the address of the blob service"),
        (addresses(table="https://mydocs.table.core.windows.net?sig=hunter2"), "leave out SAS and key"),
        (addresses(table="https://mydocs.table.core.chinacloudapi.cn"), "belong to different clouds"),
        ({BLOB: addresses()[BLOB], QUEUE: addresses()[QUEUE]}, f"{TABLE}: is not set, but {BLOB} is"),
        ({**addresses(), **NAME}, f"{BLOB}: AzureWebJobsStorage__accountName is set too"),
        ({**NAME, "AzureWebJobsStorage": "UseDevelopmentStorage=true"}, "a connection string is set too"),
        ({**CREDENTIAL, "AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"}, "Unset it"),
        (CREDENTIAL, "AzureWebJobsStorage__accountName: is not set, but AzureWebJobsStorage__credential is"),
        ({**NAME, "AzureWebJobsStorage__credential": "secret"}, "credential: it may only be managedidentity"),
        ({**NAME, **CLIENT}, "AzureWebJobsStorage__clientId: needs AzureWebJobsStorage__credential=managed"),
        ({**NAME, **RESOURCE}, "managedIdentityResourceId: needs AzureWebJobsStorage__credential=managed"),
        ({**NAME, **CREDENTIAL, **CLIENT, **RESOURCE}, "clientId: AzureWebJobsStorage__managedIdentityResou"),
        ({**NAME, **CREDENTIAL, "AzureWebJobsStorage__clientId": "docmill"}, "which is a UUID"),
        (
            {**NAME, "AZURE_AUTHORITY_HOST": "http://login.example.com"},
            "HOST: tokens are asked for by https",
        ),
    ],
)
def test_halves_of_an_account_that_do_not_fit_are_refused(environ: dict[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(environ)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "environ",
    [
        NAME,
        addresses(),
        addresses(blob="https://docs.example.com/", queue="https://queues.example.com"),
        {**NAME, "AzureWebJobsStorage__credential": "ManagedIdentity", **CLIENT},
        {**addresses(), **CREDENTIAL, **RESOURCE},
        {**NAME, "AzureWebJobsStorage": "", BLOB: ""},
    ],
)
def test_an_account_by_identity(environ: dict[str, str]) -> None:
    settings = read_settings(environ)
    assert settings.azure_storage_connection_string is None
    assert settings.storage_credential in {None, "managedidentity"}


def test_another_connection_needs_the_services_that_it_is_for() -> None:
    settings = read_settings({QUEUE: addresses()[QUEUE]}, services=["queue"])
    assert settings.storage_queue_uri == "https://mydocs.queue.core.windows.net"


@pytest.mark.parametrize(
    ("environ", "authority"),
    [
        (NAME, None),
        (addresses(), "login.microsoftonline.com"),
        (addresses("core.usgovcloudapi.net"), "login.microsoftonline.us"),
        (addresses("core.chinacloudapi.cn"), "login.chinacloudapi.cn"),
        (addresses(blob="https://b.example.com"), "login.microsoftonline.com"),
        ({**addresses(), "AZURE_AUTHORITY_HOST": "login.example.com"}, "login.example.com"),
    ],
)
def test_tokens_come_from_the_cloud_of_the_account(environ: dict[str, str], authority: str | None) -> None:
    assert read_settings(environ).authority == authority
