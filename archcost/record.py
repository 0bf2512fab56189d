"""How records become JSON: the attributes of a thing, with whole numbers whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

VERSION = 2
"""The version of the JSON contracts; it grows where a key is renamed, removed or means another."""


def contract_id(name: str) -> str:
    """Return what the JSON of a command says of itself: ``archcost/table/2``."""
    return f"archcost/{name}/{VERSION}"


def record(thing: Any, *names: str, **first: Any) -> dict[str, Any]:
    """Return attributes of a thing for JSON: those named, or all fields of a dataclass.

    Args:
        thing: what has them.
        *names: which, in this order.
        **first: members of other names, which come before them.
    """
    chosen = names or [field.name for field in fields(thing)]
    return {
        **{name: plain(value) for name, value in first.items()},
        **{name: plain(getattr(thing, name)) for name in chosen},
    }


def plain(value: Any) -> Any:
    """Return a value as JSON and tables have it: a whole fraction is an int, a tuple a list."""
    match value:
        case int() | float() | str() | None:
            return value
        case tuple() if hasattr(value, "_asdict"):  # of named fields
            return plain(value._asdict())
        case tuple() | list():
            return [plain(each) for each in value]
        case Mapping():
            return {name: plain(each) for name, each in value.items()}
        case _ if hasattr(value, "denominator"):
            return value.numerator if value.denominator == 1 else float(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return record(value)
    return value
