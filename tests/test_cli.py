"""The command line: output, formats, exit codes, and where words and data go."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from archcost.cli import COMMANDS, SECTIONS, cli
from archcost.cli.choices import Names
from archcost.pictures import KINDS


def run(*arguments: str, code: int = 0, stdin: str | None = None) -> tuple[str, str]:
    """Run the command as a user does; return standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "archcost", *arguments],
        input=stdin, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def refused(*arguments: str, stdin: str | None = None) -> str:
    out, err = run(*arguments, code=2, stdin=stdin)
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("archcost: ").rstrip("\n")


def test_without_arguments_the_commands_are_shown_by_purpose() -> None:
    out, err = run()
    for section, names in SECTIONS.items():
        assert section in out
        assert all(f"  {name} " in out for name in names)
    assert "archcost table vgg16" in out
    assert err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert "Example: archcost" in " ".join(result.output.split())


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_a_format_that_is_named_wins_over_the_ending(tmp_path: Path) -> None:
    target = tmp_path / "table.txt"
    for name in (target, tmp_path / "table", tmp_path / "table.dat"):
        assert invoke("table", "alexnet", "--format", "csv", "-o", str(name)).exit_code == 0
        assert name.read_text().startswith("name,group,op")


ENDS = ".xlsx, .txt, .md, .csv, .json, .html, .htm or .tex"


@pytest.mark.parametrize(
    ("arguments", "name", "reason"),
    [
        ("table alexnet", "x.foo", f"'x.foo' does not end in {ENDS}"),
        ("table alexnet", "x", f"'x' does not end in {ENDS}"),
        ("table alexnet", "x.cvs", f"'x.cvs' does not end in {ENDS}; did you mean '.csv'?"),
        ("audit vgg16", "x.pdf", f"'x.pdf' does not end in {ENDS}"),
        ("diff vgg16 vgg19", "x.docx", f"'x.docx' does not end in {ENDS}"),
        ("show alexnet", "x.csv", "'x.csv' does not end in .yaml or .yml"),
        ("badge alexnet", "x.png", "'x.png' does not end in .svg"),
        ("schema table", "x.txt", "'x.txt' does not end in .json"),
        ("export alexnet", "x.pt", "'x.pt' does not end in .py or .onnx; did you mean '.py'?"),
        ("report alexnet", "x.pdf", "'x.pdf' does not end in .html, .htm, .md, .json or .xml"),
        ("plot layers alexnet", "x.csv", "a picture is written as .png, .svg or .pdf; got 'x.csv'"),
    ],
)  # fmt: skip
def test_an_ending_that_names_no_format_is_refused(
    tmp_path: Path, arguments: str, name: str, reason: str
) -> None:
    done = invoke(*arguments.split(), "--output", str(tmp_path / name))
    assert str(done.exception).startswith(reason)
    assert [*tmp_path.iterdir()] == []


def test_files_of_one_format_need_no_option(tmp_path: Path) -> None:
    for arguments, name, begin in (
        ("show lenet5", "x.yml", "name: lenet5"), ("badge lenet5", "x.svg", "<svg"),
        ("schema table", "x.json", "{"), ("export lenet5", "x.py", '"""'),
        ("report lenet5", "x.md", "## What lenet5 costs"), ("report lenet5", "x.xml", "<?xml"),
    ):  # fmt: skip
        if name == "x.py":
            pytest.importorskip("torch", reason="PyTorch is not installed")
        done = invoke(*arguments.split(), "-o", str(tmp_path / name))
        assert (done.exit_code, done.output) == (0, "")
        assert (tmp_path / name).read_text().startswith(begin)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command, and those of a group after it, by what calls them."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                made = command.get_command(context, inner)
                assert made is not None
                yield f"{name} {inner}", made


def lists() -> list[tuple[str, click.Parameter]]:
    """Return every option and argument of every command that takes one of a list of names."""
    return [
        (name, parameter)
        for name, command in commands()
        for parameter in command.params
        if isinstance(parameter.type, Names)
    ]


