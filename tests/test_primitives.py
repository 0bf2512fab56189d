"""Every primitive alone, and every program over them, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import permutations, product
from typing import Any

import pytest
from helpers import samples, several

from archcost.layout import Strides, contiguous
from archcost.ops import OPS, Example
from archcost.primitives import COMPOSITES, PRIMITIVES
from archcost.primitives.pointwise import KEPT
from archcost.pytorch.counter import whole_counter
from archcost.readings.autograd import backward
from archcost.readings.ledger import BACKWARD, FORWARD, INPUTS, SAVED
from archcost.readings.recorder import module_of
from archcost.readings.storages import Storages
from archcost.setting import Setting
from archcost.shape import Shape
from archcost.units import ComplexBytes

cpu = partial(Setting, device="cpu")

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
Torch: Any = import_module("torch_reading").Torch
pytestmark = pytest.mark.torch

WINDOW = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0), "ceil": True}
LINE = {"kernel": (3,), "stride": (2,), "padding": (1,), "ceil": False}
VOLUME = {"kernel": (2, 2, 1), "stride": (2, 2, 1), "padding": (0, 0, 0), "ceil": True}
CONV = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
NORM = {"training": True, "momentum": 0.1, "eps": 1e-5}
X = (2, 4, 6, 8)


class Whole(tuple[int, ...]):
    """The shape of a tensor of int64, all zero."""

    itemsize = 8


class Plain(tuple[int, ...]):
    """The shape of a tensor of zeros for which there is no gradient."""


class Truth(tuple[int, ...]):
    """The shape of a tensor of booleans."""

    itemsize = 1


class Waves(tuple[int, ...]):
    """The shape of a tensor of complex numbers."""

    itemsize = ComplexBytes(8)


Case = tuple[tuple[Shape | float, ...], dict[str, Any]]
CASES: dict[str, list[Case]] = {
    "conv": [((X, (6, 2, 3, 2), (6,)), CONV), ((X, (6, 2, 3, 2)), CONV)],
    "conv_transpose": [((X, (4, 3, 3, 2), (6,)), {**CONV, "output_padding": (1, 0)})],
    "linear": [(((3, 5), (7, 5), (7,)), {}), (((2, 3, 5), (7, 5), (7,)), {}), (((2, 3, 5), (7, 5)), {})],
    "matmul": [(((2, 3, 4, 5), (2, 3, 5, 6)), {}), (((2, 3, 4), (2, 4, 5)), {})],
    "attention": [
        (((2, 4, 5, 8), (2, 4, 5, 8), (2, 4, 5, 8)), {"is_causal": True}),
        (((2, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 8)), {"scale": 0.5}),
        (((2, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 8), (5, 7)), {}),
        (((2, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 8), (2, 1, 5, 7)), {}),
        (((2, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 6)), {"is_causal": True}),
        (((2, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 6), (1, 4, 5, 7)), {}),
        (((2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8)), {"enable_gqa": True}),
        (((2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 6)), {"enable_gqa": True}),
    ],
    "where": [((Truth(X), X, X), {}), ((Truth((6, 8)), X, (4, 1, 8)), {}), ((Truth(X), (2, 4, 1, 1), (1,)), {})],
    "masked_fill": [((X, Truth(X)), {"value": 0.5}), ((X, Truth((6, 1))), {"value": 0.0})],
    "gather": [((X, Whole((2, 4, 6, 5))), {"dim": 3}), ((X, Whole((2, 3, 9, 8))), {"dim": 2})],
    **{name: [((X, Whole((2, 4, 3, 8)), (2, 4, 3, 8)), {"dim": 2}), ((X, Whole((1, 4, 6, 9)), (1, 4, 6, 9)), {"dim": 3})] for name in ("scatter", "scatter_add")},
    **{name: [((X, (4, 1, 8)), {}), ((X, 0.5), {})] for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{name: [((Truth(X), Truth((4, 1, 8))), {})] for name in ("logical_and", "logical_or", "logical_xor")},
    "logical_not": [((Truth(X),), {})],
    **{name: [((X,), {"dim": 2}), ((X,), {"dim": 1, "keepdim": True})] for name in ("argmax", "argmin")},
    "topk": [((X,), {"k": 3, "dim": 1}), ((X,), {"k": 2, "dim": 3, "largest": False})],
    "sort": [((X,), {"dim": 2}), ((X,), {"dim": 3, "descending": True})],
    "cumsum": [((X,), {"dim": 1}), ((X,), {"dim": 3})],
    "lstm_cell": [(((2, 5), (2, 4), (2, 4), (16, 5), (16, 4), (16,), (16,)), {}), (((2, 5), (2, 4), (2, 4), (16, 5), (16, 4)), {})],
    "gru_cell": [(((2, 5), (2, 4), (12, 5), (12, 4), (12,), (12,)), {}), (((2, 5), (2, 4), (12, 5), (12, 4)), {})],
    "rnn_cell": [(((2, 5), (2, 4), (4, 5), (4, 4), (4,), (4,)), {"nonlinearity": how}) for how in ("tanh", "relu")],
    **{name: [((X,), {})] for name in ("sigmoid_in_place", "tanh_in_place")},
    "multiplied_in_place": [((X, X), {})],
    "cosine_similarity": [((X, X), {"dim": 1, "eps": 1e-8}), (((2, 4, 1, 8), (2, 1, 6, 8)), {"dim": 3, "eps": 1e-6})],
    "pairwise_distance": [((X, X), {"p": 2, "eps": 1e-6}), (((2, 4, 1, 8), (2, 1, 6, 8)), {"p": 1, "eps": 1e-6, "keepdim": True})],
    "cdist": [(((2, 5, 8), (2, 6, 8)), {"p": 2.0}), (((2, 30, 8), (2, 6, 8)), {"p": 2.0}), (((1, 30, 8), (1, 6, 8)), {"p": 2.0}), (((2, 30, 8), (2, 6, 8)), {"p": 1.0}), (((2, 3, 4, 8), (2, 1, 6, 8)), {"p": 2.0}), (((2, 3, 4, 8), (2, 1, 30, 8)), {"p": 2.0})],
    "distances": [(((2, 5, 8), (2, 6, 8)), {"p": p}) for p in (2.0, 1.0)],
    "euclidean_distances": [(((2, 5, 8), (2, 6, 8)), {})],
    "clone": [((X,), {})],
    "flip": [((X,), {"dims": (1, 3)})],
    "tile": [((X,), {"repeats": (1, 2, 1, 3)}), ((X,), {"repeats": (1, 1, 2, 1)})],
    "tril": [((X,), {"diagonal": 0})],
    "triu": [((X,), {"diagonal": 1})],
    "unfold": [((X,), {"kernel_size": (3, 2), "dilation": (1, 2), "padding": (1, 0), "stride": (2, 1)})],
    "fold": [(((2, 24, 18),), {"output_size": (6, 8), "kernel_size": (3, 2), "dilation": (1, 2), "padding": (1, 0), "stride": (2, 1)})],
    "pixel_shuffle": [((X,), {"factor": 2}), (((2, 9, 3, 2),), {"factor": 3})],
    "pixel_unshuffle": [((X,), {"factor": 2})],
    "safe_softmax": [((X,), {"dim": 3})],
    "sum_in_place": [((X, (2, 1, 6, 8)), {})],
    "batch_norm": [((X, (4,), (4,)), {"mean": (4,), "var": (4,), **NORM}), ((X,), {"mean": (4,), "var": (4,), **NORM}), ((X, (4,), (4,)), NORM), ((X,), NORM)],
    "layer_norm": [((X, (8,), (8,)), {"eps": 1e-5}), ((X, (8,)), {"eps": 1e-5}), ((X,), {"eps": 1e-5, "dims": 3}), ((X, (6, 8), (6, 8)), {"eps": 1e-5, "dims": 2})],
    "weight_norm": [(((6, 4, 3, 2), (6, 1, 1, 1)), {}), (((5, 7), (5, 1)), {})],
    "weight_norm_interface": [(((6, 4, 3, 2), (6, 1, 1, 1)), {}), (((5, 7), (5, 1)), {})],
    "bilinear": [(((2, 3, 5), (2, 3, 6), (4, 5, 6), (4,)), {}), (((2, 5), (2, 6), (4, 5, 6)), {})],
    "trilinear": [(((3, 5), (4, 5, 6), (3, 6)), {})],
    "mv": [(((3, 5), (5,)), {})],
    "vdot": [(((5,), (5,)), {})],
    "direction_in_place": [(((3,), (3, 5), (5,)), {"eps": 1e-12})],
    "rms_norm": [((X, (8,)), {"eps": 1e-5}), ((X,), {"eps": 1e-5}), ((X, (6, 8)), {"eps": 1e-5, "dims": 2})],
    "normalize": [((X,), {"dim": 1, "eps": 1e-12}), ((X,), {"dim": 3, "eps": 1e-6})],
    "group_norm": [((X, (4,), (4,)), {"groups": 2, "eps": 1e-5}), ((X,), {"groups": 2, "eps": 1e-5})],
    "instance_norm": [((X,), {"eps": 1e-5}), ((X, (4,), (4,)), {"eps": 1e-5}), *(((X, (4,), (4,)), {"mean": (4,), "var": (4,), "training": training, "eps": 1e-5}) for training in (True, False))],
    **{name: [((X,), {"dims": (2, 3)}), ((X,), {"dims": (1,), "keepdim": True})] for name in ("mean", "sum", "amax", "amin", "var", "std", "logsumexp")},
    **{name: [((X,), {"dim": 1}), ((X,), {"dim": 2, "keepdim": True})] for name in ("max", "min")},
    "norm": [((X,), {"dims": (1, 2), "ord": order, "keepdim": order == 2}) for order in (1, 2)],
    "log_softmax": [((X,), {"dim": 1})],
    "glu": [((X,), {"dim": 1}), ((X,), {"dim": 3})],
    "clamp": [((X,), {"min": 0.0, "max": 6.0}), ((X,), {"min": 0.0, "max": None}), ((X,), {"min": None, "max": 1.0})],
    "rrelu": [((X,), {"lower": 0.1, "upper": 0.3, "training": training}) for training in (True, False)],
    "threshold": [((X,), {"threshold": 0.1, "value": 20.0})],
    "softmax": [((X,), {"dim": 1}), (((3, 5),), {"dim": 1})],
    "prelu": [((X, (1,)), {}), ((X, (4,)), {})],
    "prelu_kernel": [((X, (1, 4, 1, 1)), {}), ((X, (1, 1, 1, 1)), {})],
    "add": [((Waves(X), Waves((4, 1, 8))), {}), ((X, X), {}), ((X, (4, 1, 8)), {}), (((4, 1, 8), X), {}), ((X, 2.0), {})],
    "sub": [((Waves(X), Waves(X)), {}), ((X, X), {}), ((X, (8,)), {})],
    "mul": [((Waves(X), Waves(X)), {}), ((Waves(X), Waves((6, 8))), {}), ((X, X), {}), ((X, (2, 4, 1, 1)), {}), (((2, 4, 1, 1), X), {}), ((X, 2.0), {})],
    "scaled": [((X, 2.0), {})],
    "div": [((X, X), {}), ((X, (2, 4, 1, 1)), {})],
    "repeat": [(((4,),), {"times": 3})],
    **{name: [((X, X), {}), ((X, (2, 4, 1, 1)), {}), (((2, 4, 1, 1), X), {})] for name in ("maximum", "minimum")},
    "pow": [((X, exponent), {}) for exponent in (0.75, 2.0, 0.0)],
    "addcmul": [(((8,), (8,), X), {})],
    "cast": [((X,), {"itemsize": 2}), ((X,), {"like": X})],
    "full": [((), {"shape": (3, 4), "like": X})],
    "noise": [((), {"shape": (2, 1, 1, 1), "like": X, "p": 0.5})],
    "scaled_in_place": [((X, 2.0), {})],
    "added_in_place": [((X, 2.0), {})],
    "max_pool": [((X,), {**WINDOW, "dilation": (1, 1)}), (((2, 4, 9),), {**LINE, "dilation": (1,)}), (((2, 4, 5, 4, 3),), {**VOLUME, "dilation": (1, 1, 1)})],
    "uniform": [((), {"shape": (3, 4), "like": X})],
    "fractional_max_pool": [((X, Plain((2, 4, 2))), {"kernel": (2, 3), "size": (3, 4)}), (((2, 3, 5, 6, 7), Plain((2, 3, 3))), {"kernel": (2, 2, 2), "size": (2, 3, 4)})],
    "max_places": [((X,), WINDOW)],
    "avg_pool": [((X,), WINDOW), (((2, 4, 9),), LINE), (((2, 4, 5, 4, 3),), VOLUME)],
    "adaptive_avg_pool": [((X,), {"size": (2, 3)}), ((X,), {"size": (1, 1)}), (((2, 4, 5, 4, 3),), {"size": (2, 2, 1)}), (((2, 4, 9),), {"size": (4,)})],
    "adaptive_max_pool": [((X,), {"size": (2, 3)}), (((2, 4, 9),), {"size": (4,)}), (((2, 4, 5, 4, 3),), {"size": (2, 2, 1)})],
    "interpolate": [((X,), {"size": (12, 16), "factor": 2, "mode": mode, "align_corners": False}) for mode in ("nearest", "nearest-exact", "bilinear", "bicubic")] + [(((2, 3, 7),), {"size": (14,), "factor": 2, "mode": mode, "align_corners": False}) for mode in ("nearest", "nearest-exact", "linear")] + [(((2, 3, 2, 3, 4),), {"size": (4, 6, 8), "factor": 2, "mode": mode, "align_corners": False}) for mode in ("nearest", "nearest-exact", "trilinear")] + [((X,), {"size": (4, 5), "factor": None, "mode": mode, "align_corners": False, "antialias": True}) for mode in ("bilinear", "bicubic")],
    "pad": [((X,), {"sides": ((1, 0), (0, 2))}), ((X,), {"sides": ((0, 0), (1, 2), (0, 0))}), ((X,), {"sides": ((0, 0), (0, 0))}), ((X,), {"sides": ((-1, 2), (0, -2)), "value": 1.5}), ((X,), {"sides": ((-1, 0), (0, -2))}), ((X,), {"sides": ((1, 1), (2, 2)), "mode": "reflect"}), ((X,), {"sides": ((1, 1), (2, 2)), "mode": "replicate"})],
    "pad_circular": [((X,), {"sides": ((1, 2), (3, 0))}), ((X,), {"sides": ((0, 0), (0, 0))}), (((2, 4, 9),), {"sides": ((9, 1),)}), (((2, 4, 5, 4, 3),), {"sides": ((1, 1), (0, 2), (3, 0))})],
    "cat": [((X, (2, 3, 6, 8), (2, 1, 6, 8)), {"dim": 1})],
    "stack": [((X, X, X), {"dim": 1}), ((X, X), {"dim": 0}), ((X,), {"dim": 4})],
    "reshape": [((X,), {"shape": (2, 2, 2, 48)}), ((X,), {"shape": (2, 192)})],
    "permute": [((X,), {"dims": (0, 2, 3, 1)})],
    "expand": [(((4, 8),), {"shape": (3, 4, 8)}), (((4, 8),), {"shape": (1, 4, 8)}), (((1, 4, 1, 8),), {"shape": (3, 4, 6, 8)}), (((1, 4, 1, 8),), {"shape": (1, 4, 1, 8)})],
    "narrow": [((X,), {"dim": 1, "start": 1, "length": 2}), ((X,), {"dim": 3, "start": 0, "length": 4, "step": 2})],
    "split": [((X,), {"dim": 1, "lengths": [1, 3]})],
    "unbind": [(((3, 2, 4),), {"dim": 0})],
    "contiguous": [((X,), {})],
    "roll": [((X,), {"shifts": (1, 2), "dims": (1, 2)}), ((X,), {"shifts": (-1,), "dims": (3,)})],
    "fft": [((made(X),), {"dims": dims, "norm": "ortho"}) for made in (tuple, Waves) for dims in ((3,), (1,), (2, 3), (1, 3))],
    "ifft": [((Waves(X),), {"dims": dims, "norm": "backward"}) for dims in ((3,), (1,), (2, 3), (1, 2, 3))],
    "fft_of_complex": [((Waves(X),), {"dims": (2, 1), "norm": "forward"})],
    "fft_of_real": [((X,), {"dims": (2,), "norm": "backward"})],
    "rfft": [((X,), {"dims": dims, "norm": "ortho"}) for dims in ((3,), (1,), (2, 3), (1, 3), (1, 2, 3))],
    "irfft": [((Waves((2, 4, 6, 5)),), {"dims": dims, "size": size, "norm": "ortho"}) for dims, size in (((3,), 8), ((3,), 9), ((2, 3), 8), ((1, 2), 10), ((1, 2, 3), 8))],
    "view_as_real": [((Waves(X),), {})],
    "view_as_complex": [(((2, 4, 6, 2),), {})],
    **{name: [((Waves(X),), {})] for name in ("real", "imag")},
    **{name: [((X,), {})] for name in (*KEPT, "logsigmoid") if name != "threshold"},
    "abs": [((X,), {}), ((Waves(X),), {})],
}  # fmt: skip
"""Arguments of each primitive: shapes of tensors, and numbers; shapes among the options too."""

ELSEWHERE = {
    "fused_cell": "of CUDA only, and not known",
    "copied_in_place": "in circular padding",
    "argsort": "what PyTorch keeps goes at once, with the elements in order; test_comparisons",
    **dict.fromkeys(("causal_mask", "added_mask"), "attention makes it"),
    "fused_attention": "attention chooses it",
    **dict.fromkeys(("deform_conv", "deformed"), "its peak is not known; test_deformable.py"),
    "dropout": "of CUDA only; programs with it run on fake CUDA tensors",
    "fused_rms_norm": "of CUDA only",
    "embedding": "reads integers; in embedding, below",
    "embedding_bag": "reads integers; in embedding_bag, below",
    "index_select": "reads integers; in index_select, below",
    "index": "reads integers; in window attention, and below",
    "max_unpool": "reads integers; in max_unpool, and below",
    **dict.fromkeys(
        ("lstm_layer", "gru_layer", "rnn_layer"),
        "run as other operations on fake tensors; test_recurrent.py",
    ),
}
NO_BFLOAT16 = {
    "cpu": ("view_as_complex",),
    "cuda": ("fft", "fft_of_real", "rfft", "view_as_complex"),
}
"""What PyTorch has no kernel for; a CPU's autocast runs the others in float32."""
TYPES = {Whole: torch.int64, Truth: torch.bool}
TENSORS = ("mean", "var", "like")  # options that are tensors


