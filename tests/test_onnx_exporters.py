"""What exporters write into ONNX files: sizes with a batch of one, constants, types, shared tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archcost import analyze, load
from archcost.errors import ArchcostError

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx: Any = pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxscript", reason="ONNX is not installed")
from onnx import TensorProto, helper  # noqa: E402
from test_onnx import exported, graph_of, macs_of  # noqa: E402

nn = torch.nn
pytestmark = pytest.mark.torch
node = helper.make_node


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


class Pyramid(nn.Module):
    """A pooled map, resized to the size of another and joined to it, as heads of segmentation do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pooled = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Any) -> Any:
        y = self.conv(x)
        pooled = self.pooled(nn.functional.adaptive_avg_pool2d(y, 1))
        resized = nn.functional.interpolate(pooled, size=y.shape[2:], mode="bilinear")
        return nn.functional.interpolate(self.head(torch.cat([y, resized], 1)), size=x.shape[2:])


class Cosine(nn.Module):
    """Attention by cosines in windows that lie in the batch, as in Swin v2."""

    def __init__(self) -> None:
        super().__init__()
        self.qk = nn.Linear(4, 8)

    def forward(self, x: Any) -> Any:
        b, h, w, c = x.shape
        parts = x.view(b, 2, h // 2, 2, w // 2, c).permute(0, 1, 3, 2, 4, 5)
        q, k = self.qk(parts.reshape(b * 4, h * w // 4, c)).chunk(2, -1)
        q, k = (nn.functional.normalize(part, dim=-1) for part in (q, k))
        return (q @ k.transpose(1, 2)).softmax(-1).view(b, 4, h * w // 4, h * w // 4)


@pytest.mark.parametrize("dynamo", [False, True], ids=["old", "dynamo"])
@pytest.mark.parametrize(("make", "shape"), [(Pyramid, (3, 9, 9)), (Cosine, (4, 6, 4))])
def test_sizes_that_have_a_batch_of_one_hold_for_any(
    make: Any, shape: tuple[int, ...], dynamo: bool, tmp_path: Path
) -> None:
    network = load(exported(make(), tmp_path / "net.onnx", shape, dynamo=dynamo))
    assert not network.remarks
    assert network.input == shape
    assert network.output == tuple(make()(torch.zeros(1, *shape)).shape[1:])
    assert analyze(network).total.macs == macs_of(make(), shape)
    assert analyze(network, batch=3).total.macs == 3 * macs_of(make(), shape)


def test_a_batch_that_an_expand_makes_is_none_of_the_file(tmp_path: Path) -> None:
    """One sample becomes four: the figures are of one batch only, and are said to be."""
    nodes = [node("Expand", ["x", "sizes"], ["y"])]
    path = graph_of(tmp_path / "net.onnx", nodes, {"x": [1, 3, 5]}, {"sizes": np.array([4, 3, 5])})
    network = load(path)
    assert network.output == (4, 3, 5)
    assert "samples of a batch are mixed" in network.remarks[0].text


def test_a_constant_that_nobody_can_compute_has_a_shape(tmp_path: Path) -> None:
    """ONNX's reference gathers elements of tables as long as the places only."""
    nodes = [
        node("GatherElements", ["table", "places"], ["kinds"], axis=1, name="gather"),
        node("Gather", ["w", "kinds"], ["vectors"]),
        node("Add", ["x", "vectors"], ["y"]),
    ]
    weights = {
        "table": np.zeros((1, 512), np.int64), "places": np.arange(12).reshape(1, 12),
        "w": zeros(2, 5),
    }  # fmt: skip
    path = graph_of(tmp_path / "net.onnx", nodes, {"x": ["n", 12, 5]}, weights)
    network = load(path)
    assert network.output == (12, 5)
    assert analyze(network).total.params == 10
    nodes[1:] = [node("Reshape", ["x", "kinds"], ["y"], name="r")]
    with pytest.raises(ArchcostError) as error:
        load(graph_of(tmp_path / "net.onnx", nodes, {"x": ["n", 12, 5]}, weights))
    assert "r: Reshape reads 'kinds', which data decide; gather: GatherElements cannot" in str(
        error.value
    )


def test_whole_numbers_and_booleans_may_be_mixed(tmp_path: Path) -> None:
    """PyTorch writes an ArgMax of booleans, and compares numbers of 32 bits with those of 64."""
    nodes = [
        node("Equal", ["i", "end"], ["ends"]), node("ArgMax", ["ends"], ["at"], axis=1, keepdims=0),
        node("Cast", ["at"], ["y"], to=TensorProto.FLOAT),
    ]  # fmt: skip
    path = graph_of(
        tmp_path / "net.onnx", nodes, {"i": ["n", 7]}, {"end": np.int32(6)},
        types={"i": TensorProto.INT64},
    )  # fmt: skip
    assert load(path).output == ()
    wrong = [node("Conv", ["i", "w"], ["y"], name="c")]
    with pytest.raises(ArchcostError, match="c: Conv does not fit"):
        load(graph_of(tmp_path / "net.onnx", wrong, {"i": ["n", 7]}, {"w": zeros(4, 3, 3, 3)}))


def test_a_tensor_that_is_read_in_two_shapes_counts_once(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", ["w", "sizes"], ["flat"]),
        node("Add", ["x", "w"], ["a"]), node("Add", ["a", "flat"], ["y"]),
    ]  # fmt: skip
    weights = {"w": zeros(1, 2, 6), "sizes": np.array([1, 1, 2, 6])}
    network = load(graph_of(tmp_path / "net.onnx", nodes, {"x": ["n", 4, 2, 6]}, weights))
    assert analyze(network).total.params == 12
    assert [layer.op.name for layer in network] == ["add", "reshape", "add"]


def test_what_mixes_samples_has_pools_over_the_map(tmp_path: Path) -> None:
    """Scores of all samples with all, behind ops that only specs have."""
    nodes = [
        node("GlobalAveragePool", ["x"], ["p"]), node("LRN", ["p"], ["l"], size=3),
        node("Flatten", ["l"], ["f"]), node("Transpose", ["f"], ["t"]),
        node("MatMul", ["f", "t"], ["y"]),
    ]  # fmt: skip
    network = load(graph_of(tmp_path / "net.onnx", nodes, {"x": [2, 6, 5, 5]}))
    assert network.output == (2, 2)
    assert analyze(network).total.macs == 2 * 2 * 6


def test_first_sizes_that_are_open_and_no_batch_are_said(tmp_path: Path) -> None:
    """A file of steps first leaves their number open: it is taken as 1, unless it is given."""
    module, path = nn.GRU(8, 16), str(tmp_path / "net.onnx")
    exported(
        nn.Sequential(module), tmp_path / "net.onnx", (1, 8), dynamo=False,
        input_names=["x"], dynamic_axes={"x": {0: "steps"}},
    )  # fmt: skip
    for given, steps in (("7x1x8", 7), ("1x8", 1), (None, 1)):
        network = load(path, input=given)
        assert analyze(network).total.macs == steps * 3 * 16 * (8 + 16)
        said = [remark.text for remark in network.remarks if "taken as 1" in remark.text]
        assert len(said) == (steps == 1)
        assert all(text.endswith("--input x=1x1x8") for text in said)
    plain = graph_of(tmp_path / "y.onnx", [node("Relu", ["x"], ["y"])], {"x": ["n", 3, 8, 8]})
    with pytest.raises(ArchcostError, match="has 3 sizes without the batch; got 4"):
        load(plain, input="1x3x8x8")


class Transposed(nn.Module):
    """A convolution whose weight is kept in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.ones(3, 3, 4)), nn.Parameter(torch.ones(4))

    def forward(self, x: Any) -> Any:
        return nn.functional.conv1d(x, self.w.permute(2, 1, 0), self.b)


def test_a_weight_that_is_computed_is_no_folded_normalisation(tmp_path: Path) -> None:
    network = load(exported(Transposed(), tmp_path / "net.onnx", (3, 8), dynamo=False))
    assert analyze(network).total.params == 40
    assert not network.remarks


def test_tensors_that_an_exporter_makes_are_said(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "val_1"], ["a"]), node("Add", ["a", "val_2"], ["b"]),
        node("Mul", ["b", "m.scale"], ["y"]),
    ]  # fmt: skip
    weights = {"val_1": zeros(4, 4), "val_2": zeros(3, 4), "m.scale": zeros(4)}
    network = load(graph_of(tmp_path / "net.onnx", nodes, {"x": ["n", 3, 4]}, weights))
    assert analyze(network).total.params == 32
    [remark] = network.remarks
    assert remark.text == (
        "tensors that the exporter has made, such as val_2, hold 12 of the parameters"
    )


def test_a_file_for_training_costs_what_its_layers_do(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    path = exported(
        module, tmp_path / "net.onnx", (3, 8, 8), dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING,
    )  # fmt: skip
    total = analyze(load(path)).total
    assert (total.params, total.macs) == (108 + 8, 108 * 36)


@pytest.mark.parametrize("like", [False, True])
def test_a_file_in_half_precision_may_have_inputs_of_floats(like: bool, tmp_path: Path) -> None:
    """Converters write casts around the layers, which cost nothing here."""
    cast = node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16)
    nodes = [
        node("CastLike", ["x", "w"], ["h"]) if like else cast, node("Conv", ["h", "w"], ["c"]),
        node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ]  # fmt: skip
    weights = {"w": np.zeros((4, 3, 3, 3), np.float16)}
    network = load(graph_of(tmp_path / "net.onnx", nodes, {"x": ["n", 3, 8, 8]}, weights))
    assert [layer.op.name for layer in network] == ["conv"]
    assert analyze(network).total.macs == 108 * 36
