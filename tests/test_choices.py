"""What chooses among elements: masks, places and order; figures by hand, and PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
from test_products import both, network, refusal

from archcost import analyze, build
from archcost.errors import SpecError
from archcost.pytorch import random_inputs

MASKED = """
inputs: {x: 6x5x4, mask: 1x5x4 bool, picks: 6x5x3 int64}
layers:
  - a: bias
"""


@pytest.mark.parametrize(
    ("call", "torchs"),
    [
        ("masked_fill(mask, -2)", "x.masked_fill(mask, -2)"),
        ("masked_fill(mask, x, 0)", "x.masked_fill(mask, 0)"),
        ("where(mask, x)", "x"),
        ("where(mask, x, neg(current))", "torch.where(mask, x, -x)"),
        ("where(mask, mean([1, 2], keepdim=True), x)", "x.mean((2, 3), True).where(mask, x)"),
        ("gather(picks, -1)", "x.gather(3, picks)"),
        ("gather(picks, neg(x), dim=2)", "(-x).gather(3, picks)"),
        ("topk(2)", "x.topk(2)[0]"),
        ("topk(3, 0, largest=False)", "x.topk(3, 1, False)[0]"),
        ("sort(1)", "x.sort(2)[0]"),
        ("sort(descending=True)", "x.sort(descending=True)[0]"),
        ("cumsum", "x.cumsum(1)"),
        ("cumsum(-1)", "x.cumsum(-1)"),
    ],
)
@pytest.mark.torch
def test_what_chooses_does_what_pytorch_does(call: str, torchs: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = network(MASKED + f"  - {call}\n")
    x, mask = torch.randn(2, 6, 5, 4), torch.rand(2, 1, 5, 4) < 0.5
    picks = torch.randint(3, (2, 6, 5, 3))
    expected = eval(torchs, {"x": x, "mask": mask, "picks": picks, "torch": torch})
    made = build(net)(x, mask, picks)
    assert made.equal(expected) and tuple(made.shape[1:]) == net.output
    assert analyze(net).total.macs == 0


@pytest.mark.torch
@pytest.mark.parametrize(
    ("call", "kept"),
    [
        ("masked_fill(mask, 0)", 5 * 4),  # one byte for each place of the mask
        ("where(mask, a, current)", 5 * 4),
        ("gather(picks, -1)", 8 * 6 * 5 * 3 + 4 * 6 * 5 * 4),
        ("topk(2)", 8 * 6 * 5 * 2),
        ("sort(0)", 8 * 6 * 5 * 4),
        ("cumsum", 0),
    ],
)
def test_what_chooses_keeps_masks_and_places(call: str, kept: int) -> None:
    assert both(network(MASKED + f"  - {call}\n")) == (2 * kept,) * 2


@pytest.mark.torch
@pytest.mark.parametrize(
    "call",
    ["masked_fill(mask, 0)", "where(mask, a, tanh(current))", "gather(picks, -1)", "topk(3, 0)",
     "topk(3)", "sort", "sort(0)", "cumsum", "cumsum(-1)"],
)  # fmt: skip
def test_peaks_on_a_real_cpu(call: str) -> None:
    real_peaks(network(MASKED.replace("5x4", "32x16").replace("5x3", "32x9") + f"  - {call}\n"))


def real_peaks(net: Any, batch: int = 4, dtype: str = "float32") -> None:
    """Compare the peaks of forward and backward with those of PyTorch's allocator on a CPU."""
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    from test_memory import backward_peak

    from archcost.setting import Setting
    from archcost.storage.peaks import training_peak

    kind = getattr(torch, dtype)
    twin, given = build(net, dtype=kind), random_inputs(net, batch, dtype=kind)
    run = training_peak(net, Setting(batch, dtype, device="cpu", optimizer="sgd"))
    before = run.params + run.buffers + run.input
    first = (lambda made: made[0]) if len(net.outputs) > 1 else lambda made: made
    measured = {
        "forward": backward_peak(torch, lambda: first(twin(*given)).sum()),
        "backward": backward_peak(torch, lambda: first(twin(*given)).sum().backward()),
    }
    assert {phase: run.peaks[phase].total - before for phase in measured} == measured


