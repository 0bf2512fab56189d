"""Runs a module under a tracer: once, or twice where it keeps what it has computed."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from itertools import zip_longest
from typing import Any, cast
from unittest import mock

from archcost.errors import ArchcostError
from archcost.importers.arguments import Arguments
from archcost.importers.formulas import FORMULAS, formula_of
from archcost.importers.grown import OneByOne, few_samples, no_long_loops
from archcost.importers.lines import at, line_of_code, raised_at
from archcost.importers.lower import live_calls
from archcost.importers.probe import seen_in
from archcost.importers.questions import Undecided
from archcost.importers.sample import Otherwise, alike, traced
from archcost.importers.seen import Call, Trace
from archcost.importers.trace import Tracer
from archcost.proofs.counterparts import FOREIGN, one_line
from archcost.pytorch import as_written
from archcost.pytorch.grouped import grouped_products
from archcost.pytorch.held import tensors_in

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
        tracer.functions.add(cls)
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


@contextmanager
def _autocast_of(tracer: Tracer) -> Iterator[None]:
    """Take tensors without content as a CPU's where code turns autocast off; else refuse it."""
    kind = torch.amp.autocast_mode.autocast
    begin = kind.__init__

    def begins(
        self: Any, device_type: str, dtype: Any = None, enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:  # fmt: skip
        if enabled and device_type in ("meta", "cpu"):
            raise ArchcostError(
                f"{tracer.where(line_of_code())}: code turns torch.autocast on; leave that to --amp"
            )
        device = "cpu" if device_type == "meta" else device_type
        begin(self, device, dtype, enabled, cache_enabled)

    with mock.patch.object(kind, "__init__", begins):
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
    module: Any, inputs: Arguments, training: bool = False, known: Container[str] = (),
    larger: str = "",
) -> Trace:  # fmt: skip
    """Return the calls of a forward pass, on data if there is a sample.

    A pass without data has a large prime as its batch. If code takes its samples one by one, asks
    whether they are many, or fails on so many, passes in small batches are compared instead.

    A module that the pass has changed, because it keeps what it has computed, runs once more: the
    second pass is the one that counts.

    Args:
        module: on the device ``meta``, or with weights if there is a sample.
        inputs: what it is called on.
        training: the mode in which it runs.
        known: the functions that have a program.
        larger: the line that has asked whether the batch is large, in an earlier pass.

    Raises:
        ArchcostError: the pass depends on data, or cannot be seen; with the module and the line.
    """
    module.train(training)
    if inputs.sample:
        return traced(lambda batch: _settled(module, inputs, training, known, inputs.copies(batch)))

    def of_few(batch: int) -> Trace:
        few = [few_samples(tensor, batch) for tensor in inputs.tensors]
        return _settled(module, inputs, training, known, few)

    try:
        found = _settled(module, inputs, training, known, inputs.tensors)
    except (OneByOne, _Raises) as error:
        try:
            found, asks, larger = traced(of_few), True, getattr(error, "larger", "")
        except ArchcostError as other:
            more = isinstance(other, (Otherwise, _Raises)) or getattr(error, "helps", False)
            raise (error if more else other) from None
    else:
        asks, larger = found.asks_batch, found.larger or larger
        found = traced(of_few) if larger else found
    found.larger = larger
    if asks:
        with suppress(ArchcostError):  # as batch statistics of one sample do
            found.otherwise = _parting(found, of_few(1))
    return found


def _parting(*traces: Trace) -> str:
    """Return the line of the first call that the other does not make, empty if they are the same.

    A call of constants alone makes no difference; of one sample, contiguous may copy nothing.
    """

    def made(trace: Trace) -> list[Call]:
        live = live_calls(trace)
        calls = (call for n, call in enumerate(trace.calls) if n in live)
        return [call for call in calls if call.name != "contiguous"]

    def told(call: Call) -> tuple[Any, ...]:
        return call.full, call.path, len(seen_in((call.args, call.kwargs)))

    for call, other in zip_longest(*map(made, traces)):
        if call is None or other is None or told(call) != told(other):
            return at((call or other).line)
    return ""


def _settled(*how: Any) -> Trace:
    return _decided({}, *how)


class _Raises(ArchcostError):
    """The module raises an error of its own."""


MOST_QUESTIONS = 4


def _decided(answers: Mapping[tuple[str, int], bool], *how: Any) -> Trace:
    """Return the calls of a pass, also where code asks questions of data that decide nothing.

    That is so if the same calls follow from both answers, or if code raises an error for one.
    """
    module = how[0]
    before = state_of(module)
    try:
        found = _pass(answers, *how)
        if state_of(module) == before:
            return found
        again = _pass(answers, *how)
        again.asks_batch |= found.asks_batch  # what is kept may be an answer
        again.larger = again.larger or found.larger
        return again
    except Undecided as question:
        if question.line in answers or len(answers) == MOST_QUESTIONS:
            raise
        ways = []
        for answer in (False, True):
            with suppress(_Raises):
                ways.append(_decided({**answers, question.line: answer}, *how))
        if not ways or not alike(ways[0], ways[-1]):
            raise
        return ways[0]


def _pass(
    answers: Mapping[tuple[str, int], bool], module: Any, inputs: Arguments, training: bool,
    known: Container[str], tensors: Sequence[Any],
) -> Trace:  # fmt: skip
    tracer = Tracer(module, dict(zip(inputs.names, tensors, strict=True)), known)
    tracer.answers = answers
    for name, buffer in module.named_buffers():
        if name in inputs.contents:
            tracer.constants.hold(buffer, inputs.contents[name])
    tracer.on_data = bool(inputs.sample)
    tracer.keeping = tracer.trace.training = training
    saved = torch.autograd.graph.saved_tensors_hooks(tracer.keep, lambda kept: kept)
    try:
        with (
            torch.set_grad_enabled(training),
            saved if training else nullcontext(),
            _own_functions(tracer, training),
            _autocast_of(tracer),
            no_long_loops(tracer),
            grouped_products(),
            as_written(),
            tracer,
        ):
            made = inputs.call(module, *tensors)
    except ArchcostError:
        raise
    except FOREIGN as error:
        if tracer.refusal:
            raise tracer.refusal from None
        raise _Raises(
            f"{type(module).__name__} does not run on these inputs{raised_at(error)}: "
            f"{one_line(error)}"
        ) from error
    _refuse_hidden(tracer, [*tensors_in(made)] if training else ())
    tracer.trace.outputs = tuple(map(tracer.see, tensors_in(made)))
    tracer.end()
    return tracer.trace


def _refuse_hidden(tracer: Tracer, outputs: Sequence[Any]) -> None:
    """Refuse an ``autograd.Function`` that ran unseen: what it keeps is in no figure.

    From PyTorch 2.14 on, an attribute that holds its ``apply`` since before the pass calls C++.
    """
    waiting, seen = [tensor.grad_fn for tensor in outputs], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        own = getattr(node, "_forward_cls", None)
        if own is not None and own not in tracer.functions:
            raise ArchcostError(
                f"{own.__module__}.{own.__qualname__} is called by a name that holds its apply, "
                f"which cannot be seen in training; call {own.__name__}.apply there"
            )
        waiting += [before for before, _ in node.next_functions]
