"""Modules as people of many fields write them, each against PyTorch at batches of 1, 2 and 3."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archcost import analyze, load
from archcost.analysis.training import training_step
from archcost.errors import ArchcostError
from archcost.hardware import find_device
from archcost.network import Value
from archcost.performance.bounds import hard_bound
from archcost.proofs.module import _NoModules
from archcost.proofs.observe import fake_of, run
from archcost.proofs.run import Request, verify
from archcost.pytorch.counter import whole_counter
from archcost.setting import Setting
from archcost.storage.saved import saved_for_backward

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
nn, F = torch.nn, torch.nn.functional
pytestmark = pytest.mark.torch

READ: dict[str, tuple[Callable[[], Any], tuple[tuple[int, ...], ...]]] = {}
"""Modules, each with the shapes of its inputs ``x`` and ``y``."""


def read(*shapes: tuple[int, ...], **parts: Callable[[], Any]) -> Callable[[Any], Any]:
    """Make a module of a forward pass and of its parts."""

    def register(forward: Any) -> Any:
        class Module(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                for name, make in parts.items():
                    made = make()
                    if isinstance(made, torch.Tensor) and not isinstance(made, nn.Parameter):
                        self.register_buffer(name, made)
                    else:
                        setattr(self, name, made)

        class One(Module):
            def forward(self, x: Any) -> Any:
                return forward(self, x)

        class Two(Module):
            def forward(self, x: Any, y: Any) -> Any:
                return forward(self, x, y)

        READ[forward.__name__] = (One if len(shapes) == 1 else Two, shapes)
        return forward

    return register


def weight(*shape: int) -> Callable[[], Any]:
    return lambda: nn.Parameter(torch.randn(*shape))


def linear(inside: int, out: int) -> Callable[[], Any]:
    return lambda: nn.Linear(inside, out)


@read(
    (1, 16, 16, 16), first=lambda: nn.Conv3d(1, 8, 5, padding=2), prelu=lambda: nn.PReLU(8),
    down=lambda: nn.Conv3d(8, 16, 2, stride=2), elu=lambda: nn.ELU(inplace=True),
    body=lambda: nn.ModuleList(nn.Conv3d(16, 16, 5, padding=2) for _ in range(2)),
    drop=lambda: nn.Dropout3d(), up=lambda: nn.ConvTranspose3d(16, 8, 2, stride=2),
    last=lambda: nn.Conv3d(16, 2, 5, padding=2),
)  # fmt: skip
def v_net(self: Any, x: Any) -> Any:
    skip = self.prelu(self.first(x) + torch.cat([x] * 8, 1))
    inner = y = self.elu(self.down(skip))
    for conv in self.body:
        y = self.elu(conv(self.drop(y)))
    out = self.last(torch.cat((self.up(self.elu(y + inner)), skip), 1))
    out = out.permute(0, 2, 3, 4, 1).contiguous()
    return F.softmax(out.view(out.numel() // 2, 2), dim=1)


@read(
    (8, 16, 16), lateral=lambda: nn.Conv2d(8, 8, 1), scales=weight(2),
    head=lambda: nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(),
                               nn.Conv2d(8, 12, 3, padding=1)),
)  # fmt: skip
def a_head_on_two_levels(self: Any, x: Any) -> Any:
    coarse = self.lateral(F.max_pool2d(x, 2))
    levels = [self.lateral(x) + F.interpolate(coarse, scale_factor=2, mode="nearest"), coarse]
    boxes = []
    for i, level in enumerate(levels):
        n, _, h, w = level.shape
        found = (self.head(level) * self.scales[i]).exp()
        boxes.append(found.view(n, -1, 4, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, 4))
    return {"boxes": torch.cat(boxes, 1), "levels": levels}


@read(
    (8, 4, 4, 4), norm=lambda: nn.GroupNorm(2, 8), queries=linear(8, 8), keys=linear(8, 8),
    out=linear(8, 8), last=lambda: nn.Conv3d(8, 8, 1),
)  # fmt: skip
def attention_in_a_volume(self: Any, x: Any) -> Any:
    """What attention returns lies channels last, as a CPU's norm and convolution leave it."""
    for _ in range(2):
        y = self.norm(x).reshape(*x.shape[:2], -1).transpose(1, 2)
        scores = torch.einsum("bnd,bmd->bnm", self.queries(y), self.keys(y)).softmax(-1)
        x = self.out(scores @ y).transpose(1, 2).reshape(x.shape) + x
    y = self.last(x).flatten(2).transpose(1, 2)
    return self.queries(y) + self.keys(y)


