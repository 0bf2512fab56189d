"""The PyTorch twin: an ordinary module whose paths are the layers' and whose names read well."""

from __future__ import annotations

import copy
import io
import sys
from pathlib import Path

import pytest

import archcost
from archcost.errors import ArchcostError
from archcost.pytorch.source import pytorch_source

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

MODELS = ["lenet5", "resnet18", "googlenet", "alexnet_two_towers", "resnet20"]

ODD_NAMES = """
name: odd
input: 3x8x8
layers:
  - type: conv(4, 3, padding=1)
  - half:
      - add:
          1x1: conv(4, 1)
          forward: conv(4, 3, padding=1)
  - flatten
  - class: linear(5)
"""


@pytest.mark.parametrize("name", MODELS)
def test_module_paths_are_layer_paths(name: str) -> None:
    twin = archcost.build(name, device="meta")
    modules = dict(twin.named_modules())
    for layer in archcost.load(name):
        assert layer.path in modules


@pytest.mark.parametrize("name", MODELS)
def test_the_state_dict_is_named_by_path_and_parameter(name: str) -> None:
    found = {
        key: tuple(t.shape) for key, t in archcost.build(name, device="meta").state_dict().items()
    }
    expected = {
        f"{layer.path}.{key}": shape
        for layer in archcost.load(name)
        for key, shape in {**layer.cost.params, **layer.cost.buffers}.items()
    }
    assert found == expected


def test_names_that_people_know() -> None:
    names = archcost.build("resnet18", device="meta").state_dict()
    assert "layer2.0.shortcut.conv1.weight" in names
    assert "head.linear1.bias" in names


def test_layers_may_be_named_as_methods_or_words_of_python(tmp_path: Path) -> None:
    spec = tmp_path / "odd.yaml"
    spec.write_text(ODD_NAMES)
    twin = archcost.build(spec)
    assert twin(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    assert list(twin.state_dict())[:4] == [
        "type.weight",
        "type.bias",
        "half.1x1.conv1.weight",
        "half.1x1.conv1.bias",
    ]


def test_input_and_knobs_are_those_of_load() -> None:
    twin = archcost.build("resnet18", input="3x64x64", knobs={"classes": 10}, device="meta")
    assert twin(torch.zeros(2, 3, 64, 64, device="meta")).shape == (2, 10)


@pytest.mark.parametrize(
    ("call", "missing"),
    [("conv(2, 1)", "Conv4d"), ("maxpool(2)", "MaxPool4d"), ("instancenorm", "InstanceNorm4d")],
)
def test_what_pytorch_has_not_is_said_in_a_line(call: str, missing: str) -> None:
    network = archcost.loads(f"name: n\ninput: 3x5x5x5x5\nlayers:\n  - {call}")
    with pytest.raises(ArchcostError, match=f" on 3x5x5x5x5: PyTorch has no {missing}"):
        archcost.build(network)
    with pytest.raises(ArchcostError, match=f" on 3x5x5x5x5: PyTorch has no {missing}"):
        pytorch_source(network)


def test_a_network_is_built_as_it_is() -> None:
    network = archcost.load("lenet5")
    assert archcost.build(network)(torch.zeros(1, 1, 32, 32)).shape == (1, 10)
    with pytest.raises(
        archcost.ArchcostError,
        match=r"knobs: a Network is taken as it is; give these to archcost\.load",
    ):
        archcost.build(network, knobs={"classes": 3})


def test_side_outputs_make_a_tuple() -> None:
    twin = archcost.build("googlenet", aux=True, device="meta")
    outputs = twin(torch.zeros(2, 3, 224, 224, device="meta"))
    assert [tuple(output.shape) for output in outputs] == [(2, 1000)] * 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype: torch.dtype) -> None:
    twin = archcost.build("lenet5", dtype=dtype)
    assert {p.dtype for p in twin.parameters()} == {dtype}
    assert twin(torch.zeros(2, 1, 32, 32, dtype=dtype)).dtype == dtype


def test_counters_of_batches_stay_whole_numbers() -> None:
    twin = archcost.build("resnet20", dtype=torch.bfloat16)
    assert twin.stem.batchnorm1.num_batches_tracked.dtype == torch.int64
    assert twin.stem.batchnorm1.running_mean.dtype == torch.bfloat16


def test_a_copy_computes_the_same_and_is_independent() -> None:
    twin = archcost.build("resnet20").eval()
    other, x = copy.deepcopy(twin), torch.randn(2, 3, 32, 32)
    assert torch.equal(twin(x), other(x))
    with torch.no_grad():
        other.stem.conv1.weight.zero_()
    assert not torch.equal(twin(x), other(x))


def test_a_state_dict_goes_through_a_file() -> None:
    twin, other = archcost.build("lenet5").eval(), archcost.build("lenet5").eval()
    x = torch.randn(2, 1, 32, 32)
    assert not torch.equal(twin(x), other(x))
    file = io.BytesIO()
    torch.save(twin.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(twin(x), other(x))


def test_gradients_reach_every_parameter() -> None:
    twin = archcost.build("resnet18", input="3x32x32")
    twin(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in twin.parameters())


def test_without_torch_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(archcost.ArchcostError) as error:
        archcost.build("lenet5")
    assert str(error.value) == "this needs PyTorch: pip install 'archcost[torch]'"


def test_an_unknown_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        archcost.ArchcostError, match="unknown model 'lenet6'; did you mean 'lenet'"
    ):
        archcost.build("lenet6")
