"""Many configurations are priced at once by few runs, exactly as one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from bench import OFA

from archcost import compiled, load, loads
from archcost.compiled import Program, box_of
from archcost.errors import ArchcostError
from archcost.graph import Graph
from archcost.nested import Nested
from archcost.number import less, truncated
from archcost.setting import Setting
from archcost.space.folded import subject_at
from archcost.space.grid import Box, Drawn, Space, read_dimension
from archcost.space.pricing import OneByOne, Priced, Programs, Run
from archcost.space.refusals import kind_of
from archcost.space.varied import Varied, is_number
from archcost.spec import template
from archcost.spec.catalog import documents

np = pytest.importorskip("numpy", reason="numpy is not installed")

FIGURES = ("params", "macs", "activations", "buffers")
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "alexnet": ({"H": 1, "W": 1}, {"H": 300, "W": 300}),
    "vit_b_16": ({"H": 1, "W": 1}, {"H": 90, "W": 90}),
    "swin_t": ({"H": 190, "W": 190}, {"H": 230, "W": 260}),
    "resnet50": (
        {"input": 1, "width_per_group": 1, "depths.0": 1, "depths.2": 1},
        {"input": 400, "width_per_group": 256, "depths.0": 4, "depths.2": 4},
    ),
    "resnext50_32x4d": ({"groups": 1, "width_per_group": 1}, {"groups": 64, "width_per_group": 9}),
    "mobilenet_v1": ({"width": 0.1, "resolution": 32}, {"width": 2.0, "resolution": 256}),
    "mobilenet_v2": ({"H": 1, "width": 0.1}, {"H": 300, "width": 3.0}),
    "shufflenet_v1_g3": ({"groups": 1}, {"groups": 9}),
    "shufflenet_v2_x1.0": ({"classes": 1, "H": 1}, {"classes": 2000, "H": 400}),
    "efficientnet_b0": ({"phi": 0.0}, {"phi": 4.0}),
    "densenet121": ({"growth": 1, "depths.1": 0}, {"growth": 60, "depths.1": 5}),
    "vgg16": ({"depths.0": 0, "classes": 0}, {"depths.0": 3, "classes": 99}),
    "convnext_tiny": ({"depths.2": 1, "H": 1}, {"depths.2": 4, "H": 300}),
    "nasnet_a_mobile": ({"filters": 1}, {"filters": 60}),
    "resnet18": ({f"depths.{i}": 0 for i in range(4)}, {f"depths.{i}": 5 for i in range(4)}),
    "mobilenet_v2_0.5": (
        {"width": 0.1, "stages.1.2": 0, "stages.3.2": 1, "stages.4.0": 1},
        {"width": 1.0, "stages.1.2": 4, "stages.3.2": 3, "stages.4.0": 3},
    ),
    "regnet_x_400mf": (
        {"depths.0": 1, "depths.2": 1, "widths.2": 1}, {"depths.0": 4, "depths.2": 9, "widths.2": 99},
    ),
    "darknet53": ({"depths.1": 0, "depths.4": 0, "H": 33}, {"depths.1": 4, "depths.4": 4, "H": 99}),
}  # fmt: skip
"""Families with knobs, each with the least and the most of some names."""


def run_of(name: str, **loaded: Any) -> Run:
    varied = Varied(load(name, **loaded))

    def run(at: Mapping[str, Any]) -> dict[str, Any]:
        total = subject_at(varied, Setting(), at).report.total
        return {figure: getattr(total, figure) for figure in FIGURES}

    return run


def drawn(name: str, rows: int, seed: int = 1) -> dict[str, Any]:
    """Return random configurations of a family."""
    low, high = FAMILIES[name]
    draw = np.random.default_rng(seed)
    return {
        key: draw.uniform(low[key], high[key], rows)
        if isinstance(low[key], float)
        else draw.integers(low[key], high[key], rows, endpoint=True)
        for key in low
    }


def compare(found: Priced, expected: Priced) -> None:
    """Compare row by row: the same networks, the same figures, refusals of the same kind."""
    assert (found.networks == expected.networks).all()
    there = found.networks
    for name, own in expected.figures.items():
        assert (found.figures[name][there] == own[there]).all(), name
    reasons = [
        {int(row): kind_of(why) for rows, why in each.refused for row in rows}
        for each in (found, expected)
    ]
    assert reasons[0] == reasons[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_programs_price_a_family_as_one_by_one(name: str) -> None:
    columns = drawn(name, 60)
    programs = Programs(run_of(name), box_of(columns), folds=True)
    expected = OneByOne(run_of(name)).price(columns)
    compare(programs.price(columns), expected)
    compare(programs.price(columns), expected)  # knows by now which names are not symbols
    runs = programs.runs
    compare(programs.price(columns), expected)
    assert programs.runs == runs  # nothing is run again


@pytest.mark.parametrize("name", FAMILIES)
def test_programs_price_all_combinations_as_one_by_one(name: str) -> None:
    """What depends on few names is computed once for each of their values."""
    few = drawn(name, 5 if len(FAMILIES[name][0]) < 3 else 3, seed=8)
    box = Box({key: np.unique(own) for key, own in few.items()})
    more = {key: np.append(own, few[key]) for key, own in drawn(name, 60).items()}
    run, bounds = run_of(name), box_of(more)
    expected = OneByOne(run).price(box)
    programs = Programs(run, bounds, folds=True)
    programs.price(drawn(name, 20))  # so that there are programs for the box
    compare(programs.price(box), expected)
    compare(programs.price(box), expected)
    assert [*box] == [*few] and len(expected.networks) == np.prod(
        [len(own) for own in box.axes.values()]
    )


def test_a_box_is_told_apart_along_one_name() -> None:
    """Each part of a box has its program; conditions on two names leave the rows to be told apart."""

    def run(at: Mapping[str, Any]) -> dict[str, Any]:
        n, m = at["n"], at["m"]
        if n > 6 or n < 3:
            return {"f": n * m if n > 6 else 9 - n}
        if n + m > 12:
            raise ArchcostError("too much")
        return {"f": 7 * n + m}

    columns = {"n": np.arange(1, 11).repeat(8), "m": np.tile(np.arange(1, 9), 10)}
    programs = Programs(run, box_of(columns))
    expected = OneByOne(run).price(columns)
    compare(programs.price(columns), expected)
    runs = programs.runs
    box = Box({"n": np.arange(1, 11), "m": np.arange(1, 9)})
    compare(programs.price(box), expected)
    assert programs.runs == runs == 4
    left = programs._known_of_box(box.axes, np.arange(80), Priced(80))
    assert {*columns["n"][left].tolist()} == {3, 4, 5, 6}


def test_a_box_is_told_apart_along_several_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conditions on one name each leave boxes, of which no row is priced by itself."""

    def run(at: Mapping[str, Any]) -> dict[str, Any]:
        n, m, k = at["n"], at["m"], at["k"]
        if n > 6 and m < 3:
            raise ArchcostError("too long")
        return {"f": n * m * k + m * m if k > 2 else n + m, "g": n * n * k + m}

    box = Box({"n": np.arange(1, 11), "m": np.arange(1, 9), "k": np.arange(1, 5)})
    programs, expected = Programs(run, box_of(box)), OneByOne(run).price(box)
    compare(programs.price({**box}), expected)
    monkeypatch.setattr(Program, "on_arrays", None)
    compare(programs.price(box), expected)


