"""The JSON Schemas of specs and of what commands print: written short here, generated in full.

The counts of layers and totals are those of their dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archcost.analysis.report import Row, Totals
from archcost.budget.matching import KINDS, LAYER_FIGURES
from archcost.network import Remark
from archcost.ops.base import DTYPES
from archcost.published import VERDICTS
from archcost.readings.ledger import KINDS as STORED
from archcost.readings.ledger import PHASES
from archcost.record import contract_id
from archcost.schema import COUNT, DRAFT, SIZE, Raw, counts, has, named, schema, with_
from archcost.setting import TRAINING
from archcost.spec.contract import spec
from archcost.storage.peaks import EAGER, IDEAL

SHAPE = [SIZE]
NETWORK = {
    "model": str, "input": SHAPE,
    "inputs?": with_([{"name": str, "shape": SHAPE, "dtype": Raw(enum=list(DTYPES))}],
                     "all inputs, where there are several, or the one holds no floats"),
}  # fmt: skip
MODEL = NETWORK | {"title": str, "batch": SIZE, "dtype": str}
REMARKS = with_([counts(Remark)], "what the reader of the spec should know")
LAYER = {"name": str, "op": str, "settings": str, "inputs": [SHAPE], "output": SHAPE}
CHANGED = with_(LAYER | dict.fromkeys(LAYER_FIGURES, int), type=["object", "null"])
VALUE = Raw(type=["integer", "number", "boolean", "array"], items={"type": "integer"})


def table() -> Any:
    """Counts are for the whole batch; shapes are without batch, channels first.

    Integers stay integers.
    """
    inputs = with_([SHAPE], minItems=1)
    folded = with_(int, "rows of the batch for each sample, where it is not one", minimum=2)
    row = LAYER | {"inputs": inputs, **counts(Row, ("layer",)), "receptive_field": [float],
                   "rows?": folded}  # fmt: skip
    sums = counts(Totals)
    return MODEL | {
        "convention": with_(str, "what `counted` counts"), "activation_convention": str,
        "layers": [row], "groups": [{"name": str, **sums}],
        "totals": {**sums, "weight_layers": COUNT, "output": SHAPE}, "remarks": REMARKS,
    }  # fmt: skip


def compare() -> Any:
    """Totals side by side; published figures are text, as printed by their source."""
    published = named(str) | {"required": ["source"]}
    model = MODEL | {
        "year": (int, None), "totals": {**counts(Totals), "weight_layers": COUNT},
        "remarks": REMARKS, "published": [Raw(published)],
    }  # fmt: skip
    return {"baseline": str, "convention": str, "models": with_([model], minItems=1)}


def formula() -> Any:
    """Formulas of figures, exact under the conditions; group is empty for the whole network."""
    symbol = {"name": str, "low": float, "high": float}
    written = {"group": str, "figure": str, "formula": str, "latex": str, "python": str}
    return {
        "model": str, "by": with_(named(str), "What stands for sizes and knobs."),
        "symbols": with_([symbol], "What each stands for, from the least to the most."),
        "conditions": [str], "figures": [written],
    }  # fmt: skip


def sweep() -> Any:
    """The networks of a sweep: a row has the names that vary and the figures.

    The counts are those of all configurations, also of those that are not among the rows.
    """
    refused = {"count": SIZE, "reason": str, "at": dict}
    return {
        "model": str, "configurations": COUNT, "networks": COUNT, "kept": COUNT,
        "refused": with_([refused], "The first of each kind that is not a network, and how many."),
        "rows": [dict],
    }  # fmt: skip


def solve() -> Any:
    """The best configuration, the values beside it that are the same network, and the next ones.

    A reason is empty for a network that meets all conditions.
    """
    plateau = {"name": str, "first": float, "last": float, "count": SIZE}
    neighbour = {"name": str, "at": dict, "figures": named(int), "reason": str}
    return {
        "model": str, "at": dict, "figures": named(int), "plateaus": [plateau],
        "ties": with_(SIZE, "How many configurations are as good, with this one."),
        "neighbours": [neighbour],
    }  # fmt: skip


def training() -> Any:
    """What ``table --training`` counts of a step: of each product, its two gradients too."""
    macs = dict.fromkeys(("forward_macs", "backward_macs", "step_macs"), COUNT)
    flops = ("forward", "recomputed", "input_gradient", "weight_gradient", "backward", "step")
    sums = macs | dict.fromkeys(flops, with_(int, "FLOPs, two a MAC", minimum=0))
    return NETWORK | {
        "batch": SIZE, "freeze": [str], "checkpoint": [str],
        "layers": [{"name": str, "op": str, **sums}], "totals": sums,
    }  # fmt: skip


def _peak() -> dict[str, Any]:
    kinds = [kind.replace(" ", "_") for kind in STORED]
    sizes = dict.fromkeys(("bytes", *kinds, "allocator_rounding"), COUNT)
    return {"phase": str, "layer": with_(str, "empty where no layer runs"), **sizes}


def memory() -> Any:
    """Bytes of training and inference. A peak holds its parts, which sum to its bytes.

    The timeline has every step of training, after which layer and phase so much is allocated.
    """
    peak = _peak()
    sizes = ("parameters", "buffers", "gradients", "optimizer_state", "saved_for_backward")
    moment = {"phase": Raw(enum=list(PHASES)), "layer": str, "bytes": COUNT}
    training = {"peak": peak, "phases": dict.fromkeys(PHASES, peak)}
    return NETWORK | {
        "batch": SIZE, **dict.fromkeys(TRAINING, Raw()), "kernel": str, "gpu": (str, None),
        "cublas_workspace": COUNT, **dict.fromkeys(sizes, COUNT), "training": training,
        "inference": dict.fromkeys((EAGER, IDEAL), peak), "timeline?": [moment],
    }  # fmt: skip


def fit() -> Any:
    """The largest batch of each use, its peak, and that of the next batch."""
    peak = with_(_peak(), type=["object", "null"])
    one = {"use": str, "batch": with_(COUNT, "0 if none fits"), "peak": peak, "next": peak}
    return NETWORK | {
        "gpu": (str, None), "memory": COUNT, "reserve": COUNT, "dtype": str, "device": str,
        "optimizer": str, "fits": [one],
    }  # fmt: skip


def roofline() -> Any:
    """The least time of inference on a device, in seconds; peaks are FLOPs a second."""
    part = {"flops": COUNT, "bytes": COUNT, "seconds": float, "bound_by": str}
    layer = {"name": str, "op": str, **part, "measured_seconds?": float}
    return NETWORK | {
        "batch": SIZE, "dtype": str, "device": str, "bandwidth": float, "peaks": named(float),
        "hard_bound": part, "eager_roofline": part, "layers": [layer],
        "measured?": {"machine": str, "seconds": float},
    }  # fmt: skip


def check() -> Any:
    """Every budget and what is true of it.

    Figures are whole numbers, in bytes where they are sizes; costs_most names layers only where a
    budget is broken.
    """
    beyond = "By how much the figure is beyond what is allowed; negative within."
    budget = {
        "model": str, "budget": str, "metric": str, "device": (str, None),
        "baseline": (str, None), "baseline_value": (float, None), "value": float,
        "allowed": with_(float, "The last whole number within the budget."),
        "over": with_(float, beyond), "holds": bool,
        "costs_most": [{"layer": str, "value": float}],
    }  # fmt: skip
    new = with_([str], "Files that a baseline does not have, where allow_new is set.")
    return {"holds": bool, "budgets": [budget], "new": new}


def diff() -> Any:
    """What changed, network by network.

    Figures are ordered by how much they moved, layers in execution order.
    """
    figure = {
        "metric": str, "device": (str, None), "old": float, "new": float, "change": float,
        "ratio": with_((float, None), "change / old; null from zero."),
    }  # fmt: skip
    layer = {"kind": Raw(enum=list(KINDS)), "old": CHANGED, "new": CHANGED}
    network = {
        "name": str, "old": str, "new": str, "same": bool, "figures": [figure],
        "layers": [layer | dict.fromkeys(LAYER_FIGURES, int)], "failed": [str],
    }  # fmt: skip
    added = with_([str], "Variants that are only in the new file.")
    return {
        "name": str, "networks": [network], "added": added, "removed": [str], "failed": [str],
    }  # fmt: skip


def audit() -> Any:
    """Printed figures and the computed ones. Shapes are height, width, channels.

    A computed figure has one entry for each reading; it is empty where nothing can be computed.
    """
    finding = {
        "name": str, "quantity": str, "printed": str, "verdict": Raw(enum=list(VERDICTS)),
        "computed": [{"reading": str, "value": VALUE}], "convention": str, "source": str,
        "slips": [{"text": str, "value": VALUE, "explains": bool}], "why": str,
    }  # fmt: skip
    wrong = "wrong figures that nothing explains; the exit status is 1 if there are any"
    return {
        "counts": named(SIZE, "figures per verdict, before any selection"),
        "unexplained": with_(COUNT, wrong), "findings": [finding],
    }  # fmt: skip


def verify() -> Any:
    """One result per model and check.

    A residual is measured minus expected, summed over exact checks without sign; expected and
    measured are numbers, texts, shapes as lists, or shapes by name.
    """
    what = with_(str, "What was compared.")
    more = with_(int, "What it has more than archcost says, in bytes for saved bytes.")
    failure = {
        "layer": with_(str, "Path of the layer, empty for the whole network."), "name": what,
        "expected": Raw(), "measured": Raw(), "residual?": float, "tolerance?": float, "note?": str,
    }  # fmt: skip
    result = {
        "model": str, "check": str, "run": COUNT, "passed": COUNT, "residual": COUNT,
        "seconds": with_(float, minimum=0),
        "against": named({"run": SIZE, "passed": COUNT},
                         "The checks by the tool or the reference network that measured."),
        "skipped": with_([str], "Why some comparisons were not made."),
        "named": with_([{"name": what, "reason": str, "more": more}],
            "What a reference network does otherwise for a reason, though it computes the same."),
        "failures": with_([failure], "The first failures, in execution order."),
    }  # fmt: skip
    nowhere = (
        "Checks, references and models that were asked for by name and compared nothing, with the "
        "reason; the run has then not passed."
    )
    return {
        "about": named(str, "Device, batch, and the versions of PyTorch and of the counters."),
        "interrupted": with_(bool, "True if the run was stopped; results are then partial."),
        "passed": bool, "ran_nowhere": with_([str], nowhere), "results": [result],
    }  # fmt: skip


def report() -> Any:
    """What the page holds.

    Of each model, the members of `table --format json` come first; memory, audit and budgets are
    as `memory --timeline`, `audit` and `check` print them, verification is the rows of `verify`.
    """
    error = {"error": {"description": "why it is not known", "type": "string"}}
    memory = with_(dict, oneOf=[
        {"required": ["training", "inference", "timeline"]},
        {"required": ["error"], "properties": error},
    ])  # fmt: skip
    own = {key: kind for key, kind in MODEL.items() if key != "inputs?"} | {
        "convention": str, "layers": [dict], "groups": [dict], "totals": dict, "memory": memory,
        "audit": has("counts", "unexplained", "findings"),
        "verification": [has("model", "check", "run", "passed", "residual")],
        "budgets": [has("model", "budget", "value", "allowed", "over", "holds")],
    }  # fmt: skip
    model = schema(own)
    del model["additionalProperties"]
    ran = "Where the verification ran, and with which versions; empty without one."
    return {
        "title": str, "versions": named(str), "verified": named(str, ran),
        "comparison": with_(dict, "As `compare --format json` prints it."),
        "models": with_([Raw(model)], minItems=1),
    }  # fmt: skip


CONTRACTS: Mapping[str, Callable[[], Any]] = {
    each.__name__: each
    for each in (
        audit, check, compare, diff, fit, formula, memory, report, roofline, solve, spec, sweep,
        table, training, verify,
    )
}  # fmt: skip
"""What makes the schema of specs, and of each command that has one."""

COMMANDS = {"training": "table --training"}
"""The commands whose schemas have other names."""


def contract(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a spec, or of what a command prints as ``--format json``."""
    made = CONTRACTS[name]
    about = " ".join((made.__doc__ or "").split())
    if name == "spec":
        title, kind = "archcost spec", made()
    else:
        title = f"archcost {COMMANDS.get(name, name)} --format json"
        kind = {"schema": Raw(const=contract_id(name)), **made()}
    return {"$schema": DRAFT, "title": title, "description": about, **schema(kind)}
