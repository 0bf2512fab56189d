"""The backward pass of the storages reading: the engine of autograd, node by node.

1. Backward visits operations in the reverse of the order in which they ran. While one runs, its
   incoming gradient, all its results and what it kept are alive (``engine.cpp``,
   ``evaluate_function``); then it drops what it kept, and only then its results are accumulated.
2. A result of another shape or type than its tensor is summed or cast (``validate_outputs``).
3. A parameter gets its gradient when those of all operations that read it are there
   (``compute_dependencies``). It takes the gradient over without a copy if both have the same
   layout (``accumulate_grad.h``). The gradient of the loss itself, one element, lives as long as
   backward.
4. Where several operations read a tensor, its gradients are added: in place if nobody else holds
   the sum's storage (``input_buffer.cpp``), else into a new tensor. A view, such as the gradient of
   a turned weight, holds the tensor that it is one of. A result that is added, and not
   taken over, lives until all results of its operation have gone where they belong.
"""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush

from archcost.layout import elementwise
from archcost.primitives.reductions import sum_in_float32
from archcost.primitives.row import FULL, JOIN, NEW, SAME
from archcost.readings.ledger import BACKWARD, FORWARD, TRANSIENT, Ledger
from archcost.readings.tensors import Edge, Node, Parameter, Tensor


def backward(ledger: Ledger, outputs: list[Tensor], observed: bool) -> None:
    """Sum the main output up and run backward from there; ``outputs`` is emptied.

    Args:
        ledger: of the forward pass.
        outputs: of the network; the first one is the main one.
        observed: an observer of operations sees gradients added into new tensors.
    """
    main = outputs[0]
    node, place, shape = main.node, main.place, main.shape
    assert node is not None  # the caller has seen to it
    ledger.enter(FORWARD)
    loss = main.like(())
    if not observed:
        [main.like((n,), itemsize=1) for n in sum_in_float32(main, range(len(shape)), ())]
    del main, outputs[:]
    ledger.enter(BACKWARD)
    root = loss.like(())
    arrived = {node: {place: root.view(shape, (0,) * len(shape))}}
    del node
    sweep(ledger, arrived, observed)
    ledger.enter(BACKWARD)


def sweep(ledger: Ledger, arrived: dict[Node, dict[int, Tensor]], observed: bool) -> None:
    """Run backward from nodes, at whose outputs gradients have ``arrived``."""
    left = _readers([*arrived]) if ledger.shared else {}
    waiting: dict[Parameter, dict[int, Tensor]] = {}  # the sums so far
    ahead = sorted((-node.number, node) for node in arrived)
    while ahead:
        node = heappop(ahead)[1]
        ledger.enter(BACKWARD, node.layer)
        if node.recompute:
            results = node.recompute(arrived.pop(node))
        else:
            results = _gradients(ledger, node, arrived.pop(node))
        node.saved = ()
        learnt: list[tuple[Edge, Tensor]] = []
        alone = len(results) < 2 or len({*results}) == len(results)
        added: list[Tensor] = []
        results.reverse()
        for edge in node.edges:
            result = results.pop()
            if edge.late:
                added.clear()
                result.viewed = True
            if isinstance(edge.to, Parameter):
                ahead_of = left.get(edge.to, 1) - 1
                left[edge.to] = ahead_of
                if edge.to in waiting:
                    added.append(result)
                    _accumulate(waiting[edge.to], 0, result, observed)
                    result = waiting[edge.to][0]
                elif ahead_of:
                    waiting[edge.to] = {0: result.alias()}  # others may hold it
                    waiting[edge.to][0].viewed = result.viewed
                if not ahead_of:
                    waiting.pop(edge.to, None)
                    learnt.append((edge, result))
            elif edge.to not in arrived:
                arrived[edge.to] = {edge.place: result}
                heappush(ahead, (-edge.to.number, edge.to))
            else:
                added.append(result)
                _accumulate(arrived[edge.to], edge.place, result, observed)
            del result
        added.clear()
        if alone:
            while learnt:
                _arrive(*learnt.pop(0), shared=False)
        elif learnt:
            passed = [arrived[e.to].get(e.place) for e in node.edges if e.to in arrived]
            while learnt:
                edge, result = learnt.pop(0)
                others = [*passed, *(other for _, other in learnt)]
                _arrive(edge, result, any(other is result for other in others))
                del others, result
            del passed


