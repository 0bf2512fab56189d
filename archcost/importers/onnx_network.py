"""An ONNX file as a network: its inputs, the names of its layers, what its exporter has folded."""

from __future__ import annotations

import re
from ast import literal_eval
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from archcost.errors import ArchcostError, LookupFailed
from archcost.importers.calls import Called
from archcost.importers.lower import Lowering
from archcost.importers.onnx_functions import PROGRAMS
from archcost.importers.onnx_graph import Graph
from archcost.importers.onnx_moves import GATES
from archcost.importers.onnx_nodes import HANDLERS
from archcost.importers.onnx_tensors import Node, Refused
from archcost.importers.seen import BATCH, PARAMETER, Call, Seen, Trace
from archcost.network import Network, Remark, Value, prefixes
from archcost.pytorch.onnx_file import import_onnx
from archcost.shape import numel, read_shape, show
from archcost.units import number_of

import_module("archcost.importers.onnx_products")  # which adds to the table of nodes


def read(path: str, *, input: Any = None, knobs: Mapping[str, Any] | None = None) -> Network:
    """Return the network that an ONNX file holds.

    Args:
        path: of the file.
        input: the shape of its input without batch, or a mapping of inputs' names to shapes, where
            the file leaves sizes open or others are wanted.
        knobs: none; an ONNX file has no knobs.

    Raises:
        ArchcostError: it is not an ONNX file, leaves sizes open, or has an op without a formula.
            The text names the node.
    """
    if knobs:
        raise ArchcostError(f"{path} is an ONNX graph, which has no knobs")
    model = _model(path)
    try:
        found = _network(path, model, input, whole=False)
    except Unfit:
        raise
    except ArchcostError as error:
        try:  # where samples are mixed, the batch that the file has stays in the shapes
            found = _network(path, _model(path), input, whole=True)
        except ArchcostError:
            raise error from None
    return found


class Unfit(ArchcostError):
    """Sizes that a user gives and an input does not have."""


def _model(path: str) -> Any:
    onnx = import_onnx()
    file = Path(path)
    if not file.is_file():
        raise ArchcostError(f"{path}: no such file")
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ArchcostError(f"cannot read {path}: {error.strerror}") from None
    except Exception:  # protobuf's own kinds
        raise ArchcostError(f"{path} is not an ONNX file") from None
    if not model.graph.node and not model.graph.output:
        raise ArchcostError(f"{path} is not an ONNX file, or its graph is empty")
    if model.functions:
        model = import_module("onnx.inliner").inline_local_functions(model)
    return model


def _network(path: str, model: Any, input: Any, whole: bool) -> Network:
    graph = Graph(model, path, HANDLERS, whole=whole)
    inputs = _inputs(graph, input)
    graph.walk(model.graph.node)
    _name(graph, [seen.name for seen in inputs.values()])
    missing = [name for name in graph.outputs if name not in graph.known]
    if missing:
        raise Refused(f"{path}: nothing makes the output {missing[0]!r}")
    trace = Trace(graph.calls, tuple(graph.known[name].seen for name in graph.outputs))
    if not any(seen.kind in ("call", "input") for seen in trace.outputs):
        raise Refused(f"{path}: no output depends on an input")
    name = Path(path).stem
    lowering = OnnxLowering(trace, whole)
    found = lowering.network(
        name, {seen.name: seen for seen in inputs.values()}, title=_title(model), family=path,
        source=path, find_remarks=partial(_remarks, graph),
        remake=lambda **options: read(path, input=options.get("input") or input),
    )  # fmt: skip
    if graph.unfit is not None:
        raise graph.unfit
    return found


def _title(model: Any) -> str:
    producer = " ".join(filter(None, (model.producer_name, model.producer_version)))
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), "?")
    return f"an ONNX graph of opset {opset}" + (f", written by {producer}" if producer else "")


def _remarks(graph: Graph, network: Network) -> list[Remark]:
    """Say what the exporter has folded, and what else is not as the network was written."""
    said = []
    if folded := sum(map(_has_folded, (node.proto for node, _ in graph.made_by))):
        norms = "normalisation is" if folded == 1 else "normalisations are"
        said.append(f"{folded} batch {norms} folded into convolutions: the file has no others")
    own = [name for name in graph.read_as if _is_of_exporter(graph, name)]
    if own:
        elements = sum(numel(graph.read_as[name]) for name in own)
        said.append(
            f"tensors that the exporter has made, such as {own[0]}, hold {elements:,} of "
            "the parameters"
        )
    if graph.whole:
        said.append("samples of a batch are mixed: shapes have the batch, and hold for this one")
        if graph.assumed:
            said.append(
                "the file leaves the first size of its inputs open, which is taken as 1: "
                f"say all sizes, as --input {graph.assumed}"
            )
    elif graph.batch > 1:
        said.append(f"the file has a batch of {graph.batch}, which is divided out")
    return [Remark("onnx", text, 0, 0) for text in said]


WEIGHTED = (
    "Conv", "ConvTranspose", "Gather", "GatherND", "Gemm", "GRU", "LSTM", "MatMul", "RNN",
)  # fmt: skip
"""The ops whose weights exporters transpose, and give names of their own."""


