"""The winners of ILSVRC by year: top-5 error and depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from archcost.analysis.report import analyze
from archcost.network import Network
from archcost.pictures.picture import Axis, Bars, Panel, Picture
from archcost.setting import Setting
from archcost.spec import source as yaml
from archcost.spec.catalog import load
from archcost.spec.source import Source


@dataclass(frozen=True)
class Entrant:
    """A winner, or a second place, of the classification task.

    Attributes:
        year, name: of the submission.
        error: top-5 error in percent, as printed.
        source: who prints it.
        model: the network of the catalog that stands for it, empty if there is none.
        place: 1 or 2.
        note: what is to be said of its depth.
    """

    year: int
    name: str
    error: str
    source: str
    model: str = ""
    place: int = 1
    note: str = ""

    @property
    def depth(self) -> int:
        """Convolutions and linear layers on the longest path of its network, 0 without one."""
        return analyze(load(self.model)).weight_layers if self.model else 0


@lru_cache(maxsize=1)
def entrants() -> tuple[Entrant, ...]:
    """Return the rows of ``ilsvrc.yaml``, beside this file."""
    path = Path(__file__).parent / "ilsvrc.yaml"
    return read_entrants(Source(f"archcost/lectures/{path.name}", path.read_text("utf-8")))


def read_entrants(source: Source) -> tuple[Entrant, ...]:
    """Read a list of winners.

    Raises:
        SpecError: an entry without year, name, error or source, with its place.
    """
    root = yaml.parse_yaml(source)
    if not isinstance(root, yaml.Sequence):
        raise source.error(root, "expected a list of winners")
    made = []
    for item in root.items:
        found = source.read(item, "a winner", {
            "year": lambda node: source.parsed(node, yaml.year), "name": str, "top5_error": str,
            "source": str, "model?": str, "place?": lambda node: source.parsed(node, int),
            "note?": str,
        })  # fmt: skip
        made.append(Entrant(error=found.pop("top5_error"), **found))
    return tuple(made)


def timeline() -> Picture:
    """Return the top-5 errors over the depths of the winners, year by year."""
    rows = entrants()
    names = tuple(f"{row.year}{', 2nd' * (row.place == 2)}\n{row.name}" for row in rows)
    errors = Bars(
        tuple(float(row.error) for row in rows),
        tuple(0 if row.place == 1 else 6 for row in rows),
        tuple(f"{row.name} {row.year}: {row.error} % ({row.source})" for row in rows),
        tuple(row.error for row in rows),
    )
    depths = [row.depth for row in rows]
    layers = Bars(
        tuple(map(float, depths)),
        tuple(2 if row.place == 1 else 6 for row in rows),
        tuple(
            f"{row.name}: {row.model}, {d} layers" if d else ""
            for row, d in zip(rows, depths, strict=True)
        ),
        tuple(str(d) if d else "–" for d in depths),
    )
    notes = [f"{row.name}: {row.note}." for row in rows if row.note]
    sources = "; ".join(dict.fromkeys(row.source for row in rows))
    return Picture(
        title="ILSVRC classification: error and depth of the winners",
        caption=(
            "Top-5 error of the submission, mostly an ensemble, as printed in: "
            f"{sources}. Depth: convolutions and linear layers on the longest path of the "
            "network that stands for it, computed; – where there is no single network. "
            + " ".join(notes)
        ).strip(),
        rows=(
            (Panel("", Axis(names=("",) * len(rows)), Axis("top-5 error, %", low=0.0), (errors,)),),
            (Panel("", Axis(names=names), Axis("depth, layers", low=0.0), (layers,)),),
        ),
        height=4.4,
    )


def draw(networks: Sequence[Network], setting: Setting) -> Picture:
    """Return the winners, whatever the setting."""
    return timeline()
