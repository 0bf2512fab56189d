"""What a name of code stands for: a module that is built without weights, and its inputs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from archcost.errors import ArchcostError, did_you_mean, shorten
from archcost.network import NETWORK_INPUT, Network, Remark
from archcost.proofs.counterparts import build_reference
from archcost.pytorch import import_torch
from archcost.shape import Shape, numel, read_shape
from archcost.spec.expression import ExpressionError, literal


def read(
    model: Any, *, input: Any = None, knobs: Mapping[str, Any] | None = None, training: bool = False
) -> Network:
    """Return the network that a PyTorch module computes.

    The module is built and runs once, on tensors without content. Nothing is downloaded unless the
    module does it.

    Args:
        model: ``package.module:callable``, ``path/file.py:callable``, or an ``nn.Module``.
        input: the shape of its input without batch, or a mapping of the names of its arguments to
            shapes; ``77:int64`` is one of whole numbers.
        knobs: arguments of the callable; texts are read as literals.
        training: whether it is read as it runs in training mode.

    Raises:
        ArchcostError: it cannot be built or run so, or makes a call that has no formula; the text
            says where.
    """
    torch = import_torch()
    from archcost.importers.lower import Known, Lowering
    from archcost.importers.passes import trace
    from archcost.importers.seen import BATCH, Seen

    arguments = {key: _literal(value) for key, value in (knobs or {}).items()}
    name = model if isinstance(model, str) else type(model).__name__
    module = _on_meta(torch, _built(torch, model, arguments))
    shapes = _inputs(name, module, input)
    tensors = {
        key: torch.empty(BATCH, *shape, dtype=getattr(torch, dtype), device="meta")
        for key, (shape, dtype) in shapes.items()
    }
    found = trace(module, tensors, training, Known())
    seen = {
        key: Seen("input", key, -1, 0, tuple(x.shape), str(x.dtype).removeprefix("torch."))
        for key, x in tensors.items()
    }
    again = partial(read, model)
    return Lowering(found).network(
        name, seen, title=_title(module), family=name, source=name,
        find_remarks=partial(_remarks, found.parameters),
        remake=lambda **options: again(**_options(options, input, knobs, training)),
        module=partial(_built, torch, model, arguments, meta=False), knobs=arguments,
        classes=found.classes,
        trains=None if training else partial(again, input=input, knobs=knobs, training=True),
    )  # fmt: skip


def _options(
    options: dict[str, Any], input: Any, knobs: Any, training: bool
) -> dict[str, Any]:  # fmt: skip
    return {
        "input": options.get("input") or input,
        "knobs": {**(knobs or {}), **(options.get("knobs") or {})},
        "training": training,
    }


def _remarks(parameters: Mapping[str, Shape], network: Network) -> list[Remark]:
    """Say which parameters of the module no layer reads."""
    unread = [name for name in parameters if name not in network.params]
    if not unread:
        return []
    size = sum(numel(parameters[name]) for name in unread)
    groups = list(dict.fromkeys(name.partition(".")[0] for name in unread))
    text = f"{size:,} parameters of {', '.join(groups[:4])} are in the module, and no layer here "
    return [Remark("unread", f"{text}reads them", 0, 0)]


def _title(module: Any) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}, as PyTorch runs it"


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    with suppress(ExpressionError):
        return literal(value)
    return value


def _built(torch: Any, model: Any, arguments: Mapping[str, Any], meta: bool = True) -> Any:
    """Return the module that a name stands for, without weights where it can be built so."""
    if isinstance(model, torch.nn.Module):
        if arguments:
            raise ArchcostError("a module is built already: it takes no arguments")
        return model
    where, _, name = model.partition(":")
    build = partial(build_reference, where, name, arguments)
    if not meta:
        return build()
    try:
        with torch.device("meta"):
            return build()
    except ArchcostError as error:
        if "cannot be built" not in str(error):
            raise
    return build()  # what its constructor does with its weights needs them


def _on_meta(torch: Any, module: Any) -> Any:
    """Return a module without weights; one that a caller holds stays as it is."""
    import copy

    from archcost.importers.inside import held_tensors

    held = [tensor for _, tensor in held_tensors(module)]
    kept = {
        id(tensor): torch.nn.Parameter(tensor.to("meta"), tensor.requires_grad)
        if isinstance(tensor, torch.nn.Parameter)
        else tensor.detach().to("meta")
        for tensor in (*held, *module.parameters(), *module.buffers())
    }
    try:
        return copy.deepcopy(module, {**kept}).to("meta")
    except Exception:  # whatever a module holds that has no copies
        for value in (value for child in module.modules() for value in vars(child).values()):
            try:
                copy.deepcopy(value, {**kept})
            except Exception:
                kept[id(value)] = value
        return copy.deepcopy(module, kept).to("meta")


def _inputs(name: str, module: Any, input: Any) -> dict[str, tuple[Shape, str]]:
    """Return the shape and the type of each input by the name of the argument."""
    parameters = [
        key
        for key, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    first = parameters[0] if parameters else NETWORK_INPUT
    if input is None:
        raise ArchcostError(
            f"{name} is code: give the shape of its input, e.g. --input 3x224x224; for several "
            f"inputs --input {first}=3x224x224"
        )
    if not isinstance(input, Mapping):
        input = {first: input}
    for key in input:
        if parameters and key not in parameters:
            raise ArchcostError(f"{name} takes no {key!r}{did_you_mean(key, parameters)}")
    return {key: _typed(value) for key, value in input.items()}


def _typed(value: Any) -> tuple[Shape, str]:
    if not isinstance(value, str):
        return read_shape(value), "float32"
    text, _, dtype = value.replace(" ", ":").partition(":")
    if dtype and dtype not in ("int64", "float32"):
        raise ArchcostError(f"an input holds float32 or int64; got {shorten(dtype)!r}")
    return read_shape(text), dtype or "float32"
