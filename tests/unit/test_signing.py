"""Secrets and signatures: the standard's own vectors, rotation, and a secret that shows itself nowhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.fernet import Fernet
from standardwebhooks import Webhook, WebhookVerificationError

from shared import signing, webhooks
from shared.errors import Unavailable
from shared.ports import Stored
from shared.settings import read_settings
from shared.storage.memory_webhooks import MemorySecretStore
from shared.subscriptions import Keyring
from shared.tasks import utc_now
from tests.services import SECRETS_KEY, MemoryServices, memory_services

# From the tests of the standard's own libraries (Python, JavaScript, Go and others have the same).
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
MOMENT = datetime.fromtimestamp(1614265330, UTC)
BODY = '{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
WRONG = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OTHER_KEY = base64.urlsafe_b64encode(b"another key, also of 32 letters!").decode()


def keyring_of(secret: str, key: str = SECRETS_KEY) -> Keyring:
    return Keyring(ciphertext=Fernet(key).encrypt(secret.encode()).decode())


def signed(keyring: Keyring, now: datetime, body: str = BODY) -> dict[str, str]:
    return signing.headers(memory_services(), keyring, MESSAGE_ID, body, now)


def signatures(keyring: Keyring, now: datetime) -> list[str]:
    return signed(keyring, now)["webhook-signature"].split(" ")


def by_hand(secret: str, message_id: str, now: datetime, body: str) -> str:
    """The signature as the specification puts it, with nobody's library."""
    content = f"{message_id}.{int(now.timestamp())}.{body}".encode()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


class TestTheStandard:
    def test_its_vector_is_signed_as_it_says(self) -> None:
        headers = signed(keyring_of(SECRET), MOMENT)
        assert {name: value for name, value in headers.items() if name.startswith("webhook-")} == {
            "webhook-id": MESSAGE_ID,
            "webhook-timestamp": "1614265330",
            "webhook-signature": SIGNATURE,
        }

    @pytest.mark.parametrize("body", [BODY, "{}", "", '{"title":"Grüße, 水車 🌾"}', '{"a":"line\\nline"}'])
    def test_any_body_is_signed_by_the_formula(self, body: str) -> None:
        assert signed(keyring_of(SECRET), NOW, body)["webhook-signature"] == by_hand(
            SECRET, MESSAGE_ID, NOW, body
        )

    @pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_")])
    def test_its_library_accepts_ours(self, secret: str) -> None:
        headers = signed(keyring_of(SECRET), utc_now())
        assert Webhook(secret).verify(BODY, headers) == json.loads(BODY)

    def test_its_library_finds_ours_among_others(self) -> None:
        headers = signed(keyring_of(SECRET), utc_now())
        ours = headers["webhook-signature"]
        headers["webhook-signature"] = f"v1,{WRONG} v2,{WRONG} {ours} v1,{WRONG}"
        assert Webhook(SECRET).verify(BODY, headers) == json.loads(BODY)

    @pytest.mark.parametrize(
        "change",
        [
            {"webhook-id": ""},
            {"webhook-id": "msg_another"},
            {"webhook-timestamp": ""},
            {"webhook-timestamp": "hello"},
            {"webhook-signature": ""},
            {"webhook-signature": "v1,"},
            {"webhook-signature": f"v1,{WRONG}"},
        ],
        ids=str,
    )
    def test_its_library_refuses_what_was_changed(self, change: dict[str, str]) -> None:
        headers = {**signed(keyring_of(SECRET), utc_now()), **change}
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(BODY, headers)

    def test_its_library_refuses_a_time_that_was_not_signed(self) -> None:
        now = utc_now()
        headers = signed(keyring_of(SECRET), now)
        headers["webhook-timestamp"] = str(int(now.timestamp()) - 7)
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            Webhook(SECRET).verify(BODY, headers)

    @pytest.mark.parametrize("off", [timedelta(minutes=-5, seconds=-2), timedelta(minutes=5, seconds=5)])
    def test_its_library_refuses_another_time(self, off: timedelta) -> None:
        with pytest.raises(WebhookVerificationError, match="timestamp"):
            Webhook(SECRET).verify(BODY, signed(keyring_of(SECRET), utc_now() + off))

    def test_our_secrets_are_of_its_form(self) -> None:
        made = {signing.new_keyring(memory_services())[1] for _ in range(20)}
        assert len(made) == 20
        for secret in made:
            assert secret.startswith("whsec_")
            assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


