"""Exported source computes exactly what the twin does, without archcost; ONNX files are valid."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner
from hand_built import HAND_BUILT
from helpers import around

import archcost
from archcost.builder import Builder
from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.ops import OPS, Cost, Example, Op
from archcost.pytorch import build, output_tensors, random_inputs
from archcost.pytorch.source import pytorch_source
from archcost.readings.recorder import module_of, module_source
from archcost.shape import Shape
from archcost.spec.catalog import documents

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
Torch: Any = importlib.import_module("torch_reading").Torch
tree_leaves, tree_map = torch.utils._pytree.tree_leaves, torch.utils._pytree.tree_map

EXAMPLES = [
    pytest.param(op, example, id=f"{name}-{i}")
    for name, op in OPS.items()
    for i, example in enumerate(op.examples)
]
SMALL = ("3x64x64", "3x96x96", None)  # the first that fits; None is the spec's own

SPEC = """
name: tiny
title: A "tiny" network
paper: Nobody 2020
input: 3x8x8
layers:
  - stem:
      - conv(4, 3, stride=2, padding="same", bias=False)
      - batchnorm(eps=0.001)
      - relu
  - add:
      1x1: conv(4, 1)
      kept: identity
  - scale
  - flatten
  - linear(5)
"""

SOURCE = '''\
"""tiny: A 'tiny' network.

Nobody 2020.
Written by archcost {version} from {file}, for inputs of N x 3x8x8.
The weights start as PyTorch initialises them.
"""

import torch
from torch import nn


class Group(nn.Module):
    """Layers by name. A name that cannot be an attribute is read as ``group["1x1"]``."""

    def __init__(self, layers):
        super().__init__()
        self._modules.update(layers)

    def __getitem__(self, name):
        return self._modules[name]


class Scale(nn.Module):
    """A learnt factor per channel and, unless ``bias`` is false, a learnt addend."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(self, x):
        scaled = x * self.weight.reshape(4, 1, 1)
        return scaled + self.bias.reshape(4, 1, 1)


class Tiny(Group):
    """A 'tiny' network."""

    def __init__(self):
        super().__init__({{
            "stem": Group({{
                "conv1": nn.Conv2d(3, 4, 3, stride=2, bias=False),
                "batchnorm1": nn.BatchNorm2d(4, eps=0.001),
                "relu1": nn.ReLU(),
            }}),
            "1x1": Group({{
                "conv1": nn.Conv2d(4, 4, 1),
            }}),
            "scale1": Scale(torch.ones(4), torch.zeros(4)),
            "flatten1": nn.Flatten(),
            "linear1": nn.Linear(64, 5),
        }})

    def forward(self, x):
        x = self.stem.conv1(nn.functional.pad(x, (0, 1, 0, 1)))
        x = self.stem.batchnorm1(x)
        stem_relu1 = self.stem.relu1(x)

        x = self["1x1"].conv1(stem_relu1)

        x = x + stem_relu1
        x = self.scale1(x)
        x = self.flatten1(x)
        x = self.linear1(x)
        return x
