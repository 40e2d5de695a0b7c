"""`docmill keys`, `webhook-secret`, `secrets-key`: written straight to storage, by the service's settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client import Misuse
from cli.config import config
from cli.output import note, print_json, print_table
from cli.tasks import AsJson

if TYPE_CHECKING:
    from shared.core import Core
    from shared.ports import ApiKey

keys = typer.Typer(no_args_is_help=True, help="API keys of a client.")
webhook_secret = typer.Typer(no_args_is_help=True, help="The secret that signs a client's webhooks.")

Client = Annotated[str, typer.Option("--client", metavar="NAME", help="The client.")]


@keys.command("create")
def create(context: typer.Context, client: Client, *, as_json: AsJson = False) -> None:
    """Make a key. It goes to stdout, this once; only its hash is kept."""
    from shared.keys import create_key
    from shared.tasks import utc_now

    with _core(context, client) as core:
        secret, key = create_key(core.keys, client, utc_now())
    if as_json:
        print_json({**_public(key), "key": secret})
    else:
        sys.stdout.write(f"{secret}\n")
        note(f"Key {key.key_id} of {client}. Keep it now: it is not shown again.")


@keys.command("list")
def list_keys(context: typer.Context, *, client: Client, as_json: AsJson = False) -> None:
    """List the keys of a client; never the keys themselves."""
    with _core(context, client) as core:
        found = [_public(key) for key in core.keys.of_client(client)]
    if as_json:
        print_json({"items": found, "next_cursor": None})
    else:
        members = ("key_id", "created_at", "revoked_at")
        print_table(("KEY", "CREATED", "REVOKED"), ([key[name] for name in members] for key in found))


@keys.command("revoke")
def revoke(
    context: typer.Context, key_id: Annotated[str, typer.Argument(metavar="KEY_ID")], client: Client
) -> None:
    """Take a key back. It stops working everywhere within 60 seconds."""
    from shared.tasks import utc_now

    with _core(context, client) as core:
        if not core.keys.revoke(client, key_id, utc_now()):
            raise Misuse(f"{client} has no key of that id. To see them: docmill keys list --client {client}")
    note(f"Revoked {key_id}. It stops working everywhere within 60 seconds.")


@webhook_secret.command("show")
def show(context: typer.Context, client: Client, *, as_json: AsJson = False) -> None:
    """Print the secret; it is made when there is none."""
    from shared.signing import client_secret

    with _core(context, client) as core:
        _print_secret(client, client_secret(core, client), as_json)


@webhook_secret.command("rotate")
def rotate(context: typer.Context, client: Client, *, as_json: AsJson = False) -> None:
    """Replace the secret and print the new one. The old one signs too for 24 hours."""
    from shared.signing import rotate_client_secret
    from shared.tasks import utc_now

    with _core(context, client) as core:
        _print_secret(client, rotate_client_secret(core, client, utc_now()), as_json)


def secrets_key() -> None:
    """Print a new key for the setting SECRETS_KEY."""
    from cryptography.fernet import Fernet

    sys.stdout.write(Fernet.generate_key().decode() + "\n")


def _print_secret(client: str, secret: str, as_json: bool) -> None:
    if as_json:
        print_json({"client_id": client, "secret": secret})
    else:
        sys.stdout.write(f"{secret}\n")


@contextmanager
def _core(context: typer.Context, client: str) -> Iterator[Core]:
    """The service's own parts, closed afterwards."""
    from shared.core import Core
    from shared.settings import CLIENT_ID, read_settings

    if not CLIENT_ID.match(client):
        raise Misuse("A client is 3 to 40 of a-z, 0-9 and hyphen, no hyphen first, last or doubled.")
    settings = read_settings(config(context).service())
    if client not in settings.client_ids:
        note(f"{client} is not in CLIENT_IDS: no queue of it is served until it is.")
    core = Core(settings)
    try:
        core.prepare()
        yield core
    finally:
        core.close()


def _public(key: ApiKey) -> dict[str, str | None]:
    shown: dict[str, str | None] = key.model_dump(mode="json", exclude={"secret_hash"})
    return {name: shown[name] for name in ("key_id", "client_id", "created_at", "revoked_at")}
