"""ONNX files: what is read of them against the modules that were exported, and ONNX itself."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from archcost import analyze, load, sweep
from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.ops import make

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx: Any = pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxscript", reason="ONNX is not installed")
from onnx import TensorProto, helper  # noqa: E402

nn = torch.nn
pytestmark = pytest.mark.torch


def exported(module: Any, path: Path, *shapes: tuple[int, ...], **options: Any) -> str:
    """Write a module as an ONNX file by one of PyTorch's exporters."""
    samples = tuple(torch.zeros(1, *shape) for shape in shapes)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(module.eval(), samples, str(path), **options)
    finally:
        logging.disable(logging.NOTSET)
    return str(path)


def params_of(path: str) -> int:
    """Return the elements of a file's floats, but single numbers and the scales of a Resize."""
    graph = onnx.load(path, load_external_data=False).graph
    scales = {name for node in graph.node if node.op_type == "Resize" for name in node.input}
    floats = [t for t in graph.initializer if t.data_type == TensorProto.FLOAT and t.dims]
    return sum(prod(t.dims) for t in floats if t.name not in scales)


def macs_of(module: Any, *shapes: tuple[int, ...]) -> int:
    """Return what PyTorch's own counter counts of an evaluation, in MACs."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as found, torch.no_grad():
        module.eval().to("meta")(*(torch.empty(1, *shape, device="meta") for shape in shapes))
    return int(found.get_total_flops()) // 2


class Block(nn.Module):
    """A residual block with a grouped, dilated convolution and a squeeze-excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.act, self.down = nn.Hardswish(), nn.Conv2d(8, 8, 1)

    def forward(self, x: Any) -> Any:
        y = self.conv(self.act(x))
        return x + y * torch.sigmoid(self.down(y.mean((2, 3), keepdim=True)))


