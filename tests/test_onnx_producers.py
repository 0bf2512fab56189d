"""ONNX files as tf2onnx and paddle2onnx write them, over the opsets that they use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archcost import analyze, load
from archcost.network import Network

onnx: Any = pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnx_ir", reason="ONNX is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

node = helper.make_node


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def read(
    folder: Path, nodes: Sequence[Any], sizes: Sequence[Any], weights: Mapping[str, Any],
    opset: int, **options: Any,
) -> Network:  # fmt: skip
    """Write a graph from ``x`` to ``y`` and read it."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "graph", [x], [y], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    onnx.save(model, folder / "net.onnx")
    return load(folder / "net.onnx", **options)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 18, 21])
def test_keras_as_tf2onnx_writes_it(opset: int, tmp_path: Path) -> None:
    """Channels last, ``auto_pad``, a batch called ``unk__6``; arguments move into inputs."""
    weights = {
        "w": zeros(8, 3, 3, 3), **dict.fromkeys(("s", "b", "m", "v"), zeros(8)),
        "depth": zeros(8, 1, 3, 3), "fc": zeros(8, 10), "bias": zeros(10),
    }  # fmt: skip
    clip, pad, mean = (
        node("Clip", ["bn"], ["r"], min=0.0, max=6.0),
        node("Pad", ["r"], ["p"], pads=[0, 0, 0, 0, 0, 0, 1, 1]),
        node("ReduceMean", ["back"], ["pool"], axes=[1, 2], keepdims=0),
    )
    if opset >= 11:
        clip = node("Clip", ["bn", "low", "high"], ["r"])
        pad = node("Pad", ["r", "pads"], ["p"])
        weights |= {"low": np.float32(0), "high": np.float32(6)}
        weights["pads"] = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    if opset >= 18:
        mean = node("ReduceMean", ["back", "axes"], ["pool"], keepdims=0)
        weights["axes"] = np.array([1, 2])
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], ["c"], auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[2, 2]),
        node("BatchNormalization", ["c", "s", "b", "m", "v"], ["bn"], epsilon=1e-3),
        clip, pad,
        node("Conv", ["p", "depth"], ["d"], auto_pad="VALID", kernel_shape=[3, 3],
             strides=[2, 2], group=8),
        node("Relu", ["d"], ["e"]),
        node("Transpose", ["e"], ["back"], perm=[0, 2, 3, 1]),
        mean,
        node("MatMul", ["pool", "fc"], ["product"]),
        node("Add", ["product", "bias"], ["y"]),
    ]  # fmt: skip
    network = read(tmp_path, nodes, ["unk__6", 32, 32, 3], weights, opset)
    total = analyze(network).total
    assert (network.input, network.output) == ((32, 32, 3), (10,))
    assert total.params == 27 * 8 + 16 + 72 + 90
    assert total.macs == 27 * 8 * 16 * 16 + 72 * 8 * 8 + 80


PADDLE = [
    node("Identity", ["kept"], ["w"]),
    node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
    node("BatchNormalization", ["c", "s", "b", "m", "v"], ["bn"]),
    node("Add", ["bn", "three"], ["a"]),  # hard swish
    node("Clip", ["a", "low", "high"], ["clipped"]),
    node("Mul", ["bn", "clipped"], ["scaled"]),
    node("Div", ["scaled", "high"], ["swished"]),
    node("GlobalAveragePool", ["swished"], ["pooled"]),
    node("Shape", ["pooled"], ["sizes"]),
    node("Slice", ["sizes", "zero", "one", "zero"], ["batch"]),
    node("Concat", ["batch", "rest"], ["flat"], axis=0),
    node("Reshape", ["pooled", "flat"], ["f"]),
    node("MatMul", ["f", "fc"], ["product"]),
    node("Add", ["product", "bias"], ["y"]),
]
"""A network of PaddlePaddle: a chain of shapes, and functions in their parts."""


@pytest.mark.parametrize(
    "sizes", [(-1, 3, 16, 16), (-1, 3, -1, -1), ("Dynamic.0", 3, "Dynamic.1", "Dynamic.2")]
)
def test_paddle_as_paddle2onnx_writes_it(sizes: tuple[Any, ...], tmp_path: Path) -> None:
    weights = {
        "kept": zeros(8, 3, 3, 3), **dict.fromkeys(("s", "b", "m", "v"), zeros(8)),
        "fc": zeros(8, 5), "bias": zeros(5), "three": np.float32(3), "low": np.float32(0),
        "high": np.float32(6), "zero": np.array([0]), "one": np.array([1]), "rest": np.array([-1]),
    }  # fmt: skip
    network = read(tmp_path, PADDLE, sizes, weights, 11, input="3x16x16")
    total = analyze(network).total
    assert (total.params, total.macs) == (216 + 16 + 45, 216 * 64 + 40)
    assert network.output == (5,)


@pytest.mark.parametrize(
    "options",
    [
        {"auto_pad": "SAME_UPPER"}, {"output_shape": [16, 16]},
        {"output_padding": [1, 1], "pads": [1, 1, 1, 1]},
    ],
)  # fmt: skip
def test_a_transposed_convolution_of_keras_doubles_the_map(
    options: dict[str, Any], tmp_path: Path
) -> None:
    made = node("ConvTranspose", ["x", "w"], ["y"], kernel_shape=[3, 3], strides=[2, 2], **options)
    network = read(tmp_path, [made], ["N", 3, 8, 8], {"w": zeros(3, 4, 3, 3)}, 11)
    assert network.output == (4, 16, 16)
    assert analyze(network).total.macs == 108 * 64


def test_attention_of_keras_is_its_products(tmp_path: Path) -> None:
    """``EinsumDense``: projections to heads, and products of heads."""
    nodes = [
        node("Einsum", ["x", "wq"], ["q"], equation="abc,cde->abde"),
        node("Einsum", ["x", "wk"], ["k"], equation="abc,cde->abde"),
        node("Einsum", ["k", "q"], ["scores"], equation="aecd,abcd->acbe"),
        node("Softmax", ["scores"], ["p"], axis=-1),
        node("Einsum", ["p", "k"], ["o"], equation="acbe,aecd->abcd"),
        node("Einsum", ["o", "wo"], ["y"], equation="abcd,cde->abe"),
    ]
    weights = {"wq": zeros(8, 2, 4), "wk": zeros(8, 2, 4), "wo": zeros(2, 4, 8)}
    total = analyze(read(tmp_path, nodes, ["N", 6, 8], weights, 13)).total
    assert (total.params, total.macs) == (3 * 64, 3 * 6 * 64 + 2 * 2 * 6 * 6 * 4)
