"""The reference check: whose parameters they are, and what a reference does in training alone."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_reference_collections import PAIRS, reasons

import archcost
from archcost.proofs import Check, Subject
from archcost.proofs.counterparts import DIFFERENCES, build_reference, counterpart
from archcost.proofs.kept import Training
from archcost.proofs.reference import reference, without_initialisation
from archcost.setting import CPU
from archcost.spec.catalog import documents

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

TWO = """
name: two
input: 3x8x8
layers:
  - conv(3, 3, padding=1)
  - batchnorm
  - conv(3, 3, padding=1)
"""

HALVES = """
name: halves
input: 2x6x6
blocks:
  tower: conv(4, 3) >> relu >> flatten >> linear(5)
layers:
  - add:
      left: slice(0, 0, 1) >> tower
      right: slice(0, 1, 2) >> tower
"""

THEIRS = '''
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.b = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.b(self.norm(self.a(x)))


class Tied(Two):
    def __init__(self):
        super().__init__()
        self.b.weight = self.a.weight


class TiedElements(Two):
    """Two parameters of one memory."""

    def __init__(self):
        super().__init__()
        self.b.weight.data = self.a.weight.data


class Twice(Two):
    def forward(self, x):
        return self.a(self.norm(self.a(x)))


class Unused(Two):
    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(10, 10)


class Dead(Two):
    """It computes something, of the shape of what the outputs need, and drops it."""

    def __init__(self):
        super().__init__()
        self.aside = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        self.aside(x)
        return super().forward(x)


class Late(Two):
    """It reads a parameter in training mode only."""

    def __init__(self):
        super().__init__()
        self.late = nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, x):
        x = super().forward(x)
        return x + 0 * self.late if self.training else x


class Frozen(Two):
    def __init__(self):
        super().__init__()
        self.b.weight.requires_grad_(False)


class Detached(Two):
    def forward(self, x):
        return self.b(self.norm(self.a(x)).detach())


class Fixed(Two):
    """A weight that is a buffer."""

    def __init__(self):
        super().__init__()
        weight = self.b.weight.detach()
        del self.b.weight
        self.b.register_buffer("weight", weight)


class Learnt(Two):
    """Running statistics that are parameters."""

    def __init__(self):
        super().__init__()
        mean = self.norm.running_mean
        del self.norm.running_mean
        self.norm.running_mean = nn.Parameter(mean)

    def forward(self, x):
        n = self.norm
        x = F.batch_norm(self.a(x), n.running_mean, n.running_var, n.weight, n.bias, False)
        return self.b(x)


class Table(Two):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(4), persistent=False)


class Uncounted(Two):
    """A normalisation that counts no steps."""

    def __init__(self):
        super().__init__()
        self.norm.num_batches_tracked = None


class Drops(Two):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.25, self.training)


class Skips(Two):
    """Stochastic depth, written with uniform numbers."""

    def forward(self, x):
        y = self.norm(self.a(x))
        if self.training:
            y = y / 0.9 * (0.9 + torch.rand(len(y), 1, 1, 1)).floor_()
        return self.b(y)


class Again(Two):
    """It computes a part again in the backward pass."""

    def forward(self, x):
        return self.b(checkpoint(lambda x: self.norm(self.a(x)), x, use_reentrant=False))


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))

    def forward(self, x):
        return self.tower(x[:, :1]) + self.tower(x[:, 1:])


class Several(nn.Module):
    """What SEVERAL says, with other functions."""

    def __init__(self, inplace=False):
        super().__init__()
        self.conv, self.leaky = nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.1, inplace)
        self.deep, self.pool = nn.Conv2d(4, 4, 3), nn.AvgPool2d(3)
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(F.pad(x * 2 / 2, (1, 1, 1, 1)))
        x = self.deep(self.leaky(x))
        x = x * F.relu6(x + 3) / 6
        return self.out(self.pool(x).flatten(1))


def in_place():
    return Several(True)


def its_twin():
    import archcost

    return archcost.build("spec.yaml")


class Branching(Two):
    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return super().forward(x)
'''


@pytest.fixture(autouse=True)
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "foreign.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "foreign", raising=False)
    importlib.invalidate_caches()


def checks(spec: str, name: str, **options: Any) -> dict[str, Check]:
    """Return the checks by what they compare; of several that compare the same, the first."""
    Path("spec.yaml").write_text(spec)
    network = archcost.load("spec.yaml")
    subject = Subject(
        network,
        archcost.build(network),
        setting=replace(CPU, **options),
        against=(f"foreign:{name}",),
    )
    found: dict[str, Check] = {}
    for check in reference(subject):
        found.setdefault(check.name.removeprefix(f"foreign:{name}: "), check)
    return found


def failed(found: dict[str, Check]) -> dict[str, Check]:
    return {what: check for what, check in found.items() if not check.passed}


PLACE, BESIDE = "parameters used at one place", "parameters beside the spec's"
TRAINED, ELEMENTS = "trained parameters", "elements of parameters"
DRAWS, SAVED = "random numbers in train mode", "saved bytes in train mode"


def test_the_same_network_passes_each() -> None:
    found = checks(TWO, "Two")
    assert failed(found) == {}
    assert not any(check.skipped or check.named for check in found.values())
    assert found[PLACE].expected == 8  # two of each convolution, four of the normalisation
    assert found[TRAINED].expected == 6
    assert found[ELEMENTS].expected == 2 * (3 * 3 * 9 + 3) + 2 * 3
    assert {PLACE, BESIDE, TRAINED, ELEMENTS, "buffers beside the spec's", DRAWS, SAVED} < set(
        found
    )


@pytest.mark.parametrize(
    ("name", "what", "layer", "measured"),
    [
        ("Tied", PLACE, "conv2", "a.weight 3x3x3x3 is that of conv1 and conv2"),
        ("TiedElements", PLACE, "conv2", "a.weight 3x3x3x3 is that of conv1 and conv2"),
        ("Twice", PLACE, "conv2", "a.weight 3x3x3x3 is that of conv1 and conv2"),
        ("Unused", BESIDE, "", "extra.weight 10x10, extra.bias 10 that no output needs"),
        ("Dead", BESIDE, "", "aside.weight 3x3x3x3, aside.bias 3 that no output needs"),
        ("Late", BESIDE, "", "late 3x1x1 read in training mode only"),
        ("Frozen", TRAINED, "conv2", "b.weight 3x3x3x3 is frozen: requires_grad is False"),
        ("Detached", TRAINED, "conv1", "a.weight 3x3x3x3 gets no gradient in training mode"),
        ("Fixed", TRAINED, "conv2", "b.weight 3x3x3x3 is a buffer"),
        ("Learnt", TRAINED, "batchnorm1", "norm.running_mean 3 is a parameter"),
        ("Table", "buffers beside the spec's", "", "table 4"),
        ("Uncounted", "buffers", "batchnorm1", "no such buffer"),
        ("Drops", DRAWS, "", "192 numbers, zero with 0.25"),
        ("Skips", DRAWS, "", "1 number"),
    ],
)
def test_another_network_fails_and_names_what_differs(
    name: str, what: str, layer: str, measured: str
) -> None:
    bad = failed(checks(TWO, name))
    assert next(iter(bad)) == what
    assert (bad[what].layer, bad[what].measured) == (layer, measured)


@pytest.mark.parametrize(
    ("name", "elements"),
    [("Tied", -81), ("TiedElements", -81), ("Unused", 110), ("Late", 3),
     ("Fixed", -81), ("Learnt", 3)],
)  # fmt: skip
def test_distinct_elements_are_counted(name: str, elements: int) -> None:
    assert checks(TWO, name)[ELEMENTS].residual == elements


def test_one_tower_is_not_two() -> None:
    bad = failed(checks(HALVES, "Halves"))
    assert set(bad) == {PLACE, ELEMENTS}
    assert bad[PLACE].measured == "tower.0.weight 4x1x3x3 is that of left.conv1 and right.conv1"
    assert bad[ELEMENTS].residual == -(4 * 9 + 4 + 64 * 5 + 5)


def test_what_is_frozen_on_request_is_frozen_on_both_sides() -> None:
    assert failed(checks(TWO, "Frozen", freeze=("conv2",))) == {}
    found = checks(TWO, "Two", freeze=("conv1", "batchnorm1"))
    assert failed(found) == {}
    # neither the first convolution nor the normalisation has anything to go back through
    assert found[SAVED].expected == 4 * 3 * 8 * 8


def test_bytes_of_a_part_that_is_computed_again_fail() -> None:
    bad = failed(checks(TWO, "Again"))
    assert list(bad) == [SAVED]
    assert bad[SAVED].measured == (
        "1,536: without 768 bytes (1x3x8x8) for conv in conv2; "
        "without 2 x 12 bytes for batchnorm in batchnorm1"
    )
    assert bad[SAVED].expected == 3 * 768 + 2 * 12


SEVERAL = """
name: several
input: 3x5x5
layers:
  - conv(4, 3, padding=1)
  - leaky_relu(0.1)
  - conv(4, 3)
  - hardswish
  - global_avgpool
  - flatten
  - linear(2)