class Maps(nn.Module):
    """Convolutions, pools, both ways up and down, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.block, self.pool = Block(), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1)
        self.mean, self.head = nn.AvgPool2d(2), nn.Linear(4 * 4 * 4, 5)

    def forward(self, x: Any) -> Any:
        x = self.pool(self.block(nn.functional.relu6(self.stem(x))))
        x = nn.functional.interpolate(self.up(x), scale_factor=2)
        x = nn.functional.leaky_relu(torch.cat([x, x], 1)[:, 2:6])
        x = nn.functional.pad(self.mean(x), (1, 0, 0, 1))[:, :, 1:5, 1:5]
        return self.head(x.flatten(1)).softmax(1)


class Tokens(nn.Module):
    """Attention by its products, with a class token and places."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.places = nn.Parameter(torch.randn(1, 6, 12))
        self.norm, self.qkv, self.proj = nn.LayerNorm(12), nn.Linear(12, 36), nn.Linear(12, 12)

    def forward(self, x: Any) -> Any:
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.places
        b, n, c = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        mixed = ((q * 6**-0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return nn.functional.gelu(x + self.proj(mixed.transpose(1, 2).reshape(b, n, c)))[:, 0]


class Windows(nn.Module):
    """Windows of a map in the batch, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        b, c, h, w = x.shape
        parts = x.view(b, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 3, 5, 1)
        y = self.fc(parts.reshape(b * 4, h * w // 4, c))
        y = (y @ y.transpose(1, 2)).softmax(-1) @ y
        return y.view(b, 2, 2, h // 2, w // 2, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)


MODULES = {
    "Maps": (Maps, (3, 16, 16)),
    "Tokens": (Tokens, (5, 12)),
    "Windows": (Windows, (4, 6, 8)),
}


@pytest.mark.parametrize("dynamo", [False, True], ids=["old", "dynamo"])
@pytest.mark.parametrize("name", MODULES)
def test_what_pytorch_exports_is_read_as_it_computes(
    name: str, dynamo: bool, tmp_path: Path
) -> None:
    make, shape = MODULES[name]
    torch.manual_seed(0)
    path = exported(make(), tmp_path / "net.onnx", shape, dynamo=dynamo)
    network = load(path)
    total = analyze(network).total
    assert total.params == sum(p.numel() for p in make().parameters()) == params_of(path)
    assert total.macs == macs_of(make(), shape)
    assert network.input == shape
    with torch.no_grad():
        assert network.output == tuple(make().eval()(torch.zeros(1, *shape)).shape[1:])


def graph_of(
    path: Path, nodes: list[Any], inputs: dict[str, list[Any]], weights: dict[str, Any] | None = None,
    opset: int = 17, outputs: tuple[str, ...] = ("y",), types: dict[str, int] | None = None,
    domains: tuple[str, ...] = (),
) -> str:  # fmt: skip
    """Write a file of a few nodes."""
    kinds = types or {}
    made = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=8), path)
    return str(path)


def conv_of(path: Path, shape: list[Any], **attributes: Any) -> str:
    weight = np.zeros((4, 3, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="stem", **attributes)
    return graph_of(path, [node], {"x": shape}, {"w": weight})


@pytest.mark.parametrize(
    ("attributes", "size", "macs"),
    [
        ({}, (4, 6, 7), 6 * 7 * 108),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (4, 4, 5), 4 * 5 * 108),
        ({"auto_pad": "SAME_LOWER"}, (4, 8, 9), 8 * 9 * 108),
        ({"auto_pad": "VALID", "dilations": [2, 2]}, (4, 4, 5), 4 * 5 * 108),
        ({"pads": [0, 1, 2, 1]}, (4, 8, 9), 8 * 9 * 108),
        ({"pads": [1, 1, 1, 1]}, (4, 8, 9), 8 * 9 * 108),
    ],
)
def test_a_convolution_is_padded_as_onnx_says(
    attributes: dict[str, Any], size: tuple[int, ...], macs: int, tmp_path: Path
) -> None:
    network = load(conv_of(tmp_path / "c.onnx", ["n", 3, 8, 9], **attributes))
    assert (network.output, analyze(network).total.macs) == (size, macs)
    assert network.params == {"w": (4, 3, 3, 3)}


def test_sizes_that_a_file_leaves_open_are_those_of_the_input(tmp_path: Path) -> None:
    path = conv_of(tmp_path / "c.onnx", ["n", 3, "height", "width"])
    assert load(path, input="3x10x12").output == (4, 8, 10)
    assert load(path, input={"x": (3, 5, 5)}).output == (4, 3, 3)
    fixed = conv_of(tmp_path / "f.onnx", [2, 3, 8, 8])
    assert load(fixed, input="3x10x12").output == (4, 8, 10)
    assert "a batch of 2, which is divided out" in load(fixed).remarks[0].text


def test_a_chain_of_shapes_is_folded(tmp_path: Path) -> None:
    """``x.view(len(x), -1)``, as PyTorch's first exporters write it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n"], ["u"], axes=[0]),
        helper.make_node("Concat", ["u", "rest"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"], name="fc"),
    ]
    weights = {
        "zero": np.array(0, np.int64), "rest": np.array([-1], np.int64),
        "w": np.zeros((24, 5), np.float32), "b": np.zeros(5, np.float32),
    }  # fmt: skip
    network = load(graph_of(tmp_path / "v.onnx", nodes, {"x": ["n", 2, 3, 4]}, weights, opset=11))
    assert [(layer.path, layer.op.name) for layer in network] == [
        ("reshape", "flatten"), ("fc", "linear"),
    ]  # fmt: skip
    assert analyze(network).total.macs == 24 * 5
    assert analyze(network).total.params == 24 * 5 + 5


def test_quantised_layers_cost_what_the_others_do(tmp_path: Path) -> None:
    """A convolution between dequantisations, and one of whole numbers."""
    weights = {
        "q": np.zeros((4, 3, 3, 3), np.int8), "scale": np.array(0.1, np.float32),
        "zero": np.array(0, np.int8), "k": np.zeros((2, 4, 1, 1), np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["a", "scale", "zero"], ["b"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"]),
        helper.make_node("Conv", ["b", "w"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "scale", "zero"], ["d"]),
        helper.make_node("ConvInteger", ["d", "k", "zero", "zero"], ["y"]),
    ]
    network = load(graph_of(tmp_path / "q.onnx", nodes, {"x": ["n", 3, 8, 8]}, weights))
    assert analyze(network).total.macs == 36 * 108 + 36 * 8
    assert network.params == {"q": (4, 3, 3, 3), "k": (2, 4, 1, 1)}


def test_a_recurrent_layer_costs_its_products_at_each_step(tmp_path: Path) -> None:
    weights = {
        "w": np.zeros((2, 20, 3), np.float32), "r": np.zeros((2, 20, 5), np.float32),
        "b": np.zeros((2, 40), np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node(
            "LSTM", ["t", "w", "r", "b"], ["y", "h", "c"], hidden_size=5, direction="bidirectional"
        ),
    ]
    network = load(graph_of(tmp_path / "r.onnx", nodes, {"x": ["n", 7, 3]}, weights))
    module = nn.LSTM(3, 5, bidirectional=True, batch_first=True)
    total = analyze(network).total
    assert total.params == sum(p.numel() for p in module.parameters())
    assert total.macs == macs_of(module, (7, 3))
    assert network.output == (7, 2, 5)


def test_a_file_of_an_old_opset_is_read(tmp_path: Path) -> None:
    """Opset 7: initializers are inputs too, sizes are attributes, Dropout makes a mask."""
    weights = {
        "w": np.zeros((8, 3, 3, 3), np.float32), "fc": np.zeros((10, 128), np.float32),
        **{name: np.ones(8, np.float32) for name in ("s", "b", "m", "v")},
        "c": np.zeros(10, np.float32), "sizes": np.array([0, -1]),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["a", "s", "b", "m", "v"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Dropout", ["p"], ["d", "mask"]),
        node("Upsample", ["d"], ["u"], scales=[1.0, 1.0, 2.0, 2.0]),
        node("AveragePool", ["u"], ["q"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["q", "sizes"], ["f"]),
        node("Gemm", ["f", "fc", "c"], ["g"], transB=1),
        node("Softmax", ["g"], ["y"]),
    ]
    inputs = {"x": [1, 3, 8, 8], **{name: list(value.shape) for name, value in weights.items()}}
    types = {"sizes": TensorProto.INT64}
    network = load(graph_of(tmp_path / "o.onnx", nodes, inputs, weights, opset=7, types=types))
    assert [(layer.path, layer.op.name) for layer in network] == [
        ("conv", "conv"), ("batch_normalization", "batchnorm"), ("relu", "relu"),
        ("max_pool", "maxpool"), ("upsample", "interpolate"), ("average_pool", "avgpool"),
        ("reshape", "flatten"), ("gemm", "linear"), ("softmax", "softmax"),
    ]  # fmt: skip
    assert analyze(network).total.params == 216 + 16 + 1290
    assert analyze(network).total.buffers == 16 + 1  # PyTorch counts the batches, too
    assert analyze(network).total.macs == 64 * 216 + 1280


def test_weights_in_a_file_that_is_not_there_have_their_shapes(tmp_path: Path) -> None:
    path = tmp_path / "e.onnx"
    model = onnx.load(conv_of(path, ["n", 3, 8, 9]))
    onnx.save(model, path, save_as_external_data=True, location="e.data", size_threshold=0)
    (tmp_path / "e.data").unlink()
    assert analyze(load(path)).total.params == 108


def test_an_onnx_file_is_a_model_of_every_command(tmp_path: Path) -> None:
    file = exported(Maps(), tmp_path / "maps.onnx", (3, 16, 16), dynamo=False)
    for command in (
        ["table", file], ["memory", file, "--batch", "4"], ["roofline", file, "--gpu", "h100"],
        ["reconcile", file], ["explain", file], ["compare", file, "lenet5"],
        ["diff", file, file], ["badge", file], ["check", "--budget", f"{file}: params <= 2k"],
    ):  # fmt: skip
        made = CliRunner().invoke(cli, command)
        assert made.exit_code == 0, (command, made.output, made.exception)


def test_the_sizes_of_a_file_vary_and_nothing_else(tmp_path: Path) -> None:
    path = conv_of(tmp_path / "net.onnx", ["N", 3, 8, 9])
    found = sweep(path, {"H": [8, 10]}, columns=["macs"])
    assert found.columns["macs"].tolist() == [6 * 7 * 108, 8 * 7 * 108]
    with pytest.raises(ArchcostError, match=r"unknown knob or size of net 'width'.* input\.2$"):
        sweep(path, {"width": [8]})


def test_what_an_exporter_folds_is_said(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    for dynamo in (False, True):
        path = exported(module, tmp_path / f"{dynamo}.onnx", (3, 8, 8), dynamo=dynamo)
        [remark] = load(path).remarks
        assert remark.text == (
            "1 batch normalisation is folded into convolutions: the file has no others"
        )


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (helper.make_node("FusedConv", ["x", "w"], ["y"], name="f", domain="com.microsoft"),
         "f: FusedConv of the domain com.microsoft has no formula"),
        (helper.make_node("Nonsense", ["x"], ["y"], name="n"), "n: Nonsense is not an op of ONNX's opset 17"),
        (helper.make_node("NonZero", ["x"], ["y"], name="z"), "z: NonZero has no formula"),
        (helper.make_node("Conv", ["x", "v"], ["y"], name="c"), "c: Conv reads 'v', which nothing makes"),
        (helper.make_node("Gemm", ["x", "w"], ["y"], name="g"), "g: Gemm does not fit"),
        (helper.make_node("Reshape", ["x", "x"], ["y"], name="r"), "r: Reshape reads 'x', which data decide"),
        (helper.make_node("Tile", ["x", "i"], ["y"], name="t"), "t: Tile has an output whose size data decide"),
    ],
)  # fmt: skip
def test_what_has_no_price_is_a_line_with_the_name(node: Any, reason: str, tmp_path: Path) -> None:
    weights = {"w": np.zeros((4, 3, 3, 3), np.float32)}
    inputs = {"x": ["n", 3, 8, 8], "i": [4]}
    types = {"i": TensorProto.INT64}
    path = graph_of(
        tmp_path / "net.onnx", [node], inputs, weights, types=types, domains=("com.microsoft",)
    )
    with pytest.raises(ArchcostError) as error:
        load(path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_a_line(tmp_path: Path) -> None:
    def refused(path: Path | str, **options: Any) -> str:
        with pytest.raises(ArchcostError) as error:
            load(path, **options)
        return str(error.value).replace(f"{tmp_path}/", "")

    assert refused(tmp_path / "a.onnx") == "a.onnx: no such file"
    (tmp_path / "b.onnx").write_text("no protobuf")
    assert refused(tmp_path / "b.onnx") == "b.onnx is not an ONNX file"
    (tmp_path / "c.onnx").write_text("")
    assert refused(tmp_path / "c.onnx").startswith("c.onnx is not an ONNX file")
    path = conv_of(tmp_path / "d.onnx", ["n", 3, "h", "w"])
    assert refused(path) == "d.onnx leaves the input x open, 3xhxw: say it, as --input x=3x224x224"
    assert "unknown input of d.onnx 'z'; expected one of: x" in refused(path, input={"z": "3x8x8"})
    assert "has 3 sizes without the batch; got 2" in refused(path, input="8x8")
    assert refused(path, input="3x8x8", knobs={"width": 3}) == (
        "d.onnx is an ONNX graph, which has no knobs"
    )


def elements_of(network: Network, case: Any) -> Iterator[tuple[str, int, int]]:
    """Yield the elements of each output in a node's own test data, and as they are priced."""
    held = {tensor.name for tensor in case.model.graph.initializer}
    inputs = [value for value in case.model.graph.input if value.name not in held]
    dims = inputs[0].type.tensor_type.shape.dim
    whole = any("mixed" in remark.text for remark in network.remarks)
    batch = 1 if whole or not dims else dims[0].dim_value or 1
    for _, outputs in case.data_sets or ():
        if len(outputs) == len(network.outputs):
            for name, output in zip(network.outputs, outputs, strict=True):
                if hasattr(output, "size"):
                    yield name, output.size, network.values[name].elements * batch


UNLIKE = ("test_dynamicquantizelinear", "test_triu_zero")
"""Nodes with a scale of the whole batch beside their output, and of an input without elements."""


@pytest.mark.slow
def test_every_node_model_of_onnx_is_priced_or_refused_by_name(tmp_path: Path) -> None:
    from onnx.backend.test.case.node import collect_testcases

    path = tmp_path / "net.onnx"
    priced = compared = 0
    for case in collect_testcases(None):
        onnx.save(case.model, path)
        try:
            network = load(path)
            analyze(network)
            priced += 1
        except ArchcostError as error:
            assert "\n" not in str(error), case.name
            assert str(error).startswith(str(path)), case.name
            continue
        for name, expected, found in elements_of(network, case):
            compared += 1
            assert found == expected or case.name.startswith(UNLIKE), (case.name, name)
    assert priced > 1300
    assert compared > 1400


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize("dynamo", [False, True], ids=["old", "dynamo"])
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "vit_b_32", "swin_t"])
def test_torchvision(torchvision: Any, name: str, dynamo: bool, tmp_path: Path) -> None:
    make = getattr(torchvision.models, name)
    path = exported(make(weights=None), tmp_path / "net.onnx", (3, 224, 224), dynamo=dynamo)
    network = load(path)
    assert analyze(network).total.macs == macs_of(make(weights=None), (3, 224, 224))
    assert analyze(network).total.params == params_of(path)
    assert network.output == (1000,)


@pytest.mark.parametrize(("how", "sides"), [("SAME_UPPER", (0, 1)), ("SAME_LOWER", (1, 0))])
def test_the_odd_row_of_a_padding_is_where_onnx_has_it(
    how: str, sides: tuple[int, int], tmp_path: Path
) -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], auto_pad=how)
    [layer] = load(graph_of(tmp_path / "p.onnx", [node], {"x": ["n", 3, 6, 6]}))
    assert layer.op == make("maxpool", 2, 1, padding=[list(sides), list(sides)])
