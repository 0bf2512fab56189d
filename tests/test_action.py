"""The GitHub Action, its own steps run with bash as a runner does, on a repository with a history.

The base branch holds a small network; branches change it. ``gh`` is a script that keeps what it is
given; what would be installed is this checkout. ``python tests/test_action.py`` writes the comments anew.
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
import json, os, re, sys
# stands for GitHub's own client: it keeps the comments in a file, or refuses to write
words = sys.argv[1:]
with open(os.environ["GH_LOG"], "a") as log:
    log.write(" ".join(words) + "\\n")
path = os.environ["GH_COMMENTS"]
comments = json.load(open(path))
if "--jq" in words:
    marker = re.search(r'startswith\\("(.*)"\\)', words[words.index("--jq") + 1])[1]
    print("\\n".join(str(i) for i, body in comments.items() if body.startswith(marker)))
elif os.environ["GH_REFUSES"]:
    sys.exit("gh: Resource not accessible by integration (HTTP 403)\\n100% sure")
else:
    where = words[words.index("--method") + 2]
    body = open(words[-1].removeprefix("body=@"), encoding="utf-8").read()
    if len(body) > 65536:
        sys.exit("gh: Body is too long (maximum is 65536 characters) (HTTP 422)")
    comments[where.rpartition("/")[2] if "PATCH" in words else str(100 + len(comments))] = body
    json.dump(comments, open(path, "w"))
"""
PYTHON = """\
#!/bin/bash
# stands for the Python of setup-python: makes an environment that holds this checkout
[ "$1 $2" = "-m venv" ] || { echo "only for a venv: $*" >&2; exit 9; }
mkdir -p "$3/bin"
cat > "$3/bin/python" <<'END'
#!/bin/bash
[ "$1 $2" = "-I -m" ] || { echo "not alone: $*" >&2; exit 9; }
shift
if [ "$2" = pip ]; then echo "$0 $*" >> "$PIP_LOG"; else PYTHONPATH="ROOT" exec "REAL" "$@"; fi
END
chmod +x "$3/bin/python"
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
    refuses: str = ""

    def __post_init__(self) -> None:
        for name in ("server", "bin", "temp"):
            (self.folder / name).mkdir()
        self.scripts()
        server = self.folder / "server"
        git(server, "init", "--quiet")
        self.write(server, {"specs/net.yaml": NET, "archcost.toml": BUDGETS, "README.md": "base"})

    def scripts(self) -> None:
        real = PYTHON.replace("ROOT", str(ROOT)).replace("REAL", sys.executable)
        self.script("bin/gh", f"#!{sys.executable}\n{GH}")
        self.script("bin/archcost", "#!/bin/bash\nexit 9")  # what the job has is not called
        self.script("python", real)
        self.comments = {}

    def script(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def archcost(self) -> str:
        """Make the command for a job without the action; return its folder."""
        own = f'#!/bin/bash\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m archcost "$@"\n'
        self.script("own/archcost", own)
        return str(self.folder / "own")

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

    def change_more(self, files: dict[str, str | None]) -> None:
        self.write(self.folder / "work", files)

    def run(self, refuses: str = "", **inputs: str) -> int:
        """Run the steps of the action; return the exit code of the last one."""
        self.refuses, self.outputs = refuses, {}
        defaults = {name: entry.get("default", "") for name, entry in ACTION["inputs"].items()}
        context = {
            "github.base_ref": "main", "github.token": "t", "github.event.pull_request.number": "7",
            "steps.python.outputs.python-path": str(self.folder / "python"),
        }  # fmt: skip
        for name, value in {**defaults, **inputs}.items():
            context[f"inputs.{name}"] = self.fill(value, context)
        code = 0
        for step in ACTION["runs"]["steps"]:
            if "run" not in step:
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
                "GITHUB_SERVER_URL": "https://hub", "GITHUB_RUN_ID": "5", "PYTHONPATH": "/no",
                "GH_LOG": str(self.folder / "gh.log"), "GH_REFUSES": self.refuses,
                "GH_COMMENTS": str(self.folder / "comments.json"),
                "PIP_LOG": str(self.folder / "pip.log"),
                **{k: self.fill(str(v), context) for k, v in step.get("env", {}).items()},
            },
        )  # fmt: skip
        self.log += done.stdout + done.stderr
        pairs = [line.split("=", 1) for line in output.read_text().splitlines()]
        self.outputs[step.get("id", "")] = dict(pairs)
        return done.returncode

    @property
    def comments(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / "comments.json").read_text("utf-8"))
        return found

    @comments.setter
    def comments(self, found: dict[str, str]) -> None:
        (self.folder / "comments.json").write_text(json.dumps(found))

    @property
    def comment(self) -> str:
        """The only comment."""
        [body] = self.comments.values()
        return body

    @property
    def summary(self) -> str:
        return (self.folder / "summary.md").read_text("utf-8")


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
    assert repository.summary == repository.comment
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
    before = {"40": "a person's", "41": "<!-- archcost -->\nold", "42": "<!-- archcost: a -->\nold"}
    repository.comments = before
    repository.change({"README.md": "changed"})
    assert repository.run() == 0
    log = (repository.folder / "gh.log").read_text()
    assert "PATCH repos/team/nets/issues/comments/41" in log
    assert "POST" not in log
    assert {**repository.comments, "41": before["41"]} == before
    assert "No spec changed." in repository.comments["41"]


def test_two_uses_have_a_comment_each(repository: Repository) -> None:
    repository.change(WIDER)
    for name, config, code in (("budgets", "", 1), ("the change only", "none", 0)) * 2:
        assert repository.run(name=name, config=config) == code, repository.log
    first, second = repository.comments.values()
    assert first.startswith("<!-- archcost: budgets -->\n## What the networks cost: budgets\n")
    assert second.startswith("<!-- archcost: the change only -->\n")
    # neither sees what the other found
    assert ("networks broken" in first, "networks broken" in second) == (False, False)
    assert ("2 of 2 budgets" in first, "2 of 2 budgets" in second) == (True, False)


@pytest.mark.parametrize("name", ['a" or true)', "a-->b", "a\nb", "$(ls)"])
def test_a_name_is_plain(repository: Repository, name: str) -> None:
    repository.change({"README.md": "changed"})
    assert repository.run(name=name) == 2
    assert "::error title=archcost::name: letters, digits, spaces and . _ - only" in repository.log
    assert repository.comments == {}


def test_a_comment_that_is_refused_is_a_warning(repository: Repository) -> None:
    repository.change({"README.md": "changed"})
    assert repository.run(refuses="yes") == 0
    [warning] = [line for line in repository.log.splitlines() if line.startswith("::")]
    assert warning == (
        "::warning title=archcost::No comment: gh: Resource not accessible by integration (HTTP 403)"
        " 100%25 sure The summary of the job has it."
    )
    assert "No spec changed." in repository.summary
    repository.change_more(WIDER)
    assert repository.run(refuses="yes") == 1  # still what the budgets say


def test_it_has_an_environment_of_its_own(repository: Repository) -> None:
    repository.change({"README.md": "changed"})
    assert repository.run() == 0, repository.log
    [installed] = (repository.folder / "pip.log").read_text().splitlines()
    where, rest = installed.split(" ", 1)
    assert Path(where).is_relative_to(repository.folder / "temp")
    assert rest.split()[-1] == str(ROOT)
    [python] = [step for step in ACTION["runs"]["steps"] if "setup-python" in step.get("uses", "")]
    assert python["with"]["update-environment"] is False


MANY = """\
family: nets
input: 3x32x32
knobs: {width: 8}
variants:
VARIANTS
layers:
  - conv(width, 3, padding=1) * 24
