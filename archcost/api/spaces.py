"""The networks that a spec stands for at other knobs and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

from archcost.api import CountOptions, Model, network_of, setting_of, takes
from archcost.setting import patterns

if TYPE_CHECKING:
    from archcost.space.closed import ClosedForm


@takes(CountOptions)
def closed_form(
    model: Model,
    *,
    by: Mapping[str, str] | None = None,
    symbols: Sequence[str] = (),
    figures: Sequence[str] = ("params", "macs", "activations"),
    depth: int | None = None,
    **options: Unpack[CountOptions],
) -> ClosedForm:
    """Return what a network costs as formulas of its sizes and knobs, and where they hold.

    The formulas are those of one run of the network, so they are exact under their conditions. The
    result is a function of the symbols. It writes itself as text, LaTeX and Python source.

    Args:
        model: a catalog name, a path, or a Network that is read from a spec.
        by: an expression of another symbol in place of a size or a knob: ``{"H": "32*h"}``.
        symbols: the sizes and knobs that stay symbols, as ``H``, ``width`` or ``depths.0``. The
            default is the spatial sizes of the input.
        figures: names of figures, as in budgets.
        depth: give formulas for groups of up to so many dotted names, too.
        **options: ``batch``, ``dtype``, ``convention`` and ``activations``, as for
            :func:`archcost.analyze`; ``input``, ``knobs``, ``aux`` and ``bias``, as for
            :func:`archcost.load`.

    Raises:
        LookupFailed: an unknown model, symbol, figure or option.
        ArchcostError: a symbol for a value that is not a number, or a network without a spec.

    Examples:
        >>> form = archcost.closed_form("resnet50", by={"H": "32*h", "W": "32*w"})
        >>> form.formula("macs")
        '83,410,944·h·w + 2,048,000'
        >>> form(h=7, w=7)["macs"]
        4089184256
    """
    from archcost.space.closed import closed_form

    setting, rest = setting_of(options)
    return closed_form(
        network_of(model, rest), setting, by=by or {}, symbols=patterns("symbols", symbols),
        figures=patterns("figures", figures), depth=depth,
    )  # fmt: skip
