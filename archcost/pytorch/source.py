"""A network as PyTorch source that needs no archcost.

The source is that of the twin. Layers of ``torch.nn`` are written as their calls, and other ops as
their programs. A program that is one expression is written where it is read, others as a class.
"""

from __future__ import annotations

import inspect
import json
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from archcost.errors import ArchcostError
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.pytorch import check_modules, import_torch
from archcost.readings.recorder import (
    TORCHVISION,
    expression,
    module_source,
    read_by_module,
    torch_module,
)
from archcost.shape import show

IMPORTS = """\
import torch
from torch import nn
"""

VISION = f"import torch\nimport {TORCHVISION}\n"

GROUP = '''\
class Group(nn.Module):
    """Layers by name. A name that cannot be an attribute is read as ``group["1x1"]``."""

    def __init__(self, layers):
        super().__init__()
        self._modules.update(layers)

    def __getitem__(self, name):
        return self._modules[name]
'''

INDENT = "    "

LONGEST = 72
"""Characters of an expression that is written where a network reads it."""

NO_ATTRIBUTES = ("device", "dtype", "_weight", "_freeze", "min_value", "max_value")
"""What layers take and do not keep, of which none is given."""

PER_AXIS = ("kernel_size", "stride", "padding", "dilation", "output_padding", "output_size")
"""Arguments for which one number means the same for every axis."""

RENAMED = {"p": "norm"}
"""Arguments that a layer keeps under another name."""

TAKEN = ("self", "torch", "nn", "Group", "x")
"""Names that the source needs for something else."""


def pytorch_source(network: Network) -> str:
    """Return Python source that defines the network as an ``nn.Module``.

    The names in its state dict are those of :func:`archcost.build`: paths of layers.

    Raises:
        ArchcostError: PyTorch is not installed, or an op cannot be written.
    """
    writer = _Writer(import_torch())
    check_modules(network)
    tree = _tree(network, writer)
    name = _unused(_camel(network.name), {*TAKEN, *writer.definitions})
    definition = [
        f"class {name}(Group):",
        f'{INDENT}"""{_plain(network.title or network.name)}."""',
        "",
        f"{INDENT}def __init__(self):",
        f"{INDENT * 2}super().__init__({{",
        *_branch(tree, INDENT * 3),
        f"{INDENT * 2}}})",
        *(f"{INDENT * 2}{line}" for line in _ties(network, writer)),
        "",
        *(f"{INDENT}{line}".rstrip() for line in _forward(network, writer)),
    ]
    vision = any(f"{TORCHVISION}." in text for text in writer.definitions.values())
    parts = [_docstring(network), IMPORTS.replace("import torch\n", VISION) if vision else IMPORTS]
    body = [GROUP, *writer.definitions.values(), "\n".join(definition) + "\n"]
    return "\n".join(parts) + "\n\n" + "\n\n".join(body)


def _docstring(network: Network) -> str:
    from archcost import __version__

    title = f"{network.name}: {network.title}" if network.title else network.name
    origin = f" from {network.source}" if network.source else ""
    about = [
        f"{network.paper.rstrip('.')}." if network.paper else "",
        f"Written by archcost {__version__}{origin}, for {_inputs(network)}.",
        "The weights start as PyTorch initialises them.",
    ]
    return "\n".join([f'"""{_plain(title)}.', "", *filter(None, map(_plain, about)), '"""', ""])


def _inputs(network: Network) -> str:
    if len(network.inputs) == 1:
        return f"inputs of N x {show(network.input)}"
    return ", ".join(f"{value.name} of N x {show(value.shape)}" for value in network.inputs)


def _plain(text: str) -> str:
    """Return text on one line that can be part of a docstring."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())


def _camel(name: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", name) or ["network"]
    made = "".join(word[0].upper() + word[1:] for word in words)
    return f"Net{made}" if made[0].isdigit() else made


def _unused(name: str, taken: Iterable[str]) -> str:
    """Return ``name``, with underscores behind it until it is neither taken nor a keyword."""
    while name in taken or keyword.iskeyword(name):
        name += "_"
    return name


def _tree(network: Network, writer: _Writer) -> dict[str, Any]:
    """Return the layers that are modules, as they are made, grouped by the parts of their paths."""
    root: dict[str, Any] = {}
    for layer in network:
        made = writer.layer(layer) if layer.module == layer.path else ""
        if made:
            *groups, name = layer.path.split(".")
            here = root
            for group in groups:
                here = here.setdefault(group, {})
            here[name] = made
    return root


def _branch(tree: dict[str, Any], indent: str) -> list[str]:
    lines = []
    for name, made in tree.items():
        key = json.dumps(name, ensure_ascii=False)
        if isinstance(made, dict):
            lines.append(f"{indent}{key}: Group({{")
            lines.extend(_branch(made, indent + INDENT))
            lines.append(f"{indent}}}),")
        else:
            lines.append(f"{indent}{key}: {made},")
    return lines


def _ties(network: Network, writer: _Writer) -> Iterator[str]:
    """Yield a line for each parameter that is another module's."""
    for layer in network:
        for name, full in layer.ties.items():
            here, there = (
                f"{writer.place(path)}.{own}"
                for path, _, own in (f"{layer.path}.{name}".rpartition("."), full.rpartition("."))
            )
            yield f"{here} = {there}"


