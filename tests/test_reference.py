"""The reference check: it proves what is the same network, and sees what is not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import archcost
from archcost.counterparts import COUNTERPARTS
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.proofs import Check, Subject
from archcost.proofs.counterparts import build_reference, counterpart
from archcost.proofs.dataflow import pair, trace
from archcost.proofs.reference import TOLERANCE, randomise, reference
from archcost.setting import CPU

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn

SPEC = """
name: net
input: 3x16x16
knobs: {classes: 5}
layers:
  - stem:
      - conv(8, 3, stride=2, padding=1, bias=False)
      - batchnorm(eps=0.001, momentum=0.01)
      - relu
      - maxpool(3, stride=2, padding=1)
  - mixed:
      - concat:
          left: conv(4, 1)
          right:
            - conv(4, 1)
            - relu
            - conv(4, 3, padding=1, groups=2)
  - block:
      - add:
          body:
            - conv(8, 3, padding=1)
            - sigmoid
          kept: identity
  - global_avgpool
  - flatten
  - dropout(0.3)
  - fc: linear(classes)
"""


THEIRS = '''
import torch
from torch import nn


class Reference(nn.Module):
    """The network as somebody else writes it: other names, another order, functions."""

    def __init__(self):
        super().__init__()
        self.out = nn.Conv2d(8, 5, 1)
        self.c4 = nn.Conv2d(8, 8, 3, padding=1)
        self.c3 = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.c2 = nn.Conv2d(8, 4, 1)
        self.c1 = nn.Conv2d(8, 4, 1)
        self.norm = nn.BatchNorm2d(8, eps=1e-3, momentum=0.01)
        self.c0 = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.norm(self.c0(x)).relu_(), 3, 2, 1)
        right = self.c3(self.c2(x).clamp(min=0))  # before the left branch
        x = torch.cat([self.c1(x), right], 1)
        x = x + torch.sigmoid(self.c4(x))
        return self.out(self.drop(x.mean((2, 3), keepdim=True))).squeeze((2, 3))


class Random(Reference):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5, self.training)


class Outputs(Reference):
    def forward(self, x):
        x = super().forward(x)
        return {"main": x, "again": [x]}


class Fussy(Reference):
    def forward(self, x):
        assert x.shape[2] == 32, "only 32x32"
        return super().forward(x)


class Late(Reference):
    def forward(self, x):
        assert not self.training, "nothing to learn"
        return super().forward(x)


def fails():
    raise ValueError("no such\\nthing")


number = 3
text = str
'''


@pytest.fixture
def network(tmp_path: Path) -> Network:
    file = tmp_path / "net.yaml"
    file.write_text(SPEC)
    return archcost.load(file)


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a network in a module of the current folder."""
    (tmp_path / "theirs.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    importlib.invalidate_caches()
    return "theirs:Reference"


def checks(network: Network, *against: str, twin: Any = None, device: str = "cpu") -> list[Check]:
    twin = twin if twin is not None else archcost.build(network)
    return list(reference(Subject(network, twin, device, CPU, against=against)))


def test_weights_of_large_networks_share_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archcost.proofs.reference.MOST", 0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 50, 2), torch.nn.Linear(40, 30))
    randomise(module, torch.Generator())
    for layer in module:
        weight = layer.weight.detach()
        rows = weight.flatten(1)
        assert len(torch.unique(rows, dim=0)) == len(rows)
        assert weight.untyped_storage().nbytes() // 4 == 7 * (len(rows) - 1) + rows.shape[1]
        assert len(torch.unique(layer.bias)) == len(rows)


@pytest.mark.parametrize("most", [0, 10**9])
def test_another_order_other_names_and_functions_are_the_same_network(
    network: Network, theirs: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archcost.proofs.reference.MOST", most)
    found = checks(network, theirs)
    assert [check.name.removeprefix(f"{theirs}: ") for check in found] == [
        "uses of weights",
        "parameters used at one place",
        "parameters beside the spec's",
        "trained parameters",
        "elements of parameters",
        "buffers beside the spec's",
        "output in eval mode",
        "output in train mode",
        "running statistics after a train step",
        "random numbers in train mode",
        "saved bytes in train mode",
    ]
    assert all(check.passed and not check.skipped for check in found)
    assert (found[0].expected, found[0].measured) == (7, 7)  # 6 convolutions or linear, 1 norm
    assert (found[1].expected, found[1].measured) == (15, 15)  # 13 parameters, 2 statistics
    assert [check.tolerance for check in found[-5:]] == [*[TOLERANCE] * 3, 0, 0]
    assert all(check.layer == "" for check in found)
    # clamp keeps what it reads, relu what it makes, which the convolution behind it keeps anyway
    floats, channels, positions = 4, 4, 4 * 4
    more = floats * channels * positions
    assert found[-1].named == (("functions written out: clamp", more),)


def test_the_subjects_twin_stays_as_it_is(network: Network, theirs: str) -> None:
    twin = archcost.build(network)
    before = {name: tensor.clone() for name, tensor in twin.state_dict().items()}
    checks(network, theirs, twin=twin)
    assert twin.training
    assert twin.dropout1.p == 0.3
    for name, tensor in twin.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])