'''


def run(source: str) -> Any:
    """Return the network that a source defines last, in a namespace of its own."""
    namespace: dict[str, Any] = {"__name__": "exported"}
    exec(compile(source, "exported.py", "exec"), namespace)
    return list(namespace.values())[-1]()


def imports(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def assert_same(network: Network, *inputs: Any) -> None:
    """Run twin and source with the same weights, in both modes, and compare all outputs."""
    source = pytorch_source(network)
    assert imports(source) - {"torchvision"} == {"torch"}
    twin, exported = build(network), run(source)
    assert list(exported.state_dict()) == list(twin.state_dict())
    exported.load_state_dict(twin.state_dict())
    for training in (False, True):
        results = []
        for module in (twin, exported):
            torch.manual_seed(0)
            with torch.no_grad():
                results.append(module.train(training)(*inputs))
        ours, theirs = ([r] if isinstance(r, torch.Tensor) else list(r) for r in results)
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("op", "example"), EXAMPLES)
def test_every_op_as_source(op: type[Op], example: Example) -> None:
    network = around(op.create(example.args, example.kwargs), example.inputs, "group.half")
    assert_same(network, *random_inputs(network, 2))


def calls(module: Any, *inputs: Any) -> list[Any]:
    """Return every operation that a module runs, with its arguments, tensors by their origin."""
    dispatch = importlib.import_module("torch.utils._python_dispatch")
    names = {id(tensor): name for name, tensor in module.state_dict(keep_vars=True).items()}
    names |= {id(x): f"input {place}" for place, x in enumerate(inputs)}
    alive, log = [*inputs], []

    class Log(dispatch.TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            log.append((str(function), named(args), named(kwargs or {})))
            result = function(*args, **(kwargs or {}))
            for i, tensor in enumerate(tree_leaves(result)):
                names[id(tensor)] = f"{len(log)}.{i}"
                alive.append(tensor)  # so that no other tensor gets its id
            return result

    def named(value: Any) -> Any:
        def name(leaf: Any) -> Any:
            return names[id(leaf)] if isinstance(leaf, torch.Tensor) else leaf

        return tree_map(name, value)

    with torch.no_grad(), Log():
        result = module(*inputs)
    return [*log, named(result)]


@pytest.mark.sampled(by="kind")
@pytest.mark.parametrize("name", archcost.catalog())
def test_every_model_runs_the_same_operations_as_source(name: str) -> None:
    network = archcost.load(name)
    twin = build(network, device="meta").eval()
    with torch.device("meta"):
        exported = run(pytorch_source(network)).eval()
    shapes = [
        {key: (tensor.shape, tensor.dtype) for key, tensor in module.state_dict().items()}
        for module in (twin, exported)
    ]
    assert list(shapes[0].items()) == list(shapes[1].items())
    inputs = random_inputs(network, 2, "meta")
    found = calls(exported, *inputs)
    assert len(found) > len([layer for layer in network if layer.cost.params])
    assert found == calls(twin, *inputs)


def first_of_families() -> list[str]:
    return [document.models()[0] for document in documents()]


@pytest.mark.parametrize("name", first_of_families())
def test_a_model_of_each_family_computes_the_same_as_source(name: str) -> None:
    knobs = {"regions": 2} if name == "fast_rcnn" else {}
    own = HAND_BUILT[name][1] if name in HAND_BUILT else None
    for size in (own,) if own else SMALL:
        with suppress(ArchcostError):
            network = archcost.load(name, input=size, knobs=knobs)
            break
    twin = build(network).eval()
    with torch.device("meta"):
        exported = run(pytorch_source(network)).eval()
    exported.load_state_dict(twin.state_dict(), assign=True)
    inputs = random_inputs(network, 1)
    with torch.no_grad():
        ours, theirs = output_tensors(twin(*inputs)), output_tensors(exported(*inputs))
    assert all(map(torch.equal, ours, theirs))
    assert len(ours) == len(theirs) == len(network.outputs)


def test_source_needs_no_archcost(tmp_path: Path) -> None:
    """In a process of its own, where archcost cannot be imported."""
    network = archcost.load("mobilenet_v3_small", input="3x64x64")
    twin, x = build(network).eval(), torch.randn(2, *network.input)
    (tmp_path / "exported.py").write_text(pytorch_source(network))
    torch.save({"weights": twin.state_dict(), "x": x}, tmp_path / "data.pt")
    script = """
import sys
sys.modules["archcost"] = None
import torch, exported
data = torch.load("data.pt")
module = list(vars(exported).values())[-1]().eval()
module.load_state_dict(data["weights"])
with torch.no_grad():
    torch.save(module(data["x"]), "output.pt")
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with torch.no_grad():
        assert torch.equal(torch.load(tmp_path / "output.pt"), twin(x))


def test_source_reads_like_this(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(SPEC)
    network = archcost.load(file)
    assert pytorch_source(network) == SOURCE.format(version=archcost.__version__, file=file)
    assert_same(network, torch.randn(2, 3, 8, 8))


def test_side_outputs_are_returned_too() -> None:
    network = archcost.load("googlenet", input="3x224x224", aux=True)
    assert "return linear1, aux1_linear2, aux2_linear2" in pytorch_source(network).replace(
        "return x", "return linear1"
    )
    assert_same(network, torch.randn(1, *network.input))


def test_no_name_or_title_breaks_the_source(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(
        'name: odd\ntitle: \'"""; import os; """ \\ end\'\ninput: 4\nlayers:\n'
        "  - class: linear(4)\n  - self: linear(4)\n  - torch: linear(4)\n  - image: linear(4)\n"
        "  - half:\n      - add: {x: linear(4), nn: linear(4), input_: identity, '1': take(self)}\n"
        "  - forward: add(self, torch)\n  - __getitem__: add(current, torch, image)\n"
    )
    network = archcost.load(file)
    assert_same(network, torch.randn(2, 4))


def test_an_empty_network_returns_its_input() -> None:
    builder = Builder()
    network = builder.network("nothing", builder.input("3"))
    assert_same(network, torch.randn(2, 3))


@dataclass(frozen=True)
class Custom(Op):
    """An op of a user, that exporters cannot cope with in one of three ways."""

    trouble: str = ""

    name: ClassVar[str] = "custom"
    kind: ClassVar[str] = "activation"

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        class Own(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return -x

        class Decides(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return x if x.sum() > 0 else -x

        hooked = torch.nn.ReLU()
        hooked.register_forward_pre_hook(lambda module, args: (-args[0],))
        return {"own": Own(), "decides": Decides(), "hooks": hooked}[self.trouble]


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("hooks", "it hooks into its module"),
        ("own", "Own is not a module of torch.nn"),
    ],
)
def test_what_cannot_be_written_is_refused(trouble: str, reason: str) -> None:
    network = around(Custom(trouble), ((4,),), "act")
    with pytest.raises(ArchcostError, match=f"^act: custom has no source: {reason}$"):
        pytorch_source(network)


def scaled(F: Any, x: Any) -> Any:
    norm = F.norm(x, dims=(1,), keepdim=True)
    return F.mul(F.div(x, norm), F.add(norm, 1.0))


@dataclass(frozen=True)
class Program(Op):
    """A program with names, nested calls, a part that it calls, and lists.

    Of ``later`` nothing is nested, because the first step would move behind another.
    """

    name: ClassVar[str] = "program"
    kind: ClassVar[str] = "activation"

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, {"weight": (x[0],)})

    def forward(self, F: Any, x: Any, weight: Any) -> Any:
        parts = F.split(x, dim=1, lengths=[1, x.shape[1] - 1])
        x = F.cat(*[F.relu(part) for part in parts], dim=1)
        x = F.sub(scaled(F, F.mul(x, weight)), F.div(F.mul(x, 2.0), F.add(x, weight)))
        if F.training:
            later = [F.tanh(x)]
            x = F.sigmoid(x)
            x = F.add(x, later.pop())
        first, _rest = F.split(x, dim=1, lengths=[1, x.shape[1] - 1])
        return F.mul(x, first)


PROGRAM = '''\
class Program(nn.Module):
    """A program with names, nested calls, a part that it calls, and lists."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        if not self.training:
            parts = x.split([1, 3], 1)
            x = torch.cat([nn.functional.relu(parts[0]), nn.functional.relu(parts[1])], 1)
            x_ = x * self.weight
            norm = x_.norm(p=2, dim=(1,), keepdim=True)
            x = x_ / norm * (norm + 1.0) - x * 2.0 / (x + self.weight)
            del x_
            del norm
            first, _ = x.split([1, 3], 1)
            return x * first
        parts = x.split([1, 3], 1)
        x = torch.cat([nn.functional.relu(parts[0]), nn.functional.relu(parts[1])], 1)
        x_ = x * self.weight
        norm = x_.norm(p=2, dim=(1,), keepdim=True)
        x = x_ / norm * (norm + 1.0) - x * 2.0 / (x + self.weight)
        del x_
        del norm
        made = nn.functional.tanh(x)
        x = nn.functional.sigmoid(x)
        x = x + made
        del made
        first, _ = x.split([1, 3], 1)
        return x * first
'''


def test_a_program_as_source() -> None:
    text, arguments = module_source(Program(), ((4,),), "Program")
    assert (text, arguments) == (PROGRAM, "torch.zeros(4)")
    op, x = Program(), torch.randn(3, 4)
    module = module_of(torch, op, ((4,),))
    torch.nn.init.normal_(module.weight)
    for training in (True, False):
        Torch.training = training
        expected = op.forward(Torch, x, weight=module.weight)
        assert torch.equal(module.train(training)(x), expected)


@dataclass(frozen=True)
class Renamed(Program):
    """Keeps a tensor under a second name."""

    def forward(self, F: Any, x: Any, weight: Any) -> Any:
        kept = x
        x = F.mul(x, weight)
        x = F.add(x, x)
        return F.sub(x, kept)


def test_a_program_whose_names_would_not_tell_is_refused() -> None:
    with pytest.raises(ArchcostError, match=r"^x is read after it is assigned again$"):
        module_source(Renamed(), ((4,),), "Renamed")


def export(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["export", *arguments])


def test_the_command_prints_the_source() -> None:
    done = export("lenet5_dense", "--set", "classes=7")
    assert (done.exit_code, done.exception) == (0, None)
    network = archcost.load("lenet5_dense", knobs={"classes": 7})
    assert done.stdout == pytorch_source(network)
    assert run(done.stdout)(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_the_command_writes_a_file(tmp_path: Path) -> None:
    file = tmp_path / "lenet.py"
    assert export("lenet5_dense", "--output", str(file)).exit_code == 0
    assert file.read_text() == pytorch_source(archcost.load("lenet5_dense"))
    assert [path.name for path in tmp_path.iterdir()] == ["lenet.py"]
