"""From the text of a configuration file to a checked :class:`Config`. Pure: no file, no clock.

The text is YAML 1.2. ``${env:NAME}`` and ``${env:NAME:-default}`` are filled into scalar values
after parsing, so that no variable can add a key, and what comes out is typed again like a YAML
scalar (as the OpenTelemetry Collector does, confmap section "Configuration expansion"); ``$$``
is one ``$``. Where a setting wants text, it gets the scalar exactly as it was written.

All errors of a file are reported at once, each with its line, its path, its value (never a
secret's) and the nearest name or value that would have been right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ..errors import ConfigurationError
from .alerts import AlertRule
from .base import Settings
from .fields import written
from .problems import Location, Problem, explain, may_be_secret, path_of
from .root import Config

__all__ = ["load", "load_as", "load_rules"]

Root = TypeVar("Root", bound=Settings)
Found = TypeVar("Found")

_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)\}")
_BODY = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_TOKENS = re.compile(r"'[^']*'|\"[^\"]*\"")
"""What an error of the parser quotes of the file: an alias may be an unquoted password."""
_TEXT_WANTED = frozenset({"string_type", "url_type", "path_type", "url_parsing"})
_SECTION_WANTED = frozenset({"model_type", "dict_type", "tuple_type", "model_attributes_type"})
_NODES_MAX = 100_000
_DEPTH_MAX = 50
_TAG = "tag:yaml.org,2002:"
_TAGS = frozenset({"null", "bool", "int", "float", "str", "timestamp", "merge", "map", "seq"})


def load(
    text: str, environment: Mapping[str, str] | None = None, source: str = "configuration"
) -> Config:
    """The configuration in ``text``; ``environment`` is what ``${env:NAME}`` may refer to.

    ``source`` is what errors call the text, such as a file name. Raises
    :class:`ConfigurationError` with every problem found.
    """
    return load_as(Config, text, environment, source)


def load_as(
    root: type[Root],
    text: str,
    environment: Mapping[str, str] | None = None,
    source: str = "file",
    check: Callable[[Root], Iterable[Problem]] = lambda _: (),
) -> Root:
    """A file that is no configuration, in the same way; ``check`` tells what else is wrong."""
    reading = _Reading(environment or {})
    document = _read(reading, text, (), source)
    if not isinstance(document, dict):
        what = "a configuration" if root is Config else "this file"
        raise _failure(source, [Problem((), 1, f"{what} is a mapping of sections")])
    return _complete(_checked(root, document, reading, source), reading, source, check)


def load_rules(
    text: str,
    source: str = "alerts.rules",
    check: Callable[[tuple[AlertRule, ...]], Iterable[Problem]] = lambda _: (),
) -> tuple[AlertRule, ...]:
    """Alert rules from a text of their own: a list, or a mapping with nothing but ``rules``.

    ``check`` tells what else is wrong with them; lines are added here. Raises
    :class:`ConfigurationError` with every problem found.
    """
    reading = _Reading({})
    here = ("alerts", "rules")
    document = _read(reading, text, here, source)
    if isinstance(document, dict) and set(document) == {"rules"}:
        reading = _Reading({})
        document = _read(reading, text, here[:1], source)["rules"]
    if not isinstance(document, list):
        raise _failure(source, [Problem((), 1, "alert rules are a list")])
    rules = _checked(Config, {"alerts": {"rules": document}}, reading, source).alerts.rules
    return _complete(rules, reading, source, check)


def _complete(
    found: Found, reading: _Reading, source: str, check: Callable[[Found], Iterable[Problem]]
) -> Found:
    problems = [p._replace(line=reading.line_of(p.location)) for p in check(found)]
    if problems:
        raise _failure(source, problems)
    return found


def _read(reading: _Reading, text: str, here: Location, source: str) -> Any:
    try:
        document = reading.document(text, here)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        said = _TOKENS.sub("...", str(error.problem or error.context))
        problem = Problem((), line, f"not YAML: {said}")
        raise _failure(source, [problem]) from None
    except YAMLError as error:
        raise _failure(source, [Problem((), None, f"not YAML: {error}")]) from None
    if reading.problems:
        raise _failure(source, reading.problems)
    return document


def _checked(root: type[Root], document: dict[str, Any], reading: _Reading, source: str) -> Root:
    try:
        return _validate(root, document, reading)
    except ValidationError as error:
        problems = [explain(e, document, reading.line_of, root) for e in error.errors()]
        # A chained exception would print the input, secrets included.
        raise _failure(source, problems) from None


def _validate(root: type[Root], document: dict[str, Any], reading: _Reading) -> Root:
    try:
        return root.model_validate(document)
    except ValidationError as error:
        changed = False
        for e in error.errors():
            location = written(e["loc"], root)
            if e["type"] in _TEXT_WANTED and location in reading.texts:
                changed |= _put(document, location, reading.texts[location])
            elif e["type"] in _SECTION_WANTED and e["input"] is None:
                # A section whose keys are all commented out is an empty section.
                changed |= _drop(document, location)
        if not changed:
            raise
    return root.model_validate(document)


def _failure(source: str, problems: list[Problem]) -> ConfigurationError:
    problems = sorted(problems, key=lambda p: (p.line or 0, path_of(p.location)))
    many = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
    return ConfigurationError("\n  ".join([f"{source}: {many}", *map(str, problems)]))


def _parent(document: dict[str, Any], location: Location) -> Any:
    here: Any = document
    for step in location[:-1]:
        here = here[step]
    return here


def _put(document: dict[str, Any], location: Location, value: str) -> bool:
    _parent(document, location)[location[-1]] = value
    return True


def _drop(document: dict[str, Any], location: Location) -> bool:
    parent = _parent(document, location)
    if not isinstance(parent, dict):
        return False
    del parent[location[-1]]
    return True


class _Reading:
    """One pass over the nodes of a document: values, where they stood, what was wrong."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.lines: dict[Location, int] = {}
        self.texts: dict[Location, str] = {}
        self.problems: list[Problem] = []
        self._yaml = YAML(typ="safe", pure=True)
        self._nodes = 0

    def document(self, text: str, here: Location) -> Any:
        """What the text says, as if it stood at ``here``."""
        node = self._yaml.compose(text)
        value = None if node is None else self._value(node, here)
        return {} if value is None else value

    def line_of(self, location: Location) -> int | None:
        """Line of a location, or of the nearest thing around it that stands in the text."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.lines:
                return self.lines[location[:length]]
        return None

    def _complain(self, location: Location, node: Node, message: str) -> None:
        self.problems.append(Problem(location, node.start_mark.line + 1, message))

    def _value(self, node: Node, location: Location) -> Any:
        self.lines.setdefault(location, node.start_mark.line + 1)
        self._nodes += 1
        if self._nodes > _NODES_MAX or len(location) > _DEPTH_MAX:  # aliases of aliases
            if self._nodes <= _NODES_MAX or self._nodes == _NODES_MAX + 1:
                self._complain(location[:1], node, "too large once its aliases are expanded")
            return None
        if str(node.tag).removeprefix(_TAG) not in _TAGS:
            # A password that begins with ! and has no quotes is read as a tag.
            tag = "a tag (!)" if may_be_secret(location) else f"tag {node.tag!s}"
            self._complain(location, node, f"{tag} is not known here")
            return None
        if isinstance(node, MappingNode):
            return dict(self._pairs(node, location))
        if isinstance(node, SequenceNode):
            return [self._value(item, (*location, i)) for i, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, location)
        raise AssertionError(f"a fourth kind of node: {node}")

    def _pairs(self, node: MappingNode, location: Location) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._complain(location, key_node, "a key must be a plain word")
                continue
            key = str(key_node.value)
            here = (*location, key)
            if key in seen:
                self._complain(here, key_node, f"set twice, first on line {seen[key]}")
                continue
            seen[key] = self.lines[here] = key_node.start_mark.line + 1
            yield key, self._value(value_node, here)

    def _scalar(self, node: ScalarNode, location: Location) -> Any:
        text = str(node.value)
        filled = self._fill(text, node, location) if "$" in text else text
        if filled is None:
            return None
        if filled != text:
            if _REFERENCE.fullmatch(text) and text != "$$":
                return self._typed_again(filled, location)
            return filled
        return self._plain(node, location)

    def _plain(self, node: ScalarNode, location: Location) -> Any:
        kind = str(node.tag).removeprefix(_TAG)
        if kind in {"null", "bool", "int", "float", "str"}:
            value = self._yaml.constructor.construct_object(node)
            if value is not None and not isinstance(value, str):
                self.texts[location] = str(node.value)
            return value
        return str(node.value)  # a timestamp or a merge sign: we have no use for either

    def _typed_again(self, text: str, location: Location) -> Any:
        """What ``text`` would be as a value in the file; text when it would not even parse."""
        yaml = YAML(typ="safe", pure=True)
        try:
            value = yaml.load(text)
        except (YAMLError, ValueError):
            return text
        if isinstance(value, bool | int | float):
            self.texts[location] = text
            return value
        if isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
            self.texts[location] = text
            return value
        return text

    def _fill(self, text: str, node: ScalarNode, location: Location) -> str | None:
        missing: list[str] = []

        def replacement(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            body = _BODY.fullmatch(match[1])
            if body is None or "${" in match[1]:
                said = "${...}" if may_be_secret(location) else match[0]
                missing.append(f"{said} is not ${{env:NAME}} or ${{env:NAME:-default}}")
                return ""
            name, default = body[1], body[2]
            if name in self.environment:
                return self.environment[name]
            if default is None:
                missing.append(f"environment variable {name} is not set, and has no :-default")
            return default or ""

        filled = _REFERENCE.sub(replacement, text)
        for message in missing:
            self._complain(location, node, message)
        return None if missing else filled
