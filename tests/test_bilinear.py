"""Bilinear forms of two tensors: figures by hand, and PyTorch's own memory."""

from __future__ import annotations

import pytest
from test_choices import network, real_peaks, refusal

from archcost.analysis.training import training_step
from archcost.errors import ArchcostError
from archcost.setting import Setting
from archcost.storage.peaks import inference_peak, training_peak
from archcost.storage.saved import saved_for_backward

TWO = "input: 5x7\nlayers:\n  - x: linear(3)\n  - y: linear(11)\n  - bilinear(x, y, 4)\n"


def test_counts_by_hand() -> None:
    """Each of 4 features multiplies 3 with 11 numbers, and 11 with what comes out, in 5 rows."""
    layer = network(TWO)["bilinear1"]
    assert layer.cost.output == (5, 4)
    assert {**layer.cost.params} == {"weight": (4, 3, 11), "bias": (4,)}
    assert layer.macs == 5 * 4 * (3 * 11 + 11)
    step = training_step(network(TWO)).layers[-1]
    each = 2 * 5 * 4 * 3 * 11
    assert (step.input_gradient, step.weight_gradient) == (2 * each, each)


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    "text",
    [
        TWO,
        TWO.replace("5x7", "7"),
        TWO.replace("y: linear(11)", "y: linear(1, bias=False)"),
        TWO.replace("4)", "1, bias=False) >> relu >> linear(3)"),
        "input: 5x7\nlayers:\n  - x: relu\n  - bilinear(x, x, 9)\n",
        "inputs: {a: 5x7, b: 5x2}\nlayers:\n  - bilinear(a, b, 9)\n",
    ],
)
def test_peaks_on_a_real_cpu(text: str, batch: int) -> None:
    real_peaks(network(text), batch)


def test_what_is_refused() -> None:
    assert refusal("bilinear", 4, x=[(5, 6), (4, 6)]) == (
        "bilinear takes as many rows of each; got 5x6 and 4x6"
    )
    read = network("inputs: {a: 5x7, b: 5x2}\nlayers:\n  - bilinear(a, b, 9)\n")
    mixed = Setting(device="cpu", amp="bf16")
    assert saved_for_backward(read, mixed).total == 4 * (5 * 7 + 5 * 2)
    for peak in (inference_peak, training_peak):
        with pytest.raises(ArchcostError, match=r"^bilinear1: the peak of bilinear under autocast"):
            peak(read, mixed)
    with pytest.raises(ArchcostError, match="PyTorch runs no bilinear form of several types"):
        saved_for_backward(network(TWO), mixed)
