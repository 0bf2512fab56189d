"""Things by their names, loaded with their modules when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T], Mapping[str, T]):
    """Things of one kind by their names. The module of one is loaded when it is asked for.

    ``kind`` is the word of messages for such a thing.

    Examples:
        >>> fruits = Registry[int]("fruit")
        >>> fruits.register("apple", 3, __name__)
        >>> fruits["apple"], "pear" in fruits
        (3, False)
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._made: dict[str, T] = {}
        self._modules: dict[str, str] = {}

    def expect(self, module: str, names: Sequence[str]) -> None:
        """Take the names of what a module registers when it is loaded."""
        self._modules.update(dict.fromkeys(names, module))

    def register(self, name: str, thing: T, module: str) -> None:
        """Take a thing that a module makes.

        Raises:
            ValueError: another one has that name.
        """
        if name in self._made or self._modules.get(name, module) != module:
            raise ValueError(f"two {self.kind}s are named {name!r}")
        self._modules[name] = module
        self._made[name] = thing

    def module(self, name: str) -> str:
        """Return the module that makes the thing of that name."""
        return self._modules[name]

    def __getitem__(self, name: str) -> T:
        """Return the thing of that name."""
        if name not in self._made:
            import_module(self._modules[name])
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is one of that name."""
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._modules)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._modules)
