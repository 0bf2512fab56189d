"""Budgets: the grammar of conditions, where budgets stand, what they say, and what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
from test_cli import refused, run

from archcost import load
from archcost.budget.condition import parse_condition
from archcost.contracts import contract as contract_of
from archcost.figures import METRICS, Subject, largest_shares
from archcost.hardware import find_device
from archcost.performance.bounds import hard_bound
from archcost.setting import Setting
from archcost.spec.expression import ExpressionError

SMALL = "name: small\ninput: 3x32x32\nknobs: {width: 8}\nlayers:\n  - a: conv(width, 3, padding=1)\n  - b: conv(2 * width, 3, padding=1)\n"


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose main holds specs/net.yaml; the working tree has a wider one."""
    (tmp_path / "specs").mkdir()
    spec = tmp_path / "specs" / "net.yaml"
    spec.write_text(SMALL)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Start")
    spec.write_text(SMALL.replace("width: 8", "width: 12"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Conditions.


@pytest.mark.parametrize(
    ("text", "value", "base", "holds"),
    [
        ("macs <= 300M", 300_000_000, None, True),
        ("macs <= 300M", 300_000_001, None, False),
        ("macs < 300M", 300_000_000, None, False),
        ("layers == 50", 50, None, True),
        ("receptive field >= 224", 223, None, False),
        ("inference-peak<=2GiB", 2**31, None, True),
        ("size <= 3GB", 3 * 10**9 + 1, None, False),
        # 2 % of 50 is one
        ("params <= +2% of main", 51, 50, True),
        ("params <= +2% of main", 52, 50, False),
        ("params <= -10%", 90, 100, True),
        ("params <= −10%", 91, 100, False),
        ("params <= +3 of main", 53, 50, True),
        ("params <= 80% of vgg16", 80, 100, True),
        ("macs > +5%", 105, 100, False),
        # 5 % of 101 is 5.05, so that 106 is within and 107 is not
        ("macs > +5%", 106, 101, False),
        ("macs > +5%", 107, 101, True),
    ],
)
def test_a_condition_is_exact_at_its_edge(
    text: str, value: int, base: int | None, holds: bool
) -> None:
    assert parse_condition(text).holds(value, base) is holds


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("macs <= +5%", 106),
        ("macs < +5%", 106),
        ("macs >= +5%", 107),
        ("macs > +5%", 107),
        ("macs < 7", 6),
    ],
)
def test_what_is_allowed_is_a_whole_number(text: str, allowed: int) -> None:
    condition = parse_condition(text)
    assert condition.allowed(101) == allowed
    assert condition.holds(allowed, 101)
    worse = 1 if condition.sign in ("<", "<=") else -1
    assert not condition.holds(allowed + worse, 101)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("", 0, "a condition starts with a figure, as in `macs <= 300M`"),
        ("mcas <= 3", 0, "unknown metric 'mcas'; did you mean 'macs'?"),
        ("macs =< 3", 5, "a comparison is expected: <=, <, >=, > or ==; got '=< 3'"),
        ("macs <== 3", 5, "a comparison is expected: <=, <, >=, > or ==; got '<== 3'"),
        ("macs <= ", 8, "a number is expected, as in 300M, 2GiB or +2%"),
        ("macs <= much", 8, "a number is expected, as in 300M, 2GiB or +2%; got 'much'"),
        (
            "macs <= 1,5M",
            8,
            "a comma separates groups of three digits, which '1,5M' does not have; for a decimal comma, write 1.5M",
        ),
        ("macs <= 300MB", 8, "this figure is a count, not bytes; got '300MB'"),
        ("size <= 3M", 8, "a size is written as 3GB (10^9) or 3GiB (2^30); got '3M'"),
        ("macs <= 3M of main", 14, "only a change such as +2% or +10K has a baseline; got 'main'"),
        ("macs <= +3% of", 14, "`of` is followed by a revision, a file or a model"),
        ("macs <= +3% of main or so", 20, "the condition ends before this; got 'or so'"),
        ("batch >= 3", 6, "batch needs a device, as in `batch on v100 >= 64`; got '>= 3'"),
        ("batch on v10 >= 3", 9, "unknown GPU 'v10'; did you mean 'v100'?"),
        ("batch on", 8, "`on` is followed by a GPU or a memory size"),
        ("hard bound on 16GB <= 3ms", 14, "unknown GPU '16GB'"),
        ("hard bound on v100 <= 3", 22, "a time is written as 5ms; got '3'"),
        ("macs on v100 <= 3", 8, "macs does not depend on a device"),
    ],
)
def test_a_bad_condition_is_refused_at_its_place(text: str, place: int, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_condition(text)
    assert (caught.value.offset, str(caught.value)) == (place, reason)


def test_every_metric_has_a_value_and_its_dearest_layers() -> None:
    subject = Subject(load("resnet18"))
    values = {name: metric.value(subject, "v100") for name, metric in METRICS.items()}
    # batch, saved, peaks and bounds are held against PyTorch and measurements elsewhere
    assert values["params"] == 11_689_512
    assert values["size"] == 4 * 11_689_512
    assert values["flops"] == values["counted"] == 2 * values["macs"] == 2 * 1_814_073_344
    assert values["layers"] == 18
    assert values["inference_batch"] > values["batch"] > 1
    assert (
        values["hard_bound"]
        == hard_bound(load("resnet18"), Setting().on(find_device("v100"))).seconds
    )
    for name, metric in METRICS.items():
        shares = largest_shares(metric, subject, "v100")
        assert [share for _, share in shares] == sorted((s for _, s in shares), reverse=True)
        assert len(shares) == (0 if name == "layers" else 3)
    # 512·512·3·3, and 64·3·7·7 multiplied by 112·112 outputs
    assert largest_shares(METRICS["params"], subject)[0] == ("layer4.0.body.conv2", 2_359_296)
    assert largest_shares(METRICS["macs"], subject)[0] == ("stem.conv1", 118_013_952)


# Where budgets stand.


def test_a_budget_that_holds_is_one_line() -> None:
    assert run("check", "--budget", "resnet50: macs <= 4.2G") == (
        "1 budget of 1 network: all hold\n",
        "",
    )


def test_a_broken_budget_says_by_how_much_and_what_costs_most() -> None:
    out, _ = run("check", "--budget", "resnet18: macs <= 1.8G", "--format", "json", code=1)
    data = json.loads(out)
    contract = contract_of("check")
    jsonschema.Draft202012Validator.check_schema(contract)
    jsonschema.validate(data, contract)
    [budget] = data["budgets"]
    assert (budget["value"], budget["allowed"], budget["over"]) == (
        1_814_073_344,
        1_800_000_000,
        14_073_344,
    )
    # 3x3 over 64 channels on 56x56 outputs
    assert budget["costs_most"][0] == {"layer": "stem.conv1", "value": 118_013_952}
    assert budget["costs_most"][1:] == [
        {"layer": f"layer1.0.body.conv{i}", "value": 56 * 56 * 64 * 64 * 9} for i in (1, 2)
    ]
    table = run("check", "--budget", "resnet18: macs <= 1.8G", code=1)[0]
    assert "1 of 1 budget of 1 network broken" in table
    assert (
        "14,073,344   0.78%  stem.conv1 118M, layer1.0.body.conv1 115.6M, layer1.0.body.conv2 115.6M"
        in table
    )


def test_a_file_of_budgets(tmp_path: Path) -> None:
    spec = tmp_path / "specs" / "net.yaml"
    spec.parent.mkdir()
    spec.write_text(SMALL)
    file = tmp_path / "budgets.toml"
    # a: 9·3·w + w, b: 9·w·2w + 2w: 1,392 for w = 8, 11,088 for w = 24
    file.write_text(
        'baseline = "specs/net.yaml"\n[budgets]\n"specs/*.yaml" = ["params <= 1392", "params <= +0%"]\n'
        '[budgets."specs/net.yaml"]\nrequire = "params <= 1392"\nset = {width = 24}\n'
    )
    data = json.loads(run("check", str(file), "--format", "json", code=1)[0])
    assert [(b["value"], b["holds"]) for b in data["budgets"]] == [
        (1392, True), (1392, True), (24 * 27 + 24 + 9 * 24 * 48 + 48, False),
    ]  # fmt: skip
    assert {b["model"] for b in data["budgets"]} == {"specs/net.yaml"}


@pytest.mark.parametrize(
    ("name", "head"), [("archcost.toml", ""), ("pyproject.toml", "[tool.black]\n[tool.archcost.")]
)
def test_the_nearest_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, head: str
) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "a" / name).write_text((head or "[") + 'budgets]\nlenet5 = "params <= 1"\n')
    monkeypatch.chdir(inner)
    assert "lenet5" in run("check", code=1)[0]


