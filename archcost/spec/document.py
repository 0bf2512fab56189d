"""A spec file as checked parts: header, knobs, variants, blocks, layers, published figures."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from archcost.errors import did_you_mean, shorten
from archcost.ops import OPS
from archcost.published import Claim, Published
from archcost.shape import Shape
from archcost.spec.expression import FUNCTIONS, WORDS, Evaluator, ExpressionError, literal, parse
from archcost.spec.figures import read_published
from archcost.spec.source import Mapping, Node, Scalar, Sequence, Source, parse_yaml

KEYS = (
    "name", "family", "title", "paper", "year", "input",
    "knobs", "variants", "let", "blocks", "layers", "published",
)  # fmt: skip
VARIANT_HEADER = ("title", "paper", "year", "input")
RESERVED = ("in_channels", "in_size", "current", "take", "input", "none", *WORDS)


@dataclass(frozen=True)
class Block:
    """A named list of items with parameters."""

    name: str
    params: tuple[tuple[str, ast.expr | None], ...]
    body: Node
    node: Scalar


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

    def models(self) -> list[str]:
        """Return the names of the models that the file defines."""
        return list(self.variants) if self.variants else [self.name]


def read_document(source: Source) -> Document:
    """Read and check a spec.

    Raises:
        SpecError: with file, line and column.
    """
    root = parse_yaml(source)
    return document_from(source, root)


def document_from(source: Source, root: Node) -> Document:
    """Check a tree of nodes and return the document."""
    if not isinstance(root, Mapping):
        raise source.error(root, "a spec is a mapping with name, input and layers")
    for key, (node, _) in root.entries.items():
        if key not in KEYS:
            raise source.error(node, f"unknown key {shorten(key)!r}{did_you_mean(key, KEYS)}")
    if ("name" in root.entries) == ("family" in root.entries):
        raise source.error(root, "a spec needs either name or family")
    for key in ("input", "layers"):
        if key not in root.entries:
            raise source.error(root, f"the spec has no {key}")
    name_node = root.get("name") or root.get("family")
    name = source.plain_text(name_node, "name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
        raise source.error(name_node, f"a name has letters, digits, . _ + -; got {shorten(name)!r}")
    header = {
        key: source.scalar(root.get(key), key) for key in VARIANT_HEADER if key in root.entries
    }
    knobs = _knobs(source, root.get("knobs"))
    document = Document(
        source, name, "family" in root.entries, header, knobs,
        variants=_variants(source, root.get("variants"), knobs),
        let=_let(source, root.get("let")),
        blocks=_blocks(source, root.get("blocks")),
        layers=root.entries["layers"][1],
    )  # fmt: skip
    for key in document.let:
        if key in knobs:
            raise source.error(document.let[key], f"{key} is a knob already")
    for key, block in document.blocks.items():
        if key in knobs or key in document.let:
            raise source.error(block.node, f"{key} is a knob already")
    names = [document.name, *document.variants]
    document.published = read_published(source, root.get("published"), names)
    return document


def _entries(source: Source, node: Node | None, what: str) -> list[tuple[str, tuple[Scalar, Node]]]:
    if node is None or (isinstance(node, Scalar) and node.plain and not node.text):
        return []
    if not isinstance(node, Mapping):
        raise source.error(node, f"{what} must be a mapping")
    for key, (key_node, _) in node.entries.items():
        if what in ("knobs", "let") and (
            not key.isidentifier() or key in RESERVED or key in VARIANT_HEADER
        ):
            raise source.error(key_node, f"{shorten(key)!r} cannot name a value here")
    return list(node.entries.items())


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


def _knobs(source: Source, node: Node | None) -> dict[str, Any]:
    return {key: plain_value(source, value) for key, (_, value) in _entries(source, node, "knobs")}


def _let(source: Source, node: Node | None) -> dict[str, Scalar]:
    return {key: source.scalar(value, key) for key, (_, value) in _entries(source, node, "let")}


def _variants(
    source: Source, node: Node | None, knobs: dict[str, Any]
) -> dict[str, tuple[dict[str, Any], dict[str, Scalar]]]:
    variants = {}
    for name, (key_node, body) in _entries(source, node, "variants"):
        values: dict[str, Any] = {}
        header: dict[str, Scalar] = {}
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
            raise source.error(
                key_node, f"a name has letters, digits, . _ + -; got {shorten(name)!r}"
            )
        for key, (knob_node, value) in _entries(source, body, "a variant"):
            if key in VARIANT_HEADER:
                header[key] = source.scalar(value, key)
            elif key in knobs:
                values[key] = plain_value(source, value)
            else:
                hint = did_you_mean(key, [*knobs, *VARIANT_HEADER])
                raise source.error(knob_node, f"{name}: unknown knob {shorten(key)!r}{hint}")
        variants[name] = (values, header)
    return variants


def _blocks(source: Source, node: Node | None) -> dict[str, Block]:
    blocks: dict[str, Block] = {}
    for head, (key_node, body) in _entries(source, node, "blocks"):
        try:
            call = parse(head)
        except ExpressionError as error:
            raise source.error(key_node, str(error), error.offset) from None
        params: list[tuple[str, ast.expr | None]] = []
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            name = call.func.id
            for arg in call.args:
                if not isinstance(arg, ast.Name):
                    raise source.error(key_node, "a block's parameter is a name", arg.col_offset)
                params.append((arg.id, None))
            params += [(keyword.arg or "**", keyword.value) for keyword in call.keywords]
        elif isinstance(call, ast.Name):
            name = call.id
        else:
            raise source.error(key_node, "a block is written as name(parameter, other=default)")
        names = [param for param, _ in params]
        for param in names:
            if names.count(param) > 1 or not param.isidentifier() or param in RESERVED:
                raise source.error(key_node, f"{name}: {param!r} cannot name a parameter here")
        if name in OPS or name in RESERVED or name in FUNCTIONS:
            raise source.error(key_node, f"{name!r} is an op or a word of the language already")
        if name in blocks:
            raise source.error(
                key_node, f"duplicate block {name!r}; first in line {blocks[name].node.line}"
            )
        blocks[name] = Block(name, tuple(params), body, key_node)
    return blocks


def read_year(document: Document, node: Scalar | None) -> int | None:
    """Return the header's year."""
    return document.source.year(node, node.text) if node else None


def read_input(document: Document, node: Scalar, names: Callable[[str], Any]) -> Shape:
    """Return the input shape; ``3x{resolution}x{resolution}`` takes values from knobs."""

    def value(match: re.Match[str]) -> str:
        try:
            return str(Evaluator(names)(parse(match[1].strip())))
        except ExpressionError as error:
            raise document.source.error(node, str(error), match.start(1) + error.offset) from None

    return document.source.shape(node, re.sub(r"\{([^{}]*)\}", value, node.text))
