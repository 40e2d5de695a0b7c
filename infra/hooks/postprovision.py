"""After azd has made everything: the schema in Supabase, and a first API key for each client that has none.

Started by azd with any Python, it makes a virtual environment of its own and goes on there. A failure ends it
with one paragraph that says what to do; azd stops then, and `azd hooks run postprovision` tries again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection

    from shared.core import Core

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = (ROOT / "infra" / "hooks" / "requirements.txt", ROOT / "constraints.txt")
MIGRATIONS = ROOT / "supabase" / "migrations"
OWN = "DOCMILL_HOOK_VENV"
"""Set in the process that runs in the virtual environment."""
PATIENCE_SECONDS = 600.0
PAUSE_SECONDS = 15.0
NO_ROLE = {"AuthorizationPermissionMismatch", "InsufficientAccountPermissions"}

PRIVATE = """\
It is behind private endpoints, so this machine must be inside the network. Either
- run `azd hooks run postprovision` on a machine inside it, or joined to it by VPN, or
- let the address of this machine in: azd env set DOCMILL_ALLOWED_ADDRESSES 203.0.113.7, azd up again, or
- go on without keys: azd env set DOCMILL_FIRST_KEYS false, azd up again. Make them later, inside the network,
  with AzureWebJobsStorage__accountName={account} in the environment: docmill keys create --client {client}"""
PUBLIC = """\
You need the role Storage Table Data Contributor on {account}. The deployment gives it to AZURE_PRINCIPAL_ID,
so sign in as that account (azd auth login). Then: azd hooks run postprovision"""


class Failed(Exception):
    """The text says what to do."""


def migrate(url: str) -> str:
    """Applies supabase/migrations in their order, again without harm. Says what was done. Raises Failed."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its text repeats the string, with the password
        wanted = "postgresql://user:password@host:5432/postgres"
        raise Failed(f"SUPABASE_DB_URL is no connection string such as {wanted}") from None
    files = sorted(MIGRATIONS.glob("*.sql"))
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=20) as connection:
            for file in files:
                _apply(connection, file)
    except psycopg.OperationalError as error:
        raise Failed(
            f"The database of SUPABASE_DB_URL cannot be reached: {str(error).strip()}\n"
            "Take the connection string of the session pooler from the page of the project: the direct one "
            "may need IPv6. Then: azd hooks run postprovision"
        ) from error
    return f"Supabase: {len(files)} migrations are applied."


def _apply(connection: Connection, file: Path) -> None:
    import psycopg

    try:
        connection.execute(file.read_bytes())
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise Failed(
            f"{file.name} could not be applied: {str(error).strip()}\n"
            "Connect as the user that owns the schema (postgres). See docs/supabase.md. "
            "Then: azd hooks run postprovision"
        ) from error


def first_keys(core: Core, folder: Path, url: str, say: Callable[[str], None] = print) -> None:
    """A key for each client that has none that works, each in a file that only its owner can read."""
    for client in core.settings.client_ids:
        if any(key.revoked_at is None for key in core.keys.of_client(client)):
            say(f"Keys: {client} has one.")
        else:
            file = _keep_key(core, client, folder / f"docmill-{client}.env", url)
            say(f"Keys: {client} has a first one. Use it: docmill --env-file {file} documents")


def _keep_key(core: Core, client: str, file: Path, url: str) -> Path:
    """The file first: a key that could not be kept would be nobody's."""
    from shared.keys import create_key
    from shared.tasks import utc_now

    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as kept:
        secret, _ = create_key(core.keys, client, utc_now())
        kept.write(f"DOCMILL_URL={url}\nDOCMILL_API_KEY={secret}\n")
    return file


