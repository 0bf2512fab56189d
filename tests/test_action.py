"""The GitHub Action, its own steps run with bash as a runner does, on a repository with a history.

The base branch holds a small network; branches change it. ``gh`` is a script that keeps what it is
given, ``archcost`` is this checkout. ``python tests/test_action.py`` writes the comments anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from archcost.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "tests" / "recorded" / "comments"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))

# MACs: 32·32·16·3·9 + 32·32·32·16·9 + 16·16·64·32·9 + 10·64 = 9,880,192, with 96 channels in
# stage2 12,239,808; params: (27 + 1)·16 + (144 + 1)·32 + (288 + 1)·64 + (64 + 1)·10 = 24,234, then
# 33,802
NET = """\
name: net
input: 3x32x32
layers:
  - stem: conv(16, 3, padding=1)
  - stage1:
      - conv(32, 3, padding=1)
      - relu
  - stage2:
      - maxpool(2)
      - conv(64, 3, padding=1)
      - relu
  - head:
      - global_avgpool
      - flatten
      - linear(10)
"""
BUDGETS = """\
baseline = "origin/main"
[budgets]
"specs/*.yaml" = ["macs <= +5%", "params <= 30K"]
"""
GH = """\
#!/bin/bash
# stands for GitHub's own client: the list of comments, or what would be sent
printf '%s\\n' "$*" >> "$GH_LOG"
case "$*" in
  *--jq*) cat "$GH_COMMENTS" ;;
  *body=@*) last="${*: -1}"; cat "${last#body=@}" > "$GH_SENT" ;;
esac
"""


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


@dataclass
class Repository:
    """A repository on a server, a clone of it at a branch, and a runner's folders."""

    folder: Path
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    log: str = ""

    def __post_init__(self) -> None:
        for name in ("server", "bin", "temp"):
            (self.folder / name).mkdir()
        self.scripts()
        server = self.folder / "server"
        git(server, "init", "--quiet")
        self.write(server, {"specs/net.yaml": NET, "archcost.toml": BUDGETS, "README.md": "base"})

    def scripts(self) -> None:
        own = f'#!/bin/bash\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m archcost "$@"\n'
        for name, text in (("archcost", own), ("gh", GH)):
            path = self.folder / "bin" / name
            path.write_text(text)
            path.chmod(0o755)
        (self.folder / "earlier").write_text("")

    def write(self, folder: Path, files: dict[str, str | None]) -> None:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_text(text, encoding="utf-8")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "A change")

    def change(self, files: dict[str, str | None]) -> None:
        """Commit a change on a branch of a clone, as a pull request checked out."""
        git(self.folder, "clone", "--quiet", "--branch", "main", "server", "work")
        work = self.folder / "work"
        git(work, "checkout", "--quiet", "-b", "change")
        self.write(work, files)
        git(work, "update-ref", "-d", "refs/remotes/origin/main")  # the action fetches it

    def run(self, **inputs: str) -> int:
        """Run the steps of the action; return the exit code of the last one."""
        defaults = {name: entry.get("default", "") for name, entry in ACTION["inputs"].items()}
        context = {
            "github.base_ref": "main", "github.token": "t", "github.event.pull_request.number": "7",
        }  # fmt: skip
        for name, value in {**defaults, **inputs}.items():
            context[f"inputs.{name}"] = self.fill(value, context)
        code = 0
        for step in ACTION["runs"]["steps"]:
            if "run" not in step or step["name"] == "Install archcost":
                continue
            for name, found in self.outputs.items():
                context |= {f"steps.{name}.outputs.{key}": value for key, value in found.items()}
            if not holds(step.get("if", "true"), context):
                continue
            code = self.step(step, context)
            if code and not step.get("continue-on-error"):
                break
        return code

    def fill(self, text: str, context: dict[str, str]) -> str:
        return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda m: context.get(m[1], ""), text)

    def step(self, step: dict[str, Any], context: dict[str, str]) -> int:
        assert "${{" not in step["run"], "a value in a script is code; it belongs into env"
        script, output = self.folder / "temp" / "script.sh", self.folder / "temp" / "output"
        script.write_text(step["run"])
        output.write_text("")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
            cwd=self.folder / "work", capture_output=True, text=True, check=False,
            env={
                "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(self.folder), "LANG": "C.UTF-8",
                "GITHUB_OUTPUT": str(output), "GITHUB_REPOSITORY": "team/nets",
                "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
                "GITHUB_ACTION_PATH": str(ROOT), "RUNNER_TEMP": str(self.folder / "temp"),
                "GH_LOG": str(self.folder / "gh.log"), "GH_SENT": str(self.folder / "sent.md"),
                "GH_COMMENTS": str(self.folder / "earlier"),
                **{k: self.fill(str(v), context) for k, v in step.get("env", {}).items()},
            },
        )  # fmt: skip
        self.log += done.stdout + done.stderr
        pairs = [line.split("=", 1) for line in output.read_text().splitlines()]
        self.outputs[step.get("id", "")] = dict(pairs)
        return done.returncode

    @property
    def comment(self) -> str:
        return (self.folder / "sent.md").read_text("utf-8")