@dataclass
class Output:
    """What a model of language gives."""

    last: Any = None
    pooled: Any = None
    hidden: tuple[Any, ...] | None = None


@read(
    (12, 16), (12,), qkv=linear(16, 48), out=linear(16, 16), norm=lambda: nn.LayerNorm(16),
    drop=lambda: nn.Dropout(0.1), positions=lambda: nn.Embedding(12, 16), pool=linear(16, 16),
    ids=lambda: torch.arange(12).expand((1, -1)),
)  # fmt: skip
def attention_under_a_mask(self: Any, x: Any, y: Any) -> Any:
    mask = (1.0 - y[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
    x = x + self.positions(self.ids[:, : x.size(1)])
    q, k, v = (
        part.view(*part.shape[:-1], 4, 4).transpose(1, 2) for part in self.qkv(x).chunk(3, 2)
    )
    scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(4) + mask
    made = torch.matmul(self.drop(F.softmax(scores, dim=-1)), v)
    made = made.permute(0, 2, 1, 3).contiguous()
    made = self.norm(self.drop(self.out(made.view((*made.size()[:-2], 16)))) + x)
    return Output(made, torch.tanh(self.pool(made[:, 0])), (x, made))


@read(
    (8, 16), q=linear(16, 16), kv=linear(16, 16), scale=weight(16),
    frequencies=lambda: 1 / (10000 ** (torch.arange(0, 4, 2).float() / 4)),
)  # fmt: skip
def rotary_positions(self: Any, x: Any) -> Any:
    """The table is a product of constants, which every pass computes once."""
    n, tokens, _ = x.shape
    y = self.scale * (x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)
    places = torch.arange(tokens, device=x.device)[None, None].float()
    angles = (self.frequencies[None, :, None].expand(1, -1, 1) @ places).transpose(1, 2)
    cos, sin = (f(torch.cat((angles, angles), -1))[:, None] for f in (torch.cos, torch.sin))
    q = self.q(y).view(n, tokens, 4, 4).transpose(1, 2)
    k, v = (part.view(n, tokens, 2, 4).transpose(1, 2) for part in self.kv(y).split(8, -1))
    q, k = (z * cos + torch.cat((-z[..., 2:], z[..., :2]), -1) * sin for z in (q, k))
    k, v = (z[:, :, None].expand(n, 2, 2, tokens, 4).reshape(n, 4, tokens, 4) for z in (k, v))
    mask = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).tril()[None, None]
    made = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return x + made.transpose(1, 2).reshape(n, tokens, -1)


@read((5, 8), fc=linear(8, 8))
def attention_without_heads(self: Any, x: Any) -> Any:
    """PyTorch fuses attention of four dimensions only."""
    y = self.fc(x)
    five = y[:, None, None]
    return F.scaled_dot_product_attention(y, y, y) + F.scaled_dot_product_attention(
        five, five, five, is_causal=True
    ).squeeze((1, 2))


@read(
    (3, 32, 32), (6,), cnn=lambda: nn.Conv2d(3, 8, 3, 2), cell=lambda: nn.LSTMCell(24, 16),
    gate=linear(16, 8), words=linear(1, 16), out=linear(16, 20),
)  # fmt: skip
def a_captioner(self: Any, x: Any, y: Any) -> Any:
    features = F.adaptive_avg_pool2d(self.cnn(x).relu(), 1).flatten(1)
    h = features.new_zeros(len(x), 16)
    c, outs = torch.zeros_like(h), []
    for t in range(y.shape[1]):
        seen = features * torch.sigmoid(self.gate(h))
        h, c = self.cell(torch.cat([self.words(y[:, t : t + 1]), seen], 1), (h, c))
        outs.append(self.out(h))
    return torch.stack(outs, 1)


@read(
    (10, 8), inside=linear(8, 32), conv=lambda: nn.Conv1d(16, 16, 4, groups=16, padding=3),
    chosen=linear(16, 24), decay=weight(16, 4), skip=weight(16), out=linear(16, 8),
)  # fmt: skip
def a_selective_scan(self: Any, x: Any) -> Any:
    u, z = self.inside(x).split([16, 16], dim=-1)
    u = F.silu(self.conv(u.transpose(1, 2))[:, :, :10].transpose(1, 2))
    step, b, c = torch.split(self.chosen(u), [16, 4, 4], -1)
    step = F.softplus(step)
    kept = torch.exp(torch.einsum("bld,dn->bldn", step, -torch.exp(self.decay)))
    added = torch.einsum("bld,bln,bld->bldn", step, b, u)
    state, made = torch.zeros(len(x), 16, 4, device=x.device), []
    for i in range(10):
        state = kept[:, i] * state + added[:, i]
        made.append(torch.einsum("bdn,bn->bd", state, c[:, i, :]))
    return self.out((torch.stack(made, 1) + u * self.skip) * F.silu(z))


@read((6, 8), qkv=linear(8, 24))
def linear_attention(self: Any, x: Any) -> Any:
    q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).unbind(2)
    q, k = F.elu(q) + 1, F.elu(k) + 1
    context = torch.einsum("bnhd,bnhe->bhde", k, v)
    norm = 1 / (torch.einsum("bnhd,bhd->bnh", q, k.sum(1)) + 1e-6)
    return torch.einsum("bnhd,bhde,bnh->bnhe", q, context, norm).flatten(2)


