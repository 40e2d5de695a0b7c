"""What a template would make: every resource with its values, for given parameters.

`deploy(read(path), clients=["a"])` expands loops, conditions and modules, as Azure does before it makes
anything. What only Azure knows, such as an account's address, is a `Runtime`: text that names it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from tests.infra.bicep import BicepError, Declaration, Expression, Template, read

SUBSCRIPTION = "00000000-0000-0000-0000-00000000cafe"
TENANT = "00000000-0000-0000-0000-00000000beef"
NOW = datetime(2026, 11, 24, tzinfo=UTC)


_PLACES = {"parent", "scope", "dependsOn"}


class Runtime(str):
    """What only Azure knows. Its text is the expression, as in `account.properties.primaryEndpoints.blob`."""

    __slots__ = ()


@dataclass(frozen=True)
class Resource:
    """One resource. `name` is the whole one, `account/default/queue`; `body` all members, evaluated."""

    symbol: str
    type: str
    api_version: str
    name: str
    id: str
    body: dict[str, Any] = field(repr=False)
    path: Path = field(repr=False)
    scope: str = field(default="", repr=False)

    @property
    def properties(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body.get("properties", {})
        return found


@dataclass
class Deployment:
    """`resources` of the template and all of its modules; `outputs` of the template alone."""

    template: Template
    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: str) -> list[Resource]:
        """Those of a type, in any case of letters."""
        return [one for one in self.resources if one.type.lower() == kind.lower()]

    def one(self, kind: str) -> Resource:
        (found,) = self.of(kind)
        return found


def deploy(template: Template, *, group: str = "rg", **parameters: Any) -> Deployment:
    """Raises BicepError for a parameter that is missing or not allowed, and for what is not known here."""
    if template.errors:
        raise BicepError(template.errors[0])
    scope = f"/subscriptions/{SUBSCRIPTION}"
    if template.scope == "resourceGroup":
        scope += f"/resourceGroups/{group}"
    return _Deploying(template, parameters, scope).run()


class _Deploying:
    """One template under way. Symbols are evaluated when they are first asked for."""

    def __init__(self, template: Template, parameters: Mapping[str, Any], scope: str) -> None:
        self.template, self.scope = template, scope
        self.found = Deployment(template)
        self._given = dict(parameters)
        self._values: dict[str, Any] = {}
        if unknown := set(parameters) - set(template.parameters):
            raise BicepError(f"{template.path}: there is no parameter {sorted(unknown)}")

    def run(self) -> Deployment:
        for name in self.template.parameters:
            self.symbol(name, 0)
        for declared in (*self.template.resources.values(), *self.template.modules.values()):
            for handle in _flat(self.symbol(declared.symbol, declared.line)):
                self.found.resources += handle.deployed()
        for output in self.template.outputs.values():
            self.found.outputs[output.name] = self.value(output.value, {})
        return self.found

    def fail(self, line: int, problem: str) -> BicepError:
        return BicepError(f"{self.template.path}:{line}: {problem}")

    def symbol(self, name: str, line: int) -> Any:
        if name not in self._values:
            self._values[name] = self._symbol(name, line)
        return self._values[name]

    def _symbol(self, name: str, line: int) -> Any:
        template = self.template
        if name in template.parameters:
            return self._parameter(name)
        if name in template.variables:
            return self.value(template.variables[name], {})
        declared = template.resources.get(name) or template.modules.get(name)
        if declared is None:
            raise self.fail(line, f"there is no {name}")
        return self._handles(declared, declared.body, {})

    def _parameter(self, name: str) -> Any:
        parameter = self.template.parameters[name]
        value = self._given.get(name)
        if name not in self._given:
            if parameter.default is None and not parameter.type.endswith("?"):
                raise BicepError(f"{self.template.path}: the parameter {name} is not given")
            value = None if parameter.default is None else self.value(parameter.default, {})
        for rule, arguments in parameter.decorators.items():
            if rule in _RULES and value is not None:
                limit = self.value(arguments[0], {})
                if not _RULES[rule](value, limit):
                    raise BicepError(f"{self.template.path}: {name}={value!r} breaks @{rule}({limit})")
        return value

    def _handles(self, declared: Declaration, body: Expression, names: Mapping[str, Any]) -> Any:
        if body.kind == "for":
            return [self._handles(declared, body.parts[1], each) for each in self._each(body, names)]
        condition = True
        if body.kind == "if":
            condition, body = bool(self.value(body.parts[0], names)), body.parts[1]
        made = _Module if declared.symbol in self.template.modules else _Handle
        return made(self, declared, body, dict(names), condition)

    def _each(self, loop: Expression, names: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        element, index = loop.value
        for number, item in enumerate(self.value(loop.parts[0], names)):
            yield {**names, element: item, **({index: number} if index else {})}

    def value(self, expression: Expression, names: Mapping[str, Any]) -> Any:
        return getattr(self, f"_{expression.kind}")(expression, names)

    def _literal(self, expression: Expression, _: Mapping[str, Any]) -> Any:
        return expression.value

    def _name(self, expression: Expression, names: Mapping[str, Any]) -> Any:
        if expression.value in names:
            return names[expression.value]
        return self.symbol(expression.value, expression.line)

    def _string(self, expression: Expression, names: Mapping[str, Any]) -> str:
        parts = [part if isinstance(part, str) else self.value(part, names) for part in expression.parts]
        if any(isinstance(part, _Handle) or part is None for part in parts):
            raise self.fail(expression.line, "a resource or null stands in a text")
        return "".join(map(_shown, parts))

    def _array(self, expression: Expression, names: Mapping[str, Any]) -> list[Any]:
        return [self.value(part, names) for part in expression.parts]

    def _object(self, expression: Expression, names: Mapping[str, Any]) -> dict[str, Any]:
        return {str(self.value(key, names)): self.value(value, names) for key, value in expression.parts}

    def _for(self, expression: Expression, names: Mapping[str, Any]) -> list[Any]:
        return [self.value(expression.parts[1], each) for each in self._each(expression, names)]

    def _choice(self, expression: Expression, names: Mapping[str, Any]) -> Any:
        condition, yes, no = expression.parts
        return self.value(yes if self.value(condition, names) else no, names)

    def _unary(self, expression: Expression, names: Mapping[str, Any]) -> Any:
        value = self.value(expression.parts[0], names)
        return not value if expression.value == "!" else -value

    def _binary(self, expression: Expression, names: Mapping[str, Any]) -> Any:
        operator, (left, right) = expression.value, expression.parts
        first = self.value(left, names)
        if operator in _SHORT:
            return first if _SHORT[operator](first) else self.value(right, names)
        return _OPERATORS[operator](first, self.value(right, names))

    def _lambda(self, expression: Expression, names: Mapping[str, Any]) -> Callable[..., Any]:
        return lambda *given: self.value(
            expression.parts[0], {**names, **dict(zip(expression.value, given, strict=False))}
        )

    def _call(self, expression: Expression, names: Mapping[str, Any]) -> Any:
        name = expression.value
        if name in self.template.functions:
            function = self._lambda(self.template.functions[name], {})
            return function(*(self.value(part, names) for part in expression.parts))
        if name not in _FUNCTIONS:
            raise self.fail(expression.line, f"unknown function {name}")
        return _FUNCTIONS[name](self, *(self.value(part, names) for part in expression.parts))

    def _method(self, expression: Expression, names: Mapping[str, Any]) -> Any:
        owner = self.value(expression.parts[0], names)
        text = owner.symbol if isinstance(owner, _Handle) else str(owner)
        return Runtime(f"{text}.{expression.value}()")

    def _member(self, expression: Expression, names: Mapping[str, Any]) -> Any:
        name, safe = expression.value
        owner = self.value(expression.parts[0], names)
        if isinstance(owner, _Handle):
            return owner.member(name)
        if isinstance(owner, Runtime):
            return Runtime(f"{owner}.{name}")
        if isinstance(owner, Mapping) and name in owner:
            return owner[name]
        if safe and (owner is None or isinstance(owner, Mapping)):
            return None
        raise self.fail(expression.line, f"there is no member {name}")

    def _index(self, expression: Expression, names: Mapping[str, Any]) -> Any:
        owner, index = (self.value(part, names) for part in expression.parts)
        if isinstance(owner, Runtime):
            return Runtime(f"{owner}[{index}]")
        try:
            return owner[index]
        except (IndexError, KeyError, TypeError):
            if expression.value:
                return None
            raise self.fail(expression.line, f"there is no element {index}") from None


class _Handle:
    """A symbol of a resource, or one of its elements."""

    def __init__(
        self, at: _Deploying, declared: Declaration, body: Expression, names: dict[str, Any], condition: bool
    ) -> None:
        self.at, self.declared, self.condition = at, declared, condition
        self.symbol = declared.symbol
        self._body, self._names = body, names
        self._made: dict[str, Any] | None = None

    def _part(self, name: str) -> Any:
        """One member of the body by itself: the whole may refer back to this one's name."""
        for key, value in self._body.parts:
            if key.value == name:
                return self.at.value(value, self._names)
        return None

    @property
    def body(self) -> dict[str, Any]:
        if self._made is None:
            self._made = self.at.value(self._body, self._names)
        return self._made

    @property
    def name(self) -> str:
        parent = self._part("parent")
        return f"{parent.name}/{self._part('name')}" if parent else str(self._part("name"))

    @property
    def scope(self) -> str:
        scope = self._part("scope")
        if scope is None:
            return self.at.scope
        return scope.id if isinstance(scope, _Handle) else str(scope)

    @property
    def id(self) -> str:
        if self.declared.type.lower() == "microsoft.resources/resourcegroups":
            return f"{self.at.scope}/resourceGroups/{self.name}"
        provider, *kinds = self.declared.type.split("/")
        path = "/".join(f"{kind}/{name}" for kind, name in zip(kinds, self.name.split("/"), strict=True))
        return f"{self.scope}/providers/{provider}/{path}"

    def member(self, name: str) -> Any:
        known: dict[str, Callable[[], Any]] = {
            "id": lambda: self.id,
            "name": lambda: self._part("name"),
            "type": lambda: self.declared.type,
            "apiVersion": lambda: self.declared.api_version,
            "location": lambda: self._part("location"),
        }
        return known[name]() if name in known else Runtime(f"{self.symbol}.{name}")

    def deployed(self) -> list[Resource]:
        if self.declared.existing or not self.condition:
            return []
        kind, version = self.declared.type, self.declared.api_version
        body = {
            name: value for name, value in self.body.items() if name not in {"parent", "scope", "dependsOn"}
        }
        path = self.at.template.path
        return [Resource(self.symbol, kind, version, self.name, self.id, _plain(body), path, self.scope)]