def holds(condition: str, context: dict[str, str]) -> bool:
    """Evaluate a step's condition: names, texts, ``==``, ``!=`` and ``&&``."""

    def value(text: str) -> str:
        text = text.strip()
        return text[1:-1] if text.startswith("'") else context.get(text, text)

    for part in condition.split("&&"):
        left, sign, right = [*re.split(r"(==|!=)", part), "!=", "''"][:3]  # a name alone: not empty
        if (value(left) == value(right)) != (sign == "=="):
            return False
    return True


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


WIDER = {"specs/net.yaml": NET.replace("conv(64, 3", "conv(96, 3")}
BROKEN = {"specs/net.yaml": NET.replace("conv(64, 3", "conv(64, 33")}
SECOND = NET.replace("name: net", "name: second")
CASES: dict[str, tuple[dict[str, str | None], dict[str, str], int]] = {
    "wider": (WIDER, {"fail-on": "macs > +5%\nlayers > +0%"}, 1),
    "wider_within_budget": (WIDER, {"config": "none"}, 0),
    "words_only": ({"README.md": "changed"}, {}, 0),
    "new_and_removed": (
        {"specs/net.yaml": None, "specs/second.yaml": SECOND},
        {"config": "none"},
        0,
    ),
    "unreadable": (BROKEN, {}, 2),
    "new_and_allowed": (
        {"specs/second.yaml": SECOND, "archcost.toml": "allow_new = true\n" + BUDGETS},
        {},
        0,
    ),
    "no_baseline": ({"specs/second.yaml": SECOND}, {}, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_the_action_comments_and_exits(repository: Repository, case: str) -> None:
    files, inputs, code = CASES[case]
    repository.change(files)

    assert repository.run(**inputs) == code, repository.log
    assert repository.outputs["conclude"]["status"] == str(code)
    assert repository.comment == (RECORDED / f"{case}.md").read_text("utf-8")
    assert (repository.folder / "summary.md").read_text("utf-8") == repository.comment
    assert "POST repos/team/nets/issues/7/comments" in (repository.folder / "gh.log").read_text()


def test_the_figures_of_the_comment_are_those_derived_by_hand(repository: Repository) -> None:
    repository.change(WIDER)
    repository.run()
    rows = [[cell.strip() for cell in line.split("|")] for line in repository.comment.splitlines()]
    cells = {row[1]: row[2:5] for row in rows if len(row) == 7}
    assert cells["macs"] == ["9,880,192", "12,239,808", "2,359,616"]
    assert cells["params"] == ["24,234", "33,802", "9,568"]
    [params] = [row for row in rows if row[1:3] == ["specs/net.yaml", "params <= 30K"]]
    assert params[4:8] == ["30,000", "33,802", "3,802", "12.67%"]


def test_an_earlier_comment_is_replaced(repository: Repository) -> None:
    (repository.folder / "earlier").write_text("41\n42\n")
    repository.change({"README.md": "changed"})
    assert repository.run() == 0
    log = (repository.folder / "gh.log").read_text()
    assert "PATCH repos/team/nets/issues/comments/41" in log
    assert "POST" not in log


def test_without_a_pull_request_budgets_are_checked(repository: Repository) -> None:
    repository.change(WIDER)
    (repository.folder / "work" / "archcost.toml").write_text(
        '[budgets]\n"specs/net.yaml" = "params <= 30K"'
    )
    assert repository.run(base="", comment="false") == 1
    assert not (repository.folder / "sent.md").exists()
    assert "1 of 1 budget of 1 network broken" in (repository.folder / "summary.md").read_text()


# What the page on pipelines shows.


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
def test_the_gitlab_job_runs(
    repository: Repository, files: dict[str, str | None], code: int
) -> None:
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
            "PATH": f"{repository.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
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
    from archcost.budget.metrics import METRICS

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


def test_the_hooks_call_commands() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert [hook["entry"].split() for hook in hooks] == [
        ["archcost", name] for name in ("fmt", "lint", "check")
    ]
    used = yaml.safe_load(shown("yaml", "hooks:"))["repos"][0]["hooks"]
    assert used == [{"id": hook["id"]} for hook in hooks]


@pytest.mark.skipif("report" not in COMMANDS, reason="there is no command report")
def test_the_report_goes_to_the_summary(repository: Repository) -> None:
    repository.change({"README.md": "changed"})
    assert repository.run(report="specs/net.yaml") == 0, repository.log
    added = (repository.folder / "summary.md").read_text().removeprefix(repository.comment)
    assert "9,880,192" in added


def test_the_output_can_be_machine_read(repository: Repository) -> None:
    repository.change(WIDER)
    repository.run()
    done = subprocess.run(
        [repository.folder / "bin" / "archcost", "diff", "origin/main", "specs/net.yaml", "--format", "json"],
        cwd=repository.folder / "work", capture_output=True, text=True, check=True,
    )  # fmt: skip
    [network] = json.loads(done.stdout)["networks"]
    changed = [layer["new"]["name"] for layer in network["layers"]]
    assert changed == [
        "stage2.conv1",
        "stage2.relu1",
        "head.global_avgpool1",
        "head.flatten1",
        "head.linear1",
    ]


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    for case, (files, inputs, _) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            made = Repository(Path(folder))
            made.change(files)
            made.run(**inputs)
            (RECORDED / f"{case}.md").write_text(made.comment, "utf-8")