def test_settings_reach_the_figures(tmp_path: Path) -> None:
    file = tmp_path / "archcost.toml"
    file.write_text('batch = 2\n[budgets]\nresnet18 = "macs == 3628146688"\n')  # 2 x 1,814,073,344
    run("check", str(file))
    run("check", str(file), "--batch", "1", code=1)


def test_a_mode_reaches_the_peaks(tmp_path: Path) -> None:
    file = tmp_path / "archcost.toml"
    file.write_text('[budgets]\nresnet18 = "training peak <= +0% of resnet18"\n')
    [plain] = json.loads(run("check", str(file), "--format", "json")[0])["budgets"]
    file.write_text('amp = "bf16"\n' + file.read_text())
    [amp] = json.loads(run("check", str(file), "--format", "json")[0])["budgets"]
    memory = json.loads(run("memory", "resnet18", "--amp", "bf16", "--format", "json")[0])
    assert amp["value"] == memory["training"]["peak"]["bytes"] != plain["value"]
    data = json.loads(run("diff", "resnet18", "resnet34", "--amp", "bf16", "--format", "json")[0])
    peaks = {row["metric"]: row["old"] for row in data["networks"][0]["figures"]}
    assert peaks["training_peak"] == amp["value"]


def test_a_bound_on_time() -> None:
    out = run(
        "check", "--budget", "resnet50: hard bound on v100 <= 1ms", "--all", "--format", "json"
    )[0]
    [budget] = json.loads(out)["budgets"]
    found = json.loads(run("roofline", "resnet50", "--gpu", "v100", "--format", "json")[0])
    assert budget["value"] == found["hard_bound"]["seconds"]
    assert budget["allowed"] == 0.001
    run("check", "--budget", "resnet50: hard bound on v100 <= 1us", code=1)