def test_a_kind_of_picture_answers_help_and_completes() -> None:
    done = invoke("plot", "help")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.output.splitlines()[2:]] == [*KINDS]
    completer = ShellComplete(cli, {}, "archcost", "_ARCHCOST_COMPLETE")
    assert "scatter" in [item.value for item in completer.get_completions(["plot"], "sca")]


def test_a_kind_of_picture_has_its_own_options_only() -> None:
    own = {name: {p.name for p in command.params} for name, command in commands()}
    assert own["plot timeline"] == {"models", "terminal", "dpi", "output"}
    for name, kind in KINDS.items():
        asked = {*kind.setting, *kind.options} - {"kernel"}
        assert asked <= own[f"plot {name}"]
    assert not {"x", "gpu", "optimizer"} & own["plot layers"]
    done = invoke("plot", "layers", "alexnet", "--x", "macs", "--terminal")
    assert done.exit_code == 2 and "No such option" in done.output


@pytest.mark.parametrize(
    ("name", "parameter"), [pytest.param(*case, id=f"{case[0]}-{case[1].name}") for case in lists()]
)
def test_an_option_with_a_list_answers_help_and_completes(
    name: str, parameter: click.Parameter
) -> None:
    assert isinstance(parameter.type, Names)
    known = parameter.type.known()
    assert known
    flag = max(parameter.opts, key=len)
    asked = [flag, "help"] if isinstance(parameter, click.Option) else ["help"]
    done = invoke(*name.split(), *asked)
    assert done.exit_code == 0, done.exception
    lines = done.output.splitlines()[2:]
    assert [line.split("  ")[0].strip() for line in lines] == [*known]
    assert all(about in line for line, about in zip(lines, known.values(), strict=True))
    if isinstance(parameter, click.Option):
        assert f"`{flag} help` lists them." in (parameter.help or "")
    completer = ShellComplete(cli, {}, "archcost", "_ARCHCOST_COMPLETE")
    first, *_, last = [*known, *known]
    before = [*name.split(), *([flag] if isinstance(parameter, click.Option) else [])]
    assert last in [item.value for item in completer.get_completions(before, last[:-1])]
    if parameter.type.many and last != first:
        found = completer.get_completions(before, f"{first},{last[:-1]}")
        assert f"{first},{last}" in [item.value for item in found]


def test_no_option_lists_its_values_in_another_way() -> None:
    """Every option that is known to take one of several names is of the type that lists them."""
    for name, command in commands():
        for parameter in command.params:
            assert not isinstance(parameter.type, click.Choice), (name, parameter.name)
    named = {parameter.name for _, parameter in lists()}
    assert named >= {
        "activations", "against", "amp", "base", "checks", "columns", "convention", "device",
        "dtype", "dtypes", "families", "format", "gpu", "metric", "optimizer",
        "optimizers", "quantity", "size", "sort", "to", "tools", "verdicts", "x", "y",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("compare vgg16 --columns macs,modle", "unknown column 'modle'; did you mean 'model'?"),
        ("audit vgg16 --columns verdit", "unknown column 'verdit'; did you mean 'verdict'?"),
        ("ops --columns output", "unknown column 'output'; did you mean 'op'?"),
        ("table vgg16 --columns step", "unknown column 'step'"),
        ("table vgg16 --columns name --format json", "--format json has all figures; it takes no"),
        ("table vgg16 --format cvs", "unknown format 'cvs'; did you mean 'csv'?"),
        ("list --sort yaer", "unknown order 'yaer'; did you mean 'year'?"),
        ("export vgg16 --to onyx", "unknown format 'onyx'; did you mean 'onnx'?"),
        ("compare vgg16 --columns macs,,model", "--columns takes names, separated by commas; one"),
    ],
)
def test_a_name_that_is_in_no_list_is_refused(arguments: str, reason: str) -> None:
    assert str(invoke(*arguments.split()).exception).startswith(reason)


