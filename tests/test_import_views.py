"""Specs of code that rearranges tensors, multiplies them and adds parameters to them.

Each is proven by the outputs of the module itself, with its weights.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

import archcost
from archcost.errors import ArchcostError

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn
pytestmark = pytest.mark.torch

CODE = '''
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    """As people write it: heads apart in many ways, with or without PyTorch's own function."""

    def __init__(self, width=12, heads=3, way="unbind"):
        super().__init__()
        self.heads, self.way = heads, way
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def apart(self, x):
        if self.way == "unbind":
            made = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1)
            return made.permute(2, 0, 3, 1, 4).unbind(0)
        if self.way == "last":  # the three lie next to each other
            made = self.qkv(x).view(*x.shape[:2], self.heads, -1, 3)
            return [part.transpose(1, 2) for part in made.unbind(-1)]
        return [part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for part in self.qkv(x).chunk(3, dim=-1)]

    def forward(self, x):
        q, k, v = self.apart(x)
        if self.way == "einsum":
            scores = torch.einsum("b h i d, b h j d -> b h i j", q * q.shape[-1] ** -0.5, k)
            y = torch.einsum("b h i j, b h j d -> b i h d", scores.softmax(-1), v)
            return self.out(y.flatten(2))
        if self.way == "matmul":
            scores = (q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5
            return self.out((F.softmax(scores, -1) @ v).transpose(1, 2).flatten(2))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.permute(0, 2, 1, 3).reshape(x.shape))


class Read(nn.Module):
    """What each of its layers makes is read at the end, too."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Attention(way="matmul") for _ in range(3))

    def forward(self, x):
        made = [x]
        for layer in self.layers:
            made.append(layer(made[-1]))
        return torch.cat(made, -1)


class Windows(nn.Module):
    """Layers on windows, whose rows are in the batch, as in Swin."""

    def __init__(self):
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(5), nn.Linear(16, 16)
        self.out = nn.Linear(5, 7)

    def forward(self, x):
        n, c, h, w = x.shape
        x = x.permute(0, 2, 3, 1).view(n, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5)
        x = self.norm(x.contiguous().view(-1, 16, c))
        x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        x = x.view(n, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h * w, c)
        return self.out(x)


class Sequence(nn.Module):
    """The positions come before the batch, as in nn.TransformerEncoder by default."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x):
        return self.last(self.norm(self.first(x.transpose(0, 1)))).transpose(0, 1).mean(1)


class Shuffled(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        a, b = x.chunk(2, dim=1)
        x = torch.cat([self.left(a), torch.stack([self.right(b), torch.stack([a, b]).mean(0)]).sum(0)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Stacked(nn.Module):
    """A group that is called as an op is, in a branch, and tensors that are summed up in one."""

    def __init__(self):
        super().__init__()
        self.stack = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1))

    def forward(self, x):
        x = x + self.stack(x)
        return torch.stack([x, x.relu()], 1).sum(1) + torch.stack([x, x.sigmoid()], 1).sum(2).sum(1, True)


def twice():
    return nn.Sequential(Shuffled(), Shuffled())


class Pooled(nn.Module):
    """The mean of all tokens, with weights that a layer computes."""

    def __init__(self):
        super().__init__()
        self.weigh, self.out = nn.Linear(6, 1), nn.Linear(6, 3)

    def forward(self, x):
        weights = self.weigh(x).squeeze(-1).softmax(1)
        return self.out(torch.einsum("b n, b n d -> b d", weights, x))


class Tables(nn.Module):
    """Parameters that are added, put before the tokens, and multiplied."""

    def __init__(self, width=6, most=20):
        super().__init__()
        self.token, self.gain = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(1, 6, 1))
        self.positions = nn.Embedding(most, width)
        self.more = nn.Parameter(torch.randn(1, most, width))
        self.out = nn.Linear(width, 3)

    def forward(self, x):
        x = x + self.positions(torch.arange(x.shape[1]))
        token = self.token.unsqueeze(0).unsqueeze(0).expand(x.shape[0], -1, -1)
        x = torch.cat([token, x], dim=1) * self.gain
        return self.out(x + self.more[:, : x.shape[1]])


