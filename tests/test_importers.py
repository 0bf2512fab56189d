"""Networks that are code: what is read of a module against the module itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archcost import analyze, load
from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.importers.functions import FUNCTIONS
from archcost.network import Network
from archcost.proofs.observe import fake_of, run
from archcost.proofs.run import Request, verify
from archcost.setting import Setting
from archcost.storage.saved import saved_for_backward

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn
pytestmark = pytest.mark.torch


class Twice(nn.Module):
    """A convolution and a ReLU that run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        x = self.relu(self.conv(x))
        x = self.relu(self.conv(x) + x)
        return self.fc(x.mean((2, 3)))


class Tied(nn.Module):
    """A linear layer whose weight a function uses once more, turned."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.scale = nn.Linear(8, 4, bias=False), nn.Parameter(torch.ones(8))

    def forward(self, x: Any) -> Any:
        hidden = torch.tanh(self.down(x))
        return nn.functional.linear(hidden, self.down.weight.t()) * self.scale


class Tokens(nn.Module):
    """A class token, positions, and attention whose queries, keys and values are one product."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.places = (
            nn.Parameter(torch.zeros(1, 1, 12)),
            nn.Parameter(torch.zeros(1, 6, 12)),
        )
        self.norm, self.qkv, self.proj = nn.LayerNorm(12), nn.Linear(12, 36), nn.Linear(12, 12)

    def forward(self, x: Any) -> Any:
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.places
        b, n, c = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = (q * 6**-0.5) @ k.transpose(-2, -1)
        mixed = scores.softmax(dim=-1) @ v
        return x + self.proj(mixed.transpose(1, 2).reshape(b, n, c))


class Changed(nn.Module):
    """Work in place, with a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x: Any) -> Any:
        y = self.bn(self.conv(x))
        y += x
        return nn.functional.relu_(y)


class Folded(nn.Module):
    """Pieces of a map in the batch, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)

    def forward(self, x: Any) -> Any:
        b, c, h, w = x.shape
        parts = x.view(b, c, 2, h // 2, w).transpose(1, 2).reshape(2 * b, c, h // 2, w)
        made = self.fc(parts.permute(0, 2, 3, 1))
        return made.reshape(b, -1)


class Several(nn.Module):
    """Two inputs and two outputs, in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Conv2d(3, 4, 3), nn.Linear(5, 4)

    def forward(self, image: Any, text: Any) -> Any:
        seen = self.image(image).mean(dim=[2, 3])
        said = self.text(text)
        return {"sum": seen + said, "both": torch.cat([seen, said], 1)}


class Unused(nn.Module):
    """A module with a part that nothing runs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.aux = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        return self.fc(x)


class Deep(nn.Module):
    """Drops whole samples while training, and has a head that only training runs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.drop, self.head = nn.Linear(6, 6), nn.Dropout(0.3), nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        y = self.fc(x)
        if not self.training:
            return x + y
        noise = y.new_empty((len(y), 1)).bernoulli_(0.8).div_(0.8)
        return x + self.drop(y * noise), self.head(y)


class Scaled(nn.Module):
    """A number over a tensor, and functions that need more than a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x: Any) -> Any:
        y = self.fc(x).exp()
        y = nn.functional.glu((1 / (y + 2)).flip(1), dim=-1)
        return nn.functional.log_softmax(y, dim=1)


class Steps(nn.Module):
    """An LSTM, of which a CPU keeps a workspace."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.lstm(x)[0].exp()


MODULES: Mapping[str, tuple[Callable[[], Any], Any]] = {
    "Twice": (Twice, (4, 6, 5)),
    "Tied": (Tied, (8,)),
    "Tokens": (Tokens, (5, 12)),
    "Changed": (Changed, (3, 5, 4)),
    "Folded": (Folded, (4, 6, 5)),
    "Several": (Several, {"image": (3, 6, 6), "text": (5,)}),
    "Deep": (Deep, (6,)),
    "Scaled": (Scaled, (6,)),
    "Encoder": (lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), (5, 16)),
}


def macs_of(module: Any, *inputs: Any) -> int:
    """Return what PyTorch's own counter counts of an evaluation, in MACs."""
    counter: Any = import_module("torch.utils.flop_counter").FlopCounterMode
    with counter(display=False) as found, torch.no_grad():
        module.eval().to("meta")(*inputs)
    return int(found.get_total_flops()) // 2


