"""What autograd keeps for the backward pass, storage by storage."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from archcost.analysis.training import Gradients, gradients
from archcost.errors import ArchcostError
from archcost.memory.mode import LOWERED, PLAIN, Mode
from archcost.memory.regions import regions
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.ops.base import INPUT, LOWER, OUTPUT, PARAMS, Saved
from archcost.ops.layout import Layout, arranged
from archcost.shape import numel
from archcost.units import dtype_bytes

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Storage:
    """Memory that is kept until the backward pass has used it.

    Attributes:
        owner: path of the layer that makes it, or ``"input"``.
        what: ``"output"``, or the name of a tensor of the layer's own, such as ``"mask"``.
        bytes: its size; a view keeps the whole storage that it lies in.
        savers: paths of the layers that need it, or of the groups that are computed again.
    """

    owner: str
    what: str
    bytes: int
    savers: tuple[str, ...]


@dataclass(frozen=True)
class SavedForBackward:
    """Every storage that a training step keeps; made by :func:`saved_for_backward`."""

    network: Network
    batch: int
    dtype: str
    device: str
    storages: tuple[Storage, ...]

    @cached_property
    def total(self) -> int:
        """Bytes of all storages, each counted once."""
        return sum(storage.bytes for storage in self.storages)

    @cached_property
    def by_owner(self) -> Mapping[str, int]:
        """Bytes by the path of the layer that makes them, or ``"input"``."""
        sums: dict[str, int] = {}
        for storage in self.storages:
            sums[storage.owner] = sums.get(storage.owner, 0) + storage.bytes
        return sums


def saved_for_backward(
    network: Network,
    batch: int = 1,
    dtype: str = "float32",
    device: str = "cpu",
    freeze: Sequence[str] = (),
    mode: Mode = PLAIN,
) -> SavedForBackward:
    """Return what autograd keeps of one forward pass in training mode, parameters aside.

    Tensors of one storage count once, whoever saves them: a ReLU's output is the next
    convolution's input. Views (flatten, slice, chunk, crop) keep all of their storage. The
    network's input counts if a layer saves it.

    Args:
        network: from :func:`archcost.load`.
        batch: samples per pass.
        dtype: data type of parameters and activations.
        device: ``"cpu"`` or ``"cuda"``; they keep other dropout masks.
        freeze: shell patterns of layers that are not trained, as for ``analyze``.
        mode: how the pass is run.

    Raises:
        ArchcostError: an unknown device, dtype or pattern.
    """
    check_device(device)
    mode.check(dtype, freeze)
    itemsize = dtype_bytes(dtype)
    places = tensor_places(network, batch, mode, itemsize)
    known = gradients(network, freeze)
    sizes: dict[tuple[str, str], int] = {}
    savers: dict[tuple[str, str], list[str]] = {}
    again = regions(network, mode.checkpoint)
    for region in again:
        if any(known.tensors[layer.path] for layer in region.layers):
            for home in (places[name] for name in region.inputs):
                sizes[home.owner, OUTPUT] = home.elements * home.itemsize
                savers.setdefault((home.owner, OUTPUT), []).append(region.name)
    recomputed = {layer.path for region in again for layer in region.layers}
    for layer in network:
        for saved in kept_rules(layer, known, device) if layer.path not in recomputed else ():
            place, copied = place_of(saved, layer, places)
            copied = copied or (place is not None and place.itemsize > places[layer.path].itemsize)
            if place is not None and not copied:
                key, size = (place.owner, OUTPUT), place.elements * place.itemsize
            else:
                key = (layer.path, "copied input" if copied else saved.what)
                size = own_bytes(saved, layer, places, copied, itemsize)
            sizes[key] = size
            savers.setdefault(key, []).append(layer.path)
        if mode.amp and keeps_weight(layer, known):
            key = (layer.path, "cast weight")
            sizes[key] = numel(layer.cost.params["weight"]) * LOWERED
            savers[key] = [layer.path]
    storages = (
        Storage(owner, what, size, tuple(dict.fromkeys(savers[owner, what])))
        for (owner, what), size in sizes.items()
    )
    return SavedForBackward(network, batch, dtype, device, tuple(storages))


def check_device(device: str) -> None:
    """Refuse a device whose rules are not known."""
    if device not in DEVICES:
        raise ArchcostError(f"memory is known on cpu and cuda; got {device!r}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies: the storage's owner and elements, and how the tensor lies in it."""

    owner: str
    elements: int
    layout: Layout
    itemsize: int