@read((6, 8), gate=linear(8, 4), up=weight(4, 8, 16), down=weight(4, 16, 8))
def experts_all_at_once(self: Any, x: Any) -> Any:
    shares = self.gate(x).softmax(-1)
    best, places = shares.topk(2, -1)
    shares = torch.zeros_like(shares).scatter(-1, places, best)
    hidden = torch.einsum("btd,edh->beth", x, self.up).relu()
    return torch.einsum("betd,bte->btd", torch.einsum("beth,ehd->betd", hidden, self.down), shares)


@read((5, 8), (5, 5), a=linear(8, 16), b=linear(16, 3))
def a_graph_convolution(self: Any, x: Any, y: Any) -> Any:
    edges = y + torch.eye(5, device=x.device)
    degree = edges.sum(-1).clamp(min=1).pow(-0.5)
    edges = degree.unsqueeze(-1) * edges * degree.unsqueeze(-2)
    return F.log_softmax(self.b(edges.bmm(F.relu(torch.bmm(edges, self.a(x))))), -1)


@read(
    (6,), base=weight(4, 6), splines=weight(4, 6, 8),
    grid=lambda: torch.arange(-3, 9).float().expand(6, -1).contiguous(),
)  # fmt: skip
def splines_on_edges(self: Any, x: Any) -> Any:
    first, grid, x = F.linear(F.silu(x), self.base), self.grid, x.unsqueeze(-1)
    bases = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
    for k in range(1, 4):
        left = (x - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)])
        right = (grid[:, k + 1 :] - x) / (grid[:, k + 1 :] - grid[:, 1:-k])
        bases = left * bases[:, :, :-1] + right * bases[:, :, 1:]
    return first + F.linear(bases.reshape(x.size(0), -1), self.splines.view(4, -1))


@read((8, 4, 4), (8,), kernel=weight(1, 6, 8, 3, 3), style=linear(8, 8), noise=weight(1))
def a_kernel_for_each_sample(self: Any, x: Any, y: Any) -> Any:
    n, channels, h, w = x.shape
    kernel = self.kernel * self.style(y).view(n, 1, channels, 1, 1) * (1 / math.sqrt(72))
    kernel = kernel * torch.rsqrt(kernel.pow(2).sum([2, 3, 4]) + 1e-8).view(n, 6, 1, 1, 1)
    x, kernel = x.view(1, n * channels, h, w), kernel.view(n * 6, channels, 3, 3)
    made = F.conv2d(x, kernel, padding=1, groups=n).view(n, 6, h, w)
    return F.leaky_relu(made + self.noise * made.new_empty(n, 1, h, w).normal_(), 0.2) * 2**0.5


@read(
    (4, 20), a=lambda: nn.utils.weight_norm(nn.Conv1d(4, 8, 3, padding=4, dilation=2)),
    b=lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 8, 3, padding=4, dilation=2)),
    short=lambda: nn.Conv1d(4, 8, 1), relu=lambda: nn.ReLU(),
)  # fmt: skip
def normalised_weights(self: Any, x: Any) -> Any:
    y = F.dropout(self.relu(self.a(x)[:, :, :-4].contiguous()), 0.2, self.training)
    return self.relu(self.relu(self.b(y)[:, :, :-4].contiguous()) + self.short(x))[:, :, -1]


