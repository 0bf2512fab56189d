"""The ops as tables: what each does, its arguments, examples, what it keeps for backward."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from archcost.errors import ArchcostError
from archcost.ops import OPS, Op, find_op
from archcost.ops.arguments import REQUIRED
from archcost.ops.base import BYTES, element_bytes
from archcost.readings.ledger import BUFFERS, INPUTS, PARAMETERS, Storage
from archcost.readings.storages import Storages
from archcost.readings.tensors import Kept, Tensor
from archcost.setting import DEVICES, Setting
from archcost.shape import Shape, numel, show
from archcost.table import Column, Table

COLUMNS = (
    Column("op", "call", essential=True), Column("kind", "kind", minor=True),
    Column("about", "about", essential=True),
)  # fmt: skip
EXAMPLE_COLUMNS = (
    Column("call", "example", essential=True), Column("input", "input", essential=True),
    Column("output", "output", essential=True), Column("params", "params", True),
    Column("macs", "MACs", True), Column("keeps", "keeps for backward", essential=True),
)  # fmt: skip
BATCH, FLOAT = 16_777_259, 4  # a prime number of samples, which no shape has by chance


def signature(op: type[Op]) -> str:
    """Return the call with all arguments and defaults: ``maxpool(kernel_size, stride=None)``."""
    cells = [
        name if argument.default is REQUIRED else f"{name}={argument.default!r}"
        for name, argument in op.arguments.items()
    ]
    return f"{op.name}({', '.join(cells)})" if cells else op.name


def ops_table() -> Table:
    """Return every op with its kind, call and first line of documentation."""
    rows = tuple(
        (signature(op), op.kind, about(op).split("\n")[0]) for _, op in sorted(OPS.items())
    )
    return Table(COLUMNS, rows, notes=(f"{len(rows)} ops",))


def op_page(name: str) -> Table:
    """Return examples of one op, with its documentation as the title and its arguments as notes.

    Raises:
        LookupFailed: an unknown op, with the nearest name.
    """
    op = find_op(name)
    rows = []
    for example in op.examples:
        made = op.create(example.args, example.kwargs)
        cost = made.cost(*example.inputs)
        params = sum(numel(shape) for shape in cost.params.values())
        inputs = ", ".join(map(show, example.inputs))
        keeps = kept(made, example.inputs)
        rows.append((made.call(), inputs, show(cost.output), params, cost.macs, keeps))
    return Table(
        EXAMPLE_COLUMNS, tuple(rows), f"{signature(op)}\n\n{about(op)}", notes=arguments(op)
    )


def about(op: type[Op]) -> str:
    """Return what an op does, as its class says it."""
    return inspect.getdoc(op) or ""


def arguments(op: type[Op]) -> tuple[str, ...]:
    """Return a line per argument: its name and what it accepts."""
    return tuple(f"{name}: {argument.accepts}" for name, argument in op.arguments.items())


def kept(op: Op, inputs: Sequence[Shape]) -> str:
    """Return in words what an op has autograd keep of inputs of these shapes, and when.

    A tensor is named with its shape for one sample; the width of an element is said where it is
    not that of the network's dtype.
    """
    sources = [
        f"input {place + 1}" if len(inputs) > 1 else "the input" for place in range(len(inputs))
    ]
    if op.cost(*inputs).params:
        sources.append("its parameters")
    found: dict[str, dict[str, list[str]]] = {}
    for device in DEVICES:
        for source in sources:
            try:
                labels = _kept_for(op, inputs, device, source, sources)
            except ArchcostError:  # only the device's library knows
                labels = ["not known"]
            for label in labels:
                found.setdefault(label, {}).setdefault(device, []).append(source)
    asked = [source for place, source in enumerate(sources) if op.takes(place) not in BYTES]
    return "; ".join(
        label + (f" ({when})" if (when := _condition(by_device, asked)) else "")
        for label, by_device in sorted(found.items(), key=lambda each: _place(each[0]))
    )


def _place(label: str) -> str:
    """Return what orders what is kept: inputs by number, the output, then the rest as it is."""
    return label if label.startswith("input") else "output" if label == "output" else "rest"


def _condition(by_device: Mapping[str, Sequence[str]], sources: Sequence[str]) -> str:
    wanted = next(iter(by_device.values()))
    words = [] if len(by_device) == len(DEVICES) else [*by_device]
    if len(wanted) < len(sources):
        words.append(f"for the gradient of {' and '.join(wanted)}")
    return ", ".join(words)


def _kept_for(
    op: Op, inputs: Sequence[Shape], device: str, source: str, sources: Sequence[str]
) -> list[str]:
    """Return what is kept if only the gradient of one source is asked for."""
    run = Storages(Setting(device=device), exact=False)
    tensors = [
        run.leaf(
            (BATCH, *shape),
            INPUTS,
            element_bytes(op.takes(place), FLOAT),
            needs=sources[place] == source,
        )
        for place, shape in enumerate(inputs)
    ]
    cost = op.cost(*inputs)
    run.place_params("op", op, cost, FLOAT, cost.params if source == "its parameters" else ())
    labels: dict[Storage, str] = {}

    def pack(tensor: Tensor, layer: str) -> Kept:
        storage = tensor.storage
        if storage.kind in (PARAMETERS, BUFFERS):
            return Kept(tensor, layer)
        places = [place for place, x in enumerate(tensors) if x.storage is storage]
        name = sources[places[0]].removeprefix("the ") if places else storage.what
        shape = tuple(n // BATCH if n % BATCH == 0 else n for n in tensor.shape if n != BATCH)
        rest = numel(shape) == numel(tensor.shape)
        width = (
            ""
            if tensor.itemsize == FLOAT
            else f", {tensor.itemsize} byte{'s' * (tensor.itemsize > 1)} each"
        )
        batch = " per batch" if rest else ""
        sized = f"{name} {show(shape)}{width}{batch}" if max(shape, default=0) < BATCH else name
        labels[storage] = name if places else sized
        return Kept(tensor, layer)

    run.pack = pack
    made = run.run_op("op", op, tensors)
    for each in made if isinstance(made, list) else [made]:
        if each.storage in labels and labels[each.storage] not in sources:
            labels[each.storage] = "output"
    return list(labels.values())