def test_every_variant_of_a_family_is_held() -> None:
    out, _ = run("check", "--budget", "specs/squeezenet.yaml: params <= 1240K", code=1)
    assert "1 of 2 budgets of 2 networks broken" in out
    assert "specs/squeezenet.yaml::squeezenet1_0" in out


# Baselines.


def test_a_revision_is_a_baseline(history: Path) -> None:
    # width 8 to 12: 1,392 to 2,952 parameters, +112.07 %; +112 % is 2,951.04
    out, _ = run(
        "check", "--budget", "specs/net.yaml: params <= +112% of main", "--format", "json", code=1
    )
    [budget] = json.loads(out)["budgets"]
    assert (budget["baseline_value"], budget["value"], budget["allowed"]) == (1392, 2952, 2951)
    for baseline in ("main", "HEAD", "main:specs/net.yaml"):
        run("check", "--budget", "specs/net.yaml: params <= +113%", "--baseline", baseline)
        run("check", "--budget", "specs/net.yaml: params <= +112%", "--baseline", baseline, code=1)


def test_every_command_reads_a_revision(history: Path) -> None:
    out, _ = run("compare", "main:specs/net.yaml", "specs/net.yaml", "--format", "json")
    assert [model["totals"]["params"] for model in json.loads(out)["models"]] == [1392, 2952]


def test_a_new_file_is_refused_unless_allowed(history: Path) -> None:
    (history / "specs" / "new.yaml").write_text(SMALL)
    budgets = '[budgets]\n"specs/*.yaml" = "params <= +200% of main"\n'
    (history / "archcost.toml").write_text(budgets)
    assert refused("check") == "specs/new.yaml: main has no file new.yaml; did you mean 'net.yaml'?"
    (history / "archcost.toml").write_text("allow_new = true\n" + budgets)
    assert run("check")[0] == "1 budget of 1 network: all hold; new, not compared: specs/new.yaml\n"


