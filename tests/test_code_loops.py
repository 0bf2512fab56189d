"""Code that takes the samples of a batch one by one, or compares how many they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from archcost import analyze, load
from archcost.errors import ArchcostError
from archcost.proofs.run import Request, verify

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
nn, F = torch.nn, torch.nn.functional
pytestmark = pytest.mark.torch

HERE = Path(__file__)
Forward = Callable[[Any, Any], Any]


class Module(nn.Module):
    """A layer, and a forward pass that is given."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.fc, self.run = nn.Linear(8, 8), forward

    def forward(self, x: Any) -> Any:
        return self.run(self, x)


def a_mask_by_hand(self: Any, x: Any) -> Any:
    """As code does that hides parts of an audio signal in training."""
    rows = [[column % 2 for column in range(x.shape[1])] for _ in range(x.shape[0])]
    mask = torch.tensor(rows, dtype=torch.bool, device=x.device)
    return self.fc(x).masked_fill(mask[..., None], 0.0)


def a_list_as_long_as_the_batch(self: Any, x: Any) -> Any:
    assert isinstance(range(3), range)
    return self.fc(x) * torch.tensor([0.5] * x.shape[0])[:, None, None].to(x.device)


def as_long_as_rows_are_left(self: Any, x: Any) -> Any:
    done = 0
    while done < len(x):
        done += 1
    return self.fc(x)


@pytest.mark.parametrize(
    "forward", [a_mask_by_hand, a_list_as_long_as_the_batch, as_long_as_rows_are_left]
)
def test_loops_that_make_constants_are_read(forward: Forward) -> None:
    network = load(Module(forward), input=(5, 8))
    assert analyze(network, batch=7).total.macs == 7 * 5 * 64
    [outcome] = verify(network, Request())
    assert (outcome.passed, outcome.failures) == (outcome.run, [])


def one_by_one(self: Any, x: Any) -> Any:
    return torch.stack([self.fc(x[i]) for i in range(x.shape[0])])


def as_long_as_samples_are_left(self: Any, x: Any) -> Any:
    done = 0
    while done < x.shape[0]:
        x, done = self.fc(x), done + 1
    return x


REFUSED = {
    one_by_one: ("for i in range(x.shape[0])", "a loop takes the samples one by one"),
    as_long_as_samples_are_left: (
        "x, done = self.fc(x)",
        "linear runs otherwise on 2 and on 3 copies of a sample",
    ),
}


@pytest.mark.parametrize("forward", REFUSED)
def test_loops_that_call_layers_end_at_once(forward: Forward) -> None:
    text, reason = REFUSED[forward]
    lines = HERE.read_text("utf-8").splitlines()
    line = next(n for n, own in enumerate(lines, 1) if text in own)
    with pytest.raises(ArchcostError) as error:
        load(Module(forward), input=(5, 8))
    assert f"({HERE.name}:{line}): {reason}" in str(error.value)


def by_its_length(self: Any, x: Any) -> Any:
    return self.fc(self.fc(x)) if len(x) == 1 else self.fc(x)


def by_a_plain_number(self: Any, x: Any) -> Any:
    return self.fc(self.fc(x)) if int(x.shape[0]) == 1 else self.fc(x)


@pytest.mark.parametrize("forward", [by_its_length, by_a_plain_number])
def test_a_batch_of_one_is_looked_at_however_code_counts(forward: Forward) -> None:
    network = load(Module(forward), input=(5, 8))
    assert analyze(network).total.macs == 5 * 64
    [remark] = [remark.text for remark in network.remarks if remark.kind == "batch"]
    assert remark.startswith(f"with a batch of 1, {HERE.name}:")


@lru_cache
def _places(batch: int, width: int, device: str) -> Any:
    return torch.ones(batch, 5, width, device=device)


def held_by_a_function(self: Any, x: Any) -> Any:
    """The second pass finds what the first has made."""
    return self.fc(x) + _places(*x.shape[::2], x.device.type)


def test_what_a_function_holds_is_a_constant() -> None:
    for _ in range(2):
        network = load(Module(held_by_a_function), input=(5, 8))
        assert [layer.path for layer in network.in_training] == ["fc", "add1"]


class Experts(nn.Module):
    """Rows in the order of the experts that they go to, as a mixture of experts multiplies them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 3)
        self.weight = nn.Parameter(torch.zeros(3, 8, 16))

    def forward(self, x: Any) -> Any:
        rows = x.flatten(0, 1)
        expert, order = self.gate(rows).argmax(-1).sort()
        number = torch.histc(expert.float(), bins=3, min=0, max=2)
        ends = number.cumsum(0).to(torch.int32)
        return F.grouped_mm(rows[order // 1], self.weight, offs=ends).relu()


class Distances(nn.Module):
    """Distances of many pairs: no layer multiplies, and no counter counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.table = nn.Linear(8, 8), nn.Parameter(torch.zeros(30, 8))

    def forward(self, x: Any) -> Any:
        y = self.fc(x)
        return torch.cdist(y.flatten(0, 1), self.table), torch.cdist(x, y)


def test_products_of_groups_and_distances_are_those_of_pytorch() -> None:
    rows = 32
    network = load(Experts(), input=(rows, 8))
    assert analyze(network, batch=3).total.macs == 3 * rows * 8 * (3 + 16)
    for outcome in verify(network, Request(checks=("memory", "training", "module"))):
        assert (outcome.passed, outcome.failures) == (outcome.run, [])
    network = load(Distances(), input=(rows, 8))
    assert analyze(network, batch=2).total.macs == 2 * rows * 64
    for outcome in verify(network, Request(checks=("memory", "training", "module"))):
        assert (outcome.passed, outcome.failures) == (outcome.run, [])


class Compared(nn.Module):
    """Distances to a table, or to the rows themselves, in a mode."""

    def __init__(self, mode: str, table: bool) -> None:
        super().__init__()
        self.fc, self.mode, self.table = nn.Linear(8, 8), mode, table
        self.register_buffer("rows", torch.zeros(4, 8))

    def forward(self, x: Any) -> Any:
        return torch.cdist(x1=self.fc(x), x2=self.rows if self.table else x, compute_mode=self.mode)


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("rows", [4, 32])
@pytest.mark.parametrize(
    "mode",
    [
        "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist",
        "use_mm_for_euclid_dist_if_necessary",
    ],
)  # fmt: skip
def test_gradients_of_distances_are_products_where_the_mode_says(
    mode: str, rows: int, table: bool
) -> None:
    network = load(Compared(mode, table), input=(rows, 8))
    [outcome] = verify(network, Request(checks=("training",)))
    assert (outcome.passed, outcome.failures) == (outcome.run, [])
