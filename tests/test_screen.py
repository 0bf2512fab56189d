"""Tables on a terminal: the essential columns stay, and what is not shown is named."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import archcost
from archcost.cli import COMMANDS, cli, screen
from archcost.cli.screen import lay_out, wrap
from archcost.table import Column, Table, show_cell

SPEC = "name: n\ninput: 3x32x32\nlayers:\n  - conv(4, 3, padding=1)\n  - relu\n"
FLAWED = "family: f\ninput: 3x8x8\nknobs: {unread: 1, unused: 2}\nlayers: [relu]\n"
TABLES = {
    "table": ["alexnet", "densenet121", "resnet18 --depth 1", "resnet18 --training --depth 1",
              "resnet18 --freeze stem --convention fvcore"],
    "compare": ["alexnet vgg16 resnet50", "--family resnet --convention thop",
                "resnet50 inception_resnet_v1_facenet"],
    "explain": ["alexnet CONV2", "swin_t stage1 --convention ptflops"],
    "memory": ["resnet50", "alexnet --timeline", "resnet50 --batch 256 --gpu v100 --amp bf16"],
    "fit": ["resnet50 --gpu v100", "alexnet --memory 3GB --optimizer adam"],
    "roofline": ["alexnet --gpu h100", "resnet50 --gpu a100 --dtype float16 --depth 2"],
    "formula": ["resnet50", "mobilenet_v2 --depth 1 --symbols W,classes"],
    "hardware": [""],
    "solve": ["mobilenet_v2 --vary width=0.9:1:0.01 --vary classes=9,10 --maximize macs --where macs<=1G"],
    "sweep": ["resnet18 --vary depths.0=0:3 --vary input=32,64 --where macs<=1G"],
    "check": ["--budget vgg16:macs<=1G --budget resnet50:params<=1M",
              "--all --budget lenet5:activations<=1G"],
    "diff": ["resnet50 resnext50_32x4d", "vgg16 vgg19 --layers", "alexnet vgg16 --gpu v100"],
    "lint": ["flawed.yaml"],
    "list": ["", "resnet --sort year"],
    "ops": ["", "conv", "attention"],
    "reconcile": ["resnet50", "swin_t --tool fvcore --tool ptflops --base thop"],
    "identify": ["resnet50 4.09G", "mobilenet_v2 3.4M --most 30"],
    "audit": ["vgg16 alexnet resnet50", "--lectures --verdict wrong"],
    "verify": ["lenet5 --checks structure,memory", "lenet5 net.yaml --checks structure --summary --jobs 1"],
    "profile": ["lenet5 --no-training --runs 1"],
}  # fmt: skip


@dataclass
class Seen:
    """What was printed of one table: the table, and the lines without their styles."""

    table: Table
    text: str

    @property
    def lines(self) -> list[str]:
        return re.sub(r"\x1b\[\d*m", "", self.text).splitlines()


@pytest.fixture
def terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> Callable[..., list[Seen]]:
    """Return what runs a command as on a terminal of some width."""
    (tmp_path / "net.yaml").write_text(SPEC)
    (tmp_path / "flawed.yaml").write_text(FLAWED)
    monkeypatch.chdir(tmp_path)

    def run(width: int, command: str, arguments: str) -> list[Seen]:
        seen: list[Seen] = []

        def watched(table: Table, *more: Any, **options: Any) -> None:
            capsys.readouterr()
            screen_print(table, *more, **options)
            seen.append(Seen(table, capsys.readouterr().out))

        monkeypatch.setattr(screen, "print_table", watched)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(width))
        cli.main([command, *arguments.split()], prog_name="archcost", standalone_mode=False)
        return seen

    screen_print = screen.print_table
    return run


def cases() -> Iterator[tuple[str, str]]:
    for command, variants in TABLES.items():
        yield from ((command, arguments) for arguments in variants)


def test_every_command_that_prints_a_table_is_tried() -> None:
    commands = {name: cli.get_command(click.Context(cli), name) for name in COMMANDS}
    print_tables = {
        name for name, command in commands.items()
        if command and any(param.name == "columns" for param in command.params)
    }  # fmt: skip
    assert print_tables == set(TABLES)


@pytest.mark.parametrize("width", [80, 60, 38])
@pytest.mark.parametrize(("command", "arguments"), [*cases()])
def test_a_terminal_shows_what_is_essential_and_names_the_rest(
    terminal: Callable[..., list[Seen]], command: str, arguments: str, width: int
) -> None:
    if command in ("verify", "profile"):
        pytest.importorskip("torch", reason="PyTorch is not installed")
    printed = terminal(width, command, arguments)
    assert printed
    for seen in printed:
        check(seen, width)


def check(seen: Seen, width: int) -> None:
    """Hold what was printed of a table against the table."""
    assert [line for line in seen.lines if len(line) > width] == []
    text = " ".join(" ".join(seen.lines).split())
    dense = "".join(text.split())
    hidden = re.search(r"not shown at width \d+: ([\w, ]+); choose with --columns", text)
    missing = hidden[1].split(", ") if hidden else []
    essential = [column.key for column in seen.table.columns if column.essential]
    assert not {*missing} & {*essential}
    shown = seen.table.shown()[: len(seen.table.rows)]
    for i, column in enumerate(seen.table.columns):
        cells = [row[i] for row in shown]
        if column.key in missing or not any(cells):
            continue
        words = column.heading.split()
        if i and not seen.table.columns[i - 1].once:  # a list of figures has no first heading
            assert "".join(words) in dense or all(word in text for word in words)
        for word in {word for cell in cells for word in cell.split()}:
            if re.fullmatch(r"[\d.,%x+-]*\d[\d.,%x+-]*[KMGT]?", word):  # a number or a shape
                assert word in text, f"{word} of {column.key} is cut"
            elif column.essential:
                parts = screen.PARTS.split(word)
                assert all(part[:20] in text for part in parts), f"{word} of {column.key}"
    for note in seen.table.notes:
        assert "".join(note.split()) in dense


def test_diff_shows_both_sides_at_80(terminal: Callable[..., list[Seen]]) -> None:
    totals, layers = terminal(80, "diff", "resnet50 resnext50_32x4d")
    [line] = [line for line in totals.lines if line.startswith("macs")]
    assert line.split() == ["macs", "4,089,184,256", "4,230,479,872", "141,295,616", "+3.46%"]
    headings = next(line for line in layers.lines if line.startswith("what"))
    assert headings.split() == ["what", "layer", "was", "is"]


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("audit", "vgg16", "quantity"),
        ("reconcile", "resnet50", "made of"),
        ("ops", "", "about"),
        ("fit", "resnet50 --gpu v100", "what binds"),
        ("memory", "resnet50", "inference"),
        ("check", "--budget vgg16:macs<=1G", "costs most"),
    ],
)
def test_the_point_of_a_table_is_there_at_80(
    terminal: Callable[..., list[Seen]], command: str, arguments: str, words: str
) -> None:
    [seen] = terminal(80, command, arguments)
    assert any(words in line for line in seen.lines)


def test_chosen_columns_are_all_shown_in_the_order_asked_for(
    terminal: Callable[..., list[Seen]],
) -> None:
    [seen] = terminal(80, "compare", "vgg16 alexnet --columns macs,model,source,top1")
    assert [column.key for column in seen.table.columns] == ["macs", "model", "source", "top1"]
    assert seen.lines[0].split() == ["MACs", "model", "accuracy", "from", "top-1"]
    assert "not shown" not in seen.text
    narrow = terminal(30, "compare", "vgg16 alexnet --columns model,flops,params,macs,activations")
    assert "  activations: 15,237,608" in narrow[0].lines


NAME, COUNT = Column("name", "name", essential=True), Column("count", "count", True, essential=True)


def body(table: Table, width: int) -> list[str]:
    lines, notes = lay_out(table, width)
    return [*(line for line, _ in lines), *notes]


def test_a_column_that_says_one_thing_moves_into_a_note() -> None:
    columns = (NAME, Column("dtype", "data type"), COUNT)
    table = Table(columns, (("first", "float32", 1), ("second", "float32", 2)))
    assert body(table, 30)[0] == "name    data type  count"
    assert body(table, 20) == [
        "name    count", "──────  ─────", "first       1", "second      2", "",
        "in every row: data type float32",
    ]  # fmt: skip


def test_headings_wrap_before_a_column_goes() -> None:
    columns = (NAME, Column("peak", "at the inference peak", True, minor=True))
    lines = body(Table(columns, (("conv1", 123_456),)), 20)
    assert lines[:3] == ["name          at the", "           inference", "                peak"]


def test_rows_become_lists_where_not_even_the_essential_fits() -> None:
    other = Column("more", "more", True)
    table = Table((NAME, COUNT, other), (("a layer", 123_456_789, 7),))
    assert body(table, 16) == ["a layer", "  count:", "    123,456,789", "  more: 7", ""]


def test_a_group_stands_above_its_rows() -> None:
    columns = (Column("layer", "layer", once=True), NAME, COUNT)
    lines = body(Table(columns, (("A", "x", 1), ("A", "y", 2), ("B", "x", 3))), 20)
    assert lines == ["name  count", "────  ─────", "A", "x         1", "y         2", "B",
                     "x         3", ""]  # fmt: skip


def test_without_rows_there_are_no_headings() -> None:
    assert lay_out(Table((NAME, COUNT), ()), 80) == ([], [])


def test_totals_of_what_is_not_shown_are_not_shown() -> None:
    wide = Column("words", "words", essential=True)
    table = Table((NAME, wide, Column("sum", "sum", True)), (("n", "w" * 12, 10**9),),
                  footer=(("in all", "", 10**9),))  # fmt: skip
    assert [line for line in body(table, 20) if "in all" in line] == []
    assert [line for line in body(table, 60) if "in all" in line] != []


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("+ 11,113,984 batchnorm + 1,000 linear_bias", 24,
         ["+ 11,113,984 batchnorm", "+ 1,000 linear_bias"]),
        ("choose with --columns", 14, ["choose with", "--columns"]),
        ("layer1.0.body.conv1", 12, ["layer1.0.", "body.conv1"]),
        ("1,234.567.890", 10, ["1,234.567.", "890"]),
        ("", 10, [""]),
    ],
)  # fmt: skip
def test_lines_end_between_words_and_not_inside_of_numbers(
    text: str, width: int, lines: list[str]
) -> None:
    assert wrap(text, width) == lines


words = st.text(alphabet="ab_.- 12,+", max_size=30)
numbers = st.one_of(st.none(), st.integers(-(10**12), 10**12))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(words, numbers, words, numbers), max_size=5), st.integers(24, 90))
def test_no_line_is_too_long_and_no_number_cut(rows: list[tuple[Any, ...]], width: int) -> None:
    columns = (NAME, COUNT, Column("why", "the reason", essential=True), Column("x", "x", True))
    made, notes = lay_out(Table(columns, tuple(rows)), width)
    assert all(len(line) <= width for line, _ in made)
    missing = any("not shown" in note for note in notes)
    lines = [*(line for line, _ in made), *notes]
    for row in rows:
        for value in row[:3] if missing else row:
            assert not isinstance(value, int) or any(show_cell(value) in line for line in lines)


def test_a_legend_stands_below_a_table_that_shows_its_column() -> None:
    report = archcost.analyze("alexnet")
    counts, sizes = "flops: two operations", "activations (lecture): "
    every = report.table().notes
    assert [note.startswith(start) for note in every for start in (counts, sizes)].count(True) == 2
    assert report.table(["name", "params"]).notes == every[:1]
    assert report.table(["name", "flops"]).notes == every[:2]
    assert report.table().select(["activation_bytes"]).notes == (every[0], every[2])
    compared = archcost.compare("alexnet", "vgg16").table()
    assert compared.select(["model", "params"]).notes == ("batch 1, float32",)
    assert compared.select(["params_ratio"]).notes == ("x: ratio to alexnet", "batch 1, float32")