def test_a_sample_computes_what_depends_on_one_name_once_for_each_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Figures are those of the same rows as plain columns, with refusals and several programs."""
    dimensions = {"width": "0.1:1:0.05", "stages.1.2": "0:4", "H": "1:90", "classes": "1:100000"}
    read = {name: read_dimension(text) for name, text in dimensions.items()}
    columns, run = Space(read, 3000).columns(0, 3000), run_of("mobilenet_v2")
    assert isinstance(columns, Drawn) and {*columns.coded} == {"width", "stages.1.2", "H"}
    for name, (values, places) in columns.coded.items():
        assert (values[places] == columns[name]).all()
    box = {name: own.ends for name, own in read.items()}
    expected = Programs(run, box, folds=True).price({**columns})
    sizes, own = [], Program._own

    def noted(self: Program, space: Any, name: str, values: Any) -> Any:
        sizes.append((name, np.size(values)))
        return own(self, space, name, values)

    monkeypatch.setattr(Program, "_own", noted)
    compare(Programs(run, box, folds=True).price(columns), expected)
    assert {size for name, size in sizes if name == "x0"} == {19}


def test_a_special_case_of_one_value_is_none_of_the_others() -> None:
    """Widths of ConvNeXt are symbols, though one of them needs no layer between two stages."""
    width = np.arange(150, 230).repeat(3)
    columns = {"widths.0": width, "depths.1": np.tile([2, 3, 5], 80)}
    assert 192 in width
    run = run_of("convnext_tiny")
    programs, expected = Programs(run, box_of(columns), folds=True), OneByOne(run).price(columns)
    for _ in range(2):
        compare(programs.price(columns), expected)
    assert programs.runs <= 4


def of_family(name: str, rows: int) -> dict[str, Any]:
    """Return random values of three knobs, or items of knobs, and of the height of the input."""
    varied, draw = Varied(load(name)), np.random.default_rng(5)
    numbers = {
        own: value for own, value in varied.values.items()
        if is_number(value) and own not in varied.axes and not own.startswith("input")
    }  # fmt: skip
    chosen = draw.choice([*numbers], min(3, len(numbers)), replace=False).tolist()
    columns = {
        own: draw.uniform(numbers[own] / 2, 2 * numbers[own] + 0.1, rows)
        if isinstance(numbers[own], float)
        else draw.integers(numbers[own] // 2, numbers[own] + numbers[own] // 2 + 2, rows)
        for own in chosen
    }
    size = varied.values.get("H")
    return columns | ({"H": draw.integers(max(size // 2, 1), 2 * size, rows)} if size else {})


WITH_KNOBS = [document.models()[0] for document in documents() if document.knobs]


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_KNOBS)
def test_random_configurations_of_every_family(name: str) -> None:
    """175 of each family with knobs, 10,000 in all."""
    columns, run = of_family(name, 175), run_of(name)
    programs = Programs(run, box_of(columns), folds=True)
    compare(programs.price(columns), OneByOne(run).price(columns))


@pytest.mark.parametrize("call", ["12 // n", "12 % n", "12 / n * 1"])
def test_a_division_by_zero_is_refused_where_there_is_one(tmp_path: Path, call: str) -> None:
    spec = tmp_path / "net.yaml"
    layer = f"conv(ceil({call}) + m, 1)"
    spec.write_text(f"name: net\ninput: 3x8x8\nknobs: {{n: 1, m: 1}}\nlayers: ['{layer}']\n")
    # the first is run first: each has one name at its least
    run, columns = run_of(str(spec)), {"n": np.array([0, 2, 0]), "m": np.array([5, 1, 1])}
    compare(Programs(run, box_of(columns)).price(columns), OneByOne(run).price(columns))


def test_one_run_prices_all_depths() -> None:
    """A block that is repeated is made once, with how often it stands there."""
    columns = drawn("resnet18", 50) | {"width_per_group": np.arange(50) + 64}
    columns = {name: np.maximum(own, 1) for name, own in columns.items()}
    programs = Programs(run_of("resnet18"), box_of(columns), folds=True)
    compare(programs.price(columns), OneByOne(run_of("resnet18")).price(columns))
    assert programs.runs == 1


SHARED = """name: net
input: 4x8x8
knobs: {n: 3, m: 2}
blocks:
  tied(x): conv(4, 3, padding=1) >> same
  plain: conv(4, 3, padding=1) >> relu
  nested: plain * m >> batchnorm
