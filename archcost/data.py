"""Classes that hold data, made in a tenth of the time that ``dataclasses`` takes for one.

``dataclasses`` writes the source of every method and compiles it, 0.4 ms a class, whenever the
program starts. Here the methods are written once, for all classes. Only ``__init__`` of a class
with slots is compiled, 0.1 ms, because such a class has many objects. What every command loads
takes it from here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, repr=True):
        """Make a class of its annotations, as ``dataclasses.dataclass`` does.

        ``fields``, ``replace`` and ``asdict`` take it. A class has fields, arguments set all of
        them, and one with slots has no ``__post_init__``.
        """
        if cls is None:
            return lambda own: dataclass(own, frozen=frozen, slots=slots, repr=repr)
        cls = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
        fields = dataclasses.fields(cls)
        _check(cls, fields, slots)
        methods = _methods(cls, fields, slots, frozen) | {"__hash__": _hash if frozen else None}
        if frozen:
            methods |= {"__setattr__": _frozen, "__delattr__": _frozen}
        if frozen and slots:
            methods |= {"__setstate__": _set_state}
        if not repr:
            del methods["__repr__"]
        for name, method in methods.items():
            if name not in cls.__dict__:
                setattr(cls, name, method)
        cls._told_apart = attrgetter(*[field.name for field in fields if field.compare])
        return cls


def _check(cls: type, fields: tuple[dataclasses.Field[Any], ...], slots: bool) -> None:
    """Refuse what the methods here would leave undone."""
    unset = not all(field.init for field in fields)
    if not fields or unset or (slots and hasattr(cls, "__post_init__")):
        raise TypeError(f"{cls.__name__} takes dataclasses.dataclass")


def _methods(
    cls: type, fields: tuple[dataclasses.Field[Any], ...], slots: bool, frozen: bool
) -> dict[str, Any]:
    """Return the methods of a class that know its fields."""
    positional = [field.name for field in fields if not field.kw_only]
    named = [field.name for field in fields if field.kw_only]
    names = dict.fromkeys([*positional, *named]).keys()
    shown = [field.name for field in fields if field.repr]
    defaults = {f.name: f.default for f in fields if f.default is not MISSING}
    factories = [(f.name, f.default_factory) for f in fields if f.default_factory is not MISSING]

    def read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the values of all fields."""
        values = {**defaults, **dict(zip(positional, args, strict=False)), **kwargs}
        for name, factory in factories:
            if name not in values:
                values[name] = factory()
        told = {*positional[: len(args)], *kwargs}
        if len(args) + len(kwargs) > len(told) or values.keys() != names:
            wanted, got = ", ".join(names), ", ".join([*map(repr, args), *kwargs])
            raise TypeError(f"{cls.__name__} takes {wanted}; got {got}")
        return values

    def in_dict(self: Any, *args: Any, **kwargs: Any) -> None:
        self.__dict__.update(read(args, kwargs))
        if hasattr(self, "__post_init__"):
            self.__post_init__()

    def __repr__(self: Any) -> str:
        cells = [f"{name}={getattr(self, name)!r}" for name in shown]
        return f"{type(self).__qualname__}({', '.join(cells)})"

    def __eq__(self: Any, other: Any) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        told_apart = type(self)._told_apart
        return bool(told_apart(self) == told_apart(other))

    init = _init_of_slots(cls, fields, frozen) if slots else in_dict
    return {"__init__": init, "__repr__": __repr__, "__eq__": __eq__}


def _init_of_slots(cls: type, fields: tuple[dataclasses.Field[Any], ...], frozen: bool) -> Any:
    """Return ``__init__`` of a class with slots.

    While it runs, an object of a frozen class is of one that is not frozen: Python sets a slot in a
    fraction of the time where no method decides whether it may.
    """
    free = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    filled = type(cls.__name__, (cls,), {"__slots__": (), **free})
    become = vars(object)["__class__"].__set__
    space: dict[str, Any] = {"unset": MISSING, "filled": filled, "become": become}
    lines, arguments = [], {False: ["self"], True: ["*"]}  # of fields that are named only
    for field in fields:
        name = value = argument = field.name
        if field.default is not MISSING:
            argument, space[f"usual_{name}"] = f"{name}=usual_{name}", field.default
        elif field.default_factory is not MISSING:
            argument, space[f"make_{name}"] = f"{name}=unset", field.default_factory
            value = f"make_{name}() if {name} is unset else {name}"
        arguments[field.kw_only is True].append(argument)
        lines.append(f"self.{name} = {value}")
    told = arguments[False] + (arguments[True] if arguments[True][1:] else [])
    if frozen:
        lines = ["own = type(self)", "become(self, filled)", *lines, "self.__class__ = own"]
    exec("\n ".join([f"def __init__({', '.join(told)}):", *lines]), space)
    return space["__init__"]


def _set_state(self: Any, state: tuple[dict[str, Any] | None, dict[str, Any]]) -> None:
    """Take what ``pickle`` and ``copy`` give a class with slots, which cannot be set."""
    for values in state:
        for name, value in (values or {}).items():
            object.__setattr__(self, name, value)


def _hash(self: Any) -> int:
    return hash(type(self)._told_apart(self))


def _frozen(self: Any, name: str, *_: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"a {type(self).__name__} does not change: {name}")
