"""Deliveries as a person reads them: what came of each attempt, and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from cli.client import PATIENCE_SECONDS, Api, Json, OutOfReach
from cli.output import note, say

ADVICE = {
    "dns_error": "The host of the URL has no address. Check its spelling and its DNS records.",
    "connection_refused": (
        "Nothing listens at this host and port. Is the receiver running, and does a firewall keep the "
        "service from it?"
    ),
    "connection_error": (
        "The connection failed before there was an answer. Look at the receiver's log, and at proxies and "
        "firewalls before it."
    ),
    "tls_error": (
        "The certificate was not accepted. It has to be valid, to name this host, and to come with its chain."
    ),
    "timeout": "There was no answer in time. Answer with 2xx at once, and do the work afterwards.",
    "blocked_address": (
        "The URL is refused, or its host leads to an address that is not on the public internet. Only the "
        "local stack allows private ones."
    ),
    "http_status": "The receiver refused it. Answer with any 2xx.",
    "signing_failed": "The service cannot sign. Its operator has to check SECRETS_KEY.",
}
"""What to do about each kind of failure."""
_BY_STATUS = {
    400: "The receiver refused the request. Its log should say why.",
    401: (
        "The receiver does not accept the signature. Does it have the secret of this webhook, and does it "
        "verify the bytes as they came?"
    ),
    403: "The receiver, or something before it, forbids the request. Let the service in without a login.",
    404: "The receiver has nothing at this path. Check the URL.",
    405: "The receiver takes no POST at this path. Check the URL.",
    410: "The receiver says that it is gone for good, so the webhook is disabled. To enable it: {enable}",
    413: "The receiver takes no body of this size. Allow at least 64 KiB.",
    429: "The receiver asks for a pause. Answer at once, and do the work afterwards.",
}
_BY_REASON = {
    "webhook_disabled": "The webhook is disabled. To enable it: {enable}",
    "webhook_deleted": "The webhook was deleted.",
}
_LONG_SECONDS = 20
"""After so long a wait we say what it may be."""


def advice(delivery: Json) -> str:
    """What to do about a delivery that failed."""
    enable = f"docmill webhooks update {delivery['webhook_id']} --enable"
    return _advice(delivery).format(enable=enable)


def _advice(delivery: Json) -> str:
    if not delivery["attempts"]:
        return _BY_REASON.get(delivery["reason"], "It was given up before it was sent.")
    last = delivery["attempts"][-1]
    if last["failure"] != "http_status":
        return ADVICE.get(last["failure"], "Look at the receiver's log.")
    code = last["status_code"] or 0
    if 300 <= code < 400:
        return "The receiver redirects, which is not followed. Give the address that it leads to as the URL."
    if code >= 500:
        return "The receiver broke or is away. Look at its log."
    return _BY_STATUS.get(code, ADVICE["http_status"])


def result(attempt: Json) -> object:
    """The status code, or the kind of failure where there was none."""
    return attempt["status_code"] if attempt["failure"] in {None, "http_status"} else attempt["failure"]


def print_outcome(delivery: Json) -> None:
    """The last attempt, and what the receiver answered."""
    if not delivery["attempts"]:
        say(f"{delivery['status']}: {delivery['reason']}")
        return
    last = delivery["attempts"][-1]
    say(f"{delivery['status']}: {result(last)} after {_duration(last)}")
    if last["response"]:
        say(last["response"])


def columns(related: str) -> tuple[str, ...]:
    return ("DELIVERY", "EVENT", related, "STATUS", "ATTEMPT", "WHEN", "RESULT", "DURATION")


def rows(delivery: Json, related: object) -> Iterator[tuple[object, ...]]:
    """One for each attempt and one for that which is due. The id stands in all of them, for grep."""
    reason = delivery["reason"]
    status = f"{delivery['status']}: {reason}" if reason else delivery["status"]
    about = (delivery["delivery_id"], f"{delivery['type']}/{delivery['sequence']}", related, status)
    for made in delivery["attempts"]:
        yield (*about, made["attempt"], made["at"], result(made), _duration(made))
    due = delivery["next_attempt_at"]
    if due or not delivery["attempts"]:
        yield (*about, None, due, "due" if due else None, None)


def ended(api: Api, delivery: Json) -> Json:
    """The delivery once it is delivered or failed. A short absence of the service is borne."""
    began = heard = time.monotonic()
    told = False
    while delivery["status"] == "pending":
        time.sleep(min(0.2 + (time.monotonic() - began) / 10, 2))
        try:
            delivery = api.delivery(delivery["delivery_id"])
            heard = time.monotonic()
        except OutOfReach:
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise
        if not told and time.monotonic() - began > _LONG_SECONDS:
            note("Still pending. Is the receiver left alone for a while (docmill webhooks show ID)?")
            note("If not, nothing may be running that delivers: the Functions app, or python -m worker.")
            told = True
    return delivery


def _duration(attempt: Json) -> str:
    return f"{attempt['duration_ms']:,} ms"
