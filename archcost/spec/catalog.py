"""The catalog of specs, and loading a model by name, by file, or from standard input."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from archcost.errors import ArchcostError, LookupFailed, SpecError
from archcost.network import NETWORK_INPUT, Network
from archcost.shape import Shape, parse_shape
from archcost.spec.document import Document, read_document, read_input, read_year
from archcost.spec.expand import Expander, Group, Scope, Tensor
from archcost.spec.expression import ExpressionError, literal
from archcost.spec.revision import SUFFIXES, read_revision, split_revision
from archcost.spec.source import Source, read_source


def specs_folder() -> Path:
    """Return the folder of the shipped specs: inside the installed package, or the checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "specs"
    return installed if installed.is_dir() else package.parent / "specs"


@lru_cache(maxsize=1)
def _sources() -> tuple[Source, ...]:
    """Return the text of every shipped family, in the order of the file names."""
    return tuple(
        Source(f"specs/{path.name}", path.read_text("utf-8"))
        for path in sorted(specs_folder().glob("*.yaml"))
        if path.name != "hardware.yaml"
    )


@cache
def _document(source: Source) -> Document:
    return read_document(source)


def catalog() -> list[str]:
    """Return the names of all models of the catalog, family by family."""
    return [name for source in _sources() for name in _document(source).models()]


def documents() -> list[Document]:
    """Return every shipped family."""
    return [_document(source) for source in _sources()]


def find_document(name: str) -> Document:
    """Return the shipped family that defines the model or family ``name``.

    Raises:
        LookupFailed: no model has that name; the text gives the nearest.
    """
    if document := _look_up(name):
        return document
    names = [*catalog(), *(document.name for document in documents())]
    raise LookupFailed("model", name, names)


def is_known(name: str) -> bool:
    """Whether the catalog has a model or family of that name."""
    return _look_up(name) is not None


def _look_up(name: str) -> Document | None:
    mention = re.compile(rf"^(?:name:|family:)? *{re.escape(name)}\b", re.MULTILINE)
    likely = [source for source in _sources() if mention.search(source.text)]
    for source in likely:
        document = _document(source)
        if name == document.name or name in document.variants:
            return document
    return None


def load(
    model: str | os.PathLike[str],
    *,
    input: str | Shape | None = None,
    knobs: Mapping[str, Any] | None = None,
    aux: bool = False,
    bias: bool = True,
) -> Network:
    """Return a network from the catalog, a spec file, a lecture's text, or standard input (``-``).

    Args:
        model: a catalog name, a path ending in ``.yaml`` or ``.txt`` (``file.yaml::variant`` picks
            a variant), a path at a git revision (``main:specs/net.yaml``), or ``-``.
        input: input shape without batch, channels first, instead of the spec's.
        knobs: values instead of the spec's; text is read as an expression.
        aux: include the side outputs (auxiliary heads).
        bias: False drops the biases of all convolutions and linear layers.

    Raises:
        LookupFailed: an unknown model or knob.
        SpecError: a spec that cannot be read.

    Example:
        >>> load("vgg16").output
        (1000,)
    """
    document, variant = find_model(model)
    return expand(document, variant, input=input, knobs=knobs or {}, aux=aux, bias=bias)


def find_model(model: str | os.PathLike[str]) -> tuple[Document, str]:
    """Return the document that :func:`load` reads for ``model``, and the variant in it."""
    name = os.fspath(model)
    if not isinstance(name, str) or not name:
        raise ArchcostError("a model is a catalog name, a spec file, or - for standard input")
    path, _, variant = name.partition("::")
    shipped = specs_folder() / f"{path}.txt"
    if path.startswith("lectures/") and shipped.is_file():
        document, variant = _read_file(shipped, f"specs/{path}.txt"), variant
    elif revision := split_revision(path):
        document = read_spec(read_revision(*revision))
    elif path == "-" or path.endswith(SUFFIXES) or os.sep in path or "/" in path:
        document = _read_file(path, None)
    else:
        document = find_document(path)
        if path in document.variants:
            variant = path
    return document, variant


