"""How a JSON Schema is written: a value of Python for each kind of value.

A record is ``{"name": str, "note?": [str]}``: keys that end in ``?`` may be missing, and no others
are allowed. A list has items of one kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

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


def one_of(*kinds: Any, text: str = "") -> Raw:
    """Return any of several kinds."""
    return Raw(({"description": text} if text else {}) | {"anyOf": [*map(schema, kinds)]})


COUNT, SIZE = with_(int, minimum=0), with_(int, minimum=1)
