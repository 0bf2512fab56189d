"""The largest memory in use at once, in inference and in a training step, tensor by tensor.

The network is run without its numbers: every operation makes, keeps and drops storages as PyTorch
does (:mod:`archcost.readings`), and a ledger adds up what is alive. A module's arguments live until
its call returns, and so do a function's local variables.

The step is ``main(model(x)).sum().backward()``, the optimizer's update, and gradients set to None:
the loss holds one element and the output lives until it is summed. It is not the first step, so
that the optimizer's state exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archcost.analysis.parameters import complex_params, param_bytes
from archcost.analysis.training import learning, reached_from
from archcost.collector import uncollected
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.ops.base import BYTES
from archcost.optimizers import FUSED, find_kernel, find_optimizer
from archcost.readings.autograd import backward
from archcost.readings.ledger import (
    BUFFERS,
    FORWARD,
    INPUTS,
    PARAMETERS,
    SAVED,
    STATE,
    UPDATE,
    Moment,
    Peak,
    Storage,
)
from archcost.readings.planned import Planned, ideal_peak
from archcost.readings.storages import Storages
from archcost.setting import Setting
from archcost.units import ComplexBytes

EAGER, IDEAL = READINGS = ("eager", "ideal")


@dataclass(frozen=True)
class Run:
    """A simulated pass: its peak, the peak of each of its phases, and its timeline.

    ``gradients`` and ``state`` are the bytes of all of them; ``saved`` is what backward has at
    hand when it begins.
    """

    peaks: Mapping[str, Peak]
    timeline: tuple[Moment, ...]
    params: int
    buffers: int
    input: int
    gradients: int = 0
    state: int = 0
    saved: int = 0

    @property
    def peak(self) -> Peak:
        """The largest of the phases' peaks, the first of equals."""
        return max(self.peaks.values(), key=lambda peak: peak.total)


@uncollected()
def inference_peak(network: Network, setting: Setting, reading: str = EAGER) -> Run:
    """Return the memory of a forward pass in evaluation mode without gradients.

    Args:
        network: from :func:`archcost.load`.
        setting: how it is run.
        reading: ``"eager"``, as PyTorch runs it: a module's arguments live until it returns, and
            the caller holds the input. ``"ideal"``, what a planner could reach without changing
            the order or the operations: every storage is dropped after its last use.

    Raises:
        ArchcostError: an unknown reading, or a layer whose peak is not known.
    """
    if reading not in READINGS:
        raise ArchcostError(f"unknown reading {reading!r}; expected eager or ideal")
    setting.check_type()
    if reading == IDEAL:
        planned = Planned(setting, training=False)
        return _result(planned, {FORWARD: ideal_peak(planned, network)})
    run = Storages(setting, training=False)
    outputs = run.forward(network)
    del outputs
    return _result(run)


@uncollected()
def training_peak(network: Network, setting: Setting) -> Run:
    """Return the memory of a training step after the first.

    Raises:
        ArchcostError: an unknown pattern, nothing to train, or a layer whose peak is not known.
    """
    network = network.in_training
    setting.check_type()
    rule, device = find_optimizer(setting.optimizer), setting.device
    kernel = find_kernel(setting.kernel, device)
    learns = learning(network, setting.freeze)
    sizes, updated = param_bytes(network, setting.itemsize), _updated(network, learns)
    trained, pairs = [sizes[name] for name in updated], complex_params(network)
    lists = [
        [sizes[name] for name in updated if (name in pairs) is of_pairs]
        for of_pairs in (False, True)
    ]
    if lists[True] and kernel == FUSED:
        raise ArchcostError(f"{network.name}: the fused kernel takes no complex parameters")
    run = Storages(setting)
    state = rule.state(trained, kernel, device)
    held = [Storage(run.ledger, size, STATE) for size in state]
    outputs = run.forward(network, learns)
    if outputs[0].node is None:
        dtype = network.values[network.outputs[0]].dtype
        reason = f"its main output holds {dtype}" if dtype in BYTES else "no layer is trained"
        raise ArchcostError(f"{network.name}: {reason}, so there is no step")
    if isinstance(outputs[0].itemsize, ComplexBytes):  # a loss is real
        outputs[0] = run.view_as_real(outputs[0])
    run.ledger.enter(FORWARD)
    saved = run.ledger.kinds[SAVED]
    backward(run.ledger, outputs, setting.observed)
    run.ledger.enter(UPDATE)
    # lists are of one type; Adam's roots of one live as long as those of the next
    for group in [trained] if rule.counts else lists:
        for moment in rule.transients(group, kernel, setting.weight_decay):
            made = [run.inputs[0].like((size,), itemsize=1) for size in moment if size]
            del made
    del held
    return _result(run, gradients=sum(trained), state=sum(state), saved=saved)


def _result(run: Storages, peaks: Mapping[str, Peak] | None = None, **sizes: int) -> Run:
    run.ledger.mark()
    kinds = run.static
    return Run(
        run.ledger.found() if peaks is None else peaks, tuple(run.ledger.timeline),
        kinds[PARAMETERS], kinds[BUFFERS], kinds[INPUTS], **sizes,
    )  # fmt: skip


def _updated(network: Network, learns: frozenset[str]) -> list[str]:
    """Return the names of the parameters that get a gradient from the main output."""
    reached = reached_from(network, network.outputs[:1])
    used = {name for layer in network if layer.path in reached for name in layer.param_names}
    used &= learns
    return [name for name in network.params if name in used]
