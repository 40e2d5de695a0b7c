"""Runs a Logic App's definition as its language's reference describes it, against services of a test.

Expressions are evaluated eagerly, also in the branch of `if` that is not taken, and `[...]` on nothing fails:
whatever holds here does not rest on Logic Apps being kinder. A function that is not known raises.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import quote

from jsonschema import Draft4Validator

HANDLED = ("Succeeded", "Failed", "TimedOut", "Skipped")
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+)|(?P<name>[A-Za-z]\w*)|(?P<mark>\?\[|[(),\[\]]))"
)
_WORDS = {"true": True, "false": False, "null": None}


class ExpressionError(Exception):
    """An expression that cannot be evaluated: its action fails."""


class Unknown(Exception):
    """A definition says something that is not known here."""


class Services(Protocol):
    """What a workflow reaches. Both give a status and a body."""

    def http(self, method: str, uri: str, body: Any) -> tuple[int, Any]: ...

    def connector(self, method: str, path: str, queries: dict[str, str], body: Any) -> tuple[int, Any]: ...


@dataclass
class Outcome:
    status: str
    outputs: Any = None


@dataclass
class Run:
    """`error`: what a Terminate action said."""

    status: str
    actions: dict[str, Outcome]
    error: dict[str, Any] = field(default_factory=dict)


class _Terminated(Exception):
    def __init__(self, status: str, error: dict[str, Any]) -> None:
        self.status, self.error = status, error


class Workflow:
    def __init__(
        self, properties: Mapping[str, Any], services: Services, now: datetime | None = None
    ) -> None:
        """`properties`: those of a Microsoft.Logic/workflows."""
        self._definition = properties["definition"]
        given = {name: one["value"] for name, one in properties["parameters"].items()}
        declared = self._definition["parameters"]
        if set(given) != set(declared):
            raise Unknown(f"parameters given {sorted(given)}, declared {sorted(declared)}")
        self._parameters = given
        self._services = services
        self.now = now or datetime.now(UTC)

    def connection_path(self) -> tuple[str, dict[str, str]]:
        """Path and queries of the trigger."""
        (trigger,) = self._definition["triggers"].values()
        running = _Running(self, None)
        return running.value(trigger["inputs"]["path"]), trigger["inputs"].get("queries", {})

    def split(self, body: Any) -> list[Any]:
        """The bodies of the runs that a trigger's body makes."""
        (trigger,) = self._definition["triggers"].values()
        if "splitOn" not in trigger:
            return [body]
        found: list[Any] = _Running(self, body).value(trigger["splitOn"])
        return found

    def run(self, trigger_body: Any = None) -> Run:
        running = _Running(self, trigger_body)
        try:
            status = running.all(self._definition["actions"])
        except _Terminated as end:
            return Run(end.status, running.done, end.error)
        return Run(status, running.done)

    @property
    def parameters(self) -> dict[str, Any]:
        return self._parameters

    @property
    def services(self) -> Services:
        return self._services


