"""Code that asks: what is in a constant or in data, how large the batch is, whether to draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archcost import analyze, load, loads, memory
from archcost.errors import ArchcostError
from archcost.proofs.observe import fake_of, run
from archcost.proofs.run import Request, verify
from archcost.setting import Setting
from archcost.storage.saved import saved_for_backward

np: Any = pytest.importorskip("numpy", reason="numpy is not installed")
torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
nn, F = torch.nn, torch.nn.functional
pytestmark = pytest.mark.torch

HERE = Path(__file__)
Forward = Callable[[Any, Any], Any]


class Module(nn.Module):
    """Two layers, and a forward pass that is given."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.fc, self.more, self.run = nn.Linear(8, 8), nn.Linear(8, 8), forward
        self.register_buffer("size", torch.tensor(2))

    def forward(self, x: Any) -> Any:
        return self.run(self, x)


def line_of(text: str) -> int:
    """Return the line of this file that has a text in it, the first of them."""
    return next(n for n, line in enumerate(HERE.read_text("utf-8").splitlines(), 1) if text in line)


def all_ones(self: Any, x: Any) -> Any:
    mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return self.fc(x) if mask.all() else self.more(self.fc(x))


def like_another(self: Any, x: Any) -> Any:
    places = torch.ones_like(x[..., 0]).cumsum(-1).expand(x.shape[0], -1)
    return self.fc(x) if (places.diff(dim=-1) == 1).all() else self.more(self.fc(x))


def from_one_to_another(self: Any, x: Any) -> Any:
    first = torch.arange(x.shape[1]).argmin()
    return self.fc(x[:, first : first + 3])


def finite(self: Any, x: Any) -> Any:
    y = F.dropout(self.fc(x), 0.1, self.training)
    y = y if torch.isfinite(y).all() else self.more(y)
    return self.more(y) if (torch.isnan(y) | y.isinf()).any().item() else y


def of_a_buffer(self: Any, x: Any) -> Any:
    """Sizes are numbers of buffers, as those of convolutions that pad for themselves."""
    start = torch.ceil((x.shape[1] - self.size) / self.size).to(torch.int64)
    x = F.pad(x[:, start:], (0, 0, self.size, start - 2))
    return self.fc(x) if x.shape[1] == 5 else self.more(self.fc(x))


def asked_for_a_warning(self: Any, x: Any) -> Any:
    if 0 in x[:, -1]:
        self.warned = True
    return self.fc(x)


def asked_to_be_sure(self: Any, x: Any) -> Any:
    if x.isnan().any():
        raise ValueError("not a number")
    assert (x < 100).all()
    return self.fc(x)


def asked_for_one_warning_of_two(self: Any, x: Any) -> Any:
    y = self.fc(x)
    if x.isnan().any() or x.isinf().any():
        self.warned = True
    return y


def turned_off(self: Any, x: Any) -> Any:
    with torch.autocast(x.device.type, enabled=False):
        return self.fc(x)


READ = (
    all_ones, like_another, from_one_to_another, asked_for_a_warning, asked_to_be_sure,
    asked_for_one_warning_of_two, turned_off, finite, of_a_buffer,
)  # fmt: skip


@pytest.mark.parametrize("forward", READ)
def test_questions_whose_answer_is_known_or_decides_nothing(forward: Forward) -> None:
    network = load(Module(forward), input=(5, 8))
    macs = (3 if forward is from_one_to_another else 5) * 64
    assert analyze(network, batch=3).total.macs == 3 * macs
    [outcome] = verify(network, Request())
    assert (outcome.passed, outcome.failures) == (outcome.run, [])


def as_many_as_the_batch(self: Any, x: Any) -> Any:
    return self.fc(x) if torch.arange(x.shape[0], device=x.device).max() > 3 else x


def decided_by_data(self: Any, x: Any) -> Any:
    return self.fc(x) if (x > 0).all() else self.more(self.fc(x))


def as_long_as_data_say(self: Any, x: Any) -> Any:
    while (x > 0).any():
        x = x - 1
    return self.fc(x)


def left_out_at_random(self: Any, x: Any) -> Any:
    return self.fc(x) if torch.rand([]) < 0.5 else x


def turned_on(self: Any, x: Any) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return self.fc(x)


REFUSED = {
    as_many_as_the_batch: ("x.shape[0], device=x.device).max", "__bool__ depends on data"),
    decided_by_data: ("self.fc(x) if (x > 0).all()", "__bool__ depends on data"),
    as_long_as_data_say: ("while (x > 0).any()", "__bool__ depends on data"),
    left_out_at_random: (
        "if torch.rand([]) < 0.5",
        "__bool__ depends on numbers drawn at random; --run draws them from a fixed seed",
    ),
    turned_on: ('autocast("cpu", dtype', "code turns torch.autocast on; leave that to --amp"),
}


@pytest.mark.parametrize("forward", REFUSED)
def test_questions_that_decide_are_refused_with_their_line(forward: Forward) -> None:
    text, reason = REFUSED[forward]
    with pytest.raises(ArchcostError) as error:
        load(Module(forward), input=(5, 8))
    assert f"({HERE.name}:{line_of(text)}): {reason}" in str(error.value)