class _Module(_Handle):
    """A symbol of a module: a deployment of its own."""

    _deployment: Deployment | None = None

    def _deploy(self) -> Deployment:
        if self._deployment is None:
            template = read((self.at.template.path.parent / self.declared.source).resolve())
            if template.errors:
                raise BicepError(template.errors[0])
            given = {key: value for key, value in (self._part("params") or {}).items() if value is not None}
            self._deployment = _Deploying(template, given, self.scope).run()
        return self._deployment

    def member(self, name: str) -> Any:
        if name != "outputs":
            return super().member(name)
        if not self.condition:
            raise self.at.fail(self.declared.line, f"{self.symbol} is not deployed and has no outputs")
        return self._deploy().outputs

    def deployed(self) -> list[Resource]:
        return self._deploy().resources if self.condition else []


def _flat(value: Any) -> Iterator[_Handle]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def _plain(value: Any) -> Any:
    """Without handles, which stand in `dependsOn` and the like."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.id if isinstance(value, _Handle) else value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)  # as Azure does: True, False
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _hash(length: int, *parts: Any) -> str:
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return base64.b32encode(digest).decode().lower()[:length]


def _merged(first: Any, second: Any) -> Any:
    if isinstance(first, list):
        return [*first, *(item for item in second if item not in first)]
    merged = dict(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _about(at: _Deploying) -> dict[str, Any]:
    name = at.scope.split("/")[-1]
    return {"id": at.scope, "name": name, "location": Runtime("resourceGroup().location"), "tags": {}}


def _id(at: _Deploying, kind: str, *names: str) -> str:
    provider, *kinds = kind.split("/")
    path = "/".join(f"{one}/{name}" for one, name in zip(kinds, names, strict=True))
    return f"{at.scope}/providers/{provider}/{path}"


def _subscription_id(at: _Deploying, kind: str, *names: str) -> str:
    found = _id(at, kind, *names)
    return f"/subscriptions/{SUBSCRIPTION}/providers/{found.split('/providers/', 1)[1]}"


def _formatted(_: Any, form: str, *parts: Any) -> str:
    for number, part in enumerate(parts):
        form = form.replace("{" + str(number) + "}", _shown(part))
    return form


def _subnet(whole: str, size: int, number: int) -> str:
    return str(list(ip_network(whole).subnets(new_prefix=size))[number])


def _now(_: Any, form: str = "yyyyMMddTHHmmssZ") -> str:
    names = (("yyyy", "%Y"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("mm", "%M"), ("ss", "%S"))
    return NOW.strftime(reduce(lambda text, pair: text.replace(*pair), names, form))


_RULES: dict[str, Callable[[Any, Any], bool]] = {
    "allowed": lambda value, allowed: value in allowed,
    "minLength": lambda value, limit: len(value) >= limit,
    "maxLength": lambda value, limit: len(value) <= limit,
    "minValue": lambda value, limit: value >= limit,
    "maxValue": lambda value, limit: value <= limit,
}
_SHORT: dict[str, Callable[[Any], bool]] = {
    "&&": lambda first: not first,
    "||": bool,
    "??": lambda first: first is not None,
}
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "=~": lambda a, b: str(a).lower() == str(b).lower(),
    "!~": lambda a, b: str(a).lower() != str(b).lower(),
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "any": lambda _, value: value,
    "array": lambda _, value: value if isinstance(value, list) else [value],
    "base64": lambda _, text: base64.b64encode(text.encode()).decode(),
    "cidrSubnet": lambda _, whole, size, number: _subnet(whole, size, number),
    "bool": lambda _, value: str(value).lower() == "true" or value == 1,
    "concat": lambda _, *parts: reduce(lambda a, b: a + b, parts),
    "contains": lambda _, whole, part: part in whole,
    "deployment": lambda at: {"name": at.template.path.stem},
    "empty": lambda _, value: value is None or len(value) == 0,
    "endsWith": lambda _, text, end: text.lower().endswith(end.lower()),
    "environment": lambda _: _PUBLIC_CLOUD,
    "filter": lambda _, items, test: [item for item in items if test(item)],
    "first": lambda _, items: items[0],
    "flatten": lambda _, items: [one for item in items for one in item],
    "format": _formatted,
    "guid": lambda _, *parts: str(uuid.uuid5(uuid.NAMESPACE_OID, "\0".join(parts))),
    "indexOf": lambda _, text, part: text.find(part),
    "int": lambda _, value: int(value),
    "items": lambda _, value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "join": lambda _, parts, between: between.join(parts),
    "json": lambda _, text: json.loads(text),
    "last": lambda _, items: items[-1],
    "length": lambda _, value: len(value),
    "loadJsonContent": lambda at, name: json.loads((at.template.path.parent / name).read_text()),
    "loadTextContent": lambda at, name, *_: (at.template.path.parent / name).read_text(),
    "map": lambda _, items, change: [change(item) for item in items],
    "max": lambda _, *values: max(values),
    "min": lambda _, *values: min(values),
    "objectKeys": lambda _, value: sorted(value),
    "padLeft": lambda _, value, width, fill=" ": str(value).rjust(width, fill),
    "range": lambda _, start, count: list(range(start, start + count)),
    "replace": lambda _, text, old, new: text.replace(old, new),
    "resourceGroup": _about,
    "resourceId": _id,
    "shallowMerge": lambda _, parts: reduce(lambda a, b: {**a, **b}, parts, {}),
    "skip": lambda _, value, count: value[count:],
    "split": lambda _, text, between: text.split(between),
    "startsWith": lambda _, text, start: text.lower().startswith(start.lower()),
    "string": lambda _, value: _shown(value),
    "subscription": lambda _: {
        "id": f"/subscriptions/{SUBSCRIPTION}",
        "subscriptionId": SUBSCRIPTION,
        "tenantId": TENANT,
    },
    "subscriptionResourceId": _subscription_id,
    "substring": lambda _, text, start, count=None: text[start:][:count],
    "take": lambda _, value, count: value[:count],
    "tenant": lambda _: {"tenantId": TENANT},
    "toLower": lambda _, text: text.lower(),
    "toObject": lambda _, items, key, value=None: {
        key(item): value(item) if value else item for item in items
    },
    "toUpper": lambda _, text: text.upper(),
    "trim": lambda _, text: text.strip(),
    "union": lambda _, *parts: reduce(_merged, parts),
    "uniqueString": lambda _, *parts: _hash(13, *parts),
    "uri": lambda _, base, path: base.rstrip("/") + "/" + path.lstrip("/"),
    "utcNow": _now,
}
_PUBLIC_CLOUD = {
    "name": "AzureCloud",
    "suffixes": {"storage": "core.windows.net", "keyvaultDns": ".vault.azure.net"},
    "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
    "resourceManager": "https://management.azure.com/",
}