class _Running:
    def __init__(self, workflow: Workflow, trigger_body: Any) -> None:
        self.workflow = workflow
        self.trigger_body = trigger_body
        self.done: dict[str, Outcome] = {}
        self.variables: dict[str, Any] = {}
        self.items: dict[str, Any] = {}
        self.item: Any = None

    # What runs after what

    def all(self, actions: Mapping[str, Any]) -> str:
        """Runs a group of actions; its status is that of its leaves."""
        left = dict(actions)
        while left:
            name = next(one for one in left if all(before in self.done for before in _before(left[one])))
            action = left.pop(name)
            wanted = all(self.done[one].status in statuses for one, statuses in _before(action).items())
            self.done[name] = self._act(name, action) if wanted else Outcome("Skipped")
        followed = {before for action in actions.values() for before in _before(action)}
        ends = [self._end(name, actions) for name in actions if name not in followed]
        return "Failed" if "Failed" in ends else "Succeeded"

    def _end(self, name: str, actions: Mapping[str, Any]) -> str:
        """A leaf that was skipped ends as what came before it."""
        if self.done[name].status != "Skipped":
            return self.done[name].status
        ends = [self._end(before, actions) for before in _before(actions[name])]
        return "Failed" if "Failed" in ends else "Succeeded"

    def _act(self, name: str, action: Mapping[str, Any]) -> Outcome:
        known: dict[str, Callable[[str, Any], Outcome]] = {
            "Compose": lambda _, one: Outcome("Succeeded", self.value(one["inputs"])),
            "ParseJson": self._parse,
            "Http": self._http,
            "ApiConnection": self._connector,
            "If": self._if,
            "Switch": self._switch,
            "Foreach": self._foreach,
            "Query": self._query,
            "InitializeVariable": self._initialize,
            "AppendToArrayVariable": self._append,
            "Terminate": self._terminate,
        }
        if action["type"] not in known:
            raise Unknown(action["type"])
        try:
            return known[action["type"]](name, action)
        except ExpressionError as error:
            return Outcome("Failed", {"error": str(error)})

    # Actions

    def _parse(self, _: str, action: Mapping[str, Any]) -> Outcome:
        content = self.value(action["inputs"]["content"])
        try:
            body = json.loads(content)
        except (ValueError, TypeError) as error:
            raise ExpressionError(f"no JSON: {error}") from error
        if not Draft4Validator(action["inputs"]["schema"]).is_valid(body):
            raise ExpressionError("the schema does not take it")
        return Outcome("Succeeded", {"body": body})

    def _http(self, _: str, action: Mapping[str, Any]) -> Outcome:
        inputs = action["inputs"]
        if inputs["authentication"]["type"] != "ManagedServiceIdentity":
            raise Unknown("authentication")
        status, body = self.workflow.services.http(
            inputs["method"], self.value(inputs["uri"]), self.value(inputs.get("body"))
        )
        return Outcome("Succeeded" if status < 400 else "Failed", {"statusCode": status, "body": body})

    def _connector(self, _: str, action: Mapping[str, Any]) -> Outcome:
        inputs = self.value(action["inputs"])
        if not inputs["host"]["connection"]["name"]:
            raise ExpressionError("no connection")
        status, body = self.workflow.services.connector(
            inputs["method"], inputs["path"], inputs.get("queries", {}), inputs.get("body")
        )
        return Outcome("Succeeded" if status < 400 else "Failed", {"statusCode": status, "body": body})

    def _if(self, _: str, action: Mapping[str, Any]) -> Outcome:
        branch = action if self._holds(action["expression"]) else action.get("else", {"actions": {}})
        return Outcome(self.all(branch["actions"]))

    def _holds(self, condition: Mapping[str, Any]) -> bool:
        ((name, parts),) = condition.items()
        if name == "not":
            return not self._holds(parts)
        if name in {"and", "or"}:
            found = [self._holds(part) for part in parts]
            return all(found) if name == "and" else any(found)
        return bool(_FUNCTIONS[name](self, *(self.value(part) for part in parts)))

    def _switch(self, _: str, action: Mapping[str, Any]) -> Outcome:
        value = self.value(action["expression"])
        for case in action["cases"].values():
            if case["case"] == value:
                return Outcome(self.all(case["actions"]))
        return Outcome(self.all(action.get("default", {"actions": {}})["actions"]))

    def _foreach(self, name: str, action: Mapping[str, Any]) -> Outcome:
        ends = []
        for item in self.value(action["foreach"]):
            self.items[name] = item
            for child in _names(action["actions"]):
                self.done.pop(child, None)
            ends.append(self.all(action["actions"]))
        return Outcome("Failed" if "Failed" in ends else "Succeeded")

    def _query(self, _: str, action: Mapping[str, Any]) -> Outcome:
        found = []
        for item in self.value(action["inputs"]["from"]):
            self.item = item
            if self.value(action["inputs"]["where"]):
                found.append(item)
        return Outcome("Succeeded", {"body": found})

    def _initialize(self, _: str, action: Mapping[str, Any]) -> Outcome:
        for variable in action["inputs"]["variables"]:
            self.variables[variable["name"]] = list(variable["value"])
        return Outcome("Succeeded")

    def _append(self, _: str, action: Mapping[str, Any]) -> Outcome:
        self.variables[action["inputs"]["name"]].append(self.value(action["inputs"]["value"]))
        return Outcome("Succeeded")

    def _terminate(self, _: str, action: Mapping[str, Any]) -> Outcome:
        inputs = self.value(action["inputs"])
        raise _Terminated(inputs["runStatus"], inputs.get("runError", {}))

    # Expressions

    def value(self, given: Any) -> Any:
        if isinstance(given, Mapping):
            return {key: self.value(value) for key, value in given.items()}
        if isinstance(given, list):
            return [self.value(one) for one in given]
        return self._text(given) if isinstance(given, str) else given

    def _text(self, text: str) -> Any:
        if text.startswith("@@"):
            return text[1:]
        if text.startswith("@") and not text.startswith("@{"):
            return _Expression(text[1:], self).value()
        return re.sub(r"@\{((?:[^{}']|'(?:[^']|'')*')*)\}", lambda match: self._shown(match[1]), text)

    def _shown(self, expression: str) -> str:
        return as_text(_Expression(expression, self).value())