def chosen_models(model: str | os.PathLike[str]) -> list[tuple[Document, str]]:
    """Return document and variant of every network that a name stands for.

    That is one, or all variants of a family where none is chosen.
    """
    document, chosen = find_model(model)
    if chosen or not document.variants:
        return [(document, chosen)]
    return [(document, variant) for variant in document.variants]


def _read_file(path: str | Path, name: str | None) -> Document:
    source = read_source(path)
    return read_spec(source if name is None else Source(name, source.text))


def read_spec(source: Source) -> Document:
    """Return the document of a text: a spec, or a lecture's tables.

    Raises:
        SpecError: with file, line and column.
    """
    if source.name.endswith((".yaml", ".yml")):
        return read_document(source)
    from archcost.spec.lecture import is_spec, read_lecture

    return read_document(source) if is_spec(source) else read_lecture(source)


def describe(document: Document, variant: str = "") -> Network:
    """Return a model without its layers: name, title, paper, year, published figures."""
    header = dict(document.header)
    if variant in document.variants:
        header.update(document.variants[variant][1])
    name = variant or document.name
    return Network(
        name=name,
        input=(),
        layers=(),
        outputs=(NETWORK_INPUT,),
        title=header["title"].text if "title" in header else "",
        paper=header["paper"].text if "paper" in header else "",
        year=read_year(document, header.get("year")),
        family=document.name,
        published=tuple(row for row in document.published if row.model in ("", name)),
        claims=tuple(document.claims),
        source=document.source.name,
    )


def expand(
    document: Document,
    variant: str = "",
    *,
    input: str | Shape | None = None,
    knobs: Mapping[str, Any] = MappingProxyType({}),
    aux: bool = False,
    bias: bool = True,
) -> Network:
    """Return the network of a document, or of one of its variants; see :func:`load`."""
    values = dict(document.knobs)
    header = dict(document.header)
    if document.variant_required and not variant:
        file = document.source.name.replace("<stdin>", "-")
        names = list(document.variants)
        reason = (
            f"a network in each column: {', '.join(names)}; choose one, as in {file}::{names[0]}"
        )
        raise SpecError(reason, document.source.name)
    if variant and (variant != document.name or variant in document.variants):
        if variant not in document.variants:
            raise LookupFailed(f"variant of {document.name}", variant, document.variants)
        chosen, own = document.variants[variant]
        values.update(chosen)
        header.update(own)
    for key, value in knobs.items():
        if key not in document.knobs:
            kind = (
                f"knob of {document.name}" if document.knobs else f"knob ({document.name} has none)"
            )
            raise LookupFailed(kind, key, document.knobs)
        values[key] = _knob_value(key, value)
    source = document.source

    def known(name: str) -> Any:
        if name in values:
            return values[name]
        raise KeyError(list(values))

    expander = Expander(document, values, aux=aux, bias=bias)
    for name, node in document.let.items():
        scope = Scope(Group(), expander.values)
        nothing = Tensor("input", (1,))
        values[name] = expander.values[name] = expander.evaluate(node, node.text, scope, nothing)
    model = describe(document, variant)
    if input is None:
        shape = read_input(document, header["input"], known)
    else:
        shape = parse_shape(input) if isinstance(input, str) else tuple(input)
        if any(row.input is None for row in model.published):  # they are of the spec's own input
            usual = read_input(document, header["input"], known)
            rows = tuple(replace(row, input=row.input or usual) for row in model.published)
            model = replace(model, published=rows)
    try:
        layers = expander.run(shape)
    except RecursionError:
        raise SpecError("nested too deeply", source.name) from None
    return replace(
        model,
        input=shape,
        layers=layers,
        outputs=tuple(expander.outputs),
        knobs=MappingProxyType({key: values[key] for key in document.knobs}),
    )


def _knob_value(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return (
            [_knob_value(key, item) for item in value]
            if isinstance(value, (list, tuple))
            else value
        )
    try:
        return literal(value)
    except ExpressionError as error:
        raise ArchcostError(f"--set {key}: {error}") from None
