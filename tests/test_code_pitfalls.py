"""What makes the reading of code hard: each pitfall as a small module, against PyTorch itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest

from archcost import analyze, load
from archcost.errors import ArchcostError
from archcost.packages import at_least
from archcost.proofs import Subject
from archcost.proofs.module import module as compared
from archcost.proofs.observe import fake_of, run
from archcost.proofs.peaks import FakeRun
from archcost.setting import Setting
from archcost.storage.peaks import inference_peak, training_peak
from archcost.storage.saved import saved_for_backward

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
nn, F = torch.nn, torch.nn.functional
pytestmark = pytest.mark.torch

READ: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {}
"""Modules that are read, each with the shape of its input."""


def read(*shape: int, **parts: Callable[[], Any]) -> Callable[[Any], Any]:
    """Make a module of a forward pass and of its parts."""

    def register(forward: Any) -> Any:
        class Module(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                for name, make in parts.items():
                    setattr(self, name, make())

            def forward(self, x: Any) -> Any:
                return forward(self, x)

        READ[forward.__name__] = (Module, shape)
        return forward

    return register


def _linear() -> Any:
    return nn.Linear(8, 8)


def _conv() -> Any:
    return nn.Conv2d(3, 4, 3, padding=1)


@read(8, fc=_linear)
def write_through_a_view(self: Any, x: Any) -> Any:
    y = self.fc(x)
    y[:, 0].mul_(2)
    y[:, 1:3] = 0
    return y + 1


@read(4, 8, fc=_linear)
def getters_that_return_tensors(self: Any, x: Any) -> Any:
    y = self.fc(x)
    return y.mT @ y + (y.data.mT @ x).detach()


@read(8, fc=_linear)
def a_gradient_that_is_cut(self: Any, x: Any) -> Any:
    with torch.no_grad():
        gate = self.fc(x).sigmoid()
    return self.fc(x) * gate * self.fc(x).detach()


@read(3, 8, 8, conv=_conv, bn=lambda: nn.BatchNorm2d(4))
def work_in_place(self: Any, x: Any) -> Any:
    y = self.bn(self.conv(x))
    y += 1
    z = self.bn(F.relu_(y))
    z.add_(y).mul_(0.5)
    return F.dropout(z, 0.5, self.training, inplace=True).sigmoid_()


@read(3, 8, 8, conv=_conv, act=lambda: nn.Hardswish(inplace=True))
def a_copy_of_what_is_overwritten(self: Any, x: Any) -> Any:
    return F.leaky_relu(self.act(self.conv(x)), 0.1, inplace=True)


@read(3, 8, 8, conv=_conv)
def names_that_hold_tensors(self: Any, x: Any) -> Any:
    first = self.conv(x)
    wide = first.exp()
    y = wide.mean((2, 3))
    z = first.amax((2, 3)).unsqueeze(1) * y.unsqueeze(2)
    return z.sum(1)


class Cached(nn.Module):
    """Keeps what its first pass has computed."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.table = nn.Linear(8, 8), nn.Parameter(torch.zeros(8, 8))
        self.cache: dict[str, Any] = {}

    def forward(self, x: Any) -> Any:
        if self.training:
            return self.fc(x) @ (self.table @ self.table)
        if "square" not in self.cache:
            self.cache["square"] = self.table @ self.table
        return self.fc(x) @ self.cache["square"]


