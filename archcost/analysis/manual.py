"""The ops as tables: what each does, its arguments with their defaults, examples."""

from __future__ import annotations

import dataclasses
import inspect

from archcost.ops import OPS, Op, find_op
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
        (signature(op), op.kind, (inspect.getdoc(op) or "").split("\n")[0])
        for _, op in sorted(OPS.items())
    )
    return Table(columns, rows, notes=(f"{len(rows)} ops",))


def op_page(name: str) -> Table:
    """Return examples of one op, with its documentation as the title.

    Raises:
        LookupFailed: an unknown op, with the nearest name.
    """
    op = find_op(name)
    columns = (
        Column("call", "example"), Column("input", "input"), Column("output", "output"),
        Column("params", "params", True), Column("macs", "MACs", True),
    )  # fmt: skip
    rows = []
    for example in op.examples:
        made = op.create(example.args, example.kwargs)
        cost = made.cost(*example.inputs)
        params = sum(numel(shape) for shape in cost.params.values())
        inputs = ", ".join(map(show, example.inputs))
        rows.append((made.call(), inputs, show(cost.output), params, cost.work.get("mac", 0)))
    title = f"{signature(op)}\n\n{inspect.getdoc(op) or ''}"
    return Table(columns, tuple(rows), title)
