"""Before azd makes anything: are the values there that a deployment needs, and can they be right?

What the last deployment was given and this environment of azd does not know, as on another machine or in a
pipeline, is taken over. SECRETS_KEY is made when there is none yet. Plain Python, no packages.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

INFRA = Path(__file__).resolve().parents[1]
CLIENT_ID = re.compile(r"^(?=.{3,40}$)[a-z0-9]+(-[a-z0-9]+)*$")
"""As shared/settings.py has it, which needs packages. A test holds them equal."""

BOOLEANS = {"true", "True", "TRUE", "1", "false", "False", "FALSE", "0"}
SECRET = re.compile(r"(_KEY|_SECRET|_TOKEN|PASSWORD|CONNECTION_STRING)$", re.IGNORECASE)
"""How settings are called that are nobody's business. A test compares it with shared/settings.py."""
OURS = {"AZUREWEBJOBSSTORAGE", "CLIENT_ID", "CLIENT_IDS"}
"""The template sets them together with what it makes for them."""
NOT_ON_FLEX = {
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_MAX_HTTP_CONCURRENCY",
    "FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED",
    "FUNCTIONS_WORKER_PROCESS_COUNT",
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTOVERVNET",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_DNS_SERVER",
    "WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT",
    "WEBSITE_MOUNT_ENABLED",
    "WEBSITE_NODE_DEFAULT_VERSION",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_SKIP_CONTENTSHARE_VALIDATION",
    "WEBSITE_USE_PLACEHOLDER_DOTNETISOLATED",
    "WEBSITE_VNET_ROUTE_ALL",
}
"""What Flex Consumption has no use for: Azure refuses an app with some of them, and ignores others."""


def inputs() -> dict[str, tuple[str, str]]:
    """What azd takes from its environment: name -> type of the parameter, what it is when it is not set."""
    kinds = dict(re.findall(r"(?m)^param (\w+) (\w+)", _text("main.bicep")))
    parameters = json.loads(_text("main.parameters.json"))["parameters"]
    found = {}
    for parameter, given in parameters.items():
        name, _, default = given["value"].removeprefix("${").removesuffix("}").partition("=")
        found[name] = kinds[parameter], default
    return found


def _text(name: str) -> str:
    return (INFRA / name).read_text(encoding="utf-8")


def remembered(environ: Mapping[str, str]) -> dict[str, str]:
    """What the last deployment was given, and nobody has set here, not even to nothing."""
    known = inputs()
    given = json.loads(environ.get("DOCMILL_DEPLOYED_WITH") or "{}")
    return {
        name: str(value)
        for name, value in given.items()
        if name in known and name not in environ and str(value) not in {"", known[name][1]}
    }


def problems(environ: Mapping[str, str]) -> Iterator[str]:
    """What is missing or wrong, each with the command that mends it."""
    yield from _unreadable(environ)
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


def _unreadable(environ: Mapping[str, str]) -> Iterator[str]:
    """azd takes the default instead of a number or a yes that it cannot read, and says nothing."""
    for name, (kind, _) in inputs().items():
        value = environ.get(name, "")
        if '"' in value or "\\" in value:
            yield f"{name} has a quotation mark or a backslash, which azd cannot hand on."
        elif value and kind == "bool" and value not in BOOLEANS:
            yield f"{name}: {value[:20]!r} is neither true nor false."
        elif value and kind == "int" and not re.fullmatch("[0-9]{1,9}", value):
            yield f"{name}: {value[:20]!r} is no whole number."


def _more_settings(environ: Mapping[str, str]) -> Iterator[str]:
    for setting in filter(None, map(str.strip, environ.get("DOCMILL_SETTINGS", "").split(";"))):
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not equals or not re.fullmatch(r"[A-Za-z]\w*", name):
            yield f"DOCMILL_SETTINGS: {setting[:20]!r} is not NAME=value; semicolons separate several."
        elif name.upper() in NOT_ON_FLEX:
            yield f"DOCMILL_SETTINGS: {name} is not for this plan, Flex Consumption."
        elif name.upper().partition("__")[0] in OURS:
            yield f"DOCMILL_SETTINGS: {name} is set by the template. The clients: DOCMILL_CLIENT_IDS."
        elif SECRET.search(name) and not value.startswith("@Microsoft.KeyVault("):
            yield f"DOCMILL_SETTINGS: {name} is a secret: give @Microsoft.KeyVault(SecretUri=...) of it."


def _missing_secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """Later on they are in the Key Vault, and a deployment without them leaves them there."""
    if not environ.get("SUPABASE_KEY"):
        yield "SUPABASE_KEY is not set: azd env set SUPABASE_KEY sb_secret_..."
    if not environ.get("OPENAI_API_KEY") and not _is_true(environ, "DOCMILL_USE_AZURE_OPENAI"):
        yield "No models: azd env set OPENAI_API_KEY sk-..., or azd env set DOCMILL_USE_AZURE_OPENAI true"


def _is_true(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() in {"true", "1"}


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
    return _is_true(environ, "CI") or bool(environ.get("TF_BUILD"))


def keep(values: Mapping[str, str]) -> None:
    """In azd's environment, from where the deployment takes them after this hook."""
    for name, value in values.items():
        if subprocess.run([_azd(), "env", "set", name, value], check=False).returncode:
            raise SystemExit(f"`azd env set {name}` failed.")
        print(f"{name} is as it was at the last deployment: {value}")


def _azd() -> str:
    if (program := shutil.which("azd")) is None:
        raise SystemExit("azd is not on the PATH, and this hook keeps what it finds by `azd env set`.")
    return program


def keep_new_secrets_key() -> None:
    """By a file, not on a command line, where every user of the machine could read it."""
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "secrets.env"
        file.touch(mode=0o600)
        file.write_text(f'SECRETS_KEY="{key}"\n')
        if subprocess.run([_azd(), "env", "set", "--file", str(file)], check=False).returncode:
            raise SystemExit(
                "SECRETS_KEY could not be kept by `azd env set --file`: update azd, or set it yourself."
            )
    print("SECRETS_KEY was not set: a new one is in azd's environment and will be in the Key Vault.")
    print("Keep it where you keep passwords as well. Without it no webhook secret can be read.")


def main() -> None:
    before = remembered(os.environ)
    found = list(problems({**before, **os.environ}))
    if found:
        raise SystemExit("\n".join(["Docmill cannot be deployed like this:", *(f"- {one}" for one in found)]))
    keep(before)
    if _first(os.environ) and not os.environ.get("SECRETS_KEY"):
        keep_new_secrets_key()


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        raise SystemExit("Docmill's hooks need Python 3.11 or newer: put it first on the PATH.")
    main()
