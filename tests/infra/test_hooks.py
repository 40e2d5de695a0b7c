"""The hooks of azd, run as programs and against real services where they talk to any."""

from __future__ import annotations

import base64
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Timer

import psycopg
import pytest

from infra.hooks import postprovision, preprovision
from shared import settings
from shared.core import Core
from shared.keys import Authenticator, create_key
from shared.settings import read_settings
from shared.storage.supabase import SCHEMA_VERSION
from shared.tasks import utc_now
from tests.conftest import SupabaseService
from tests.identity import Account
from tests.infra.docmill import ROOT

GOOD = {
    "SUPABASE_URL": "https://project.supabase.co",
    "SUPABASE_KEY": "sb_secret_x",
    "OPENAI_API_KEY": "sk-x",
    "DOCMILL_CLIENT_IDS": "default,acme",
}
DEPLOYED = {
    "AZURE_ENV_NAME": "test",
    "AZURE_STORAGE_ACCOUNT": "stdocmill",
    "AZURE_KEY_VAULT_NAME": "kv-docmill",
    "DOCMILL_CLIENT_IDS": "default,acme",
    "DOCMILL_URL": "https://docmill.example.com",
}


# --- before ------------------------------------------------------------------------------------------------


def test_a_first_deployment_needs_secrets_and_a_later_one_does_not() -> None:
    assert list(preprovision.problems(GOOD)) == []
    (url, key, models) = preprovision.problems({})
    assert "SUPABASE_URL" in url and "SUPABASE_KEY" in key and "OPENAI_API_KEY" in models
    later = {"SUPABASE_URL": GOOD["SUPABASE_URL"], "AZURE_KEY_VAULT_NAME": "kv-docmill"}
    assert list(preprovision.problems(later)) == []
    in_pipeline = {"SUPABASE_URL": GOOD["SUPABASE_URL"], "CI": "true"}
    assert list(preprovision.problems(in_pipeline)) == []


def test_azure_openai_stands_for_a_key() -> None:
    with_account = {**GOOD, "OPENAI_API_KEY": "", "DOCMILL_USE_AZURE_OPENAI": "true"}
    assert list(preprovision.problems(with_account)) == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"DOCMILL_CLIENT_IDS": "ok-one,Not Legal"}, "'Not Legal' is not a client id"),
        ({"DOCMILL_CLIENT_IDS": " , "}, "names nobody"),
        ({"DOCMILL_SETTINGS": "LOG_LEVEL=DEBUG;OCR_LANGUAGE"}, "'OCR_LANGUAGE' is not NAME=value"),
        ({"DOCMILL_SETTINGS": "DOCLING_SERVE_API_KEY=hunter2"}, "DOCLING_SERVE_API_KEY is a secret"),
        ({"SECRETS_KEY": "short"}, "SECRETS_KEY is not a key"),
        ({"SUPABASE_URL": "project.supabase.co"}, "SUPABASE_URL is not set"),
    ],
)
def test_what_cannot_be_right_is_said_before_anything_is_made(changed: dict[str, str], problem: str) -> None:
    (found,) = preprovision.problems({**GOOD, **changed})
    assert problem in found


def test_a_client_id_is_one_for_the_hook_as_for_the_app() -> None:
    assert preprovision.CLIENT_ID.pattern == settings.CLIENT_ID.pattern


@pytest.fixture
def azd(tmp_path: Path) -> Path:
    """An azd that keeps what it was told, in `kept`."""
    program = tmp_path / "azd"
    program.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "env set --file" ] && cp "$4" {tmp_path}/kept\n')
    program.chmod(0o755)
    return tmp_path


