"""Closed forms: what a network costs as formulas of its sizes and knobs.

Every form is compared with the engine on plain numbers, twice: evaluated by archcost, and as the
Python source that it writes.
"""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

import archcost
from archcost import Network, analyze, closed_form, load, loads
from archcost.builder import Builder
from archcost.cli import cli
from archcost.contracts import contract
from archcost.errors import ArchcostError
from archcost.normal import Forms, add, constant
from archcost.space.closed import USUAL, ClosedForm
from archcost.space.varied import Varied
from archcost.spec.catalog import catalog

NET = "name: net\ninput: 3x32x32\nknobs: {n: 2, wide: 1.0, list: [4, 8], act: relu, on: true, N: 3}\nlayers: ['conv(8 * n, 3)', flatten, linear(10)]\n"


def run(*words: str) -> Any:
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["formula", *words])


def python_of(form: ClosedForm) -> Callable[..., dict[str, int]]:
    """Return the function that the written source defines."""
    space: dict[str, Any] = {}
    exec(form.python(), space)
    costs: Callable[..., dict[str, int]] = space["costs"]
    return costs


def compare(
    form: ClosedForm, varied: Varied, names: Mapping[str, str], points: list[dict[str, Any]]
) -> int:
    """Compare a form with the engine at points; return at how many its conditions hold.

    Where they do not hold, the source has to refuse, too; where they do, the engine may not.
    """
    held, costs = 0, python_of(form)
    for point in points:
        at = {names[name]: value for name, value in point.items()}
        try:
            found = form(**at)
        except ArchcostError:
            with pytest.raises((ValueError, ZeroDivisionError, OverflowError)):
                costs(**at)
            continue
        total = analyze(varied.load(point)).total
        expected = {name: getattr(total, name) for name in USUAL}
        assert found == expected == costs(**at), point
        held += 1
    return held


