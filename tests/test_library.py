"""The library: what ``import archcost`` gives does what the command line does."""

from __future__ import annotations

import doctest
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import archcost
from archcost import ArchcostError, LookupFailed, Network, SpecError
from archcost.cli import cli
from archcost.table import Table

PACKAGE = Path(archcost.__file__).parent
FUNCTIONS = {name: getattr(archcost, name) for name in archcost.__all__ if name.islower()}
NET = "name: net\ninput: 3x32x32\nlayers:\n  - conv(8, 3, bias=False)\n  - relu\n  - flatten\n  - linear(10)\n"
LECTURE = "[227x227x3] INPUT\n[55x55x96] CONV1: 96 11x11 filters at stride 4, pad 0\n"


def run(*arguments: str, input: str | None = None) -> Any:
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, arguments, input=input)


# What there is.


def test_every_public_name_has_a_home_and_a_type() -> None:
    homes = [name for names in archcost._HOMES.values() for name in names]
    assert sorted(homes) == sorted(archcost.__all__)
    known = (
        inspect.getsource(archcost).partition("if TYPE_CHECKING:")[2].partition("__version__")[0]
    )
    typed = {
        word.strip()
        for line in known.splitlines()
        for word in line.partition("import ")[2].split(",")
    }
    assert {name for name in typed if name} == set(archcost.__all__)
    assert [name for name in archcost.__all__ if name not in dir(archcost)] == []


def test_no_room_has_the_name_of_a_public_function() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir()}
    assert rooms & set(archcost.__all__) == set()


