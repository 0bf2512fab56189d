"""A network as PyTorch source that needs no archcost.

The source is that of the twin: layers of ``torch.nn`` are written as their calls, and the classes
that ops define for themselves are copied as they stand. Such a class may use torch, and what its
``build`` method binds: numbers, text, tuples, functions and layers of torch. A class that extends
a layer of ``torch.nn`` takes that layer's arguments.
"""

from __future__ import annotations

import ast
import inspect
import json
import keyword
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from archcost.errors import ArchcostError, shorten
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.ops import Op
from archcost.shape import show
from archcost.torch_twin import import_torch

IMPORTS = """\
from typing import Any

import torch
from torch import nn
"""

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

PER_AXIS = ("kernel_size", "stride", "padding", "dilation", "output_padding", "output_size")
"""Arguments for which one number means the same for every axis."""

TAKEN = ("self", "torch", "nn", "Any", "Group", "x")
"""Names that the source needs for something else."""


def pytorch_source(network: Network) -> str:
    """Return Python source that defines the network as an ``nn.Module``.

    The names in its state dict are those of :func:`archcost.build`: paths of layers.

    Raises:
        ArchcostError: PyTorch is not installed, or an op cannot be written.
    """
    writer = _Writer(import_torch())
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
        "",
        *(f"{INDENT}{line}".rstrip() for line in _forward(network, writer)),
    ]
    parts = [_docstring(network), IMPORTS]
    body = [GROUP, *writer.definitions.values(), "\n".join(definition) + "\n"]
    return "\n".join(parts) + "\n\n" + "\n\n".join(body)


def _docstring(network: Network) -> str:
    from archcost import __version__

    title = f"{network.name}: {network.title}" if network.title else network.name
    origin = f" from {network.source}" if network.source else ""
    about = [
        f"{network.paper.rstrip('.')}." if network.paper else "",
        f"Written by archcost {__version__}{origin}, for inputs of N x {show(network.input)}.",
        "The weights start as PyTorch initialises them.",
    ]
    return "\n".join([f'"""{_plain(title)}.', "", *filter(None, map(_plain, about)), '"""', ""])


def _plain(text: str) -> str:
    """Return text on one line that may stand in a docstring."""
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
        if _needs_module(layer):
            *groups, name = layer.path.split(".")
            here = root
            for group in groups:
                here = here.setdefault(group, {})
            here[name] = writer.layer(layer)
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


def _needs_module(layer: Layer) -> bool:
    tensors = ["x"] * len(layer.inputs)
    return len({layer.op.source(module, tensors, *layer.shapes) for module in ("a", "b")}) > 1


def _forward(network: Network, writer: _Writer) -> list[str]:
    """Return ``forward`` as lines: ``x`` is handed from layer to layer, the others have names."""
    layers = network.layers
    after = {NETWORK_INPUT: 0, **{layer.path: i for i, layer in enumerate(layers, 1)}}
    passed_on = set(after)  # read by the next layer, if by any
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

    lines = [f"def forward(self, {names[NETWORK_INPUT]}):"]
    groups = [layer.path.split(".")[0] if "." in layer.path else "" for layer in layers]
    for i, layer in enumerate(layers):
        if i and groups[i] != groups[i - 1]:
            lines.append("")
        tensors = [names[name] for name in layer.inputs]
        made = layer.op.source(writer.place(layer.path), tensors, *layer.shapes)
        lines.append(f"{INDENT}{names[layer.path]} = {made}")
    lines.append(f"{INDENT}return {', '.join(names[name] for name in network.outputs)}")
    return lines