def test_columns_are_those_asked_for_in_every_format() -> None:
    done = invoke("compare", "alexnet", "vgg16", "--columns", "macs,model", "--format", "csv")
    assert done.output == "macs,model\n1135256096,alexnet\n15470264320,vgg16\n"
    plain = invoke("list", "lenet5", "--columns", "name", "--columns", "year").output
    assert plain.splitlines()[0].split() == ["model", "year"]
    records = json.loads(invoke("ops", "--columns", "kind", "--format", "json").output)
    assert {*records[0]} == {"kind"}


def test_latex_rules_off_the_totals() -> None:
    lines = run("table", "alexnet", "--format", "latex")[0].splitlines()
    rules = [i for i, line in enumerate(lines) if line == r"\midrule"]
    assert len(rules) == 2 and lines[rules[1] + 1].startswith(" total ")
    assert lines[rules[1] + 2] == r"\bottomrule"
    caption = next(line for line in lines if line.startswith(r"\caption"))
    assert "the lectures draw it; input 3x227x227, batch 1" in caption


def test_latex_has_no_sign_that_its_fonts_lack() -> None:
    out = run("explain", "alexnet", "CONV2", "--format", "latex")[0]
    assert r"(27 + 2$\cdot$2 $-$ 5)/1 + 1" in out
    assert out.isascii()