def another_way_alone(self: Any, x: Any) -> Any:
    return self.fc(x) if x.shape[0] == 1 else self.more(self.fc(x))


def another_way_for_many(self: Any, x: Any) -> Any:
    return self.more(self.fc(x)) if x.size(0) >= 64 else self.fc(x)


def another_way_for_many_elements(self: Any, x: Any) -> Any:
    return self.more(self.fc(x)) if 2 * x.numel() > 2**31 else self.fc(x)


def test_sizes_that_code_compares_are_those_of_small_batches() -> None:
    network = load(Module(another_way_alone), input=(5, 8))
    assert analyze(network).total.macs == 2 * 5 * 64
    line = line_of("if x.shape[0] == 1")
    assert [remark.text for remark in network.remarks if remark.kind == "batch"] == [
        f"with a batch of 1, {HERE.name}:{line} goes another way: the figures are of larger batches"
    ]
    with pytest.raises(ArchcostError, match=f"{line} goes another way, whose memory is not known"):
        saved_for_backward(network, Setting(batch=1, device="cpu"))
    for forward, text in (
        (another_way_for_many, "x.size(0) >= 64"),
        (another_way_for_many_elements, "2 * x.numel()"),
    ):
        network = load(Module(forward), input=(5, 8))
        assert analyze(network).total.macs == 5 * 64
        assert [remark.text for remark in network.remarks if remark.kind == "batch"] == [
            f"{HERE.name}:{line_of(text)} asks whether the batch is large: the figures are of the "
            "smaller ones"
        ]


class Filled(nn.Module):
    """Fills a table with numbers of a tensor that it holds, and takes numbers of numpy."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.strides = nn.Conv2d(3, 4, 3), torch.tensor([8.0, 16.0])

    def forward(self, x: Any) -> Any:
        table = [x.new_full((x.shape[2],), stride) for stride in self.strides]
        size = math.prod(np.array([2, 2]))
        return F.avg_pool2d(self.conv(x), size) * torch.cat(table).mean()


def test_numbers_may_be_of_tensors_and_of_numpy() -> None:
    network = load(Filled(), input=(3, 18, 18))
    assert analyze(network).total.macs == 16 * 16 * 4 * 27
    assert saved_for_backward(network.in_training, Setting(batch=2, device="cpu")).total > 0


class Timed(nn.Module):
    """Takes a number for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Any, time: Any) -> Any:
        angles = time[:, None] * torch.arange(4, device=time.device)
        return self.fc(x) + torch.cat((angles.sin(), angles.cos()), -1)


@pytest.mark.parametrize("shape", ["scalar", ()])
def test_a_sample_may_be_a_number(shape: Any) -> None:
    network = load(Timed(), input={"x": (8,), "time": shape})
    assert [value.shape for value in network.inputs] == [(8,), ()]
    [outcome] = verify(network, Request())
    assert (outcome.passed, outcome.failures) == (outcome.run, [])


class SharedKeys(nn.Module):
    """One head of keys for several of queries, which PyTorch repeats."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = nn.Linear(16, 16), nn.Linear(16, 8)

    def forward(self, x: Any) -> Any:
        n, tokens, _ = x.shape
        q = self.q(x).view(n, tokens, 4, 4).transpose(1, 2)
        k, v = self.kv(x).view(n, tokens, 1, 8).transpose(1, 2).chunk(2, -1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class ChannelsLast(nn.Module):
    """Makes a map of tokens, which a CPU leaves with the channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.next = (
            nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        y = self.conv(x.transpose(1, 2).reshape(x.shape[0], 8, 6, 6))
        return self.norm(y), self.next(y.contiguous())


@pytest.mark.parametrize(("make", "shape"), [(SharedKeys, (7, 16)), (ChannelsLast, (36, 8))])
def test_what_attention_and_maps_keep(make: Callable[[], Any], shape: tuple[int, ...]) -> None:
    network = load(make(), input=shape).in_training
    copy, fake = fake_of(make())
    for batch in (2, 3):
        kept = run(copy.train(), fake, network.inputs, batch).storages(())
        said = saved_for_backward(network, Setting(batch=batch, device="cpu")).total
        assert said == sum(storage.bytes for storage in kept.values())


class Masked(nn.Module):
    """Has a buffer of each type."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        for name in ("bool", "uint8", "int32", "int64", "float32"):
            self.register_buffer(name, torch.ones(5, 8, dtype=getattr(torch, name)))

    def forward(self, x: Any) -> Any:
        y = torch.where(self.bool, self.fc(x), x) * self.uint8 * self.int64 * self.float32
        return y + self.int32


def test_buffers_have_the_bytes_of_their_types() -> None:
    network = load(Masked(), input=(5, 8))
    assert memory(network, batch=2).training.buffers == 40 * (1 + 1 + 4 + 8 + 4)


class Choosing(nn.Module):
    """Compares and chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        y = self.fc(x)
        return torch.where(y > 0, y, x)


def test_what_is_compared_and_chosen_is_an_activation_as_in_specs() -> None:
    spec = """
name: choosing
input: 8
layers:
  - y: linear(8)
  - positive: gt(y, 0)
  - where(positive, y, input)
"""
    for network in (load(Choosing(), input=(8,)), loads(spec)):
        assert [row.activations for row in analyze(network).rows][-2:] == [8, 8]
