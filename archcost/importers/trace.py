"""A forward pass as a list of calls: what PyTorch's functions are called on, module by module.

The module runs on tensors of the device ``meta``, which have a shape and no content. A mode that
PyTorch asks before every function of its Python interface notes the call. What a function calls
inside is not noted, so that ``torch.nn.functional.linear`` is one call.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from types import FunctionType
from typing import Any
from unittest import mock

from archcost.errors import ArchcostError, shorten

torch: Any = import_module("torch")
overrides: Any = import_module("torch.overrides")

BATCH = 2**27 - 39
"""The batch of a pass that is traced: a prime, so that sizes with the batch in them tell."""
MOST_OUTPUTS = 10_000

PARAMETER, BUFFER, INPUT, CALL, CONSTANT = "parameter", "buffer", "input", "call", "constant"


@dataclass(frozen=True, slots=True)
class Seen:
    """A tensor as a call sees it.

    Attributes:
        kind: where it comes from: ``parameter buffer input call constant``.
        name: of the parameter, buffer or input.
        call, place: which call has made it, and which of its outputs it is.
        shape: with the batch.
        dtype: as PyTorch calls it, ``float32``.
        buffer: the name of the buffer in whose memory it lies, if in one.
    """

    kind: str
    name: str
    call: int
    place: int
    shape: tuple[int, ...]
    dtype: str
    buffer: str = ""


@dataclass(slots=True)
class Call:
    """A call of a function.

    Attributes:
        name: of the function: ``conv2d``, ``add``; without the underscore of the in-place form.
        full: its whole name: ``torch.nn.functional.conv2d``.
        path: of the module that calls it, with ``#2`` if the module runs a second time.
        leaf: whether that module is one of ``torch.nn``, and this is what it computes.
        args, kwargs: its arguments, each tensor as a :class:`Seen`.
        outs: the tensors that it returns.
        line: the file and line of the code that calls it.
    """

    name: str
    full: str
    path: str
    leaf: bool
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outs: tuple[Seen, ...]
    line: tuple[str, int]


@dataclass
class Trace:
    """The calls of a pass.

    Attributes:
        calls: in the order in which they begin.
        outputs: the tensors that the module returns.
        parameters: the sizes of the module's distinct parameters by their names.
        classes: the class of each module that ran, by its path.
    """

    calls: list[Call] = field(default_factory=list)
    outputs: tuple[Seen, ...] = ()
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    buffers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)


def tensors_in(value: Any) -> Iterator[Any]:
    """Yield the tensors in nested arguments, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from tensors_in(inner)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, name))


