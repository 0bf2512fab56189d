"""Networks for tests, built layer by layer, and how long what must end soon may take."""

from __future__ import annotations

from typing import Any

from archcost.builder import Builder
from archcost.network import Network, Value
from archcost.ops import Op, make
from archcost.ops.base import element_bytes
from archcost.ops.recurrent import Recurrent
from archcost.proofs import Check, Subject
from archcost.proofs.run import checks
from archcost.readings.ledger import INPUTS
from archcost.shape import Shape

SOON = 20
"""Seconds of CPU within which a hostile input is answered: milliseconds for archcost, but a search for
garbage in a process that holds many networks takes seconds, and a busy machine more."""


def chain(*ops: Op, input: str | Shape) -> Network:
    """Return a network of ops one after the other, named ``relu0``, ``conv1``."""
    builder = Builder()
    value = builder.input(input)
    for i, op in enumerate(ops):
        value = builder.add(op, value, name=f"{op.name}{i}")
    return builder.network("chain", value)


def around(op: Op, shapes: tuple[Shape, ...], path: str = "op", learnt: bool = False) -> Network:
    """Return a network of one op, with an input for each of its own.

    With ``learnt``, each input needs a gradient, and the output is read once more; by a layer that
    learns, where the op has nothing to learn and hands no gradient on. Places choose of a table,
    a mask fills a tensor that learns.
    """
    builder = Builder()
    names = [f"x{i}" for i in range(len(shapes))] if len(shapes) > 1 else ["input"]
    types = [op.takes(place) for place in range(len(shapes))]
    values: list[Value] = []
    for shape, name, dtype in zip(shapes, names, types, strict=True):
        if learnt and dtype == "complex":
            pairs = builder.add(make("bias"), builder.input((*shape, 2), name))
            values.append(builder.add(make("view_as_complex"), pairs))
            continue
        given = builder.input(shape, name, dtype)
        values.append(builder.add(make("bias"), given) if learnt and dtype == "float" else given)
    outputs = builder.add_all(op, *values, name=path)
    if learnt:
        learns = op.cost(*shapes).params or len(op.no_gradient) < len(shapes)
        if outputs[0].dtype == "int64":
            after = make("embedding", max(map(max, shapes)), 2)
        elif outputs[0].dtype == "bool":
            filled = builder.add(make("bias"), builder.input(outputs[0].shape, "filled"))
            return builder.network("one", builder.add(make("masked_fill", 0.5), *outputs, filled))
        else:
            after = make("rescale", 2.0) if learns else make("bias")
        outputs = tuple(builder.add(after, value) for value in outputs)
    return builder.network("one", *outputs)


def samples(torch: Any, op: Op, *shapes: Shape, needs: bool = False, **options: Any) -> list[Any]:
    """Return tensors that an op takes: normally distributed numbers; 0 and 1 of other types."""
    types = [op.takes(place) for place in range(len(shapes))]
    return [
        torch.randn(shape, requires_grad=needs, **options)
        if dtype == "float"
        else torch.randn(shape, requires_grad=needs, **options, dtype=torch.complex64)
        if dtype == "complex"
        else torch.randint(2, shape).to(getattr(torch, dtype))
        for dtype, shape in zip(types, shapes, strict=True)
    ]


def leaves(
    reading: Any, op: Op, *shapes: Shape, itemsize: int = 4, needs: bool = False
) -> list[Any]:
    """Return tensors without numbers that an op takes."""
    widths = [element_bytes(op.takes(place), itemsize) for place in range(len(shapes))]
    return [
        reading.leaf(shape, INPUTS, width, needs=needs and op.takes(place) in ("float", "complex"))
        for place, (shape, width) in enumerate(zip(shapes, widths, strict=True))
    ]


def peak_is_known(op: Op, device: str = "cpu") -> bool:
    """Whether what an op takes at once is known."""
    if isinstance(op, Recurrent):  # that runs by single operations, of several units
        return device == "cpu" and op.width > 1 and (op.name != "lstm" or op.projects)
    of_cells = op.name in ("lstm_cell", "gru_cell") and device == "cuda"
    return op.name != "deform_conv" and not of_cells


def several(output: Any) -> list[Any]:
    """Return the outputs of a program or module as a list, also if it is one."""
    return list(output) if isinstance(output, (list, tuple)) else [output]


def failures(checked: Subject, *groups: str) -> list[Check]:
    """Return the checks of some groups that fail."""
    return [c for group in groups for c in checks(checked, group) if not c.passed]