class Double(torch.autograd.Function):
    """Keeps its input, one tensor in an attribute, and its output."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any) -> Any:
        made = torch.mm(x, weight)
        ctx.save_for_backward(x, made)
        ctx.more = made * 2
        return made

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient, None


@read(8, fc=_linear)
def its_own_backward(self: Any, x: Any) -> Any:
    return Double.apply(self.fc(x), self.fc.weight)


@read(8, fc=_linear, own=lambda: _Held())
def its_own_backward_by_a_name(self: Any, x: Any) -> Any:
    """As an attribute holds it since the module was made."""
    return self.own.apply(self.fc(x), self.fc.weight)


class _Held(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.apply = Double.apply


if at_least("torch", 2, 14):  # which hides it, so that it is refused
    del READ["its_own_backward_by_a_name"]


@dataclass
class Output:
    """What a module gives, with names."""

    hidden: Any
    scores: Any = None


@read(8, fc=_linear)
def an_output_with_names(self: Any, x: Any) -> Any:
    return Output(self.fc(x).tanh(), (self.fc(x), {"more": [x * self.fc.bias]}))


@read(8, fc=_linear)
def whole_numbers_first(self: Any, x: Any) -> Any:
    return F.gelu(torch.arange(8, device=x.device) + self.fc(x))


@read(5, 8, fc=_linear, token=lambda: nn.Parameter(torch.zeros(1, 1, 8)))
def a_token_for_each_sample(self: Any, x: Any) -> Any:
    return torch.cat([self.token.repeat(len(x), 1, 1), self.fc(x)], dim=1)


@read(5, 16, layer=lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True))
def fast_path(self: Any, x: Any) -> Any:
    return self.layer(x)


@read(5, 16, attend=lambda: nn.MultiheadAttention(16, 4, batch_first=True))
def attention_with_weights(self: Any, x: Any) -> Any:
    made, weights = self.attend(x, x, x)
    return made + weights.mean()


@read(5, 16, attend=lambda: nn.MultiheadAttention(16, 4))
def modules_that_are_never_called(self: Any, x: Any) -> Any:
    own = self.attend
    return F.linear(x, own.in_proj_weight[:16], own.in_proj_bias[:16])


@read(12, 8, fc=lambda: nn.Linear(8, 16), pool=lambda: nn.Conv2d(8, 8, 3, groups=8))
def heads_in_the_batch(self: Any, x: Any) -> Any:
    """Heads join a batch of 1 without a copy, which contiguous then makes."""
    heads = self.fc(x).reshape(len(x), 12, 2, 8).permute(0, 2, 3, 1)
    maps = heads.reshape(2 * len(x), 8, 3, 4)
    return self.pool(maps.relu().contiguous()).exp()


@read(8, fc=lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)))
def a_weight_that_is_computed(self: Any, x: Any) -> Any:
    return self.fc(x)


@read(8, fc=_linear)
def choices(self: Any, x: Any) -> Any:
    y = self.fc(x)
    best, places = y.topk(3, dim=1)
    order = y.argsort(dim=1)
    y = torch.where(y > 0, y.gather(1, order), y.masked_fill(y < x, 0.0).cumsum(1))
    return y.index_select(1, torch.arange(3, device=x.device)) + best * places


@read(8, fc=_linear)
def scattered(self: Any, x: Any) -> Any:
    y = self.fc(x)
    places = torch.arange(8, device=x.device).expand(len(x), 8)
    return (
        torch.zeros_like(y).scatter_add(1, places, y).cummax(1)[0]
        + y.tensor_split([3], 1)[0][:, :1]
    )


@read(3, 8, 8, conv=_conv, fc=lambda: nn.Linear(3, 6))
def sampled(self: Any, x: Any) -> Any:
    y = self.conv(x)
    grid = F.affine_grid(self.fc(x.mean((2, 3))).view(-1, 2, 3), list(y.shape), align_corners=False)
    parts = F.unfold(F.grid_sample(y, grid, align_corners=False), 3, padding=1)
    return F.fold(parts, (8, 8), 3, padding=1).roll((1, 1), (2, 3))


@read(8, fc=_linear)
def products_of_three(self: Any, x: Any) -> Any:
    y = self.fc(x)
    return torch.einsum("bi,bj,bk->bijk", y, y, y) + torch.tensordot(y, self.fc.weight, 1).sum()


@read(8, fc=_linear)
def functions_without_a_program(self: Any, x: Any) -> Any:
    y = self.fc(x)
    y = torch.lerp(y, x, 0.3) + torch.atan2(y, x) + y.frac() + torch.special.bessel_j0(y)
    return torch.addcdiv(y, x, x).nan_to_num() + y.prod(1, keepdim=True) + y.norm(p=float("inf"))


@read(5, 8, gru=lambda: nn.GRU(8, 6, 2, bidirectional=True, batch_first=True))
def recurrent(self: Any, x: Any) -> Any:
    return self.gru(x)[0]


ACTIVATIONS = (
    nn.ELU(0.5), nn.CELU(2.0), nn.SELU(), nn.Mish(), nn.Softplus(2), nn.Softsign(), nn.Tanhshrink(),
    nn.LogSigmoid(), nn.Hardtanh(-2, 2), nn.Hardshrink(), nn.Softshrink(0.1), nn.ELU(inplace=True),
    nn.LogSoftmax(1), nn.Softmin(1), nn.GLU(1),
)  # fmt: skip


@read(3, 8, 8, conv=_conv, acts=lambda: nn.ModuleList(copy(act) for act in ACTIVATIONS))
def activations(self: Any, x: Any) -> Any:
    y = self.conv(x)
    for act in self.acts:
        y = act(y * 2)
    return F.pixel_shuffle(torch.cat([y, y], 1), 2)


PADS = (
    ((1, 1, 1, 1), "constant", 0), ((0, 1), "constant", None), ((1, 2, 3, 0), "constant", 1.5),
    ((0, 0, 0, 0, 1, 1), "constant", 0), ((2, 1, 0, 1), "reflect", None),
    ((1, 1, 0, 0), "replicate", None), ((1, 0, 2, 1), "circular", None),
    ((-1, 0, -2, 1), "constant", 0),
)  # fmt: skip


@read(3, 8, 8, conv=_conv)
def paddings(self: Any, x: Any) -> Any:
    y = self.conv(x)
    for sides, mode, value in PADS:
        y = F.pad(y, sides, mode, value) * 2
    return y


def test_a_function_that_an_op_says_is_the_op() -> None:
    ops = [layer.op.name for layer in load(READ["activations"][0](), input=(3, 8, 8))]
    assert [name for name in ops if name not in ("conv", "mul", "rescale", "concat")] == [
        "elu", "celu", "selu", "mish", "softplus", "softsign", "tanhshrink", "logsigmoid",
        "hardtanh", "hardshrink", "softshrink", "elu", "log_softmax", "softmin", "glu",
        "pixel_shuffle",
    ]  # fmt: skip
    pads = [layer.op for layer in load(READ["paddings"][0](), input=(3, 8, 8))][1::2]
    assert [op.call() for op in pads] == [
        "pad(padding=1)", "pad(padding=[[0, 0], [0, 1]])",
        "pad(padding=[[3, 0], [1, 2]], value=1.5)", "pad(channels=1)",
        "pad(padding=[[0, 1], [2, 1]], mode='reflect')",
        "pad(padding=[0, 1], mode='replicate')",
        "pad(padding=[[2, 1], [1, 0]], mode='circular')",
        "pad(padding=[[-2, 1], [-1, 0]])",
    ]  # fmt: skip


def counted(module: Any, shape: tuple[int, ...]) -> int:
    """Return what PyTorch's own counter counts of an evaluation of one sample, in MACs.

    What is computed of parameters alone runs once for any batch.
    """
    from torch.utils.flop_counter import FlopCounterMode

    found = []
    for batch in (2, 3):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module.eval().to("meta")(torch.empty(batch, *shape, device="meta"))
        found.append(int(counter.get_total_flops()) // 2)
    return 2 * found[0] - found[1]


@pytest.mark.parametrize("name", READ)
def test_parameters_and_products_are_those_of_the_module(name: str) -> None:
    make, shape = READ[name]
    network = load(make(), input=shape)
    params = sum(p.numel() for p in make().parameters())
    unread = 16 * 48 + 48 + 16 if name == "modules_that_are_never_called" else 0
    if not unread:
        assert analyze(network.in_training).total.params == params
    if not name.startswith("its_own_backward"):  # in evaluation it is what it calls
        assert analyze(network).total.macs == counted(make(), shape)


@pytest.mark.parametrize("name", READ)
def test_what_is_kept_for_backward_is_known_to_the_byte(name: str) -> None:
    make, shape = READ[name]
    network = load(make(), input=shape)
    copy, fake = fake_of(make())
    for batch in (1, 2):
        found = run(copy.train(), fake, network.inputs, batch)
        measured = sum(kept.bytes for kept in found.storages(()).values())
        if name.startswith("its_own_backward"):  # of an attribute hooks know nothing
            measured += batch * 8 * 4
        kept = saved_for_backward(network, Setting(batch=batch, device="cpu"))
        assert kept.total == measured


PEAKS = (
    "write_through_a_view", "a_gradient_that_is_cut", "work_in_place", "names_that_hold_tensors",
    "a_copy_of_what_is_overwritten", "a_weight_that_is_computed", "sampled",
    "heads_in_the_batch",
)  # fmt: skip


@pytest.mark.parametrize("name", PEAKS)
def test_peaks_are_known_to_the_byte(name: str) -> None:
    make, shape = READ[name]
    network, setting = load(make(), input=shape), Setting(batch=2, device="cpu", observed=True)
    seen = FakeRun(Subject(network, make()))
    passing = seen.inference(2)
    assert passing is not None
    assert inference_peak(network, setting).peak.total == passing["forward"][1]
    steps = seen.training(2)
    assert steps is not None
    run = training_peak(network, replace(setting, optimizer="adam", kernel="foreach"))
    for phase in ("forward", "backward"):
        assert run.peaks[phase].total == steps["adam"][phase][1]


class Grown(nn.Module):
    """Makes constants on the CPU: for the batch of a trace, 64 GiB each."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(128, 128)

    def forward(self, x: Any) -> Any:
        start, rows = torch.zeros(len(x), 128), torch.arange(len(x))[:, None]
        grid = torch.ones(128)[None].repeat(x.shape[0], 1).to(x.device)
        return torch.cat([self.fc(x) + start, grid], 1) * rows


