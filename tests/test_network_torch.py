"""Networks with several inputs and outputs, and modules that run twice, against PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_network import NETWORKS, siamese

from archcost.builder import Builder
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.ops import make
from archcost.setting import Setting
from archcost.storage.peaks import training_peak
from archcost.storage.saved import saved_for_backward

CHECKS = ("structure", "counters", "memory", "training", "peaks")


def failures(network: Network, names: Sequence[str] = CHECKS, **setting: Any) -> list[Any]:
    """Return what the checks find, all figures exact."""
    from archcost.proofs import Subject
    from archcost.proofs.run import checks
    from archcost.pytorch import build

    subject = Subject(network, build(network), setting=Setting(device="cpu", **setting))
    return [check for name in names for check in checks(subject, name) if not check.passed]


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_check_passes(name: str, batch: int) -> None:
    """Shapes, parameters, counters, saved bytes, FLOPs and peaks are PyTorch's."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    network = NETWORKS[name]()
    assert failures(network, batch=batch) == []
    first = next(layer.path for layer in network if layer.cost.params)
    if name != "repeated":  # nothing else is trained there
        assert failures(network, batch=batch, freeze=(first,)) == []


@pytest.mark.torch
@pytest.mark.parametrize("amp", [None, "bf16"])
@pytest.mark.parametrize(
    ("name", "checkpoint"),
    [
        ("siamese", ()), ("siamese", ("tower",)), ("siamese", ("twin",)), ("siamese", ("t*",)),
        ("tied", ()), ("tied", ("decode",)), ("tied", ("encode", "third")),
        ("repeated", ()), ("repeated", ("again",)), ("repeated", ("shared", "third")),
        ("windows", ("inside",)), ("pieces", ("parts",)),
    ],
)  # fmt: skip
def test_memory_of_what_is_shared_in_other_modes(
    name: str, checkpoint: tuple[str, ...], amp: str | None
) -> None:
    """Autocast keeps one lower copy of a weight that is used twice; a region casts it again."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    setting: dict[str, Any] = {"batch": 2, "checkpoint": checkpoint, "amp": amp}
    assert failures(NETWORKS[name](), ("memory", "peaks"), **setting) == []


@pytest.mark.torch
@pytest.mark.parametrize("name", NETWORKS)
def test_the_twin_shares_what_the_network_shares(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.pytorch import build, random_inputs

    network = NETWORKS[name]()
    twin = build(network, dtype=torch.float64)
    found = {path: tuple(p.shape) for path, p in twin.named_parameters()}
    assert found == dict(network.params)
    outputs = twin(*random_inputs(network, 3, dtype=torch.float64))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    shapes = [network.values[path].shape for path in network.outputs]
    assert [tuple(out.shape) for out in outputs] == [(3, *shape) for shape in shapes]
    outputs[0].sum().backward()
    given = {path for path, p in twin.named_parameters() if p.grad is not None}
    run = training_peak(network, Setting(device="cpu"))
    assert run.gradients == sum(p.numel() * 4 for n, p in twin.named_parameters() if n in given)


@pytest.mark.torch
def test_a_module_that_pads_by_the_size_runs_on_that_size_only() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.pytorch import build
    from archcost.pytorch.source import pytorch_source

    builder = Builder()
    halve = make("conv", 3, 3, stride=2, padding="same")
    x = builder.add(halve, builder.input("3x9x9"), name="first")
    for path in ("again", "third"):  # on 5x5 padded alike, on 3x3, too
        x = builder.add(halve, x, name=path, params="first")
    build(builder.network("fits", x))
    x = builder.add(halve, builder.input("3x8x8", "even"), name="other", params="first")
    for write in (build, pytorch_source):
        with pytest.raises(ArchcostError, match=r"^other: the module of first is made for 3x9x9$"):
            write(builder.network("other sizes", x))


@pytest.mark.torch
@pytest.mark.parametrize("name", ["siamese", "tied", "repeated"])
def test_a_twin_with_weights_of_its_own_is_found_out(name: str) -> None:
    """A module of its own for each layer, and parameters that are not tied, are seen."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.proofs import Subject
    from archcost.proofs.run import checks
    from archcost.pytorch import build

    network = NETWORKS[name]()
    twin = build(network)
    for layer in network:
        if layer.sharing and layer.ties:
            twin.get_submodule(layer.path).weight = type(twin.encode.weight)(
                twin.encode.weight.clone()
            )
        elif layer.sharing:
            import torch

            from archcost.pytorch import _place
            from archcost.readings.recorder import module_of

            _place(torch, twin, layer.path, module_of(torch, layer.op, layer.shapes))
    twin.plan = [
        step._replace(module=step.path if step.path in dict(twin.named_modules()) else step.module)
        for step in twin.plan
    ]
    found = [check for check in checks(Subject(network, twin), "structure") if not check.passed]
    wrong = {check.layer for check in found}
    assert {
        layer.path for layer in network if layer.sharing and layer.params != layer.cost.params
    } <= {path for name in wrong for path in (name, name.rpartition(".")[0])}


def test_saved_bytes_of_a_tower_called_twice() -> None:
    """By hand: each call keeps its input; parameters do not count."""
    kept = saved_for_backward(siamese(), Setting(device="cpu")).by_owner
    assert kept["left"] == kept["right"] == 432 * 4
    assert kept["tower.conv"] == kept["twin.conv"] == 400 * 4
    assert kept["tower.batchnorm"] == kept["twin.batchnorm"] == 2 * 4 * 4


@pytest.mark.torch
@pytest.mark.parametrize("name", NETWORKS)
def test_export(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.pytorch import build, random_inputs
    from archcost.pytorch.source import pytorch_source

    network = NETWORKS[name]()
    namespace: dict[str, Any] = {"__name__": "exported"}
    exec(pytorch_source(network), namespace)
    exported, twin = list(namespace.values())[-1]().eval(), build(network).eval()
    assert list(exported.state_dict()) == list(twin.state_dict())
    assert dict(exported.named_parameters()).keys() == network.params.keys()
    exported.load_state_dict(twin.state_dict())
    inputs = random_inputs(network, 2)
    for ours, theirs in zip(twin(*inputs), exported(*inputs), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.torch
@pytest.mark.slow
def test_onnx(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from archcost.pytorch.onnx_file import write_onnx

    write_onnx(siamese(), tmp_path / "siamese.onnx")
    graph = onnx.load(tmp_path / "siamese.onnx").graph
    assert [value.name for value in graph.input] == ["left", "right"]
    assert len(graph.output) == 2
    weights = sum(1 for node in graph.node if node.op_type == "Conv")
    assert weights == 2
