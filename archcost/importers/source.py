"""What a name of code stands for: a module that is built without weights, and its inputs."""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial as bind
from typing import Any

from archcost.errors import ArchcostError
from archcost.network import Network, Remark
from archcost.proofs.counterparts import build, maker
from archcost.pytorch import import_torch
from archcost.shape import Shape, numel
from archcost.spec.expression import ExpressionError, literal


def read(
    model: Any, *, input: Any = None, knobs: Mapping[str, Any] | None = None,
    training: bool = False, inputs: Any = None, partial: bool = False, run: bool = False,
    larger: str = "",
) -> Network:  # fmt: skip
    """Return the network that a PyTorch module computes.

    The module is built and runs once, on tensors without content unless ``run``. Nothing is
    downloaded unless the module does it.

    Args:
        model: ``package.module:callable``, ``path/file.py:callable``, or an ``nn.Module``.
        input: the shape of its input without batch, or a mapping of the names of its arguments to
            shapes; ``77:int64`` is one of whole numbers.
        knobs: arguments of the callable; texts are read as literals.
        training: whether it is read as it runs in training mode.
        inputs: a function, or ``file.py:make``, that makes the arguments for a batch of a size,
            instead of ``input``.
        partial: whether calls that have no formula count nothing, instead of being refused. The
            network's name says so.
        run: whether it runs on data: on copies of one sample of random numbers, or of what
            ``inputs`` makes. Data may then decide what runs. The network's name says so.
        larger: the line that has asked whether the batch is large, in evaluation mode.

    Raises:
        ArchcostError: it cannot be built or run so, or makes a call that has no formula; the text
            says where.
    """
    torch = import_torch()
    from archcost.importers.arguments import of_function, of_shapes
    from archcost.importers.detectors import BOUND, MostBoxes, is_detector
    from archcost.importers.lower import Known, Lowering
    from archcost.importers.named import DEPENDS
    from archcost.importers.passes import trace
    from archcost.importers.seen import Seen

    arguments = {key: as_literal(value) for key, value in (knobs or {}).items()}
    name = model if isinstance(model, str) else type(model).__name__
    make = maker(*model.split(":", 1)) if isinstance(model, str) else None
    built_on = bind(_built, torch, model, make, arguments)
    module = built_on(not run)
    _refuse_unseen(torch, name, module)
    most = not run and inputs is None and is_detector(module)
    title = _title(module)
    if most and training:
        raise ArchcostError(
            f"{name}: what a detector computes in training depends on the boxes of its targets; a "
            "module of its parts alone can be read"
        )
    module = MostBoxes(module) if most else module
    device = "cpu" if run else "meta"
    built, module = module, _copy_on(torch, module, device, isinstance(model, str))
    if inputs is not None and input is not None:
        raise ArchcostError("--inputs makes all arguments; leave --input out")
    given = (
        of_shapes(name, module, input, run) if inputs is None else of_function(inputs, module, run)
    )
    if not isinstance(model, str):
        given = replace(given, contents=_contents(built))
    try:
        found = trace(module, given, training, Known(), larger)
    except ArchcostError as error:
        if run or not isinstance(model, str) or DEPENDS not in str(error):
            raise
        built = built_on(False)
        given = replace(given, contents=_contents(MostBoxes(built) if most else built))
        found = trace(module, given, training, Known(), larger)
    seen = {
        key: Seen("input", key, -1, 0, tuple(x.shape), str(x.dtype).removeprefix("torch."))
        for key, x in zip(given.names, given.tensors, strict=True)
    }
    asked = {"input": input, "knobs": knobs, "inputs": inputs, "partial": partial, "run": run}

    def again(**options: Any) -> Network:
        more = {
            key: value for key, value in options.items() if key in ("input", "inputs") and value
        }
        merged = {**(knobs or {}), **(options.get("knobs") or {})}
        return read(model, **{**asked, **more, "knobs": merged, "training": training})

    lowering = Lowering(found, partial)
    network = lowering.network(
        name, seen, title=title, family=name, source=name, remake=again,
        knobs={**_defaults(make), **arguments},
        module=bind(_filled, built_on, given), classes=found.classes,
        sample=given.copies if run else None,
        trains=None if training else bind(read, model, **asked, training=True, larger=found.larger),
    )  # fmt: skip
    missing = lowering.missing
    text = f", without {', '.join(dict.fromkeys(missing))}" if missing else ""
    text += _data(inputs) if run else BOUND if most else ""
    about = bind(_remarks, found.parameters, tuple(missing), found.larger)
    return replace(network, name=name + text, find_remarks=about)


def _contents(module: Any) -> dict[str, Any]:
    """Return the buffers that have a content."""
    return {name: buffer for name, buffer in module.named_buffers() if not buffer.is_meta}


def _data(inputs: Any) -> str:
    """Return for which data the figures hold."""
    if inputs is None:
        return ", on a random sample"
    return f", on data of {inputs if isinstance(inputs, str) else inputs.__name__}"


