"""Counting conventions as data: integer weights over facts of layers.

A layer's facts follow from its op and its shapes (:mod:`archcost.conventions.facts`); a convention
says what each is worth. So the number that a tool prints is a weighted sum, and the difference of
two tools is the difference of their weights, term by term (see ``archcost.analysis.reconcile``).
"""

from __future__ import annotations

from collections.abc import Mapping

from archcost.conventions.facts import MEASURES, amount, find_fact, meaning
from archcost.conventions.rule import (
    CONVENTIONS,
    FLOP,
    MAC,
    Activations,
    Convention,
    counted_layers,
    uncounted,
    unhooked,
)
from archcost.errors import LookupFailed

__all__ = [
    "ACTIVATIONS", "CONVENTIONS", "FLOP", "MAC", "MEASURES", "Activations", "Convention",
    "amount", "counted_layers", "find_activations", "find_convention", "find_fact", "meaning",
    "uncounted", "unhooked",
]  # fmt: skip

FILES = (
    ("definitions", "macs flops"),
    ("operations", "torch profiler torchvision fvcore timm pycls"),
    ("modules", "torchinfo ptflops ptflops_0.7 ptflops_aten torchstat_flops torchstat_madd"),
    ("thop", "thop"),
    ("deepspeed", "deepspeed deepspeed_macs calflops calflops_macs"),
    ("operations", "xla"),
    ("thop", "thop_2020_04 thop_2020_01 thop_2019_10 thop_2019_08 thop_2019_07 thop_2019_03"),
    (
        "deepspeed",
        "deepspeed_0.18 deepspeed_0.18_macs deepspeed_0.16 deepspeed_0.12 deepspeed_0.9"
        " deepspeed_0.9_macs deepspeed_0.5",
    ),
)
"""The names of the conventions in each file, in the order in which they are listed."""

for _file, _names in FILES:
    CONVENTIONS.expect(f"{__name__}.{_file}", _names.split())

_PRODUCTS = frozenset({"conv", "linear", "matmul"})
_MATMUL = frozenset({"matmul"})
_NEW_TENSORS = _PRODUCTS | {
    "attention", "pool", "adaptive_pool", "norm", "merge", "resample", "recurrent",
    "embedding", "transform",
}  # fmt: skip

ACTIVATIONS: Mapping[str, Activations] = {
    activations.name: activations
    for activations in (
        Activations(
            "lecture", "the input and every output; ReLU and dropout work in place, reshapes are "
            "views", _NEW_TENSORS, _MATMUL, True,
            "the memory column of course notes: VGG-16 has 15.2M",
        ),
        Activations(
            "all", "the input and every output, those of ReLU and other activations too",
            _NEW_TENSORS | {"activation"}, _MATMUL, True,
            "a network whose activation functions do not work in place",
        ),
        Activations(
            "fvcore", "outputs of convolutions, linear layers and matrix products",
            _PRODUCTS, _MATMUL | {"conv", "recurrent"}, False,
            "fvcore/nn/activation_count.py", traced=True,
        ),
        Activations(
            "timm",
            "outputs of convolutions, linear layers and matrix products, those of attention too",
            _PRODUCTS | {"attention"}, _MATMUL | {"attention", "conv", "recurrent"}, False,
            "huggingface/pytorch-image-models, benchmark.py, profile_fvcore",
            unfused=True, traced=True,
        ),
        Activations(
            "pycls",
            "outputs of convolutions, linear layers and pooling windows, not of global pooling",
            frozenset({"conv", "linear", "pool"}), frozenset(), False,
            "facebookresearch/pycls, pycls/models/blocks.py, conv2d_cx, pool2d_cx, linear_cx",
        ),
    )
}  # fmt: skip
"""Every activation convention by its name."""


def find_convention(name: str) -> Convention:
    """Return the counting convention ``name``, or raise LookupFailed with the nearest one."""
    if name not in CONVENTIONS:
        raise LookupFailed("convention", name, CONVENTIONS)
    return CONVENTIONS[name]


def find_activations(name: str) -> Activations:
    """Return the activation convention ``name``, or raise LookupFailed with the nearest one."""
    if name not in ACTIVATIONS:
        raise LookupFailed("activation convention", name, ACTIVATIONS)
    return ACTIVATIONS[name]
