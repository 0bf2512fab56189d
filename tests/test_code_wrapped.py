"""Modules that are compiled, hooked, prepared for quantisation; layers that nothing drops."""

from __future__ import annotations

import importlib
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import archcost
from archcost import analyze, load, memory
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.proofs.observe import run
from archcost.proofs.run import Request, verify
from archcost.proofs.watch import light_copy
from archcost.setting import Setting
from archcost.storage.saved import saved_for_backward

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.torch

CODE = '''
import torch
from torch import nn


class Fields(nn.Module):
    """Bags of the values of one field, for each sample."""

    def __init__(self, mode="mean", padding=None):
        super().__init__()
        self.bag, self.fc = nn.EmbeddingBag(10, 8, mode=mode, padding_idx=padding), nn.Linear(8, 4)

    def forward(self, i, x):
        return self.fc(self.bag(i) + x)


class Offsets(Fields):
    """The same, of which one tensor holds all values and another where each bag begins."""

    def forward(self, i, x):
        begins = torch.arange(0, i.numel(), i.shape[1], device=i.device)
        return self.fc(self.bag(i.flatten(), begins) + x)


@torch.compile
def doubled(x):
    return nn.functional.gelu(x) * 2


class Compiled(nn.Module):
    """A module, a function and a method that are compiled."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = torch.compile(nn.Linear(8, 6)), nn.Linear(6, 4), nn.Linear(4, 2)
        self.b.compile()

    @torch.compile
    def forward(self, x):
        return self.c(doubled(self.b(self.a(x))))


def whole():
    return torch.compile(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


class Hooked(nn.Module):
    """What a hook has kept, as code that takes features out of a network does."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.kept = nn.Linear(8, 8), nn.Linear(8, 8), {}
        self.a.register_forward_hook(lambda module, given, made: self.kept.update(a=made))

    def forward(self, x):
        return self.b(self.a(x)) + self.kept["a"]


class Window(nn.Module):
    """A table in a plain attribute."""

    def __init__(self):
        super().__init__()
        self.w, self.table = nn.Parameter(torch.ones(4)), torch.arange(4.0)
        self.tables = {"more": [torch.ones(4)]}

    def forward(self, x):
        return x * (self.w * self.table) * self.tables["more"][0]


class Prepared(nn.Module):
    """Observers and fake quantisation around a convolution."""

    def __init__(self):
        super().__init__()
        part = nn.Sequential(torch.ao.quantization.QuantStub(), nn.Conv2d(3, 4, 3), nn.ReLU())
        part.train().qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
        self.body = torch.ao.quantization.prepare_qat(part)

    def forward(self, x):
        return self.body(x)


class Dropped(nn.Module):
    """A layer that is passed over at random in training."""

    def __init__(self, p=0.0, above=False):
        super().__init__()
        self.p, self.above, self.fc = p, above, nn.Linear(8, 8)

    def forward(self, x):
        if self.training and self.above and not torch.rand(1) >= self.p:
            return x
        if self.training and not self.above and torch.rand(()) < self.p:
            return x
        return self.fc(x)


class Drawn(nn.Module):
    """Compares random numbers with 1, after they were changed in place in some way."""

    def __init__(self, change="r"):
        super().__init__()
        self.change, self.fc = change, nn.Linear(8, 8)

    def forward(self, x):
        r = torch.rand(3)
        r = eval(self.change, {"r": r, "torch": torch})
        return self.fc(x) if r.lt(1).all() else x


class Twice(torch.autograd.Function):
    """Keeps its output in an attribute."""

    @staticmethod
    def forward(ctx, x):
        ctx.more = x * 2
        return ctx.more.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class Hidden(nn.Module):
    """Calls a function of its own, or what C++ makes of it."""

    def __init__(self, hidden=True):
        super().__init__()
        inside = torch._C._FunctionBase.__dict__["apply"].__get__(None, Twice)
        self.fc, self.hidden, self.inside = nn.Linear(8, 8), hidden, inside

    def forward(self, x):
        return self.inside(self.fc(x)) if self.hidden else Twice.apply(self.fc(x))


class Forces(nn.Module):
    """The gradient of an energy, which it makes in its forward pass."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 8), nn.Softplus(), nn.Linear(8, 1))

    def forward(self, x):
        with torch.enable_grad():
            x = x.requires_grad_(True)
            return torch.autograd.grad(self.energy(x).sum(), x)[0]


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(8, 8)

    def forward(self, x, mask):
        return self.words(x).masked_fill(mask[..., None], 0)
'''


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Return what reads a callable of the code by its name."""
    path = tmp_path / "net.py"
    path.write_text(CODE)

    def load_it(name: str, **options: Any) -> Network:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load(f"{path}:{name}", **options)

    return load_it


@pytest.mark.parametrize(
    "change", ["r.mul_(10)", "r.view(3).add_(1)", "r[0].sub_(1) + r", "r.__setitem__(0, 5) or r"]
)
def test_random_numbers_that_are_changed_are_any(read: Any, change: str) -> None:
    """The layer would be read as one that always runs, or never."""
    assert read("Drawn", input="8").layers[-1].macs == 64
    with pytest.raises(ArchcostError, match="depends on numbers drawn at random"):
        read("Drawn", input="8", knobs={"change": change})


def test_a_function_that_keeps_tensors_unseen_is_refused_in_training(read: Any) -> None:
    """What it keeps would be in no figure."""
    assert read("Hidden", input="8", knobs={"hidden": False}).in_training.layers
    network = read("Hidden", input="8")
    assert network.layers  # in evaluation it keeps nothing
    with pytest.raises(
        ArchcostError, match=r"Twice is called by a name .*; call Twice\.apply there"
    ):
        _ = network.in_training


def assert_proved(network: Network, least: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        [outcome] = verify(network, Request(checks=("module",)))
    assert outcome.failures == []
    assert outcome.run >= least


@pytest.mark.parametrize(
    ("name", "sizes", "params", "macs"),
    [
        ("Compiled", (8,), 54 + 28 + 10, 48 + 24 + 8),
        ("whole", (3, 8, 8), 112, 108 * 36),
        ("Window", (4,), 4, 0),
        ("Prepared", (3, 8, 8), 112, 108 * 36),
        ("Dropped", (8,), 72, 64),
    ],
)
def test_a_module_in_a_wrapper_is_what_it_computes(
    read: Any, name: str, sizes: tuple[int, ...], params: int, macs: int
) -> None:
    network = read(name, input=sizes)
    total = analyze(network).total
    assert (total.params, total.macs) == (params, macs)
    assert_proved(network, 4)


def test_what_is_kept_in_plain_attributes_counts_among_the_buffers(read: Any) -> None:
    """The module check agrees, as the memory of these tensors is there in any case."""
    training = memory(read("Window", input=(4,)), batch=2, device="cpu").training
    assert training.buffers == 32


def test_a_hook_writes_into_the_module_that_is_read(read: Any) -> None:
    network = read("Hooked", input=(8,))
    assert analyze(network).total.macs == 128
    assert "a" in network.layers[-1].inputs


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 0])
def test_bags_of_a_table_are_an_op(read: Any, mode: str, padding: int | None) -> None:
    knobs = {"mode": mode, "padding": padding}
    network = read("Fields", input={"i": "4:int64", "x": "8"}, knobs=knobs)
    bag = next(layer for layer in network if layer.path == "bag")
    assert bag.op == archcost.ops.make("embedding_bag", 10, 8, mode=mode, padding_idx=padding)
    assert analyze(network).total.params == 80 + 36
    assert network.module is not None
    copy = light_copy(network.module()).train()
    kept = run(copy, nullcontext(), network.inputs, 2).storages(()).values()
    said = saved_for_backward(network.in_training, Setting(batch=2, device="cpu"))
    assert said.total == sum(each.bytes for each in kept)


def test_bags_that_begin_anywhere_have_figures_in_evaluation_only(read: Any) -> None:
    network = read("Offsets", input={"i": "4:int64", "x": "8"})
    total = analyze(network, batch=3).total
    assert (total.params, total.macs) == (116, 3 * 32)
    with pytest.raises(ArchcostError, match="bag: what embedding_bag keeps for backward was not"):
        memory(network)


@pytest.mark.parametrize(
    ("p", "above", "runs"), [(0.0, False, True), (1.0, False, False), (0, True, True)]
)
def test_a_layer_that_is_never_or_always_dropped_is_read(
    read: Any, p: float, above: bool, runs: bool
) -> None:
    network = read("Dropped", input=(8,), knobs={"p": p, "above": above}).in_training
    assert [layer.path for layer in network if layer.params] == ["fc"] * runs


@pytest.mark.parametrize("above", [False, True])
def test_a_layer_that_may_be_dropped_is_refused(read: Any, above: bool) -> None:
    network = read("Dropped", input=(8,), knobs={"p": 0.1, "above": above})
    with pytest.raises(ArchcostError, match="__bool__ depends on numbers drawn at random"):
        network.in_training  # noqa: B018


def test_gradients_in_a_forward_pass_count_as_pytorch_counts(read: Any) -> None:
    """Each product once more, for the gradient of its input."""
    assert analyze(read("Forces", input=(5, 3))).total.macs == 2 * 5 * (24 + 8)


def test_a_mask_is_an_input_by_its_type(read: Any) -> None:
    network = read("Masked", input={"x": "5:int64", "mask": "5:bool"})
    assert [value.dtype for value in network.inputs] == ["int64", "bool"]
    assert_proved(network, 3)


PARTS = '''
import torch
from torch import nn
from opt_einsum.paths import order


class Virtual(nn.Module):
    """A normalisation over parts of a batch, as in TabNet."""

    def __init__(self):
        super().__init__()
        self.norm, self.fc = nn.BatchNorm1d(6), nn.Linear(6, 6)

    def forward(self, x):
        parts = x.chunk(-(-len(x) // 128), 0)
        return self.fc(torch.cat([self.norm(part) for part in parts]))


class Factors(nn.Module):
    """A product of two tables and an input, which begins with the smaller pair."""

    kept: dict = {}

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(8, 9)), nn.Parameter(torch.ones(9, 8))

    def forward(self, x):
        if x.shape not in self.kept:  # for all passes, as tensorly does
            self.kept[x.shape] = order([x.shape, self.a.shape, self.b.shape])
        return (x @ self.a) @ self.b if self.kept[x.shape] else x @ (self.a @ self.b)


class Three(nn.Module):
    """One call of three factors, which PyTorch orders."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(8, 9)), nn.Parameter(torch.ones(9, 8))

    def forward(self, x):
        return torch.einsum("ni,ij,jk->nk", x, self.a, self.b)
