"""Pictures of what networks cost."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Unpack

from archcost.api import Model, Options, device_of, network_of, setting_of, takes
from archcost.errors import ArchcostError, LookupFailed

if TYPE_CHECKING:
    from archcost.hardware import Device
    from archcost.pictures.diagram import Diagram
    from archcost.pictures.picture import Picture
    from archcost.space.sweep import Sweep


@takes(Options)
def plot(
    kind: str,
    *models: Model,
    depth: int | None = None,
    x: str = "operations",
    y: str = "top1",
    size: str = "params",
    record: str | os.PathLike[str] | None = None,
    sweep: str | os.PathLike[str] | Sweep | None = None,
    gpu: str | Device | None = None,
    **options: Unpack[Options],
) -> Picture | Diagram:
    """Return a picture. A notebook shows it, ``save`` writes it, ``text`` draws it as text.

    Args:
        kind: ``layers``, ``scatter``, ``timeline``, ``receptive``, ``memory``, ``roofline`` or
            ``graph``. ``archcost plot --help`` describes them.
        *models: catalog names, paths or Networks. ``roofline`` and ``graph`` draw one model,
            ``timeline`` draws none.
        depth: for ``layers`` and ``graph``: show this many levels of groups.
        x: for ``scatter``: the figure on the x axis.
        y: for ``scatter``: the figure on the y axis.
        size: for ``scatter``: the figure that the areas of the bubbles show.
        record: for ``scatter`` and ``roofline``: a record of ``archcost profile``.
        sweep: for ``scatter``, in place of models: a result of :func:`archcost.sweep`, or a file
            that ``archcost sweep`` has written. ``x`` and ``y`` are columns. Less is better, or
            with a minus before the name, more.
        gpu: for ``roofline``: a device of ``archcost hardware``.
        **options: as for :func:`archcost.analyze`; for ``memory`` also as for
            :func:`archcost.memory`.

    Raises:
        LookupFailed: an unknown kind, model, device or option.
        ArchcostError: too many or too few models, or a roofline without a device.

    Examples:
        >>> print(archcost.plot("layers", "alexnet").text(60).splitlines()[0])
        alexnet (62.38 M parameters)
    """
    from archcost.pictures import KINDS, draw

    if kind not in KINDS:
        raise LookupFailed("kind of picture", str(kind), KINDS)
    if not models and sweep is None and KINDS[kind].networks != 0:
        raise ArchcostError(f"name at least one model, as in plot({kind!r}, 'resnet50')")
    setting, rest = setting_of(options)
    found = device_of(gpu) if "gpu" in KINDS[kind].setting else None
    if found:
        setting = setting.on(found)
    own = {"depth": depth, "x": x, "y": y, "size": size, "sweep": sweep}
    own |= {"record": None if record is None else os.fspath(record)}
    networks = [network_of(model, rest) for model in models]
    return draw(kind, networks, setting, **{name: own[name] for name in KINDS[kind].options})