class TestRotation:
    def keyrings(self, *pauses: timedelta) -> tuple[Keyring, list[str]]:
        """A keyring that was rotated after each pause, and its secrets, the newest first."""
        services, now = memory_services(), NOW
        keyring, secret = signing.new_keyring(services)
        found = [secret]
        for pause in pauses:
            now += pause
            keyring, secret = signing.rotated(services, keyring, now)
            found.insert(0, secret)
        return keyring, found

    def test_both_sign_the_new_one_first(self) -> None:
        keyring, secrets = self.keyrings(timedelta(0))
        at = NOW + HOUR
        assert signatures(keyring, at) == [by_hand(secret, MESSAGE_ID, at, BODY) for secret in secrets]

    def test_whoever_has_either_secret_can_verify(self) -> None:
        services, now = memory_services(), utc_now()
        keyring, before = signing.new_keyring(services)
        keyring, after = signing.rotated(services, keyring, now)
        headers = signed(keyring, now)
        for secret in (before, after):
            assert Webhook(secret).verify(BODY, headers) == json.loads(BODY)

    @pytest.mark.parametrize(("hours", "count"), [(0, 2), (23.99, 2), (24, 1), (48, 1)])
    def test_the_old_one_goes_after_a_day(self, hours: float, count: int) -> None:
        keyring, (new, _) = self.keyrings(timedelta(0))
        at = NOW + hours * HOUR
        found = signatures(keyring, at)
        assert len(found) == count
        assert found[0] == by_hand(new, MESSAGE_ID, at, BODY)

    def test_two_rotations_within_a_day(self) -> None:
        keyring, (third, second, first) = self.keyrings(timedelta(0), 10 * HOUR)
        for hours, valid in [(11, [third, second, first]), (25, [third, second]), (34, [third])]:
            at = NOW + hours * HOUR
            assert signatures(keyring, at) == [by_hand(secret, MESSAGE_ID, at, BODY) for secret in valid]

    def test_five_sign_at_most(self) -> None:
        keyring, secrets = self.keyrings(*[HOUR] * 7)
        at = NOW + 8 * HOUR
        assert signatures(keyring, at) == [by_hand(secret, MESSAGE_ID, at, BODY) for secret in secrets[:5]]

    def test_no_overlap_takes_all_old_ones_out_of_force(self) -> None:
        services = memory_services()
        keyring, _ = self.keyrings(timedelta(0))
        keyring, secret = signing.rotated(services, keyring, NOW, timedelta(0))
        assert signatures(keyring, NOW) == [by_hand(secret, MESSAGE_ID, NOW, BODY)]
        assert keyring.retired == ()

    def test_an_old_one_that_cannot_be_read_does_not_keep_the_new_one_from_signing(self) -> None:
        """SECRETS_KEY was lost, a new one was set, and the secret rotated."""
        services = memory_services()
        keyring, secret = signing.rotated(services, keyring_of(SECRET, OTHER_KEY), NOW)
        assert signatures(keyring, NOW) == [by_hand(secret, MESSAGE_ID, NOW, BODY)]

    def test_of_a_client(self) -> None:
        services = memory_services()
        before = signing.client_secret(services, "acme")
        after = signing.rotate_client_secret(services, "acme", NOW)
        assert signing.client_secret(services, "acme") == after != before
        expected = [by_hand(secret, MESSAGE_ID, NOW, BODY) for secret in (after, before)]
        assert signatures(signing.client_keyring(services, "acme"), NOW) == expected

    def test_of_a_webhook(self) -> None:
        services = memory_services()
        webhook, before = webhooks.create(services, "acme", webhooks.Wish(url="https://example.com/"))
        after = webhooks.rotate(services, "acme", webhook.webhook_id).secret
        now = utc_now()
        keyring = webhooks.find(services, "acme", webhook.webhook_id).keyring
        expected = [by_hand(secret, MESSAGE_ID, now, BODY) for secret in (after, before)]
        assert signatures(keyring, now) == expected