def _is_of_exporter(graph: Graph, name: str) -> bool:
    """Whether the exporter has made a tensor, and named it itself: a mask, a part of a weight."""
    own = re.fullmatch(r"(val|onnx::\w+)_\d+", name)
    return bool(own) and not any(node.op_type in WEIGHTED for node in graph.readers[name])


def _has_folded(node: Any) -> bool:
    """Whether a convolution shows that a batch normalisation is folded into it."""
    if node.op_type != "Conv":
        return False
    classes = next((p.value for p in node.metadata_props if p.key.endswith("class_hierarchy")), "")
    made = [re.fullmatch(r"onnx::Conv_\d+", name) for name in node.input[1:3]]
    return "BatchNorm" in classes or (len(made) == 2 and all(made))


# Inputs.


def _inputs(graph: Graph, given: Any) -> dict[str, Seen]:
    """Return the inputs as calls see them, by their names in the file."""
    held = set(graph.known)
    values = [value for value in graph.model.graph.input if value.name not in held]
    names = [value.name for value in values]
    if not values:
        raise Refused(f"{graph.name}: it has no input")
    if given is not None and not isinstance(given, Mapping):
        given = {names[0]: given}
    for key in given or {}:
        if key not in names:
            raise LookupFailed(f"input of {graph.name}", key, names)
    first = _dims(graph, values[0])
    batch = first[0] if first else None
    if not graph.whole:
        graph.batch = batch if isinstance(batch, int) else 0
    found: dict[str, Seen] = {}
    used: set[str] = set()
    for value in values:
        dims = _dims(graph, value)
        shape = _shape(graph, value.name, dims, batch, (given or {}).get(value.name))
        clean = _clean(value.name)
        while clean in used:
            clean += "_"
        used.add(clean)
        elem = value.type.tensor_type.elem_type
        found[value.name] = graph.input(value.name, clean, shape, elem)
    return found


def _dims(graph: Graph, value: Any) -> list[int | str | None]:
    """Return the sizes of an input as the file has them: numbers, names or nothing."""
    if not value.type.HasField("tensor_type"):
        raise Refused(f"{graph.name}: the input {value.name} is not a tensor")
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or None
        for dim in value.type.tensor_type.shape.dim
    ]


def _shape(
    graph: Graph, name: str, dims: Sequence[int | str | None], batch: Any, given: Any
) -> tuple[int, ...]:
    """Return the shape of an input with the batch."""
    if graph.whole:
        is_open = bool(dims) and not isinstance(dims[0], int)
        sizes: Any = dims[1:] if given is None else read_shape(given)
        if is_open and len(sizes) == len(dims):
            return tuple(sizes)
        shape = (1 if is_open else dims[0], *sizes) if dims else ()
        if any(not isinstance(n, int) for n in shape):
            raise _open(graph, name, dims)
        if is_open:
            graph.assumed = graph.assumed or f"{name}={show(shape)}"
        return tuple(shape)
    has = bool(dims) and (dims[0] == batch or not isinstance(dims[0], int))
    own = dims[1:] if has else dims
    if given is not None:
        shape = read_shape(given)
        unfit = Unfit(
            f"{graph.name}: the input {name} has {number_of(len(own), 'size')} "
            f"without the batch; got {len(shape)}"
        )
        if has and len(shape) == len(dims) and not isinstance(dims[0], int):
            graph.unfit = unfit  # unless samples are mixed
            shape = shape[1:]
        elif dims and len(shape) != len(own):
            raise unfit
        own = shape
    if any(not isinstance(n, int) for n in own):
        raise _open(graph, name, dims)
    return (BATCH, *own) if has or not dims else tuple(own)  # type: ignore[arg-type]


def _open(graph: Graph, name: str, dims: Sequence[int | str | None]) -> ArchcostError:
    sizes = "x".join(str(n or "?") for n in dims[1:])
    example = "x".join(str(n if isinstance(n, int) else 224) for n in dims[1:])
    return ArchcostError(
        f"{graph.name} leaves the input {name} open, {sizes}: say it, as --input {name}={example}"
    )


# Names.


def _clean(name: str) -> str:
    return re.sub(r"[^\w+-]+", "_", name).strip("_")[:80] or "x"


def _place(node: Node) -> tuple[str, str]:
    """Return the group that a node lies in, and its own name there."""
    proto = node.proto
    own = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.op).lower()
    weight = next(iter(proto.input[1:2]), "")
    known = node.graph.known.get(weight)
    if known is not None and known.seen.kind == PARAMETER and weight.endswith(".weight"):
        return _path(weight.removesuffix(".weight").split(".")), own
    for prop in proto.metadata_props:
        if prop.key.endswith("name_scopes"):
            with suppress(ValueError, SyntaxError):
                scopes = literal_eval(prop.value)
                return _path(scopes[-2].split(".") if len(scopes) > 1 else []), own
    *groups, last = [part for part in proto.name.split("/") if part] or [""]
    parts: list[str] = []
    for group in groups:
        whole = ".".join(parts)
        if parts and group.startswith(f"{parts[-1]}."):
            parts = parts[:-1]
        elif whole and group.startswith(f"{whole}."):
            parts = []
        parts.append(group)
    if match := re.fullmatch(rf"(?:node_{node.op}_\d+|{node.op}(_\d+)?)", last):
        last = own + (match[1] or "")
    return _path(".".join(parts).split(".")), _clean(last) if last else own


