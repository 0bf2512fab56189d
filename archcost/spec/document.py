"""A spec file as checked parts: header, knobs, variants, blocks, layers, published figures."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Mapping_
from dataclasses import field, replace
from functools import cached_property, partial
from typing import Any

from archcost.data import dataclass
from archcost.errors import Mistakes, SpecError, did_you_mean, nearest, shorten
from archcost.network import NETWORK_INPUT, Value
from archcost.ops import OPS
from archcost.ops.base import DTYPES, FLOAT
from archcost.published import Claim, Published
from archcost.shape import Shape, parse_shape
from archcost.spec.expression import WORDS, Evaluator, ExpressionError, literal, parse
from archcost.spec.figures import read_published
from archcost.spec.scope import UNKNOWN
from archcost.spec.source import Mapping, Node, Scalar, Sequence, Source, parse_yaml, year
from archcost.spec.values import FUNCTIONS

KEYS = (
    "name", "family", "title", "paper", "year", "input", "inputs", "meant",
    "knobs", "variants", "let", "blocks", "shared", "layers", "outputs",
    "published",
)  # fmt: skip
VARIANT_HEADER = ("title", "paper", "year", "input")
RESERVED = ("in_channels", "in_size", "current", "take", "input", "none", *WORDS)


@dataclass(frozen=True)
class Block:
    """A named list of items with parameters; a shared one has weights once, and no parameters."""

    name: str
    params: tuple[tuple[str, ast.expr | None], ...]
    body: Node
    node: Scalar
    shared: bool = False


@dataclass
class Document:
    """A checked spec file."""

    source: Source
    name: str
    is_family: bool
    header: dict[str, Scalar]
    knobs: dict[str, Any]
    variants: dict[str, tuple[dict[str, Any], dict[str, Scalar]]]
    let: dict[str, Scalar]
    blocks: dict[str, Block]
    layers: Node
    published: list[Published] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    variant_required: bool = False
    """Whether the file has networks only under its variants' names, as a table with columns."""
    inputs: dict[str, Scalar] = field(default_factory=dict)
    """The shapes of several inputs by their names, as they are written."""
    outputs: Node | None = None
    """Which tensors come out, if they are named."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Other names of variants: ``resnet50`` for the column ``50-layer``."""
    mistakes: Mistakes = field(default_factory=Mistakes)
    """What is wrong in these parts; who expands the layers refuses these with those there."""
    broken: set[str] = field(default_factory=set)
    """The names of blocks whose heads cannot be read."""
    meant: tuple[str, ...] = ()
    """The kinds of remarks that need not be made: the spec means what it says."""

    code: str = ""
    """What names the network if it is code, and no file's text."""
    templates: dict[Any, Any] = field(default_factory=dict)
    """What blocks have made (:mod:`archcost.spec.template`), by what it depends on."""

    @cached_property
    def mentioned(self) -> frozenset[str]:
        """The words in the blocks, of which some name values of the network."""
        return frozenset(word for block in self.blocks.values() for word in _words(block.body))

    @cached_property
    def named(self) -> Mapping_[str, int]:
        """The names that items give, wherever they stand, each with the line of the first."""
        found: dict[str, int] = {}
        for node in (self.layers, *(block.body for block in self.blocks.values())):
            for key in _keys(node):
                found.setdefault(key.text, key.line)
        return found

    def models(self) -> list[str]:
        """Return the names of the models that the file defines."""
        return list(self.variants) if self.variants else [self.name]


def _words(node: Node) -> Iterator[str]:
    if isinstance(node, Scalar):
        yield from re.findall(r"[^\W\d]\w*", node.text)
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from _words(item)
    else:
        for key, value in node.entries.values():
            yield from _words(key)
            yield from _words(value)


def _keys(node: Node) -> Iterator[Scalar]:
    """Yield the keys of all mappings in a node."""
    for item in node.items if isinstance(node, Sequence) else ():
        yield from _keys(item)
    if isinstance(node, Mapping):
        for key, value in node.entries.values():
            yield key
            yield from _keys(value)


