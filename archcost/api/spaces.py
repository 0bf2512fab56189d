"""The networks that a spec stands for at other knobs and sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from archcost.api import CountOptions, Model, Options, network_of, setting_of, takes
from archcost.errors import ArchcostError
from archcost.setting import patterns

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from archcost.space.arrays import NetworkProgram
    from archcost.space.closed import ClosedForm
    from archcost.space.grid import Space
    from archcost.space.solve import Solution
    from archcost.space.sweep import Sweep


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


@takes(CountOptions)
def program(
    model: Model,
    vary: Sequence[str],
    figures: Sequence[str] = ("params", "macs", "activations"),
    **options: Unpack[CountOptions],
) -> NetworkProgram:
    """Return a function of arrays: the figures of a network at values of its knobs and sizes.

    It takes an array for each name that varies, as numpy's functions do, and returns an array for
    each figure. The figures are those of :func:`archcost.analyze` at each value. Where there is no
    network they are -1, ``networks`` is false, and ``refused`` says why.

    Args:
        model: a catalog name, a path, or a Network that is read from a spec.
        vary: the names, in the order of the function's arguments. A name is a knob, an item of a
            knob (``depths.0``), a size of the input (``H``) or ``input``.
        figures: names of figures: ``params``, ``size``, ``macs``, ``flops``, ``counted``,
            ``activations``.
        **options: as for :func:`archcost.closed_form`.

    Raises:
        LookupFailed: an unknown model, name, figure or option.
        ArchcostError: no names, a figure that takes a run of each network, a network without a
            spec, or numpy is not installed.

    Examples:
        >>> price = archcost.program("shufflenet_v1_g3", ["groups", "input"], ["macs"])
        >>> found = price([1, 2, 5], 224)
        >>> found.columns["macs"].tolist(), found.networks.tolist()
        ([377552832, 197483712, -1], [True, True, False])
    """
    from archcost.space.arrays import NetworkProgram

    setting, rest = setting_of(options)
    return NetworkProgram(
        network_of(model, rest), setting, patterns("vary", vary), patterns("figures", figures)
    )


@takes(Options)
def sweep(
    model: Model,
    vary: Mapping[str, Iterable[Any] | str],
    *,
    columns: Sequence[str] = (),
    where: Sequence[str] | str = (),
    sort: Sequence[str] = (),
    pareto: Sequence[str] = (),
    top: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    executor: Executor | None = None,
    **options: Unpack[Options],
) -> Sweep:
    """Return the figures of every network that a spec stands for at these values.

    Args:
        model: a catalog name, a path, or a Network that is read from a spec or from code.
        vary: what each name goes through. A name is a knob, an item of a knob (``depths.0``), a
            size of the input (``H``) or ``input``. Values are a range, a list, or text as
            ``"0.5:2:0.25"``, whose end is included.
        columns: names that vary, and figures, to return. The default is all names, params, macs and
            activations.
        where: conditions on figures and names, as ``"macs <= 400M and params <= 5M"``.
        sort: figures or names to order by; ``"-macs"`` is the largest first.
        pareto: figures or names. Only the rows are returned that no other row beats in all of them.
        top: return so many rows at most.
        sample: draw so many configurations at random instead of all.
        seed: of the random numbers.
        jobs: how many processes price the networks.
        executor: prices them in place of processes of its own. Its workers draw the configurations
            themselves, and return the rows that may be shown.
        **options: how the networks are run and counted, as for :func:`archcost.analyze` and
            :func:`archcost.memory`; ``input``, ``knobs``, ``aux`` and ``bias``, as for
            :func:`archcost.load`.

    Raises:
        LookupFailed: an unknown model, name, figure or option.
        SpecError: a condition that cannot be read, with its column.
        ArchcostError: no values, more than 10^12 configurations, or numpy is not installed.

    Examples:
        >>> found = archcost.sweep("resnet50", {"width_per_group": [64, 128]}, columns=["params"])
        >>> found.columns["params"].tolist()
        [25557032, 68883240]
    """
    from archcost.space.sweep import Sweeper, swept
    from archcost.space.workers import blocks_of

    if sort and pareto:
        raise ArchcostError("pareto has an order of its own; leave sort out")
    if top is not None and top < 1:
        raise ArchcostError(f"top is at least 1; got {top}")
    _check_jobs(jobs)
    setting, rest = setting_of(options)
    sweeper = Sweeper(
        network_of(model, rest), setting, _space(vary, sample, seed),
        columns=patterns("columns", columns), where=[where] if isinstance(where, str) else where,
        orders=patterns("pareto", pareto) or patterns("sort", sort),
    )  # fmt: skip
    with blocks_of(sweeper, executor or jobs, pareto=bool(pareto), top=top) as blocks:
        return swept(sweeper, blocks, pareto=bool(pareto), top=top)


@takes(Options)
def solve(
    model: Model,
    vary: Mapping[str, Iterable[Any] | str],
    *,
    maximize: str | None = None,
    minimize: str | None = None,
    where: Sequence[str] | str = (),
    columns: Sequence[str] = (),
    jobs: int = 1,
    executor: Executor | None = None,
    **options: Unpack[Options],
) -> Solution:
    """Return the best configuration under conditions, with its neighbours.

    All configurations are priced, so the answer is right also where figures rise and fall.

    Args:
        model: a catalog name, a path, or a Network that is read from a spec or from code.
        vary: what each name goes through, as for :func:`archcost.sweep`.
        maximize: the figure or the name that is to be large; name this or ``minimize``.
        minimize: the figure or the name that is to be small.
        where: conditions on figures and names, as ``"macs <= 300M"``.
        columns: figures to return. The default is params, macs and activations.
        jobs: how many processes price the networks.
        executor: prices them in place of processes of its own, as for :func:`archcost.sweep`.
        **options: as for :func:`archcost.sweep`.

    Raises:
        LookupFailed: an unknown model, name, figure or option.
        SpecError: a condition that cannot be read, with its column.
        ArchcostError: no configuration meets the conditions, or numpy is not installed.

    Examples:
        >>> found = archcost.solve("mobilenet_v2", {"width": "0.1:2:0.001"}, maximize="width",
        ...                        where="macs <= 300M")
        >>> found.at["width"], found.figures["macs"]
        (0.987, 299896192)
    """
    from archcost.space.solve import solve
    from archcost.space.sweep import Sweeper
    from archcost.space.workers import blocks_of

    _check_jobs(jobs)
    if (maximize is None) == (minimize is None):
        raise ArchcostError("name what to maximize or what to minimize, as in maximize='width'")
    setting, rest = setting_of(options)
    sweeper = Sweeper(
        network_of(model, rest), setting, _space(vary, None, 0),
        columns=patterns("columns", columns), where=[where] if isinstance(where, str) else where,
        orders=[f"-{maximize}" if minimize is None else minimize],
    )  # fmt: skip
    with blocks_of(sweeper, executor or jobs, pareto=True) as blocks:
        return solve(sweeper, blocks)


def _check_jobs(jobs: int) -> None:
    if jobs < 1:
        raise ArchcostError(f"jobs is at least 1; got {jobs}")


def _space(vary: Mapping[str, Any], sample: int | None, seed: int) -> Space:
    """Return the configurations of values by names."""
    from archcost.space.grid import Space, dimension

    if not vary:
        raise ArchcostError(
            "name what varies, as in sweep('resnet50', {'input': range(128, 257, 32)})"
        )
    dimensions = {}
    for name, values in vary.items():
        try:
            dimensions[name] = dimension(values)
        except ArchcostError as error:
            raise ArchcostError(f"{name}: {error}") from None
    return Space(dimensions, sample, seed)