'''
PATHS = '''
def order(shapes):
    """Return whether the first pair comes first: products of sizes are compared as numbers."""
    (n, i), (_, j), (_, k) = [[int(size) for size in shape] for shape in shapes]
    return n * i * j + n * j * k < i * j * k + n * i * k


def contract_path(_, *tensors, optimize=None):
    return [(0, 1), (0, 1)] if order([t.shape for t in tensors]) else [(1, 2), (0, 1)], ""
'''


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what reads a callable of code that uses a package such as opt_einsum."""
    (tmp_path / "opt_einsum").mkdir()
    (tmp_path / "opt_einsum" / "__init__.py").write_text("")
    (tmp_path / "opt_einsum" / "paths.py").write_text(PATHS)
    (tmp_path / "parts.py").write_text(PARTS)
    for name in [name for name in sys.modules if name.partition(".")[0] == "opt_einsum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    paths = importlib.import_module("opt_einsum.paths")
    backend = importlib.import_module("torch.backends.opt_einsum")
    monkeypatch.setattr(backend, "is_available", lambda: True)
    monkeypatch.setattr(torch.functional, "_opt_einsum", paths, raising=False)
    monkeypatch.setattr(backend, "get_opt_einsum", lambda: paths)
    yield lambda name, **options: load(f"{tmp_path}/parts.py:{name}", **options)
    for name in [name for name in sys.modules if name.partition(".")[0] == "opt_einsum"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "width", "macs", "line"),
    [("Virtual", 6, 36, "parts.py:15"), ("Factors", 8, 144, "paths.py:4"),
     ("Three", 8, 144, "parts.py:42")],
)  # fmt: skip
def test_what_a_large_batch_orders_otherwise_is_read_in_small_ones(
    parts: Any, name: str, width: int, macs: int, line: str
) -> None:
    """A chunk for each 128 samples; tables that are multiplied first where there are many."""
    network = parts(name, input=(width,))
    for each in (network, network.in_training):
        assert analyze(each, batch=2).total.macs == 2 * macs
        [remark] = each.remarks
        assert remark.text == (
            f"{line} asks whether the batch is large: the figures are of the smaller ones"
        )
