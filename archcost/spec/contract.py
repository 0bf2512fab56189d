"""The JSON Schema of specs, for editors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archcost.ops.base import DTYPES
from archcost.published import FIGURES
from archcost.schema import SIZE, Raw, named, one_of, schema, with_
from archcost.spec.remarks import MEANT

WORD = (str, float)
FREE = (str, float, bool, None)
NAME, IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", r"^[A-Za-z_]\w*$"
SIZES = r"(\d+|\{[^{}]+\})"


def ref(name: str, text: str = "") -> Raw:
    """Return a reference to one of :data:`PARTS`."""
    return Raw(({"description": text} if text else {}) | {"$ref": f"#/$defs/{name}"})


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