shared:
  same: conv(4, 1)
layers: [plain, "tied(1) * n", "nested * n", "maxpool(2, padding=1) * (m - 1)", flatten, linear(10)]
"""


def test_what_differs_between_repeats_is_made_each_time(tmp_path: Path) -> None:
    """Weights that are shared, maps that shrink, repeats in repeats."""
    spec = tmp_path / "net.yaml"
    spec.write_text(SHARED)
    n, m = (own.ravel() for own in np.meshgrid(np.arange(5), np.arange(6)))
    run = run_of(str(spec))
    programs = Programs(run, box_of({"n": n, "m": m}), folds=True)
    compare(programs.price({"n": n, "m": m}), OneByOne(run).price({"n": n, "m": m}))


def test_repeats_in_repeats_are_made_once(tmp_path: Path) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text(
        SHARED.replace('"maxpool(2, padding=1) * (m - 1)", ', "").replace('"tied(1) * n", ', "")
    )
    n, m = (own.ravel() for own in np.meshgrid(np.arange(1, 5), np.arange(1, 6)))
    run = run_of(str(spec))
    programs = Programs(run, box_of({"n": n, "m": m}), folds=True)
    compare(programs.price({"n": n, "m": m}), OneByOne(run).price({"n": n, "m": m}))
    assert programs.runs == 1


def test_a_network_of_too_many_layers_is_refused_alike() -> None:
    columns = {
        "depths.0": np.array([1, 2500, 2900, 3000, 2]),
        "depths.1": np.array([3, 300, 2, 9, 1]),
    }
    run = run_of("resnet18")
    found = Programs(run, box_of(columns), folds=True).price(columns)
    expected = OneByOne(run).price(columns)
    assert found.networks.tolist() == expected.networks.tolist()
    assert not found.networks.all() and found.networks.any()
    there = found.networks
    assert (found.figures["macs"][there] == expected.figures["macs"][there]).all()


def test_a_repeat_of_what_grows_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "alike", lambda a, b: True)
    columns, run = drawn("densenet121", 20), run_of("densenet121")
    found = Programs(run, box_of(columns), folds=True).price(columns)
    with pytest.raises(AssertionError):
        compare(found, OneByOne(run).price(columns))


@pytest.mark.parametrize(("kernels", "runs"), [([3, 5, 7], 1), ([1, 2, 3, 4], 99)])
def test_one_run_prices_a_space_of_kernels_and_depths(kernels: list[int], runs: int) -> None:
    """A kernel of 2⌊k/2⌋ + 1 keeps a map's size, so that its blocks are equal; an even one does not."""
    draw, rows = np.random.default_rng(4), 60
    columns = {"width": draw.uniform(0.5, 1.5, rows), "input": draw.integers(32, 320, rows)}
    for i in range(5):
        columns |= {
            f"depths.{i}": draw.integers(2, 5, rows), f"kernels.{i}": draw.choice(kernels, rows),
            f"expansions.{i}": draw.integers(2, 7, rows),
        }  # fmt: skip
    varied = Varied(loads(OFA))

    def run(at: Mapping[str, Any]) -> dict[str, Any]:
        total = subject_at(varied, Setting(), at).report.total
        return {figure: getattr(total, figure) for figure in FIGURES}

    programs = Programs(run, box_of(columns), folds=True)
    found, expected = programs.price(columns), OneByOne(run).price(columns)
    compare(found, expected)
    assert programs.runs <= runs and found.networks.any()
    assert found.networks.all() == (2 not in kernels)


