"""What a module that somebody else wrote keeps for backward, draws at random and trains.

One pass in training mode on fake tensors, which act as a CPU's but hold nothing. Every storage
that autograd keeps is written down with the calls that keep it, so that a difference has a name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any
from weakref import ref

from archcost.network import Value
from archcost.proofs.dataflow import tensors_of
from archcost.proofs.watch import light_copy
from archcost.pytorch import as_written, import_torch, random_values
from archcost.pytorch.grouped import grouped_products
from archcost.pytorch.held import held_tensors
from archcost.shape import Shape

PADS, DROPS, POOLS = "pads", "drops", "pools"
"""Kinds of calls that a network may make, or leave out, without computing anything else."""

DROP_RATES = ("p", "drop_prob", "drop_rate", "dropout")
"""Attributes under which modules hold the probability that they drop something."""

_DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "native_dropout")
_MEANS = ("avg_pool", "adaptive_avg_pool")


@dataclass
class Call:
    """One call of a function of PyTorch.

    Attributes:
        name: as PyTorch has it: ``conv2d``, ``mul``.
        module: path of the innermost module that runs.
        kind: ``PADS``, ``DROPS`` or ``POOLS`` where it is of that kind, else empty.
        pointwise: whether every operation that it dispatches is a function of each element.
    """

    name: str
    module: str
    kind: str = ""
    pointwise: bool = True

    def __str__(self) -> str:
        """Return the name and where: ``mul in layer1.0``."""
        return f"{self.name} in {self.module}" if self.module else self.name


@dataclass
class Storage:
    """A storage that autograd keeps: its bytes, a shape seen of it, the calls that keep it."""

    bytes: int
    shape: Shape
    drawn: bool
    calls: list[Call] = field(default_factory=list)


@dataclass
class Pass:
    """What one pass in training mode did.

    Attributes:
        kept: the storages kept for backward, by a number.
        same: for the result of a call of a kind, the storage that the call read, and its bytes.
        draws: for each random draw, how many numbers, and with which probability each is 1; None
            for one of another distribution.
        trained: names of the parameters that get a gradient.
    """

    kept: dict[int, Storage] = field(default_factory=dict)
    same: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    draws: list[tuple[int, float | None]] = field(default_factory=list)
    trained: frozenset[str] = frozenset()

    def storages(self, kinds: Collection[str]) -> dict[int, Storage]:
        """Return what is kept, were the calls of some kinds not made.

        They keep nothing then, and their results are what they read.
        """
        links = {made: read for kind in kinds for made, read in self.same.get(kind, {}).items()}
        found: dict[int, Storage] = {}
        for key, storage in self.kept.items():
            calls = [call for call in storage.calls if call.kind not in kinds]
            size, met = storage.bytes, {key}
            while key in links and links[key][0] not in met:
                key, size = links[key]
                met.add(key)
            if calls:
                own = found.setdefault(key, replace(storage, bytes=size, calls=[]))
                own.calls.extend(calls)
        return found


def fake_of(module: Any) -> tuple[Any, Any]:
    """Return a copy of a module on fake tensors of float32, and the mode in which it runs."""
    torch = import_torch()
    mode: Any = import_module("torch._subclasses.fake_tensor").FakeTensorMode
    fake = mode(allow_non_fake_inputs=True)

    def empty(tensor: Any) -> Any:
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        with fake:
            return torch.empty(tensor.shape, dtype=dtype, device="cpu")

    return light_copy(module, empty).train(), fake


def work_out_of_place(copy: Any) -> None:
    """Have the modules that would change their input make a new tensor instead."""
    for child in copy.modules():
        if getattr(child, "inplace", None) is True:
            child.inplace = False


def drop_nothing(module: Any) -> None:
    """Set every probability of dropping something to 0, so that training mode is not random."""
    for child in module.modules():
        for name in DROP_RATES:
            if isinstance(getattr(child, name, None), float):
                setattr(child, name, 0.0)


def drops_no_scores() -> Any:
    """Return a mode in which attention drops none of its scores: it takes a number, no module."""
    torch = import_torch()
    overrides: Any = import_module("torch.overrides")
    attention = torch.nn.functional.scaled_dot_product_attention

    class Whole(overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = dict(kwargs or {})
            if function is attention:
                args = (*args[:4], *(0.0 for _ in args[4:5]), *args[5:])
                kwargs |= {"dropout_p": 0.0} if "dropout_p" in kwargs else {}
            return function(*args, **kwargs)

    return Whole()


def run(
    copy: Any, fake: Any, inputs: Iterable[Value], batch: int,
    sample: Callable[[int], Sequence[Any]] | None = None,
) -> Pass:  # fmt: skip
    """Run a copy of :func:`fake_of`, in its mode, in training on a batch of each input.

    A copy with its weights runs in a mode that does nothing, on random numbers or on those that
    ``sample`` returns for a batch.
    """
    torch = import_torch()
    names = {id(p): name for name, p in copy.named_parameters()}
    with fake:
        tensors = random_values(inputs, batch) if sample is None else sample(batch)
    recorder, done = _recorder(torch, copy), Pass()
    threads = torch.get_num_threads()
    recorder.done = done
    hooks = [hook for name, module in copy.named_modules() for hook in recorder.at(name, module)]
    saved = torch.autograd.graph.saved_tensors_hooks(recorder.keep, lambda kept: kept.tensor)
    try:
        torch.set_num_threads(max(2, threads))  # one has kernels of its own: ConvParams::use_mkldnn
        with fake, recorder.dispatched(), recorder, saved, grouped_products(), as_written():
            made = copy(*tensors)
            recorder.count()  # while what it returns holds the graph
        found = _reached(tensors_of(made))
        done.trained = frozenset(names[id(p)] for p in found if id(p) in names)
        return done
    finally:
        torch.set_num_threads(threads)
        for hook in hooks:
            hook.remove()
        recorder.holders.clear()
        recorder.alive.clear()  # the graph holds the hooks, which would hold it


def _reached(outputs: Iterable[Any]) -> Iterator[Any]:
    """Yield the leaves to which gradients of the outputs flow."""
    waiting = [output.grad_fn for output in outputs if output.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            yield node.variable
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


def _key(tensor: Any) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Holder:
    """A tensor as the graph holds it."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor


