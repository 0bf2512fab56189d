"""Pictures: what they show, where labels and boxes go, and how they look.

``python tests/test_plot.py`` draws the golden images anew.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from archcost import analyze, load
from archcost.analysis.report import Report
from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.hardware import find_device
from archcost.lectures.timeline import entrants, read_entrants, timeline
from archcost.performance.roofline import roofline as find_roofline
from archcost.pictures import KINDS
from archcost.pictures.diagram import Box as DrawnBox
from archcost.pictures.diagram import Diagram, arrange
from archcost.pictures.graph import graph
from archcost.pictures.labels import Bubble, place_labels
from archcost.pictures.layers import layers
from archcost.pictures.memory import memory
from archcost.pictures.picture import Bars, Line, Picture, Points, Words, ticks
from archcost.pictures.receptive import receptive, widths
from archcost.pictures.roofline import roofline
from archcost.pictures.scatter import pareto, scatter
from archcost.pictures.terminal import text
from archcost.setting import Setting
from archcost.spec.catalog import catalog
from archcost.spec.source import Source
from archcost.storage.footprint import Footprint

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).resolve().parent / "golden"
COMPARED = (
    "resnet18", "resnet50", "resnet152", "vgg16", "mobilenet_v2", "efficientnet_b0", "densenet121",
    "convnext_tiny",
)  # fmt: skip


def report(name: str) -> Report:
    return analyze(load(name))


def h100(name: str) -> Picture:
    return roofline(find_roofline(load(name), Setting(32).on(find_device("h100"))))


PICTURES: dict[str, Callable[[], Picture | Diagram]] = {
    "layers": lambda: layers([report("alexnet"), report("vgg16")]),
    "scatter": lambda: scatter([report(name) for name in COMPARED]),
    "timeline": timeline,
    "receptive": lambda: receptive([report("alexnet"), report("vgg16"), report("resnet18")]),
    "memory": lambda: memory([Footprint(load("resnet18"), Setting(batch=32))]),
    "roofline": lambda: h100("resnet18"),
    "graph": lambda: graph(load("googlenet"), 1),
}


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["plot", *arguments])
    assert done.exit_code == 0, done.exception
    return done.output


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["plot", *arguments])
    assert isinstance(done.exception, ArchcostError)
    assert "\n" not in str(done.exception)
    return str(done.exception)


def mark(picture: Picture, kind: type, row: int = 0, column: int = 0) -> object:
    return next(m for m in picture.rows[row][column].marks if isinstance(m, kind))


# What they show.


def test_bars_add_up_to_the_totals() -> None:
    for name in ("alexnet", "resnet50", "inception_v4"):
        found = report(name)
        shown = layers([found])
        memory_kb, params_k, mflops = (sum(mark(shown, Bars, row).values) for row in range(3))  # type: ignore[attr-defined]
        image = found.network.input[0] * found.network.input[1] * found.network.input[2]
        assert memory_kb * 1e3 == pytest.approx(found.total.activation_bytes - 4 * image)
        assert params_k * 1e3 == pytest.approx(found.total.params)
        assert mflops * 1e6 == pytest.approx(found.total.flops)


def test_bars_are_the_lectures() -> None:
    shown = layers([report("alexnet")])
    assert shown.rows[2][0].x.names[:2] == ("CONV1", "POOL1")
    assert mark(shown, Bars, 0).values[0] == 96 * 55 * 55 * 4 / 1e3  # type: ignore[attr-defined]
    assert mark(shown, Bars, 1).values[0] == (96 * 3 * 11 * 11 + 96) / 1e3  # type: ignore[attr-defined]
    assert mark(shown, Bars, 2).values[0] == 2 * 55 * 55 * 96 * 3 * 11 * 11 / 1e6  # type: ignore[attr-defined]


def test_depth_folds_groups_into_one_bar() -> None:
    names = layers([report("resnet50")], depth=1).rows[2][0].x.names
    assert names == ("stem", "layer1", "layer2", "layer3", "layer4", "head")


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_no_other_beats(seed: int) -> None:
    generator = random.Random(seed)
    points = [(generator.randrange(8), generator.randrange(8)) for _ in range(30)]
    front = pareto(points)
    for i, (x, y) in enumerate(points):
        beaten = any(a <= x and b >= y and (a < x or b > y) for a, b in points)
        assert (i in front) != beaten


def test_the_scatter_shows_published_accuracies_at_the_sizes_they_were_measured_at() -> None:
    points = {p.label: p for p in mark(PICTURES["scatter"](), Points).points}  # type: ignore[attr-defined, arg-type]
    assert (points["resnet50"].x, points["resnet50"].y) == (8.178368512, 76.130)
    assert points["vgg16"].area / points["resnet50"].area == pytest.approx(138357544 / 25557032)
    assert {name for name, point in points.items() if point.ringed} == {
        "mobilenet_v2", "efficientnet_b0", "convnext_tiny",
    }  # fmt: skip
    # the first accuracy of senet154 is at 320x320, the second at the spec's 224x224
    [senet] = mark(scatter([report("senet154")]), Points).points  # type: ignore[attr-defined]
    assert senet.y == 81.32


def test_accuracies_on_other_data_are_not_mixed_in() -> None:
    names = ("resnet18", "resnet20", "nin_cifar10", "vgg16", "highway_conv16", "resnet50")
    picture = scatter([report(name) for name in names])
    assert {point.label for point in mark(picture, Points).points} == {
        "resnet18",
        "resnet50",
        "vgg16",
    }  # type: ignore[attr-defined]
    assert picture.rows[0][0].y.label == "ImageNet top-1 accuracy, %"
    assert "Left out: resnet20, nin_cifar10, highway_conv16 (another task)." in picture.caption
    small = scatter([report(name) for name in ("resnet20", "resnet32", "highway_conv16")])
    assert small.rows[0][0].y.label == "top-1 accuracy, %"


def shown_names(picture: Picture) -> dict[str, str]:
    """Return all words of a picture, however it is drawn."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from archcost.pictures.matplotlib_file import figure
    from archcost.pictures.svg import legend, svg

    made = figure(picture)
    written = [*made.texts, *(t for axes in made.axes for t in (*axes.texts, axes.title))]
    return {
        "svg": svg(picture) + legend(picture),
        "terminal": text(picture, 120),
        "matplotlib": "\n".join(t.get_text() for t in written),
    }