def real_inference_peak(net: Any, batch: int = 4) -> None:
    """Compare the peak of a pass without gradients with that of PyTorch's allocator on a CPU."""
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    from test_memory import backward_peak

    from archcost.setting import Setting
    from archcost.storage.peaks import inference_peak

    run, twin = inference_peak(net, Setting(batch, device="cpu")), build(net).eval()
    given = random_inputs(net, batch)
    with torch.no_grad():
        measured = backward_peak(torch, lambda: twin(*given))
    assert run.peak.total - run.params - run.buffers - run.input == measured


@pytest.mark.torch
@pytest.mark.parametrize("name", ["scatter", "scatter_add"])
@pytest.mark.parametrize("dim", [0, -1])
def test_elements_that_are_written_to_places(name: str, dim: int) -> None:
    """Kept are the places: to replace for both gradients, to add for that of the source."""
    learnt = {"x": "scale(per_channel=False)", "source": "scale(per_channel=False)"}
    for frozen, kept in (({}, 1), ({"source": "identity"}, int(name == "scatter"))):
        before = "".join(f"  - {n}: take({n}0) >> {how}\n" for n, how in (learnt | frozen).items())
        net = network(
            "inputs: {x0: 8x9, source0: 5x9, places: 5x9 int64}\nlayers:\n"
            f"{before}  - {name}(places, source, x, dim={dim})\n"
        )
        assert net.output == (8, 9)
        numbers = 8 * 9 + 5 * 9 * (not frozen)  # which the scales keep
        assert both(net) == (2 * (4 * numbers + kept * 8 * 5 * 9),) * 2
        real_peaks(net)


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    ("size", "layers"),
    [
        ("4x9x8", "fractional_maxpool(2, 4)"),
        ("4x9x8", "permute([0, 2, 1]) >> fractional_maxpool(2, output_ratio=0.5) >> permute([2, 0, 1])"),
        ("3x5x7x6", "permute([1, 0, 2, 3]) >> fractional_maxpool(1, [2, 3, 4]) >> sigmoid"),
    ],
)  # fmt: skip
def test_windows_at_random_places_on_a_real_cpu(size: str, layers: str, batch: int) -> None:
    """Windows of a size are drawn in each pass; what is not contiguous is copied."""
    net = network(f"input: {size}\nlayers:\n  - scale(per_channel=False) >> {layers}\n")
    assert analyze(net).total.macs == 0
    real_peaks(net, batch)


def test_choices_that_are_refused() -> None:
    assert refusal("fractional_maxpool", 2, x=[(4, 9, 8)]) == (
        "fractional_maxpool takes either output_size or output_ratio"
    )
    assert refusal("fractional_maxpool", 3, 7, x=[(4, 9, 8)]) == (
        "a kernel of 3 gives 6 of 8 positions at most, not 7"
    )
    assert refusal("fractional_maxpool", 2, 5, x=[(3, 6, 7, 8)]) == (
        "a kernel of 2 gives 4 of 6 positions at most, not 5"
    )
    assert refusal("fractional_maxpool", 2, None, 1.5, x=[(4, 9, 8)]) == (
        "output_ratio 1.5 is not between 0 and 1"
    )
    assert refusal("fractional_maxpool", 2, 2, x=[(4, 9)]) == (
        "fractional_maxpool takes 2 or 3 spatial dimensions, not 4x9"
    )
    x = (6, 5, 4)
    assert refusal("topk", 7, 0, x=[x]) == "topk of 7 from 6 elements"
    assert refusal("sort", 3, x=[x]) == (
        "sort has no dim 3 on 6x5x4; 0 is the channels, the batch is not counted"
    )
    assert refusal("masked_fill", 0, x=[(5, 4), x]) == "masked_fill cannot broadcast 5x4 to 6x5x4"
    assert refusal("where", x=[(1, 5, 4), x, (6, 5)]) == "where cannot broadcast 6x5x4 to 6x5"
    assert refusal("gather", 1, x=[(6, 9, 5), x]) == (
        "gather takes places of as many dimensions, none larger but dim 1: 6x9x5 of 6x5x4"
    )
    with pytest.raises(SpecError) as refused:
        network("input: 6x5\nlayers: [relu, 'masked_fill(current, 0)']")
    assert (
        "masked_fill takes bool; got float; write the type of an input after its shape, as in 77 bool"
        in str(refused.value)
    )
    with pytest.raises(SpecError, match="relu takes float; got bool"):
        network("input: 6x5 bool\nlayers: [relu]")


