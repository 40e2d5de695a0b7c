"""Members that Azure publishes for the types of resources: resource_types.json has them, and their source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.infra.deployment import Resource

PUBLISHED = json.loads((Path(__file__).parent / "resource_types.json").read_text())["types"]


def unknown(one: Resource) -> Iterator[str]:
    """What a resource says that its type does not have."""
    known = PUBLISHED.get(one.type)
    if known is None:
        yield f"{one.type} is not in resource_types.json"
    else:
        body = {name: value for name, value in one.body.items() if name != "name"}
        yield from differing(body, known, one.type)


def differing(value: Any, known: Any, where: str) -> Iterator[str]:
    """Members that `known` has not, that are only read, and values that are none of a list."""
    if isinstance(value, dict) and isinstance(known, dict):
        for name, member in value.items():
            if name not in known and "*" not in known:
                yield f"{where}.{name} is unknown"
            else:
                yield from differing(member, known.get(name, known.get("*")), f"{where}.{name}")
    elif isinstance(value, list) and isinstance(known, list):
        for element in value:
            yield from differing(element, known[0], where)
    elif known == "readonly" or isinstance(known, (dict, list)) != isinstance(value, (dict, list)):
        if known not in ("*", "any") and value is not None:
            yield f"{where} may not be {value!r}"
    elif isinstance(known, str) and "|" in known and value not in known.split("|"):
        yield f"{where} is none of {known}"