def test_functions_stay_functions_when_every_module_is_imported() -> None:
    code = (
        "import pkgutil, importlib, archcost\n"
        "for found in pkgutil.walk_packages(archcost.__path__, 'archcost.'):\n"
        "    if found.name != 'archcost.__main__': importlib.import_module(found.name)\n"
        f"print([name for name in {[*FUNCTIONS]!r} if not callable(getattr(archcost, name))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_import_archcost_imports_nothing_else_of_it() -> None:
    code = "import sys, archcost; print([n for n in sys.modules if n.startswith(('archcost', 'yaml'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['archcost']\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'archcost' has no attribute 'analyse'"):
        archcost.analyse  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_function_is_true(name: str) -> None:
    if name in ("build", "verify"):
        pytest.importorskip("torch", reason="PyTorch is not installed")
    function = FUNCTIONS[name]
    module = import_module(function.__module__)
    space = {**vars(module), "archcost": archcost}
    [found] = doctest.DocTestFinder(recurse=False).find(function, name, globs=space)
    assert found.examples, f"{name} has no example"
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    runner.run(found, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_documents_its_parameters_and_errors(name: str) -> None:
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    arguments, raises = text.partition("Args:")[2].partition("Raises:")[::2]
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    assert [p for p in parameters if f"{p}:" not in arguments] == []
    assert raises


# It prints what the command prints.


PAIRS: dict[str, tuple[list[str], Callable[[], Any]]] = {
    "table": (["table", "alexnet", "--batch", "2"], lambda: archcost.analyze("alexnet", batch=2)),
    "table with options": (
        ["table", "vgg16", "--no-bias", "--input", "3x64x64", "--convention", "fvcore"],
        lambda: archcost.analyze("vgg16", bias=False, input="3x64x64", convention="fvcore"),
    ),
    "knobs": (
        ["table", "resnet18", "--set", "classes=10"],
        lambda: archcost.analyze("resnet18", knobs={"classes": 10}),
    ),
    "compare": (
        ["compare", "2*vgg16", "alexnet", "--sort", "params", "--baseline", "alexnet"],
        lambda: archcost.compare("2*vgg16", "alexnet", sort="params", baseline="alexnet"),
    ),
    "family": (["compare", "--family", "vgg"], lambda: archcost.compare(*archcost.catalog("vgg"))),
    "explain": (["explain", "alexnet", "CONV1"], lambda: archcost.explain("alexnet", "CONV1")),
    "memory": (
        ["memory", "resnet18", "--batch", "8", "--optimizer", "adam", "--fused", "--freeze", "stem*",
         "--gpu", "h200"],
        lambda: archcost.memory("resnet18", batch=8, optimizer="adam", kernel="fused",
                                freeze=["stem*"], gpu="h200"),
    ),
    "modes": (
        ["memory", "resnet18", "--amp", "bf16", "--channels-last"],
        lambda: archcost.memory("resnet18", amp="bf16", channels_last=True),
    ),
    "formula": (
        ["formula", "resnet18", "--by", "H=32*h", "--symbols", "classes,W", "--depth", "1"],
        lambda: archcost.closed_form("resnet18", by={"H": "32*h"}, symbols=["classes", "W"], depth=1),
    ),
    "sweep": (
        ["sweep", "resnet18", "--vary", "classes=1:9:2", "--vary", "H=32,64", "--pareto", "macs,-H", "--batch", "2"],
        lambda: archcost.sweep("resnet18", {"classes": range(1, 10, 2), "H": [32, 64]},
                               pareto=["macs", "-H"], batch=2),
    ),
    "fit": (
        ["fit", "alexnet", "--memory", "3GB", "--reserve", "1MiB"],
        lambda: archcost.fit("alexnet", memory="3GB", reserve=2**20),
    ),
    "fit on a device": (["fit", "alexnet", "--gpu", "v100"], lambda: archcost.fit("alexnet", gpu="v100")),
    "roofline": (
        ["roofline", "resnet18", "--gpu", "h100", "--batch", "4"],
        lambda: archcost.roofline("resnet18", gpu="h100", batch=4),
    ),
    "reconcile": (
        ["reconcile", "resnet18", "--tool", "fvcore", "--base", "thop"],
        lambda: archcost.reconcile("resnet18", tools=["fvcore"], base="thop"),
    ),
    "identify": (
        ["identify", "resnet50", "4.112G"], lambda: archcost.identify("resnet50", "4.112G"),
    ),
    "identify with what is known": (
        ["identify", "resnet18", "595M", "--input", "3x128x128", "--tool", "macs", "--tool", "thop"],
        lambda: archcost.identify("resnet18", "595M", input="3x128x128", tools=["macs", "thop"]),
    ),
    "check": (
        ["check", "--budget", "resnet18: macs <= 1G", "--budget", "resnet18: params <= +2% of resnet34",
         "--all"],
        lambda: archcost.check("resnet18", "macs <= 1G", "params <= +2% of resnet34"),
    ),
    "audit": (["audit", "resnet50"], lambda: archcost.audit("resnet50")),
    "family audited": (["audit", "vgg"], lambda: archcost.audit("vgg")),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_the_library_gives_what_the_command_prints(name: str) -> None:
    arguments, call = PAIRS[name]
    found = call()
    table = found.table(everything=True) if name == "check" else found.table()
    assert table.render("text") + "\n" == run(*arguments).output


def test_diff_gives_what_the_command_prints() -> None:
    found = archcost.diff("resnet18", "resnet34", fail_on="macs > +5%")
    printed = run("diff", "resnet18", "resnet34", "--fail-on", "macs > +5%").output
    assert "\n\n".join(table.render("text") for table in found.tables()) + "\n" == printed
    assert len(found.failed) == 1


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["layers", "alexnet"], lambda: archcost.plot("layers", "alexnet")),
        (["receptive", "vgg16"], lambda: archcost.plot("receptive", "vgg16")),
        (["memory", "resnet18", "--batch", "2"], lambda: archcost.plot("memory", "resnet18", batch=2)),
        (["graph", "resnet18", "--depth", "2"], lambda: archcost.plot("graph", "resnet18", depth=2)),
        (["roofline", "resnet18", "--gpu", "h100"], lambda: archcost.plot("roofline", "resnet18", gpu="h100")),
        (["scatter", "--family", "vgg"], lambda: archcost.plot("scatter", *archcost.catalog("vgg"))),
        (["timeline"], lambda: archcost.plot("timeline")),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_plot_draws_what_the_command_draws(arguments: list[str], call: Callable[[], Any]) -> None:
    assert str(call()) + "\n" == run("plot", *arguments, "--terminal").output


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture_is_saved_as_the_command_saves_it(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    picture = archcost.plot("layers", "alexnet")
    picture.save(tmp_path / f"a.{suffix}")
    run("plot", "layers", "alexnet", "-o", str(tmp_path / f"b.{suffix}"))
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert picture._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(
        ArchcostError, match=r"a picture is written as .png, .svg or .pdf; got 'a.txt'"
    ):
        picture.save(tmp_path / "a.txt")
    with pytest.raises(
        ArchcostError, match=r"cannot write .*/none/a.png: No such file or directory"
    ):
        picture.save(tmp_path / "none" / "a.png")


@pytest.mark.torch
def test_verify_gives_what_the_command_prints() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    found = archcost.verify(archcost.loads(NET), checks=["structure"])
    assert found.passed and found.subject.endswith("checks passed")
    printed = run("verify", "-", "--checks", "structure", input=NET).output
    assert str(found).replace("text", "stdin") + "\n" == printed or str(found) + "\n" == printed


# Whatever a model is, the result is one.


def spec_file(folder: Path) -> Path:
    path = folder / "net.yaml"
    path.write_text(NET, "utf-8")
    return path


CALLS: dict[str, Callable[[Any], Any]] = {
    "analyze": archcost.analyze,
    "audit": archcost.audit,
    "check": lambda model: archcost.check(model, "macs <= 1K", "params <= +1% of alexnet"),
    "compare": lambda model: archcost.compare(model, "alexnet"),
    "diff": lambda model: archcost.diff(model, archcost.load("alexnet")),
    "explain": archcost.explain,
    "closed_form": archcost.closed_form,
    "solve": lambda model: archcost.solve(model, {"H": range(230, 235)}, maximize="H"),
    "sweep": lambda model: archcost.sweep(model, {"H": range(227, 235)}, where="macs >= 1M"),
    "fit": lambda model: archcost.fit(model, memory="1GB"),
    "identify": lambda model: archcost.identify(model, "72000 params"),
    "memory": archcost.memory,
    "reconcile": archcost.reconcile,
    "roofline": lambda model: archcost.roofline(model, gpu="h100"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_path_a_text_and_a_network_are_the_same_model(name: str, tmp_path: Path) -> None:
    path = spec_file(tmp_path)
    texts = {
        re.sub("[ -]+", " ", str(CALLS[name](model)).replace(str(path), "net"))
        for model in (path, str(path), archcost.load(path), archcost.loads(NET))
    }
    assert len(texts) == 1


@pytest.mark.parametrize("name", CALLS)
def test_a_result_shows_itself(name: str) -> None:
    found = CALLS[name]("resnet18")
    assert isinstance(found.table(), Table)
    assert str(found) == found.table().render("text")
    assert found._repr_html_() == found.table().render("html")
    assert repr(found).startswith(f"<{type(found).__name__}") and "\n" not in repr(found)
    assert len(repr(found)) < 300
    assert json.loads(json.dumps(found.to_dict()))
    pytest.importorskip("pandas", reason="pandas is not installed")
    if name != "analyze":
        assert len(found.to_frame()) == len(found.table().rows)


def test_a_text_is_read_as_a_file_is(tmp_path: Path) -> None:
    network = archcost.loads(NET)
    assert network == archcost.loads(NET) and network.output == (10,)
    assert archcost.loads(LECTURE)["CONV1"].cost.output == (96, 55, 55)
    assert archcost.loads(NET, input="3x16x16").input == (3, 16, 16)
    family = NET.replace("name: net", "family: net\nvariants: {small: {}, large: {}}")
    assert archcost.loads(family, variant="small").name == "small"
    with pytest.raises(LookupFailed, match="unknown variant of net 'smal'; did you mean 'small'"):
        archcost.loads(family, variant="smal")
    with pytest.raises(
        SpecError, match=r"^net.yaml:4:5: unknown op or block 'comv'; did you mean 'conv'\?"
    ):
        archcost.loads(NET.replace("conv", "comv"), name="net.yaml")


def test_a_network_remembers_how_to_be_made_with_other_options() -> None:
    network = archcost.load("resnet18", input="3x64x64")
    assert network.remake is not None
    other = network.remake(bias=False)
    assert other.remake is not None
    assert network.remake(input="3x64x64") == network
    assert other.input == (3, 224, 224) or other.input == (3, 64, 64)


# What is refused, in one line.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: archcost.analyze("resnet5"), "unknown model 'resnet5'; did you mean 'resnet56'?"),
        (lambda: archcost.memory("resnet18", bacth=3), "unknown option 'bacth'; did you mean 'batch'?"),  # type: ignore[call-arg]
        (lambda: archcost.analyze("resnet18", knob={}), "unknown option 'knob'; did you mean 'knobs'?"),  # type: ignore[call-arg]
        (lambda: archcost.analyze(3), "a model is a catalog name, a path or a Network; got int"),  # type: ignore[arg-type]
        (lambda: archcost.load(3), "a model is a catalog name, a spec file, or - for standard input; got int"),  # type: ignore[arg-type]
        (lambda: archcost.analyze(NET), "'name: net input: 3x32x32 laye…' is the text of a spec, not a name; archcost.loads reads it"),
        (lambda: archcost.loads("vgg16"), "'vgg16' is not the text of a spec; archcost.load reads it"),
        (lambda: archcost.loads("specs/vgg.yaml"), "'specs/vgg.yaml' is not the text of a spec; archcost.load reads it"),
        (lambda: archcost.loads(b"x"), "the text of a spec is a str; got bytes"),  # type: ignore[arg-type]
        (lambda: archcost.memory(archcost.load("vgg16"), input="3x64x64"), "input: a Network is taken as it is; give these to archcost.load"),
        (lambda: archcost.memory("vgg16", freeze="stem"), "freeze is a list of names, such as ['stem']; got 'stem'"),
        (lambda: archcost.memory("vgg16", freeze=7), "freeze is a list of names, such as ['stem']; got 7"),  # type: ignore[arg-type]
        (lambda: archcost.memory("vgg16", batch="2"), "batch must be a whole number from 1 to 2,147,483,648; got '2'"),  # type: ignore[arg-type]
        (lambda: archcost.roofline("vgg16", gpu="h100", batch=2.5), "batch must be a whole number from 1 to 2,147,483,648; got 2.5"),  # type: ignore[arg-type]
        (lambda: archcost.reconcile("vgg16", tools="fvcore"), "tools is a list of names, such as ['stem']; got 'fvcore'"),
        (lambda: archcost.fit("vgg16"), "name either gpu, such as gpu='v100', or memory, such as memory='16GB'"),
        (lambda: archcost.fit("vgg16", memory=2.5), "memory is bytes or a size such as '16GB'; got 2.5"),  # type: ignore[arg-type]
        (lambda: archcost.roofline("vgg16"), "name a device, such as gpu h100; `archcost hardware` lists them"),
        (lambda: archcost.compare(), "name at least one model, as in compare('alexnet', 'resnet50')"),
        (lambda: archcost.compare(["vgg16"]), "a model is a catalog name, a path or a Network; got list"),  # type: ignore[arg-type]
        (lambda: archcost.check("vgg16"), "name what must hold, as in check('resnet50', 'macs <= 4.2G')"),
        (lambda: archcost.check(archcost.load("vgg16"), "macs <= +2%"), "condition 'macs <= +2%':1:12: there is no baseline: write `of main`, or set baseline"),
        (lambda: archcost.diff("vgg16", "vgg19", fail_on="mac > 5%"), "fail_on 'mac > 5%':1:1: unknown metric 'mac'; did you mean 'macs'?"),
        (lambda: archcost.plot("layer", "vgg16"), "unknown kind of picture 'layer'; did you mean 'layers'?"),
        (lambda: archcost.plot("graph", "vgg16", "vgg19"), "graph draws one network; got 2"),
        (lambda: archcost.plot("layers"), "name at least one model, as in plot('layers', 'resnet50')"),
        (lambda: archcost.lint(), "name either a file, as in lint('net.yaml'), or text='...'"),
        (lambda: archcost.lint(archcost.load("vgg16")), "a Network has no text; lint takes the path of its spec, or text='...'"),  # type: ignore[arg-type]
        (lambda: archcost.audit(), "name at least one model, as in audit('resnet50'), or lectures=True"),
        (lambda: archcost.audit(3), "a model is a catalog name, a path or a Network; got int"),  # type: ignore[arg-type]
        (lambda: archcost.diff("vgg16", 3), "a model is a catalog name, a path or a Network; got int"),  # type: ignore[arg-type]
        (lambda: archcost.check(3, "macs <= 1"), "a model is a catalog name, a path or a Network; got int"),  # type: ignore[arg-type]
        (lambda: archcost.identify("vgg16", None), "a number is printed text or a number; got NoneType"),  # type: ignore[arg-type]
        (lambda: archcost.identify("vgg16", "4.1G", tool="thop"), "unknown option 'tool'; did you mean 'tools'?"),  # type: ignore[call-arg]
        (lambda: archcost.catalog("resnets"), "unknown family 'resnets'; did you mean 'resnet'?"),
    ],
)  # fmt: skip
def test_what_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArchcostError) as refused:
        call()
    assert str(refused.value) == message


def test_errors_are_one_family() -> None:
    for error in (SpecError, LookupFailed, archcost.OpError):
        assert issubclass(error, ArchcostError)
    assert isinstance(archcost.load("vgg16"), Network)


def test_a_picture_of_memory_takes_the_options_of_memory() -> None:
    drawn = archcost.plot("memory", "resnet18", batch=4, amp="bf16", device="cpu").text(80)
    asked = ("--batch", "4", "--amp", "bf16", "--device", "cpu", "--terminal")
    assert drawn != archcost.plot("memory", "resnet18", batch=4, device="cpu").text(80)
    assert str(archcost.plot("memory", "resnet18", batch=4, amp="bf16", device="cpu")) + "\n" == (
        run("plot", "memory", "resnet18", *asked).output
    )
