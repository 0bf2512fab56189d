"""A forward pass as a list of calls: what PyTorch's functions are called on, module by module.

The module runs on tensors of the device ``meta``, which have a shape and no content. A mode that
PyTorch asks before every function of its Python interface notes the call. What a function calls
inside is not noted, so that ``torch.nn.functional.linear`` is one call.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import FunctionType
from typing import Any
from weakref import ref

from archcost.errors import ArchcostError
from archcost.importers.grown import (
    RESHAPED,
    OneByOne,
    Size,
    copies_but_for_one,
    goes_through_the_batch,
    sized,
    turns,
    with_content,
    with_numbers,
    without_content,
)
from archcost.importers.inside import (
    Inside,
    Made,
    Watch,
    kept_by,
    run_again,
    storage_of,
)
from archcost.importers.lines import at, caller, is_foreign, line_of_code
from archcost.importers.named import (
    ASKS,
    BY_PLACES,
    DEPENDS,
    HIDES,
    OF_LAYOUT,
    OF_MANY,
    OPENED,
    QUERIES,
    SIZES,
    YES_OR_NO,
    name_of,
)
from archcost.importers.questions import Questions
from archcost.importers.seen import (
    BUFFER,
    CALL,
    CONSTANT,
    INPUT,
    PARAMETER,
    Call,
    Rerun,
    Seen,
    of_batch,
)
from archcost.pytorch.held import held_tensors, tensors_in

torch: Any = import_module("torch")
overrides: Any = import_module("torch.overrides")

PARTED = ("chunk", "split")
"""Functions that take a tensor apart, of a batch in parts of some samples."""

MOST_OUTPUTS, MOST_CALLS = 10_000, 1_000_000

KEPT: dict[int, ref[Any]] = {}
"""The tensors of earlier passes that live on, as what functools.lru_cache holds, by their ids."""


def _forget(key: int, _: Any) -> None:
    KEPT.pop(key, None)


class Tracer(Questions, overrides.TorchFunctionMode):  # type: ignore[misc]
    """Notes the calls of a module's forward pass.

    Args:
        module: on the device ``meta``.
        inputs: its input tensors by their names.
        known: the functions that have a program; others are watched from inside.
    """

    def __init__(self, module: Any, inputs: Mapping[str, Any], known: Container[str] = ()) -> None:
        super().__init__(module)
        self.programs = known
        self.known: dict[int, tuple[str, str]] = {}
        self.made: dict[int, tuple[int, int]] = {}
        self.alive: list[Any] = [module, inputs]  # so that no id is given twice
        self.visits: Counter[str] = Counter()
        self.paths: dict[Any, str] = {}
        self.buffers: dict[int, str] = {}
        self.weights: dict[int, str] = {}  # the storages of parameters and buffers
        self.saved: list[Any] = []
        self.held: dict[int, Any] = {}
        self.bases: dict[int, tuple[int, int]] = {}  # what has made each storage
        self.loose: set[int] = set()  # the storages whose strides may be others
        self.functions: set[Any] = set()  # the classes of ``autograd.Function`` that were called
        for name, child in module.named_modules():
            self.paths.setdefault(child, name)
        for name, tensor in held_tensors(module):  # what stands in plain attributes
            self.known[id(tensor)] = (BUFFER, name)
            self.buffers[storage_of(tensor)] = name
            self.alive.append(tensor)
        for name, parameter in module.named_parameters():
            self.known[id(parameter)] = (PARAMETER, name)
            self.trace.parameters[name] = tuple(parameter.shape)
            self.weights[storage_of(parameter)] = name
            if not parameter.requires_grad:
                self.trace.frozen |= {name}
        for name, buffer in module.named_buffers():
            self.known[id(buffer)] = (BUFFER, name)
            self.trace.buffers[name] = tuple(buffer.shape)
            self.buffers[storage_of(buffer)] = self.weights[storage_of(buffer)] = name
        for name, value in inputs.items():
            self.known[id(value)] = (INPUT, name)

    called = 0
    """How many functions were called, those of sizes and queries among them."""

    keeping = False
    """Whether what autograd keeps is written down."""

    rerunning = False
    """Whether what runs is computed again in backward."""

    def keep(self, tensor: Any) -> Any:
        """Note a tensor that is kept for backward; a result would hold the graph that holds it."""
        with torch._C.DisableTorchFunction():
            kept = tensor.detach()
        self.saved.append(kept)
        return kept

    def apart(self, apply: Any, own: Any, args: Any, kwargs: Any) -> Any:
        """Run an ``autograd.Function`` as one call, and note what it holds."""

        def run(*args: Any, **kwargs: Any) -> Any:
            made = apply(own, *args, **kwargs)
            for tensor in tensors_in(made):
                self.saved += tensors_in(getattr(tensor.grad_fn, "__dict__", {}))
            return made

        full = f"{own.__module__}.{own.__qualname__}"
        super().__exit__(None, None, None)
        try:
            return self.note(run, own.__name__, full, args, kwargs, partial(apply, own))
        finally:
            super().__enter__()

    @contextmanager
    def rerun(
        self, args: Sequence[Any], line: tuple[str, int], reentrant: bool = False,
        whole: bool = False,
    ) -> Iterator[None]:  # fmt: skip
        """Note that what runs meanwhile is computed again; ``args`` are what is kept for it."""
        if self.rerunning:
            raise ArchcostError(
                f"{self.where(line)}: what torch.utils.checkpoint keeps inside another is not known"
            )
        first = len(self.trace.calls)
        given = tuple(self.see(arg) for arg in args if isinstance(arg, torch.Tensor))
        self.alive += [arg.untyped_storage() for arg in args if isinstance(arg, torch.Tensor)]
        self.rerunning = True
        yield
        self.rerunning = False
        calls = range(first, len(self.trace.calls))
        self.trace.reruns.append(Rerun(calls, given, reentrant, whole, line))

    def _enter_module(self, module: Any, args: Any) -> None:
        if isinstance(module, torch.jit.ScriptModule):
            raise ArchcostError(
                f"{self.paths.get(module, '')}: a module of TorchScript hides its calls; "
                "build it without torch.jit.script"
            )
        name = self.paths.get(module, type(module).__name__)
        self.visits[name] += 1
        path = name if self.visits[name] == 1 else f"{name}#{self.visits[name]}"
        self.trace.classes[path] = type(module).__name__
        self.stack.append((path, module))

    def _leave_module(self, module: Any, args: Any, made: Any) -> None:
        if self.stack and self.stack[-1][1] is module:
            self.stack.pop()

    def __enter__(self) -> Any:
        """Begin to note calls."""
        hooks: Any = import_module("torch.nn.modules.module")
        self.hooks = [
            hooks.register_module_forward_pre_hook(self._enter_module),
            hooks.register_module_forward_hook(self._leave_module, always_call=True),
        ]
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        """End it."""
        for hook in self.hooks:
            hook.remove()
        return super().__exit__(*error)

    # Calls.

    def see(self, tensor: Any) -> Seen:
        """Return a tensor as calls see it."""
        kind, name = self.known.get(id(tensor), (CONSTANT, ""))
        call, place = self.made.get(id(tensor), (-1, 0))
        if call >= 0:
            kind, name = CALL, ""
        shape, memory = tuple(tensor.shape), tensor.untyped_storage()
        key = int(memory._cdata)
        if kind == CONSTANT and key in self.bases:  # PyTorch held it when no name did
            kind, (call, place) = CALL, self.bases[key]
        held = kind == CONSTANT and tensor.grad_fn is None and id(tensor) in KEPT
        if (
            kind == CONSTANT
            and not held
            and (tensor.grad_fn is not None or any(map(of_batch, shape)))
        ):
            raise ArchcostError(f"{self.where(line_of_code())}: {HIDES}")
        dtype = str(tensor.dtype).removeprefix("torch.")
        buffer = self.buffers.get(key, "")
        strides = tuple(tensor.stride())
        size = memory.nbytes()
        own = key in self.weights
        begin = tensor.storage_offset()
        return Seen(kind, name, call, place, shape, dtype, buffer, strides, key, size, own, begin)

    def seen(self, value: Any) -> Any:
        """Return arguments with tensors as calls see them."""
        if isinstance(value, torch.Tensor):
            return self.see(value)
        if isinstance(value, Size):
            return int(value)
        if isinstance(value, (list, tuple)):
            return (list if isinstance(value, list) else tuple)(map(self.seen, value))
        if isinstance(value, dict):
            return {key: self.seen(inner) for key, inner in value.items()}
        if isinstance(value, slice):
            ends = (value.start, value.stop, value.step)
            held = [isinstance(end, torch.Tensor) and not end.is_meta for end in ends]
            return slice(*(int(n) if h else self.seen(n) for n, h in zip(ends, held, strict=True)))
        return value

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run a function, and note the call if it makes tensors."""
        kwargs = kwargs or {}
        name = name_of(function)
        self.called += 1
        if self.called > MOST_CALLS:
            where = self.where(line_of_code())
            raise OneByOne(f"{where}: code makes more than {MOST_CALLS:,} calls of PyTorch")
        if name in SIZES:
            return sized(function(*args, **kwargs), self)
        if name in QUERIES:
            if name in OF_LAYOUT and not is_foreign(sys._getframe(1).f_globals["__name__"]):
                if name == "data_ptr" and not self.on_data:
                    raise self.refused(name, line_of_code(), RuntimeError("meta"))
                self.trace.asks_batch |= any(map(of_batch, args[0].shape))
            if name == "__len__":  # a plain number, whatever it is compared with
                self.trace.asks_batch |= of_batch(args[0].shape[0])
            return function(*args, **kwargs)
        if name in OPENED:
            return self.opened(function)(*args, **kwargs)
        args, kwargs = without_content(name, args, kwargs)
        full = overrides.resolve_name(function) or name
        if isinstance(function, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
            packet = getattr(function, "overloadpacket", function)
            full, name = packet._qualified_op_name, packet.__name__
        return self.note(function, name, full, args, kwargs)

    def note(
        self, function: Any, name: str, full: str, args: Sequence[Any], kwargs: Mapping[str, Any],
        plain: Any = None,
    ) -> Any:  # fmt: skip
        """Run a function, and note the call if it makes tensors; ``plain`` runs it by itself."""
        line, hidden = caller()
        if hidden:  # an operation that no function of Python has called
            self.refusal = ArchcostError(f"{self.where(line)}: {HIDES}")
            raise self.refusal
        if torch._C._functorch.maybe_current_level() is not None:
            raise ArchcostError(
                f"{self.where(line)}: {name} runs under torch.vmap or another transform of "
                "torch.func, which hides the shapes"
            )
        given = [*tensors_in(args), *tensors_in(kwargs)]
        if name in ("__iter__", "unbind") and goes_through_the_batch(given[0], args, kwargs):
            raise self.one_by_one(name)
        versions = [tensor._version for tensor in given]
        seen = tuple(map(self.seen, args)), {key: self.seen(v) for key, v in kwargs.items()}
        short = name[:-1] if name.endswith("_") and not name.endswith("__") else name
        watch = None if short in self.programs and short not in OF_MANY else Watch()
        learning = tuple(tensor.requires_grad for tensor in given)
        places = [storage_of(tensor) for tensor in given]
        self.saved = []
        try:
            with watch or nullcontext():
                known, numbers = with_numbers(name, args, kwargs)
                made = function(*known, **numbers)
        except (RuntimeError, NotImplementedError) as error:
            if name in ASKS:
                with suppress(LookupError):
                    return self.constants.answer(function, *seen)
            sizes: list[int] = []
            numbers = with_content((args, kwargs), self.number, sizes)
            if sizes:
                return self.note(function, name, full, numbers[0], numbers[1], plain)
            refusal = self.refused(name, line, error)
            asks = name in YES_OR_NO or (name == "item" and given[0].dtype == torch.bool)
            if asks and DEPENDS in str(refusal):
                return self.answered(line, refusal)
            raise refusal from error
        if name in ASKS and not self.on_data and self.constants.drawn & {*places}:
            raise ArchcostError(
                f"{self.where(line)}: {name} depends on numbers drawn at random; --run draws them "
                "from a fixed seed"
            )
        outs = [*tensors_in(made)]
        if len(outs) > MOST_OUTPUTS:
            refusal = OneByOne(f"{self.where(line)}: {name} makes {len(outs):,} tensors")
            refusal.larger = at(line) * (name in PARTED)
            raise refusal
        if name in OF_MANY and len(given) > 2 and torch.backends.opt_einsum.is_available():
            self.trace.larger, self.trace.asks_batch = at(line), True
        changed = [t for t, before in zip(given, versions, strict=True) if t._version != before]
        outs = outs or changed[:1]
        same = [tensor for tensor in outs if any(tensor is one for one in given)]
        loose = self.on_data or self.loose & {*places}
        counts = name.endswith("dropout") or (name == "contiguous" and loose)
        if not outs or (same and not changed and not counts):
            return made  # no tensor, or the one that went in
        number = len(self.trace.calls)
        self.alive += [tensor.untyped_storage() for tensor in (*given, *outs, *self.saved)]
        self.loosen(name, given, places, outs)
        del given, same
        learns = self.keeping and any(tensor.requires_grad for tensor in outs)
        again = None if changed else partial(run_again, plain or function, *seen, learning, learns)
        inside = self.inside(places, learning, outs, watch, again)
        if self.on_data and again and (watch or name in BY_PLACES):  # it needs what is in them
            between = run_again(plain or function, args, kwargs, learning, learns)
            inside = replace(inside, again=lambda: between)
        self.saved = []
        in_place = bool(changed) and outs[0] is changed[0]
        for place, tensor in enumerate(outs):
            if id(tensor) in self.made:  # it is changed in place
                self.trace.freed[self.made[id(tensor)]] = number + 1
            self.made[id(tensor)] = (number, place)
            if inside.outs[place].view < 0 or in_place:
                self.bases[storage_of(tensor)] = (number, place)
            self.held[id(tensor)] = ref(tensor, partial(self.gone, id(tensor)))
        path, module = self.stack[-1] if self.stack else ("", None)
        leaf = type(module).__module__.startswith("torch.nn.modules")
        told = tuple(map(self.see, outs))
        self.constants.note(function, *seen, outs, changed)
        self.trace.calls.append(Call(short, full, path, leaf, *seen, told, line, in_place, inside))
        for view, before in ((t, t._base) for t in changed if t._base is not None):
            # what is written through a view is written into the tensor that it is a view of
            args = (self.see(before), None, self.see(view))
            if id(before) in self.made:
                self.trace.freed[self.made[id(before)]] = len(self.trace.calls) + 1
            self.made[id(before)] = self.bases[storage_of(before)] = (len(self.trace.calls), 0)
            self.held[id(before)] = ref(before, partial(self.gone, id(before)))
            name, full = "__setitem__", "torch.Tensor.__setitem__"
            after = (self.see(before),)
            self.trace.calls.append(Call(name, full, path, False, args, {}, after, line))
        return made

    def number(self, tensor: Any) -> int | None:
        """Return the whole number that a constant is, None if it is none."""
        return self.constants.number(self.see(tensor)) if tensor.is_meta else None

    def loosen(
        self, name: str, given: Sequence[Any], places: list[int], outs: Sequence[Any]
    ) -> None:
        """Note which results have other strides if the batch is 1, or on a CPU."""
        made = {storage_of(tensor) for tensor in outs}
        own = bool(given) and not made & {*places} and not self.on_data
        copied = own and name in RESHAPED and copies_but_for_one(given[0], outs[0])
        turned = own and name not in (*RESHAPED, "contiguous") and turns(given[0], outs[0])
        if self.loose & {*places} or copied or turned:
            self.loose |= made

    def end(self) -> None:
        """Note which tensors of the pass live on."""
        for key, held in self.held.items():
            if (tensor := held()) is not None:
                KEPT[key] = ref(tensor, partial(_forget, key))
        self.held.clear()

    def gone(self, key: int, _: Any) -> None:
        """Note that no name holds a tensor any more."""
        self.trace.freed[self.made.pop(key)] = len(self.trace.calls)
        self.held.pop(key, None)

    def inside(
        self, places: list[int], learning: tuple[bool, ...], outs: Sequence[Any], watch: Any,
        again: Any,
    ) -> Inside:  # fmt: skip
        """Return what was seen of a call from inside: ``places`` are the storages that it reads."""
        made = [storage_of(tensor) for tensor in outs]
        told = tuple(
            Made(places.index(key) if key in places else -1, tuple(tensor.stride()),
                 tensor.element_size(), tensor.requires_grad)
            for key, tensor in zip(made, outs, strict=True)
        )  # fmt: skip
        keeps = kept_by(self.saved, places, made, self.weights) if self.keeping else None
        if watch is None:
            return Inside(told, keeps, learning, again=again)
        operations = tuple(watch.operations)
        return Inside(told, keeps, learning, operations, watch.macs, watch.unpriced, again)

    def opened(self, function: Any) -> Any:
        """Return a function whose own calls are noted, in place of it."""
        inside = {**function.__globals__, "has_torch_function": lambda *_: False}
        code = function.__code__
        twin = FunctionType(code, inside, code.co_name, function.__defaults__, function.__closure__)
        twin.__kwdefaults__ = function.__kwdefaults__

        def run(*args: Any, **kwargs: Any) -> Any:
            super(Tracer, self).__enter__()
            try:
                return twin(*args, **kwargs)
            finally:
                super(Tracer, self).__exit__(None, None, None)

        return run
