"""API keys: made, remembered for a while, revoked."""

from __future__ import annotations

import time

import pytest

from shared.errors import Unauthorized
from shared.keys import Authenticator, create_key
from shared.storage.memory import MemoryKeyStore
from shared.tasks import utc_now


def test_a_key_opens_its_clients_door_alone() -> None:
    keys = MemoryKeyStore()
    text, key = create_key(keys, "acme-one", utc_now())
    assert Authenticator(keys).client_of(text) == "acme-one"
    assert text.startswith(f"dm_acme-one_{key.key_id}_")
    assert text.rsplit("_", 1)[1] not in key.model_dump_json()


@pytest.mark.parametrize(
    "change", [str.upper, lambda text: text[:-1], lambda text: text + "0", lambda _: "", lambda _: None]
)
def test_anything_else_is_refused_in_the_same_words(change: object) -> None:
    keys = MemoryKeyStore()
    text, _ = create_key(keys, "acme", utc_now())
    with pytest.raises(Unauthorized) as caught:
        Authenticator(keys).client_of(change(text))  # type: ignore[operator]
    assert caught.value.message == Unauthorized.default


def test_a_key_cannot_be_used_for_another_client() -> None:
    keys = MemoryKeyStore()
    text, _ = create_key(keys, "acme", utc_now())
    with pytest.raises(Unauthorized):
        Authenticator(keys).client_of(text.replace("acme", "beta"))


def test_a_revocation_holds_when_the_memory_has_passed() -> None:
    keys = MemoryKeyStore()
    text, key = create_key(keys, "acme", utc_now())
    doorman = Authenticator(keys, remember=0.2)
    assert doorman.client_of(text) == "acme"
    keys.revoke("acme", key.key_id, utc_now())
    assert doorman.client_of(text) == "acme"
    time.sleep(0.3)
    with pytest.raises(Unauthorized):
        doorman.client_of(text)
