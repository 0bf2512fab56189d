"""The training check: FLOPs of a forward and a backward pass, as PyTorch dispatches them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from math import prod
from typing import Any

from archcost.analysis.training import training_step
from archcost.network import Network
from archcost.proofs import Check, Subject, validator
from archcost.proofs.dataflow import tensors_of
from archcost.proofs.watch import (
    copy_on,
    failed_run,
    frozen,
    has_fused_attention,
    has_fused_steps,
    operations_device,
    training_batch,
)
from archcost.pytorch import output_tensors, random_inputs, sum_of
from archcost.pytorch.counter import LEFT_OUT
from archcost.pytorch.watch import Watch

GROUP = "training"


@validator(GROUP)
def training(subject: Subject) -> Iterator[Check]:
    """Compare the FLOPs of each layer, forward and backward, with the operations dispatched.

    Convolutions, matrix products and fused attention count, 2 per multiply-accumulate, from the
    shapes that reach them; of a convolution's backward only the gradients that its output mask
    asks for. The step runs on the subject's device or, where that takes longer, on the meta device,
    which is given the same operations as any other, fused attention aside. A CPU has all steps of
    an LSTM in one operation, so that these run on meta.
    """
    network = subject.network
    singly = has_fused_steps(network)
    if has_fused_attention(network) and (singly or subject.device == "meta"):
        reason = "there is no fused attention on the meta device"
        yield Check(GROUP, "FLOPs", "", None, None, skipped=reason)
        return
    batch, note = training_batch(network, subject.batch)
    expected = training_step(network, batch, subject.setting.freeze)
    device = "meta" if singly else operations_device(subject)
    twin = copy_on(subject, device).train()
    inputs = random_inputs(network, batch, device)
    with frozen(twin, network, subject.setting.freeze):
        step = DispatchedStep(network, twin, *inputs)
    if step.error is not None:
        yield failed_run(GROUP, step.stopped_at, step.error)
        return
    # of code, a function's operations go by the module before it
    for layer in expected.layers if network.module is None else ():
        path = layer.layer.path
        for name, predicted, measured in (
            ("forward FLOPs", layer.forward, step.forward[path]),
            ("backward FLOPs", layer.backward, step.backward[path]),
        ):
            if predicted or measured:
                yield Check(GROUP, name, path, predicted, measured, note=note)
    yield Check(GROUP, "forward FLOPs", "", expected.forward, step.forward.total(), note=note)
    backward = step.backward.total()
    peer = step.flop_counter_mode - step.forward.total()
    if peer != backward:
        more = f"FlopCounterMode counts {peer:,}: its weight gradient ignores groups"
        note = "; ".join(filter(None, (note, more)))
    yield Check(GROUP, "backward FLOPs", "", expected.backward, backward, note=note)


class DispatchedStep:
    """The FLOPs of the operations that one training step dispatches, by layer.

    ``flop_counter_mode`` is what PyTorch's own counter says of the same step. An error of the twin
    is kept in ``error``, with the layer at which it ``stopped_at``.
    """

    def __init__(self, network: Network, twin: Any, *inputs: Any) -> None:
        self.forward: Counter[str] = Counter()
        self.backward: Counter[str] = Counter()
        self.error: Exception | None = None
        self._counts, self._layer = self.forward, ""
        self._hooks: dict[Any, Any] = {}
        peer = import_module("torch.utils.flop_counter").FlopCounterMode(display=False)
        watch = Watch(network, twin, self._enter, self._leave)
        with watch:
            try:
                with peer, _dispatch_mode(self._count):
                    results = tensors_of(twin(*inputs))
                    loss = sum(map(sum_of, results))
                    self._counts = self.backward
                    if loss.requires_grad:  # the counter's hooks refuse `autograd.grad` of leaves
                        loss.backward()
            except Exception as error:  # whatever a wrong twin may raise is the finding
                self.error = error
            finally:
                for hook in self._hooks.values():  # a node that leads to itself is never freed
                    hook.remove()
                self._hooks.clear()
                twin.zero_grad()
        self.stopped_at = watch.running
        self.flop_counter_mode = int(peer.get_total_flops())

    def _enter(self, path: str, _: tuple[Any, ...]) -> None:
        self._layer = path

    def _leave(self, path: str, output: Any) -> None:
        # the node that made the output runs first of the layer's in the backward pass; a layer
        # that passes its input on has no node of its own
        for tensor in output_tensors(output):
            node = tensor.grad_fn
            if node is not None and node not in self._hooks:
                self._hooks[node] = node.register_prehook(lambda _: setattr(self, "_layer", path))

    def _count(self, operation: Any, arguments: tuple[Any, ...], result: Any) -> None:
        rule = _RULES.get(str(operation.overloadpacket).removeprefix("aten."))
        if rule is not None:
            self._counts[self._layer] += rule(arguments, result)


def _dispatch_mode(count: Callable[[Any, tuple[Any, ...], Any], None]) -> Any:
    base: Any = import_module("torch.utils._python_dispatch").TorchDispatchMode

    class Dispatched(base):  # type: ignore[misc]
        def __torch_dispatch__(
            self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = operation(*args, **(kwargs or {}))
            count(operation, args, result)
            return result

    return Dispatched()


def _convolution_flops(weight: Any, x: Any, y: Any, transposed: bool) -> int:
    """Return 2 per product: each position of ``y``, or of ``x`` if transposed, sees all weights.

    A weight holds only the channels of its own group, so groups need no further care.
    """
    positions = prod((x if transposed else y).shape[2:])
    return int(2 * x.shape[0] * positions * prod(weight.shape))


def _convolution(arguments: tuple[Any, ...], result: Any) -> int:
    x, weight, transposed = arguments[0], arguments[1], arguments[6]
    return _convolution_flops(weight, x, result, transposed)


def _convolution_backward(arguments: tuple[Any, ...], _: Any) -> int:
    gradient, x, weight, transposed, mask = (*arguments[:3], arguments[7], arguments[10])
    return _convolution_flops(weight, x, gradient, transposed) * sum(map(bool, mask[:2]))


def _product(left: Any, right: Any) -> int:
    """Return 2 per product of ``(..., n, k)`` and ``(..., k, m)``."""
    return int(2 * prod(left.shape) * right.shape[-1])


def _attention(arguments: tuple[Any, ...], _: Any) -> int:
    """Return the products of queries with keys, and of scores with values."""
    q, k, v = arguments[:3]
    return int(2 * prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1]))


def _attention_backward(arguments: tuple[Any, ...], _: Any) -> int:
    """Return those of the scores, made again, and of the gradients of all four factors."""
    q, k, v = arguments[1:4]
    return int(2 * prod(q.shape[:-1]) * k.shape[-2] * (3 * q.shape[-1] + 2 * v.shape[-1]))


def _deformed(arguments: tuple[Any, ...], result: Any) -> int:
    return _convolution_flops(arguments[1], arguments[0], result, False)


def _deformed_backward(arguments: tuple[Any, ...], _: Any) -> int:
    """Return those of the gradients of what is sampled and of the weight: both are made."""
    gradient, x, weight = arguments[:3]
    return 2 * _convolution_flops(weight, x, gradient, False)


def _trilinear(arguments: tuple[Any, ...], result: Any) -> int:
    """Return those of a matrix product over rows and all features; forward takes a second one.

    Backward multiplies element by element in place of one of both.
    """
    sizes: dict[int, int] = {}
    for tensor, missing in zip(arguments[:3], arguments[3:6], strict=True):
        sizes |= zip((d for d in range(4) if d not in missing), tensor.shape, strict=True)
    second = prod(result.shape) * sizes[3] if arguments[6] == [2, 3] else 0
    return 2 * (prod(sizes.values()) + second)


_FUSED = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")

_RULES: dict[str, Callable[[tuple[Any, ...], Any], int]] = {
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "torchvision.deform_conv2d": _deformed,
    "torchvision._deform_conv2d_backward": _deformed_backward,
    "_trilinear": _trilinear,
    "_grouped_mm": lambda arguments, _: 2 * LEFT_OUT["_grouped_mm"](*arguments),
    "mm": lambda arguments, _: _product(arguments[0], arguments[1]),
    "bmm": lambda arguments, _: _product(arguments[0], arguments[1]),
    "addmm": lambda arguments, _: _product(arguments[1], arguments[2]),
    "baddbmm": lambda arguments, _: _product(arguments[1], arguments[2]),
    **{f"_scaled_dot_product_{name}": _attention for name in _FUSED},
    **{f"_scaled_dot_product_{name}_backward": _attention_backward for name in _FUSED},
}