def _filled(built_on: Callable[[bool], Any], given: Any) -> Any:
    """Return the module with its weights, which takes its inputs one after the other."""
    from archcost.importers.arguments import Filled
    from archcost.importers.detectors import MostBoxes, is_detector

    module = built_on(False)
    if not given.sample and is_detector(module):
        module = MostBoxes(module)
    if given.is_in_order(module):
        return module
    module = copy.copy(module)  # it may be the caller's own
    module.forward = Filled(module.forward, given)
    return module


def _remarks(
    parameters: Mapping[str, Shape], missing: tuple[str, ...], larger: str, network: Network
) -> list[Remark]:
    """Say which calls count nothing, for which batches the figures are, and what is not read."""
    said = []
    for name, times in Counter(missing).items():
        calls, own = (f"{times} calls", "their") if times > 1 else ("a call", "its")
        have = "have" if times > 1 else "has"
        text = f"{calls} of {name} {have} no formula: {own} multiply-accumulates are in no figure"
        said.append(Remark("partial", text, 0, 0))
    if network.otherwise:
        text = f"with a batch of 1, {network.otherwise} goes another way: the figures are of larger"
        said.append(Remark("batch", f"{text} batches", 0, 0))
    if larger:
        text = f"{larger} asks whether the batch is large: the figures are of the smaller ones"
        said.append(Remark("batch", text, 0, 0))
    unread = [name for name in parameters if name not in network.params]
    if unread:
        size = sum(numel(parameters[name]) for name in unread)
        groups = list(dict.fromkeys(name.partition(".")[0] for name in unread))
        text = (
            f"{size:,} parameters of {', '.join(groups[:4])} are in the module, and no layer here "
        )
        said.append(Remark("unread", f"{text}reads them", 0, 0))
    return said


def _title(module: Any) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}, as PyTorch runs it"


def as_literal(value: Any) -> Any:
    """Return what a text says as a literal, or the text itself."""
    if not isinstance(value, str):
        return value
    with suppress(ExpressionError):
        return literal(value)
    return value


def _defaults(make: Callable[..., Any] | None) -> dict[str, Any]:
    """Return the arguments that a call takes by itself, so far as a literal can say them."""
    try:
        parameters = inspect.signature(make).parameters.values() if make else ()
    except (TypeError, ValueError):  # what is written in C has none
        return {}
    return {own.name: _listed(own.default) for own in parameters if _is_literal(own.default)}


def _is_literal(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_literal, value))
    return type(value) in (bool, int, float, str)


def _listed(value: Any) -> Any:
    """Return a literal with lists in place of tuples, as ``--arg`` gives them."""
    return [*map(_listed, value)] if type(value) in (list, tuple) else value


def _built(torch: Any, model: Any, make: Any, arguments: Mapping[str, Any], meta: bool) -> Any:
    """Return the module that a name stands for, without weights where it can be built so."""
    if isinstance(model, torch.nn.Module):
        if arguments:
            raise ArchcostError("a module is built already: it takes no arguments")
        return model
    from archcost.importers.sample import WEIGHTS, seeded

    built = bind(build, make, model, arguments)
    if not meta:
        with seeded(WEIGHTS):
            return built()
    try:
        with torch.device("meta"):
            return built()
    except ArchcostError as error:
        if "cannot be built" not in str(error):
            raise
    return built()  # what its constructor does with its weights needs them


def _refuse_unseen(torch: Any, name: str, module: Any) -> None:
    """Refuse a module whose calls, or the sizes of whose parameters, are not there to be seen."""
    if isinstance(module, torch.jit.ScriptModule):
        raise ArchcostError(f"{name}: a module of TorchScript hides its calls")
    lazy = torch.nn.parameter.is_lazy
    for own, tensor in (*module.named_parameters(), *module.named_buffers()):
        if lazy(tensor):
            raise ArchcostError(
                f"{name}: {own} has no size before the first pass; write the module with its "
                "sizes, as Linear for LazyLinear"
            )


def _copy_on(torch: Any, module: Any, device: str, is_own: bool) -> Any:
    """Return a module on a device, ``meta`` or ``cpu``; one that a caller holds stays as it is."""
    from archcost.pytorch.held import held_tensors

    held = [tensor for _, tensor in held_tensors(module)]
    tensors = (*held, *module.parameters(), *module.buffers())
    if is_own and all(tensor.device.type == device for tensor in tensors):
        return module  # whose hooks may hold what it holds
    kept = {
        id(tensor): torch.nn.Parameter(tensor.detach().to(device, copy=True), tensor.requires_grad)
        if isinstance(tensor, torch.nn.Parameter)
        else tensor.detach().to(device, copy=True)
        for tensor in tensors
    }
    try:
        return copy.deepcopy(module, {**kept}).to(device)
    except Exception:  # whatever a module holds that has no copies
        for value in (value for child in module.modules() for value in vars(child).values()):
            try:
                copy.deepcopy(value, {**kept})
            except Exception:
                kept[id(value)] = value
        return copy.deepcopy(module, kept).to(device)