def _forward(network: Network, writer: _Writer) -> list[str]:
    """Return ``forward`` as lines: ``x`` is handed from layer to layer, the others have names."""
    layers = network.layers
    inputs = [value.name for value in network.inputs]
    after = dict.fromkeys(inputs, 0)
    for i, layer in enumerate(layers, 1):
        after |= dict.fromkeys(layer.outputs, i)
    # read by the next layer, if by any, and made alone
    passed_on = {layer.path for layer in layers if not layer.cost.others}
    passed_on.update(inputs if len(inputs) == 1 else ())
    for i, layer in enumerate(layers):
        passed_on -= {name for name in layer.inputs if after[name] != i}
    passed_on -= {name for name in network.outputs if after[name] != len(layers)}
    names: dict[str, str] = {}
    taken = {*TAKEN, *writer.definitions}
    for path in after:
        if path in passed_on:
            names[path] = "x"
            continue
        usual = "image" if path == NETWORK_INPUT else re.sub(r"\W", "_", path, flags=re.ASCII)
        names[path] = _unused(f"_{usual}" if usual[0].isdigit() else usual, taken)
        taken.add(names[path])

    lines = [f"def forward(self, {', '.join(names[name] for name in inputs)}):"]
    groups = [layer.path.split(".")[0] if "." in layer.path else "" for layer in layers]
    for i, layer in enumerate(layers):
        if i and groups[i] != groups[i - 1]:
            lines.append("")
        made = writer.applied(layer, tuple(names[name] for name in layer.inputs))
        given, texts = layer.op.results([names[name] for name in layer.outputs], *layer.shapes)
        names.update(zip(layer.outputs, texts, strict=True))
        lines.append(f"{INDENT}{given} = {made}")
    lines.append(f"{INDENT}return {', '.join(names[name] for name in network.outputs)}")
    return lines


class _Writer:
    """Writes layers; ``definitions`` holds, by name, the classes that they need."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.definitions: dict[str, str] = {}
        self.attributes = set(dir(torch.nn.Module()))
        self.inline: set[str] = set()
        self.hooked: set[str] = set()

    def layer(self, layer: Layer) -> str:
        """Return the expression that makes a layer's module, empty where it needs none."""
        op, shapes = layer.op, layer.shapes
        with self.torch.device("meta"):
            module = torch_module(self.torch, op, shapes)
        if module is not None:
            try:
                if module._forward_pre_hooks and op.kind != "recurrent":  # of which passed() tells
                    if op.kind not in ("conv", "pool"):  # which pad first
                        raise ArchcostError("it hooks into its module")
                    self.hooked.add(layer.path)
                made = (
                    f"nn.{self.layer_class(module).__name__}({', '.join(self.arguments(module))})"
                )
                kind = getattr(op, "parametrization", None)
                return f"nn.utils.parametrizations.{kind}({made})" if kind else made
            except ArchcostError as error:
                raise ArchcostError(f"{layer.path}: {op.name} has no source: {error}") from None
        if 0 < len(expression(op, shapes, ("x",) * len(shapes))) <= LONGEST:
            self.inline.add(layer.path)
            return ""
        name, number = type(op).__name__, 1
        text, arguments = module_source(op, shapes, name)
        while self.definitions.get(name, text) != text:
            name = f"{type(op).__name__}{(number := number + 1)}"
            text, arguments = module_source(op, shapes, name)
        self.definitions[name] = text
        return f"{name}({arguments})"

    def applied(self, layer: Layer, names: tuple[str, ...]) -> str:
        """Return the expression that applies a layer to variables of these names."""
        if layer.module in self.inline:
            return expression(layer.op, layer.shapes, names)
        if layer.module in self.hooked:
            names = (read_by_module(layer.op, layer.shapes, names),)
        return f"{self.place(layer.module)}({', '.join(layer.op.passed(names))})"

    def place(self, path: str) -> str:
        """Return the expression that finds a layer in ``self``."""
        found = "self"
        for name in path.split("."):
            plain = name.isidentifier() and not keyword.iskeyword(name)
            if plain and name not in self.attributes:
                found += f".{name}"
            else:
                found += f"[{json.dumps(name, ensure_ascii=False)}]"
        return found

    def layer_class(self, module: Any) -> type:
        """Return the class of a module, without the one that a parametrization derives of it."""
        own: type = type(module)
        return own.__bases__[0] if self.torch.nn.utils.parametrize.is_parametrized(module) else own

    def arguments(self, module: Any) -> list[str]:
        """Return the arguments with which a layer of torch.nn was made, without the defaults.

        Layers keep their arguments as attributes of the same names.
        """
        written, layer = [], self.layer_class(module)
        if getattr(self.torch.nn, layer.__name__, None) is not layer:
            raise ArchcostError(f"{layer.__name__} is not a module of torch.nn")
        parameters: Mapping[str, Any] = inspect.signature(layer).parameters
        if issubclass(layer, self.torch.nn.RNNBase):  # which hands them on to its base
            known = inspect.signature(self.torch.nn.RNNBase).parameters
            parameters = {name: known[name] for name in known if name != "mode"}
        for name, parameter in parameters.items():
            if name in NO_ATTRIBUTES or parameter.kind in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                continue
            own = name if hasattr(module, name) else RENAMED.get(name, name)
            if not hasattr(module, own):
                raise ArchcostError(f"{layer.__name__} does not tell its {name}")
            value = getattr(module, own)
            if name == "bias" and not isinstance(value, bool):
                value = value is not None
            if name in PER_AXIS and isinstance(value, tuple) and len(set(value)) == 1:
                value = value[0]
            text = json.dumps(value) if isinstance(value, str) else repr(value)
            if parameter.default is parameter.empty:
                written.append(text)
            elif value != parameter.default:
                written.append(f"{name}={text}")
        if getattr(module, "nonlinearity", "tanh") != "tanh" and "nonlinearity" not in parameters:
            written.append(f"nonlinearity={json.dumps(module.nonlinearity)}")
        return written