def tensor_places(
    network: Network, batch: int, mode: Mode = PLAIN, itemsize: int = 4
) -> dict[str, Place]:
    """Return where the network's input and the output of every layer lie.

    ``itemsize`` is that of the input and the parameters.

    Raises:
        ArchcostError: under autocast, a layer whose memory is not known.
    """
    size = (batch, *network.input)
    layout = arranged(size, mode.channels_last)
    places = {NETWORK_INPUT: Place(NETWORK_INPUT, numel(size), layout, itemsize)}
    for layer in network:
        sources = [places[name] for name in layer.inputs]
        owner, elements = sources[0].owner, sources[0].elements
        size = (batch, *layer.cost.output)
        strides = layer.op.view(sources[0].layout.strides, *layer.shapes)
        if strides is None:
            owner, elements = layer.path, numel(size)
            shape = layer.cost.params.get("weight")
            weight = arranged(shape, mode.channels_last) if shape else None
            strides = layer.op.strides(size, *(p.layout for p in sources), weight=weight)
        width = _width(layer, {place.itemsize for place in sources}) if mode.amp else itemsize
        places[layer.path] = Place(owner, elements, Layout(size, strides), width)
    return places


def _width(layer: Layer, widths: Collection[int]) -> int:
    """Return the bytes per element of a layer's output under autocast."""
    rule = layer.op.under_autocast(*layer.shapes)
    if rule == LOWER:
        return LOWERED
    if rule is None or len(widths) > 1:
        mixed = " of tensors of two types" if rule else ""
        raise ArchcostError(
            f"{layer.path}: the memory of {layer.op.name}{mixed} under autocast is not known"
        )
    return next(iter(widths))


def keeps_weight(layer: Layer, known: Gradients) -> bool:
    """Whether the copy that autocast makes of a layer's weight is kept for backward."""
    needs = [known.tensors[name] for name in layer.inputs]
    lowered = layer.op.under_autocast(*layer.shapes) == LOWER
    return lowered and known.tensors[layer.path] and layer.op.weight_is_kept(needs)


def kept_rules(layer: Layer, known: Gradients, device: str) -> Iterator[Saved]:
    """Yield the rules of a layer that hold on the device, for the gradients that are needed."""
    if not known.tensors[layer.path]:
        return
    for saved in layer.cost.saved:
        if saved.device not in (None, device):
            continue
        if saved.gradient == PARAMS and layer.path not in known.trained:
            continue
        if isinstance(saved.gradient, int) and not known.tensors[layer.inputs[saved.gradient]]:
            continue
        yield saved


def place_of(saved: Saved, layer: Layer, places: Mapping[str, Place]) -> tuple[Place | None, bool]:
    """Return where the saved tensor lies, None for a new one, and whether it is copied first."""
    if saved.what == OUTPUT:
        return places[layer.path], False
    if saved.what != INPUT:
        return None, False
    place = places[layer.inputs[saved.index]]
    return place, bool(saved.copied_unless) and not getattr(place.layout, saved.copied_unless)


def own_bytes(
    saved: Saved, layer: Layer, places: Mapping[str, Place], copied: bool, itemsize: int
) -> int:
    """Return the bytes of a kept tensor of the layer's own; ``itemsize`` is the parameters'."""
    place = places[layer.path]
    batch = place.layout.shape[0] if saved.per_batch else 1
    if copied:
        return numel(layer.shapes[saved.index]) * batch * place.itemsize
    width = itemsize if saved.of_params else place.itemsize
    return numel(saved.shape) * batch * max(saved.itemsize or width, saved.at_least)