class _Writer:
    """Writes modules; ``definitions`` holds, by name, the classes that they need."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.definitions: dict[str, str] = {}
        self.texts: dict[str, tuple[str, str]] = {}
        self.attributes = set(dir(torch.nn.Module()))

    def layer(self, layer: Layer) -> str:
        """Return the expression that makes a layer's module."""
        with self.torch.device("meta"):
            module = layer.op.build(self.torch, *layer.shapes)
        try:
            if module._forward_pre_hooks and type(layer.op).source is Op.source:
                raise ArchcostError("it hooks into its module")
            return self.module(module)
        except (ArchcostError, OSError, TypeError) as error:
            reason = shorten(error, 200)
            raise ArchcostError(f"{layer.path}: {layer.op.name} has no source: {reason}") from None

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

    def module(self, module: Any) -> str:
        """Return the call that makes a module."""
        cls = type(module)
        plain = getattr(cls, "written_as", None)
        if plain is not None:
            return self.module(plain)
        layer = next(c for c in cls.__mro__ if c.__module__.startswith("torch."))
        given = [] if layer is self.torch.nn.Module else self.arguments(module, layer)
        if cls is layer:
            return f"nn.{layer.__name__}({', '.join(given)})"
        if (key := f"{cls.__module__}.{cls.__qualname__}") not in self.texts:
            self.texts[key] = _class_text(cls)
        text, base = self.texts[key]
        bound = {**({base: layer} if base else {}), **_bound(cls)}
        bound.pop("torch", None)
        maker = self.define(text, tuple(bound), extends=bool(given))
        given += [f"{name}={self.value(value)}" for name, value in bound.items()]
        return f"{maker}({', '.join(given)})"

    def define(self, text: str, bound: Sequence[str], extends: bool) -> str:
        """Add a class, unless it is there already; return the name of what makes an instance."""
        name = text.removeprefix("class ").partition("(")[0]
        name = _snake(name) if bound else name
        while self.definitions.get(name, made := _definition(name, text, bound, extends)) != made:
            name += "_"
        self.definitions[name] = made
        return name

    def arguments(self, module: Any, layer: type) -> list[str]:
        """Return the arguments with which a layer of torch.nn was made, without the defaults.

        Layers keep their arguments as attributes of the same names.
        """
        written = []
        for name, parameter in inspect.signature(layer).parameters.items():
            if name in ("device", "dtype") or parameter.kind in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                continue
            if not hasattr(module, name):
                raise ArchcostError(f"{layer.__name__} does not tell its {name}")
            value = getattr(module, name)
            if name == "bias" and not isinstance(value, bool):
                value = value is not None
            if name in PER_AXIS and isinstance(value, tuple) and len(set(value)) == 1:
                value = value[0]
            if parameter.default is parameter.empty:
                written.append(self.value(value))
            elif value != parameter.default:
                written.append(f"{name}={self.value(value)}")
        return written

    def value(self, value: Any) -> str:
        """Return a value as Python source."""
        nn = self.torch.nn
        if isinstance(value, nn.Module):
            return self.module(value)
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, (tuple, list)):
            inside = ", ".join(map(self.value, value))
            if isinstance(value, list):
                return f"[{inside}]"
            return f"({inside},)" if len(value) == 1 else f"({inside})"
        if value is None or isinstance(value, (bool, int, float, slice)):
            return repr(value)
        operator = getattr(value, "_qualified_op_name", None)
        if operator is not None:
            return f"torch.ops.{operator.replace('::', '.')}"
        name = getattr(value, "__name__", "")
        places = {"nn": nn, "nn.functional": nn.functional, "torch": self.torch}
        for place, where in places.items():
            if getattr(where, name, None) is value:
                return f"{place}.{name}"
        raise ArchcostError(f"{shorten(value)} cannot be written")


def _definition(name: str, text: str, bound: Sequence[str], extends: bool) -> str:
    """Return a class under a name, or a function that makes an instance where it is bound."""
    if not bound:
        return re.sub(r"^class \w+", f"class {name}", text)
    made = text.removeprefix("class ").partition("(")[0]
    more = ("*arguments", "**options") if extends else ("", "")
    head = ", ".join(filter(None, (more[0], *bound, more[1])))
    inside = f"{text}\nreturn {made}({', '.join(filter(None, more))})\n"
    return f"def {name}({head}):\n{textwrap.indent(inside, INDENT)}"


def _class_text(cls: type) -> tuple[str, str]:
    """Return the source of a class, and the name of its base if that is a variable."""
    text = textwrap.dedent(inspect.getsource(cls))
    text = re.sub(r" *# type: ignore\[[^]]*\]", "", text).replace("torch.nn.", "nn.")
    definition = ast.parse(text).body[0]
    assert isinstance(definition, ast.ClassDef)
    base = definition.bases[0]
    return text, base.id if isinstance(base, ast.Name) else ""


def _bound(cls: type) -> dict[str, Any]:
    """Return the variables that the methods of a class take from around it."""
    bound = {}
    for method in vars(cls).values():
        if inspect.isfunction(method):
            cells = zip(method.__code__.co_freevars, method.__closure__ or (), strict=True)
            bound.update({name: cell.cell_contents for name, cell in cells})
    bound.pop("__class__", None)  # of super()
    return bound


def _snake(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    return words.removesuffix("_module") + "_layer"
