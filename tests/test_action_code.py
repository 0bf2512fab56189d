"""The GitHub Action on a repository whose models are code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_action import ROOT, Repository

pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.torch


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


MODULE = """\
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width=8):
        super().__init__(nn.Conv2d(3, width, 3), nn.ReLU())
"""
CODE = "nets/net.py:Net --input 3x10x10\nnets.net:Net --input 3x10x10 --set width=2"


def test_a_model_that_is_code_is_compared(repository: Repository) -> None:
    repository.write(repository.folder / "server", {"nets/net.py": MODULE})
    repository.change({"nets/net.py": MODULE.replace("3, width, 3", "3, width, 5")})
    options = {"code": CODE, "install": "torch --quiet", "config": "none"}
    assert repository.run(**options, **{"fail-on": "macs > +5%"}) == 1, repository.log
    assert (repository.folder / "pip.log").read_text().endswith(f" torch --quiet {ROOT}\n")
    # 8·27·64 = 13,824 and 8·75·36 = 21,600; a quarter of each at width 2
    for then, now in ((13_824, 21_600), (3_456, 5_400)):
        assert f"| macs | {then:,} | {now:,} |" in re.sub(" +", " ", repository.comment)


def test_a_model_that_is_new_code_is_shown(repository: Repository) -> None:
    repository.change({"nets/net.py": MODULE})
    assert repository.run(code=CODE, config="none") == 0, repository.log
    assert "13,824" in repository.comment
    assert "3,456" in repository.comment
    assert repository.run(code="nets/net.py:Nett --input 3x10x10", config="none") == 2