@pytest.fixture(scope="module")
def everything() -> Picture:
    return scatter([report(name) for name in catalog()])


def test_the_largest_bubbles_and_the_ends_of_the_front_are_named(everything: Picture) -> None:
    points = mark(everything, Points).points  # type: ignore[attr-defined]
    front = sorted((point for point in points if point.ringed), key=lambda point: point.x)
    largest = sorted(points, key=lambda point: -point.area)[:5]
    named = {point.label for point in (front[0], front[-1], *largest)}
    assert {point.label for point in points if point.first} == named
    assert {"regnet_y_128gf", "convnextv2_huge"} < named
    drawn = shown_names(everything)
    assert {how: [n for n in named if n not in words] for how, words in drawn.items()} == {
        "svg": [], "terminal": [], "matplotlib": [],
    }  # fmt: skip


def test_roofs_are_named() -> None:
    drawn = shown_names(h100("resnet18"))
    for words in drawn.values():
        assert "494.5 TFLOP/s, convolutions and the hard bound" in words
        assert "67 TFLOP/s, other products" in words
        assert "3.35 TB/s" in words
    [one] = {m.text for m in roofline(find_roofline(load("resnet18"), Setting(dtype="float16").on(
             find_device("a100")))).rows[0][0].marks if isinstance(m, Words) and not m.below}  # fmt: skip
    assert one == "312 TFLOP/s, float16"


def test_the_roof_of_a_terminal_rises_to_the_ridge() -> None:
    lines = text(h100("resnet50"), 100).splitlines()
    grid = [line.partition("┤")[2].ljust(95) for line in lines if "┤" in line]
    signs = "·◇○"
    # 3.35 TB/s: ten times as far along is ten times as high, up to 494.5 TFLOP/s
    tops = [next((r for r, row in enumerate(grid) if row[c] in signs), None) for c in range(60)]
    rising = [r for r in tops if r is not None]
    assert rising == sorted(rising, reverse=True)
    assert len(set(rising)) > 8
    flat = max(grid, key=lambda row: row.count("·"))
    assert flat.rstrip()[-1] in signs
    assert "front" not in "\n".join(lines)
    assert "◇ bound by memory" in lines


