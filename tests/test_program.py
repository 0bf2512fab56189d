"""A network's figures as a function of arrays, each item as by a run of its own."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from test_pricing import FAMILIES, drawn

import archcost
from archcost import ArchcostError, LookupFailed, analyze, load
from archcost.space import grid
from archcost.space.refusals import kind_of
from archcost.space.varied import Varied

np = pytest.importorskip("numpy", reason="numpy is not installed")

FIGURES = ("params", "macs", "activations")


def resnet18(depth: int, classes: int, size: int) -> list[int]:
    """Return the figures of a network that is loaded by itself, -1 if there is none."""
    try:
        knobs = {"depths": [depth, 2, 2, 2], "classes": classes}
        total = analyze(load("resnet18", knobs=knobs, input=(3, size, size))).total
    except ArchcostError:
        return [-1, -1, -1]
    return [total.params, total.macs, total.activations]


def test_arrays_broadcast_as_in_numpy() -> None:
    price = archcost.program("resnet18", ["depths.0", "classes", "input"])
    depths, classes, sizes = [0, 1, 3], [0, 10, 20], [1, 32, 64, 100]
    found = price(np.array(depths)[:, None, None], np.array(classes)[:, None], sizes)
    expected = [[[resnet18(d, c, size) for size in sizes] for c in classes] for d in depths]
    assert [*found.columns] == [*FIGURES]
    assert np.stack([*found.columns.values()], -1).tolist() == expected
    assert (found.networks == (found.columns["params"] >= 0)).all()
    away = int((~found.networks).sum())
    assert found.networks.shape == (3, 3, 4) and 0 < away < 36
    assert sum(each.count for each in found.refused) == away


def test_single_numbers_and_empty_arrays_have_their_shapes() -> None:
    price = archcost.program("resnet18", ["depths.0", "classes", "input"], ["macs"])
    found = price(1, np.int32(10), 64)
    assert (found.columns["macs"].shape, found.networks.shape) == ((), ())
    assert found.columns["macs"] == resnet18(1, 10, 64)[1]
    assert price([], 10, 64).columns["macs"].tolist() == []


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_priced_as_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from archcost.space import arrays

    monkeypatch.setattr(arrays, "BLOCK", 16)  # several blocks
    columns, varied = drawn(name, 40, seed=7), Varied(load(name))
    price = archcost.program(name, [*columns], FIGURES)
    found = price(*columns.values())
    reasons = dict[str, int]()
    for row, values in enumerate(zip(*(own.tolist() for own in columns.values()), strict=True)):
        try:
            total = analyze(varied.load(dict(zip(columns, values, strict=True)))).total
            expected = [getattr(total, figure) for figure in FIGURES]
        except ArchcostError as error:
            expected = [-1, -1, -1]
            kind = kind_of(str(error))
            reasons[kind] = reasons.get(kind, 0) + 1
        assert [found.columns[figure][row] for figure in FIGURES] == expected
        assert found.networks[row] == (expected[0] >= 0)
    assert {kind_of(each.reason): each.count for each in found.refused} == reasons


def test_a_refusal_has_its_place_and_its_own_numbers() -> None:
    found = archcost.program("shufflenet_v1_g3", ["groups"])([3, 5, 7])
    [groups, channels] = found.refused
    assert (groups.count, groups.at, channels.at) == (1, {"groups": 5}, {"groups": 7})
    with pytest.raises(ArchcostError) as refused:
        load("shufflenet_v1_g3", knobs={"groups": 5})
    assert groups.reason == str(refused.value)


def test_a_call_within_the_bounds_of_others_takes_no_run() -> None:
    price = archcost.program("resnet50", ["width_per_group", "input"], ["macs"])
    first = price([17, 100], [33, 500]).columns["macs"]
    assert price.runs == 1
    again = price([100, 17, 64], [500, 33, 224]).columns["macs"]
    assert price.runs == 1
    assert again.tolist() == [*first[::-1], analyze("resnet50").total.macs]
    wider = analyze("resnet50", input="3x2000x2000", knobs={"width_per_group": 300})
    assert price(300, 2000).columns["macs"] == wider.total.macs
    assert price.runs == 2 and price(290, 1900).networks and price.runs == 2


def test_wider_bounds_are_not_taken_for_those_of_a_call_before() -> None:
    price = archcost.program("alexnet", ["H"], ["params"])
    assert price([128, 200]).networks.all()
    found = price([200, 30, 128])
    assert found.networks.tolist() == [True, False, True]
    assert "conv" in found.refused[0].reason or "maxpool" in found.refused[0].reason


def test_whole_numbers_and_floats_are_not_mixed_up(tmp_path: Path) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text(
        "name: net\ninput: 3x8x8\nknobs: {a: 1}\nlayers: ['conv(floor(a * 10 // 4) + 1, 1)']\n"
    )
    price = archcost.program(spec, ["a"], ["params"])
    for values in ([1, 2, 4], [1.25, 2.5, 3.75], [2, 3]):  # within the same bounds
        expected = [analyze(spec, knobs={"a": value}).total.params for value in values]
        assert price(values).columns["params"].tolist() == expected


def test_words_are_values() -> None:
    price = archcost.program("resnet50", ["block", "input"], ["params", "macs"])
    found = price(np.array([["basic"], ["bottleneck"], ["relu"]]), [32, 224])
    for row, block in enumerate(["basic", "bottleneck"]):
        for column, size in enumerate([32, 224]):
            total = analyze("resnet50", knobs={"block": block}, input=(3, size, size)).total
            assert found.columns["macs"][row, column] == total.macs
    assert found.networks.tolist() == [[True, True], [True, True], [False, False]]


def test_figures_beyond_64_bits_are_exact() -> None:
    price = archcost.program("resnet18", ["classes", "input"], ["macs", "params"], batch=10**6)
    found = price([10, 10**6, 0], [224, 10**5, 32])
    expected = [
        analyze("resnet18", batch=10**6, input=(3, s, s), knobs={"classes": n}).total.macs
        for n, s in ((10, 224), (10**6, 10**5))
    ]
    assert found.columns["macs"].tolist() == [*expected, -1] and expected[1] > 2**63
    assert found.columns["params"].dtype == np.int64


def test_a_program_can_be_sent_to_another_process() -> None:
    price = archcost.program("resnet18", ["input"], ["macs"], convention="fvcore")
    again = pickle.loads(pickle.dumps(price))
    assert again(64).columns["macs"] == price(64).columns["macs"]
    assert repr(again) == "<program of resnet18: input to macs>"


@pytest.mark.parametrize(
    ("vary", "figures", "reason"),
    [
        (["widht"], ["macs"], "unknown knob or size of mobilenet_v2 'widht'; did you mean 'width'?"),
        (["H", "input"], ["macs"], "H and input set the same of mobilenet_v2"),
        ([], ["macs"], "name what varies, as in program('resnet50', ['input'])"),
        ("width", ["macs"], "vary is a list of names, such as ['stem']; got 'width'"),
        (["width"], ["mac"], "unknown metric 'mac'; did you mean 'macs'?"),
        (["width"], ["saved"], "saved takes a run of each network: sweep computes it. A program has params, size, macs, flops, counted, activations"),
    ],
)  # fmt: skip
def test_what_is_refused(vary: Any, figures: list[str], reason: str) -> None:
    with pytest.raises(ArchcostError) as refused:
        archcost.program("mobilenet_v2", vary, figures)
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((1.0,), "the values of width, H are expected; got 1"),
        (([1.0, 0.5], [32, 33, 34]), "these arrays do not broadcast: width (2,), H (3,)"),
        (([1.0, float("nan")], 32), "width: a value is not a finite number"),
    ],
)
def test_values_that_are_refused(values: Any, reason: str) -> None:
    with pytest.raises(ArchcostError) as refused:
        archcost.program("mobilenet_v2", ["width", "H"])(*values)
    assert str(refused.value) == reason


def test_code_and_a_missing_numpy_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from archcost.builder import Builder
    from archcost.ops import make

    made = Builder()
    network = made.network("net", made.add(make("relu"), made.input("3x8x8")))
    with pytest.raises(ArchcostError, match="net has no knobs that vary: it is not read from a"):
        archcost.program(network, ["H"])
    with pytest.raises(LookupFailed, match="unknown option 'btach'; did you mean 'batch'"):
        archcost.program("lenet5", ["H"], btach=2)  # type: ignore[call-arg]
    monkeypatch.setattr(grid, "find_spec", lambda name: None)
    with pytest.raises(ArchcostError, match=r"pip install 'archcost\[sweep\]'"):
        archcost.program("lenet5", ["H"])