def test_constants_as_large_as_the_batch_take_no_memory() -> None:
    network = load(Grown(), input=(128,))
    assert network.output == (256,)
    checks = [*compared(Subject(network, Grown()))]
    assert len(checks) == 6
    assert all(check.passed and not check.skipped for check in checks), checks


def test_the_second_pass_counts_where_the_first_fills_a_cache() -> None:
    network = load(Cached(), input=(8,))
    assert [layer.path for layer in network] == ["fc", "matmul1"]
    assert [layer.path for layer in network.in_training] == ["fc", "matmul1", "matmul2"]
    assert analyze(network).total.macs == 64 + 64
    assert analyze(network.in_training).total.macs == 64 + 64 + 8**3


class Scripted(nn.Module):
    """A function of TorchScript between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act = nn.Linear(8, 8), torch.jit.script(_clipped)

    def forward(self, x: Any) -> Any:
        return self.fc(self.act(self.fc(x)))


def _clipped(x):  # type: ignore[no-untyped-def]
    return x.sigmoid() * 2.0


class Mapped(nn.Module):
    """A function for each sample."""

    def forward(self, x: Any) -> Any:
        return torch.vmap(lambda row: row * row.sum())(x)


class Across(nn.Module):
    """Attention of samples to each other."""

    def forward(self, x: Any) -> Any:
        return (x @ x.T).softmax(-1) @ x


class Detector(nn.Module):
    """Takes images one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        features = self.backbone(torch.stack([image - image.mean() for image in x]))
        return self.head(features[features > 0])