@read(
    (8, 4, 4), project=lambda: nn.Conv2d(8, 16, 1), row=weight(50, 8), column=weight(50, 8),
    transformer=lambda: nn.Transformer(16, 2, 1, 1, 32), queries=weight(5, 16),
)  # fmt: skip
def queries_of_objects(self: Any, x: Any) -> Any:
    y = self.project(x)
    h, w = y.shape[-2:]
    sides = (self.column[:w].unsqueeze(0).repeat(h, 1, 1),
             self.row[:h].unsqueeze(1).repeat(1, w, 1))  # fmt: skip
    places = torch.cat(sides, -1).flatten(0, 1).unsqueeze(1)
    wanted = self.queries.unsqueeze(1).repeat(1, len(x), 1)
    return self.transformer(places + 0.1 * y.flatten(2).permute(2, 0, 1), wanted).transpose(0, 1)


@read((5, 8), fc=linear(8, 8))
def products_of_parameters(self: Any, x: Any) -> Any:
    weight, bias = self.fc.weight, self.fc.bias
    squared = torch.mm(weight, weight) + torch.einsum("ij,jk,kl->il", weight, weight, weight)
    return F.linear(self.fc(x), squared) + torch.mv(weight, bias) * torch.dot(bias, bias)


def inputs_of(shapes: Sequence[tuple[int, ...]]) -> Any:
    return dict(zip("xy", shapes, strict=False))


def counted(make: Callable[[], Any], shapes: Sequence[tuple[int, ...]], batch: int) -> int:
    """Return what PyTorch's own counter counts, and the products with vectors."""
    counter = whole_counter()
    counter.mod_tracker = _NoModules()
    with counter, torch.no_grad():
        made = [torch.empty(batch, *shape, device="meta") for shape in shapes]
        make().eval().to("meta")(*made)
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize("name", READ)
def test_parameters_products_and_what_is_kept(name: str) -> None:
    make, shapes = READ[name]
    network = load(make(), input=inputs_of(shapes))
    assert analyze(network.in_training).total.params == sum(p.numel() for p in make().parameters())
    for batch in (1, 2, 3):
        assert analyze(network, batch=batch).total.macs == counted(make, shapes, batch)
        copy, fake = fake_of(make())
        found = run(copy.train(), fake, network.inputs, batch)
        measured = sum(kept.bytes for kept in found.storages(()).values())
        assert saved_for_backward(network, Setting(batch=batch, device="cpu")).total == measured


@pytest.mark.parametrize("name", READ)
def test_verify_compares_modules_that_run_twice_and_the_step(name: str) -> None:
    make, shapes = READ[name]
    network = load(make(), input=inputs_of(shapes))
    checks = ("structure", "memory", "module")
    if name not in ("linear_attention", "products_of_parameters"):
        checks = (*checks, "training")  # of products of three tensors the gradients are not known
    for outcome in verify(network, Request(checks=checks)):
        assert (outcome.group, outcome.failures) == (outcome.group, [])
        assert outcome.run or (outcome.group, name) == ("structure", "splines_on_edges")


class Twice(nn.Module):
    """Calls its modules again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        return self.fc((self.relu(self.conv(self.relu(self.conv(x)))) + x).mean((2, 3)))


def test_the_structure_of_code_is_that_of_its_modules() -> None:
    network = load(Twice(), input=(4, 6, 5))
    [outcome] = verify(network, Request(checks=("structure",)))
    assert (outcome.run, outcome.failures) == (23, [])
    other = Twice()
    other.relu = nn.Sigmoid()
    [outcome] = verify(network, Request(checks=("structure",)), twin=other)
    assert {check.name for check in outcome.failures} == {"values"}


def test_what_parameters_alone_compute_is_the_same_for_any_batch() -> None:
    make, shapes = READ["products_of_parameters"]
    network = load(make(), input=inputs_of(shapes))
    once = 8**3 + 2 * 8**3 + 8 * 8 + 8
    for batch in (1, 5):
        assert analyze(network, batch=batch).total.macs == once + batch * 5 * 2 * 8 * 8
        assert training_step(network, batch).forward == 2 * (once + batch * 5 * 2 * 8 * 8)
        # the least time of a pass is that of its products, on a device that moves bytes for free
        work = hard_bound(network, Setting(batch=batch).on(find_device("h100")))
        assert work.flops == 2 * (once + batch * 5 * 2 * 8 * 8)


class Replaced(nn.Module):
    """Lets go of its buffers, whose storages others may then take."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        for i in range(20):
            self.register_buffer(f"table{i}", torch.zeros(8))

    def forward(self, x: Any) -> Any:
        for i in range(20):
            setattr(self, f"table{i}", None)
        y = self.fc(x)
        for _ in range(10):
            y = y.exp()
        return y