@pytest.mark.parametrize(("names", "legend"), [
    (("resnet18", "vgg16", "efficientnet_b0"), ["year 2014", "2016", "2019"]),
    (("resnet18", "vgg16"), ["year 2014", "2015"]),
    (("resnet18", "resnet50"), ["year 2015"]),
])  # fmt: skip
def test_years_have_one_legend(names: tuple[str, ...], legend: list[str]) -> None:
    picture = scatter([report(name) for name in names], size="year")
    assert [words for _, words in picture.bubbles] == legend
    areas = [area for area, _ in picture.bubbles]
    assert areas == sorted(areas)
    points = {point.label: point for point in mark(picture, Points).points}  # type: ignore[attr-defined]
    assert points[names[0]].area in areas or len(legend) == 3
    assert "year 2015" in points["resnet18"].tip
    along = scatter([report(name) for name in names], x="year")
    assert "2,01" not in text(along, 90)
    assert " 2015" in text(along, 90)


def test_a_unit_is_said_once() -> None:
    [*_, last] = scatter([report(name) for name in COMPARED], size="layers").bubbles
    assert last[1] == "10 layers on the longest path"


def test_a_single_point_says_why() -> None:
    picture = scatter([report(name) for name in ("alexnet", "resnet18", "resnet20")])
    for words in (text(picture, 90), shown_names(picture)["matplotlib"]):
        plain = " ".join(words.split())
        assert "against operations: only resnet18" in plain
        assert "Left out: alexnet (no top-1 accuracy); resnet20 (another task)." in plain
    assert "only" not in scatter([report("resnet18")]).title


def test_measured_latency_is_an_axis(tmp_path: Path) -> None:
    row = {"model": "resnet18", "input": [3, 224, 224], "batch": 1, "dtype": "float32",
           "status": "ok", "forward": {"median": 0.0125, "q1": 0.012, "q3": 0.013}}  # fmt: skip
    record = {"schema": 1, "machine": {"name": "a test", "torch": "0"}, "measurements": [row]}
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    out = run(
        "scatter",
        "resnet18",
        "vgg16",
        "--x",
        "latency",
        "--record",
        str(path),
        "--terminal",
    )
    assert "latency, ms" in out
    assert "a test" in out
    assert "Left out: vgg16 (no latency)." in " ".join(out.split())
    [point] = mark(scatter([report("resnet18")], x="latency", record=record), Points).points  # type: ignore[attr-defined]
    assert point.x == 12.5


def test_the_receptive_field_grows_as_by_hand() -> None:
    # conv 11 stride 4: 11; pool 3 stride 2: 11 + 2·4 = 19; conv 5: 19 + 4·8 = 51; pool 3: 51 + 2·8
    # = 67; three times conv 3: 67 + 2·16 = 99, 131, 163; pool 3: 163 + 2·16 = 195
    assert widths(report("alexnet")) == [
        (0, 1.0), (1, 19.0), (2, 67.0), (3, 99.0), (4, 131.0), (5, 195.0)
    ]  # fmt: skip


def test_the_timeline_of_memory_has_its_peak() -> None:
    found = Footprint(load("resnet18"), Setting(batch=32))
    line = mark(memory([found]), Line)
    assert max(y for _, y in line.points) * 1e6 == pytest.approx(found.training.peak.total)  # type: ignore[attr-defined]
    assert len(line.tips) == len(found.training.timeline)  # type: ignore[attr-defined]


def test_no_layer_is_above_the_roof() -> None:
    device = find_device("h100")
    for point in mark(h100("resnet50"), Points).points:  # type: ignore[attr-defined]
        roof = min(device.peak("float32"), device.bandwidth * point.x)
        assert point.y * 1e12 <= roof * (1 + 1e-9)


