"""Comparisons, logic and places: masks and int64 that a network makes, by hand and by PyTorch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from helpers import failures
from test_choices import real_peaks
from test_memory import network

import archcost
from archcost.analysis.report import analyze
from archcost.errors import ArchcostError, SpecError
from archcost.proofs import Subject
from archcost.pytorch import build, random_inputs
from archcost.setting import Setting
from archcost.storage.peaks import inference_peak, training_peak
from archcost.storage.saved import saved_for_backward

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")

GATED = """
name: gated
input: 8x5x4
layers:
  - x: bias
  - m: {mask}
  - a: take(x) >> tanh
  - where(m, a, x)
"""
MASKS = {
    "gt(0.5)": 1, "eq(0)": 1, "ne(1)": 1, "lt(-1)": 1, "le(0.5) >> logical_not": 2, "ge(0)": 1,
    "gt(0) >> slice(0, 0, 1)": 1,
}  # fmt: skip


@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_is_kept_as_booleans(mask: str) -> None:
    """Kept are the mask, x for the next op if tanh is read, and what tanh gives."""
    net = network(GATED.format(mask=mask))
    rows = analyze(net).by_layer()
    made = next(row for path, row in rows.items() if path.startswith("m"))
    assert made.activation_bytes == made.activations == 160  # a byte each
    kept = saved_for_backward(net, Setting(1, device="cpu")).total
    assert kept == 160 + 4 * 160  # the whole mask, also where a slice of it is read


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("mask", [*MASKS, "gt(x, a0)", "le(a0, x)"])
def test_peaks_of_masks_on_a_real_cpu(mask: str, batch: int) -> None:
    text = GATED.format(mask=mask)
    if "a0" in mask:
        text = text.replace("  - m:", "  - a0: take(x) >> exp\n  - m:")
    real_peaks(network(text), batch)


PLACED = """
name: placed
inputs: {x: 9x5x4, tokens: 7 int64}
layers:
  - a: take(x) >> bias
  - CHOICE
"""


@pytest.mark.torch
@pytest.mark.parametrize(
    "choice",
    [
        "p: take(a) >> argmax(0)\n  - take(p) >> flatten >> embedding(9, 4) >> tanh",
        "p: take(a) >> argmin(1, keepdim=True)\n  - gather(p, a, 1)",
        "p: take(a) >> argsort(0)\n  - gather(p, a, 0) >> tanh",
        "p: take(a) >> permute([1, 0, 2]) >> argsort(-1, descending=True)\n"
        "  - take(p) >> flatten >> embedding(9, 4)",
        "m: take(tokens) >> eq(0)\n  - take(a) >> sum([1, 2]) >> linear(7) >> masked_fill(m, 0)",
        "m: take(a) >> argmax(0, keepdim=True) >> ge(4)\n  - take(a) >> masked_fill(m, 0) >> tanh",
    ],
)
def test_places_choose_and_compare(choice: str) -> None:
    net = network(PLACED.replace("CHOICE", choice))
    real_peaks(net)
    subject = Subject(net, build(net), setting=Setting(device="cpu"))
    assert failures(subject, "structure", "memory", "training", "peaks") == []


PADDED = """
name: padded
inputs: {x: 9x16, tokens: 9 int64}
layers:
  - m: take(tokens) >> ne(0) >> unsqueeze(0)
  - q: take(x) >> linear(24)
  - v: take(x) >> linear(24)
  - ATTENTION
"""


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    "layers",
    [
        "attention(q, v, v, m, 4) >> linear(8)", "w: take(x) >> linear(48)\n  - attention(q, q, w, m, 4) >> tanh",
        "take(x) >> linear(72) >> attention(current, m, 4) >> tanh",
    ],
)  # fmt: skip
def test_attention_to_tokens_that_are_there(layers: str, batch: int) -> None:
    """A mask of booleans becomes one of numbers, which is kept, as PyTorch's is."""
    net = network(PADDED.replace("ATTENTION", layers))
    real_peaks(net, batch)
    subject = Subject(net, build(net), setting=Setting(device="cpu"))
    assert failures(subject, "structure", "memory", "training", "peaks") == []


