"""The ops as tables: what each does, its arguments, examples, what it keeps for backward."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence

from archcost.ops import OPS, Op, find_op
from archcost.ops.base import INPUT, PARAMS, Saved
from archcost.shape import numel, show
from archcost.table import Column, Table


def signature(op: type[Op]) -> str:
    """Return the call with all arguments and defaults: ``maxpool(kernel_size, stride=None)``."""
    cells = [
        f.name if f.default is dataclasses.MISSING else f"{f.name}={f.default!r}"
        for f in dataclasses.fields(op)  # type: ignore[arg-type]
    ]
    return f"{op.name}({', '.join(cells)})" if cells else op.name


def ops_table() -> Table:
    """Return every op with its kind, call and first line of documentation."""
    columns = (Column("op", "call"), Column("kind", "kind"), Column("about", "about"))
    rows = tuple(
        (signature(op), op.kind, about(op).split("\n")[0]) for _, op in sorted(OPS.items())
    )
    return Table(columns, rows, notes=(f"{len(rows)} ops",))


def op_page(name: str) -> Table:
    """Return examples of one op, with its documentation as the title and its arguments as notes.

    Raises:
        LookupFailed: an unknown op, with the nearest name.
    """
    op = find_op(name)
    columns = (
        Column("call", "example"), Column("input", "input"), Column("output", "output"),
        Column("params", "params", True), Column("macs", "MACs", True),
        Column("keeps", "keeps for backward"),
    )  # fmt: skip
    rows = []
    for example in op.examples:
        made = op.create(example.args, example.kwargs)
        cost = made.cost(*example.inputs)
        params = sum(numel(shape) for shape in cost.params.values())
        inputs = ", ".join(map(show, example.inputs))
        macs = cost.work.get("mac", 0)
        keeps = kept(cost.saved, len(example.inputs))
        rows.append((made.call(), inputs, show(cost.output), params, macs, keeps))
    return Table(columns, tuple(rows), f"{signature(op)}\n\n{about(op)}", notes=arguments(op))


def about(op: type[Op]) -> str:
    """Return what an op does, as its class says it."""
    return inspect.getdoc(op) or ""


def arguments(op: type[Op]) -> tuple[str, ...]:
    """Return a line per argument: its name and what it accepts."""
    return tuple(
        f"{f.name}: {f.metadata['accepts']}"
        for f in dataclasses.fields(op)  # type: ignore[arg-type]
    )


def kept(saved: Sequence[Saved], inputs: int = 1) -> str:
    """Return in words what an op of so many inputs has autograd keep, and when.

    The width of an element is said where it is not that of the network's dtype.
    """
    conditions: dict[str, list[str]] = {}
    for tensor in saved:
        which = str(tensor.index + 1) if tensor.what == INPUT and inputs > 1 else ""
        name = " ".join(
            filter(None, [tensor.what, which, show(tensor.shape) if tensor.shape else ""])
        )
        conditions.setdefault(name, []).extend(_condition(tensor, inputs))
    return "; ".join(
        f"{name} ({'; '.join(when)})" if when else name for name, when in conditions.items()
    )


def _condition(saved: Saved, inputs: int) -> list[str]:
    words = [] if saved.per_batch else ["per batch"]
    if saved.itemsize:
        words.append("1 byte" if saved.itemsize == 1 else f"{saved.itemsize} bytes")
    elif saved.at_least > 1:
        words.append(f"{saved.at_least} bytes or more")
    if saved.gradient == PARAMS:
        words.append("if its parameters are trained")
    elif saved.gradient is not None:
        which = f"input {int(saved.gradient) + 1}" if inputs > 1 else "the input"
        words.append(f"for the gradient of {which}")
    text = ", ".join(words)
    if saved.device:
        text = f"{saved.device}: {text}" if text else saved.device
    return [text] if text else []