def await_storage(
    core: Core,
    advice: str,
    *,
    patience: float = PATIENCE_SECONDS,
    pause: float = PAUSE_SECONDS,
    say: Callable[[str], None] = print,
) -> None:
    """Returns when the keys can be read: a role that was given a moment ago does not hold yet. Raises Failed,
    with `advice`, when waiting does not help."""
    from shared.errors import StorageUnavailable

    until, told = time.monotonic() + patience, False
    while True:
        try:
            core.keys.of_client(core.settings.client_ids[0])
        except StorageUnavailable as error:
            code = str(getattr(error.__cause__, "error_code", "") or "")
            if code not in NO_ROLE or time.monotonic() > until:
                cause = error.advice or error.message
                raise Failed(f"Storage cannot be used from here: {cause}\n{advice}") from error
            if not told:
                say("The role for storage does not hold yet. That takes up to ten minutes: waiting.")
            told = True
            time.sleep(pause)
        else:
            return


def advice_on(environ: Mapping[str, str]) -> str:
    account, client = environ["AZURE_STORAGE_ACCOUNT"], environ["DOCMILL_CLIENT_IDS"].split(",")[0]
    advice = PRIVATE if is_true(environ, "DOCMILL_USE_VNET") else PUBLIC
    return advice.format(account=account, client=client)


def is_true(environ: Mapping[str, str], name: str, default: str = "false") -> bool:
    return (environ.get(name) or default).lower() in {"true", "1"}


def wants_keys(environ: Mapping[str, str]) -> bool:
    return is_true(environ, "DOCMILL_FIRST_KEYS", "true") and not is_true(environ, "CI")


def run(environ: Mapping[str, str]) -> None:
    """All of it. Raises Failed."""
    if database := environ.get("SUPABASE_DB_URL"):
        print(migrate(database))
    else:
        print("SUPABASE_DB_URL is not set: the schema in Supabase is left as it is. See docs/supabase.md.")
    if not wants_keys(environ):
        print("No API key is made (DOCMILL_FIRST_KEYS, or a pipeline, whose log is no place for one).")
        return
    from shared.core import Core
    from shared.settings import read_settings

    account = {"AzureWebJobsStorage__accountName": environ["AZURE_STORAGE_ACCOUNT"]}
    core = Core(read_settings({**account, "CLIENT_IDS": environ["DOCMILL_CLIENT_IDS"]}))
    try:
        await_storage(core, advice_on(environ))
        first_keys(core, ROOT / ".azure" / environ["AZURE_ENV_NAME"], environ["DOCMILL_URL"])
    finally:
        core.close()


def interpreter() -> Path:
    """Of the virtual environment, which is made when there is none for these requirements. Raises Failed."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    content = version.encode() + b"".join(path.read_bytes() for path in REQUIREMENTS)
    folder = ROOT / ".local" / f"hooks-{hashlib.sha256(content).hexdigest()[:12]}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = folder / "ready"
    if not ready.exists():
        print("Installing what the hook needs (once, half a minute)")
        try:
            venv.create(folder, clear=True, with_pip=True)
        except subprocess.CalledProcessError as error:
            raise Failed(
                "Python makes no virtual environment here. On Debian: apt install python3-venv"
            ) from error
        requirements, constraints = map(str, REQUIREMENTS)
        command = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            requirements,
            "-c",
            constraints,
        ]
        if subprocess.run(command, check=False).returncode:
            raise Failed("The packages of the hook could not be installed: see above.")
        ready.touch()
    return python


def main() -> int:
    if OWN in os.environ:
        sys.path.insert(0, str(ROOT))
        for name in ("azure", "shared.storage.refusals"):  # what they would log, the failure says in a line
            logging.getLogger(name).addHandler(logging.NullHandler())
        run(os.environ)
        return 0
    if not (os.environ.get("SUPABASE_DB_URL") or wants_keys(os.environ)):
        run(os.environ)
        return 0
    # Whoever deploys is signed in as a developer, also on a machine that has an identity of its own.
    environ = {"AZURE_TOKEN_CREDENTIALS": "dev", **os.environ, OWN: "1"}
    return subprocess.run([str(interpreter()), __file__], env=environ, check=False).returncode


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        raise SystemExit("Docmill's hooks need Python 3.11 or newer: put it first on the PATH.")
    try:
        sys.exit(main())
    except Failed as failed:
        sys.exit(f"\nThe hook postprovision failed.\n{failed}")
