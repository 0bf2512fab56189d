"""The largest memory in use at once, in inference and in a training step, tensor by tensor.

The network is run without its numbers: every operation makes, keeps and drops storages as PyTorch
does, and a ledger adds up what is alive. The rules of a step, with where PyTorch has them:

1. A module's arguments live until its call returns, and so do a function's local variables.
2. Backward visits operations in the reverse of the order in which they ran. While one runs, its
   incoming gradient, all its results and what it kept are alive (``engine.cpp``,
   ``evaluate_function``); then it drops what it kept, and only then its results are accumulated.
3. Gradients of parameters are taken over without a copy if they lie in memory as the parameters
   do (``accumulate_grad.h``). The gradient of the loss itself, one element, lives as long as
   backward.
4. Where several operations read a tensor, its gradients are added: in place if nobody else holds
   the sum's storage (``input_buffer.cpp``), else into a new tensor.

The step is ``main(model(x)).sum().backward()``, the optimizer's update, and gradients set to None:
the loss holds one element and the output lives until it is summed. It is not the first step, so
that the optimizer's state exists.
"""

from __future__ import annotations

from collections.abc import Sequence

from archcost.errors import ArchcostError
from archcost.memory.forward import EAGER, READINGS
from archcost.memory.ledger import SAVED, STATE
from archcost.memory.mode import PLAIN, Mode
from archcost.memory.optimizers import find_kernel, find_optimizer
from archcost.memory.simulation import Run, Simulation
from archcost.network import Network


def inference_peak(
    network: Network,
    batch: int = 1,
    dtype: str = "float32",
    device: str = "cpu",
    reading: str = EAGER,
    block: int = 1,
    mode: Mode = PLAIN,
    observed: bool = False,
) -> Run:
    """Return the memory of a forward pass in evaluation mode without gradients.

    Args:
        network: from :func:`archcost.load`.
        batch: samples per pass.
        dtype: data type of parameters and activations.
        device: ``"cpu"`` or ``"cuda"``.
        reading: ``"eager"``, as PyTorch runs it: a module's arguments live until it returns, and
            the caller holds the input. ``"ideal"``, what a planner could reach without changing
            the order or the operations: every storage is dropped after its last use.
        block: the allocator's block; :data:`CUDA_BLOCK` on CUDA, 1 for bare tensors.
        mode: how the pass is run.
        observed: as an observer of every operation sees it, see :func:`training_peak`.

    Raises:
        ArchcostError: an unknown device, dtype or reading, or a layer whose steps are not known.
    """
    if reading not in READINGS:
        raise ArchcostError(f"unknown reading {reading!r}; expected eager or ideal")
    run = Simulation(
        network, batch, dtype, device, block, training=False, reading=reading, mode=mode,
        observed=observed,
    )  # fmt: skip
    run.forward()
    return run.result()


def training_peak(
    network: Network,
    batch: int = 1,
    dtype: str = "float32",
    device: str = "cpu",
    optimizer: str = "sgd-momentum",
    kernel: str | None = None,
    weight_decay: bool = False,
    freeze: Sequence[str] = (),
    block: int = 1,
    observed: bool = False,
    mode: Mode = PLAIN,
) -> Run:
    """Return the memory of a training step after the first.

    Args:
        network: from :func:`archcost.load`.
        batch: samples per pass.
        dtype: data type of parameters and activations.
        device: ``"cpu"`` or ``"cuda"``.
        optimizer: name in :data:`archcost.memory.optimizers.OPTIMIZERS`.
        kernel: ``"foreach"``, ``"fused"`` or ``"for-loop"``; None for PyTorch's choice.
        weight_decay: whether the optimizer decays the weights.
        freeze: shell patterns of layers that are not trained.
        block: as for :func:`inference_peak`.
        observed: as an observer of every operation on fake tensors sees it, PyTorch's MemTracker
            for one: gradients are added out of place, and batch normalisation makes a gradient of
            its input that nobody asked for, as it does on CUDA. A map that is rolled along two axes
            is not seen in between. Under autocast its statistics are
            kept in the type of the activations.
        mode: how the step is run.

    Raises:
        ArchcostError: an unknown name or pattern, nothing to train, or a layer whose steps are
            not known.
    """
    rule, kernel = find_optimizer(optimizer), find_kernel(kernel, device)
    run = Simulation(
        network,
        batch,
        dtype,
        device,
        block,
        training=True,
        freeze=freeze,
        mode=mode,
        observed=observed,
    )
    state = rule.state(run.trained, kernel, device)
    for size in state:
        run.ledger.new(size, STATE)
    run.forward()
    saved = run.ledger.kinds[SAVED]
    run.backward()
    run.update(list(rule.transients(run.trained, kernel, weight_decay)))
    return run.result(state=sum(state), saved=saved)
