"""What was asked for by name and ran on nothing is no success: exit code 1, and the reason."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

import archcost
from archcost.api.proof import Verification
from archcost.cli import main
from archcost.contracts import contract as contract_of
from archcost.proofs import Check
from archcost.proofs.results import Outcome, ran_nowhere, results_record

SPEC = "name: {}\ninput: 3x8x8\nlayers:\n  - C: conv(2, 3)\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a network of one's own in it, as a spec and as a module."""
    for name in ("own", "darknet35"):
        (tmp_path / f"{name}.yaml").write_text(SPEC.format(name))
    (tmp_path / "own_module.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Conv2d(3, 2, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Done:
    exit_code: object
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, in this process."""

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["archcost", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code, *capsys.readouterr())

    return call


BY_NAME = "any network of it can be named, as in --against"
NO_REFERENCE = "no reference is named: --against torchvision, timm, pytorchcv, ..."
META = "outputs are compared, and the meta device computes none"
KEEPS = "the meta device keeps other tensors than a real one"


@pytest.mark.torch
@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            "own.yaml --checks reference --against timm",
            [f"nothing was compared with timm: no counterpart in timm; {BY_NAME} timm:NAME"],
        ),
        (
            "own.yaml --checks structure --against timm,torchvision,own_module:net",
            [
                f"nothing was compared with timm: no counterpart in timm; {BY_NAME} timm:NAME",
                "nothing was compared with torchvision: no counterpart in torchvision; "
                f"{BY_NAME} torchvision:NAME",
            ],
        ),
        ("own.yaml --checks reference", [f"the check reference compared nothing: {NO_REFERENCE}"]),
        (
            "own.yaml --device meta --against own_module:net",
            [f"nothing was compared with own_module:net: {META}"],
        ),
        (
            "own.yaml --device meta --checks structure,memory",
            [f"the check memory compared nothing: {KEEPS}"],
        ),
        (
            "own.yaml resnet18 --device meta --checks memory --jobs 1",
            [
                f"the check memory compared nothing: {KEEPS}",
                f"nothing of own was compared: {KEEPS}",
                f"nothing of resnet18 was compared: {KEEPS}",
            ],
        ),
    ],
)
def test_verify_fails_where_nothing_ran(
    here: Path, run: Run, arguments: str, lines: list[str]
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    done = run("verify", *arguments.split())
    assert done.exit_code == 1
    found = [line.split("; nearest by name")[0] for line in done.stderr.splitlines()]
    assert found == [f"archcost: {line}" for line in lines]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("models", "options"),
    [
        (["own.yaml"], {"checks": ["reference"], "against": ["timm"]}),
        (["own.yaml"], {"checks": ["structure"], "against": ["timm", "own_module:net"]}),
        (["own.yaml"], {"checks": ["reference"]}),
        (["own.yaml"], {"checks": ["structure", "memory"], "device": "meta"}),
        (["own.yaml", "darknet35.yaml"], {"checks": ["memory"], "device": "meta"}),
        (["own.yaml"], {"checks": ["structure"]}),
    ],
)
def test_the_library_says_what_the_command_says(
    here: Path, run: Run, models: list[str], options: dict[str, Any]
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    found = archcost.verify(*models, **options)
    listed = ((k, v if isinstance(v, str) else ",".join(v)) for k, v in options.items())
    given = [text for name, value in listed for text in (f"--{name}", value)]
    done = run("verify", *models, *given, "--jobs", "1", "--format", "json")
    said = json.loads(done.stdout)
    assert [f"archcost: {line}" for line in found.ran_nowhere] == done.stderr.splitlines()
    assert list(found.ran_nowhere) == found.to_dict()["ran_nowhere"] == said["ran_nowhere"]
    assert found.passed == said["passed"] == (done.exit_code == 0)
    assert found.passed == (options == {"checks": ["structure"]})
    assert all(line in repr(found) for line in found.ran_nowhere)


def test_a_family_of_which_nothing_was_compared_does_not_pass() -> None:
    """Neither a check nor a model is named."""
    skipped = Check("reference", "x", "", 0, 0, skipped="no package")
    [line] = ran_nowhere([outcome("a", "reference", skipped)])
    assert line == "nothing was compared: no package"
    assert ran_nowhere([outcome("a", "reference", Check("reference", "x", "", 1, 1))]) == []
    assert not results_record([outcome("a", "reference", skipped)], {}, False)["passed"]
    assert not Verification((), {}).passed


@pytest.mark.torch
@pytest.mark.parametrize(
    "arguments",
    [
        "own.yaml --checks structure --device meta",
        "own.yaml --checks reference --against own_module:net",
        "own.yaml --checks structure --against own_module:net",
        "own.yaml --device meta",  # memory compared nothing, but nobody asked for it
        "--family lenet --checks memory,structure --device meta --summary",
    ],
)
def test_verify_passes_where_all_that_was_asked_for_ran(
    here: Path, run: Run, arguments: str
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    done = run("verify", *arguments.split(), "--jobs", "1")
    if "memory" in arguments:
        assert done.exit_code == 1, done.output
        assert done.stderr == f"archcost: the check memory compared nothing: {KEEPS}\n"
    else:
        assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.torch
def test_json_and_junit_say_so_too(here: Path, run: Run) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    wanted = "own.yaml --checks reference --against timm --format json --junit x.xml"
    done = run("verify", *wanted.split())
    data = json.loads(done.stdout)
    jsonschema.validate(data, contract_of("verify"))
    assert done.exit_code == 1 and not data["passed"]
    [line] = data["ran_nowhere"]
    assert line.startswith("nothing was compared with timm: no counterpart in timm; ")
    [failure] = ElementTree.parse("x.xml").getroot().findall("testsuite/testcase/failure")
    assert failure.get("message") == line


@pytest.mark.reference
@pytest.mark.parametrize("collection", ["timm", "pytorchcv"])
def test_the_nearest_networks_of_a_collection_are_named(
    here: Path, run: Run, collection: str
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip(collection, reason=f"{collection} is not installed")
    done = run("verify", "darknet35.yaml", "--checks", "reference", "--against", collection)
    assert done.exit_code == 1
    assert f"; nearest by name: {collection}:darknet53, " in done.stderr


@pytest.mark.reference
def test_a_network_of_a_collection_is_compared_by_its_name(here: Path, run: Run) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("timm", reason="timm is not installed")
    done = run("verify", "resnet18", "--checks", "reference", "--against", "timm:resnet18")
    assert (done.exit_code, done.stderr) == (0, "")
    done = run("verify", "own.yaml", "--checks", "reference", "--against", "timm:darknet35")
    assert done.exit_code == 2
    assert done.stderr.startswith("archcost: unknown network of timm 'darknet35'; did you mean ")
    done = run("verify", "own.yaml", "--against", "tim:darknet53")
    assert done.stderr == "archcost: tim is not installed; did you mean 'timm'?\n"


def outcome(model: str, group: str, *checks: Check) -> Outcome:
    made = Outcome(model, group)
    for check in checks:
        made.add(check)
    return made


def test_a_reference_that_one_model_has_was_not_asked_for_in_vain() -> None:
    passed = Check("reference", "x", "", 1, 1, against="timm:resnet18")
    missing = Check("reference", "x", "", 0, 0, skipped="no counterpart", against="timm")
    outcomes = [outcome("a", "reference", passed), outcome("b", "reference", missing)]
    assert ran_nowhere(outcomes, ["reference"], ["timm", "timm:resnet18"]) == []
    assert ran_nowhere(outcomes, ["reference"], ["timm"], ["a", "b"]) == [
        "nothing of b was compared: no counterpart"
    ]
    # timm:resnet1 is not timm:resnet18
    assert ran_nowhere(outcomes, [], ["timm:resnet1"]) == ["nothing was compared with timm:resnet1"]


RECORD = {"schema": 1, "machine": {"device": "cpu", "name": "x"}, "measurements": []}


@pytest.mark.parametrize("rows", [[], [{"status": "out of memory"}]], ids=["none", "no memory"])
def test_a_record_without_measurements_proves_nothing(
    here: Path, run: Run, rows: list[dict[str, object]]
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    base = {"model": "lenet5", "input": [1, 32, 32], "batch": 1, "dtype": "float32"}
    record = RECORD | {"measurements": [base | row for row in rows]}
    (here / "r.json").write_text(json.dumps(record))
    done = run("verify", "--replay", "r.json")
    why = ": out of memory" if rows else ""
    assert done.stderr == f"archcost: the check replay compared nothing{why}\n"
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("verify --replay r.json resnet18", "--replay takes its models from the record; leave out MODEL"),
        ("verify --replay r.json --checks memory", "--replay takes its models from the record; leave out --checks"),
        ("verify --replay r.json --against timm", "--replay takes its models from the record; leave out --against"),
        ("verify --replay r.json --freeze x", "--replay takes its models from the record; leave out --freeze"),
        ("verify own.yaml --checks structure,,memory", "--checks takes names, separated by commas; one of them is empty"),
        ("verify own.yaml --against ,", "--against takes names, separated by commas; one of them is empty"),
        ("check --budget", "Option '--budget' requires an argument."),
        ("verify --family lenot", "unknown family 'lenot'; did you mean 'lenet'?"),
        ("list zzz", "unknown model 'zzz'"),
        ("lint", "Missing argument 'SPEC...'."),
        ("fmt --check", "Missing argument 'SPEC...'."),
        ("report", "name at least one model, or use --family or --all"),
        ("audit", "name at least one model, or use --all or --lectures"),
    ],
)  # fmt: skip
def test_asking_for_nothing_is_refused(here: Path, run: Run, arguments: str, reason: str) -> None:
    assert run(*arguments.split()) == Done(2, "", f"archcost: {reason}\n")


def test_a_budget_that_matches_no_model_is_refused(here: Path, run: Run) -> None:
    for pattern, kind in (("vggx*", "model"), ("specs/*.yaml", "file")):
        done = run("check", "--budget", f"{pattern}: params < 1M")
        assert done.exit_code == 2
        assert done.stderr.endswith(f": no {kind} matches '{pattern}'\n")


def test_an_audit_of_no_figures_is_no_success(here: Path, run: Run) -> None:
    done = run("audit", "own.yaml")
    assert done.exit_code == 1
    assert done.stderr == "archcost: nothing was audited: no published figures of own.yaml\n"
    assert run("audit", "own.yaml", "lenet5").exit_code == 0