def read_document(source: Source) -> Document:
    """Read and check a spec.

    Raises:
        SpecError: with file, line and column.
    """
    document = examine(source)
    document.mistakes.refuse()
    return document


def examine(source: Source) -> Document:
    """Read a spec as far as it can be read, and return it with the mistakes in it.

    Raises:
        SpecError: it is not YAML, or not a mapping.
    """
    mistakes = Mistakes()
    return _examined(source, parse_yaml(source, mistakes), mistakes)


def document_from(source: Source, root: Node) -> Document:
    """Check a tree of nodes and return the document."""
    document = _examined(source, root, Mistakes())
    document.mistakes.refuse()
    return document


def _examined(source: Source, root: Node, mistakes: Mistakes) -> Document:
    if not isinstance(root, Mapping):
        raise source.error(root, "a spec is a mapping with name, input and layers")
    if not set(root.entries) & {"name", "family", "layers", "blocks", "variants"}:
        keys = ", ".join(shorten(key, 20) for key in [*root.entries][:4])
        raise source.error(root, f"no spec: it has no name, input or layers, but {keys}")
    strange = [key for key in root.entries if key not in KEYS]
    for key in strange:
        hint = did_you_mean(key, KEYS)
        mistakes.append(source.error(root.entries[key][0], f"unknown key {shorten(key)!r}{hint}"))
    if len(heads := [key for key in ("input", "inputs") if key in root.entries]) > 1:
        mistakes.append(source.error(root.entries["inputs"][0], "a spec has input or inputs"))
    wanted = {"layers"} if heads else {"input", "layers"}
    missing = wanted - set(root.entries) - {nearest(key, KEYS) for key in strange}
    named = [key for key in ("name", "family") if key in root.entries]
    if len(named) != 1 and not (strange and not named):
        mistakes.append(source.error(root, "a spec needs either name or family"))
    for key in sorted(missing):
        mistakes.append(source.error(root, f"the spec has no {key}"))
    name = ""
    with mistakes.kept():
        name = _name(source, root.get(named[0]) if named else None) if named else ""
    header = {}
    for key in VARIANT_HEADER:
        with mistakes.kept():
            if key in root.entries:
                header[key] = _header(source, root.get(key), key)
    document = Document(
        source, name, "family" in root.entries, header, {}, {}, {}, {},
        layers=root.entries["layers"][1] if "layers" in root.entries else Sequence([], 1, 1),
        mistakes=mistakes, outputs=root.get("outputs"),
    )  # fmt: skip
    for part, read in (
        ("meant", _meant), ("knobs", _knobs), ("inputs", _inputs), ("variants", _variants),
        ("let", _let), ("blocks", _blocks), ("shared", partial(_blocks, shared=True)),
    ):  # fmt: skip
        with mistakes.kept():
            read(document, root.get(part))
    for some in (header, *(own for _, own in document.variants.values())):
        try:
            read_year(document, some.get("year"))
        except SpecError as error:
            mistakes.append(error)
            del some["year"]
    with mistakes.kept():
        names = [name, *document.variants]
        document.published = read_published(source, root.get("published"), names, mistakes)
    return document


def _header(source: Source, node: Node | None, key: str) -> Scalar:
    if key == "input" and not isinstance(node, Scalar):
        raise source.error(node, "an input is written as 3x224x224, without a batch")
    return source.scalar(node, key)