def test_output_to_a_file_is_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    run("table", "alexnet", "--format", "csv", "-o", str(target))
    before = target.read_text()
    refused("table", "alexnte", "-o", str(target))
    assert target.read_text() == before
    assert refused("table", "alexnet", "-o", str(tmp_path / "no" / "x.csv")) == (
        f"cannot write {tmp_path}/no/x.csv: No such file or directory"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_spec_from_standard_input() -> None:
    out, _ = run("table", "-", stdin="name: n\ninput: 3x8x8\nlayers: [relu]\n")
    assert "3x8x8" in out
    assert refused("table", "-", stdin="name: n\ninput: 3x8x8\nlayers: [rleu]\n") == (
        "<stdin>:3:10: unknown op or block 'rleu'; did you mean 'relu'?"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["tabel"], "unknown command 'tabel'; did you mean 'table'?"),
        (["table"], "Missing argument 'MODEL'."),
        (["table", "vgg61"], "unknown model 'vgg61'; did you mean 'vgg16'?"),
        (["table", "efficientnetb0"], "unknown model 'efficientnetb0'; did you mean 'efficientnet_b0'?"),
        (["table", "no.yaml"], "no.yaml: No such file or directory"),
        (["table", "."], ".: is a folder"),
        (["table", "pyproject.toml"], "pyproject.toml: is TOML; `archcost check --budgets FILE` reads budgets"),
        (["lint", "tests/test_cli.py"], "tests/test_cli.py: is Python, not a spec; to read a network"),
        (["ops", "Conv2d"], "unknown op 'Conv2d'; write conv"),
        (["table", "alexnet", "--batch", "0"], "batch must be a whole number from 1 to 2,147,483,648; got 0"),
        (["table", "alexnet", "--batch", "x"], "Invalid value for '--batch': 'x' is not a valid integer."),
        (["table", "alexnet", "--dtype", "float23"], "unknown dtype 'float23'; did you mean 'float32'?"),
        (["table", "alexnet", "--convention", "fvcroe"], "unknown convention 'fvcroe'; did you mean 'fvcore'?"),
        (["table", "alexnet", "--activations", "lectur"], "unknown activation convention 'lectur'; did you mean 'lecture'?"),
        (["table", "alexnet", "--columns", "name,prams"], "unknown column 'prams'; did you mean 'params'?"),
        (["table", "alexnet", "--input", "3x4x"], "a shape is written as 3x224x224, channels first; got '3x4x'"),
        (["table", "alexnet", "--input", "3x4x4"], "specs/alexnet.yaml:"),
        (["table", "alexnet", "--set", "groups"], "--set takes KNOB=VALUE; got 'groups'"),
        (["table", "resnet50", "--set", "widht=2"], "unknown knob of resnet 'widht'; expected one of: block, "),
        (["table", "alexnet", "--freeze", "CONV9*"], "unknown layer or group to freeze 'CONV9*'; did you mean 'CONV"),
        (["table", "alexnet", "--depth", "0"], "depth must be at least 1; got 0"),
        (["compare"], "name at least one model, or use --family or --all"),
        (["compare", "--family", "resnte"], "unknown family 'resnte'; did you mean 'resnet"),
        (["compare", "alexnet", "--sort", "parms"], "unknown column 'parms'; did you mean 'params'?"),
        (["explain", "alexnet", "CONV8"], "unknown layer 'CONV8'; did you mean 'CONV"),
        (["ops", "conf"], "unknown op 'conf'; did you mean 'conv'?"),
        (["list", "zzzz"], "unknown model 'zzzz'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], reason: str) -> None:
    assert refused(*arguments).startswith(reason)


def test_several_mistakes_are_a_line_each() -> None:
    layers = "".join(f"  - relu{n}x: conf({n})\n" for n in range(13))
    out, err = run("table", "-", stdin=f"name: n\ninput: 3x8x8\nlayers:\n{layers}", code=2)
    assert out == ""
    lines = err.removesuffix("\n").split("\n")
    assert lines[-1] == "archcost: <stdin>: and 3 more"
    assert [line.partition(": unknown")[0] for line in lines[:-1]] == [
        f"archcost: <stdin>:{line}:13" for line in range(4, 14)
    ]


def test_freeze_splits_the_parameters() -> None:
    data = json.loads(run("table", "alexnet", "--freeze", "CONV*", "--format", "json")[0])
    assert data["totals"]["trainable_params"] == 58_631_144  # the three FC layers
    assert "trainable" in run("table", "alexnet", "--freeze", "CONV*")[0]


def test_depth_folds_groups_and_keeps_the_totals() -> None:
    deep, shallow = run("table", "resnet50")[0], run("table", "resnet50", "--depth", "1")[0]
    whole, folded = (text.split("\n\n")[1].splitlines() for text in (deep, shallow))
    assert whole[-1].split() == folded[-1].split()
    names = [line.split()[0] for line in folded[2:-2]]
    assert names == ["input", "stem", "layer1", "layer2", "layer3", "layer4", "head"]


def test_compare_adds_up_ensembles() -> None:
    names = ["7*alexnet", "vgg16 + 2*googlenet", "resnet152", "7 * lenet5+alexnet"]
    out = run("compare", *names, "--sort", "params", "--format", "csv")[0]
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(out))}
    assert list(rows) == ["resnet152", "7 * lenet5+alexnet", "vgg16 + 2*googlenet", "7*alexnet"]
    assert int(rows["7*alexnet"]["params"]) == 7 * 62_378_344
    assert int(rows["7*alexnet"]["macs"]) == 7 * 1_135_256_096
    assert rows["7*alexnet"]["params_ratio"] == "1.000"
    assert rows["resnet152"]["params_ratio"] == "0.138"  # 60,192,808 / 436,648,408
    both = rows["vgg16 + 2*googlenet"]
    assert int(both["params"]) == 138_357_544 + 2 * 6_998_552
    assert int(both["macs"]) == 15_470_264_320 + 2 * 1_582_671_872
    assert both["weight_layers"] == "22"  # the deeper one's
    assert both["top1"] == ""  # nobody has measured this one


def test_the_fusion_of_five_that_won_in_2016() -> None:
    five = [
        "inception_v3",
        "inception_v4",
        "inception_resnet_v2",
        "preresnet200",
        "wide_resnet68_3",
    ]
    out = run("compare", "+".join(five), *five, "--format", "csv")[0]
    fusion, *parts = csv.DictReader(io.StringIO(out))
    for figure in ("params", "macs", "activations"):
        assert int(fusion[figure]) == sum(int(part[figure]) for part in parts)
    assert int(fusion["macs"]) == 76_629_085_984
    assert [part["weight_layers"] for part in parts][-2:] == ["200", "68"]


def test_json_of_an_ensemble() -> None:
    [model] = json.loads(run("compare", "7*alexnet", "--format", "json")[0])["models"]
    assert (model["title"], model["input"]) == ("ensemble of 7 networks", [3, 227, 227])
    assert model["totals"]["params"] == 436_648_408


