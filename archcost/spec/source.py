"""YAML text as a tree of nodes that know their line and column, with bounds on its size."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import yaml

from archcost.errors import ArchcostError, SpecError, shorten
from archcost.shape import Shape, parse_shape

MAX_BYTES = 1 << 20
MAX_DEPTH = 64


@dataclass(slots=True)
class Scalar:
    """A YAML scalar; ``plain`` is False when it was quoted."""

    text: str
    line: int
    column: int
    plain: bool = True


@dataclass(slots=True)
class Sequence:
    """A YAML list."""

    items: list[Node]
    line: int
    column: int


@dataclass(slots=True)
class Mapping:
    """A YAML mapping, in the order written; keys are unique scalars."""

    entries: dict[str, tuple[Scalar, Node]]
    line: int
    column: int

    def get(self, key: str) -> Node | None:
        """Return the value under ``key``, or None."""
        entry = self.entries.get(key)
        return entry[1] if entry else None


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True)
class Source:
    """The text of a spec and the name under which messages cite it."""

    name: str
    text: str

    def error(self, node: Node | None, reason: str, offset: int = 0) -> SpecError:
        """Return the error at a node; ``offset`` counts characters into a plain scalar."""
        if node is None:
            return SpecError(reason, self.name)
        return SpecError(reason, self.name, node.line, node.column + offset)

    def scalar(self, node: Node | None, what: str) -> Scalar:
        """Return the node, or refuse a list or mapping."""
        if not isinstance(node, Scalar):
            raise self.error(node, f"{what} must be a single value")
        return node

    def plain_text(self, node: Node | None, what: str) -> str:
        """Return the text of a scalar without spaces around it."""
        return self.scalar(node, what).text.strip()

    def year(self, node: Node, text: str) -> int:
        """Return a year from 1900 on."""
        if not re.fullmatch(r"(19|20)\d\d", text):
            raise self.error(node, f"year must have four digits; got {shorten(text)!r}")
        return int(text)

    def shape(self, node: Node, text: str) -> Shape:
        """Return a shape such as ``3x224x224``."""
        try:
            return parse_shape(text)
        except ArchcostError as error:
            raise self.error(node, str(error)) from None


def read_source(path: str | Path) -> Source:
    """Read a file, or standard input for ``-``.

    Raises:
        SpecError: missing, a directory, unreadable, larger than 1 MiB, or not UTF-8.
    """
    name = "<stdin>" if str(path) == "-" else str(path)
    try:
        if name == "<stdin>":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SpecError(getattr(error, "strerror", None) or str(error), name) from None
    if len(data) > MAX_BYTES:
        raise SpecError(f"the file is larger than {MAX_BYTES:,} bytes", name)
    try:
        return Source(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise SpecError(f"not UTF-8 (byte 0x{data[error.start]:02x})", name, line, column) from None


def parse_yaml(source: Source) -> Node:
    """Parse one YAML document.

    Raises:
        SpecError: a syntax error, an empty file, several documents, an alias, a tag, a duplicate
            key, or nesting deeper than 64.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    root: Node | None = None
    try:
        events = iter(yaml.parse(source.text, Loader=loader))
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    _refuse(source, event, "a spec is one YAML document; this is a second one")
                root = _node(source, next(events), events, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "not YAML"
        if mark is None:
            raise SpecError(reason, source.name) from None
        raise SpecError(reason, source.name, mark.line + 1, mark.column + 1) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise SpecError(str(error), source.name) from None
    if root is None or (isinstance(root, Scalar) and root.plain and not root.text):
        raise SpecError("the file is empty", source.name)
    return root


def _node(source: Source, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
    line, column = _place(event)
    if depth > MAX_DEPTH:
        _refuse(source, event, f"nested deeper than {MAX_DEPTH}")
    if isinstance(event, yaml.AliasEvent):
        _refuse(source, event, "YAML aliases are not part of the spec language; use a block")
    if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None) not in (None, "!"):
        _refuse(source, event, "YAML tags are not part of the spec language")
    if isinstance(event, yaml.ScalarEvent):
        return Scalar(event.value, line, column, event.style in (None, ""))
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_node(source, event, events, depth + 1))
        return Sequence(items, line, column)
    entries: dict[str, tuple[Scalar, Node]] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _node(source, event, events, depth + 1)
        if not isinstance(key, Scalar):
            raise source.error(key, "a key must be a name")
        value = _node(source, next(events), events, depth + 1)
        if key.text in entries:
            first = entries[key.text][0]
            raise source.error(key, f"duplicate key {key.text!r}; first in line {first.line}")
        entries[key.text] = (key, value)
    return Mapping(entries, line, column)


def _refuse(source: Source, event: yaml.Event, reason: str) -> NoReturn:
    raise SpecError(reason, source.name, *_place(event))


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
