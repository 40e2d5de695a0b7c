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
        ({"WEBHOOK_RETRY_SECONDS": "5,x"}, "Example: WEBHOOK_RETRY_SECONDS=5,30,120,600"),
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
