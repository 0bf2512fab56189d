"""What is in an ONNX file: its nodes, walked with shapes that hold the batch, constants folded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from archcost.errors import shorten
from archcost.importers.onnx_folding import (
    computed,
    definition,
    folded_numbers,
    folded_shape,
    renamed,
)
from archcost.importers.onnx_tensors import (
    QUANTISED,
    Known,
    Node,
    Refused,
    is_known,
    is_odd,
    seen_type,
    type_name,
)
from archcost.importers.seen import BATCH, CALL, CONSTANT, INPUT, PARAMETER, Call, Seen
from archcost.shape import Shape, numel, show

onnx: Any = import_module("onnx")
INT64, BOOL, FLOAT = (getattr(onnx.TensorProto, name) for name in ("INT64", "BOOL", "FLOAT"))
np: Any = import_module("numpy")

MOST_FOLDED = 100_000
"""The elements of the largest constant that is computed; of others only the shape is known."""

DOMAINS = ("", "ai.onnx")
TRANSPARENT = (
    "Cast", "CastLike", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape",
    "Squeeze", "Transpose", "Unsqueeze", "Dropout",
)  # fmt: skip
"""What leaves a parameter the parameter that it is, in another shape or type."""
AT_RANDOM = (
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
)  # fmt: skip


@dataclass
class Graph:
    """An ONNX graph that is walked node by node.

    Attributes:
        name: of the file.
        batch: what the file says of the batch: its size where that is fixed, else 0.
        whole: whether the batch stays in all shapes, because samples are mixed.
        known: the tensors by their names.
        calls: the functions of PyTorch that the nodes are priced as.
        made_by: the node of each call, and whether the call is only a part of it.
        assumed: an input whose first size is open and taken as 1, with its sizes.
        unfit: what is wrong with the sizes that a user gives, if samples are not mixed.
        read_as: the shape in which calls read a parameter, which is that of its first reader.
    """

    model: Any
    name: str
    handlers: Mapping[str, Callable[[Node], None]]
    batch: int = 0
    whole: bool = False
    known: dict[str, Known] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    made_by: list[tuple[Node, bool]] = field(default_factory=list)
    assumed: str = ""
    unfit: Exception | None = None
    read_as: dict[str, Shape] = field(default_factory=dict)
    fused: set[int] = field(default_factory=set)
    readers: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        """Note the opsets, the initializers, and who reads what."""
        graph = self.model.graph
        self.versions = {o.domain or "": o.version for o in self.model.opset_import}
        self.versions.setdefault("", self.versions.get("ai.onnx", 1))
        self.outputs = [value.name for value in graph.output]
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)
        for tensor in graph.initializer:
            self.hold(tensor)
        for sparse in graph.sparse_initializer:
            dense = Seen(PARAMETER, sparse.values.name, -1, 0, tuple(sparse.dims), "float32")
            self.known[sparse.values.name] = Known(dense, sparse.values.data_type)

    # Tensors.

    def hold(self, tensor: Any) -> None:
        """Take an initializer: numbers with dimensions are parameters, unless they are whole."""
        shape, dtype = tuple(tensor.dims), type_name(tensor.data_type)
        value, why = self.content(tensor)
        learnt = bool(shape) and (dtype.startswith(("float", "bfloat")) or dtype in QUANTISED)
        kind = PARAMETER if learnt else CONSTANT
        seen = Seen(kind, tensor.name, -1, 0, shape, seen_type(dtype))
        self.known[tensor.name] = Known(seen, tensor.data_type, value, why)

    def content(self, tensor: Any) -> tuple[Any, str]:
        """Return the value of a small constant, and why there is none."""
        if numel(tuple(tensor.dims)) > MOST_FOLDED:
            return None, ""
        if tensor.data_location == onnx.TensorProto.EXTERNAL and not tensor.raw_data:
            helper: Any = import_module("onnx.external_data_helper")
            try:
                helper.load_external_data_for_tensor(tensor, self.name.rpartition("/")[0] or ".")
            except Exception:  # onnx raises many kinds
                where = {entry.key: entry.value for entry in tensor.external_data}
                return None, f"its value is in the file {where.get('location', '')}, not there"
        try:
            return onnx.numpy_helper.to_array(tensor), ""
        except Exception:  # a type that numpy does not have
            return None, ""

    def held(self, found: Any) -> Known:
        """Return the constant that a node of the file holds: a tensor of it, or an array."""
        if not hasattr(found, "dims"):
            return self.constant(found)
        value, _ = self.content(found)
        known = self.empty(tuple(found.dims), found.data_type)
        return known if value is None else self.constant(value)

    def constant(self, value: Any) -> Known:
        """Return a constant tensor."""
        value = np.asarray(value)
        elem = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        seen = Seen(CONSTANT, "", -1, 0, tuple(value.shape), seen_type(type_name(elem)))
        return Known(seen, elem, value)

    def empty(self, shape: Sequence[int], elem: int) -> Known:
        """Return a constant tensor of which only the shape is known."""
        return Known(Seen(CONSTANT, "", -1, 0, tuple(shape), seen_type(type_name(elem))), elem)

    def input(self, name: str, clean: str, shape: Sequence[int], elem: int) -> Seen:
        """Take an input of the network, whose shape has the batch."""
        seen = Seen(INPUT, clean, -1, 0, tuple(shape), seen_type(type_name(elem)))
        self.known[name] = Known(seen, elem)
        return seen

    def emit(
        self, node: Node, function: str, args: Sequence[Any], kwargs: Mapping[str, Any],
        outs: Sequence[tuple[Shape, int]], part: bool = False,
    ) -> list[Known]:  # fmt: skip
        """Note a call of a function; return what it makes."""

        def seen(value: Any) -> Any:
            if isinstance(value, Known):
                own, name = value.seen, value.seen.name
                if own.kind != PARAMETER or self.read_as.setdefault(name, own.shape) == own.shape:
                    return own
                whole = Known(replace(own, shape=self.read_as[name]), value.elem)
                outs = [(own.shape, value.elem)]
                return self.emit(node, "reshape", (whole, *own.shape), {}, outs, part=True)[0].seen
            if isinstance(value, (list, tuple)):
                return type(value)(map(seen, value))
            return value

        listed, told = tuple(map(seen, args)), {key: seen(value) for key, value in kwargs.items()}
        number = len(self.calls)
        made: list[Known] = [
            Known(Seen(CALL, "", number, i, shape, seen_type(type_name(elem))), elem)
            for i, (shape, elem) in enumerate(outs)
        ]
        for known in made:
            known.inside = node.inside or _inside(known.shape, node.inputs)
        self.calls.append(
            Call(function, node.op, node.label, True, listed, told,
                 tuple(known.seen for known in made), (self.name, 0))
        )  # fmt: skip
        self.made_by.append((node, part))
        return made

    # The walk.

    def walk(self, nodes: Sequence[Any], versions: Mapping[str, int] | None = None) -> None:
        """Price nodes in order.

        Raises:
            Refused: a node has no price; the text has its name and op.
        """
        for proto in nodes:
            self.visit(proto, versions or self.versions)

    def visit(self, proto: Any, versions: Mapping[str, int]) -> None:
        """Price one node."""
        if proto.domain not in DOMAINS:
            label = proto.name or next(iter(proto.output), "")
            text = f"{self.name}: {label}: {proto.op_type} of the domain {proto.domain}"
            raise Refused(f"{text} has no formula: its domain is not ONNX's own")
        missing = [name for name in proto.input if name and name not in self.known]
        inputs = [self.known[name] if name else None for name in proto.input if name not in missing]
        node = Node(self, proto, proto.op_type, versions.get("", 1), inputs)
        if missing:
            raise node.refused(f"reads {missing[0]!r}, which nothing makes")
        if id(proto) in self.fused:
            [product] = [known for known in inputs if known and not known.is_static]
            self.known[proto.output[0]] = product
            return
        if node.op == "If":
            self.branch(node, versions)
            return
        if not self.fold(node, versions):
            self.price(node, versions)
        for place, name in enumerate(proto.output):
            if place < len(node.made) and (made := node.made[place]) is not None:
                self.known[name] = made
            elif name and (self.readers[name] or name in self.outputs):
                raise node.refused(f"gives {name!r}, its output {place + 1}, which has no formula")

    def branch(self, node: Node, versions: Mapping[str, int]) -> None:
        """Walk the branch of an If whose condition is a constant."""
        chosen = node.attr("then_branch" if np.all(node.number(0)) else "else_branch")
        for tensor in chosen.initializer:
            self.hold(tensor)
        self.walk(chosen.node, versions)
        for name, value in zip(node.proto.output, chosen.output, strict=True):
            self.known[name] = self.known[value.name]

    def price(self, node: Node, versions: Mapping[str, int]) -> None:
        """Price a node by its entry in the table, or by the nodes that its definition is."""
        schema = self.schema(node)
        handler = self.handlers.get(node.op)
        if handler is not None:
            node.outs = self.shapes(node, schema, versions)
            handler(node)
            return
        function = definition(schema, node, self.types(node))
        if function is None:
            raise node.refused("has no formula")
        inner = {o.domain: o.version for o in function.opset_import}
        nodes, outputs = renamed(function, node.proto, schema)
        self.walk(nodes, {**versions, **inner})
        node.made = [self.known.get(name) for name in outputs]

    def schema(self, node: Node) -> Any:
        """Return what ONNX says of an op, in the version of the opset."""
        try:
            return onnx.defs.get_schema(node.op, node.version, node.proto.domain)
        except onnx.defs.SchemaError:
            raise node.refused(f"is not an op of ONNX's opset {node.version}") from None

    def types(self, node: Node, whole: int | None = None) -> dict[str, Any]:
        """Return the types of a node's inputs by their names; ``whole`` is that of no floats."""
        sized = self.has_sizes(node)
        return {
            name: onnx.helper.make_tensor_type_proto(
                whole if whole and known.seen.dtype == "int64" else known.elem,
                self.as_in_file(known.shape) if sized else known.shape,
            )
            for name, known in zip(node.proto.input, node.inputs, strict=True)
            if known is not None
        }

    def shapes(
        self, node: Node, schema: Any, versions: Mapping[str, int]
    ) -> list[tuple[Shape, int]]:
        """Return the shapes and types of a node's outputs, by ONNX's own rules."""
        if node.op == "Reshape":
            return [(self.reshaped(node), node.x.elem)]
        if node.op == "Expand":
            return [(self.expanded(node), node.x.elem)]
        if node.op == "Concat":
            self.spread(node)
        data = {
            name: onnx.numpy_helper.from_array(np.array(known.value, order="C"))
            for name, known in zip(node.proto.input, node.inputs, strict=True)
            if known is not None and known.value is not None and not is_odd(known.value)
        }  # fmt: skip
        imports = [onnx.helper.make_opsetid(d, v) for d, v in versions.items()]

        def inferred(types: Mapping[str, Any]) -> Any:
            return onnx.shape_inference.infer_node_outputs(
                schema, node.proto, types, data, opset_imports=imports
            )

        found, faults = None, []
        for whole in (None, INT64, BOOL, FLOAT):  # exporters mix types, which decide no size
            try:
                found = inferred(self.types(node, whole))
                break
            except Exception as error:  # onnx raises several kinds
                faults.append(str(error).strip().splitlines()[0])
        if found is None:
            raise node.refused(f"does not fit: {shorten(faults[0], 150)}")
        outs: list[tuple[Shape, int]] = []
        for name in node.proto.output:
            if not name:
                continue
            kind = found.get(name)
            unused = bool(outs) and not self.readers[name] and name not in self.outputs
            if unused and not is_known(kind):
                continue
            if kind is None or not kind.HasField("tensor_type"):
                raise node.refused("makes no tensor, or one of a shape that ONNX does not say")
            if not is_known(kind):
                raise node.refused("has an output whose size data decide")
            shape = tuple(dim.dim_value for dim in kind.tensor_type.shape.dim)
            if self.has_sizes(node):
                shape = self.with_batch(shape, node.x.shape)
            outs.append((shape, kind.tensor_type.elem_type))
        return outs

    def reshaped(self, node: Node) -> Shape:
        """Return the shape that a Reshape gives; what the file fixes of the batch is put right."""
        sizes, shape = node.sizes(1, "shape"), node.x.shape
        if not node.attr("allowzero", 0):
            sizes = [shape[i] if n == 0 and i < len(shape) else n for i, n in enumerate(sizes)]
        free = not self.batch or any(n % BATCH == 0 and n for n in sizes)
        before = shape if free else self.as_in_file(shape)
        if -1 in sizes:
            rest = numel(tuple(n for n in sizes if n != -1))
            if not rest or numel(before) % rest:
                raise node.refused(f"of {show(before)} to {sizes} does not fit")
            sizes[sizes.index(-1)] = numel(before) // rest
        made = tuple(sizes)
        if not free:
            made, node.inside = self.at_place(before, shape, node.x.inside, made)
        if numel(made) != numel(shape):
            raise node.refused(f"of {show(before)} to {show(tuple(sizes))} does not fit")
        return made

    def as_in_file(self, shape: Shape) -> Shape:
        """Return a shape with the batch that the file fixes."""
        return tuple(n // BATCH * self.batch if n % BATCH == 0 else n for n in shape)

    def at_place(
        self, before: Shape, shape: Shape, inside: int, made: Shape
    ) -> tuple[Shape, int]:  # fmt: skip
        """Return a shape with the batch where as many elements lie before it, and how many inside.

        These are the elements of its own dimension that go before it.
        """
        where = [d for d, n in enumerate(shape) if n and n % BATCH == 0]
        if len(where) != 1:
            return made, 1
        outer = numel(before[: where[0]]) * inside
        lead = [numel(made[:d]) for d in range(len(made) + 1)]
        ones = [d for d, n in enumerate(made) if n == self.batch and lead[d] == outer]
        joined = [d for d in range(len(made)) if lead[d] < outer <= lead[d + 1]]
        first = [d for d, n in enumerate(lead[:-1]) if n == outer and made[d] > 1]
        if first and len(made) - first[0] > len(before) - where[0] - 1:  # it is split into heads
            joined = first
        for d in (*ones, *joined, 0):
            if made and made[d] % self.batch == 0:
                sizes = (*made[:d], made[d] // self.batch * BATCH, *made[d + 1 :])
                return sizes, max(1, outer // lead[d])
        return made, 1

    def has_sizes(self, node: Node) -> bool:
        """Whether a node resizes to sizes that it reads, with the file's batch among them."""
        sizes = node.given(3) if node.op == "Resize" else None
        fixed = self.batch and sizes is not None and sizes.value is not None
        return bool(fixed) and not any(n % BATCH == 0 for n in sizes.value.tolist())  # type: ignore[union-attr]

    def with_batch(self, made: Shape, given: Shape) -> Shape:
        """Return a shape of as many dimensions, with the batch where a tensor has it."""
        places = zip(made, given, self.as_in_file(given), strict=True)
        return tuple(g if n == known else n for n, g, known in places)

    def expanded(self, node: Node) -> Shape:
        """Return the shape that an Expand gives; what the file fixes of the batch is put right."""
        sizes = tuple(node.number(1))
        rank = max(len(sizes), len(node.x.shape))
        pair = [(1,) * (rank - len(shape)) + shape for shape in (node.x.shape, sizes)]

        def joined(a: int, b: int) -> int:
            if 1 in (a, b):
                return a if b == 1 else b
            for one, other in ((a, b), (b, a)):
                if one == other or (self.batch and self.as_in_file((one,)) == (other,)):
                    return one
            raise node.refused(f"of {show(node.x.shape)} to {show(sizes)} does not fit")

        return tuple(map(joined, *pair))

    def spread(self, node: Node) -> None:
        """Repeat what a Concat joins for each sample, where the file has one row of it."""
        shapes = [known.shape for known in node.inputs if known is not None]
        axis = node.attr("axis", 1) % len(shapes[0]) if shapes[0] else 0
        lead = [
            next((n for n in column if n and n % BATCH == 0), 0)
            for column in zip(*shapes, strict=True)
        ]
        for place, known in enumerate(node.inputs):
            if known is None or not self.batch:
                continue
            sizes = zip(known.shape, lead, strict=True)
            shape = tuple(
                n if d == axis or not b or n != self.batch else b for d, (n, b) in enumerate(sizes)
            )
            if shape != known.shape and self.batch == 1:
                node.outs = [(shape, known.elem)]
                if known.seen.kind == CONSTANT:
                    node.inputs[place] = self.empty(shape, known.elem)
                else:
                    node.inputs[place] = node.step("expand", shape, known, *shape)

    # Constants.

    def fold(self, node: Node, versions: Mapping[str, int]) -> bool:
        """Compute a node that reads constants only; say whether it is done."""
        if node.op in ("Shape", "Size"):
            node.made = [self.constant(folded_shape(node))]
            return True
        given = [known for known in node.inputs if known is not None]
        if node.op in AT_RANDOM or node.op == "EyeLike":
            node.outs = self.shapes(node, self.schema(node), versions)
            node.made = [self.empty(*out) for out in node.outs]
            return True
        if any(not known.is_static for known in given):
            return False
        learnt = [known for known in given if known.seen.kind == PARAMETER]
        if learnt and (node.op not in TRANSPARENT or given[0].seen.kind != PARAMETER):
            return False
        if node.op == "Constant":
            found = folded_numbers(node)
            node.made = [self.held(found)]
            return True
        node.outs = self.shapes(node, self.schema(node), versions)
        if learnt:
            shape, elem = node.outs[0]
            seen = replace(given[0].seen, shape=shape)
            node.made = [Known(seen, elem)]
            return True
        small = all(numel(shape) <= MOST_FOLDED for shape, _ in node.outs)
        values, why = None, ""
        if small and all(known.value is not None for known in given):
            values, why = computed(node, versions)
        if values is not None:
            node.made = [self.constant(value) for value in values]
        else:
            node.made = [replace(self.empty(*out), source=why) for out in node.outs]
        return True


def _inside(shape: Shape, inputs: Sequence[Known | None]) -> int:
    """Return how many rows go before the batch in its dimension: as in what has that dimension."""
    rows = [n for n in shape if n > BATCH and n % BATCH == 0]
    return max((k.inside for k in inputs if k and any(n in k.shape for n in rows)), default=1)