def _name(source: Source, node: Node | None) -> str:
    name = source.plain_text(node, "name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
        raise source.error(node, f"a name has letters, digits, . _ + -; got {shorten(name)!r}")
    return name


def _entries(source: Source, node: Node | None, what: str) -> list[tuple[str, tuple[Scalar, Node]]]:
    if node is None or (isinstance(node, Scalar) and node.plain and not node.text):
        return []
    return list(source.mapping(node, what).items())


def _check_value_name(document: Document, node: Scalar) -> None:
    name = node.text
    if not name.isidentifier() or name in RESERVED or name in VARIANT_HEADER:
        raise document.source.error(node, f"{shorten(name)!r} cannot name a value here")
    if name in document.knobs:
        raise document.source.error(node, f"{name} is a knob already")


def plain_value(source: Source, node: Node) -> Any:
    """Return a knob's value: YAML lists, expressions without names, and bare words as strings."""
    if isinstance(node, Sequence):
        return [plain_value(source, item) for item in node.items]
    if isinstance(node, Mapping):
        raise source.error(node, "a knob is a number, a word or a list")
    if not node.plain:
        return node.text
    try:
        return literal(node.text)
    except ExpressionError as error:
        raise source.error(node, str(error), error.offset) from None


def _meant(document: Document, node: Node | None) -> None:
    from archcost.spec.remarks import MEANT  # few specs need it

    for item in node.items if isinstance(node, Sequence) else [node] if node else []:
        with document.mistakes.kept():
            word = document.source.scalar(item, "a kind of remark")
            document.meant += (document.source.known(word, "kind of remark", MEANT),)


def _inputs(document: Document, node: Node | None) -> None:
    if node is not None and not isinstance(node, Mapping):
        reason = "inputs are names with shapes, as {left: 1x105x105, right: 1x105x105}"
        raise document.source.error(node, reason)
    if node is not None and not node.entries:
        raise document.source.error(node, "inputs has no input; a network reads one at least")
    for key, (key_node, value) in _entries(document.source, node, "inputs"):
        with document.mistakes.kept():
            if key != NETWORK_INPUT:
                _check_value_name(document, key_node)
            document.inputs[key] = document.source.scalar(value, key)


def _knobs(document: Document, node: Node | None) -> None:
    for key, (key_node, value) in _entries(document.source, node, "knobs"):
        with document.mistakes.kept():
            _check_value_name(document, key_node)
            document.knobs[key] = UNKNOWN
            document.knobs[key] = plain_value(document.source, value)


def _let(document: Document, node: Node | None) -> None:
    for key, (key_node, value) in _entries(document.source, node, "let"):
        with document.mistakes.kept():
            _check_value_name(document, key_node)
            document.let[key] = document.source.scalar(value, key)


def _variants(document: Document, node: Node | None) -> None:
    source, knobs = document.source, document.knobs
    for name, (key_node, body) in _entries(source, node, "variants"):
        values: dict[str, Any] = {}
        header: dict[str, Scalar] = {}
        with document.mistakes.kept():
            document.variants[_name(source, key_node)] = (values, header)
        for key, (knob_node, value) in _entries(source, body, "a variant"):
            with document.mistakes.kept():
                if key == "inputs" and document.inputs:
                    header |= dict(_own_inputs(document, value))
                elif key == "input" and document.inputs:
                    names = ", ".join(document.inputs)
                    reason = f"the inputs are {names}; a variant changes some under `inputs`"
                    raise source.error(knob_node, reason)
                elif key in VARIANT_HEADER:
                    header[key] = _header(source, value, key)
                elif key in knobs:
                    values[key] = plain_value(source, value)
                else:
                    hint = did_you_mean(key, [*knobs, *VARIANT_HEADER])
                    raise source.error(knob_node, f"{name}: unknown knob {shorten(key)!r}{hint}")


def _own_inputs(document: Document, node: Node) -> Iterator[tuple[str, Scalar]]:
    """Yield the inputs that a variant changes, as entries of its header."""
    for name, (key_node, value) in _entries(document.source, node, "inputs"):
        document.source.known(key_node, "input", document.inputs)
        yield f"inputs.{name}", document.source.scalar(value, name)


def _blocks(document: Document, node: Node | None, shared: bool = False) -> None:
    for head, (key_node, body) in _entries(document.source, node, "shared" if shared else "blocks"):
        name = head.split("(")[0].strip()
        try:
            block = replace(_block(document, head, key_node, body), shared=shared)
            if shared and "(" in head:
                reason = f"{name} has one set of weights and so no parameters; a block has some"
                raise document.source.error(key_node, reason, len(name))
            if shared and isinstance(body, Sequence) and not body.items:
                raise document.source.error(key_node, f"{name} is empty; write its items below it")
        except SpecError as error:
            document.mistakes.append(error)
            document.broken.add(name)
        else:
            document.blocks[block.name] = block


def _block(document: Document, head: str, node: Scalar, body: Node) -> Block:
    source, blocks = document.source, document.blocks
    try:
        call = parse(head)
    except ExpressionError as error:
        raise source.error(node, str(error), error.offset) from None
    params: list[tuple[str, ast.expr | None]] = []
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
        name = call.func.id
        for arg in call.args:
            if not isinstance(arg, ast.Name):
                raise source.error(node, "a block's parameter is a name", arg.col_offset)
            params.append((arg.id, None))
        params += [(keyword.arg or "**", keyword.value) for keyword in call.keywords]
    elif isinstance(call, ast.Name):
        name = call.id
    else:
        raise source.error(node, "a block is written as name(parameter, other=default)")
    names = [param for param, _ in params]
    for param in names:
        if names.count(param) > 1 or not param.isidentifier() or param in RESERVED:
            raise source.error(node, f"{name}: {param!r} cannot name a parameter here")
    if name in OPS or name in RESERVED or name in FUNCTIONS:
        raise source.error(node, f"{name!r} is an op or a word of the language already")
    if name in blocks:
        raise source.error(
            node, f"duplicate block {name!r}; first in line {blocks[name].node.line}"
        )
    if name in document.knobs or name in document.let:
        raise source.error(node, f"{name} is a knob already")
    if isinstance(body, Scalar) and body.plain and not body.text:
        raise source.error(node, f"{name} is empty; write its items below it")
    return Block(name, tuple(params), body, node)


def read_year(document: Document, node: Scalar | None) -> int | None:
    """Return the header's year."""
    return document.source.parsed(node, year) if node else None


def read_inputs(
    document: Document, header: Mapping_[str, Scalar], names: Callable[[str], Any]
) -> list[Value]:
    """Return the inputs; each has a shape, and perhaps a type behind it: ``77 int64``."""
    one = {NETWORK_INPUT: header["input"]} if "input" in header else {}
    values = []
    for name, given in (document.inputs or one).items():
        dtype, node = FLOAT, header.get(f"inputs.{name}", given)
        if typed := re.fullmatch(r"(.*\S)\s+([a-wyzA-WYZ]\w*)\s*", node.text):
            dtype = typed[2]
            if dtype not in DTYPES:
                hint = did_you_mean(dtype, DTYPES)
                reason = f"unknown type of an input {shorten(dtype)!r}{hint}"
                raise document.source.error(node, reason, typed.start(2))
            node = replace(node, text=typed[1])
        values.append(Value(name, read_input(document, node, names), dtype))
    return values


def read_input(document: Document, node: Scalar, names: Callable[[str], Any]) -> Shape:
    """Return the input shape; ``3x{resolution}x{resolution}`` takes values from knobs."""
    values: dict[str, Any] = {}

    def value(match: re.Match[str]) -> str:
        try:
            values[match[0]] = Evaluator(names)(parse(match[1].strip()))
            return str(values[match[0]])
        except ExpressionError as error:
            raise document.source.error(node, str(error), match.start(1) + error.offset) from None

    text = re.sub(r"\{([^{}]*)\}", value, node.text)
    shape = document.source.parsed(replace(node, text=text), parse_shape)
    parts = re.split(r"\s*[x×X,*]\s*(?![^{}]*\})", node.text.strip().strip("[]()"))
    return tuple(values.get(part, size) for part, size in zip(parts, shape, strict=True))