class Conv1D(nn.Module):
    """A linear layer whose matrix is the other way round, as in GPT-2."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6, 9)), nn.Parameter(torch.randn(9))
        self.out = nn.Linear(9, 2)

    def forward(self, x):
        y = torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight)
        return self.out(y.view(*x.shape[:-1], -1))


class Sums(nn.Module):
    def __init__(self):
        super().__init__()
        self.out, self.drop = nn.Conv2d(5, 3, 1), nn.Dropout2d(0.2)

    def forward(self, x):
        y = (1 - x) ** 2 / 3.0 + (x - 0.5).clamp(min=0.1)
        y = y - y.mean(1, keepdim=True) / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + 1e-5)
        y = y * F.normalize(F.unfold(y, 3, padding=1), dim=1).mean(2, True).mean(1)[:, None, :, None]
        y = torch.roll(y.flip(2), (1, 2), (2, 3)).repeat(1, 1, 2, 1)
        return self.drop(self.out(torch.maximum(y, F.pad(x, (0, 0, 0, 4)))))
'''

SHAPES = {
    "Attention": "5x12", "Read": "5x12", "Windows": "5x8x12", "Sequence": "5x6", "Shuffled": "8x4x4",
    "Tables": "5x6", "Sums": "5x4x4", "Stacked": "4x5x5", "twice": "8x4x4", "Pooled": "5x6", "Conv1D": "5x6",
}  # fmt: skip


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "viewing.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "viewing", raising=False)
    importlib.invalidate_caches()
    return "viewing"


def proven(name: str, **arguments: Any) -> str:
    """Return the lines of a spec of a module, which computes what the module does."""
    given = {"input": SHAPES[name.partition(":")[2]], "knobs": arguments}
    text = archcost.to_spec(name, **given)
    Path("net.yaml").write_text(text)
    found = archcost.verify("net.yaml", against=[name], checks=["reference"], knobs=arguments)
    [outcome] = found.outcomes
    saved = "saved bytes in train mode"  # copies that the rearrangements make otherwise
    wrong = [check for check in outcome.failures if not check.name.endswith(saved)]
    assert wrong == []
    assert outcome.run > 7
    ours, theirs = (
        archcost.analyze(archcost.load(m, **o)) for m, o in (("net.yaml", {}), (name, given))
    )
    assert (ours.total.params, ours.total.macs) == (theirs.total.params, theirs.total.macs)
    return text[text.index("layers:") :]


@pytest.mark.parametrize("way", ["unbind", "chunk"])
def test_attention_of_separate_heads_is_one_op(code: str, way: str) -> None:
    lines = "layers:\n  - linear(36) >> attention(3) >> linear(12)\n"
    assert proven(f"{code}:Attention", way=way) == lines


@pytest.mark.parametrize("way", ["last", "einsum", "matmul"])
def test_attention_in_other_arrangements(code: str, way: str) -> None:
    text = proven(f"{code}:Attention", way=way)
    assert ("attention(" in text) == (way == "last")
    assert ("matmul(" in text) == (way != "last")


def test_blocks_name_alike_what_they_read_whatever_is_named_around_them(code: str) -> None:
    text = proven(f"{code}:Read")
    assert len([line for line in text.splitlines() if "attention" in line]) == 3
    assert "matmul" not in text  # it is in the block


@pytest.mark.parametrize(
    "name",
    ["Windows", "Sequence", "Shuffled", "Tables", "Sums", "Conv1D", "Stacked", "twice", "Pooled"],
)
def test_code_that_rearranges_is_written(code: str, name: str) -> None:
    text = proven(f"{code}:{name}")
    assert ("to_batch" in text) == (name == "Windows")
    if name == "Shuffled":
        assert "channel_shuffle(4)" in text or "channel_shuffle(2)" in text
    if name == "Tables":
        assert text.count("parameter([20, 6]) >> slice(stop=") == 2
    if name == "Sequence":
        assert "permute" not in text and "transpose" not in text


class Computed(nn.Module):  # type: ignore[misc]
    """What an expression makes of ``x`` and ``y``, with parameters ``w``, ``p`` and ``m``."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.code = code
        self.w, self.p, self.m = (
            nn.Parameter(torch.ones(shape)) for shape in ((8,), (1, 4, 8), (8, 8))
        )

    def forward(self, x: Any) -> Any:
        names = {"torch": torch, "F": nn.functional, "x": x, "y": x.tanh(), "self": self}
        return eval(self.code, names)


def written(code: str) -> str:
    """Return the lines of the spec of an expression."""
    return archcost.to_spec(Computed(code), input="4x8").partition("layers:")[2]


@pytest.mark.parametrize(
    ("named", "placed"),
    [
        ("torch.mul(input=x, other=2)", "torch.mul(x, 2)"),
        ("torch.mul(input=self.w, other=x)", "torch.mul(self.w, x)"),
        ("torch.sub(input=x, other=y)", "torch.sub(x, y)"),
        ("torch.pow(input=x, exponent=3)", "torch.pow(x, 3)"),
        ("torch.stack(tensors=[x, y], dim=1)", "torch.stack([x, y], 1)"),
        ("torch.cat(tensors=[self.p.expand(len(x), -1, -1), x], dim=1)",
         "torch.cat([self.p.expand(len(x), -1, -1), x], 1)"),
        ("torch.add(input=x, other=self.p)", "torch.add(x, self.p)"),
        ("torch.where(condition=x > 0, input=x, other=y)", "torch.where(x > 0, x, y)"),
        ("F.linear(input=x, weight=self.m)", "F.linear(x, self.m)"),
        ("F.scaled_dot_product_attention(query=x, key=x, value=x)",
         "F.scaled_dot_product_attention(x, x, x)"),
        ("torch.sum(input=x, dim=1)", "torch.sum(x, 1)"),
        ("torch.flatten(input=x, start_dim=1)", "torch.flatten(x, 1)"),
    ],
)  # fmt: skip
def test_arguments_by_name_are_those_of_their_places(named: str, placed: str) -> None:
    assert written(named) == written(placed)


@pytest.mark.parametrize(
    "code",
    [
        "x.sum()", "x.sum([])", "x.sum(0)", "x.amax([])", "x.mean()", "x.mean(dim=[])",
        "x.mean(dim=None)", "x.mean(0)", "x.var(dim=None, correction=0)", "x.std(unbiased=False)",
        "F.normalize(x, dim=(1, 2))", "F.normalize(x, dim=0)", "F.normalize(x, p=1)",
        "torch.stack([x, y])", "x.flip(0)", "x.roll(1)", "x.roll((1, 2), (0, 1))",
        "x.repeat(2, 1, 1, 1)", "torch.tile(x, (2,))", "x.repeat(len(x) + 1, 1, 1)[:len(x)]",
        "x.div(y, rounding_mode='floor')", "x.clamp(min=x)", "torch.einsum('...ij->...ji', x)",
        "F.rms_norm(x, (4, 8))", "F.layer_norm(x, (8,), self.w + 1)", "x.unfold(1, 2, 1)",
    ],
)  # fmt: skip
def test_what_rules_do_not_know_is_a_line(code: str) -> None:
    with pytest.raises(
        ArchcostError, match=r"is a function that no op of specs says|nothing|batch"
    ):
        written(code)
