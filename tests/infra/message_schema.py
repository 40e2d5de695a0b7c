"""The schema by which the Logic App reads a message, made from the model of messages.

`python -m tests.infra.message_schema` writes it anew; a test compares.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.messages import TaskMessage

FILE = Path(__file__).parents[2] / "infra" / "aci" / "message.schema.json"
_WORDS = {"title", "description", "default", "format"}
"""What a schema does without. `format` is left out: nobody says how Logic Apps takes it."""


def message_schema() -> dict[str, Any]:
    """In the words of JSON Schema that the documentation of Logic Apps uses: lists of types, no `anyOf`."""
    made = _plain(TaskMessage.model_json_schema())
    return {"type": made["type"], "properties": made["properties"], "required": made["required"]}


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        known, null = schema["anyOf"]
        assert null == {"type": "null"}
        schema = {**known, "type": [known["type"], "null"]}
    plain = {name: value for name, value in schema.items() if name not in _WORDS}
    if "const" in plain:
        plain["enum"] = [plain.pop("const")]
    if "pattern" in plain:
        # In .NET and in Python $ also stands before a last line break, which no id has.
        plain["pattern"] = plain["pattern"].replace("$", r"$(?!\n)")
    if "properties" in plain:
        plain["properties"] = {name: _plain(value) for name, value in plain["properties"].items()}
    return plain


def text() -> str:
    return json.dumps(message_schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