@pytest.mark.torch
def test_segmentation_ends_with_the_class_of_each_pixel() -> None:
    net = network("name: n\ninput: 3x6x6\nlayers:\n  - conv(21, 1) >> argmax(0)\n")
    assert (net.output, net.values[net.outputs[0]].dtype) == ((6, 6), "int64")
    [made] = [build(net)(*random_inputs(net, 2))]
    assert (tuple(made.shape), str(made.dtype)) == ((2, 6, 6), "torch.int64")
    assert inference_peak(net, Setting(2, device="cpu")).peak.total > 0
    with pytest.raises(ArchcostError, match="n: its main output holds int64, so there is no step"):
        training_peak(net, Setting(2))


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ("gt", "gt takes two tensors, or one and a number"),
        ("gt(input, input, 0.5)", "gt takes two tensors, or one and a number"),
        ("relu >> logical_not", "logical_not takes bool; got float"),
        ("m: gt(0)\n  - logical_and(m, input)", "logical_and takes bool; got float"),
        ("gt(0) >> relu", "relu takes float; got bool"),
        ("gt(0) >> argmax(0)", "argmax takes float; got bool"),
        ("argmax(3)", "argmax"),
        ("flatten(2)\n  - m: gt(0)\n  - attention(m, m, m, 2)", "attention takes float; got bool"),
        ("m: gt(0)\n  - logical_or(m, m, m)", "logical_or takes 2 tensors at most; got 3"),
    ],
)
def test_what_does_not_fit_is_refused(layers: str, reason: str) -> None:
    with pytest.raises(SpecError) as refused:
        network(f"name: n\ninput: 3x6x6\nlayers:\n  - {layers}\n")
    assert reason in str(refused.value)


def test_a_comparison_of_two_types_has_no_known_peak() -> None:
    net = network("name: n\ninputs: {x: 7, t: 7 int64}\nlayers:\n  - gt(x, t)\n")
    assert net.output == (7,)
    with pytest.raises(ArchcostError, match="the peak of a comparison of two types is not known"):
        inference_peak(net, Setting(device="cpu"))


def test_masks_are_of_all_that_they_are_made_of() -> None:
    """The class of a pixel depends on the window of the convolution before."""
    net = network("name: n\ninput: 3x9x9\nlayers:\n  - conv(4, 5) >> argmax(0) >> gt(1)\n")
    fields: Any = analyze(net).receptive_fields
    assert [fields[layer.path].size for layer in net] == [(5, 5)] * 3


@pytest.mark.torch
def test_code_becomes_comparisons_and_choices() -> None:
    """Each by its function, method or operator, with the values that PyTorch computes."""

    class Chooses(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: Any) -> Any:
            m = torch.logical_or(x > 0.5, ~(torch.tanh(x) <= x))
            y = torch.where(m & x.ne(2), torch.sigmoid(x), x).masked_fill(x.ge(1), 0.25)
            z = torch.gather(y, 1, torch.argsort(y, dim=1))
            kept = z.topk(3, dim=1)[0].sort(1, descending=True).values.cumsum(2)
            return kept, y.argmax(dim=2), z.argmin(1, keepdim=True)

    net = archcost.loads(archcost.to_spec(Chooses(), input="8x5x4"))
    words = Counter(layer.op.name for layer in net)
    once = ("gt", "le", "logical_not", "logical_or", "logical_and", "ne", "ge", "where", "gather",
            "masked_fill", "argsort", "topk", "sort", "cumsum", "argmax", "argmin")  # fmt: skip
    assert words == Counter([*once, "tanh", "sigmoid"])
    x = torch.randn(2, 8, 5, 4)
    for made, wanted in zip(build(net)(x), Chooses()(x), strict=True):
        assert torch.equal(made, wanted)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("body", "function"),
    [("x.argmax() + x", "argmax"), ("x.sort(1)[1]", "sort"), ("x.topk(2, 0)[0]", "topk")],
)
def test_code_that_no_op_says_stays_a_function(body: str, function: str) -> None:
    """Places beside elements, and what goes through the batch."""
    text = f"from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        return {body}\n"
    scope: dict[str, Any] = {}
    exec(text, scope)
    with pytest.raises(ArchcostError, match=f"{function}"):
        archcost.to_spec(scope["Net"](), input="8x5x4")