def test_words_are_run_apart() -> None:
    blocks = np.array(["basic", "bottleneck", "plain", "no_block"], object)
    columns = {
        "block": blocks[np.arange(40) % 4],
        "H": np.arange(40) + 30,
        "v1": np.array([True, False] * 20, object),
    }
    programs = Programs(run_of("resnet50"), box_of(columns))
    expected = OneByOne(run_of("resnet50")).price(columns)
    compare(programs.price(columns), expected)
    assert programs.runs == 4 and len(expected.refused) == 1
    box = Box({"block": blocks, "H": np.arange(30, 40), "v1": np.array([False, True], object)})
    expected = OneByOne(run_of("resnet50")).price(box)
    compare(programs.price(box), expected)
    compare(programs.price(box), expected)


def test_a_dropped_guard_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = drawn("alexnet", 40)
    run = run_of("alexnet")
    monkeypatch.setattr(Graph, "_note", lambda *args: None)
    with pytest.raises(AssertionError):
        found = Programs(run, box_of(columns)).price(columns)
        monkeypatch.undo()
        compare(found, OneByOne(run).price(columns))


def test_a_wrong_term_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that computes another sum than its run is refused by its own run."""
    right: Callable[..., str] = Nested.write
    monkeypatch.setattr(Nested, "write", lambda *args: right(*args).replace("384", "385"))
    columns = drawn("mobilenet_v2", 10)
    with pytest.raises(Exception, match="a program and the run that it comes from give other"):
        Programs(run_of("mobilenet_v2"), box_of(columns)).price(columns)


def test_atoms_that_are_no_sum_are_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "depends_on_sum", lambda polynomial, u, v: True)

    def run(at: Mapping[str, Any]) -> dict[str, Any]:
        half = at["H"] // 2
        return {"n": half * 3 + less(half, at["W"]) * 5}

    columns = {"H": np.arange(1, 40), "W": np.arange(40, 1, -1)}
    with pytest.raises(Exception, match="a program and the run that it comes from give other"):
        Programs(run, box_of(columns)).price(columns)
    monkeypatch.undo()
    compare(Programs(run, box_of(columns)).price(columns), OneByOne(run).price(columns))


@pytest.mark.parametrize("fixed", ["", "a", "b"])
def test_arrays_round_as_python_does(fixed: str) -> None:
    """Powers of numpy differ from Python's in the last place, one in twenty of them."""
    draw = np.random.default_rng(2)
    columns = {"a": draw.uniform(1, 2, 2000), "b": draw.uniform(0, 9, 2000)}
    columns.pop(fixed, None)
    usual = {"a": 1.1, "b": 4.3}

    def run(at: Mapping[str, Any]) -> dict[str, Any]:
        a, b = (at.get(name, usual[name]) for name in "ab")
        return {"n": truncated(a**b * 2**52) + round(next(iter(at.values())) * 7)}

    compare(Programs(run, box_of(columns)).price(columns), OneByOne(run).price(columns))


@pytest.mark.parametrize("most", [3 * 10**9, 4 * 10**9])
def test_figures_beyond_64_bits_are_integers_of_python(most: int) -> None:
    def run(at: Mapping[str, Any]) -> dict[str, Any]:
        return {"n": at["H"] * at["H"] * (2 if at["H"] > 3 else 1)}

    columns = {"H": np.array([most, 7, 2])}
    found = Programs(run, box_of(columns)).price(columns)
    assert found.figures["n"].tolist() == [2 * most * most, 98, 4]
    compare(found, OneByOne(run).price(columns))