def sizes_near(shape: tuple[int, ...], axes: list[str]) -> list[dict[str, int]]:
    """Return 25 sizes of an input, its own first: odd ones, smaller ones, larger ones."""
    draw = random.Random(7)
    own = dict(zip(axes, shape[-len(axes) :], strict=True))
    others = [
        {axis: draw.randrange(max(size // 2, 1), 2 * size + 9) for axis, size in own.items()}
        for _ in range(24)
    ]
    return [own, *others]


@pytest.mark.sampled
@pytest.mark.parametrize("name", catalog())
def test_the_closed_form_of_a_model_equals_the_engine_at_every_size(name: str) -> None:
    network = load(name)
    varied, form = Varied(network), closed_form(network)
    axes = [*form.symbols]
    points = sizes_near(network.input, axes)
    if len(network) > 500:
        points = points[:4]
    assert not form.graph.pins
    assert compare(form, varied, {axis: axis for axis in axes}, points) >= 1


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("resnet50", {"H": 32, "width_per_group": 1}, {"H": 300, "width_per_group": 256}),
        ("vgg16", {"classes": 1}, {"classes": 2000}),
        ("mobilenet_v2", {"width": 0.1}, {"width": 3.0}),
        ("efficientnet_b0", {"phi": 0.0}, {"phi": 1.0}),
        ("densenet121", {"growth": 1, "W": 32}, {"growth": 64, "W": 400}),
        ("resnet20", {"depth": 20}, {"depth": 20}),
        ("resnet50", {"depths.0": 3, "C": 1}, {"depths.0": 3, "C": 9}),
        ("shufflenet_v1_g3", {"groups": 1}, {"groups": 9}),
    ],
)
def test_knobs_are_symbols(name: str, low: dict[str, float], high: dict[str, float]) -> None:
    network = load(name)
    varied, form = Varied(network), closed_form(network, symbols=[*low])
    draw = random.Random(1)
    points = [
        {key: draw.uniform(low[key], high[key]) if isinstance(low[key], float)
         else draw.randint(int(low[key]), int(high[key])) for key in low}
        for _ in range(40)
    ]  # fmt: skip
    points.append({key: varied.values[key] for key in low})
    names = {key: key.replace(".", "_") for key in low}
    assert compare(form, varied, names, points) >= 1


def test_the_form_of_resnet50_is_the_one_of_its_layers() -> None:
    """On maps of h·w all but the last layer, which is 2,048·1,000."""
    form = closed_form("resnet50", by={"H": "32*h", "W": "32*w"})
    assert form.formula("macs") == "83,410,944·h·w + 2,048,000"
    assert form(h=7, w=7)["macs"] == 83_410_944 * 49 + 2_048_000 == 4_089_184_256
    square = closed_form("resnet50", by={"H": "32*s", "W": "32*s"})
    assert square.formula("macs") == "83,410,944·s² + 2,048,000"
    fixed = closed_form("resnet50", by={"H": "224", "W": "W"})
    assert fixed(W=224)["macs"] == 4_089_184_256
    swapped = closed_form("vit_b_16", by={"H": "16*h", "W": "16*h"})
    assert swapped.formula("macs") == "18,432·h⁴ + 85,561,344·h² + 85,721,088"


@pytest.mark.parametrize("symbol", ["a0", "a1", "s1", "p0", "x0", "x1", "held", "max", "floor"])
def test_a_symbol_may_be_called_as_a_variable_of_the_program(symbol: str) -> None:
    form = closed_form("mobilenet_v2", by={"H": f"{symbol}+31"}, symbols=["width", "W"])
    found = form(**{symbol: 162, "width": 0.75, "W": 160})
    total = analyze("mobilenet_v2_0.75", input="3x193x160").total
    assert found == {"params": total.params, "macs": total.macs, "activations": total.activations}


@pytest.mark.parametrize("name", ["input", "input.1"])
def test_a_size_that_is_written_by_another_symbol_is_none_itself(name: str) -> None:
    form = closed_form("resnet50", by={name: "32*h"})
    assert [*form.symbols] == (["h"] if name == "input" else ["W", "h"])
    at = {"h": 7} if name == "input" else {"h": 7, "W": 224}
    assert form(**at)["macs"] == 4_089_184_256


def test_groups_add_up_to_the_whole() -> None:
    form = closed_form("resnet18", depth=1)
    groups = [group for group, figure in form.numbers if figure == "params" and group]
    assert groups[:3] == ["stem", "layer1", "layer2"]
    parts = sum(form.numbers[group, "macs"] for group in groups)
    assert form.graph.form(parts) == form.graph.form(form.numbers["", "macs"])


def test_a_group_that_stands_for_others_says_so() -> None:
    """The blocks of ResNet-18 after the first are equal, and as many as the depth says."""
    form = closed_form("resnet18", symbols=["depths.0"], depth=2)
    groups = [group for group, figure in form.numbers if figure == "params"]
    assert groups[:6] == ["", "stem", "layer1", "layer1.0", "layer1.1 and on", "layer2"]
    assert form.formula("params", "layer1.1 and on") == "73,984·depths_0 − 73,984"
    assert "layer2.1" in groups
    one = closed_form(
        load("resnet18", knobs={"depths": [1, 1, 1, 1]}), symbols=["depths.0"], depth=2
    )
    assert ("layer1.1 and on", "macs") in one.numbers and ("layer2.0", "macs") in one.numbers


def test_equal_blocks_of_a_known_number_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ResNet of 1202 layers is as short as one of 20."""
    made: list[int] = []
    add = Builder.add_all
    monkeypatch.setattr(
        Builder, "add_all", lambda self, *given, **more: made.append(1) or add(self, *given, **more)
    )
    form = closed_form("resnet1202")
    assert len(made) < 150 < len(load("resnet1202"))
    total = analyze("resnet1202", input="3x45x33").total
    assert form(H=45, W=33)["macs"] == total.macs
    made.clear()
    closed_form("resnet56", depth=2)
    assert len(made) > 100  # each block is shown


def test_memory_has_a_closed_form() -> None:
    form = closed_form("vit_b_16", by={"H": "16*h", "W": "16*w"}, figures=["saved"])
    assert form.formula("saved") == "599,240·h·w + 18,432·⌊h·w/32⌋ + 614,600"


def test_a_wrong_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quotient by 32 that is one too large: resnet50 has it as a quotient of quotients."""
    right = Forms.floor

    def wrong(self: Forms, p: Any, n: int) -> Any:
        made = right(self, p, n)
        return add(made, constant(1)) if n == 32 else made

    monkeypatch.setattr(Forms, "floor", wrong)
    network = load("resnet50")
    points = sizes_near(network.input, ["H", "W"])
    with pytest.raises(AssertionError):
        compare(closed_form(network), Varied(network), {"H": "H", "W": "W"}, points)


def test_a_condition_that_always_holds_is_not_said() -> None:
    """ConvNeXt's chance to drop a layer is compared with 1 for each layer."""
    form = closed_form("convnext_tiny", symbols=["depths.0"])
    assert len(form.graph.conditions()) > 5 and form.conditions == ["1 ≤ depths_0 ≤ 501"]
    assert python_of(form)(4)["params"] == form(depths_0=4)["params"]
    network = loads(
        "name: net\ninput: 3x8x8\nknobs: {n: 4}\nlayers:\n  - let: {half: n / 2, third: n / 3}\n"
        "  - conv(n, 1)\n  - relu if half < 40\n  - relu if third < n\n  - relu if n <= 100\n"
    )
    assert closed_form(network, symbols=["n"]).conditions == ["1 ≤ n ≤ 100", "((n / 2) − 40) < 0"]
    network = loads(
        "name: net\ninput: 3x8x8\nknobs: {n: 8}\nlayers:\n  - let: {a: 3 / (n - 5)}\n"
        "  - conv(n, 1)\n  - relu if n <= 100\n  - relu if a < 10\n"
    )
    assert "n − 5 ≠ 0" in closed_form(network, symbols=["n"]).conditions  # the others divide by it


def test_a_multiple_is_called_so() -> None:
    """Windows of 7x7 cut a map of 4h rows: 7 divides 4h if it divides h, and that is said once."""
    form = closed_form("swin_t", by={"H": "32*h", "W": "32*w"})
    assert form.conditions[2:] == ["h mod 7 = 0", "w mod 7 = 0"]
    costs = python_of(form)
    for h, held in ((7, True), (8, False), (14, True), (21, True), (13, False)):
        if held:
            size = (3, 32 * h, 224)
            assert costs(h, 7)["macs"] == analyze(load("swin_t", input=size)).total.macs
        else:
            with pytest.raises(ValueError, match="h mod 7 = 0"):
                costs(h, 7)
    assert r"% h \bmod 7 = 0" in form.latex()
    network = load("swin_t", knobs={"window": 6}, input=(3, 192, 192))
    conditions = closed_form(network, by={"H": "32*h", "W": "32*h"}).conditions
    assert conditions[1:] == ["h mod 3 = 0", "h mod 6 = 0"]


def test_the_source_runs_without_archcost() -> None:
    source = run("resnet50", "--by", "H=32*h", "--by", "W=32*w", "--format", "python").stdout
    code = (
        f"{source}\nimport sys\nprint(costs(7, 7)['macs'], 'archcost' in sys.modules)\ncosts(0, 7)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.stdout == "4089184256 False\n"
    assert done.stderr.splitlines()[-1] == "ValueError: the formulas hold for 1 ≤ h ≤ 1,048,576"


@pytest.mark.parametrize("symbol", ["int", "round", "math", "max", "n"])
def test_the_source_runs_whatever_a_symbol_is_called(symbol: str) -> None:
    """It calls ``int``, ``round`` and ``math.floor``, and compares with ``math.inf``."""
    form = closed_form("efficientnet_b0", by={"phi": f"1.0*{symbol}"}, symbols=["H", "W"])
    source, space = form.python(), dict[str, Any]()
    exec(source, space)
    total = analyze("efficientnet_b0", knobs={"phi": 1.0}, input="3x193x160").total
    assert "math.inf" in source and "int(" in source
    assert (
        space["costs"](193, 160, 1)["macs"]
        == total.macs
        == form(H=193, W=160, **{symbol: 1})["macs"]
    )


def test_latex_has_a_line_for_each_term() -> None:
    made = run("resnet18", "--figures", "macs", "--format", "latex")
    lines = made.stdout.splitlines()
    assert lines[1] == (
        r"\mathrm{macs} &= 8{,}388{,}608 \, \left\lceil \frac{H}{32} \right\rceil "
        r"\, \left\lceil \frac{W}{32} \right\rceil \\"
    )
    assert lines[-3:] == ["% holds for", r"% 1 \le H \le 1{,}048{,}576", r"% 1 \le W \le 1{,}048{,}576"]  # fmt: skip


def test_json_follows_the_contract() -> None:
    made = json.loads(
        run("mobilenet_v2", "--symbols", "H", "--depth", "1", "--format", "json").stdout
    )
    jsonschema.validate(made, contract("formula"))
    assert made["symbols"] == [{"name": "H", "low": 1, "high": 2**20}]
    assert made["figures"][0]["python"] == "3_504_872"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--symbols", "widht"], "unknown knob or size of net 'widht'; did you mean 'wide'?"),
        (["--symbols", "act"], "a symbol stands for a number; act of net is 'relu'"),
        (["--symbols", "on"], "a symbol stands for a number; on of net is True"),
        (["--symbols", "list"], "a symbol stands for a number; list of net is [4, 8]"),
        (["--symbols", "list.2"], "unknown knob or size of net 'list.2'; did you mean 'list.1'?"),
        (["--symbols", "input,H"], "input and H set the same of net"),
        (["--symbols", "list.0,list"], "list.0 and list set the same of net"),
        (["--by", "H=32*"], "--by H=32*:1:3: not an expression: '32*'"),
        (["--by", "H=a*b"], "--by H=a*b:1:3: an expression has one new symbol at most; here are a and b"),
        (["--by", "H=32*h", "--by", "H=16*h"], "--by H is given twice"),
        (["--by", "H=h", "--by", "input=h"], "H and input set the same of net"),
        (["--by", "H"], "--by takes NAME=EXPRESSION; got 'H'"),
        (["--by", "H='x'"], "--by H='x':1:3: H is a number; \"'x'\" is none"),
        (["--figures", "batch"], "batch depends on a device and has no formula"),
        (["--figures", "mac"], "unknown metric 'mac'; did you mean 'macs'?"),
    ],
)  # fmt: skip
def test_what_is_refused(words: list[str], reason: str, tmp_path: Any) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text(NET)
    done = subprocess.run(
        [sys.executable, "-m", "archcost", "formula", str(spec), *words],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"archcost: {reason}\n"


def test_a_network_without_a_spec_has_no_form() -> None:
    bare = load("resnet18")
    network = Network(bare.name, bare.inputs, bare.layers, bare.outputs)
    with pytest.raises(ArchcostError, match="resnet18 has no knobs that vary"):
        closed_form(network)


@pytest.mark.torch
def test_code_has_a_form_once_it_is_a_spec(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    file, spec = tmp_path / "net.py", str(tmp_path / "net.yaml")
    file.write_text("from torch import nn\ndef net():\n    return nn.Conv2d(3, 4, 3, padding=1)\n")
    run = partial(CliRunner().invoke, cli)
    words = ["formula", f"{file}:net", "--input", "3x8x8"]
    assert "net has no closed form: it is not read from a spec; archcost import writes one" in str(
        run(words).exception
    )
    assert run(["import", *words[1:], "-o", spec]).exit_code == 0
    assert "108·H·W" in run(["formula", spec]).stdout
    with pytest.raises(ArchcostError, match=r"net has no program: .*; archcost import writes one"):
        archcost.program(load(words[1], input="3x8x8"), ["H"])


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "googlenet"])
def test_the_text_says_what_is_computed(name: str) -> None:
    """Lower brackets round down and upper ones up, here as Python reads them."""
    form = closed_form(name)
    text = {row[0]: str(row[1]) for row in form.table().rows}
    for size in (227, 254, 257):
        expected = analyze(name, input=(load(name).input[0], size, size + 3)).total
        for figure, formula in text.items():
            rounded = re.sub(
                "⌈(.*?)⌉", r"math.ceil(\1)", formula.replace("⌊", "math.floor(").replace("⌋", ")")
            )
            python = rounded.replace("·", "*").replace("−", "-").replace(",", "")
            found = eval(python, {"math": math, "H": size, "W": size + 3})
            assert found == getattr(expected, figure), (figure, size)