def cases() -> list[Any]:
    return [
        pytest.param(name, case, id=f"{name}-{number}")
        for name, found in CASES.items()
        for number, case in enumerate(found)
    ]


def test_every_primitive_has_a_case() -> None:
    assert sorted([*CASES, *ELSEWHERE]) == sorted([*PRIMITIVES, *COMPOSITES])


def needs(case: Case) -> list[tuple[bool, ...]]:
    """Return every way in which some of the tensors need a gradient."""
    tensors = [arg for arg in case[0] if type(arg) in (tuple, Waves)]
    return list(product((True, False), repeat=len(tensors)))


def as_complex(x: Any) -> Any:
    """Return complex numbers of float32 in place of the numbers of a tensor, leaving no others."""
    return torch.empty_like(x, dtype=torch.complex64)


def arguments(
    case: Case, make: Callable[[Shape], Any], wanted: Sequence[bool]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments and options as PyTorch's tensors, some of which need a gradient."""
    flags = iter(wanted)

    def made(arg: Any) -> Any:
        if isinstance(arg, Waves):
            return as_complex(make(arg)).requires_grad_(next(flags))
        if type(arg) is tuple:
            return make(arg).requires_grad_(next(flags))
        if isinstance(arg, (Whole, Plain, Truth)):
            return torch.zeros_like(make(tuple(arg)), dtype=TYPES.get(type(arg)))
        return arg

    args = [made(arg) for arg in case[0]]
    return args, {key: make(value) if key in TENSORS else value for key, value in case[1].items()}


def run_torch(name: str, case: Case, make: Callable[[Shape], Any], wanted: Sequence[bool]) -> Any:
    args, options = arguments(case, make, wanted)
    return getattr(Torch, name)(*args, **options)


def run_reading(
    reading: Storages, name: str, case: Case, wanted: Sequence[bool], itemsize: int = 4,
    lying: Callable[[Shape], Strides] = contiguous,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """Run a primitive on tensors without numbers; return what it makes, and what it has read."""
    held: list[Any] = []

    def make(shape: Shape, width: int = itemsize, needs: bool = False) -> Any:
        held.append(reading.leaf(shape, INPUTS, width, needs=needs))
        held[-1].strides = lying(shape)
        return held[-1]

    flags = iter(wanted)
    args = [
        make(arg, getattr(arg, "itemsize", itemsize), needs=next(flags))
        if type(arg) in (tuple, Waves)
        else make(arg, getattr(arg, "itemsize", itemsize))
        if isinstance(arg, (Whole, Plain, Truth))
        else arg
        for arg in case[0]
    ]
    options = {
        key: make(v, itemsize if key == "like" else 4) if key in TENSORS else v
        for key, v in case[1].items()
    }
    return getattr(reading, name)(*args, **options), held


def first(made: Any) -> Any:
    return made[0] if isinstance(made, (tuple, list)) else made


ORDERS = (
    *(order for rank in (0, 2, 3, 4) for order in permutations(range(rank))),
    (0, 2, 3, 4, 1), (0, 4, 1, 2, 3), (1, 0, 2, 3, 4), (0, 1, 2, 4, 3),
)  # fmt: skip
"""The dimensions of a tensor as they lie in memory, from the outside."""


def lying(order: tuple[int, ...], alone: bool) -> Callable[[Shape], Strides]:
    """Return how tensors lie: those of as many dimensions in an order, or the first of them."""
    turned: list[Shape] = []

    def strides(shape: Shape) -> Strides:
        if len(shape) != len(order) or (alone and turned):
            return contiguous(shape)
        turned.append(shape)
        steps = contiguous(tuple(shape[d] for d in order))
        return tuple(steps[order.index(d)] for d in range(len(shape)))

    return strides


def randn(strides: Callable[[Shape], Strides]) -> Callable[[Shape], Any]:
    return lambda shape: torch.empty_strided(shape, strides(shape)).normal_()


def turns(name: str, case: Case) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Yield in which orders tensors lie, and whether the first of them alone does."""
    rank = next((len(arg) for arg in case[0] if isinstance(arg, tuple)), 0)
    for order, alone in product(ORDERS, (True, False)):
        refused = name == "view_as_complex" and order[3:] != (3,)
        once = len(order) == rank if order else alone
        if once and not refused:
            yield order, alone


@pytest.mark.parametrize(("name", "case"), cases())
@pytest.mark.filterwarnings("ignore")
def test_shape_strides_type_and_saved_bytes(name: str, case: Case) -> None:
    """On a CPU, of tensors that lie in any order, with and without gradients."""
    for wanted, (order, alone) in product(needs(case), turns(name, case)):
        if name.endswith("in_place") and any(wanted):
            continue  # a leaf is not changed in place
        reading = Storages(cpu(), exact=False)
        mine, _held = run_reading(reading, name, case, wanted, lying=lying(order, alone))
        expected = first(mine)
        saved: dict[int, int] = {}

        def keep(tensor: Any, saved: dict[int, int] = saved) -> Any:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            args, options = arguments(case, randn(lying(order, alone)), wanted)
            made = getattr(Torch, name)(*args, **options)
        result, about = first(made), (wanted, order, alone)
        assert tuple(result.shape) == expected.shape, about
        assert result.stride() == expected.strides, about
        assert result.element_size() == expected.itemsize, about
        assert result.requires_grad == expected.needs, about
        assert sum(saved.values()) == reading.ledger.kinds[SAVED], about


@pytest.mark.parametrize(("name", "case"), cases())
@pytest.mark.filterwarnings("ignore")
def test_macs(name: str, case: Case) -> None:
    counter = whole_counter()
    kernels = import_module("torch.nn.attention")  # it does not know that of a CPU
    with kernels.sdpa_kernel(kernels.SDPBackend.MATH), counter:
        run_torch(name, case, torch.randn, [False] * 9)
    reading = Storages(cpu(), exact=False)
    rows = []
    reading.watched = True
    reading.ran = lambda row, read, made: rows.append(row)  # type: ignore[method-assign]
    run_reading(reading, name, case, [False] * 9)
    assert counter.get_total_flops() == 2 * sum(row.macs for row in rows)


@pytest.mark.parametrize(("name", "case"), cases())
@pytest.mark.filterwarnings("ignore")
def test_peaks_of_forward_and_backward(name: str, case: Case) -> None:
    """What is alive at once, as an observer of fake tensors sees it."""
    from archcost.proofs.peaks import tracker

    fake = import_module("torch._subclasses.fake_tensor").FakeTensorMode()
    for wanted in needs(case):
        if name.endswith("in_place") and any(wanted):
            continue
        reading = Storages(cpu(observed=True), exact=False)
        made, held = run_reading(reading, name, case, wanted)
        outs = [first(made)]
        del made
        reading.ledger.enter(FORWARD)
        expected = {FORWARD: reading.ledger.live}
        if outs[0].needs:
            if isinstance(outs[0].itemsize, ComplexBytes):  # a loss is real
                outs = [reading.view_as_real(outs.pop())]
            outs = [reading.mul(outs[0], 2.0)]  # so that what comes back is a dense tensor
            backward(reading.ledger, outs, True)
            expected[BACKWARD] = reading.ledger.found()[BACKWARD].total
        del held
        with fake:
            args, options = arguments(case, torch.empty, wanted)
            given = [a for a in (*args, *options.values()) if torch.is_tensor(a)]
            seen = tracker(given)
            with seen:
                result = first(getattr(Torch, name)(*args, **options))
                measured = {FORWARD: seen.live[1]}
                if result.requires_grad:
                    result = torch.view_as_real(result) if result.is_complex() else result
                    loss = (result * 2.0).sum()
                    del result
                    seen.cut()
                    loss.backward()
                    measured[BACKWARD] = seen.cut()[1]
        assert measured == expected, (name, wanted, case, measured, expected)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("name", "case"), cases())
@pytest.mark.filterwarnings("ignore")
def test_types_under_autocast(name: str, case: Case, device: str) -> None:
    """Also CUDA's, which chooses types by a table of its own, without a GPU."""
    alone = ("narrow", "unfold", "noise", "uniform", "scaled_in_place", "added_in_place")
    alone += ("gru_cell",) + ("lstm_cell",) * (len(case[0]) < 6)  # without biases
    if device == "cuda" and (name in alone or name == "batch_norm" or "mean" in case[1]):
        pytest.skip("fake tensors of CUDA cannot run it without a GPU")
    fakes = import_module("torch._subclasses.fake_tensor")
    mode = fakes.FakeTensorMode()
    torch.set_autocast_dtype(device, torch.bfloat16)
    torch.set_autocast_enabled(device, True)
    try:
        for dtype in (torch.float32, torch.bfloat16):
            if dtype == torch.bfloat16 and name in NO_BFLOAT16[device]:
                continue

            def make(shape: Shape, dtype: Any = dtype) -> Any:
                empty = torch.empty(shape, device="meta", dtype=dtype)
                return fakes.FakeTensor(mode, empty, torch.device(device))

            with mode, torch.no_grad():
                made = first(run_torch(name, case, make, [False] * 9))
            reading = Storages(Setting(device=device, amp="bf16"), exact=False)
            mine = first(run_reading(reading, name, case, [False] * 9, dtype.itemsize)[0])
            assert made.element_size() == mine.itemsize, dtype
    finally:
        torch.set_autocast_enabled(device, False)
        torch.clear_autocast_cache()


@pytest.mark.parametrize("dims", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
@pytest.mark.parametrize(
    "new", [(3, 4, 5, 1), (1, 3, 4, 5), (3, 1, 4, 5), (3, 4, 1, 5), (12, 5), (3, 2, 2, 5)]
)
def test_a_reshape_has_the_strides_of_what_it_is_written_as(
    dims: tuple[int, ...], new: Shape
) -> None:
    """A size of 1 that comes in by unsqueeze has another stride than one of a view."""
    back = [dims.index(d) for d in range(3)]
    sizes = tuple((3, 4, 5)[d] for d in dims)
    made = Torch.reshape(torch.randn(sizes).permute(back), shape=new)
    reading = Storages(cpu())
    x = reading.permute(reading.leaf(sizes, INPUTS, 4), dims=back)
    assert made.stride() == reading.reshape(x, shape=new).strides
    again = Torch.reshape(made, shape=(3, 4, 5))
    assert again.stride() == reading.reshape(reading.reshape(x, shape=new), shape=(3, 4, 5)).strides


PROGRAMS = [
    pytest.param(name, case, id=f"{name}-{number}")
    for name, op in OPS.items()
    for number, case in enumerate(op.examples)
]


@pytest.mark.parametrize(("name", "case"), PROGRAMS)
def test_every_program_with_numbers_equals_its_module(name: str, case: Example) -> None:
    op = OPS[name].create(case.args, case.kwargs)
    torch.manual_seed(0)
    module = module_of(torch, op, case.inputs).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    inputs = samples(torch, op, *((2, *shape) for shape in case.inputs))
    held = dict((*module.named_parameters(), *module.named_buffers()))
    with torch.no_grad():
        for x in (inputs, [t.transpose(1, -1).contiguous().transpose(1, -1) for t in inputs]):
            if name == "lrn" and not x[0].is_contiguous():
                continue  # PyTorch refuses it
            made = []
            for run in (module, partial(op.forward, Torch, **held)):
                torch.manual_seed(0)
                made.append(several(run(*x)))
            for want, got in zip(*made, strict=True):
                assert want.shape == got.shape
                assert want.stride() == got.stride()
                assert torch.allclose(want, got, atol=1e-6, equal_nan=True)
