"""The best network under conditions: against a search of all, one by one."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

import archcost
from archcost import analyze, load
from archcost.cli import cli
from archcost.contracts import contract
from archcost.errors import ArchcostError

pytest.importorskip("numpy", reason="numpy is not installed")


def run(*words: str) -> Any:
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["solve", *words])


def layers(**knobs: Any) -> Any:
    return load("mobilenet_v2", knobs=knobs).layers


def test_the_largest_width_under_a_bound_with_what_is_the_same_and_what_is_next() -> None:
    """Every width of a thousandth, each loaded by itself."""
    widths = [i / 1000 for i in range(950, 1011)]
    macs = {
        width: analyze(load("mobilenet_v2", knobs={"width": width})).total.macs for width in widths
    }
    best = max(width for width in widths if macs[width] <= 300_000_000)
    found = archcost.solve(
        "mobilenet_v2", {"width": "0.1:2:0.001"}, maximize="width", where="macs <= 300M"
    )
    assert found.at == {"width": best} == {"width": 0.987}
    assert found.figures["macs"] == macs[best] == 299_896_192
    same = [width for width in widths if layers(width=width) == layers(width=best)]
    [plateau] = found.plateaus
    assert (
        (plateau.first, plateau.last, plateau.count)
        == (same[0], same[-1], len(same))
        == (0.975, 0.987, 13)
    )
    below, above = found.neighbours
    assert (below.at["width"], above.at["width"]) == (0.974, 0.988)
    assert (below.figures["macs"], above.figures["macs"]) == (macs[0.974], macs[0.988])
    assert (below.reason, above.reason) == ("", "not macs <= 300M")


def test_a_figure_that_falls_and_refused_neighbours() -> None:
    """The parameters of ShuffleNet V1 fall with every group, and some groups are refused."""
    found = archcost.solve("shufflenet_v1_g3", {"groups": range(1, 9)}, minimize="params")
    networks = {}
    for groups in range(1, 9):
        try:
            networks[groups] = analyze(
                load("shufflenet_v1_g3", knobs={"groups": groups})
            ).total.params
        except ArchcostError:
            continue
    best = min(networks, key=lambda groups: networks[groups])
    assert found.at == {"groups": best} == {"groups": 6}
    assert [(each.at["groups"], bool(each.figures)) for each in found.neighbours] == [
        (5, False),
        (4, True),
        (7, False),
    ]
    assert found.neighbours[0].reason.endswith("out_channels 216 is not divisible by groups 5")


def test_several_knobs() -> None:
    vary: dict[str, Any] = {
        "depths.0": range(1, 4),
        "width_per_group": [32, 48, 64],
        "input": [96, 128],
    }
    found = archcost.solve("resnet50", vary, maximize="macs", where="macs <= 1G and params <= 20M")
    rows = archcost.sweep("resnet50", vary).table().records()
    best = max(
        (r for r in rows if r["macs"] <= 1e9 and r["params"] <= 20e6), key=lambda r: r["macs"]
    )
    assert {**found.at, **found.figures} == best
    assert {each.name for each in found.neighbours} == {"depths.0", "width_per_group", "input"}
    for each in found.neighbours:
        changed = {name for name in found.at if each.at[name] != found.at[name]}
        assert changed == {each.name}


def test_configurations_that_are_as_good_are_counted() -> None:
    found = archcost.solve("mobilenet_v2", {"width": "0.975:0.99:0.001"}, minimize="macs")
    assert (found.at["width"], found.ties) == (0.975, 13)
    assert "13 configurations are as good; this is the first" in found.notes


def test_the_command_prints_what_the_function_returns() -> None:
    words = [
        "mobilenet_v2",
        "--vary",
        "width=0.9:1:0.01",
        "--maximize",
        "width",
        "--where",
        "macs <= 300M",
    ]
    found = archcost.solve(
        "mobilenet_v2", {"width": "0.9:1:0.01"}, maximize="width", where="macs <= 300M"
    )
    assert run(*words).stdout == f"{found}\n"
    made = json.loads(run(*words, "--format", "json").stdout)
    jsonschema.validate(made, contract("solve"))
    assert made["at"] == {"width": 0.98} and made == json.loads(json.dumps(found.to_dict()))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "name --maximize or --minimize, as in --maximize width"),
        (["--maximize", "width", "--minimize", "macs"], "name --maximize or --minimize, not both, as in --maximize width"),
        (["--maximize", "mac"], "unknown figure or knob 'mac'; did you mean 'macs'?"),
        (["--maximize", "width", "--where", "macs <= 1K"],
         "11 configurations: 11 networks; 0 with macs <= 1K; the nearest to macs <= 1K has 269,021,488"),
        (["--maximize", "width", "--where", "width > 2"],
         "11 configurations: 11 networks; 0 with width > 2; the nearest to width > 2 has 1.0"),
        (["--maximize", "width", "--where", "macs <= 300M and params > 4M"],
         "11 configurations: 11 networks; 0 with macs <= 300M and params > 4M; the nearest to params > 4M has 3,486,936"),
    ],
)  # fmt: skip
def test_what_is_refused(words: list[str], reason: str) -> None:
    done = run("mobilenet_v2", "--vary", "width=0.9:1:0.01", *words)
    assert isinstance(done.exception, ArchcostError), done.output
    assert str(done.exception) == reason


def test_several_processes_find_what_one_finds() -> None:
    vary: dict[str, Any] = {"width": "0.1:2:0.001", "classes": range(1, 20)}
    alone = archcost.solve("mobilenet_v2", vary, maximize="params", where="macs <= 300M")
    found = archcost.solve("mobilenet_v2", vary, maximize="params", where="macs <= 300M", jobs=2)
    assert found.to_dict() == alone.to_dict() and found.figures == alone.figures
    assert found.table() == alone.table()
    with pytest.raises(archcost.ArchcostError, match="jobs is at least 1; got 0"):
        archcost.solve("mobilenet_v2", vary, maximize="params", jobs=0)
