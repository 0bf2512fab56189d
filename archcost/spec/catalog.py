"""The catalog of specs, and loading a model by name, by file, or from standard input."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache, partial
from importlib import import_module
from types import MappingProxyType
from typing import Any

from archcost.collector import uncollected
from archcost.errors import ArchcostError, LookupFailed, SpecError, shorten
from archcost.network import NETWORK_INPUT, Network, Remark, Value
from archcost.shape import Inputs, Shape, read_shape, show
from archcost.spec.code import read_code, refuse
from archcost.spec.document import Document, examine, read_document, read_inputs, read_year
from archcost.spec.expand import Expander
from archcost.spec.expression import ExpressionError, literal
from archcost.spec.kinds import is_code, is_there, read_spec_source
from archcost.spec.remarks import find_remarks
from archcost.spec.revision import SUFFIXES, read_revision, split_revision
from archcost.spec.scope import UNKNOWN, Scope, Skipped
from archcost.spec.source import Sequence as Items
from archcost.spec.source import Source, read_source

LECTURES = "archcost.lectures"
"""What reads a text that is no spec; a run that meets none does not load it."""


@cache
def specs_folder() -> str:
    """Return the folder of the shipped specs: inside the installed package, or the checkout."""
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    installed = os.path.join(package, "specs")
    return (
        installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "specs")
    )


@cache
def _families() -> list[str]:
    """Return the names of the shipped families' files, in order."""
    files = (name for name in os.listdir(specs_folder()) if name.endswith(".yaml"))
    return sorted(name.removesuffix(".yaml") for name in files if name != "hardware.yaml")


@cache
def _source(family: str) -> Source:
    name = f"{family}.yaml"
    return Source(f"specs/{name}", read_source(os.path.join(specs_folder(), name)).text)


@cache
def _document(family: str) -> Document:
    return read_document(_source(family))


def catalog(family: str | None = None) -> list[str]:
    """Return the names of all models of the catalog, or of one family of it.

    Args:
        family: the name of a family.

    Raises:
        LookupFailed: no family has that name; the text gives the nearest.

    Examples:
        >>> catalog("alexnet")
        ['alexnet', 'alexnet_two_towers', 'alexnet_torchvision']
    """
    if family is None:
        return [name for document in documents() for name in document.models()]
    families = {document.name: document for document in documents()}
    if family not in families:
        raise LookupFailed("family", family, families)
    return families[family].models()


def documents() -> list[Document]:
    """Return every shipped family."""
    return [_document(family) for family in _families()]


def find_document(name: str) -> Document:
    """Return the shipped family that defines the model or family ``name``.

    Raises:
        LookupFailed: no model has that name; the text gives the nearest.
    """
    if document := _look_up(name):
        return document
    from archcost.spec.aliases import ALIASES  # few names need it

    names = [*catalog(), *(document.name for document in documents()), *ALIASES]
    raise LookupFailed("model", name, names)


def is_known(name: str) -> bool:
    """Whether the catalog, or a collection that it has counterparts in, has that name."""
    return _look_up(name) is not None or _alias(name) is not None


@lru_cache(maxsize=4096)
def _look_up(name: str) -> Document | None:
    mention = re.compile(rf"^(?:name:|family:)? *{re.escape(name)}\b", re.MULTILINE)
    # first the files that begin as the name does: mostly no other is read
    for family in sorted(_families(), key=lambda own: not name.startswith(own.split("_")[0])):
        if mention.search(_source(family).text):
            document = _document(family)
            if name == document.name or name in document.variants:
                return document
    return None


def load(
    model: str | os.PathLike[str],
    *,
    input: Inputs | None = None,
    knobs: Mapping[str, Any] | None = None,
    aux: bool = False,
    bias: bool = True,
    **code: Any,
) -> Network:
    """Return a network from the catalog, a spec file, a lecture's text, or standard input (``-``).

    :func:`loads` reads the text of a spec.

    Args:
        model: a catalog name, or the name of that model in torchvision, timm or pytorchcv. Or a
            path that ends in ``.yaml``, ``.txt`` or ``.onnx``. ``file.yaml::variant`` selects a
            variant, and ``main:specs/net.yaml`` a git revision. Or ``-``.
        input: input shape without batch, channels first, instead of the spec's. For several inputs,
            a mapping from their names to shapes.
        knobs: values of knobs instead of the spec's. A str is read as an expression.
        aux: whether to include side outputs (auxiliary heads).
        bias: False drops the biases of all convolutions and linear layers.
        **code: ``inputs``, ``partial`` and ``run`` of a module, as the options of that name.

    Raises:
        LookupFailed: an unknown model or knob.
        SpecError: a spec that cannot be read.

    Examples:
        >>> load("vgg16").output
        (1000,)
    """
    if hasattr(model, "named_parameters"):
        return read_code(model, input, knobs, code)
    document, variant = find_model(model)
    network = expand(document, variant, input=input, knobs=knobs or {}, aux=aux, bias=bias, **code)
    if network.name != (asked := os.fspath(model)) and (alias := _alias(asked)):
        text = f"{asked} is the name that {alias[1]} has for {alias[0]}"
        first = Remark("alias", text, 0, 0)
        network = replace(network, find_remarks=partial(_remarks, first, network.find_remarks))
    return network


