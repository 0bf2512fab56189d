"""Classes that hold data are as ``dataclasses`` makes them, and made faster."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import field
from pathlib import Path
from typing import Any

import pytest

from archcost import data

PACKAGE = Path(data.__file__).parent


def pair(**options: Any) -> tuple[type, type]:
    """Return the same class twice: as ``dataclasses`` makes it, and as archcost does."""

    class Point:
        x: int
        y: Any = 2
        names: list[str] = field(default_factory=list)
        note: str = field(default="", compare=False, repr=False)
        last: int = field(default=0, kw_only=True)

    def again() -> type:
        return type("Point", (), {k: v for k, v in vars(Point).items() if k != "__dict__"})

    return dataclasses.dataclass(**options)(again()), data.dataclass(**options)(again())


OPTIONS = ({}, {"frozen": True}, {"frozen": True, "slots": True}, {"slots": True}, {"repr": False})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    "args, kwargs",
    [
        ((1,), {}), ((1, 3, ["a"], "n"), {"last": 4}), ((), {"x": 1, "names": []}),
        ((), {}), ((1,), {"x": 2}), ((1, 2, [], "", 5), {}), ((1,), {"z": 1}), ((), {"y": 1, "z": 2}),
    ],
    ids=str,
)  # fmt: skip
def test_takes_what_dataclasses_take(options: Any, args: Any, kwargs: Any) -> None:
    theirs, ours = pair(**options)
    try:
        expected = dataclasses.asdict(theirs(*args, **kwargs))
    except TypeError:
        with pytest.raises(TypeError):
            ours(*args, **kwargs)
    else:
        assert dataclasses.asdict(ours(*args, **kwargs)) == expected


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_behaves_as_dataclasses_do(options: Any) -> None:
    theirs, ours = pair(**options)
    for made in (theirs, ours):
        one, same, other = made(1), made(1, note="not compared"), made(1, 3)
        assert one == same != other and one.names is not same.names
        assert dataclasses.replace(one, y=3) == other and one != (1, 2)
        if options.get("frozen"):
            with pytest.raises(dataclasses.FrozenInstanceError):
                one.x = 2
            with pytest.raises(dataclasses.FrozenInstanceError):
                del one.x
        else:
            one.x = 5
            assert one.x == 5
            with pytest.raises(TypeError):
                hash(one)
    assert [f.name for f in dataclasses.fields(ours)] == [
        f.name for f in dataclasses.fields(theirs)
    ]
    if options.get("repr", True):
        assert repr(ours(1)).rpartition(".")[2] == repr(theirs(1)).rpartition(".")[2]
    assert ours.__match_args__ == theirs.__match_args__


def test_equal_frozen_ones_are_found_in_a_set() -> None:
    frozen = data.dataclass(frozen=True)(type("Two", (), {"__annotations__": {"a": int, "b": int}}))
    assert frozen(1, 2) in {frozen(1, 2)} and frozen(2, 1) not in {frozen(1, 2)}


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, dataclasses.replace])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_copies_are_equal(options: Any, copied: Any) -> None:
    for made in pair(**options):
        one = made(1, last=4)
        assert copied(one) == one and copied(one) is not one


def test_a_class_with_slots_is_inherited() -> None:
    for decorate in (dataclasses.dataclass, data.dataclass):
        base = decorate(frozen=True, slots=True)(type("A", (), {"__annotations__": {"a": int}}))
        made = decorate(frozen=True, slots=True)(
            type("B", (base,), {"__annotations__": {"b": int}})
        )
        assert dataclasses.astuple(copy.copy(made(1, 2))) == (1, 2)
        assert made(1, 2) == made(1, b=2) != made(2, 2) and made(1, 2) != base(1)


@pytest.mark.parametrize(
    "body, slots",
    [
        ({}, False),
        ({"__annotations__": {"a": int}, "a": field(init=False, default=1)}, False),
        ({"__annotations__": {"a": int}, "__post_init__": lambda self: None}, True),
    ],
)
def test_what_would_be_left_undone_is_refused(body: dict[str, Any], slots: bool) -> None:
    with pytest.raises(TypeError, match=r"Some takes dataclasses\.dataclass"):
        data.dataclass(slots=slots)(type("Some", (), body))


def test_a_layer_goes_to_another_process_and_back() -> None:
    from archcost import load

    network = load("alexnet")
    assert pickle.loads(pickle.dumps(network.layers)) == network.layers


def test_what_every_command_loads_takes_it() -> None:
    """The table of a network, which is what people ask for first."""
    import subprocess
    import sys

    code = (
        "import sys\nsys.argv = ['archcost', 'table', 'vgg16']\nfrom archcost.cli import main\n"
        "try: main()\nexcept SystemExit: print('LOADED', [m for m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.rpartition("LOADED ")[2]
    files = [f"archcost.{'.'.join(path.relative_to(PACKAGE).with_suffix('').parts)}" for path in
             PACKAGE.rglob("*.py") if "dataclasses import dataclass" in path.read_text("utf-8")]  # fmt: skip
    assert len(files) > 20
    assert [name for name in files if f"'{name}'" in loaded] == ["archcost.data"]