@pytest.mark.parametrize(
    ("one_branch", "revision", "command"),
    [
        (False, "origin/main", "git fetch --depth=1 origin main"),
        (True, "origin/main", "git fetch --depth=1 origin main:refs/remotes/origin/main"),
        (True, "main", "git fetch --depth=1 origin main:main"),
        (True, "HEAD~1", "git fetch --unshallow"),
    ],
)
def test_a_shallow_clone_is_told_what_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_branch: bool, revision: str, command: str
) -> None:
    server, work = tmp_path / "server", tmp_path / "work"
    (server / "specs").mkdir(parents=True)
    spec = server / "specs" / "net.yaml"
    git(server, "init", "--quiet", "--initial-branch=main")
    for width in (8, 12):
        spec.write_text(SMALL.replace("width: 8", f"width: {width}"))
        git(server, "add", ".")
        git(server, "commit", "--quiet", "-m", "A step")
        if width == 8:
            git(server, "branch", "change")
    git(server, "checkout", "--quiet", "change")
    spec.write_text(SMALL.replace("width: 8", "width: 16"))
    git(server, "commit", "--quiet", "-a", "-m", "A change")
    one = ["--single-branch"] * one_branch
    git(tmp_path, "clone", "--quiet", "--depth=1", *one, f"file://{server}", "work")
    if not one_branch:  # as a CI server fetches one commit of a repository
        git(work, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    monkeypatch.chdir(work)
    assert refused("diff", revision, "specs/net.yaml") == (
        f"no git revision, file or model is called {revision!r}; "
        f"this clone is shallow: `{command}` brings it"
    )
    git(work, *command.split()[1:])
    assert run("diff", revision, "specs/net.yaml")[0].startswith(
        f"specs/net.yaml since {revision}: "
    )


# Broken input.


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--budget", "resnet50: mcas <= 3"], "--budget 'resnet50: mcas <= 3':1:11: unknown metric 'mcas'; did you mean 'macs'?"),
        (["--budget", "resnet50 macs <= 3"], "--budget 'resnet50 macs <= 3':1:1: a budget is written as `resnet50: macs <= 4.2G`"),
        (["--budget", "resnte50: macs <= 3"], "unknown model 'resnte50'; did you mean 'resnet50'?"),
        (["--budget", "resnet50: macs <= +3%"], "--budget 'resnet50: macs <= +3%':1:22: there is no baseline: write `of main`, or set baseline"),
        (["--budget", "resnet50: macs <= +3% of main"], "resnet50 is a model of the catalog, which has no git revision 'main'; compare it with a model, or name a file"),
        (["--budget", "specs/net.yaml: macs <= +3% of mian"], "no git revision, file or model is called 'mian'; did you mean 'main'?"),
        (["--budget", "specs/net.yaml: macs <= +3% of main:specs/nte.yaml"], "main has no file specs/nte.yaml; did you mean 'specs/net.yaml'?"),
        (["--budget", "specs/net.yaml: batch on grace >= 3"], "grace is a CPU, which is --device cpu"),
        (["--budget", "specs/net.yaml: macs <= +3% of --output=x"], "'--output=x' is not a git revision"),
        (["--budget", "specs/n*t.txt: macs <= 3"], "--budget 'specs/n*t.txt: macs <= 3':1:1: no file matches 'specs/n*t.txt'"),
        (["no.toml"], "no.toml: No such file or directory"),
        ([], "no budgets: write archcost.toml, a [tool.archcost] table in pyproject.toml, or use --budget"),
        (["--budget", "lenet5: params <= 1", "-o", "no/x.txt"], "cannot write no/x.txt: No such file or directory"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(history: Path, arguments: list[str], reason: str) -> None:
    assert refused("check", *arguments) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[budgets]\nresnet50 = macs\n", "2:12: Invalid value"),
        ("[budgets\n", "1:9: Expected ']' at the end of a table declaration"),
        ("", " there is no [budgets] table with budgets"),
        ("budgets = 3", " there is no [budgets] table with budgets"),
        ("bach = 2\n[budgets]\nresnet50 = 'macs <= 3'", "1:1: unknown key 'bach'; did you mean 'batch'?"),
        ("batch = 'x'\n[budgets]\nresnet50 = 'macs <= 3'", "1:1: batch must be a whole number"),
        ("batch = true\n[budgets]\nresnet50 = 'macs <= 3'", "1:1: batch must be a whole number"),
        ("[budgets]\nresnet50 = 3", "2:1: resnet50: a budget is \"macs <= 300M\" or a list"),
        ("[budgets]\nresnet50 = []", "2:1: resnet50: a budget is \"macs <= 300M\" or a list"),
        ("[budgets]\nresnet50 = ['params <= 3M',\n  'mcas <= 3']", "3:4: unknown metric 'mcas'; did you mean 'macs'?"),
        ("[budgets]\nresnet50 = 'macs <= 3 M B'", "2:25: the condition ends before this; got 'B'"),
        ("[budgets.resnet50]\nrequire = 'macs <= 3'\nste = 1", "3:1: unknown key 'ste'; did you mean 'set'?"),
        ("[budgets]\nresnet50 = \"macs \\u003c= x\"", " 'macs <= x', character 9: a number is expected, as in 300M, 2GiB or +2%; got 'x'"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_the_place(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "archcost.toml"
    file.write_text(text)
    assert refused("check", str(file)) == f"{file}:{reason}"


def test_without_a_repository_or_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    text = "net.yaml: macs <= +3% of main"
    assert refused("check", "--budget", text).startswith("git: fatal: not a git repository")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refused("check", "--budget", text) == "git cannot be run: No such file or directory"