def test_what_is_kept_is_measured_where_a_buffer_was() -> None:
    copy, fake = fake_of(Replaced())
    found = run(copy.train(), fake, [Value("x", (8,))], 1)
    assert sum(kept.bytes for kept in found.storages(()).values()) == 11 * 8 * 4


class Decoder(nn.Module):
    """PyTorch asks whether its mask is causal; code how often to run."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.transformer = nn.Linear(16, 16), nn.Transformer(16, 4, 1, 1, 32, 0.0)

    def forward(self, x: Any, y: Any) -> Any:
        mask = self.transformer.generate_square_subsequent_mask(y.shape[1], device=x.device)
        for _ in range(int(torch.arange(3, device=x.device).sum())):
            x = self.fc(x)
        return self.transformer(x.transpose(0, 1), y.transpose(0, 1), tgt_mask=mask)


def test_what_is_in_constants_is_known() -> None:
    network = load(Decoder(), input={"x": (10, 16), "y": (7, 16)})
    assert [layer.path for layer in network][:4] == ["fc", "fc#2", "fc#3", "transpose1"]
    [outcome] = verify(network, Request())
    assert (outcome.passed, outcome.failures) == (outcome.run, [])


class Written(nn.Module):
    """What a constant holds is known before and after a write, but not what is drawn."""

    def __init__(self, drawn: bool) -> None:
        super().__init__()
        self.fc, self.drawn = nn.Linear(8, 8), drawn

    def forward(self, x: Any) -> Any:
        table = torch.rand(3, device=x.device) if self.drawn else torch.zeros(3, device=x.device)
        more, part = table + 1, table[1:]
        part[0] = 5
        part += 1
        x = x if more[1] > 1 else self.fc(x)
        return self.fc(x) if part[0] == 6 and part[1] == 1 else x


def test_what_is_written_is_known() -> None:
    assert [layer.path for layer in load(Written(drawn=False), input=(8,))] == ["fc", "fc#2"]


def test_what_is_drawn_is_not_known() -> None:
    with pytest.raises(ArchcostError, match="__bool__ depends on data"):
        load(Written(drawn=True), input=(8,))


class Asking(nn.Module):
    """Asks how a tensor lies in memory."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.fc, self.how = nn.Linear(8, 8), how

    def forward(self, x: Any) -> Any:
        y = self.fc(x).transpose(0, 1)
        if self.how == "contiguous":
            return (y.exp() if y.is_contiguous() else y.contiguous().sin()).sum(0)
        if self.how == "stride":
            return (y.exp() if y.stride(1) == 8 else y.contiguous().exp()).sum(0)
        return y * y.data_ptr()


def test_code_that_asks_for_the_layout_is_read_at_a_batch_of_one_too() -> None:
    network = load(Asking("contiguous"), input=(5, 8))
    lines = Path(__file__).read_text("utf-8").splitlines()
    line = next(n for n, text in enumerate(lines, 1) if "y.is_contiguous()" in text)
    assert [remark.text for remark in network.remarks] == [
        f"with a batch of 1, test_code_strangers.py:{line} goes another way: the figures are of "
        "larger batches"
    ]
    assert saved_for_backward(network, Setting(batch=2, device="cpu")).total > 0
    with pytest.raises(ArchcostError, match=f"{line} goes another way, whose memory is not known"):
        saved_for_backward(network, Setting(batch=1, device="cpu"))
    assert load(Asking("stride"), input=(5, 8)).remarks == ()
    with pytest.raises(ArchcostError, match="data_ptr depends on data"):
        load(Asking("address"), input=(5, 8))
