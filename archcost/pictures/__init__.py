"""Pictures of what networks cost: one file per kind, and one per way of drawing.

Each kind makes a :class:`~archcost.pictures.picture.Picture` or
:class:`~archcost.pictures.diagram.Diagram`, which are plain data; ``matplotlib_file`` writes them
as PNG, SVG or PDF, ``svg`` as part of a page without matplotlib, ``terminal`` as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from archcost.errors import ArchcostError
from archcost.setting import COUNTING, TRAINING, Setting

if TYPE_CHECKING:
    from archcost.network import Network
    from archcost.pictures.diagram import Diagram
    from archcost.pictures.picture import Picture


@dataclass(frozen=True)
class Kind:
    """A kind of picture.

    Attributes:
        title: what it shows.
        example: arguments of the command line that draw one.
        setting: the fields of a setting that it depends on.
        options: its own options.
        networks: how many it draws, None for any number.
        room: where its file is.
    """

    title: str
    example: str
    setting: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    networks: int | None = None
    room: str = "pictures"


KINDS: Mapping[str, Kind] = {
    "layers": Kind("memory, parameters and operations, layer by layer",
                   "alexnet vgg16 -o layers.pdf", COUNTING, ("depth",)),
    "scatter": Kind("accuracy against operations, with the Pareto front",
                    "--family resnet -o scatter.png", COUNTING,
                    ("x", "y", "size", "record", "sweep")),
    "timeline": Kind("the winners of ILSVRC", "--terminal", networks=0, room="lectures"),
    "receptive": Kind("receptive field over depth", "alexnet vgg16 -o receptive.png"),
    "memory": Kind("live bytes over a training step", "resnet50 --batch 32 -o memory.png",
                   ("batch", *TRAINING)),
    "roofline": Kind("the rate of each layer below the limits of a device",
                     "resnet50 --gpu h100 -o roofline.png",
                     ("gpu", "batch", "dtype"), ("record",), 1),
    "graph": Kind("the network, box by box", "resnet18 -o graph.png", (), ("depth",), 1),
}  # fmt: skip
"""The kinds of pictures, each a file of this package with a function ``draw``."""


def draw(
    kind: str, networks: Sequence[Network], setting: Setting, **options: Any
) -> Picture | Diagram:
    """Return a picture of networks; ``options`` are those of its :class:`Kind`.

    Raises:
        ArchcostError: too many networks or too few, or what the kind refuses.
    """
    wanted = KINDS[kind].networks
    if wanted == 0 and networks:
        raise ArchcostError(f"{kind} shows {KINDS[kind].title}; it takes no model")
    if wanted is not None and len(networks) != wanted:
        raise ArchcostError(f"{kind} draws one network; got {len(networks)}")
    module = import_module(f"archcost.{KINDS[kind].room}.{kind}")
    made: Picture | Diagram = module.draw(networks, setting, **options)
    return made