@pytest.mark.parametrize("model", ["0*alexnet", "seven*alexnet", "alexnet+", "7*", "2*3*alexnet"])
def test_compare_says_how_an_ensemble_is_written(model: str) -> None:
    message = refused("compare", model)
    assert message.startswith(f"{model}: an ensemble is written as 7*alexnet or googlenet+2*vgg16")
    assert refused("compare", "7*alexnt") == "unknown model 'alexnt'; did you mean 'alexnet'?"


def test_an_accuracy_is_of_the_same_input_or_says_of_which() -> None:
    def shown(*arguments: str) -> tuple[str, ...]:
        rows = csv.DictReader(io.StringIO(run("compare", *arguments, "--format", "csv")[0]))
        return next((row["top1"], row["source"]) for row in rows)

    # the authors' error of 18.68 % is at 224x224, the 82.7 % of Tan & Le at 320x320
    assert shown("senet154") == ("81.32", "authors' release, table 1")
    assert shown("senet154", "--input", "3x320x320") == ("82.7", "Tan & Le 2019, table 2")
    assert shown("nasnet_a_large", "--input", "3x224x224")[1].endswith(", at 3x331x331")


def test_compare_relates_to_a_baseline_and_sorts() -> None:
    out = run(
        "compare",
        "resnet50",
        "alexnet",
        "--sort",
        "params",
        "--baseline",
        "alexnet",
        "--format",
        "csv",
    )[0]
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["model"] for row in rows] == ["resnet50", "alexnet"]
    assert rows[0]["params_ratio"] == "0.410"  # 25,557,032 / 62,378,344
    assert rows[1]["params_ratio"] == "1.000"


def test_a_closed_pipe_is_no_error() -> None:
    line = f"{sys.executable} -m archcost compare --all --format csv | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("model,params")
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_offered(shell: str) -> None:
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    completer = made(cli, {}, "archcost", "_ARCHCOST_COMPLETE")
    names = [item.value for item in completer.get_completions(["table"], "resnet1")]
    assert {"resnet18", "resnet101", "resnet152"} <= set(names)
    assert "table" in [item.value for item in completer.get_completions([], "ta")]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_terminal_of_any_width_cuts_no_digits(width: int) -> None:
    """Drawn with rich in a pseudo-terminal: whole columns are left out, and said to be."""
    code = (
        "import sys, click; sys.argv = ['archcost', 'table', 'alexnet']\n"
        "sys.stdout.isatty = lambda: True\n"
        "from archcost.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": str(width), "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b[3" not in done.stdout  # bold, no colour
    table = re.sub(r"\x1b\[\d*m", "", done.stdout).split("input 3x227x227,")[0]
    table = "\n".join(table.splitlines()[2:])
    assert "…" not in table
    assert all(len(line) <= width for line in table.splitlines())
    assert "62,378,344" in table
    assert ("not shown at width" in done.stdout) == (40 < width < 120)  # at 40, all in a list


@pytest.mark.parametrize(
    "arguments",
    ["table resnet18", "diff vgg16 resnet18", "compare resnet18 vgg16", "identify resnet18 4G",
     "memory resnet18", "show resnet18", "report resnet18", "plot graph resnet18"],
)  # fmt: skip
def test_set_answers_help_with_the_knobs_of_the_model(arguments: str) -> None:
    done = invoke(*arguments.split(), "--set", "help")
    assert done.exit_code == 0, done.exception
    assert "depths           [2, 2, 2, 2]" in done.output.splitlines()
    assert "block            basic" in done.output.splitlines()


def test_set_help_says_where_there_is_nothing_to_set() -> None:
    spec = "name: plain\ninput: 3x8x8\nlayers: [relu]\n"
    done = CliRunner().invoke(cli, ["table", "-", "--set", "help"], input=spec)
    assert "plain has no knobs" in done.output
    done = invoke("compare", "--family", "resnet", "--set", "help")
    assert str(done.exception) == "--set help lists the knobs of a MODEL; name one"
