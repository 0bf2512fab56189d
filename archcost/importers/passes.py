"""Runs a module under a tracer: once, or twice where it keeps what it has computed."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from itertools import zip_longest
from typing import Any, cast
from unittest import mock

from archcost.errors import ArchcostError
from archcost.importers.arguments import Arguments
from archcost.importers.formulas import FORMULAS, formula_of
from archcost.importers.grown import one_sample
from archcost.importers.inside import tensors_in
from archcost.importers.lines import at, line_of_code
from archcost.importers.sample import traced
from archcost.importers.seen import Call, Trace
from archcost.importers.trace import Tracer
from archcost.proofs.counterparts import FOREIGN, one_line

torch: Any = import_module("torch")


def state_of(module: Any) -> list[Any]:
    """Return what tells whether a pass has changed what modules hold."""
    found: list[Any] = []
    for child in module.modules():
        for key, value in vars(child).items():
            if isinstance(value, (dict, list)):
                found.append((key, len(value), [id(tensor) for tensor in tensors_in(value)]))
            elif isinstance(value, (torch.Tensor, tuple, type(None))):
                found.append((key, id(value)))
    return found


@contextmanager
def _own_functions(tracer: Tracer, training: bool) -> Iterator[None]:
    """Note each ``autograd.Function`` as a call, in evaluation only those with a formula.

    In training, note what backward computes again.
    """
    if not training and not FORMULAS:
        yield
        return
    checkpointing: Any = import_module("torch.utils.checkpoint")
    base, method = torch.autograd.Function, torch.autograd.Function.__dict__["apply"]
    if isinstance(method, classmethod):  # up to PyTorch 2.13; what it calls sees a bound one, too
        base = torch.autograd.function._SingleLevelFunction
        method = torch._C._FunctionBase.__dict__["apply"]

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return method.__get__(None, cls)(*args, **kwargs)

    def applied(cls: Any, *args: Any, **kwargs: Any) -> Any:
        own = formula_of(f"{cls.__module__}.{cls.__qualname__}")
        if not training and own is None:
            return apply(cls, *args, **kwargs)
        if issubclass(cls, checkpointing.CheckpointFunction):
            return _reentrant(tracer, *args)
        return tracer.apart(apply, cls, args, kwargs)

    def recomputed(args: Any, context_fn: Any, early_stop: bool) -> Iterator[None]:
        if context_fn is not checkpointing.noop_context_fn:
            raise ArchcostError(
                f"{tracer.where(line_of_code())}: which operations the context_fn of "
                "torch.utils.checkpoint computes again is not known; leave it out"
            )
        everywhere = checkpointing._enable_checkpoint_early_stop
        stops = early_stop if everywhere is None else everywhere
        recording = torch.is_grad_enabled()
        line = line_of_code()
        with tracer.rerun(args, line, whole=not stops) if recording else nullcontext():
            yield

    def spread(
        function: Any, preserve: Any, context_fn: Any, check: Any, debug: Any, early_stop: bool,
        *args: Any, **kwargs: Any,
    ) -> Iterator[None]:  # fmt: skip
        return recomputed(args, context_fn, early_stop)

    def packed(function: Any, args: Any, kwargs: Any, **how: Any) -> Iterator[None]:
        return recomputed(args, how["context_fn"], how["early_stop"])

    generator, again = "_checkpoint_without_reentrant_generator", cast("Any", spread)
    if hasattr(checkpointing, f"{generator}_impl"):  # from PyTorch 2.14 on
        generator, again = f"{generator}_impl", packed
    with (
        mock.patch.object(
            checkpointing, generator, again if training else getattr(checkpointing, generator)
        ),
        mock.patch.object(base, "apply", classmethod(applied)),
    ):
        yield


def _reentrant(tracer: Tracer, function: Any, _: Any, *args: Any) -> Any:
    """Run what ``use_reentrant=True`` runs again if an argument needs a gradient, and only then."""
    learns = any(isinstance(arg, torch.Tensor) and arg.requires_grad for arg in args)
    if learns and torch.is_grad_enabled():
        with tracer.rerun(args, line_of_code(), reentrant=True):
            return function(*args)
    with torch.no_grad():
        return function(*args)


def trace(
    module: Any, inputs: Arguments, training: bool = False, known: Container[str] = ()
) -> Trace:
    """Return the calls of a forward pass, on data if there is a sample.

    A module that the pass has changed, because it keeps what it has computed, runs once more: the
    second pass is the one that counts.

    Args:
        module: on the device ``meta``, or with weights if there is a sample.
        inputs: what it is called on.
        training: the mode in which it runs.
        known: the functions that have a program.

    Raises:
        ArchcostError: the pass depends on data, or cannot be seen; with the module and the line.
    """
    module.train(training)
    if inputs.sample:
        return traced(lambda batch: _settled(module, inputs, training, known, inputs.copies(batch)))
    found = _settled(module, inputs, training, known, inputs.tensors)
    if found.asks_layout:
        alone = [one_sample(tensor) for tensor in inputs.tensors]
        other = _settled(module, inputs, training, known, alone)
        found.otherwise = _parting(found.calls, other.calls)
    return found


def _parting(calls: Sequence[Call], others: Sequence[Call]) -> str:
    """Return the line of the first call that the others do not make, empty if they are the same."""
    moved = ([call for call in known if call.name != "contiguous"] for known in (calls, others))
    for call, other in zip_longest(*moved):  # of one sample, contiguous may copy nothing
        if call is None or other is None or (call.full, call.path) != (other.full, other.path):
            return at((call or other).line)
    return ""


def _settled(*how: Any) -> Trace:
    module = how[0]
    before = state_of(module)
    found = _pass(*how)
    return found if state_of(module) == before else _pass(*how)


def _pass(
    module: Any, inputs: Arguments, training: bool, known: Container[str], tensors: Sequence[Any]
) -> Trace:
    tracer = Tracer(module, dict(zip(inputs.names, tensors, strict=True)), known)
    tracer.on_data = bool(inputs.sample)
    tracer.keeping = tracer.trace.training = training
    saved = torch.autograd.graph.saved_tensors_hooks(tracer.keep, lambda kept: kept)
    try:
        with (
            torch.set_grad_enabled(training),
            saved if training else nullcontext(),
            _own_functions(tracer, training),
            tracer,
        ):
            made = inputs.call(module, *tensors)
    except ArchcostError:
        raise
    except FOREIGN as error:
        if tracer.refusal:
            raise tracer.refusal from None
        raise ArchcostError(
            f"{type(module).__name__} does not run on these inputs: {one_line(error)}"
        ) from error
    tracer.trace.outputs = tuple(map(tracer.see, tensors_in(made)))
    return tracer.trace
