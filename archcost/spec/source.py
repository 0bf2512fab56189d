"""YAML text as a tree of nodes that know their line and column, with bounds on its size."""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import yaml

from archcost.data import dataclass
from archcost.errors import ArchcostError, Mistakes, SpecError, did_you_mean, shorten

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 1 << 20
MAX_DEPTH = 64


@dataclass
class Scalar:
    """A YAML scalar; ``plain`` is False when it was quoted."""

    text: str
    line: int
    column: int
    plain: bool
    __slots__ = ("column", "line", "plain", "text")

    def __init__(self, text: str, line: int, column: int, plain: bool = True) -> None:
        self.text, self.line, self.column, self.plain = text, line, column, plain


@dataclass
class Sequence:
    """A YAML list."""

    items: list[Node]
    line: int
    column: int


@dataclass
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
Reader = Callable[[Node], Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """The text of a spec and the name under which messages cite it."""

    name: str
    text: str

    def error(
        self, node: Node | None, reason: str, offset: int = 0, kind: type[SpecError] = SpecError
    ) -> SpecError:
        """Return the error at a node; ``offset`` counts characters into a plain scalar."""
        if node is None:
            return kind(reason, self.name)
        return kind(reason, self.name, node.line, node.column + offset)

    def scalar(self, node: Node | None, what: str) -> Scalar:
        """Return the node, or refuse a list or mapping."""
        if not isinstance(node, Scalar):
            raise self.error(node, f"{what} must be a single value")
        return node

    def plain_text(self, node: Node | None, what: str) -> str:
        """Return the text of a scalar without spaces around it."""
        return self.scalar(node, what).text.strip()

    def parsed(self, node: Node, parse: Callable[[str], T], what: str = "this") -> T:
        """Return what a function makes of the text of a scalar; its error is one at the node."""
        text = self.scalar(node, what).text
        try:
            return parse(text.strip())
        except ArchcostError as error:
            raise self.error(node, str(error), getattr(error, "offset", 0)) from None

    def mapping(self, node: Node | None, what: str) -> dict[str, tuple[Scalar, Node]]:
        """Return the entries of a mapping, or refuse another node."""
        if not isinstance(node, Mapping):
            raise self.error(node, f"{what} must be a mapping")
        return node.entries

    def known(self, key: Scalar, what: str, names: Iterable[str]) -> str:
        """Return the text of a node that must be one of several names."""
        if key.text not in (known := list(names)):
            hint = did_you_mean(key.text, known)
            raise self.error(key, f"unknown {what} {shorten(key.text)!r}{hint}")
        return key.text

    def read(
        self, node: Node | None, what: str, fields: typing.Mapping[str, type[str] | Reader]
    ) -> dict[str, Any]:
        """Return the values of a mapping by key.

        Args:
            node: the mapping.
            what: what it is, in words.
            fields: what reads the value of each key, ``str`` for a plain text; the keys that end
                in ``?`` may be left out.

        Raises:
            SpecError: no mapping, an unknown key, with the nearest one, or a missing one.
        """
        entries = self.mapping(node, what)
        readers = {key.removesuffix("?"): reader for key, reader in fields.items()}
        for key, _ in entries.values():
            self.known(key, "key", readers)
        for name in fields:
            if not name.endswith("?") and name not in entries:
                raise self.error(node, f"{what} has no {name}")
        return {
            name: self.plain_text(value, name) if isinstance(reader, type) else reader(value)
            for name, reader in readers.items() if name in entries
            for _, value in [entries[name]]
        }  # fmt: skip


def year(text: str) -> int:
    """Return a year from 1900 on, or raise ArchcostError."""
    if not re.fullmatch(r"(19|20)\d\d", text):
        raise ArchcostError(f"year must have four digits; got {shorten(text)!r}")
    return int(text)


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
        return Source(name, decoded(data))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise SpecError(f"not UTF-8 (byte 0x{data[error.start]:02x})", name, line, column) from None


def decoded(data: bytes) -> str:
    """Return UTF-8 as text, without a mark of the byte order."""
    return data.decode().removeprefix("\ufeff")


def is_spec_file(path: str | Path) -> bool:
    """Whether a YAML file is written as a spec: ``layers`` at its top, and ``input`` or the like.

    A spec with mistakes is one too; a file that cannot be opened counts, so that it is reported.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError):
        return True
    keys = rb"^(?:inputs?|family|variants|blocks|shared|knobs)[ \t]*:"
    layers = rb"^layers[ \t]*:[ \t]*(?:\[.*|#.*)?\r?$"
    return all(re.search(pattern, data, re.MULTILINE) for pattern in (keys, layers))


def parse_yaml(source: Source, mistakes: Mistakes | None = None) -> Node:
    """Parse one YAML document; calls that YAML split at a comma are put together again.

    Args:
        source: the text.
        mistakes: takes up where YAML split a call; without it that is raised.

    Raises:
        SpecError: a syntax error, an empty file, several documents, an alias, a tag, a duplicate
            key, or nesting deeper than 64.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    root: Node | None = None
    split = Mistakes() if mistakes is None else mistakes
    try:
        events = iter(yaml.parse(source.text, Loader=loader))
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    _refuse(source, event, "a spec is one YAML document; this is a second one")
                root = _node(source, next(events), events, 0, split)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "not YAML"
        if mark is None:
            raise SpecError(reason, source.name) from None
        line = source.text.split("\n")[mark.line : mark.line + 1]
        if "expected ',' or" in reason and "(" in "".join(line):
            reason += "; inside [...] and {...}, put a call with a list in quotes"
        raise SpecError(reason, source.name, mark.line + 1, mark.column + 1) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise SpecError(str(error), source.name) from None
    if root is None or _is_empty(root):
        raise SpecError("the file is empty", source.name)
    if mistakes is None:
        split.refuse()
    return root


def _node(
    source: Source, event: yaml.Event, events: Iterator[yaml.Event], depth: int, split: Mistakes
) -> Node:
    line, column = _place(event)
    if depth > MAX_DEPTH:
        _refuse(source, event, f"nested deeper than {MAX_DEPTH}")
    if type(event) is yaml.ScalarEvent and event.tag in (None, "!"):  # nearly always
        return Scalar(event.value, line, column, event.style in (None, ""))
    if isinstance(event, yaml.AliasEvent):
        _refuse(source, event, "YAML aliases are not part of the spec language; use a block")
    if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None) not in (None, "!"):
        _refuse(source, event, "YAML tags are not part of the spec language")
    flow: bool = getattr(event, "flow_style", False)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Node] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            item = _node(source, event, events, depth + 1, split)
            if not (flow and items and _is_rest(items[-1], item)):
                items.append(item)
            elif _put_together(items[-1], item):
                split.append(_split_at_comma(source, items[-1]))
        return Sequence(items, line, column)
    entries: dict[str, tuple[Scalar, Node]] = {}
    value: Node | None = None
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _node(source, event, events, depth + 1, split)
        if not isinstance(key, Scalar):
            raise source.error(key, "a key must be a name")
        before, value = value, _node(source, next(events), events, depth + 1, split)
        if flow and _is_empty(value) and _is_rest(before, key):
            value = before
            if _put_together(before, key):
                split.append(_split_at_comma(source, before))
            continue
        if key.text in entries:
            first = entries[key.text][0]
            raise source.error(key, f"duplicate key {key.text!r}; first in line {first.line}")
        entries[key.text] = (key, value)
    return Mapping(entries, line, column)


def _is_rest(before: Node | None, after: Node) -> bool:
    """Whether YAML split a call, and ``after`` is more of it: a bracket is open before the comma.

    That is so inside [...] and {...} only: elsewhere a scalar does not end at a comma.
    """
    return (
        isinstance(before, Scalar) and isinstance(after, Scalar) and before.plain and after.plain
        and before.text.count("(") > before.text.count(")")
    )  # fmt: skip


def _put_together(before: Node | None, after: Node) -> bool:
    """Add the rest of a call that YAML split; return whether the call is whole now."""
    assert isinstance(before, Scalar) and isinstance(after, Scalar)
    before.text += f", {after.text}"
    return before.text.count("(") == before.text.count(")")


def _split_at_comma(source: Source, node: Node | None) -> SpecError:
    assert isinstance(node, Scalar)
    text = shorten(node.text)
    return source.error(
        node, f'YAML splits {text} at its comma; write "{text}" in quotes, or on its own line'
    )


def _is_empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.plain and not node.text


def _refuse(source: Source, event: yaml.Event, reason: str) -> NoReturn:
    raise SpecError(reason, source.name, *_place(event))


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