def test_depths_of_the_winners_are_computed() -> None:
    depths = {entrant.name: entrant.depth for entrant in entrants()}
    assert depths["AlexNet"] == depths["ZFNet"] == 8
    assert (depths["VGG"], depths["GoogLeNet"], depths["ResNet"]) == (19, 22, 152)
    assert depths["XRCE"] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: b}", "w.yaml:2:3: a winner has no year"),
        ("{year: 2010, nam: b}", "w.yaml:2:16: unknown key 'nam'; did you mean 'name'?"),
        ("{year: 10, name: b, top5_error: 1, source: s}",
         "w.yaml:2:10: year must have four digits; got '10'"),
    ],
)  # fmt: skip
def test_a_winner_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ArchcostError) as caught:
        first = "- {year: 2010, name: a, top5_error: 1, source: s}\n"
        read_entrants(Source("w.yaml", f"{first}- {text}\n"))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("low", "high", "log"), [(0, 100, False), (3, 7.5, False), (0.1, 90, True), (52, 86, False)]
)
def test_ticks_are_round_and_inside(low: float, high: float, log: bool) -> None:
    found = ticks(low, high, log)
    assert 2 <= len(found) <= 7
    assert all(low <= tick <= high for tick in found)
    assert all(re.fullmatch(r"-?[\d.]{1,4}", f"{tick:g}") for tick in found)


# Where things go.


@pytest.mark.parametrize("seed", range(10))
def test_labels_do_not_overlap(seed: int) -> None:
    generator = random.Random(seed)
    bubbles = [
        Bubble(generator.uniform(10, 390), generator.uniform(10, 290), generator.uniform(2, 12),
               generator.uniform(20, 60), 8) for _ in range(30)
    ]  # fmt: skip
    places = place_labels(bubbles, 400, 300)
    boxes = [
        (p.x, p.y, p.x + b.width, p.y + b.height)
        for p, b in zip(places, bubbles, strict=True) if p
    ]  # fmt: skip
    assert len(boxes) >= 27
    assert all(x >= 0 and y >= 0 and right <= 400 and top <= 300 for x, y, right, top in boxes)
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize(
    "name",
    ["alexnet", "googlenet", "resnet18", "unet", "densenet121", "nasnet_a_mobile", "inception_v4"],
)
def test_boxes_do_not_overlap_and_data_flow_downwards(name: str) -> None:
    drawn = graph(load(name))
    boxes = {box.name: box for box in drawn.boxes}
    assert len(boxes) <= 90
    for a, b in combinations(drawn.boxes, 2):
        apart = a.x + a.width <= b.x or b.x + b.width <= a.x
        assert apart or a.y + a.height <= b.y or b.y + b.height <= a.y, (a.name, b.name)
    assert all(boxes[start].rank < boxes[end].rank for start, end in drawn.links)
    for box in drawn.boxes:
        assert -1e-6 <= box.x <= drawn.width - box.width + 1e-6
        assert -1e-6 <= box.y <= drawn.height - box.height + 1e-6
    reached = {end for _, end in drawn.links}
    assert reached == boxes.keys() - {"input"}


def test_branches_lie_side_by_side() -> None:
    drawn = {box.name: box for box in graph(load("googlenet")).boxes}
    branches = [
        drawn[f"inception3a.{name}"]
        for name in ("1x1.conv1", "3x3.conv1", "5x5.conv1", "pool.maxpool1")
    ]
    assert len({box.rank for box in branches}) == 1
    assert sorted(branches, key=lambda box: box.x) == branches


def test_what_follows_closely_shares_a_box() -> None:
    first = next(box for box in graph(load("resnet18")).boxes if box.name == "stem.conv1")
    assert first.lines == (
        "stem.conv1", "conv 7x7, stride 2, pad 3, no bias", "+ batchnorm, relu", "64x112x112",
    )  # fmt: skip


def test_a_tall_drawing_is_cut_into_columns() -> None:
    boxes = [DrawnBox(str(i), (f"box {i}", "shape")) for i in range(100)]
    drawn = arrange(boxes, [(str(i), str(i + 1)) for i in range(99)], "", "")
    columns = {round(box.middle / 10) for box in drawn.boxes}
    assert len(columns) > 2
    assert drawn.height < 1000
    assert sum(edge.wraps for edge in drawn.edges) == len(columns) - 1


