"""Nodes of an ONNX graph that constants decide, and those that ONNX defines by other nodes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from archcost.errors import shorten
from archcost.importers.onnx_tensors import Node
from archcost.shape import numel

onnx: Any = import_module("onnx")
np: Any = import_module("numpy")


def folded_shape(node: Node) -> Any:
    """Return what Shape or Size gives, which the batch is in."""
    shape = node.x.shape
    if node.op == "Size":
        return np.array(numel(shape), np.int64)
    start, end = node.attr("start", 0), node.attr("end", len(shape))
    return np.array(shape[start:end], np.int64)


def folded_numbers(node: Node) -> Any:
    """Return what a Constant holds, a tensor of the file or an array."""
    [attribute] = node.proto.attribute
    if attribute.name == "value":
        return attribute.t
    if attribute.name in ("value_int", "value_ints"):
        return np.array(node.attr(attribute.name), np.int64)
    if attribute.name in ("value_float", "value_floats"):
        return np.array(node.attr(attribute.name), np.float32)
    raise node.refused(f"holds {attribute.name.removeprefix('value_')}, no numbers")


def computed(node: Node, versions: Mapping[str, int]) -> tuple[list[Any] | None, str]:
    """Return the values of a node's outputs, by ONNX's reference, or why it has none."""
    helper, reference = onnx.helper, import_module("onnx.reference")
    names = dict(zip(node.proto.input, node.inputs, strict=True))
    infos = [
        helper.make_tensor_value_info(name, known.elem, known.shape)
        for name, known in names.items()
        if known is not None
    ]
    outs = [helper.make_tensor_value_info(n, 0, None) for n in node.proto.output if n]
    graph = helper.make_graph([node.proto], "constants", infos, outs)
    opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    model = helper.make_model(graph, opset_imports=opsets)
    feeds = {name: known.value for name, known in names.items() if known is not None}
    try:
        with np.errstate(all="ignore"):
            return list(reference.ReferenceEvaluator(model).run(None, feeds)), ""
    except Exception as error:  # whatever numpy and onnx raise
        return None, f"{node.label}: {node.op} cannot be computed: {shorten(error, 100)}"


def definition(schema: Any, node: Node, types: Mapping[str, Any]) -> Any:
    """Return the function that ONNX defines an op by, None where it has no definition."""
    if schema.has_function:
        return schema.function_body
    if schema.has_context_dependent_function:
        given = [types[name].SerializeToString() if name else b"" for name in node.proto.input]
        found = schema.get_context_dependent_function(node.proto.SerializeToString(), given)
        return onnx.FunctionProto.FromString(found) if found else None
    return None


def renamed(function: Any, proto: Any, schema: Any) -> tuple[list[Any], list[str]]:
    """Return the nodes of a function as those of a node, and the names of its outputs."""
    mark = next(iter(proto.output))
    given = dict(zip(function.input, proto.input, strict=False))
    left_out = {name: "" for name in function.input if name not in given}
    usual = [a.default_value for a in schema.attributes.values() if a.default_value.name]
    attributes = {a.name: a for a in (*usual, *function.attribute_proto)}
    attributes.update({a.name: a for a in proto.attribute})
    names: dict[str, str] = {**given, **left_out, "": ""}
    nodes = []
    for number, inner in enumerate(function.node):
        made = onnx.NodeProto()
        made.CopyFrom(inner)
        made.name = f"{proto.name or mark}/{inner.op_type}_{number}"
        for kept in (made.input, made.output):
            for i, name in enumerate(kept):
                kept[i] = names.setdefault(name, f"{mark}/{name}")
        for i in reversed(range(len(made.attribute))):
            if reference := made.attribute[i].ref_attr_name:
                own = made.attribute[i].name
                del made.attribute[i]
                if reference in attributes:
                    copied = made.attribute.add()
                    copied.CopyFrom(attributes[reference])
                    copied.name = own
        nodes.append(made)
    return nodes, [names.get(name, "") for name in function.output]
