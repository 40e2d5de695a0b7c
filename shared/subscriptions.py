"""A webhook of a client: where to, what it is told, and how its receiver has fared.

Values alone. `Subscription` is what the client decides, `Receiver` what deliveries find out; they are rows of
their own, so that a delivery never stands in the way of a change.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from shared.errors import InvalidPayload
from shared.tasks import EVENT_OF, URL_EVENTS, Value

EVENT_TYPES: Final = tuple(EVENT_OF.values())
"""Everything that can be subscribed to."""
DEFAULT_TYPES: Final = tuple(name for name in EVENT_TYPES if name in URL_EVENTS)
OVERLAP: Final = timedelta(hours=24)
"""How long a secret that was replaced still signs, beside the new one."""
MOST_RETIRED: Final = 4
"""Secrets that sign beside the one in force: the header has to stay short, however often somebody rotates."""
WARNINGS: Final = (50, 70, 90)
"""Per cent of the time that an endpoint may fail; at each of them its owner is warned."""
SKEW: Final = timedelta(seconds=10)
"""How far the clocks of two machines may be apart: a webhook that one has made hears at once of what happens
on the other."""
LONGEST_COOLING: Final = timedelta(minutes=10)
LONGEST_THROTTLE: Final = timedelta(hours=1)
"""How long a Retry-After may keep everything from a receiver."""

_PATTERN = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*(\.\*)?")
Disabled = Literal["by_client", "failing", "gone"]


class RetiredSecret(Value):
    """A secret that was replaced: it signs too until its time is up."""

    ciphertext: str
    until: datetime


class Keyring(Value):
    """The secrets that sign for one receiver, encrypted. The first is the one in force."""

    ciphertext: str
    retired: tuple[RetiredSecret, ...] = ()

    def rotated(self, ciphertext: str, now: datetime, overlap: timedelta = OVERLAP) -> Keyring:
        """With a new secret. An overlap of nothing takes all old ones out of force at once."""
        if not overlap:
            return Keyring(ciphertext=ciphertext)
        retired = (RetiredSecret(ciphertext=self.ciphertext, until=now + overlap), *self._valid(now))
        return Keyring(ciphertext=ciphertext, retired=retired[:MOST_RETIRED])

    def signing(self, now: datetime) -> tuple[str, ...]:
        """The ciphertexts to sign with, the newest first."""
        return (self.ciphertext, *(secret.ciphertext for secret in self._valid(now)))

    def _valid(self, now: datetime) -> tuple[RetiredSecret, ...]:
        return tuple(secret for secret in self.retired if secret.until > now)


class Subscription(Value):
    """One endpoint of a client."""

    webhook_id: str
    client_id: str
    url: str
    event_types: tuple[str, ...] = DEFAULT_TYPES
    description: str = ""
    enabled: bool = True
    disabled_reason: Disabled | None = None
    disabled_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    keyring: Keyring

    def wants(self, event_type: str, at: datetime) -> bool:
        """Whether it is told of an event of that type and time: not of what was before it."""
        return at >= self.created_at - SKEW and any(
            matches(pattern, event_type) for pattern in self.event_types
        )

    def disabled(self, reason: Disabled, now: datetime) -> Subscription:
        if not self.enabled:
            return self
        changes = {"enabled": False, "disabled_reason": reason, "disabled_at": now, "updated_at": now}
        return self.model_copy(update=changes)

    def public(self) -> dict[str, Any]:
        """What its client sees, as JSON values; the secret is shown once, by itself."""
        return self.model_dump(mode="json", exclude={"keyring"})


class Receiver(Value):
    """How one receiver fares. `key`: the id of a webhook, or `origin_key` of a task's own URL."""

    key: str
    holder: str | None = None
    """Which delivery is under way to it: one at a time."""
    held_since: datetime | None = None
    held_until: datetime | None = None
    cooling_until: datetime | None = None
    """Until then nothing is sent to it: it did not answer in time, or asked to be left alone."""
    timeouts: int = 0
    """How many in a row."""
    failing_since: datetime | None = None
    """The first failure after the last success."""
    warning: int = 0
    """Per cent of the time after which it is disabled, as last warned of: 0, 50, 70 or 90."""

    def held(self, now: datetime) -> bool:
        return self.held_until is not None and self.held_until > now

    def cooling(self, now: datetime) -> bool:
        return self.cooling_until is not None and self.cooling_until > now

    def taken(self, holder: str, now: datetime, seconds: float) -> Receiver:
        until = now + timedelta(seconds=seconds)
        return self.model_copy(update={"holder": holder, "held_since": now, "held_until": until})

    def released(self) -> Receiver:
        return self.model_copy(update={"holder": None, "held_since": None, "held_until": None})

    def succeeded(self) -> Receiver:
        """As new: one success ends all failing. Who holds it stays."""
        held = {"holder": self.holder, "held_since": self.held_since, "held_until": self.held_until}
        return Receiver(key=self.key).model_copy(update=held)

    def failed(self, now: datetime) -> Receiver:
        return self.model_copy(update={"failing_since": self.failing_since or now})

    def timed_out(self, now: datetime, cooldown: float) -> Receiver:
        """Left alone for `cooldown` seconds, twice as long after each further time-out."""
        wait = min(timedelta(seconds=cooldown) * 2 ** min(self.timeouts, 12), LONGEST_COOLING)
        return self.model_copy(update={"timeouts": self.timeouts + 1, "cooling_until": now + wait})

    def throttled(self, now: datetime, seconds: float) -> Receiver:
        """Left alone for as long as it asked, within reason."""
        wait = min(timedelta(seconds=min(seconds, 1e6)), LONGEST_THROTTLE)
        return self.model_copy(update={"cooling_until": now + wait})

    def failing_percent(self, now: datetime, allowed: float) -> float:
        """How much of the `allowed` seconds of nothing but failures is used up."""
        if self.failing_since is None:
            return 0.0
        return 100 * (now - self.failing_since).total_seconds() / allowed

    def next_level(self, percent: float) -> int | None:
        """What follows from one more failure: a warning, or 100 for the end; None when nothing does.

        One after the other, however late: after a long silence a single failure is no end yet.
        """
        level = next((level for level in (*WARNINGS, 100) if level > self.warning), None)
        return level if level is not None and percent >= level else None

    def public(self) -> dict[str, Any]:
        """What its client sees of it, as JSON values."""
        shown = {"failing_since", "warning", "cooling_until"}
        values = self.model_dump(mode="json", include=shown)
        return {"failing_since": values["failing_since"], "warning_percent": values["warning"] or None,
                "cooling_until": values["cooling_until"]}  # fmt: skip


def matches(pattern: str, event_type: str) -> bool:
    """`task.failed` is itself alone; `task.*` is everything that begins with `task.`; `*` is everything."""
    if pattern == "*":
        return True
    if pattern.endswith(".*"):
        return event_type.startswith(pattern[:-1])
    return pattern == event_type


def check_types(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The same without repetitions. Raises InvalidPayload for one that no event will ever match."""
    for pattern in patterns:
        legal = pattern == "*" or _PATTERN.fullmatch(pattern)
        if not legal or not any(matches(pattern, name) for name in EVENT_TYPES):
            raise InvalidPayload(
                f"There is no event type {pattern[:64]!r}. There are {', '.join(EVENT_TYPES)}; task.* is all."
            )
    return tuple(dict.fromkeys(patterns))


def new_webhook_id() -> str:
    return f"wh-{secrets.token_hex(12)}"


def origin_key(url: str) -> str:
    """The receiver of a task's own URL: scheme, host and port, hashed."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{(parts.hostname or '').removesuffix('.')}:{parts.port or ''}"
    return f"url-{hashlib.sha256(origin.encode()).hexdigest()[:24]}"
