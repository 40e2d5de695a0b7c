"""Bicep templates, parsed by tree-sitter: `read(path)` gives what a template declares.

Values are expressions until something evaluates them: `tests.infra.deployment` does, with parameters. What
this reader does not know raises BicepError with file and line, so nothing is passed over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

_LANGUAGE = Language(tree_sitter_bicep.language())
_PASSED_OVER = {"comment", "diagnostic_comment", "metadata_declaration", "type_declaration"}
_NAMES = {"identifier", "property_identifier", "compatible_identifier"}
_FLATTENED = {"ternary_expression", "binary_expression", "unary_expression", "lambda_expression"}
_ESCAPES = {"\\'": "'", "\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\t": "\t", "\\$": "$"}


class BicepError(Exception):
    """A template is wrong, or says something that these readers do not know."""


@dataclass(frozen=True)
class Expression:
    """`kind`: literal, name, string (with interpolations), array, object, call, method, lambda, unary,
    binary, choice, member, index, for or if. `value`: what is no expression in it; `parts`: what is."""

    kind: str
    line: int
    value: Any = None
    parts: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Parameter:
    """`decorators`: name -> its arguments, as expressions; `secure` has none."""

    name: str
    type: str
    default: Expression | None
    decorators: dict[str, tuple[Expression, ...]]

    @property
    def secure(self) -> bool:
        return "secure" in self.decorators


@dataclass(frozen=True)
class Output:
    name: str
    type: str
    value: Expression
    secure: bool


@dataclass(frozen=True)
class Declaration:
    """A resource or a module. `source`: a type with its version, or a path. `body`: an object, or `for` or
    `if` around one."""

    symbol: str
    source: str
    body: Expression
    existing: bool = False
    line: int = 0

    @property
    def type(self) -> str:
        return self.source.split("@")[0]

    @property
    def api_version(self) -> str:
        return self.source.split("@")[1]


@dataclass
class Template:
    """`errors`: what the parser could not read, as `file:line: text`; the rest is then not to be trusted."""

    path: Path
    scope: str = "resourceGroup"
    errors: list[str] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    variables: dict[str, Expression] = field(default_factory=dict)
    functions: dict[str, Expression] = field(default_factory=dict)
    resources: dict[str, Declaration] = field(default_factory=dict)
    modules: dict[str, Declaration] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    calls: set[str] = field(default_factory=set)
    """Names of all functions and methods that are called anywhere, such as `listKeys`."""
    names: set[str] = field(default_factory=set)
    """All names that stand in an expression."""


@cache
def read(path: Path) -> Template:
    """What a template declares. Raises OSError; wrong syntax is in `errors`."""
    template = Template(path)
    root = Parser(_LANGUAGE).parse(path.read_bytes()).root_node
    template.errors = [f"{path}:{_line(node)}: {_text(node)[:80]!r}" for node in _wrong(root)]
    if not template.errors:
        _Reader(template).read(root)
    return template


def templates_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.bicep"))


def _wrong(node: Node) -> Iterator[Node]:
    if node.is_error or node.is_missing:
        yield node
    elif node.has_error:
        for child in node.children:
            yield from _wrong(child)


def _line(node: Node) -> int:
    return node.start_point[0] + 1


def _text(node: Node) -> str:
    return (node.text or b"").decode()


class _Reader:
    def __init__(self, template: Template) -> None:
        self._template = template
        self._decorators: dict[str, tuple[Expression, ...]] = {}

    def read(self, root: Node) -> None:
        known: dict[str, Callable[[Node], None]] = {
            "target_scope_assignment": self._target_scope,
            "parameter_declaration": self._parameter,
            "variable_declaration": self._variable,
            "user_defined_function": self._function,
            "resource_declaration": partial(self._declare, self._template.resources),
            "module_declaration": partial(self._declare, self._template.modules),
            "output_declaration": self._output,
        }
        for node in root.named_children:
            if node.type == "decorators":
                self._decorators = dict(self._decorators_of(node))
            elif node.type in known:
                known[node.type](node)
                self._decorators = {}
            elif node.type not in _PASSED_OVER:
                raise self._unknown(node)

    def _unknown(self, node: Node) -> BicepError:
        return BicepError(f"{self._template.path}:{_line(node)}: unknown {node.type}: {_text(node)[:60]!r}")

    def _decorators_of(self, node: Node) -> Iterator[tuple[str, tuple[Expression, ...]]]:
        for decorator in _clean(node):
            called, arguments = _clean(decorator.named_children[0])
            yield _text(called).removeprefix("sys."), tuple(map(self._expression, _clean(arguments)))

    def _target_scope(self, node: Node) -> None:
        self._template.scope = self._expression(_clean(node)[-1]).value

    def _parameter(self, node: Node) -> None:
        name, kind, *default = _clean(node)
        self._template.parameters[_text(name)] = Parameter(
            _text(name), _text(kind), self._expression(default[0]) if default else None, self._decorators
        )

    def _variable(self, node: Node) -> None:
        name, value = _clean(node)
        self._template.variables[_text(name)] = self._expression(value)

    def _function(self, node: Node) -> None:
        name, parameters, _, body = _clean(node)
        names = tuple(_text(parameter.named_children[0]) for parameter in _clean(parameters))
        self._template.functions[_text(name)] = Expression(
            "lambda", _line(node), names, (self._expression(body),)
        )

    def _output(self, node: Node) -> None:
        name, kind, value = _clean(node)
        self._template.outputs[_text(name)] = Output(
            _text(name), _text(kind), self._expression(value), "secure" in self._decorators
        )

    def _declare(self, into: dict[str, Declaration], node: Node) -> None:
        symbol, source, body = _clean(node)
        existing = any(child.type == "existing" for child in node.children)
        into[_text(symbol)] = Declaration(
            _text(symbol), self._expression(source).value, self._expression(body), existing, _line(node)
        )

    def _expression(self, node: Node) -> Expression:
        return _Operators(list(self._tokens(node)), partial(self._unknown, node)).expression()

    def _tokens(self, node: Node) -> Iterator[Token]:
        """The expression flattened to operands, operators and postfixes: the grammar nests `a ? b : c.d`,
        `a => a.b` and the like wrongly."""
        if node.type in _FLATTENED:
            for child in node.children:
                if child.type not in _PASSED_OVER:
                    yield from self._tokens(child) if child.is_named else [child.type]
        elif node.type == "member_expression":
            yield from self._tokens(node.children[0])
            safe = any(child.type == ".?" for child in node.children)
            yield _Postfix("member", _line(node), (_text(node.children[-1]), safe))
        elif node.type == "subscript_expression":
            yield from self._tokens(node.children[0])
            safe = any(child.type == "?" for child in node.children)
            yield _Postfix("index", _line(node), safe, (self._expression(_clean(node)[-1]),))
        elif node.type == "call_expression":
            yield from self._call(*_clean(node))
        else:
            yield self._operand(node)

    def _call(self, called: Node, arguments: Node) -> Iterator[Token]:
        given = tuple(map(self._expression, _clean(arguments)))
        owner, name = called.named_children if called.named_child_count == 2 else (None, called)
        self._template.calls.add(_text(name))
        if owner is None or _text(owner) in {"sys", "az"}:
            yield Expression("call", _line(called), _text(name), given)
        else:
            yield from self._tokens(owner)
            yield _Postfix("method", _line(called), _text(name), given)

    def _operand(self, node: Node) -> Expression:
        makers: dict[str, Callable[[Node], Expression]] = {
            "string": self._string,
            "array": self._array,
            "object": self._object,
            "for_statement": self._for,
            "if_statement": self._if,
            "parenthesized_expression": lambda one: self._expression(_clean(one)[0]),
            "number": lambda one: Expression("literal", _line(one), int(_text(one))),
            "boolean": lambda one: Expression("literal", _line(one), _text(one) == "true"),
            "null": lambda one: Expression("literal", _line(one), None),
        }
        if node.type in _NAMES:
            self._template.names.add(_text(node))
            return Expression("name", _line(node), _text(node))
        if node.type not in makers:
            raise self._unknown(node)
        return makers[node.type](node)

    def _array(self, node: Node) -> Expression:
        return Expression("array", _line(node), None, tuple(map(self._expression, _clean(node))))

    def _string(self, node: Node) -> Expression:
        parts: list[Any] = []
        for child in node.named_children:
            if child.type == "interpolation":
                parts.append(self._expression(_clean(child)[0]))
            else:
                parts.append(_escaped(_text(child)) if child.type == "escape_sequence" else _text(child))
        if not all(isinstance(part, str) for part in parts):
            return Expression("string", _line(node), None, tuple(parts))
        text = "".join(parts)
        return Expression("literal", _line(node), text.removeprefix("\n") if _long(node) else text)

    def _object(self, node: Node) -> Expression:
        """`parts`: pairs of a key, an expression as well, and a value."""
        pairs = []
        for member in _clean(node):
            if member.type != "object_property" or len(_clean(member)) != 2:
                raise self._unknown(member)
            name, value = _clean(member)
            key = Expression("literal", _line(name), _text(name)) if name.type in _NAMES else None
            pairs.append((key or self._expression(name), self._expression(value)))
        return Expression("object", _line(node), None, tuple(pairs))

    def _for(self, node: Node) -> Expression:
        """`value`: the names of the element and of its index, or None; `parts`: the list and the body."""
        variables, items, body = _clean(node)
        names = [_text(child) for child in _clean(variables)] or [_text(variables)]
        given = (names[0], names[1] if len(names) > 1 else None)
        return Expression("for", _line(node), given, (self._expression(items), self._expression(body)))

    def _if(self, node: Node) -> Expression:
        return Expression("if", _line(node), None, tuple(map(self._expression, _clean(node))))


@dataclass(frozen=True)
class _Postfix:
    """`.name`, `[index]` or `.method(...)`, behind what it belongs to."""

    kind: str
    line: int
    value: Any
    parts: tuple[Expression, ...] = ()


Token = Expression | _Postfix | str
_BINARY = (
    {"??"},
    {"||"},
    {"&&"},
    {"==", "!=", "=~", "!~"},
    {"<", "<=", ">", ">="},
    {"+", "-"},
    {"*", "/", "%"},
)
"""From the loosest to the tightest, as Bicep's documentation ranks them."""