# How they look.


@pytest.mark.parametrize("kind", PICTURES)
def test_text_has_title_caption_and_fits(kind: str) -> None:
    shown = text(PICTURES[kind](), 80)
    assert max(map(len, shown.splitlines())) <= 80
    if kind != "graph":
        words = " ".join(shown.split())
        assert " ".join(PICTURES[kind]().caption.split()) in words


@pytest.mark.parametrize("kind", PICTURES)
def test_picture_looks_as_it_did(kind: str, tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    pinned = re.findall(r"^matplotlib==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if [matplotlib.__version__] != pinned:
        pytest.skip(f"the images were drawn by matplotlib {', '.join(pinned)}")
    from matplotlib.testing.compare import compare_images

    from archcost.pictures.matplotlib_file import save

    drawn = tmp_path / f"{kind}.png"
    save(PICTURES[kind](), drawn, "png", dpi=60)
    # fonts are hinted differently by other builds of FreeType
    assert compare_images(str(GOLDEN / drawn.name), str(drawn), tol=4) is None


def test_every_kind_has_a_golden_image() -> None:
    assert set(KINDS) == set(PICTURES) == {path.stem for path in GOLDEN.glob("*.png")}


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_files_are_the_same_every_time(suffix: str, start: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    for path in (one, two):
        run("layers", "alexnet", "-o", str(path), "--dpi", "40")
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes().startswith(start)


def test_neighbouring_colours_differ_in_grey() -> None:
    from archcost.pictures.picture import COLOURS

    def light(colour: str) -> float:
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    assert all(abs(light(a) - light(b)) > 8 for a, b in pairwise(COLOURS))


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["layer", "alexnet", "--terminal"], "unknown kind of picture 'layer'; did you mean 'layers'?"),
        (["layers", "alexnet"], "say where the picture goes: --output FILE.png, .svg or .pdf, or --terminal"),
        (["layers", "alexnet", "-o", "x.pgn"], "a picture is written as .png, .svg or .pdf; got 'x.pgn'; did you mean '.png'?"),
        (["layers", "alexnet", "-o", "/no/folder/x.png"], "cannot write /no/folder/x.png: No such file or directory"),
        (["layers", "--terminal"], "name at least one model, or use --family or --all"),
        (["layers", "alexnet", "--depth", "0", "--terminal"], "depth must be at least 1; got 0"),
        (["layers", "--family", "vgg", "--terminal"], "bars side by side cannot be read"),
        (["scatter", "resnet18", "--x", "mac", "--terminal"], "unknown axis 'mac'; did you mean 'macs'?"),
        (["scatter", "resnet18", "--x", "latency", "--terminal"], "latency is measured: name a record of `archcost profile` with --record"),
        (["scatter", "alexnet", "--terminal"], "none of 1 model has operations, top1 and params"),
        (["timeline", "alexnet", "--terminal"], "timeline shows the winners of ILSVRC; it takes no model"),
        (["graph", "alexnet", "vgg16", "--terminal"], "graph draws one network; got 2"),
        (["roofline", "alexnet", "--terminal"], "name a device, such as gpu h100; `archcost hardware` lists them"),
        (["receptive", "highway10", "--terminal"], "highway10 has no spatial dimensions to look at"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(arguments: list[str], reason: str) -> None:
    assert reason in refused(*arguments)


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert refused("layers", "alexnet", "-o", "x.png") == (
        "pictures need matplotlib: pip install 'archcost[plot]'"
    )
    assert "CONV1" in run("layers", "alexnet", "--terminal")


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / "x.png"
    run("timeline", "-o", str(path), "--dpi", "30")
    before = path.read_bytes()
    refused("layers", "alexnte", "-o", str(path))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


if __name__ == "__main__":
    from archcost.pictures.matplotlib_file import save

    for name, picture in PICTURES.items():
        save(picture(), GOLDEN / f"{name}.png", "png", dpi=60)
