"""What the page on pipelines shows, and the hooks of pre-commit."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from test_action import ACTION, BROKEN, NET, RECORDED, ROOT, SECOND, WIDER, Repository


def shown(language: str, word: str) -> str:
    """Return the block of docs/ci.md in a language that holds a word."""
    text = (ROOT / "docs" / "ci.md").read_text("utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    [block] = [block for block in blocks if word in block]
    return block


def test_the_inputs_of_the_action_are_documented() -> None:
    text = (ROOT / "docs" / "ci.md").read_text("utf-8")
    assert [name for name in ACTION["inputs"] if f"| `{name}` |" not in text] == []
    [step] = [
        s for s in yaml.safe_load(shown("yaml", "OWNER"))["jobs"]["cost"]["steps"] if "with" in s
    ]
    assert set(step["with"]) <= set(ACTION["inputs"])


@pytest.mark.parametrize(
    ("files", "code"), [(WIDER, 1), ({"README.md": "changed"}, 0), (BROKEN, 2)]
)
def test_the_gitlab_job_runs(tmp_path: Path, files: dict[str, str | None], code: int) -> None:
    repository = Repository(tmp_path)
    repository.change(files)
    job = yaml.safe_load(shown("yaml", "merge_request_event"))["cost"]
    commands = [line for line in job["before_script"] if not line.startswith("pip ")] + job[
        "script"
    ]
    curl = repository.folder / "bin" / "curl"
    curl.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > "$GH_LOG"\n')
    curl.chmod(0o755)
    work = repository.folder / "work"
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(commands)],
        cwd=work, capture_output=True, text=True, check=False,
        env={
            "PATH": os.pathsep.join(
                [repository.archcost(), str(repository.folder / "bin"), os.environ["PATH"]]
            ),
            "HOME": str(repository.folder), "GH_LOG": str(repository.folder / "gh.log"),
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "COST_TOKEN": "t",
            "CI_API_V4_URL": "https://git.example.org/api/v4", "CI_PROJECT_ID": "3",
            "CI_MERGE_REQUEST_IID": "7",
        },
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert (
        "https://git.example.org/api/v4/projects/3/merge_requests/7/notes"
        in (repository.folder / "gh.log").read_text()
    )
    text = (work / "cost.md").read_text()
    if code == 1:
        _, same = (RECORDED / "wider_within_budget.md").read_text().split("### Since `main`")
        assert text.startswith("**2 of 2 budgets of 1 network broken**")
        assert text.strip().endswith(same.strip())
    assert ("12,239,808" in text) is (code == 1)


def test_the_settings_are_documented() -> None:
    from archcost.budget.budget import SETTINGS
    from archcost.figures import METRICS

    text = (ROOT / "docs" / "ci.md").read_text("utf-8")
    assert [name for name in SETTINGS if f"`{name}`" not in text] == []
    assert [name for name in METRICS if f"`{name.replace('_', ' ')}`" not in text] == []


def test_the_documented_budgets_are_read(tmp_path: Path) -> None:
    from archcost.budget.budget import read_budgets

    file = tmp_path / "archcost.toml"
    file.write_text(shown("toml", "[budgets]"))
    assert [budget.model for budget in read_budgets(file)] == [
        "resnet50",
        "specs/*.yaml",
        "specs/net.yaml",
    ]


HOOKS = {
    hook["id"]: hook
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
}
OTHERS = {
    ".github/workflows/ci.yml": "name: ci\non: push\njobs: {}\n",
    "action.yml": (ROOT / "action.yml").read_text("utf-8"),
    "train.yaml": "model: resnet\ninput: 224\nlayers: 50\n",
    "helm/values.yaml": "layers:\n  - {name: a, image: &x b}\n  - *x\n---\nsecond: 1\n",
    "mkdocs.yml": "plugins: !!python/name:a.b\n",
    "latin.yaml": "title: caf\xe9\n",
}


def hook(name: str, files: list[str]) -> tuple[int, str]:
    """Run a hook as pre-commit does: on the files that its patterns choose."""
    from click.testing import CliRunner

    from archcost.cli import cli

    own = HOOKS[name]
    chosen = [f for f in files if re.search(own.get("files", ""), f)]
    if "types" in own:
        assert own["types"] == ["yaml"]
        chosen = [f for f in chosen if f.endswith((".yaml", ".yml"))]
    if not chosen:
        return 0, ""
    passed = chosen if own.get("pass_filenames", True) else []
    done = CliRunner().invoke(cli, [*own["entry"].split()[1:], *passed])
    return done.exit_code, done.output


def test_the_hooks_run_anywhere_and_on_specs_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {**OTHERS, "net.yaml": NET, "models/deep/second.yml": SECOND}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1" if name == "latin.yaml" else "utf-8"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.y*ml")}
    monkeypatch.chdir(tmp_path)
    assert hook("archcost-lint", [*files]) == (0, "2 specs: nothing found\n")
    assert hook("archcost-fmt", [*files]) == (0, "")
    assert hook("archcost-lint", [*OTHERS]) == (0, "0 specs: nothing found\n")
    assert {path: path.read_bytes() for path in before} == before

    # a spec with a mistake is a spec
    spec = tmp_path / "models" / "deep" / "second.yml"
    spec.write_text(SECOND.replace("conv(16", "cnov(16").replace("stem", "  stem"))
    code, out = hook("archcost-lint", [*files])
    assert (code, "models/deep/second.yml:" in out) == (1, True)
    spec.write_text(SECOND.replace("conv(16, 3", "conv( 16,3"))
    assert hook("archcost-fmt", [*files]) == (0, "changed models/deep/second.yml\n")
    assert spec.read_text() == SECOND

    # budgets are held when a spec changes, wherever it is
    (tmp_path / "archcost.toml").write_text('[budgets]\n"models/*/*.yml" = "params <= 24K"\n')
    for changed in ("models/deep/second.yml", "archcost.toml", "net.txt"):
        assert hook("archcost-check", [changed])[0] == 1
    assert hook("archcost-check", ["main.py"]) == (0, "")


def test_every_spec_of_the_catalog_is_one() -> None:
    from archcost.spec.source import is_spec_file

    found = {path.name for path in (ROOT / "specs").glob("*.yaml") if not is_spec_file(path)}
    assert found == {"hardware.yaml"}


def test_the_hooks_are_documented() -> None:
    used = yaml.safe_load(shown("yaml", "hooks:"))["repos"][0]["hooks"]
    assert used == [{"id": name} for name in HOOKS]