def compare(make: Callable[[], Any], network: Network, *shapes: tuple[int, ...]) -> None:
    """Compare parameters and operations with those of the module."""
    module = make().to("meta")
    names = {name for name, _ in module.named_parameters()}
    own = {id(p): p.numel() for p in module.parameters()}
    assert set(network.in_training.params) == names
    assert analyze(network.in_training).total.params == sum(own.values())
    measured = macs_of(module, *(torch.empty(1, *shape, device="meta") for shape in shapes))
    assert analyze(network).total.macs == measured


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_read_as_it_computes(name: str) -> None:
    make, input = MODULES[name]
    shapes = list(input.values()) if isinstance(input, dict) else [input]
    compare(make, load(make(), input=input), *shapes)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "Several"])
def test_what_a_module_keeps_for_backward_is_known_to_the_byte(name: str) -> None:
    make, input = MODULES[name]
    copy, fake = fake_of(make())
    network = load(make(), input=input)
    found = run(copy.train(), fake, network.inputs, 2)
    measured = sum(kept.bytes for kept in found.storages(()).values())
    assert saved_for_backward(network, Setting(batch=2, device="cpu")).total == measured


def test_what_onnx_has_beside_modules_is_not_known_of_these() -> None:
    before = {**FUNCTIONS}
    import_module("archcost.importers.onnx_network")
    assert before == FUNCTIONS
    assert "topk" not in FUNCTIONS


FAMILIES = (
    "alexnet", "vgg11_bn", "resnet18", "googlenet", "densenet121", "squeezenet1_1", "mobilenet_v2",
    "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0", "convnext_tiny",
    "regnet_y_400mf", "inception_v3", "vit_b_32", "swin_t", "swin_v2_t", "maxvit_t",
)  # fmt: skip
UNREAD = {"googlenet": 6_379_984, "inception_v3": 3_326_696}
"""Parameters of heads that evaluation does not run."""


@pytest.mark.reference
@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision(torchvision: Any, name: str) -> None:
    size = 299 if name == "inception_v3" else 224
    arguments = {"init_weights": False} if name in UNREAD else {}
    module = getattr(torchvision.models, name)(weights=None, **arguments)
    network = load(module, input=(3, size, size))
    params = sum(p.numel() for p in module.parameters())
    total = analyze(network).total
    assert total.params == params - UNREAD.get(name, 0)
    assert total.macs == macs_of(module, torch.empty(1, 3, size, size, device="meta"))
    said = [remark.text for remark in network.remarks]
    assert len(said) == (name in UNREAD)
    assert all(f"{UNREAD[name]:,}" in text for text in said)


def test_layers_are_named_as_modules_and_a_second_call_is_told() -> None:
    network = load(Twice(), input=(4, 6, 5))
    assert [layer.path for layer in network] == [
        "conv", "relu", "conv#2", "add1", "relu#2", "mean1", "fc",
    ]  # fmt: skip
    assert network["conv#2"].sharing == "weights of conv"


def test_the_module_of_a_caller_stays_as_it_is() -> None:
    module = Twice().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    load(module, input=(4, 6, 5))
    after = module.state_dict()
    assert module.training
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)

    def forward(self, x):
        return self.conv(x).relu()