def _remarks(
    first: Remark, others: Callable[[Network], Sequence[Remark]], network: Network
) -> list[Remark]:
    return [first, *others(network)]


def loads(
    text: str,
    *,
    name: str = "<text>",
    variant: str = "",
    input: Inputs | None = None,
    knobs: Mapping[str, Any] | None = None,
    aux: bool = False,
    bias: bool = True,
) -> Network:
    """Return the network that a text describes: a spec in YAML, or the table of a lecture.

    Args:
        text: the content of a ``.yaml`` or ``.txt`` file.
        name: the name of the text in messages.
        variant: the name of the network, if the text describes several.
        input: input shape without batch, channels first, instead of the text's.
        knobs: values of knobs instead of the spec's. A str is read as an expression.
        aux: whether to include side outputs (auxiliary heads).
        bias: False drops the biases of all convolutions and linear layers.

    Raises:
        LookupFailed: an unknown variant or knob.
        SpecError: a text that is not a spec, with line and column.

    Examples:
        >>> net = loads('''
        ... name: tiny
        ... input: 3x32x32
        ... layers:
        ...   - conv(8, 3)
        ...   - global_avgpool
        ...   - flatten
        ...   - linear(10)
        ... ''')
        >>> net.output
        (10,)
    """
    if not isinstance(text, str):
        raise ArchcostError(f"the text of a spec is a str; got {type(text).__name__}")
    if "\n" not in text and (text.endswith(SUFFIXES) or is_known(text)):
        raise ArchcostError(f"{shorten(text)!r} is not the text of a spec; archcost.load reads it")
    document = read_spec(Source(name, text))
    return expand(document, variant, input=input, knobs=knobs or {}, aux=aux, bias=bias)


def find_model(model: str | os.PathLike[str]) -> tuple[Document, str]:
    """Return the document that :func:`load` reads for ``model``, and the variant in it."""
    name = os.fspath(model) if isinstance(model, (str, os.PathLike)) else ""
    if not isinstance(name, str) or not name:
        got = "" if isinstance(model, (str, bytes)) else f"; got {type(model).__name__}"
        raise ArchcostError(f"a model is a catalog name, a spec file, or - for standard input{got}")
    if "\n" in name:
        raise ArchcostError(
            f"{shorten(name, 30)!r} is the text of a spec, not a name; archcost.loads reads it"
        )
    if is_code(name):
        return Document(
            Source(name, ""), name, False, {}, {}, {}, {}, {}, Items([], 1, 1), code=name
        ), ""
    path, _, variant = name.partition("::")
    shipped = os.path.join(specs_folder(), f"{path}.txt")
    if path.startswith("lectures/") and os.path.isfile(shipped):
        document, variant = _read_file(shipped, f"specs/{path}.txt"), variant
    elif revision := split_revision(path):
        document = read_spec(read_revision(*revision))
    elif _is_path(path):
        document = _read_file(path, None)
    else:
        path = (_alias(path) or (path, ""))[0]
        document = find_document(path)
        if path in document.variants:
            variant = path
    return document, variant


def origin(document: Document) -> str:
    """Return what tells a document from others: its file's real path, also if it is shipped.

    For a text that is not in a file, it is the name: of a revision, or of standard input.
    """
    name = document.source.name
    shipped = os.path.join(os.path.dirname(specs_folder()), name)
    described = not document.code and os.path.isfile(shipped)
    if described and read_source(shipped).text == document.source.text:
        return os.path.realpath(shipped)
    return os.path.realpath(name) if os.path.isfile(name) else name


def _alias(name: str) -> tuple[str, str] | None:
    """Return the model that another collection calls ``name``, and the collection, or None."""
    if _look_up(name):
        return None
    from archcost.spec.aliases import ALIASES  # few names need it

    return ALIASES.get(name)


def chosen_models(model: str | os.PathLike[str]) -> list[tuple[Document, str]]:
    """Return document and variant of every network that a name stands for.

    That is one, or all variants of a family where none is chosen.
    """
    document, chosen = find_model(model)
    if chosen or not document.variants:
        return [(document, chosen)]
    return [(document, variant) for variant in document.variants]


def _is_path(name: str) -> bool:
    """Whether a name is that of a file; the catalog's own goes before a file beside it."""
    if name == "-" or name.endswith(SUFFIXES) or os.sep in name or "/" in name:
        return True
    return not is_known(name) and is_there(name)


def _read_file(path: str, name: str | None) -> Document:
    source = read_spec_source(path)
    return read_spec(source if name is None else Source(name, source.text))


