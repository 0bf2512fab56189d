"""The JSON Schemas of specs and of what commands print: written short here, generated in full.

A record is ``{"name": str, "note?": [str]}``: keys that end in ``?`` may be missing, and no others
are allowed; a list has items of one kind. The counts of layers and totals are those of their
dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from archcost.analysis.report import Row, Totals
from archcost.budget.matching import KINDS, LAYER_FIGURES
from archcost.network import Remark
from archcost.ops.base import DTYPES
from archcost.published import FIGURES, VERDICTS
from archcost.spec.remarks import MEANT

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TYPES: Mapping[Any, str] = {
    str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", None: "null",
}  # fmt: skip


class Raw(dict[str, Any]):
    """A schema as it is."""


def schema(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema of a kind of value, as this file writes it."""
    if isinstance(kind, Raw):
        return dict(kind)
    if isinstance(kind, dict):
        return {
            "type": "object", "additionalProperties": False,
            "required": [key for key in kind if not key.endswith("?")],
            "properties": {key.removesuffix("?"): schema(value) for key, value in kind.items()},
        }  # fmt: skip
    if isinstance(kind, list):
        return {"type": "array", "items": schema(kind[0])}
    if isinstance(kind, tuple):
        return {"type": [TYPES[each] for each in kind]}
    return {"type": TYPES[kind]}


def with_(kind: Any, text: str = "", **more: Any) -> Raw:
    """Return a kind with a description, and further members of the schema."""
    return Raw(schema(kind) | ({"description": text} if text else {}) | more)


def named(kind: Any, text: str = "") -> Raw:
    """Return a mapping of any names to values of a kind."""
    return with_(dict, text, additionalProperties=schema(kind))


def has(*keys: str) -> Raw:
    """Return a record with at least these keys."""
    return with_(dict, required=list(keys))