"""


def test_a_long_comment_is_cut_and_the_summary_is_not(repository: Repository) -> None:
    variants = "".join(f"  net_{i}: {{width: {i}}}\n" for i in range(8, 40))
    old = MANY.replace("VARIANTS\n", variants)
    repository.write(repository.folder / "server", {"specs/many.yaml": old})
    repository.change({"specs/many.yaml": old.replace("conv(width", "conv(2 * width")})
    assert repository.run(config="none") == 0, repository.log

    assert 50_000 < len(repository.comment.encode()) <= 60_000
    assert repository.comment.count("<details>") == repository.comment.count("</details>") > 10
    assert repository.comment.endswith(
        "Cut here, as comments have a largest size: "
        "[the summary of the job](https://hub/team/nets/actions/runs/5) has the rest.\n"
    )
    assert len(repository.summary) > 65_536
    kept = repository.comment.rpartition("</details>")[0].rpartition("</details>")[0]
    assert repository.summary.startswith(kept)
    assert repository.summary.count("<details>") == 32
    # 24 convolutions, of which 20 are shown; the first has three channels
    assert "the 20 largest changes of 24 layers of specs/many.yaml::net_39" in repository.summary
    assert repository.summary.count("| and 4 more |") == 32


@pytest.mark.parametrize("most", [400, 1000, 1700, 2400, 2900, 3100, 3300])
def test_a_cut_closes_what_it_opened(most: int) -> None:
    from archcost.budget.difference import diff
    from archcost.report.comment import cut

    whole = diff("resnet18", "resnet50").markdown() + "\n\nA word with ü and →."
    words = "It goes on → there."
    short = cut(whole, most, words)
    assert len(short.encode()) <= most < len(whole.encode())
    assert short.count("<details>") == short.count("</details>")
    assert short.endswith(f"\n\n{words}\n")
    kept = short.removesuffix(f"\n\n{words}\n").removesuffix("\n\n</details>")
    assert whole.startswith(kept + "\n")
    assert not kept.endswith("---: |")  # no table without a row
    assert len(short.encode()) > most - 250
    assert cut(whole, len(whole.encode()), words) == whole


def test_a_report_that_fails_does_not_stop_the_comment(repository: Repository) -> None:
    repository.change({"README.md": "changed"})
    assert repository.run(report="specs/nte.yaml") == 2
    assert "No spec changed." in repository.comment
    assert "specs/nte.yaml: No such file or directory" in repository.summary


def test_without_a_pull_request_budgets_are_checked(repository: Repository) -> None:
    repository.change(WIDER)
    (repository.folder / "work" / "archcost.toml").write_text(
        '[budgets]\n"specs/net.yaml" = "params <= 30K"'
    )
    assert repository.run(base="", comment="false") == 1
    assert repository.comments == {}
    assert "1 of 1 budget of 1 network broken" in repository.summary


def test_the_report_goes_to_the_summary(repository: Repository) -> None:
    repository.change({"README.md": "changed"})
    assert repository.run(report="specs/net.yaml") == 0, repository.log
    added = repository.summary.removeprefix(repository.comment)
    assert "9,880,192" in added


def test_the_output_can_be_machine_read(repository: Repository) -> None:
    repository.change(WIDER)
    repository.run()
    done = subprocess.run(
        [f"{repository.archcost()}/archcost", "diff", "origin/main", "specs/net.yaml", "--format", "json"],
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