def _readers(ahead: list[Node]) -> Counter[Parameter]:
    """Return how many gradients of each parameter a backward pass from nodes makes."""
    readers: Counter[Parameter] = Counter()
    seen = {*ahead}
    while ahead:
        for edge in ahead.pop().edges:
            if isinstance(edge.to, Parameter):
                readers[edge.to] += 1
            elif edge.to not in seen:
                seen.add(edge.to)
                ahead.append(edge.to)
    return readers


def _gradients(ledger: Ledger, node: Node, incoming: dict[int, Tensor]) -> list[Tensor]:
    """Return the gradients of what a node has read."""
    kept = [saved.get() for saved in node.saved]
    if ledger.layer != node.layer:  # a region has been computed again
        ledger.enter(BACKWARD, node.layer)
    gradient = next(iter(incoming.values()))
    if node.flattens and not gradient.layout.is_rows:
        gradient = gradient.like(gradient.shape)
        incoming.clear()
    results = [_gradient(edge, gradient) for edge in node.edges]
    scratch = [gradient.like((n,), itemsize=width) for n, width in node.scratch]
    copied = node.copies(gradient) if node.copies is not None else 0
    if copied:
        scratch.append(gradient.like(gradient.shape if copied is True else (copied,)))
    if node.outs:
        for place, (shape, _) in enumerate(node.outs):
            if place not in incoming:  # zeros: of its size, or one that is repeated
                whole = len(shape) == len(node.edges[0].shape)
                scratch.append(gradient.like(shape if whole else ()))
    del kept, scratch
    for place, edge in enumerate(node.edges):
        result = results[place]
        if result.shape != edge.shape:
            results[place] = result = _summed(result, edge)
        if result.itemsize != edge.itemsize:
            results[place] = result.like(edge.shape, itemsize=edge.itemsize, kind=edge.kind)
    return results


def _summed(result: Tensor, edge: Edge) -> Tensor:
    """Return a gradient summed up to the shape of its tensor, which was repeated."""
    more = len(result.shape) - len(edge.shape)
    own = (*((1,) * more), *edge.shape)
    dims = [d for d, n in enumerate(result.shape) if n != own[d]]
    made = result.like(edge.shape, kind=edge.kind)
    if not result.storage.ledger.observed:
        [result.like((n,), itemsize=1) for n in sum_in_float32(result, dims, edge.shape)]
    return made


def _gradient(edge: Edge, gradient: Tensor) -> Tensor:
    """Return the gradient that an operation makes for one edge, by the rule of its row."""
    rule = edge.rule
    if rule is NEW or rule is JOIN:
        return gradient.like(edge.shape, edge.strides, edge.itemsize, edge.kind)
    if rule is SAME:
        return gradient
    if rule is FULL:
        return gradient.like(gradient.shape, elementwise(gradient.layout))
    made: Tensor = rule(gradient)
    made.viewed = made.storage is gradient.storage
    return made


def _arrive(edge: Edge, gradient: Tensor, shared: bool) -> None:
    """Take a parameter's gradient over; copy one that others hold too, or that lies otherwise."""
    parameter = edge.to
    assert isinstance(parameter, Parameter)
    if parameter.grad is not None:  # of a backward pass within this one: it is added in place
        return
    if shared or not parameter.layout.same_order(gradient.strides):
        gradient = gradient.like(edge.shape, parameter.strides, kind=edge.kind)
    if gradient.storage.kind == TRANSIENT:
        gradient.storage.become(edge.kind)
    parameter.grad = gradient


def _accumulate(places: dict[int, Tensor], place: int, result: Tensor, observed: bool) -> None:
    """Add a gradient to those that have arrived at an output of a node."""
    known = places.get(place)
    if known is None:
        places[place] = result
    elif observed or known.viewed or known.storage.holders > 1 or not known.layout.is_dense:
        places[place] = known.like(known.shape, elementwise(known.layout, result.layout))
