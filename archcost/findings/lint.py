"""Parts of a spec that nothing uses, or that cannot be right: the findings of ``archcost lint``.

A knob, ``let`` or block is used if the layers or the input can reach its name; a block also if a
knob that is used holds its name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from archcost.errors import ArchcostError, Mistakes, SpecError
from archcost.findings.audit import audit_published
from archcost.network import Network
from archcost.record import plain
from archcost.spec import source as yaml
from archcost.spec.catalog import expand, is_lecture, read_spec
from archcost.spec.document import Block, Document
from archcost.spec.expression import ExpressionError, parse
from archcost.spec.source import Source
from archcost.table import Column, Table, Tabled
from archcost.units import number_of

ERROR, UNUSED, PUBLISHED, SAME = ("error", "unused", "published", "same")
"""What a finding can be: not readable, of no use, a figure that disagrees, a network twice.

The other kinds are those of a network's remarks.
"""


@dataclass(frozen=True)
class Flaw:
    """A finding at a place; line and column count from 1, line 0 is the whole file."""

    file: str
    line: int
    column: int
    kind: str
    text: str

    @property
    def place(self) -> str:
        """Where it is: ``file:line:column``."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


COLUMNS = (
    Column("place", "where", essential=True), Column("kind", "what", essential=True),
    Column("text", "finding", essential=True),
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Lint(Tabled):
    """The findings on a spec; made by :func:`lint`.

    Attributes:
        file: the name of the spec.
        flaws: in the order of its lines; none if it is clean.
    """

    file: str
    flaws: tuple[Flaw, ...]

    @property
    def subject(self) -> str:
        """The file, and how much was found."""
        return f"{self.file}: {number_of(len(self.flaws), 'finding')}"

    def table(self) -> Table:
        """Return one row per finding."""
        return flaws_table([*self.flaws])

    def to_dict(self) -> dict[str, Any]:
        """Return the findings with their places."""
        return {"file": self.file, "findings": plain(self.flaws)}


def flaws_table(flaws: list[Flaw]) -> Table:
    """Return one row per finding."""
    return Table(COLUMNS, tuple((flaw.place, flaw.kind, flaw.text) for flaw in flaws))


def lint(source: Source) -> list[Flaw]:
    """Return the findings on a spec, in the order of its lines."""
    mistakes = Mistakes()
    networks = {}
    with mistakes.kept():
        document = read_spec(source)
        for name in document.variants or [""]:
            with mistakes.kept():
                networks[name] = expand(document, name)
    try:
        mistakes.refuse()
    except SpecError as error:
        return [
            Flaw(one.file or source.name, one.line, one.column, ERROR, one.reason)
            for one in error.mistakes
        ]
    if is_lecture(source):
        return [*_remarked(document, networks)]
    root = yaml.parse_yaml(source)
    assert isinstance(root, yaml.Mapping)  # read_spec has seen to it
    flaws = [
        *_unused(document, root), *_doubled(document, root, networks),
        *_disagreeing(document, networks), *_remarked(document, networks),
    ]  # fmt: skip
    return sorted(flaws, key=lambda flaw: (flaw.line, flaw.column))


def _flaw(document: Document, node: yaml.Node, kind: str, text: str) -> Flaw:
    return Flaw(document.source.name, node.line, node.column, kind, text)


def _remarked(document: Document, networks: Mapping[str, Network]) -> Iterator[Flaw]:
    """Yield the remarks on the networks, each once though several variants have it."""
    remarks = [remark for network in networks.values() for remark in network.find_remarks(network)]
    for remark in dict.fromkeys(remarks):
        yield Flaw(document.source.name, remark.line, remark.column, remark.kind, remark.text)


# Unused names.


def _unused(document: Document, root: yaml.Mapping) -> Iterator[Flaw]:
    used = _reached(document)
    for kind, key in (("knob", "knobs"), ("value", "let")):
        for name, (place, _) in _entries(root, key).items():
            if name not in used:
                yield _flaw(document, place, UNUSED, f"{kind} {name} is never used")
    for name, block in document.blocks.items():
        if name not in used:
            never = (
                f"shared {name} is never used" if block.shared else f"block {name} is never called"
            )
            yield _flaw(document, block.node, UNUSED, never)
            continue
        names = _Names(document)
        names.visit(block.body, set())
        inside = names.found | {word for _, default in block.params for word in _words(default)}
        for param, _ in block.params:
            if param not in inside:
                yield _flaw(document, block.node, UNUSED, f"{name}: parameter {param} is not used")
    for node in (document.layers, *(block.body for block in document.blocks.values())):
        yield from _unused_values(document, node)


def _unused_values(document: Document, body: yaml.Node) -> Iterator[Flaw]:
    """Yield the values that an item of ``body`` names and no expression in it reads."""
    names = _Names(document)
    names.visit(body, set())
    for name, node in names.named.items():
        if name not in names.found:
            yield _flaw(document, node, UNUSED, f"value {name} is never used")


def _entries(root: yaml.Mapping, key: str) -> Mapping[str, tuple[yaml.Scalar, yaml.Node]]:
    node = root.get(key)
    return node.entries if isinstance(node, yaml.Mapping) else {}


def _reached(document: Document) -> set[str]:
    """Return the names that the layers and the input need, each with what it needs itself."""
    names = _Names(document)
    names.visit(document.layers, set())
    if document.outputs:
        names.visit(document.outputs, set())
    headers = [document.header, *(own for _, own in document.variants.values())]
    shapes = [header["input"] for header in headers if "input" in header]
    for shape in (*shapes, *document.inputs.values()):
        for text in re.findall(r"\{([^{}]*)\}", shape.text):
            names.found |= set(_words(_parsed(text.strip())))
    reached: set[str] = set()
    waiting = list(names.found)
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        waiting += _needs(document, name)
    return reached


def _needs(document: Document, name: str) -> set[str]:
    """Return the names that a knob, a value or a block needs."""
    if name in document.knobs:
        values = [document.knobs[name], *(own.get(name) for own, _ in document.variants.values())]
        return {word for value in values for word in _texts(value)}
    if name in document.let:
        return set(_words(_parsed(document.let[name].text)))
    if name in document.blocks:
        return _block_names(document, document.blocks[name])
    return set()


def _block_names(document: Document, block: Block) -> set[str]:
    names = _Names(document)
    names.visit(block.body, {param for param, _ in block.params})
    defaults = {word for _, default in block.params for word in _words(default)}
    return names.free | defaults


def _texts(value: Any) -> Iterator[str]:
    """Yield the words in a knob's value."""
    if isinstance(value, str):
        yield value
        yield from _words(_parsed(value))  # a quoted knob may hold an expression
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


@dataclass
class _Names:
    """The names that items read: all of them, and those that are not bound around them."""

    document: Document
    found: set[str] = field(default_factory=set)
    free: set[str] = field(default_factory=set)
    named: dict[str, yaml.Scalar] = field(default_factory=dict)

    def visit(self, node: yaml.Node, bound: set[str]) -> None:
        """Read an item or a list of items; ``bound`` grows by the values that they name."""
        if isinstance(node, yaml.Scalar):
            self._read(node.text, bound)
        elif isinstance(node, yaml.Sequence):
            for item in node.items:
                self.visit(item, bound)
        else:
            for key, value in node.entries.values():
                self._entry(key, value, bound)

    def _entry(self, key: yaml.Scalar, value: yaml.Node, bound: set[str]) -> None:
        if key.text == "let" and isinstance(value, yaml.Mapping):
            for name, (place, expression) in value.entries.items():
                if isinstance(expression, yaml.Scalar):
                    self._read(expression.text, bound)
                self.named.setdefault(name, place)
                bound.add(name)
            return
        loop = re.fullmatch(r"for (.+?) in (.+)", key.text)
        if loop:
            self._read(loop[2], bound)
            bound |= {name.strip() for name in loop[1].split(",")}
        elif key.text.startswith("if "):
            self._read(key.text[3:], bound)
        elif "(" in key.text:
            self._read(key.text, bound)
        self.visit(value, bound)

    def _read(self, text: str, bound: set[str]) -> None:
        words = set(_words(_parsed(text)))
        self.found |= words
        self.free |= words - bound


def _parsed(text: str) -> ast.expr | None:
    try:
        return parse(text)
    except ExpressionError:  # of a branch that no variant takes
        return None


def _words(tree: ast.expr | None) -> Iterator[str]:
    """Yield the names in an expression, and the words in its strings."""
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


# One network under two names.


def _doubled(
    document: Document, root: yaml.Mapping, networks: Mapping[str, Network]
) -> Iterator[Flaw]:
    """Yield the variants that are one network, unless title or paper tell them apart."""
    seen: dict[Any, str] = {}
    for name, (node, _) in _entries(root, "variants").items():
        network = networks[name]
        layers = tuple((layer.path, layer.op.call(layer.inputs)) for layer in network)
        first = seen.setdefault(
            (network.title, network.paper, network.inputs, network.outputs, layers), name
        )
        if first != name:
            yield _flaw(document, node, SAME, f"variant {name} is the same network as {first}")


# Published figures.


def _disagreeing(document: Document, networks: Mapping[str, Network]) -> Iterator[Flaw]:
    """Yield the published figures that are wrong without a reason."""
    lines = document.source.text.split("\n")
    for network in networks.values():
        places = [(row.line, text) for row in network.published for text in row.figures.values()]
        try:
            findings = list(audit_published(network))
        except SpecError as error:
            yield Flaw(document.source.name, error.line, error.column, ERROR, error.reason)
            continue
        except ArchcostError as error:
            yield Flaw(document.source.name, places[0][0], 1, ERROR, str(error))
            continue
        for (line, printed), finding in zip(places, findings, strict=True):
            if not finding.explained:
                at = re.search(rf"(?<![\w.]){re.escape(printed)}(?![\w.])", lines[line - 1])
                text = f"{network.name}: {finding.quantity} is printed as {printed}"
                reason = f"{text}, computed {finding.figure}; say why"
                column = at.start() + 1 if at else 1
                yield Flaw(document.source.name, line, column, PUBLISHED, reason)