class CrowdedSecrets(MemorySecretStore):
    """Both threads have read before either goes on, the first `times`."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times
        self._together = threading.Barrier(2, timeout=30)
        self._mine = threading.local()

    def get(self, client_id: str) -> Stored[Keyring] | None:
        found = super().get(client_id)
        seen = getattr(self._mine, "seen", 0)
        self._mine.seen = seen + 1
        if seen < self._times:
            self._together.wait()
        return found


def both(call: Callable[[], str]) -> list[str]:
    with ThreadPoolExecutor(2) as pool:
        return [future.result(30) for future in [pool.submit(call), pool.submit(call)]]


class TestRaces:
    def test_a_clients_secret_is_made_once(self) -> None:
        services = memory_services()
        services.secrets = CrowdedSecrets(times=1)
        one, two = both(lambda: signing.client_secret(services, "acme"))
        assert one == two

    def test_two_rotations_at_once_lose_neither(self) -> None:
        services = memory_services()
        services.secrets = CrowdedSecrets(times=2)
        first, _ = signing.new_keyring(services)
        services.secrets.add("acme", first)
        made = both(lambda: signing.rotate_client_secret(services, "acme", NOW))
        stored = MemorySecretStore.get(services.secrets, "acme")
        assert stored is not None
        expected = {by_hand(secret, MESSAGE_ID, NOW, BODY) for secret in made}
        assert set(signatures(stored.value, NOW)[:2]) == expected
        assert len(stored.value.retired) == 2


class TestWithoutTheKey:
    def test_another_key_cannot_read_the_secret(self) -> None:
        services = memory_services({"SECRETS_KEY": OTHER_KEY})
        with pytest.raises(Unavailable, match="SECRETS_KEY is not the key"):
            signing.headers(services, keyring_of(SECRET), MESSAGE_ID, BODY, NOW)

    @pytest.mark.parametrize(
        "call",
        [
            signing.check_key,
            signing.new_keyring,
            lambda services: signing.client_secret(services, "acme"),
            lambda services: signing.rotate_client_secret(services, "acme", NOW),
            lambda services: signing.headers(services, keyring_of(SECRET), MESSAGE_ID, BODY, NOW),
            lambda services: webhooks.create(services, "acme", webhooks.Wish(url="https://example.com/")),
        ],
    )
    def test_no_key_is_said_with_what_to_do(self, call: Callable[[MemoryServices], object]) -> None:
        services = MemoryServices(read_settings({"CLIENT_IDS": "acme"}))
        with pytest.raises(Unavailable, match=r"set SECRETS_KEY\. `docmill secrets-key` makes one"):
            call(services)
        assert services.subscriptions.of_client("acme") == []


class TestSecrecy:
    def test_what_is_stored_and_shown_of_a_keyring(self) -> None:
        services = memory_services()
        webhook, secret = webhooks.create(services, "acme", webhooks.Wish(url="https://example.com/"))
        rotation = webhooks.rotate(services, "acme", webhook.webhook_id)
        of_client = signing.client_secret(services, "acme")
        stored = services.secrets.get("acme")
        assert stored is not None
        shown = [
            webhook.model_dump_json(),
            repr(webhook),
            repr(stored),
            str(stored.value),
            json.dumps(webhooks.shown(webhook, None)),
            repr(services.settings),
            repr(rotation),
        ]
        for text in shown:
            for hidden in (secret, of_client, rotation.secret, SECRETS_KEY):
                assert bare(hidden) not in text
        assert "keyring" not in webhooks.shown(webhook, None)
        assert "ciphertext" not in shown[4]

    def test_nothing_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        services = memory_services()
        with caplog.at_level(logging.DEBUG):
            webhook, first = webhooks.create(services, "acme", webhooks.Wish(url="https://example.com/"))
            second = webhooks.rotate(services, "acme", webhook.webhook_id).secret
            third = signing.rotate_client_secret(services, "acme", utc_now())
            keyring = webhooks.find(services, "acme", webhook.webhook_id).keyring
            signing.headers(services, keyring, MESSAGE_ID, BODY, utc_now())
        for secret in (first, second, third, SECRETS_KEY):
            assert bare(secret) not in caplog.text

    def test_an_error_holds_neither_secret_nor_key(self) -> None:
        services = memory_services({"SECRETS_KEY": OTHER_KEY})
        with pytest.raises(Unavailable) as caught:
            signing.headers(services, keyring_of(SECRET), MESSAGE_ID, BODY, NOW)
        text = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        for secret in (SECRET, SECRETS_KEY, OTHER_KEY):
            assert bare(secret) not in text


def bare(secret: str) -> str:
    return secret.removeprefix("whsec_")