class Chosen(nn.Module):
    """The elements that data choose."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Any) -> Any:
        match self.how:
            case "iterate":
                return torch.stack([row.exp() for row in x])
            case "item":
                return x * x.mean().item()
            case "nonzero":
                return x[x.sum(1).nonzero()]
            case "mask":
                return x[x > 0]
            case _:
                return x if x.sum() > 0 else -x


REFUSED: Mapping[str, tuple[Callable[[], Any], str]] = {
    "jit": (Scripted, "the module (test_code_pitfalls.py:%s): code that hides its calls runs here"),
    "vmap": (Mapped, "the module (test_code_pitfalls.py:%s): sum runs under torch.vmap"),
    "batch": (
        Across,
        "(test_code_pitfalls.py:%s): torch.Tensor.matmul mixes the samples of the batch, so that "
        "what one costs depends on how many there are; a module without this call can be read",
    ),
    "iterate": (lambda: Chosen("iterate"), "(test_code_pitfalls.py:%s): unbind takes the samples"),
    "detector": (Detector, "one by one; a module of its backbone and head alone can be read"),
    "item": (lambda: Chosen("item"), "(test_code_pitfalls.py:%s): item depends on data"),
    "nonzero": (lambda: Chosen("nonzero"), "(test_code_pitfalls.py:%s): nonzero depends on data"),
    "mask": (lambda: Chosen("mask"), "(test_code_pitfalls.py:%s): __getitem__ depends on data"),
    "if": (lambda: Chosen("if"), "(test_code_pitfalls.py:%s): __bool__ depends on data"),
}
LINES = {"iterate": "for row in x", "jit": "self.fc(self.act", "vmap": "torch.vmap", "item": ".item()", "nonzero": ".nonzero()",
         "mask": "x[x > 0]", "if": "if x.sum() > 0", "batch": "x @ x.T"}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_seen_is_refused_with_its_line(name: str) -> None:
    make, reason = REFUSED[name]
    with open(__file__, encoding="utf-8") as file:
        lines = file.read().splitlines()
    at = next((i for i, line in enumerate(lines, 1) if LINES.get(name, "#") in line), 0)
    with pytest.raises(ArchcostError) as refused:
        load(make(), input=(8,))
    assert (reason.replace("%s", str(at))) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_products_with_vectors_count_though_pytorchs_counter_leaves_them_out() -> None:
    module = nn.utils.spectral_norm(nn.Conv2d(3, 8, 3))
    network = load(module, input=(3, 8, 8))
    sigma = 8 * 27 + 8  # u · (W v)
    assert analyze(network).total.macs == 8 * 27 * 36 + sigma
    assert counted(module, (3, 8, 8)) == 8 * 27 * 36
    for batch in (1, 3):
        found = compared(Subject(network, module, Setting(batch=batch)))
        assert [check.passed for check in found if check.name == "MACs"] == [True]


def test_a_message_says_n_for_the_batch() -> None:
    with pytest.raises(ArchcostError, match=r"got input of size: \[N, 1, 3, 8, 8\]$"):
        load(nn.Conv2d(3, 4, 3), input=(1, 3, 8, 8))