def hook(name: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """As azd runs it: in the project's folder, with the values of its environment."""
    plain = {name: value for name, value in os.environ.items() if name in {"HOME", "LANG", "PATH"}}
    return subprocess.run(
        [sys.executable, f"infra/hooks/{name}.py"],
        env={**plain, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_secrets_key_is_made_once(azd: Path) -> None:
    path = f"{azd}{os.pathsep}{os.environ['PATH']}"
    done = hook("preprovision", **GOOD, PATH=path)
    assert done.returncode == 0, done.stderr
    match = re.fullmatch('SECRETS_KEY="(.{44})"\n', (azd / "kept").read_text())
    assert match is not None and len(base64.urlsafe_b64decode(match[1])) == 32
    assert read_settings({"SECRETS_KEY": match[1]}).secrets_key is not None
    assert match[1] not in done.stdout

    (azd / "kept").unlink()
    for known in ({"SECRETS_KEY": match[1]}, {"AZURE_KEY_VAULT_NAME": "kv-docmill"}, {"CI": "true"}):
        assert hook("preprovision", **GOOD, **known, PATH=path).returncode == 0
        assert not (azd / "kept").exists()


def test_a_deployment_that_cannot_work_does_not_begin() -> None:
    done = hook("preprovision")
    assert done.returncode == 1
    assert "azd env set SUPABASE_URL" in done.stderr


# --- after: the schema -------------------------------------------------------------------------------------


@pytest.fixture
def empty_database(supabase: SupabaseService) -> Iterator[str]:
    """A database of its own, without our schema."""
    with psycopg.connect(supabase.database_url, autocommit=True) as connection:
        connection.execute("drop database if exists hooked")
        connection.execute("create database hooked")
    yield re.sub(r"/[^/?]*(\?|$)", r"/hooked\1", supabase.database_url)
    with psycopg.connect(supabase.database_url, autocommit=True) as connection:
        connection.execute("drop database hooked")


def test_migrations_are_applied_and_may_be_again(empty_database: str) -> None:
    for _ in range(2):
        assert re.fullmatch(r"Supabase: \d+ migrations are applied\.", postprovision.migrate(empty_database))
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("select docmill_schema_version()").fetchone() == (SCHEMA_VERSION,)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql//postgres:hunter2@", "SUPABASE_DB_URL is no connection string"),
        ("postgresql://postgres:hunter2@127.0.0.1:1/postgres", "cannot be reached"),
    ],
)
def test_a_database_out_of_reach_is_a_failure_that_says_what_to_do(url: str, problem: str) -> None:
    with pytest.raises(postprovision.Failed, match=problem) as failed:
        postprovision.migrate(url)
    assert "hunter2" not in str(failed.value)


def test_a_migration_that_cannot_be_applied_is_named(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("drop role if exists hooked_reader")
        connection.execute("create role hooked_reader")
        try:
            with pytest.raises(
                postprovision.Failed, match=r"^\d+_tables\.sql could not be applied: "
            ) as failed:
                postprovision.migrate(f"{empty_database}?options=-c%20role%3Dhooked_reader")
        finally:
            connection.execute("drop role hooked_reader")
    assert "owns the schema" in str(failed.value)


# --- after: the keys ---------------------------------------------------------------------------------------


@pytest.fixture
def core(azurite: str) -> Iterator[Core]:
    given = {"AZURE_STORAGE_CONNECTION_STRING": azurite, "CLIENT_IDS": "hooked,hooked-too"}
    with closing(Core(read_settings(given))) as made:
        made.prepare()
        yield made
        for client in made.settings.client_ids:
            for key in made.keys.of_client(client):
                made.keys.revoke(client, key.key_id, utc_now())


def test_each_client_without_a_key_gets_one(core: Core, tmp_path: Path) -> None:
    create_key(core.keys, "hooked-too", utc_now())
    said: list[str] = []
    postprovision.first_keys(core, tmp_path / "env", "https://docmill.example.com", said.append)

    (file,) = (tmp_path / "env").iterdir()
    assert file.name == "docmill-hooked.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert lines["DOCMILL_URL"] == "https://docmill.example.com"
    assert Authenticator(core.keys).client_of(lines["DOCMILL_API_KEY"]) == "hooked"
    assert str(file) in said[0] and "has one" in said[1]
    assert lines["DOCMILL_API_KEY"] not in "".join(said)


def test_a_second_run_makes_no_second_key(core: Core, tmp_path: Path) -> None:
    for _ in range(2):
        postprovision.first_keys(core, tmp_path, "https://docmill.example.com", lambda _: None)
    for client in core.settings.client_ids:
        assert len([key for key in core.keys.of_client(client) if key.revoked_at is None]) == 1


@pytest.fixture
def by_identity(identity_account: Account) -> Iterator[Core]:
    with closing(Core(read_settings({**identity_account.settings, "CLIENT_IDS": "hooked"}))) as made:
        made.prepare()
        yield made


def test_a_new_role_is_waited_for(by_identity: Core, identity_account: Account) -> None:
    gate = identity_account.gates["table"]
    gate.refusal = (403, "AuthorizationPermissionMismatch")
    timer = Timer(0.5, gate.reset)
    timer.start()
    said: list[str] = []
    postprovision.await_storage(by_identity, "", patience=60, pause=0.1, say=said.append)
    timer.join()
    assert len(said) == 1 and "ten minutes" in said[0]


@pytest.mark.parametrize(
    ("code", "private", "advice"),
    [
        ("AuthorizationPermissionMismatch", "false", "role Storage Table Data Contributor on stdocmill"),
        ("AuthorizationFailure", "false", "network rules"),
        ("AuthorizationFailure", "true", "DOCMILL_ALLOWED_ADDRESSES"),
    ],
)
def test_storage_that_refuses_is_a_failure_that_says_what_to_do(
    by_identity: Core, identity_account: Account, code: str, private: str, advice: str
) -> None:
    identity_account.gates["table"].refusal = (403, code)
    words = postprovision.advice_on({**DEPLOYED, "DOCMILL_USE_VNET": private})
    with pytest.raises(postprovision.Failed, match=advice):
        postprovision.await_storage(by_identity, words, patience=0, pause=0.1, say=lambda _: None)


# --- after: as a program -----------------------------------------------------------------------------------


def test_a_pipeline_makes_no_key() -> None:
    done = hook("postprovision", **DEPLOYED, CI="true")
    assert done.returncode == 0, done.stderr
    assert "No API key is made" in done.stdout and "SUPABASE_DB_URL is not set" in done.stdout


def test_a_failure_ends_the_program_with_its_advice() -> None:
    done = hook(
        "postprovision",
        **{postprovision.OWN: "1", "SUPABASE_DB_URL": "postgresql://postgres:hunter2@127.0.0.1:1/postgres"},
        **DEPLOYED,
    )
    assert done.returncode == 1
    assert "The hook postprovision failed." in done.stderr and "azd hooks run postprovision" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_nobody_signed_in_is_a_failure_too() -> None:
    done = hook("postprovision", **DEPLOYED, AZURE_TOKEN_CREDENTIALS="prod", **{postprovision.OWN: "1"})
    assert done.returncode == 1
    assert "Storage cannot be used from here" in done.stderr and "azd auth login" in done.stderr


def test_the_hook_installs_what_is_pinned() -> None:
    wanted = postprovision.REQUIREMENTS[0].read_text().splitlines()[1:]
    pinned = {line.split("==")[0] for line in postprovision.REQUIREMENTS[1].read_text().splitlines()}
    assert {name.split("[")[0] for name in wanted} <= pinned