class Tracer(overrides.TorchFunctionMode):  # type: ignore[misc]
    """Notes the calls of a module's forward pass."""

    def __init__(self, module: Any, inputs: Mapping[str, Any]) -> None:
        super().__init__()
        self.trace = Trace()
        self.known: dict[int, tuple[str, str]] = {}
        self.made: dict[int, tuple[int, int]] = {}
        self.alive: list[Any] = [module, inputs]  # so that no id is given twice
        self.stack: list[tuple[str, Any]] = []
        self.visits: Counter[str] = Counter()
        self.paths: dict[Any, str] = {}
        self.buffers: dict[int, str] = {}
        for name, child in module.named_modules():
            self.paths.setdefault(child, name)
        for name, parameter in module.named_parameters():
            self.known[id(parameter)] = (PARAMETER, name)
            self.trace.parameters[name] = tuple(parameter.shape)
        for name, buffer in module.named_buffers():
            self.known[id(buffer)] = (BUFFER, name)
            self.trace.buffers[name] = tuple(buffer.shape)
            self.buffers[_storage(buffer)] = name
        for name, value in inputs.items():
            self.known[id(value)] = (INPUT, name)

    # Modules.

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
        dtype = str(tensor.dtype).removeprefix("torch.")
        buffer = self.buffers.get(_storage(tensor), "")
        return Seen(kind, name, call, place, tuple(tensor.shape), dtype, buffer)

    def seen(self, value: Any) -> Any:
        """Return arguments with tensors as calls see them."""
        if isinstance(value, torch.Tensor):
            return self.see(value)
        if isinstance(value, torch.Size):
            return tuple(value)
        if isinstance(value, (list, tuple)):
            made = [self.seen(inner) for inner in value]
            return tuple(made) if isinstance(value, tuple) else made
        if isinstance(value, dict):
            return {key: self.seen(inner) for key, inner in value.items()}
        if isinstance(value, slice):
            return slice(*map(self.seen, (value.start, value.stop, value.step)))
        return value

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run a function, and note the call if it makes tensors."""
        kwargs = kwargs or {}
        name = _name(function)
        if name in QUERIES:
            return function(*args, **kwargs)
        given = [*tensors_in(args), *tensors_in(kwargs)]
        versions = [tensor._version for tensor in given]
        if name in OPENED:
            return self.opened(function)(*args, **kwargs)
        seen = tuple(map(self.seen, args)), {key: self.seen(v) for key, v in kwargs.items()}
        line = _line()
        try:
            made = function(*args, **kwargs)
        except (RuntimeError, NotImplementedError) as error:
            raise self.refused(name, line, error) from error
        outs = [*tensors_in(made)]
        if len(outs) > MOST_OUTPUTS:
            raise ArchcostError(f"{_at(line)}: {name} makes {len(outs):,} tensors")
        changed = [t for t, before in zip(given, versions, strict=True) if t._version != before]
        outs = outs or changed[:1]
        same = [tensor for tensor in outs if any(tensor is one for one in given)]
        if not outs or (same and not changed and not name.endswith("dropout")):
            return made  # no tensor, or the one that went in
        number = len(self.trace.calls)
        self.alive += (given, outs)
        for place, tensor in enumerate(outs):
            self.made[id(tensor)] = (number, place)
        path, module = self.stack[-1] if self.stack else ("", None)
        leaf = type(module).__module__.startswith("torch.nn.modules")
        told = tuple(map(self.see, outs))
        short = name[:-1] if name.endswith("_") and not name.endswith("__") else name
        full = overrides.resolve_name(function) or name
        self.trace.calls.append(Call(short, full, path, leaf, *seen, told, line))
        for view, before in ((t, t._base) for t in changed if t._base is not None):
            # what is written through a view is written into the tensor that it is a view of
            args = (self.see(before), None, self.see(view))
            self.made[id(before)] = (len(self.trace.calls), 0)
            name, full = "__setitem__", "torch.Tensor.__setitem__"
            after = (self.see(before),)
            self.trace.calls.append(Call(name, full, path, False, args, {}, after, line))
        return made

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

    def refused(self, name: str, line: tuple[str, int], error: Exception) -> ArchcostError:
        """Return why a function does not run without data, or its own error."""
        path = self.stack[-1][0] if self.stack else ""
        where = f"{path or 'the module'} ({_at(line)})"
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if name in OF_DATA or "meta" in text:
            return ArchcostError(f"{where}: {name} depends on data, which archcost does not have")
        return ArchcostError(f"{where}: {name}: {text}")


OF_DATA = ("item", "__int__", "__float__", "__bool__", "__index__", "tolist", "nonzero", "numpy")
"""Functions whose result is in the content of a tensor."""

OPENED = ("multi_head_attention_forward",)
"""Functions in Python that are no layer: the calls inside are noted."""

QUERIES = frozenset({
    "size", "dim", "numel", "stride", "is_contiguous", "element_size", "is_floating_point",
    "get_device", "_assert", "is_complex", "ndimension", "__len__", "nelement", "storage_offset",
    "data_ptr", "is_same_size", "requires_grad_", "_assert_async", "is_tensor", "is_inference",
})  # fmt: skip
"""Functions that make no tensor."""

_NAMES: dict[Any, str] = {}


def _name(function: Any) -> str:
    """Return the last part of a function's name; of an attribute, the attribute's."""
    if function not in _NAMES:
        own = getattr(function, "__name__", "") or str(function)
        if own == "__get__":  # x.T, x.mT, x.data; x.shape gives no tensor
            own = getattr(getattr(function, "__self__", None), "__name__", own)
        _NAMES[function] = own
    return _NAMES[function]


def _storage(tensor: Any) -> int:
    return int(tensor.untyped_storage()._cdata)


def _line() -> tuple[str, int]:
    """Return the file and line of the code that calls a function of PyTorch."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("torch."):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _at(line: tuple[str, int]) -> str:
    return f"{line[0].rpartition('/')[2]}:{line[1]}"


@contextmanager
def _own_functions_refused(training: bool) -> Iterator[None]:
    """Refuse, in training, what decides by itself what it keeps for backward."""
    if not training:
        yield
        return

    def refuse(function: Any, *_: Any, **__: Any) -> Any:
        raise ArchcostError(
            f"what {function} keeps for backward is not known; memory in training cannot be read"
        )

    checkpointing: Any = import_module("torch.utils.checkpoint")
    names = checkpointing, "_checkpoint_without_reentrant_generator"
    apply = classmethod(lambda cls, *_, **__: refuse(cls.__name__))
    with (
        mock.patch.object(*names, partial(refuse, "torch.utils.checkpoint")),
        mock.patch.object(torch.autograd.Function, "apply", apply),
    ):
        yield


def trace(module: Any, inputs: Mapping[str, Any], training: bool = False) -> Trace:
    """Return the calls of a forward pass.

    Args:
        module: on the device ``meta``.
        inputs: tensors on ``meta`` by the names of its arguments.
        training: the mode in which it runs.

    Raises:
        ArchcostError: the pass depends on data, or cannot be seen; with the module and the line.
    """
    module.train(training)
    tracer = Tracer(module, inputs)
    try:
        with torch.set_grad_enabled(training), _own_functions_refused(training), tracer:
            named = all(map(str.isidentifier, inputs))
            made = module(**inputs) if named else module(*inputs.values())
    except ArchcostError:
        raise
    except Exception as error:  # whatever a foreign module raises
        text = f"{type(error).__name__}: {shorten(error, 200)}"
        raise ArchcostError(f"{type(module).__name__} does not run so: {text}") from error
    tracer.trace.outputs = tuple(map(tracer.see, tensors_in(made)))
    return tracer.trace