class OfData(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum().item() > 0 else x

class Windows(nn.Module):
    def forward(self, x):
        return nn.functional.unfold(x, 2)

class Odd(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x.flatten(2))[1]

class Two(nn.Module):
    def forward(self, x, y):
        return x + y

class Three(nn.Module):
    def forward(self, x):
        return torch.einsum("nchw,nchw,nchw->nc", x, x, x)

class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2

class Doubled(Net):
    def forward(self, x):
        return Double.apply(self.conv(x))

class Yields(Net):
    def forward(self, x):
        yield self.conv(x)

class Exits(nn.Module):
    def forward(self, x):
        raise SystemExit(0)

class OnCpu(nn.Module):
    def forward(self, x):
        return x + torch.ones(8)

def lazy():
    return nn.LazyLinear(3)

def scripted():
    return torch.jit.script(nn.ReLU())

def broken():
    raise ValueError("no such width")

number = 3
"""


@pytest.fixture(name="code")
def _code(tmp_path: Path) -> str:
    path = tmp_path / "net.py"
    path.write_text(CODE, "utf-8")
    return str(path)


def test_code_in_a_file_is_a_model_of_every_command(code: str) -> None:
    options = [f"{code}:Net", "--input", "3x8x8", "--arg", "width=6"]
    shown = CliRunner().invoke(cli, ["table", *options, "--format", "csv"])
    assert shown.exit_code == 0, shown.output
    assert "conv,,conv,3x3,6x6x6,168,5832" in shown.output
    for command in (
        ["memory"], ["roofline", "--gpu", "h100"], ["explain"], ["reconcile"], ["verify"],
        ["fit", "--gpu", "h100"],
        ["badge"], ["compare"], ["report"], ["show"], ["identify", "5.8K"],
        ["plot layers", "--terminal"],
    ):  # fmt: skip
        name, *more = command
        made = CliRunner().invoke(cli, [*name.split(), options[0], *more, *options[1:]])
        assert made.exit_code == 0, (command, made.output, made.exception)


def test_code_is_compared_with_code_and_with_the_catalog(code: str, tmp_path: Path) -> None:
    made = CliRunner().invoke(
        cli, ["diff", "lenet5", f"{code}:Net", "--input", "3x32x32", "--format", "json"]
    )
    assert made.exit_code == 0, made.exception
    options = ["--input", "3x8x8", "--format", "csv"]
    made = CliRunner().invoke(cli, ["diff", f"{code}:Net", f"{code}:Net", *options])
    assert made.exit_code == 0, made.exception
    budgets = tmp_path / "archcost.toml"
    rules = (
        '[budgets."net.py:Net"]\ninput = "3x8x8"\nset = {width = 8}\nrequire = ["params <= %s"]\n'
    )
    for most, status in ((224, 0), (223, 1)):
        budgets.write_text(rules % most, "utf-8")
        made = CliRunner().invoke(cli, ["check", str(budgets)])
        assert made.exit_code == status, made.output


@pytest.mark.parametrize("name", MODULES)
def test_verify_compares_code_with_itself(name: str) -> None:
    make, input = MODULES[name]
    [outcome] = verify(load(make(), input=input), Request())
    assert outcome.group == "module"
    assert outcome.passed == outcome.run > 4 - (name == "Several")


def test_verify_runs_an_lstm_on_a_cpu_which_runs_all_its_steps_as_one() -> None:
    [outcome] = verify(load(Steps(), input=(5, 8)), Request())
    assert outcome.passed == outcome.run


def test_verify_sees_a_module_that_is_another() -> None:
    network = load(Twice(), input=(4, 6, 5))
    for twin in (Unused(), nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Flatten())):
        [outcome] = verify(network, Request(), twin=twin)
        assert outcome.passed < outcome.run


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("Net", [], "give the shape of its input, e.g. --input 3x224x224"),
        ("Net", ["--input", "y=3x8x8"], "takes no 'y'"),
        ("Net", ["--input", "3x8x8:int9"], "holds float32, int64 or bool; got 'int9'"),
        ("Nett", ["--input", "3x8x8"], "has no 'Nett'; did you mean 'Net'?"),
        ("number", ["--input", "3x8x8"], "cannot be called"),
        ("broken", ["--input", "3x8x8"], "cannot be built: ValueError: no such width"),
        ("OfData", ["--input", "3x8x8"], "net.py:15): item depends on data"),
        ("Odd", ["--input", "3x8x8"], "net.py:23): torch.linalg.svd has no formula: what aten::"),
        ("Odd", ["--input", "3x8x8"], "; archcost.formula gives it one, --partial counts the rest"),
        ("Net", ["--input", "5x8x8"], "conv (net.py:11): conv2d:"),
        ("Two", ["--input", "3x8x8"], "Two does not run on these inputs: TypeError"),
        ("Net", ["--input", "3x8x8", "--arg", "depth=2"], "unexpected keyword argument 'depth'"),
        ("Yields", ["--input", "3x8x8"], "Yields: no tensor that it returns depends on an input"),
        (
            "Exits",
            ["--input", "3x8x8"],
            "Exits does not run on these inputs (net.py:52): SystemExit: 0",
        ),
        ("OnCpu", ["--input", "3x8x8"], "add reads a tensor that is made on the CPU"),
        ("lazy", ["--input", "3x8x8"], "weight has no size before the first pass"),
        ("scripted", ["--input", "3x8x8"], "a module of TorchScript hides its calls"),
    ],
)
def test_what_cannot_be_read_is_a_line(
    code: str, model: str, options: list[str], reason: str
) -> None:
    made = CliRunner().invoke(cli, ["table", f"{code}:{model}", *options])
    assert isinstance(made.exception, ArchcostError), made.output
    assert reason in str(made.exception)
    assert "\n" not in str(made.exception)


def test_functions_of_autograd_are_run_by_a_method_of_c(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch 2.14 no longer wraps it in Python."""
    function: Any = torch.autograd.Function
    options = ["memory", f"{code}:Net", "--input", "3x8x8"]
    before = CliRunner().invoke(cli, options)
    monkeypatch.setattr(function, "apply", vars(torch._C._FunctionBase)["apply"])
    made = CliRunner().invoke(cli, options)
    assert (made.exit_code, made.stdout) == (0, before.stdout)