def set_stride(twin: Any) -> None:
    twin.stem.conv1.stride = (1, 1)


def set_dilation(twin: Any) -> None:
    twin.mixed.right.conv2.padding = twin.mixed.right.conv2.dilation = (2, 2)


def set_eps(twin: Any) -> None:
    twin.stem.batchnorm1.eps = 1e-5


def set_momentum(twin: Any) -> None:
    twin.stem.batchnorm1.momentum = 0.1


def drop_relu(twin: Any) -> None:
    twin.stem.relu1 = nn.Identity()


def drop_inner_relu(twin: Any) -> None:
    twin.mixed.right.relu1 = nn.Identity()


def other_activation(twin: Any) -> None:
    twin.block.body.sigmoid1 = nn.Tanh()


def other_pool(twin: Any) -> None:
    twin.stem.maxpool1 = nn.AvgPool2d(3, 2, 1)


def swap_branches(twin: Any) -> None:
    class Swapped(nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            return torch.cat([b, a], 1)

    twin.mixed.concat1 = Swapped()


def multiply_branches(twin: Any) -> None:
    class Product(nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            return a * b

    twin.block.add1 = Product()


def drop_bias(twin: Any) -> None:
    twin.mixed.left.conv1 = nn.Conv2d(8, 4, 1, bias=False)


def drop_groups(twin: Any) -> None:
    twin.mixed.right.conv2 = nn.Conv2d(4, 4, 3, padding=1)


def drop_norm(twin: Any) -> None:
    twin.stem.batchnorm1 = nn.Identity()


def add_factor(twin: Any) -> None:
    twin.flatten1 = nn.Sequential(nn.Flatten(), nn.LayerNorm(8))


EVAL, TRAIN = "output in eval mode", "running statistics after a train step"
WEIGHTS = "uses of weights"


@pytest.mark.parametrize(
    ("fault", "what", "layer"),
    [
        (set_stride, EVAL, "stem.conv1"),
        (set_dilation, EVAL, "mixed.right.conv2"),
        (set_eps, EVAL, "stem.batchnorm1"),
        (set_momentum, TRAIN, "stem.batchnorm1"),
        (drop_relu, EVAL, "mixed.left.conv1"),
        (drop_inner_relu, EVAL, "mixed.right.relu1"),
        (other_activation, EVAL, "fc"),
        (other_pool, EVAL, "mixed.left.conv1"),
        (swap_branches, EVAL, "mixed.concat1"),
        (multiply_branches, EVAL, "fc"),
        (drop_bias, WEIGHTS, "mixed.left.conv1"),
        (drop_groups, WEIGHTS, "mixed.right.conv2"),
        (drop_norm, WEIGHTS, "mixed.left.conv1"),
        (add_factor, WEIGHTS, "flatten1"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_fault_is_found_and_named(
    network: Network, theirs: str, fault: Callable[[Any], None], what: str, layer: str
) -> None:
    twin = archcost.build(network)
    fault(twin)
    failed = [check for check in checks(network, theirs, twin=twin) if not check.passed]
    assert failed[0].name == f"{theirs}: {what}"
    assert failed[0].layer == layer
    assert failed[0].expected != failed[0].measured


def test_equal_parallel_branches_are_paired_in_execution_order() -> None:
    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.paths = nn.ModuleList([nn.Conv2d(3, 3, 1) for _ in range(4)])
            self.deeper = nn.ModuleList([nn.Conv2d(3, 3, 1) for _ in range(4)])

        def forward(self, x: Any) -> Any:
            first = [path(x) for path in self.paths]  # breadth first
            return torch.cat([d(y) for d, y in zip(self.deeper, first, strict=True)], 1)

    class DepthFirst(Parallel):
        def forward(self, x: Any) -> Any:
            pairs = zip(self.deeper, self.paths, strict=True)
            return torch.cat([deeper(path(x)) for deeper, path in pairs], 1)

    x = torch.randn(1, 3, 4, 4)
    left, right = trace(Parallel(), x), trace(DepthFirst(), x)
    partners = [right.calls[j].weights[0] for j in pair(left, right)]
    assert partners == [call.weights[0] for call in left.calls]


def test_a_constant_made_from_a_shape_is_no_flow_of_data() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            y = self.first(x)
            return self.second(y.new_zeros(y.shape) + x)

    assert [call.sources for call in trace(Masked(), torch.zeros(2, 4)).calls] == [{-1}, {-1}]


def test_a_linear_layer_may_be_a_convolution_of_the_whole_input(tmp_path: Path) -> None:
    class Window(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 5, 3)

        def forward(self, x: Any) -> Any:
            return self.conv(x).flatten(1)

    x = torch.randn(1, 2, 3, 3)
    assert pair(trace(nn.Sequential(nn.Flatten(), nn.Linear(18, 5)), x), trace(Window(), x)) == [0]


def test_a_twin_that_does_not_run_fails(network: Network, theirs: str) -> None:
    twin = archcost.build(network)
    twin.mixed.right.conv2.padding = (0, 0)
    (check,) = checks(network, theirs, twin=twin)
    assert not check.passed
    assert check.name == f"{theirs}: the twin runs"
    assert check.measured.startswith("RuntimeError: Sizes of tensors must match")


def test_outputs_are_compared_in_number(network: Network, theirs: str) -> None:
    failed = [check for check in checks(network, "theirs:Outputs") if not check.passed]
    assert failed[0].name == "theirs:Outputs: output in eval mode"
    assert (failed[0].expected, failed[0].measured) == ("2x5", "2x5, 2x5")


def test_a_reference_that_is_random_in_training_is_not_compared_there(
    network: Network, theirs: str
) -> None:
    found = checks(network, "theirs:Random")
    assert [check.skipped for check in found if check.skipped] == [
        "the reference draws random numbers"
    ]
    (failed, kept) = [check for check in found if not check.passed]
    assert failed.name == "theirs:Random: random numbers in train mode"
    assert (failed.expected, failed.measured) == ("no more", "5 numbers, zero with 0.5")
    assert kept.measured.endswith("beside 20 bytes (1x5) for dropout")


def test_a_reference_that_refuses_the_input_fails(network: Network, theirs: str) -> None:
    (check,) = checks(network, "theirs:Fussy")
    assert not check.passed
    assert (check.name, check.expected) == ("theirs:Fussy: runs", "on 3x16x16")
    assert check.measured == "AssertionError: only 32x32"


def test_a_reference_that_refuses_to_train_is_said_to(network: Network, theirs: str) -> None:
    found = checks(network, "theirs:Late")
    assert [check.skipped for check in found if check.skipped] == [
        "AssertionError: nothing to learn"
    ] * 3


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("torchvison", "unknown reference 'torchvison'; did you mean 'torchvision'?"),
        ("theirs:", "a reference is a collection or module:callable; got 'theirs:'"),
        ("theirs:Referense", "theirs has no 'Referense'; did you mean 'Reference'?"),
        ("theirs:number", "theirs:number cannot be called"),
        ("theirs:text", "theirs:text returns str, not a torch.nn.Module"),
        ("theirs:fails", "theirs:fails cannot be built: ValueError: no such thing"),
        ("nobodys:net", "nobodys is not installed"),
    ],
)
def test_a_bad_reference_is_one_line(
    network: Network, theirs: str, against: str, message: str
) -> None:
    with pytest.raises(ArchcostError) as error:
        checks(network, against)
    assert str(error.value) == message


@pytest.mark.parametrize("collection", ["torchvision", "timm", "pytorchcv"])
def test_a_collection_that_is_not_installed_is_one_line(
    collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(module: str) -> Any:
        raise ModuleNotFoundError(f"No module named {collection!r}", name=collection)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ArchcostError) as error:
        build_reference(collection, "resnet18")
    assert str(error.value) == f"{collection} is not installed: pip install {collection}"


def test_a_collection_that_does_not_fit_this_torch_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(module: str) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(ArchcostError) as error:
        build_reference("torchvision", "resnet18")
    assert str(error.value) == (
        f"cannot import torchvision beside torch {torch.__version__}: "
        "RuntimeError: operator torchvision::nms does not exist"
    )


def test_a_model_without_counterpart_is_skipped() -> None:
    network = archcost.load("lenet5")
    (check,) = checks(network, "timm")
    assert check.skipped == "no counterpart in timm"
    assert check.passed


def test_the_meta_device_computes_no_outputs() -> None:
    network = archcost.load("resnet18")
    twin = archcost.build(network, device="meta")
    (check,) = checks(network, "torchvision", twin=twin, device="meta")
    assert check.skipped == "outputs are compared, and the meta device computes none"


def test_another_number_of_classes_goes_to_the_counterpart() -> None:
    network = archcost.load("resnet18", knobs={"classes": 10})
    assert counterpart("timm", network) == ("resnet18", {"num_classes": 10})
    assert counterpart("timm", archcost.load("resnet18")) == ("resnet18", {})


def test_every_counterpart_is_of_a_model_of_the_catalog() -> None:
    assert set(COUNTERPARTS) <= set(archcost.catalog())
