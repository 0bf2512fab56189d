"""Pictures of the rows of a sweep: how dense they are, and the front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import archcost
from archcost.cli import cli
from archcost.pictures.cloud import FEW, cloud
from archcost.pictures.picture import Density, Line, Picture, Points
from archcost.pictures.svg import svg
from archcost.space import files

np = pytest.importorskip("numpy", reason="numpy is not installed")

VARY = {"width": "0.1:2:0.05", "H": range(32, 320, 8)}


@pytest.fixture(scope="module")
def found() -> Any:
    return archcost.sweep("mobilenet_v2", VARY)


def marks(picture: Picture) -> dict[type, Any]:
    [[panel]] = picture.rows
    return {type(mark): mark for mark in panel.marks}


def brute(x: list[float], y: list[float]) -> list[tuple[float, float]]:
    """Return the points that no other is below and left of, each once."""
    points = {*zip(x, y, strict=True)}
    return sorted(
        a for a in points
        if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in points)
    )  # fmt: skip


def test_every_configuration_is_in_its_cell(found: Any) -> None:
    density = marks(cloud(found, "macs", "params"))[Density]
    x, y = found.columns["macs"] / 1e9, found.columns["params"] / 1e6
    assert sum(map(sum, density.counts)) == len(found) == 1404
    for _ in range(50):
        row, column = np.random.default_rng(_).integers(
            0, (len(density.counts), len(density.x) - 1)
        )
        last = row == len(density.counts) - 1, column == len(density.x) - 2
        inside = (density.x[column] <= x) & ((x < density.x[column + 1]) | last[1])
        inside &= (density.y[row] <= y) & ((y < density.y[row + 1]) | last[0])
        assert density.counts[row][column] == inside.sum()
    cells = [*density.cells()]
    assert len(cells) == sum(bool(n) for own in density.counts for n in own) > 100
    shades = [shade for _, _, shade in cells]
    assert min(shades) == 0.2 and max(shades) == 1


@pytest.mark.parametrize(
    ("x", "y"), [("macs", "-params"), ("-H", "macs"), ("activations", "-width")]
)
def test_the_line_is_the_front(found: Any, x: str, y: str) -> None:
    line = marks(cloud(found, x, y))[Line]
    signed = [found.columns[name.strip("-")] * (-1.0 if name[0] == "-" else 1.0) for name in (x, y)]
    scales = [{"macs": 1e9, "params": 1e6, "activations": 1e6}.get(n.strip("-"), 1) for n in (x, y)]
    expected = sorted(
        tuple(abs(v) / scale for v, scale in zip(point, scales, strict=True))
        for point in brute(*(own.tolist() for own in signed))
    )
    assert [*line.points] == expected and len(expected) > 10


def test_few_configurations_are_points_with_their_figures(found: Any) -> None:
    few = archcost.sweep("mobilenet_v2", {"width": [0.5, 1.0, 1.4], "H": [128, 224]})
    [line, points] = marks(cloud(few, "macs", "-params")).values()
    assert isinstance(points, Points) and len(points.points) == 6 <= FEW
    assert [point.ringed for point in points.points] == [True, False] * 3
    assert points.points[3].tip == "macs 300,774,272, params 3,504,872"
    assert len(line.points) == 3


def test_one_best_configuration_is_a_point(found: Any) -> None:
    picture = cloud(found, "macs", "params")
    assert len(marks(picture)[Points].points) == 1
    assert picture.caption.startswith("One configuration has less macs and less params than all")


def test_an_axis_of_one_value_has_it_in_the_middle() -> None:
    found = archcost.sweep("mobilenet_v2", {"H": range(32, 32 + FEW + 1)})
    density = marks(cloud(found, "H", "params"))[Density]
    [row] = {row for row, _, _ in density.cells()}
    assert len(density.counts) // 2 - 1 <= row <= len(density.counts) // 2


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_gives_the_picture_of_its_rows(
    ending: str, found: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "READ", 100)
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    target = tmp_path / f"rows.{ending}"
    words = ["--vary", "width=0.1:2:0.05", "--vary", "H=32:319:8", "-o", str(target)]
    assert CliRunner().invoke(cli, ["sweep", "mobilenet_v2", *words]).exit_code == 0
    ours, file = cloud(found, "macs", "-params"), cloud(target, "macs", "-params")
    assert file.rows == ours.rows and file.caption == ours.caption
    assert file.title.endswith(f"1,404 configurations of rows.{ending}")
    drawn = CliRunner(env={"COLUMNS": "100"}).invoke(
        cli,
        ["plot", "scatter", "--sweep", str(target), "--x", "macs", "--y", "-params", "--terminal"],
    )
    picture = archcost.plot("scatter", sweep=target, x="macs", y="-params")
    assert drawn.output == picture.text(100) + "\n"
    assert "░▒▓█ more and more configurations" in drawn.output and "· the front" in drawn.output


def test_the_density_is_drawn_in_all_ways(found: Any, tmp_path: Path) -> None:
    picture = archcost.plot("scatter", sweep=found, x="macs", y="-params")
    assert isinstance(picture, Picture)
    cells = [*marks(picture)[Density].cells()]
    drawn = svg(picture)
    assert drawn.count("<rect") == len(cells) and 'opacity="1.00"' in drawn
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    [axes] = picture.figure().axes
    [mesh] = axes.collections
    shaded = mesh.get_array().reshape(-1, 4)[:, 3]
    assert sorted(round(float(own), 9) for own in shaded if own) == sorted(
        round(s, 9) for _, _, s in cells
    )
    picture.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            "--x macs --y parms",
            "unknown column 'parms'; the columns are H, params, macs, activations",
        ),
        ("", "unknown column 'operations'; the columns are H, params, macs, activations"),
        ("--x macs --y -macs", "both axes show macs"),
        (
            "--x macs --y H lenet5",
            "a scatter shows models, or the rows of a sweep; name one of them",
        ),
    ],
)
def test_what_is_refused(words: str, reason: str, tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    CliRunner().invoke(cli, ["sweep", "lenet5", "--vary", "H=32:40", "-o", str(target)])
    made = CliRunner().invoke(
        cli, ["plot", "scatter", "--sweep", str(target), "--terminal", *words.split()]
    )
    assert str(made.exception) == reason


def test_words_and_no_rows_are_refused() -> None:
    words = archcost.sweep("resnet50", {"block": ["basic", "bottleneck"], "input": [64, 96]})
    with pytest.raises(
        archcost.ArchcostError, match="block goes through words, which have no axis"
    ):
        cloud(words, "block", "macs")
    none = archcost.sweep("resnet50", {"input": [64, 96]}, where="macs <= 1K")
    with pytest.raises(archcost.ArchcostError, match="resnet50 has no rows"):
        cloud(none, "params", "macs")