def read_spec(source: Source) -> Document:
    """Return the document of a text: a spec, or a lecture's tables.

    A spec may have mistakes, which :func:`expand` refuses together with those in its layers.

    Raises:
        SpecError: with file, line and column.
    """
    if not is_lecture(source):
        return examine(source)
    document: Document = import_module(LECTURES).read_lecture(source)
    return document


def is_lecture(source: Source) -> bool:
    """Whether a text is a lecture's rather than a spec."""
    if source.name.endswith((".yaml", ".yml")):
        return False
    return not import_module(LECTURES).is_spec(source)


def describe(document: Document, variant: str = "") -> Network:
    """Return a model without its layers: name, title, paper, year, published figures."""
    header = dict(document.header)
    if variant in document.variants:
        header.update(document.variants[variant][1])
    name = variant or document.name
    return Network(
        name=name,
        inputs=(Value(NETWORK_INPUT, ()),),
        layers=(),
        outputs=(NETWORK_INPUT,),
        title=header["title"].text if "title" in header else "",
        paper=header["paper"].text if "paper" in header else "",
        year=read_year(document, header.get("year")),
        family=document.name,
        published=tuple(row for row in document.published if row.model in ("", name)),
        claims=tuple(claim for claim in document.claims if claim.model in ("", name)),
        source=document.source.name,
    )


@uncollected()
def expand(
    document: Document,
    variant: str = "",
    *,
    input: Inputs | None = None,
    knobs: Mapping[str, Any] = MappingProxyType({}),
    aux: bool = False,
    bias: bool = True,
    **code: Any,
) -> Network:
    """Return the network of a document, or of one of its variants; see :func:`load`."""
    if document.code:
        return read_code(document.code, input, knobs, code)
    refuse(code, document.name)
    values = dict(document.knobs)
    header = dict(document.header)
    if variant not in document.variants:
        variant = document.aliases.get(variant, variant)
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
        values[key] = found = _knob_value(key, value)
        if isinstance(found, str) and isinstance(document.knobs[key], bool):
            raise ArchcostError(f"{key} of {document.name} is true or false; got {found!r}")
    source = document.source

    def known(name: str) -> Any:
        if name not in values:
            raise KeyError(list(values))
        if values[name] is UNKNOWN:
            raise Skipped
        return values[name]

    expander = Expander(document, values, aux=aux, bias=bias)
    for name, node in document.let.items():
        scope = Scope("", expander.values)
        nothing = Value(NETWORK_INPUT, (1,))
        value = UNKNOWN
        with suppress(Skipped), expander.mistakes.kept():
            value = expander.evaluate(node, node.text, scope, nothing)
        values[name] = expander.values[name] = value
    model = describe(document, variant)
    inputs: list[Value] = []
    with suppress(Skipped), expander.mistakes.kept():
        usual = read_inputs(document, header, known)
        inputs = _given(model.name, usual, input)
        if input is not None and inputs:
            model = _of_input(model, usual[0].shape, inputs[0].shape)
    try:
        expander.run(inputs)
    except RecursionError:
        raise SpecError("nested too deeply", source.name) from None
    places = {**expander.builder.places, **expander.written}
    for name in [value.name for value in inputs]:
        at = document.inputs.get(name, header.get("input"))
        places[name] = header.get(f"inputs.{name}", at) if input is None else None
    return replace(
        model,
        inputs=tuple(expander.builder.inputs),
        layers=tuple(expander.builder.layers),
        outputs=tuple(expander.outputs),
        knobs=MappingProxyType({key: values[key] for key in document.knobs}),
        find_remarks=partial(find_remarks, places=places, meant=document.meant),
        remake=partial(expand, document, variant, input=input, knobs=knobs, aux=aux, bias=bias),
    )


def _given(name: str, usual: list[Value], input: Inputs | None) -> list[Value]:
    """Return the inputs of a network with the shapes that were asked for in place of some."""
    if input is None or not usual:
        return usual
    if not isinstance(input, Mapping):
        if len(usual) > 1:
            names = ", ".join(value.name for value in usual)
            example = f"{usual[0].name}={show(usual[0].shape)}"
            raise ArchcostError(f"{name} has the inputs {names}: say which, as {example}")
        input = {usual[0].name: input}
    for key in input:
        if key not in (known := [value.name for value in usual]):
            raise LookupFailed(f"input of {name}", key, known)
    shapes = {key: read_shape(shape) for key, shape in input.items()}
    return [replace(value, shape=shapes.get(value.name, value.shape)) for value in usual]


def _of_input(model: Network, usual: Shape, shape: Shape | None) -> Network:
    """Return a model of another input: the figures that it cites are of the usual one."""
    rows = tuple(replace(row, input=row.input or usual) for row in model.published)
    claims = tuple(claim for claim in model.claims if shape == usual or not claim.of_input)
    return replace(model, published=rows, claims=claims)


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