class _Expression:
    def __init__(self, text: str, running: _Running) -> None:
        self._tokens = _tokens(text)
        self._running = running

    def value(self) -> Any:
        found = self._one()
        if self._tokens:
            raise Unknown(f"left over: {self._tokens}")
        return found

    def _take(self, wanted: str) -> None:
        if not self._tokens or self._tokens.pop(0) != ("mark", wanted):
            raise Unknown(f"{wanted} is missing")

    def _one(self) -> Any:
        kind, text = self._tokens.pop(0)
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            return int(text)
        if kind != "name":
            raise Unknown(text)
        found = _WORDS[text] if text in _WORDS else self._call(text)
        while self._tokens and self._tokens[0] in {("mark", "["), ("mark", "?[")}:
            safe = self._tokens.pop(0)[1] == "?["
            found = _member(found, self._one(), safe=safe)
            self._take("]")
        return found

    def _call(self, name: str) -> Any:
        if name not in _FUNCTIONS:
            raise Unknown(f"function {name}")
        self._take("(")
        given = []
        while self._tokens[0] != ("mark", ")"):
            given.append(self._one())
            if self._tokens[0] == ("mark", ","):
                self._tokens.pop(0)
        self._take(")")
        try:
            return _FUNCTIONS[name](self._running, *given)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise ExpressionError(f"{name}: {error}") from error


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise Unknown(f"no expression: {text[at:]!r}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _member(owner: Any, key: Any, *, safe: bool) -> Any:
    if owner is None and safe:
        return None
    if not isinstance(owner, Mapping):
        raise ExpressionError(f"there is no member {key!r} of {type(owner).__name__}")
    if key not in owner and not safe:
        raise ExpressionError(f"there is no member {key!r}")
    return owner.get(key)


def _before(action: Mapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = action.get("runAfter", {})
    return found


def _names(actions: Mapping[str, Any]) -> list[str]:
    return list(every(actions))


def every(actions: Mapping[str, Any]) -> dict[str, Any]:
    """All actions, those inside others too, by name."""
    found = {}
    for name, action in actions.items():
        found[name] = action
        inner = [action, action.get("else", {}), action.get("default", {}), *action.get("cases", {}).values()]
        for one in inner:
            found.update(every(one.get("actions", {})))
    return found


def as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def _done(running: _Running, name: str) -> Outcome:
    if name not in running.done:
        raise ExpressionError(f"{name} has not run")
    return running.done[name]


def _body(running: _Running, name: str) -> Any:
    outputs = _done(running, name).outputs
    return outputs.get("body") if isinstance(outputs, Mapping) else None


def _strings(*values: Any) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"a text is wanted, not {value!r}")
    return values


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(*_strings(text), validate=True).decode(errors="replace")
    except ValueError as error:
        raise ExpressionError("no base64") from error


def _ticks(moment: str) -> int:
    since = datetime.fromisoformat(*_strings(moment)) - datetime(1, 1, 1, tzinfo=UTC)
    return int(since.total_seconds() * 10_000_000)


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f0Z")


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "actions": lambda run, name: {"status": _done(run, name).status},
    "addMinutes": lambda _, moment, count: _instant(
        datetime.fromisoformat(moment) + timedelta(minutes=count)
    ),
    "base64": lambda _, text: base64.b64encode(_strings(text)[0].encode()).decode(),
    "base64ToString": lambda _, text: _decoded(text),
    "body": _body,
    "coalesce": lambda _, *values: next((value for value in values if value is not None), None),
    "concat": lambda _, *parts: "".join(_strings(*parts)),
    "contains": lambda _, whole, part: part in whole,
    "createArray": lambda _, *items: list(items),
    "empty": lambda _, value: value is None or len(value) == 0,
    "encodeURIComponent": lambda _, text: quote(_strings(text)[0], safe=""),
    "equals": lambda _, first, second: type(first) is type(second) and first == second,
    "first": lambda _, items: items[0],
    "greater": lambda _, first, second: first > second,
    "greaterOrEquals": lambda _, first, second: first >= second,
    "if": lambda _, condition, yes, no: yes if condition else no,
    "int": lambda _, text: int(text),
    "item": lambda run: run.item,
    "items": lambda run, name: run.items[name],
    "join": lambda _, items, between: between.join(items),
    "length": lambda _, items: len(items),
    "less": lambda _, first, second: first < second,
    "not": lambda _, value: not value,
    "outputs": lambda run, name: _done(run, name).outputs,
    "parameters": lambda run, name: run.workflow.parameters[name],
    "startsWith": lambda _, text, start: text.lower().startswith(start.lower()),
    "string": lambda _, value: as_text(value),
    "sub": lambda _, first, second: first - second,
    "take": lambda _, items, count: items[:count],
    "ticks": lambda _, moment: _ticks(moment),
    "toLower": lambda _, text: text.lower(),
    "triggerBody": lambda run: run.trigger_body,
    "trim": lambda _, text: text.strip(),
    "variables": lambda run, name: run.variables[name],
    "utcNow": lambda run: _instant(run.workflow.now),
}
