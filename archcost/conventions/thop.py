"""thop, of today and of earlier years, whose numbers are still quoted."""

from __future__ import annotations

from typing import Any

from archcost.conventions.facts import of, window
from archcost.conventions.modules import NO_SPARSE, UNSEEN
from archcost.conventions.recurrent import NO_STEPS, THOP_STEPS
from archcost.conventions.rule import MAC, Convention, each, register
from archcost.ops.arguments import axis_of
from archcost.shape import numel


@of("conv")
def bias_spread(layer: Any) -> int:
    """Additions of a convolution's bias, once per output element and input channel it sees."""
    return numel((*layer.cost.output, layer.cost.weight[1])) if layer.op.bias else 0


@of("maxpool", "avgpool")
def side(layer: Any) -> int:
    """Output elements, each times kernel_size, which is one number or one per axis."""
    size = layer.op.kernel_size
    return numel(layer.cost.output) * size if isinstance(size, int) else window(layer)


@of("softmax")
def rows(layer: Any) -> int:
    """Sums of a softmax, one for each row that it normalises."""
    x, where = layer.shapes[0], axis_of(layer.op.dim, layer.shapes[0], "softmax")
    return numel(x[:where] + x[where + 1 :])


@of("adaptive_avgpool", "global_avgpool", "adaptive_maxpool", "global_maxpool")
def floor(layer: Any) -> int:
    """Elements in windows of adaptive pooling, their sizes rounded down."""
    sizes = zip(layer.shapes[0][1:], layer.cost.output[1:], strict=True)
    return numel((*layer.cost.output, *(n // o for n, o in sizes)))


_AVERAGES, _MAXIMA = "adaptive_avgpool global_avgpool", "adaptive_maxpool global_maxpool"
_MACS = {"mac": 1, **UNSEEN, **NO_SPARSE, "conv_transpose.excess": 1}
_POOLS = {"avgpool.out": 1, **each(_AVERAGES, "floor"), **each(_AVERAGES, "out")}
_LINEAR = {"linear.mac": 1, "linear.out": -1}
_INTERPOLATED = {
    "interpolate[linear].out": 5, "interpolate[bilinear].out": 11, "interpolate[bicubic].out": 259,
}  # fmt: skip

_2022 = {
    **_MACS, **_INTERPOLATED, "interpolate[nearest].out": 1, "batchnorm.in": 2, "batchnorm.bias": 2,
    "layernorm.last": 2, "layernorm.last_affine": 2,
    "instancenorm.in": 2, "instancenorm.affine": 2, "prelu.in": 1,
    "softmax.in": 3, "softmax.rows": -1,
    "avgpool.out": 1, **each(_AVERAGES, "in"), **each(_AVERAGES, "out"),
    **THOP_STEPS,
}  # fmt: skip
_2019_07 = {
    **_MACS, **NO_STEPS, "conv_transpose.bias": 1, "conv.bias_spread": 1, **_LINEAR,
    "batchnorm.in": 4, **each("relu relu6 leaky_relu", "in"), "avgpool.side": 1, **_POOLS,
}  # fmt: skip
_2019_03 = {**_2019_07, "maxpool.side": 1, **each(_MAXIMA, "floor")}
_2020_04 = {
    **_MACS, **NO_STEPS, "conv_transpose.bias": 1, "conv.bias": 1, "batchnorm.in": 2,
    "leaky_relu.in": 1, **_POOLS, **_INTERPOLATED,
}  # fmt: skip
_2019_08 = {
    **_2020_04, **_LINEAR, "batchnorm.in": 4, "avgpool.side": 1, "interpolate[bilinear].out": 13,
}  # fmt: skip
_2019_10 = {**_2019_08, "linear.bias": 1, "interpolate[bilinear].out": 11}
_2020_01 = {**_2020_04, **_LINEAR, "linear.bias": 1}

_SINGLE = "adds up in single precision, so that a total is rounded to 24 binary digits"
_TWICE = f"if a module runs twice, as a ReLU may, only its last run counts; {_SINGLE}; "
_TWICE += "transposed convolutions in 2-D only"

register(
    __name__,
    Convention(
        "thop", "thop's profile: MACs, 4 per normalised element, average pooling, softmax",
        _2022, MAC, "thop 0.1.1.post2209072238",
        "thop/vision/basic_hooks.py and thop/profile.py, register_hooks",
        "modules of torch.nn only: functions and subclasses count 0",
        hooks=_2022,
    ),
    Convention(
        "thop_2020_04", "thop of April 2020 to June 2022: MACs, biases of convolutions, "
        "2 per normalised element, average pooling",
        _2020_04, MAC, "thop 0.0.31.post2004101309",
        "Lyken17/pytorch-OpCounter, thop/vision/basic_hooks.py",
        "also 0.0.4 and 0.0.5.post2110061705; modules of torch.nn only", "2020-04 to 2022-06",
        hooks=_2020_04,
    ),
    *(
        Convention(
            name, title, weights, MAC, f"thop {version}",
            "Lyken17/pytorch-OpCounter, thop/count_hooks.py", note, dates,
            hooks=weights, single=True, last_run=note == _TWICE,
        )
        for name, title, weights, version, note, dates in (
            ("thop_2020_01", "thop of January to April 2020: as later, and 2 per MAC of linear "
             "layers", _2020_01, "0.0.31.post2001170342", _SINGLE, "2020-01 to 2020-04"),
            ("thop_2019_10", "thop of October to December 2019: 4 per normalised element, "
             "pooling by the kernel's size", _2019_10, "0.0.31.post1912272122", _SINGLE,
             "2019-10 to 2019-12"),
            ("thop_2019_08", "thop of August to October 2019: as later, linear layers without "
             "their biases", _2019_08, "0.0.31.post1909230639", _SINGLE, "2019-08 to 2019-10"),
            ("thop_2019_07", "thop of July 2019: ReLU counts, a bias once per input channel, max "
             "pooling not", _2019_07, "0.0.23.post1908021522", _TWICE, "2019-07 to 2019-08"),
            ("thop_2019_03", "thop of March to July 2019: ReLU and max pooling count, a bias once "
             "per input channel", _2019_03, "0.0.22", _TWICE, "2019-03 to 2019-07"),
        )
    ),
)  # fmt: skip
