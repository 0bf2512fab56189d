"""ONNX's ops that move elements, look them up or run step by step, as functions of PyTorch."""

from __future__ import annotations

from typing import Any

from archcost.importers.onnx_nodes import HANDLERS, axes_of, is_learnt, node
from archcost.importers.onnx_tensors import Known, Node
from archcost.importers.seen import BATCH


@node("Reshape")
def _reshape(n: Node) -> None:
    shape, x = n.outs[0][0], n.x
    if shape == x.shape:
        n.pass_on()
    elif len(shape) == 2 and len(x.shape) > 2 and shape[0] == x.shape[0]:
        n.call("flatten", x, 1)
    else:
        n.call("reshape", x, *shape)


@node("Flatten")
def _flatten(n: Node) -> None:
    if n.attr("axis", 1) == 1 and len(n.x.shape) > 1:
        _reshape(n)
    else:
        n.call("reshape", n.x, *n.outs[0][0])


@node("Squeeze", "Unsqueeze")
def _squeeze(n: Node) -> None:
    n.call("reshape", n.x, *n.outs[0][0])


@node("Transpose")
def _transpose(n: Node) -> None:
    order = n.attr("perm", list(range(len(n.x.shape)))[::-1])
    if order == list(range(len(order))):
        n.pass_on()
    else:
        n.call("permute", n.x, *order)


@node("Concat")
def _concat(n: Node) -> None:
    if len(n.inputs) == 1:
        n.pass_on()
    else:
        n.call("cat", n.inputs, n.attr("axis", 1) % len(n.x.shape))


@node("Split")
def _split(n: Node) -> None:
    axis = n.attr("axis", 0) % len(n.x.shape)
    n.call("split", n.x, [shape[axis] for shape, _ in n.outs], axis)


@node("Slice")
def _slice(n: Node) -> None:
    rank = len(n.x.shape)
    starts, ends = n.sizes(1, "starts"), n.sizes(2, "ends")
    axes = axes_of(n.sizes(3, "axes", list(range(len(starts)))), rank)
    steps = n.number(4, [1] * len(starts))
    if n.outs[0][0] == n.x.shape and all(step > 0 for step in steps):
        n.pass_on()
        return
    if any(step < 0 for step in steps):
        copied(n, "flip")
        return
    cut = [slice(None)] * rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        first, last, by = slice(start, end, step).indices(n.x.shape[axis])
        whole = last == n.x.shape[axis] and n.x.shape[axis] % BATCH == 0
        cut[axis] = slice(first, None if whole else last, by)
    n.call("__getitem__", n.x, tuple(cut))


@node("Gather")
def _gather(n: Node) -> None:
    table, places = n.x, n.given(1)
    assert places is not None
    axis = n.attr("axis", 0) % len(table.shape)
    if len(table.shape) == 1 and n.graph.batch == 1 and _is_all(table, places):
        n.outs = [((BATCH, *places.shape[1:]), n.outs[0][1])]  # flat, and back
        n.call("reshape", table, *n.outs[0][0])
    elif places.value is not None and not places.shape:
        n.call("select", table, axis, places.value.item() % table.shape[axis])
    elif axis == 0 and is_learnt(table) and len(table.shape) == 2 and not places.is_static:
        n.call("embedding", places, table)
    else:
        n.call("__getitem__", table, (*[slice(None)] * axis, places))


def _is_all(table: Known, places: Known) -> bool:
    """Whether places are those of all elements in order, of one sample that the batch is."""
    size, samples = table.shape[0] // BATCH, table.shape[0] % BATCH == 0
    if not samples or places.value is None or places.shape[:1] != (1,):
        return False
    return bool(places.value.reshape(-1).tolist() == list(range(size)))


@node("Expand")
def _expand(n: Node) -> None:
    shape = n.outs[0][0]
    if shape == n.x.shape:
        n.pass_on()
    else:
        n.call("expand", n.x, *shape)


@node("Tile")
def _tile(n: Node) -> None:
    repeats = n.number(1)
    if all(r == 1 for r in repeats):
        n.pass_on()
    else:
        n.call("repeat", n.x, *repeats)


