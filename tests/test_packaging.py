"""What users install: wheel and sdist into empty environments, run from another folder."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_an_install_prices_every_model(built: Path, tmp_path: Path, kind: str) -> None:
    [package] = built.glob(kind)
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    sh(*pip, "--constraint", ROOT / "constraints.txt", package, cwd=tmp_path)
    packages = sh(python, "-m", "pip", "--disable-pip-version-check", "list", cwd=tmp_path).lower()
    assert not [name for name in ("torch", "numpy", "pandas") if f"\n{name} " in packages]

    archcost = tmp_path / "env" / "bin" / "archcost"
    rows = sh(archcost, "compare", "--all", "--format", "csv", cwd=tmp_path).splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == catalog()
    for name in ("alexnet", "vgg16", "mobilenet"):
        assert "total" in sh(archcost, "table", f"lectures/{name}", cwd=tmp_path)
    assert "py.typed" in [p.name for p in (tmp_path / "env").rglob("archcost/*")]
