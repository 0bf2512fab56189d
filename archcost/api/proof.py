"""Whether figures are right: PyTorch, what others print, and what is wrong in a spec."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from archcost.api import LoadOptions, Model, name_of, network_of, takes
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.proofs import Usage
from archcost.setting import Setting, patterns
from archcost.table import Table, Tabled

if TYPE_CHECKING:
    from archcost.findings.audit import Audit, Finding
    from archcost.findings.lint import Lint
    from archcost.proofs.results import Outcome


@takes(LoadOptions)
def build(
    model: Model, *, device: Any = None, dtype: Any = None, **options: Unpack[LoadOptions]
) -> Any:
    """Return a network as an ordinary PyTorch ``nn.Module`` whose module paths are layer paths.

    Args:
        model: a catalog name, a path, or a Network.
        device: the device of the parameters, e.g. ``"cuda"`` or ``"meta"``.
        dtype: the type of the parameters, e.g. ``torch.float64``.
        **options: ``input``, ``knobs``, ``aux`` and ``bias``, as for :func:`archcost.load`.

    Raises:
        ArchcostError: PyTorch is not installed, or the model cannot be loaded.

    Examples:
        >>> archcost.build("resnet18", input="3x64x64", device="meta").stem.conv1.weight.shape
        torch.Size([64, 3, 7, 7])
    """
    from archcost import pytorch

    return pytorch.build(network_of(model, options), device=device, dtype=dtype)


@dataclass(frozen=True, repr=False)
class Verification(Tabled):
    """What the checks found; made by :func:`verify`.

    Attributes:
        outcomes: what each check found on each model: run, passed, failures.
        about: where the checks ran, and the versions of PyTorch and the tools.
        ran_nowhere: a line for each model, check or reference that was asked for by name and
            compared nothing, with the reason.
    """

    outcomes: tuple[Outcome, ...]
    about: dict[str, str]
    ran_nowhere: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check passed, and everything that was named was compared."""
        return bool(self.to_dict()["passed"])

    @property
    def subject(self) -> str:
        """How many checks passed."""
        run, passed = (sum(getattr(o, key) for o in self.outcomes) for key in ("run", "passed"))
        return "; ".join((f"{passed:,} of {run:,} checks passed", *self.ran_nowhere))

    def table(self, summary: bool = False) -> Table:
        """Return one row per model and check; or per model, with ``summary``."""
        from archcost.proofs.results import results_table, summary_table

        return (summary_table if summary else results_table)(self.outcomes, self.about)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON contract of ``archcost verify`` (see ``archcost schema verify``)."""
        from archcost.proofs.results import results_record

        return results_record(self.outcomes, self.about, False, self.ran_nowhere)


def of_references(
    models: Sequence[Model], against: Sequence[str], options: Mapping[str, Any]
) -> tuple[dict[str, Any], Usage]:
    """Return the options of the models, and how references that are code are used.

    Code as a model and its references take the same ``inputs``. A spec takes none. A knob that no
    spec has is an argument of the references.
    """
    from archcost.pytorch import import_torch
    from archcost.spec.catalog import find_model
    from archcost.spec.kinds import is_code

    own, make = dict(options), options.get("inputs")
    if not any(":" in name for name in against):
        return own, Usage()
    import_torch()
    from archcost.importers.arguments import in_order
    from archcost.importers.source import as_literal

    specs = [model for model in models if isinstance(model, Network) or not is_code(name_of(model))]
    if len(specs) < len(models):
        return own, Usage({}, partial(in_order, make=make))
    own.pop("inputs", None)
    documents = [find_model(model)[0] for model in specs if not isinstance(model, Network)]
    knobs = dict(own.pop("knobs", None) or {})
    theirs = {
        key: as_literal(knobs.pop(key))
        for key in [*knobs] if not any(key in document.knobs for document in documents)
    }  # fmt: skip
    return own | ({"knobs": knobs} if knobs else {}), Usage(theirs, partial(in_order, make=make))


@takes(LoadOptions)
def verify(
    *models: Model,
    checks: Sequence[str] = (),
    against: Sequence[str] = (),
    device: str = "cpu",
    batch: int = 1,
    freeze: Sequence[str] = (),
    jobs: int = 1,
    **options: Unpack[LoadOptions],
) -> Verification:
    """Check every figure of models against PyTorch, the counting tools, and reference models.

    Args:
        *models: catalog names, paths or Networks.
        checks: names out of structure, counters, memory, training, peaks, reference. The default is
            all that apply.
        against: references: torchvision, timm, pytorchcv, or your own ``module:callable``.
        device: cpu, cuda or meta.
        batch: samples per pass.
        freeze: shell patterns of layers that are not trained.
        jobs: how many models to check at a time, each in its own process.
        **options: ``input``, ``knobs``, ``aux`` and ``bias``, as for :func:`archcost.load`. A
            knob that no spec has is an argument of the references. ``inputs`` makes the arguments
            that they are called on.

    Raises:
        LookupFailed: an unknown model, check, reference or option.
        ArchcostError: no model, or PyTorch is not installed.

    Examples:
        >>> archcost.verify("resnet18", checks=["structure"]).passed
        True
    """
    from archcost.measure.profile import check_device
    from archcost.proofs.run import Request, about, verify_all

    if not models:
        raise ArchcostError("name at least one model, as in verify('resnet18')")
    check_device(device)
    setting = Setting(batch, device="cpu", freeze=patterns("freeze", freeze))
    named = patterns("checks", checks), patterns("against", against)
    own, usage = of_references(models, named[1], options)
    request = Request(named[0], device, setting, named[1], usage)
    request.names()
    networks = [network_of(model, own) for model in models]
    outcomes = tuple(verify_all(networks, request, jobs))
    nowhere = request.ran_nowhere(outcomes, [network.name for network in networks])
    return Verification(outcomes, about(request), tuple(nowhere))


def audit(*models: Model, lectures: bool = False) -> Audit:
    """Compare published figures with the computed ones: exact, rounds to, ambiguous or wrong.

    Args:
        *models: catalog names, families, paths, or Networks.
        lectures: whether to audit the claims of five lectures too.

    Raises:
        LookupFailed: an unknown model. SpecError: a spec that cannot be read.
        ArchcostError: no model.

    Examples:
        >>> archcost.audit("resnet50").unexplained
        ()
    """
    from archcost.findings.audit import Audit, audit_models, audit_network

    if not (models or lectures):
        raise ArchcostError("name at least one model, as in audit('resnet50'), or lectures=True")
    findings: list[Finding] = []
    for model in models:
        if isinstance(model, Network):
            findings += audit_network(model)
        else:
            findings += audit_models([name_of(model)])
    if lectures:
        from archcost.lectures.claims import audit_lectures

        findings += audit_lectures()
    return Audit(tuple(findings))


def lint(spec: str | os.PathLike[str] | None = None, *, text: str | None = None) -> Lint:
    r"""Return parts of a spec that nothing uses or that cannot be right, with line and column.

    Args:
        spec: the path of a ``.yaml`` file. Give either ``spec`` or ``text``.
        text: the text of a spec.

    Raises:
        SpecError: a file that cannot be read. A mistake in a spec is a finding, not an error.
        ArchcostError: neither or both of ``spec`` and ``text``.

    Examples:
        >>> archcost.lint(text="name: a\ninput: 3x8x8\nlayers:\n- conv(8, 9)").flaws[0].line
        4
    """
    from archcost.findings.lint import Lint, lint
    from archcost.spec.source import Source, read_source

    if (spec is None) == (text is None):
        raise ArchcostError("name either a file, as in lint('net.yaml'), or text='...'")
    if isinstance(spec, Network):
        raise ArchcostError("a Network has no text; lint takes the path of its spec, or text='...'")
    source = Source("<text>", text) if text is not None else read_source(os.fspath(spec or ""))
    return Lint(source.name, tuple(lint(source)))