"""


def test_what_is_written_otherwise_is_named_with_its_bytes() -> None:
    found = checks(SEVERAL, "Several")
    assert failed(found) == {}
    padded, own, deep = 3 * 7 * 7, 3 * 5 * 5, 4 * 3 * 3
    pools, pads, written = found[SAVED].named
    assert pools == ("average pooling of a whole map, or to its own size, that keeps what it reads",
                     4 * deep)  # fmt: skip
    assert pads == ("padded copies of what a layer reads", 4 * (padded - own))
    # x·relu6(x + 3) keeps x, x + 3 and relu6's result; hardswish x alone
    assert written[0].startswith("functions written out: ")
    assert "relu6" in written[0] and "mul" in written[0]
    assert written[1] == 4 * 2 * deep


def test_what_works_in_place_is_named_with_its_bytes() -> None:
    found = checks(SEVERAL, "in_place")
    assert failed(found) == {}
    assert ("modules that work in place", -4 * 4 * 5 * 5) in found[SAVED].named


def test_a_reference_that_looks_at_values_is_said_to() -> None:
    found = checks(TWO, "Branching")
    assert failed(found) == {}
    assert "DataDependent" in found[SAVED].skipped


WINDOWS = """
name: windows
input: 4x8x3
layers:
  - linear(12, dim=-1)
  - window_attention(2, 4)
  - linear(2, dim=-1)
