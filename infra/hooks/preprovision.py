"""Before azd makes anything: are the values there that a deployment needs, and can they be right?

Makes SECRETS_KEY when there is none yet, and keeps it in azd's environment. Plain Python, no packages.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

CLIENT_ID = re.compile(r"^(?=.{3,40}$)[a-z0-9]+(-[a-z0-9]+)*$")
"""As shared/settings.py has it, which needs packages. A test holds them equal."""


def problems(environ: Mapping[str, str]) -> Iterator[str]:
    """What is missing or wrong, each with the command that mends it."""
    url = environ.get("SUPABASE_URL", "")
    if not url.startswith("https://"):
        yield "SUPABASE_URL is not set: azd env set SUPABASE_URL https://<project>.supabase.co"
    for client in _clients(environ):
        if not CLIENT_ID.match(client):
            yield (
                f"DOCMILL_CLIENT_IDS: {client[:50]!r} is not a client id: 3 to 40 of a-z, 0-9 and hyphen, "
                "no hyphen first, last or doubled."
            )
    if not _clients(environ):
        yield "DOCMILL_CLIENT_IDS names nobody: azd env set DOCMILL_CLIENT_IDS default,acme"
    if (key := environ.get("SECRETS_KEY")) and not _is_key(key):
        yield "SECRETS_KEY is not a key: 32 bytes in url-safe base64, the output of: docmill secrets-key"
    yield from _more_settings(environ)
    if _first(environ):
        yield from _missing_secrets(environ)


def _more_settings(environ: Mapping[str, str]) -> Iterator[str]:
    for setting in filter(None, map(str.strip, environ.get("DOCMILL_SETTINGS", "").split(";"))):
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not equals or not re.fullmatch(r"[A-Za-z]\w*", name):
            yield f"DOCMILL_SETTINGS: {setting[:20]!r} is not NAME=value; semicolons separate several."
        elif name.upper().endswith("_KEY") and not value.startswith("@Microsoft.KeyVault("):
            yield f"DOCMILL_SETTINGS: {name} is a secret: give @Microsoft.KeyVault(SecretUri=...) of it."


def _missing_secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """Later on they are in the Key Vault, and a deployment without them leaves them there."""
    if not environ.get("SUPABASE_KEY"):
        yield "SUPABASE_KEY is not set: azd env set SUPABASE_KEY sb_secret_..."
    if not environ.get("OPENAI_API_KEY") and environ.get("DOCMILL_USE_AZURE_OPENAI", "").lower() != "true":
        yield "No models: azd env set OPENAI_API_KEY sk-..., or azd env set DOCMILL_USE_AZURE_OPENAI true"


def _clients(environ: Mapping[str, str]) -> list[str]:
    named = environ.get("DOCMILL_CLIENT_IDS") or "default"
    return [part.strip() for part in named.split(",") if part.strip()]


def _is_key(text: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(text)) == 32
    except ValueError:
        return False


def _first(environ: Mapping[str, str]) -> bool:
    """Nothing was deployed yet, as far as this environment knows. A pipeline starts with an empty one."""
    return not environ.get("AZURE_KEY_VAULT_NAME") and not in_pipeline(environ)


def in_pipeline(environ: Mapping[str, str]) -> bool:
    return environ.get("CI", "").lower() in {"true", "1"} or bool(environ.get("TF_BUILD"))


def keep_new_secrets_key() -> None:
    """By a file, not on a command line, where every user of the machine could read it."""
    azd = shutil.which("azd")
    if azd is None:
        raise SystemExit("azd is not on the PATH. Set SECRETS_KEY to the output of: docmill secrets-key")
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "secrets.env"
        file.touch(mode=0o600)
        file.write_text(f'SECRETS_KEY="{key}"\n')
        if subprocess.run([azd, "env", "set", "--file", str(file)], check=False).returncode:
            raise SystemExit(
                "SECRETS_KEY could not be kept by `azd env set --file`: update azd, or set it yourself."
            )
    print("SECRETS_KEY was not set: a new one is in azd's environment and will be in the Key Vault.")
    print("Keep it where you keep passwords as well. Without it no webhook secret can be read.")


def main() -> None:
    found = list(problems(os.environ))
    if found:
        raise SystemExit("\n".join(["Docmill cannot be deployed like this:", *(f"- {one}" for one in found)]))
    if _first(os.environ) and not os.environ.get("SECRETS_KEY"):
        keep_new_secrets_key()


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        raise SystemExit("Docmill's hooks need Python 3.11 or newer: put it first on the PATH.")
    main()
