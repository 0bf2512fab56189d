"""Files of weights: what they hold, and whether they fit a model."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.importers.checkpoint import Held, read_checkpoint

SPEC = "name: net\ninput: 3x8x8\nlayers:\n  - conv(4, 3) >> batchnorm >> flatten >> linear(10)\n"
CODE = """\
from torch import nn
def net(out=10):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, out))
"""
TENSORS = {"0.weight": ("F32", [4, 3, 3, 3]), "0.bias": ("F16", [4]), "1.steps": ("I64", [])}
WIDTHS = {"F32": 4, "F16": 2, "I64": 8}


def safetensors(path: Path, header: Any, room: int = 0) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(room))
    return path


def written(path: Path) -> Path:
    """Write a file with the tensors above, as the format says."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (kind, shape) in TENSORS.items():
        size = WIDTHS[kind]
        for n in shape:
            size *= n
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    return safetensors(path, header, end)


def run(*arguments: Any) -> Any:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, [str(a) for a in arguments])


def test_safetensors_are_read_without_a_package(tmp_path: Path) -> None:
    assert read_checkpoint(str(written(tmp_path / "net.safetensors"))) == {
        "0.weight": Held((4, 3, 3, 3), "float32", 432),
        "0.bias": Held((4,), "float16", 8),
        "1.steps": Held((), "int64", 8),
    }


def test_the_table_folds_and_adds_up(tmp_path: Path) -> None:
    path = written(tmp_path / "net.safetensors")
    done = run("table", path, "--depth", 1, "--format", "csv")
    assert done.stdout.splitlines() == [
        "tensor,shape,type,elements,size", '0,,"float32, float16",112,440', "1,,int64,1,8",
    ]  # fmt: skip
    assert [
        row["elements"] for row in json.loads(run("table", path, "--format", "json").stdout)
    ] == [108, 4, 1]


BAD = {
    b"": "not a safetensors file: the header is not JSON",
    b"{": "not a safetensors file: the header is not JSON",
    b"[]": "not a safetensors file: the header is not a mapping of names",
    b'{"a": 1}': "a has no dtype, shape and data_offsets",
    b'{"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}': "a: unknown type 'F33'; did you mean 'F32'?",
    b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}': "a: sizes and offsets are whole numbers from 0 on",
    b'{"a": {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]}}': "a: sizes and offsets are whole numbers from 0 on",
    b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}': "a: 2 float32 takes 8 bytes; its place is 0 to 4 of 4",
    b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}': "a: 2 float32 takes 8 bytes; its place is 0 to 8 of 4",
}


@pytest.mark.parametrize("header", BAD)
def test_a_bad_file_is_refused_in_a_line(tmp_path: Path, header: bytes) -> None:
    path = safetensors(tmp_path / "bad.safetensors", header, 4)
    with pytest.raises(ArchcostError) as error:
        read_checkpoint(str(path))
    assert str(error.value) == f"{path}: {BAD[header]}"


def test_a_file_that_is_cut_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(ArchcostError, match="it is shorter than its header"):
        read_checkpoint(str(path))
    with pytest.raises(ArchcostError, match=r"none\.safetensors: no such file"):
        read_checkpoint(str(tmp_path / "none.safetensors"))


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "made.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return "made.py:net"


@pytest.mark.torch
@pytest.mark.parametrize("key", ["", "state_dict"])
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_of_pytorch_fit_their_module(
    tmp_path: Path, code: str, key: str, zipped: bool
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.proofs.counterparts import build_reference

    state = build_reference("made.py", "net").state_dict()
    torch.save(
        {key: state, "epoch": 3} if key else state,
        tmp_path / "net.pt",
        _use_new_zipfile_serialization=zipped,
    )
    (tmp_path / "net.yaml").write_text(SPEC)
    sizes = {name: Held(tuple(x.shape), str(x.dtype)[6:], x.nbytes) for name, x in state.items()}
    assert read_checkpoint(str(tmp_path / "net.pt")) == sizes
    for model in ([code, "--input", "3x8x8"], ["net.yaml"]):
        done = run("verify", "--weights", "net.pt", *model)
        assert done.exit_code == 0, done.output
    other = run("verify", "--weights", "net.pt", code, "--input", "3x8x8", "--arg", "out=11")
    assert other.exit_code == 1
    assert "3.weight: tensor: expected 11x144 float32, measured 10x144 float32" in other.stdout


@pytest.mark.torch
def test_missing_and_unexpected_tensors_are_said(tmp_path: Path, code: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    path = written(tmp_path / "net.safetensors")
    done = run("verify", "--weights", path, code, "--input", "3x8x8", "--format", "json")
    assert done.exit_code == 1
    [outcome] = json.loads(done.stdout)["results"]
    told = {(f["layer"], f["expected"], f["measured"]) for f in outcome["failures"]}
    assert ("0.bias", "4 float32", "4 float16") in told
    assert ("3.weight", "10x144 float32", "missing; did you mean '0.weight'?") in told
    assert ("1.steps", "no such tensor", "a number int64") in told


@pytest.mark.torch
def test_what_pytorch_cannot_read_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    (tmp_path / "bad.pt").write_bytes(b"no pickle")
    assert "bad.pt: PyTorch cannot read it: " in run("table", tmp_path / "bad.pt").exception.args[0]
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    assert (
        "none.pt: it holds no mapping of names to tensors"
        in run("table", tmp_path / "none.pt").exception.args[0]
    )
