"""API keys: `dm_{client}_{key id}_{secret}`. The client and id find the row, the secret proves the rest.

The secret is 256 random bits, so one SHA-256 keeps it as well as a slow hash would; it is compared in
constant time. Keys are remembered for 30 s, so a revocation holds everywhere within the promised 60.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import OrderedDict
from datetime import datetime

from shared.errors import Unauthorized
from shared.ports import ApiKey, KeyStore

_FORM = re.compile(r"^dm_([a-z0-9-]{3,40})_([0-9a-f]{12})_([0-9a-f]{64})$")
REMEMBER_SECONDS = 30.0
REMEMBER_KEYS = 10_000


def create_key(keys: KeyStore, client_id: str, now: datetime) -> tuple[str, ApiKey]:
    """A new key: its text, to be shown once, and the row that is kept."""
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    key = ApiKey(key_id=key_id, client_id=client_id, secret_hash=_hash(secret), created_at=now)
    keys.add(key)
    return f"dm_{client_id}_{key_id}_{secret}", key


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Authenticator:
    """Says which client a key belongs to."""

    def __init__(self, keys: KeyStore, remember: float = REMEMBER_SECONDS) -> None:
        self._keys = keys
        self._remember = remember
        self._known: OrderedDict[tuple[str, str], tuple[float, ApiKey | None]] = OrderedDict()
        self._lock = threading.Lock()

    def client_of(self, text: str | None) -> str:
        """Raises Unauthorized, in the same words whatever is wrong with the key."""
        client_id, key_id, secret = _parts(text)
        return _proven(self._find(client_id, key_id), secret)

    def remembered(self, text: str | None) -> str | None:
        """The same without a look at the store: None for a key that was not seen lately."""
        client_id, key_id, secret = _parts(text)
        with self._lock:
            until, key = self._known.get((client_id, key_id), (0.0, None))
        return _proven(key, secret) if until > time.monotonic() else None

    def _find(self, client_id: str, key_id: str) -> ApiKey | None:
        name, now = (client_id, key_id), time.monotonic()
        with self._lock:
            until, key = self._known.get(name, (0.0, None))
        if until > now:
            return key
        key = self._keys.get(client_id, key_id)
        with self._lock:
            self._known[name] = (now + self._remember, key)
            self._known.move_to_end(name)
            while len(self._known) > REMEMBER_KEYS:
                self._known.popitem(last=False)
        return key


def _parts(text: str | None) -> tuple[str, str, str]:
    form = _FORM.match(text or "")
    if form is None:
        raise Unauthorized
    client_id, key_id, secret = form.groups()
    return client_id, key_id, secret


def _proven(key: ApiKey | None, secret: str) -> str:
    expected = key.secret_hash if key else _hash("")
    proven = hmac.compare_digest(expected, _hash(secret))
    if key is None or not proven or key.revoked_at is not None:
        raise Unauthorized
    return key.client_id