"""


@pytest.mark.parametrize("batch", [1, 2])
def test_two_tensors_that_a_layer_keeps_under_one_name_are_two(batch: int) -> None:
    """Keys and values are copied alike."""
    found = checks(WINDOWS, "its_twin", batch=batch)
    assert failed(found) == {}
    # input, queries, keys, values, scores after softmax, their product with values
    elements = 4 * 8 * 3 + 4 * (4 * 8 * 4) + 2 * 2 * 16 * 16
    assert found[SAVED].expected == 4 * batch * elements


def in_training(
    name: str, collection: str, batch: int = 2, **knobs: Any
) -> tuple[Training, dict[str, Check]]:
    """Compare what a counterpart does in training mode, without any weights."""
    network = archcost.load(name, knobs=knobs)
    found = counterpart(collection, network)
    assert found is not None
    with without_initialisation():
        made = build_reference(collection, *found)
    twin = archcost.build(network, device="meta")
    training = Training(Subject(network, twin, setting=replace(CPU, batch=batch)), made)
    training.freeze([])

    def check(what: str, expected: Any, measured: Any, layer: str = "", **more: Any) -> Check:
        return Check("reference", what, layer, expected, measured, **more)

    checks = training.checks(check, DIFFERENCES.get((name, collection)))
    return training, {check.name: check for check in checks}


FAMILIES = {name: doc.name for doc in documents() for name in (doc.name, *doc.variants)}
FIRST = {(FAMILIES[name], collection): (name, collection) for name, collection in PAIRS[::-1]}


@pytest.mark.reference
@pytest.mark.sampled
@pytest.mark.parametrize(("name", "collection"), sorted({*FIRST.values(), *DIFFERENCES}))
def test_counterparts_draw_train_and_keep_the_same_on_their_own_input(
    name: str, collection: str, torchvision: Any
) -> None:
    """What :func:`test_every_counterpart_computes_the_same` mostly sees on small ones."""
    pytest.importorskip(collection, reason=f"{collection} is not installed")
    training, found = in_training(name, collection)
    assert failed(found) == {}
    assert not any(check.skipped for check in found.values())
    assert training.trained == {name for name, _ in training._copy.named_parameters()}
    named = {reason for check in found.values() for reason, _ in check.named}
    assert named <= reasons(name, collection)


@pytest.mark.reference
@pytest.mark.parametrize(("batch", "kept"), [(1, 106_935_272), (2, 213_268_432)])
def test_a_lone_window_is_kept_as_torchvision_keeps_it(
    batch: int, kept: int, torchvision: Any
) -> None:
    """Of one window, keys and values are views of what the layer before makes, all of it kept."""
    training, found = in_training("swin_t", "torchvision", batch)
    assert training.batch == batch
    assert failed(found) == {}
    assert (found[SAVED].expected, found[SAVED].named) == (kept, ())


@pytest.mark.reference
@pytest.mark.parametrize(("name", "places"), [("swin_t", 2 * 11), ("convnext_tiny", 17)])
def test_stochastic_depth_that_a_spec_lacks_fails(name: str, places: int, torchvision: Any) -> None:
    """The first of the blocks never drops; each place keeps a factor for each of two samples."""
    _, found = in_training(name, "torchvision", drop_path=0)
    assert set(failed(found)) == {DRAWS, SAVED}
    more = int(found[SAVED].measured.partition(":")[0].replace(",", "")) - found[SAVED].expected
    assert more == places * 2 * 4
    assert f"beside {places} x 8 bytes (2x1x1x1) for mul" in found[SAVED].measured
