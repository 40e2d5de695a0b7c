"""Secrets of receivers, and the signatures that they make: Standard Webhooks 1.0.0.

A secret is `whsec_` and the base64 of 32 random bytes. It is kept encrypted by SECRETS_KEY.
"""

from __future__ import annotations

import base64
import secrets
from contextlib import suppress
from datetime import datetime, timedelta

from shared.errors import Unavailable
from shared.ports import RowChanged, Services
from shared.subscriptions import OVERLAP, Keyring


def client_keyring(services: Services, client_id: str) -> Keyring:
    """What signs for the `webhook_url` of a client's tasks, made on first use."""
    stored = services.secrets.get(client_id)
    if stored is None:
        keyring, _ = new_keyring(services)
        stored = services.secrets.add(client_id, keyring)
    return stored.value


def client_secret(services: Services, client_id: str) -> str:
    """The client's secret (`whsec_...`), made on first use."""
    return _decrypt(services, client_keyring(services, client_id).ciphertext)


def rotate_client_secret(
    services: Services, client_id: str, now: datetime, overlap: timedelta = OVERLAP
) -> str:
    """A new secret for the client. The one before signs too until the overlap is over."""
    client_keyring(services, client_id)
    while True:
        stored = services.secrets.get(client_id)
        if stored is None:
            return client_secret(services, client_id)
        keyring, secret = rotated(services, stored.value, now, overlap)
        try:
            services.secrets.save(client_id, stored, keyring)
        except RowChanged:
            continue
        return secret


def new_keyring(services: Services) -> tuple[Keyring, str]:
    """A keyring and its secret, which is not shown again."""
    secret = _new_secret()
    return Keyring(ciphertext=_encrypt(services, secret)), secret


def rotated(
    services: Services, keyring: Keyring, now: datetime, overlap: timedelta = OVERLAP
) -> tuple[Keyring, str]:
    """The keyring with a new secret, and that secret."""
    secret = _new_secret()
    return keyring.rotated(_encrypt(services, secret), now, overlap), secret


def headers(
    services: Services, keyring: Keyring, message_id: str, body: str, now: datetime
) -> dict[str, str]:
    """What goes with one attempt; a signature by every secret that is valid now.

    Raises Unavailable when SECRETS_KEY is missing, or is not what the secret in force was encrypted with.
    """
    from standardwebhooks.webhooks import Webhook as Signer

    secrets_now = _secrets(services, keyring, now)
    return {
        "content-type": "application/json",
        "user-agent": "Docmill-Webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Signer(secret).sign(message_id, now, body) for secret in secrets_now),
    }


def _secrets(services: Services, keyring: Keyring, now: datetime) -> list[str]:
    """The newest first. One that was replaced since SECRETS_KEY was lost cannot be read, and is left out."""
    in_force, *retired = keyring.signing(now)
    found = [_decrypt(services, in_force)]
    for ciphertext in retired:
        with suppress(Unavailable):
            found.append(_decrypt(services, ciphertext))
    return found


def check_key(services: Services) -> None:
    """Raises Unavailable when this service cannot sign."""
    _key(services)


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _encrypt(services: Services, secret: str) -> str:
    from cryptography.fernet import Fernet

    return Fernet(_key(services)).encrypt(secret.encode()).decode()


def _decrypt(services: Services, ciphertext: str) -> str:
    from cryptography.fernet import Fernet, InvalidToken

    try:
        return Fernet(_key(services)).decrypt(ciphertext.encode()).decode()
    except InvalidToken as error:
        raise Unavailable(
            "SECRETS_KEY is not the key that this webhook secret was encrypted with."
        ) from error


def _key(services: Services) -> str:
    key = services.settings.secrets_key
    if key is None:
        raise Unavailable("Webhooks cannot be signed: set SECRETS_KEY. `docmill secrets-key` makes one.")
    return key.get_secret_value()