class _Operators:
    """Operators put in their right order, by precedence climbing."""

    def __init__(self, tokens: list[Token], unknown: Callable[[], BicepError]) -> None:
        self._tokens = tokens
        self._unknown = unknown

    def expression(self) -> Expression:
        found = self._choice()
        if self._tokens:
            raise self._unknown()
        return found

    def _next(self) -> Token | None:
        return self._tokens[0] if self._tokens else None

    def _take(self, wanted: str) -> None:
        if self._next() != wanted:
            raise self._unknown()
        self._tokens.pop(0)

    def _choice(self) -> Expression:
        if len(self._tokens) > 1 and self._tokens[1] == "=>":
            return self._lambda()
        condition = self._binary(0)
        if self._next() != "?":
            return condition
        self._take("?")
        yes = self._choice()
        self._take(":")
        return Expression("choice", condition.line, None, (condition, yes, self._choice()))

    def _lambda(self) -> Expression:
        name = self._tokens.pop(0)
        self._take("=>")
        if not isinstance(name, Expression) or name.kind != "name":
            raise self._unknown()
        return Expression("lambda", name.line, (name.value,), (self._choice(),))

    def _binary(self, level: int) -> Expression:
        if level == len(_BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while isinstance(operator := self._next(), str) and operator in _BINARY[level]:
            self._tokens.pop(0)
            left = Expression("binary", left.line, operator, (left, self._binary(level + 1)))
        return left

    def _unary(self) -> Expression:
        operator = self._next()
        if isinstance(operator, str) and operator in {"!", "-"}:
            self._tokens.pop(0)
            operand = self._unary()
            return Expression("unary", operand.line, operator, (operand,))
        return self._postfixed()

    def _postfixed(self) -> Expression:
        if not self._tokens:
            raise self._unknown()
        found = self._tokens.pop(0)
        if not isinstance(found, Expression):
            raise self._unknown()
        while isinstance(postfix := self._next(), _Postfix):
            self._tokens.pop(0)
            found = Expression(postfix.kind, postfix.line, postfix.value, (found, *postfix.parts))
        return found


def _clean(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type not in _PASSED_OVER]


def _long(node: Node) -> bool:
    return _text(node).startswith("'''")


def _escaped(text: str) -> str:
    if match := re.fullmatch(r"\\u\{([0-9a-fA-F]+)\}", text):
        return chr(int(match[1], 16))
    return _ESCAPES[text]