APART = """
inputs: {a: 3x30x16, b: 1x20x16}
layers:
  - one: scale
  - take(b)
  - other: scale
"""
"""Rows that are compared: 30 and 20 of 16 features, and rows that are repeated three times."""

DISTANCES = [
    ("cosine_similarity(slice(one, 1, 0, 20), other, -1)", "F.cosine_similarity(a[:, :, :20], b, -1)"),
    ("cosine_similarity(one, one, eps=0.1)", "F.cosine_similarity(a, a, 1, 0.1)"),
    ("pairwise_distance(slice(one, 1, 0, 20), other)", "F.pairwise_distance(a[:, :, :20], b)"),
    ("pairwise_distance(one, one, 1, 0.5, True)", "F.pairwise_distance(a, a, 1, 0.5, True)"),
    ("cdist(one, other)", "torch.cdist(a, b)"),
    ("cdist(slice(one, 1, 0, 20), other)", "torch.cdist(a[:, :, :20], b)"),
    ("cdist(one, other, 1)", "torch.cdist(a, b, 1)"),
]  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize(("call", "torchs"), DISTANCES)
def test_distances_are_those_of_pytorch(call: str, torchs: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = network(APART + f"  - {call}\n")
    a, b = torch.randn(2, 3, 30, 16), torch.randn(2, 1, 20, 16)
    expected = eval(torchs, {"a": a, "b": b, "torch": torch, "F": torch.nn.functional})
    made = build(net)(a, b)
    assert torch.allclose(made, expected, atol=1e-6) and tuple(made.shape[1:]) == net.output
    assert analyze(net).total.macs == 0
    computed, kept = both(net)
    assert computed == kept
    real_peaks(net)


def test_distances_that_are_refused() -> None:
    assert refusal("cdist", x=[(4, 6), (5, 7)]) == (
        "cdist takes rows of as many features each; got 4x6 and 5x7"
    )
    assert refusal("pairwise_distance", x=[(6,), (6,)]) == (
        "pairwise_distance of two vectors 6 is one number"
    )
    assert refusal("cosine_similarity", 2, x=[(4, 6), (4, 6)]) == (
        "cosine_similarity has no dim 2 on 4x6; 0 is the channels, the batch is not counted"
    )


@pytest.mark.torch
@pytest.mark.parametrize("padding", ["", ", padding_idx=-1"])
@pytest.mark.parametrize(("mode", "kept"), [("sum", 0), ("mean", 0), ("max", 8 * 16 - 8)])
def test_a_bag_of_words(mode: str, kept: int, padding: str) -> None:
    """Kept are 30 places, where the bag begins, its size, a maximum, and whose bag each place is."""
    text = (
        f"input: 30 int64\nlayers: [\"embedding_bag(50, 16, mode='{mode}'{padding})\", linear(5)]"
    )
    net = network(text)
    assert analyze(net).total.params == 50 * 16 + 16 * 5 + 5
    assert net.layers[0].cost.macs == 0
    belongs = 0 if mode == "sum" and not padding else 8 * (2 * 30 + 1)
    vector = 4 * 16  # which the linear layer keeps
    assert both(net) == (2 * (8 * 30 + 3 * 8 + kept + vector) + belongs,) * 2
    real_peaks(net)


def test_a_bag_that_is_refused() -> None:
    assert refusal("embedding_bag", 50, 16, x=[(3, 7)]) == (
        "embedding_bag takes the tokens of one bag, not 3x7"
    )
