"""What a network costs, side by side with others, and whose number a count is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from archcost.analysis.report import Report
from archcost.analysis.report import analyze as report_of
from archcost.api import CountOptions, LoadOptions, Model, name_of, network_of, setting_of, takes
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.setting import Setting, patterns

if TYPE_CHECKING:
    from archcost.analysis.explain import Explanation
    from archcost.analysis.identify import Identified
    from archcost.analysis.reconcile import Reconciliation
    from archcost.report.comparison import Comparison


@takes(LoadOptions)
def analyze(
    model: Model,
    *,
    batch: int = 1,
    dtype: str = "float32",
    convention: str = "flops",
    activations: str = "lecture",
    freeze: Sequence[str] = (),
    **options: Unpack[LoadOptions],
) -> Report:
    """Return what a network costs, layer by layer and in total, as ``archcost table`` prints it.

    Args:
        model: a catalog name, a path, or a Network.
        batch: samples per pass. All counts except the parameters are for the whole batch.
        dtype: data type of parameters and activations, for the sizes in bytes.
        convention: how ``counted`` counts operations. ``macs`` are multiply-accumulates, ``flops``
            are two per multiply-accumulate, ``fvcore`` is what fvcore prints, and so on.
        activations: which outputs count as activations, in elements.
        freeze: shell patterns of layer paths whose parameters are not trained.
        **options: ``input``, ``knobs``, ``aux`` and ``bias``, as for :func:`archcost.load`.

    Raises:
        LookupFailed: an unknown model, option, convention or data type.
        SpecError: a spec that cannot be read.
        ArchcostError: a batch below 1, or options for a Network.

    Examples:
        >>> report = archcost.analyze("resnet50", batch=2, input="3x192x192")
        >>> report.total.params, report.total.macs
        (25557032, 6009683968)
    """
    setting = Setting(
        batch, dtype, convention=convention, activations=activations,
        freeze=patterns("freeze", freeze),
    )  # fmt: skip
    return report_of(network_of(model, options), setting)


@takes(CountOptions)
def compare(
    *models: Model,
    baseline: str | None = None,
    sort: str | None = None,
    **options: Unpack[CountOptions],
) -> Comparison:
    """Return totals side by side, with ratios to one of the models.

    Args:
        *models: catalog names, paths or Networks; ``7*alexnet`` and ``googlenet+2*vgg16`` are
            ensembles. ``*archcost.catalog("resnet")`` is a family.
        baseline: the name of the model that the ratios refer to. The default is the first.
        sort: a column to order by, such as ``params``, ``macs`` or ``top1``.
        **options: ``batch``, ``dtype``, ``convention`` and ``activations``, as for
            :func:`archcost.analyze`; ``input``, ``knobs``, ``aux`` and ``bias``, as for
            :func:`archcost.load`.

    Raises:
        LookupFailed: an unknown model, baseline, column or option. ArchcostError: no model.

    Examples:
        >>> found = archcost.compare("alexnet", "resnet50", sort="params")
        >>> [(report.network.name, report.total.params) for report in found.reports]
        [('resnet50', 25557032), ('alexnet', 62378344)]
    """
    from archcost.report.comparison import compare, report_on

    if not models:
        raise ArchcostError("name at least one model, as in compare('alexnet', 'resnet50')")

    setting, rest = setting_of(options)

    def report(model: Model) -> Report:
        return report_of(network_of(model, rest), setting)

    reports = [
        report_on(model, report) if isinstance(model, str) else report(model) for model in models
    ]
    return compare(reports, baseline=baseline, sort=sort)


@takes(CountOptions)
def explain(
    model: Model,
    layer: str | None = None,
    **options: Unpack[CountOptions],
) -> Explanation:
    """Return the derivation of each figure from the layer's own numbers.

    Args:
        model: a catalog name, a path, or a Network.
        layer: path of a layer or group; None for the whole network.
        **options: ``batch``, ``dtype``, ``convention`` and ``activations``, as for
            :func:`archcost.analyze`; ``input``, ``knobs``, ``aux`` and ``bias``, as for
            :func:`archcost.load`.

    Raises:
        LookupFailed: an unknown model, layer or option.

    Examples:
        >>> [str(fact) for fact in archcost.explain("alexnet", "CONV1").facts["CONV1"]][1:3]
        ['96x55x55', '(227 + 2·0 − 11)/4 + 1 = 55']
    """
    from archcost.analysis.explain import Explanation

    setting, rest = setting_of(options)
    report = report_of(network_of(model, rest), setting)
    found = Explanation(report, layer)
    found.facts  # noqa: B018  # an unknown layer is refused here
    return found


@takes(LoadOptions)
def reconcile(
    model: Model,
    *,
    tools: Sequence[str] = (),
    base: str = "macs",
    **options: Unpack[LoadOptions],
) -> Reconciliation:
    """Return the number that each counting tool prints, and the work that makes the difference.

    Counts are for one sample.

    Args:
        model: a catalog name, a path, or a Network.
        tools: names of conventions. The default is all of them.
        base: the convention that the differences refer to.
        **options: ``input``, ``knobs``, ``aux`` and ``bias``, as for :func:`archcost.load`.

    Raises:
        LookupFailed: an unknown model, convention or option.

    Examples:
        >>> [row] = archcost.reconcile("resnet50", tools=["fvcore"]).rows
        >>> row.total, row.difference
        (4111512576, 22328320)
    """
    from archcost.analysis.reconcile import reconcile

    return reconcile(network_of(model, options), patterns("tools", tools), base=base)


@takes(LoadOptions)
def identify(
    model: Model,
    number: str | float,
    *,
    quantity: str | None = None,
    tools: Sequence[str] = (),
    batch: int = 1,
    **options: Unpack[LoadOptions],
) -> Identified:
    """Return the tools, conventions, variants and input sizes that give a printed number.

    Args:
        model: a catalog name, a path, or a Network. A Network is varied as its spec is.
        number: the number as it is printed: ``"4.09G"``, ``"25.6M params"``, ``25557032``. The
            number of digits matters, so write 4.10 as ``"4.10"``.
        quantity: ``operations``, ``params`` or ``activations``; None tries all three.
        tools: names of conventions to try. The default is all of them.
        batch: samples in the count.
        **options: ``input``, ``knobs``, ``aux`` and ``bias``, as for :func:`archcost.load`, if you
            know them.

    Raises:
        LookupFailed: an unknown model, convention, quantity or option.
        ArchcostError: ``number`` is not a number.

    Examples:
        >>> [match.conventions for match in archcost.identify("resnet50", "4.112G").matches][0]
        ('fvcore',)
    """
    from archcost.analysis.identify import examine

    if isinstance(number, bool) or not isinstance(number, (str, int, float)):
        raise ArchcostError(f"a number is printed text or a number; got {type(number).__name__}")
    asked = network_of(model, options) if isinstance(model, Network) else name_of(model)
    known: dict[str, Any] = {**options, "tools": patterns("tools", tools), "batch": batch}
    return examine(str(number), asked, quantity, **known)