def _path(parts: Sequence[str]) -> str:
    return ".".join(_clean(part) for part in parts if part)


def _name(graph: Graph, inputs: Sequence[str]) -> None:
    """Give each call the path of its layer: that of its node's module, with the op if need be."""
    places = [_place(node) for node, _ in graph.made_by]
    nodes = {id(node): place for (node, _), place in zip(graph.made_by, places, strict=True)}
    number = Counter(group for group, _ in nodes.values())
    groups = {part for group in number for part in prefixes(group)}
    groups |= {group for group, count in number.items() if count > 1}
    used: set[str] = set()

    def free(path: str) -> str:
        made, count = path, 1
        while (
            made in used or made in groups or made in inputs
            or any(part in used for part in prefixes(made))
        ):  # fmt: skip
            made, count = f"{path}_{count}", count + 1
        used.add(made)
        return made

    alone = [group for group, _ in nodes.values() if group and group not in groups]
    reserved = set(alone)
    main: dict[int, str] = {}
    for (node, part), (group, own), call in zip(graph.made_by, places, graph.calls, strict=True):
        if part:
            continue
        path = f"{group}.{own}" if group else own
        if group in reserved:
            path = group
        elif path in reserved:
            path = f"{path}_{node.op.lower()}"
        main[id(node)] = call.path = free(path)
    for (node, part), call in zip(graph.made_by, graph.calls, strict=True):
        if part:
            call.path = free(f"{main.get(id(node), node.op.lower())}_{_clean(call.name)}")


# Layers.


def tensors_of(value: Any) -> Iterator[Seen]:
    """Yield the tensors in nested arguments."""
    if isinstance(value, Seen):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_of(inner)


def _has_batch(seen: Seen) -> bool:
    return any(n and n % BATCH == 0 for n in seen.shape)


class NodeCall(Called):
    """A call that a node is priced as."""

    programs = PROGRAMS


class Whole(NodeCall):
    """A call on tensors that hold the batch of the file, as one sample."""

    def __init__(self, called: Called) -> None:
        """Take what was seen of the call."""
        self.__dict__.update(called.__dict__)

    def forward(self, F: Any, *tensors: Any, **params: Any) -> Any:
        """Run the function's program, without the dimension of the sample."""
        if F.setting.batch != 1:
            raise ArchcostError("the file's graph mixes the samples of a batch: only --batch 1")
        given = [F.reshape(x, shape=x.shape[1:]) for x in tensors]
        made = super().forward(F, *given, **params)
        listed = [F.reshape(x, shape=(1, *x.shape)) for x in (made if self.made[1:] else [made])]
        return listed if self.made[1:] else listed[0]


class OnnxLowering(Lowering):
    """Makes a network of the calls that nodes are priced as.

    ``whole`` says that shapes have the batch, because samples are mixed.
    """

    called = NodeCall

    def __init__(self, trace: Trace, whole: bool) -> None:
        super().__init__(trace)
        self.whole = whole

    def lower(self, number: int, call: Call) -> None:
        """Add the layer of a call; a fault has the node's name."""
        try:
            read = [
                seen for seen in tensors_of((call.args, call.kwargs)) if seen.kind != "constant"
            ]
            if any(map(_has_batch, read)) and not _has_batch(call.outs[0]):
                raise ArchcostError("a tensor mixes the samples of the batch")
            super().lower(number, call)
        except ArchcostError as error:
            where, _ = call.line
            text = str(error) if call.path in str(error) else f"{call.path}: {error}"
            raise Refused(f"{where}: {text} ({call.full})") from None

    def holders(self) -> dict[str, str]:
        """Return nothing: a graph has no names that hold tensors."""
        return {}

    def path(self, call: Call) -> str:
        """Return the path that the node has."""
        return call.path

    def add(
        self, op: Any, values: Sequence[Value | None], path: str, params: Mapping[str, Seen]
    ) -> tuple[Value, ...]:
        """Add a layer."""
        whole = self.whole and isinstance(op, Called)
        return super().add(Whole(op) if whole else op, values, path, params)

    def macs(self, call: Call) -> int:
        """Return the multiply-accumulates of a call on the whole batch."""
        if call.name.startswith("conv_transpose"):
            x, weight = call.args[:2]
            return numel(x.shape) * numel(weight.shape[1:])
        for op, gates in GATES.items():
            if call.name == f"onnx_{op.lower()}":
                x, w, r = call.args[:3]
                return numel(x.shape[:2]) * (numel(w.shape) + numel(r.shape)) if gates else 0
        return super().macs(call)

    def unknown(self, call: Call) -> str:
        """Return why a function that has no program cannot be priced."""
        return f"{call.path}: {call.name} has no formula"