def _recorder(torch: Any, module: Any) -> Any:
    overrides: Any = import_module("torch.overrides")
    dispatch: Any = import_module("torch.utils._python_dispatch")
    plain = [tensor for _, tensor in held_tensors(module)]  # count among the buffers
    lasting = (*module.parameters(), *module.buffers(), *plain)
    held = [tensor.untyped_storage() for tensor in lasting]
    own = {int(storage._cdata) for storage in held}

    class Recorder(overrides.TorchFunctionMode):  # type: ignore[misc]
        """Knows which call runs in which module, and what the call reads and makes."""

        def __init__(self) -> None:
            super().__init__()
            self.done: Pass
            self.alive = [*held]  # so that no storage gets the number of another
            self.modules: list[str] = []
            self.calls: list[Call] = []
            self.drawn: set[int] = set()
            self.holders: list[tuple[Any, Any, Call]] = []

        def at(self, name: str, module: Any) -> tuple[Any, Any]:
            def leave(*_: Any) -> None:
                self.modules.pop()

            enter = module.register_forward_pre_hook(lambda *_: self.modules.append(name))
            return enter, module.register_forward_hook(leave)

        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = getattr(function, "__name__", "")
            if name == "__get__":  # of a property, such as its shape
                return function(*args, **(kwargs or {}))
            call = Call(name.strip("_"), self.modules[-1] if self.modules else "")
            read = tensors_of((args, kwargs or {}))
            self.calls.append(call)
            try:
                result = function(*args, **(kwargs or {}))
            finally:
                self.calls.pop()
            made = tensors_of(result)
            if len(made) == 1 and read:
                call.kind = _kind(call.name, read[0], made[0])
            if call.kind in (PADS, DROPS) or (call.kind and made[0].shape == read[0].shape):
                source = _key(read[0]), read[0].untyped_storage().nbytes()
                self.done.same.setdefault(call.kind, {})[_key(made[0])] = source
            if read and all(_key(tensor) in self.drawn for tensor in read):
                self.drawn.update(map(_key, made))
            self.alive += [tensor.untyped_storage() for tensor in made]
            return result

        def keep(self, tensor: Any) -> Any:
            plain = tensor.detach()  # a result would hold the graph that holds it
            kept = _Holder(plain)
            if _key(tensor) not in own:
                call = self.calls[-1] if self.calls else Call("autograd", "")
                self.holders.append((ref(kept), plain, call))
            return kept

        def count(self) -> None:
            """Write down what is still kept: a part of the graph that leads nowhere is gone."""
            for holder, tensor, call in self.holders:
                if holder() is not None:
                    key = _key(tensor)
                    size, shape = tensor.untyped_storage().nbytes(), tuple(tensor.shape)
                    found = self.done.kept.setdefault(key, Storage(size, shape, key in self.drawn))
                    found.calls.append(call)

        def dispatched(self) -> Any:
            random, pointwise = torch.Tag.nondeterministic_seeded, torch.Tag.pointwise
            recorder = self

            class Dispatched(dispatch.TorchDispatchMode):  # type: ignore[misc]
                def __torch_dispatch__(
                    self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
                ) -> Any:
                    result = operation(*args, **(kwargs or {}))
                    made = tensors_of(result)
                    alone = pointwise in operation.tags or operation.is_view
                    if recorder.calls and made and not alone:
                        recorder.calls[-1].pointwise = False
                    if random in operation.tags and _draws(operation, args, kwargs or {}):
                        recorder.draw(operation, args, kwargs or {}, made)
                    return result

            return Dispatched()

        def draw(self, operation: Any, args: Any, kwargs: Any, made: Any) -> None:
            p = _given(operation, args, kwargs).get("p")
            bernoulli = operation.overloadpacket.__name__ == "bernoulli_" and isinstance(p, float)
            self.done.draws.append((made[0].numel(), p if bernoulli else None))
            self.drawn.update(map(_key, made))
            self.alive += [tensor.untyped_storage() for tensor in made]

    return Recorder()


def _given(operation: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return the arguments of an operation by name, with those that it takes by default."""
    schema = operation._schema.arguments
    given: dict[str, Any] = {argument.name: argument.default_value for argument in schema}
    return {**given, **dict(zip(given, args, strict=False)), **kwargs}


def _draws(operation: Any, args: Any, kwargs: Any) -> bool:
    """Return whether an operation that may draw random numbers does, as attention may."""
    return bool(_given(operation, args, kwargs).get("dropout_p", 1.0))


def _kind(name: str, read: Any, made: Any) -> str:
    """Return of which kind a call is, from what it reads and what it makes."""
    if name in ("pad", "constant_pad_nd"):
        return PADS
    if name.strip("_") in _DROPOUTS:
        return DROPS
    if name.startswith(_MEANS) and (made.shape == read.shape or set(made.shape[2:]) == {1}):
        return POOLS
    return ""