@node("Pad")
def _pad(n: Node) -> None:
    rank = len(n.x.shape)
    pads = n.sizes(1, "pads" if n.attr("pads") else "paddings")
    axes = axes_of(n.number(3, list(range(rank))), rank)
    sides = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        sides[axis] = (pads[i], pads[i + len(axes)])
    if not any(map(any, sides)):
        n.pass_on()
        return
    first = next(d for d, side in enumerate(sides) if any(side))
    mode = {"edge": "replicate", "reflect": "reflect", "wrap": "circular"}
    name = mode.get(n.attr("mode", "constant"), "constant")
    n.call("pad", n.x, [part for side in reversed(sides[first:]) for part in side], name)


@node("Resize", "Upsample")
def _resize(n: Node) -> None:
    shape, size = n.x.shape, n.outs[0][0]
    if size == shape:
        n.pass_on()
        return
    how = {"nearest": "nearest", "cubic": "bicubic"}.get(n.attr("mode", "nearest"), "linear")
    if how == "linear":
        how = {3: "linear", 4: "bilinear", 5: "trilinear"}.get(len(shape), "linear")
    corners = n.attr("coordinate_transformation_mode", "") == "align_corners"
    if size[:2] != shape[:2] or len(shape) < 3:
        copied(n, "interpolate_all")
        return
    times = [m // k if m % k == 0 else 0 for k, m in zip(shape[2:], size[2:], strict=True)]
    given: dict[str, Any] = {"size": list(size[2:])}
    if len(set(times)) == 1 and times[0] > 1:
        given = {"scale_factor": times[0]}
    n.call("interpolate", n.x, **given, mode=how, align_corners=corners or None)


@node("DepthToSpace", "SpaceToDepth")
def _shuffle(n: Node) -> None:
    function = "pixel_shuffle" if n.op == "DepthToSpace" else "pixel_unshuffle"
    n.call(function, n.x, n.attr("blocksize"))


# What has no operation of its own here: as many elements are read, and new tensors are made.


def copied(n: Node, function: str) -> None:
    """Price a node as new tensors of its outputs' shapes."""
    given = [known for known in n.inputs if known is not None]
    n.call(function, *given, made=tuple(n.graph.empty(*out) for out in n.outs))


for _op, _function in {
    "ArgMax": "argmax", "ArgMin": "argmin", "CumSum": "cumsum", "CumProd": "cumprod",
    "Det": "det", "DynamicQuantizeLinear": "dynamic_quantize",
    "GatherElements": "gather", "GatherND": "gather_nd", "GridSample": "grid_sample",
    "MaxRoiPool": "roi_pool", "MaxUnpool": "max_unpool", "OneHot": "one_hot",
    "ReverseSequence": "reverse_sequence", "RoiAlign": "roi_align", "Scatter": "scatter",
    "ScatterElements": "scatter", "ScatterND": "index_put_", "TensorScatter": "scatter_into",
    "TopK": "topk", "Trilu": "tril", "LpPool": "lp_pool", "Col2Im": "col2im",
    "Where": "where", "MelWeightMatrix": "mel_weights", "Range": "arange",
}.items():  # fmt: skip
    HANDLERS[_op] = lambda n, function=_function: copied(n, function)  # type: ignore[misc]


# Recurrent layers.

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@node(*GATES)
def _recurrent(n: Node) -> None:
    x, w, r = n.inputs[:3]
    assert x is not None and w is not None and r is not None
    if n.attr("layout", 0):
        raise n.refused("of layout 1 has no formula")
    if n.attr("activations") and n.op != "RNN":
        usual = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"]}[n.op]
        names = [str(_text(a)).lower() for a in n.attr("activations")]
        if names != usual * (len(names) // len(usual)):
            raise n.refused(f"with the activations {', '.join(names)} has no formula")
    steps, batch, _ = x.shape
    if steps % BATCH == 0:
        raise n.refused("reads the batch as its steps")
    directions, hidden = r.shape[0], r.shape[2]
    # ONNX infers no shape of an output that is left out: all are made
    shapes = [(steps, directions, batch, hidden), (directions, batch, hidden)]
    shapes += [(directions, batch, hidden)] * (n.op == "LSTM")
    n.outs = [(shape, x.elem) for shape in shapes]
    n.call(f"onnx_{n.op.lower()}", x, w, r, n.given(3))
    names = list(n.proto.output)
    n.made = [known for name, known in zip(names, n.made, strict=False) if name or known]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
