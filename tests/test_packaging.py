"""What users install: wheel and sdist into empty environments, run from another folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from archcost import catalog

ROOT = Path(__file__).resolve().parent.parent


def sh(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    sh(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=ROOT)
    return out


def test_what_is_pinned_installs_on_the_first_python_3_11() -> None:
    """Debian 12 has 3.11.2."""
    asked = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        name, _, version = line.partition("==")
        with suppress(PackageNotFoundError):
            found = distribution(name)
            if version and found.version.partition("+")[0] == version:
                asked[name] = found.metadata.get("Requires-Python", "")
    assert len(asked) > 50
    assert [name for name, range_ in asked.items() if "3.11.0" not in SpecifierSet(range_)] == []


def other_python(version: str) -> Path:
    """Return a Python that the path or pyenv has, or skip."""
    found = [shutil.which(f"python{version}") or ""]
    found += map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for python in filter(None, found):  # pyenv puts names on the path that do not run
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return Path(python)
    pytest.skip(f"there is no Python {version}")


def lowest() -> str:
    """Return the lowest versions that the core says it takes, as constraints."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert all(">=" in each for each in project["dependencies"])
    return "\n".join(each.replace(">=", "==") for each in project["dependencies"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "version", "versions"),
    [
        ("*.whl", "", "pinned"), ("*.tar.gz", "", "pinned"), ("*.whl", "", "lowest"),
        ("*.whl", "3.12", "newest"), ("*.whl", "3.13", "newest"), ("*.whl", "3.14", "newest"),
    ],
)  # fmt: skip
def test_an_install_prices_every_model(
    built: Path, tmp_path: Path, kind: str, version: str, versions: str
) -> None:
    [package] = built.glob(kind)
    own = other_python(version) if version else Path(sys.executable)
    sh(own, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    constraints = tmp_path / "constraints.txt"
    pinned = (ROOT / "constraints.txt").read_text("utf-8")
    constraints.write_text({"pinned": pinned, "lowest": lowest(), "newest": ""}[versions])
    install = [*map(str, (*pip, "--constraint", constraints, package))]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, check=False)
    if versions != "pinned" and "No matching distribution" in done.stderr:
        pytest.skip(f"the package index lacks the {versions} versions")
    assert done.returncode == 0, done.stderr
    packages = sh(python, "-m", "pip", "--disable-pip-version-check", "list", cwd=tmp_path).lower()
    assert not [name for name in ("torch", "numpy", "pandas") if f"\n{name} " in packages]

    archcost = tmp_path / "env" / "bin" / "archcost"
    rows = sh(archcost, "compare", "--all", "--format", "csv", cwd=tmp_path).splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == catalog()
    for name in ("alexnet", "vgg16", "mobilenet"):
        assert "total" in sh(archcost, "table", f"lectures/{name}", cwd=tmp_path)
    assert "py.typed" in [p.name for p in (tmp_path / "env").rglob("archcost/*")]