def counts(record: type, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields of a dataclass that are whole numbers, which are not negative."""
    hints = get_type_hints(record)
    names = [f.name for f in fields(record) if f.name not in without]
    return {name: COUNT if hints[name] is int else hints[name] for name in names}


COUNT, SIZE = with_(int, minimum=0), with_(int, minimum=1)
SHAPE = [SIZE]
MODEL = {
    "model": str, "title": str,
    "inputs?": with_([{"name": str, "shape": SHAPE, "dtype": Raw(enum=list(DTYPES))}],
                     "all inputs, where there are several, or the one holds no floats"),
    "input": SHAPE, "batch": SIZE, "dtype": str,
}  # fmt: skip
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


# Specs.

WORD = (str, float)
FREE = (str, float, bool, None)
NAME, IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", r"^[A-Za-z_]\w*$"
SIZES = r"(\d+|\{[^{}]+\})"


def ref(name: str, text: str = "") -> Raw:
    """Return a reference to one of :data:`PARTS`."""
    return Raw(({"description": text} if text else {}) | {"$ref": f"#/$defs/{name}"})


def one_of(*kinds: Any, text: str = "") -> Raw:
    """Return any of several kinds."""
    return Raw(({"description": text} if text else {}) | {"anyOf": [*map(schema, kinds)]})


def names(kind: Any, pattern: str | None = None, text: str = "") -> Raw:
    """Return a mapping of names, identifiers unless a pattern says otherwise, or nothing."""
    keys = ref("identifier") if pattern is None else Raw(pattern=pattern)
    return one_of(None, with_(named(kind), propertyNames=keys), text=text)


PARTS: Mapping[str, Any] = {
    "remark": Raw(enum=[*MEANT]),
    "shape": one_of(
        with_(str, pattern=rf"^[\[(]?\s*{SIZES}(\s*[x×X,*]\s*{SIZES})*\s*[\])]?$"), SIZE,
        text="Sizes without batch, channels first: 3x224x224; {knob} takes a knob's value."),
    "input": one_of(
        ref("shape"), with_(str, pattern=rf"^[^a-z]*[\d)}}\]]\s+({'|'.join(DTYPES)})$"),
        text="A shape, and what it holds if it holds no floats: 77 int64."),
    "year": one_of(with_(int, minimum=1900, maximum=2099), with_(str, pattern=r"^(19|20)\d\d$")),
    "identifier": Raw(pattern=IDENTIFIER),
    "value": one_of(FREE, [ref("value")]),
    "expression": FREE,
    "figure": one_of(
        with_(float, minimum=0),
        with_(str, pattern=r"^\s*~?\s*\d[\d,.]*\s*([kmgtKMGT][iI]?[bB]|[kmgbtKMGBT%]?)\s*$"),
        text="As it is printed: 62.3M, 4.12 G, 61100840."),
    "items": one_of(ref("call"), [ref("item")], ref("entry"),
                    text="A call such as conv(64, 3), or a list of items."),
    "call": with_(str, "conv(64, 3, padding=1), a block, take(label); with * n, >> and if.",
                  minLength=1),
    "item": one_of(ref("call"), ref("entry")),
    "entry": with_(
        {"let?": with_(named(ref("expression")), propertyNames=ref("identifier")),
         "aside?": ref("branches")},
        "name: call, name: [items], add/concat/multiply: {branch: items}, for/if ...: items, "
        "let: {name: expression}, aside: {name: items}.",
        minProperties=1, maxProperties=1,
        patternProperties={"^(?!let$|aside$)": one_of(ref("items"), ref("branches"))}),
    "branches": with_(named(ref("items")), minProperties=1),
}  # fmt: skip
"""The parts of a spec, by name."""


def spec() -> Any:
    """A network, or a family of networks, as a list of calls.

    The schema covers the skeleton; archcost itself checks calls and expressions.
    """
    head = {
        "title?": with_(WORD, "One line for people."),
        "paper?": with_(WORD, "Where it was published: authors, venue, year."),
        "year?": ref("year"), "input?": ref("input"),
    }  # fmt: skip
    about = {
        "source": with_(str, "Who prints the figures, and where.", minLength=1),
        "year?": ref("year"), "input?": ref("shape"),
        "convention?": with_(str, "How the source counts, e.g. torchvision, fvcore."),
        "why?": with_(str, "Why a figure differs from the computed one."),
        "slips?": named(ref("expression"),
                        "Mistakes that give what is printed, each with its expression."),
    }  # fmt: skip
    row = {"model?": WORD, **about, **{f"{name}?": ref("figure") for name in FIGURES}}
    columns = with_([Raw(enum=[*FIGURES])], minItems=1)
    cell = one_of(ref("figure"), Raw(const="-"))
    cells = with_([one_of(cell, str, named(ref("expression")))], minItems=1)
    published = Raw(
        type="object", required=["sources"], additionalProperties=named(one_of(cell, cells)),
        properties={"sources": named({**about, "columns": columns})},
    )  # fmt: skip
    own = {key.removesuffix("?"): schema(kind) for key, kind in head.items()}
    variant = Raw(type="object", properties=own, additionalProperties=ref("value"))
    name = with_(WORD, pattern=NAME)
    whole = {
        "name?": with_(name, "The name of a single network."),
        "family?": with_(name, "The name of a file with several networks."),
        **head,
        "inputs?": names(ref("input"), text="name: shape, for each of several inputs; the first is "
                         "the main one."),
        "meant?": one_of(ref("remark"), [ref("remark")],
            text="Kinds of remarks that are not made, for the spec means what it says."),
        "knobs?": names(ref("value"), text="Named values with defaults; variants and --set change "
                        "them."),
        "variants?": names(one_of(None, variant), NAME, "The networks of a family: the knobs that "
                           "differ, and a title, paper, year or input of their own."),
        "let?": names(ref("expression"), text="Values derived from knobs, in order."),
        "blocks?": names(ref("items"), r"^[A-Za-z_]\w*\s*(\(.*\))?$",
                         "name(parameter, other=default): items."),
        "shared?": names(ref("items"), text="name: items, with one set of weights however often "
                         "they are used."),
        "layers": ref("items", "The layers in the order in which they run."),
        "outputs?": one_of(str, [str], text="The names of the layers that come out; the last one "
                           "by default."),
        "published?": one_of([row], published, text="What others print of the networks: a list of "
                             "rows, or a table with sources."),
    }  # fmt: skip
    one = [{"required": [a, b]} for a in ("name", "family") for b in ("input", "inputs")]
    parts = {key: schema(kind) for key, kind in PARTS.items()}
    return Raw(with_(whole, oneOf=one) | {"$defs": parts})


CONTRACTS: Mapping[str, Callable[[], Any]] = {
    each.__name__: each
    for each in (audit, check, compare, diff, formula, report, solve, spec, sweep, table, verify)
}
"""What makes the schema of specs, and of each command that has one."""


def contract(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a spec, or of what a command prints as ``--format json``."""
    made = CONTRACTS[name]
    about = " ".join((made.__doc__ or "").split())
    title = f"archcost {name}" + " --format json" * (name != "spec")
    return {"$schema": DRAFT, "title": title, "description": about, **schema(made())}
