"""Export as an ONNX file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import around
from test_export import Custom, export

import archcost
from archcost.errors import ArchcostError
from archcost.pytorch.onnx_file import write_onnx

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture
def onnx() -> Any:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    return pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.mark.parametrize("name", ["lenet5_dense", "squeezenet1_1", "resnet20"])
def test_onnx_files_are_valid_and_take_any_batch(onnx: Any, name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    done = export(name, "--to", "onnx", "--output", str(file))
    assert (done.exit_code, done.output) == (0, "")
    onnx.checker.check_model(str(file), full_check=True)
    graph = onnx.load(file).graph
    network = archcost.load(name)
    sides = [[d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]]
    sides += [
        [d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim] for o in graph.output
    ]
    assert sides == [["batch", *network.input], ["batch", *network.output]]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_an_onnx_file_computes_what_the_twin_does(onnx: Any, tmp_path: Path) -> None:
    import numpy
    from onnx.reference import ReferenceEvaluator

    file = tmp_path / "model.onnx"
    assert export("lenet5_dense", "--to", "onnx", "--output", str(file)).exit_code == 0
    stored = {
        t.name: torch.tensor(onnx.numpy_helper.to_array(t))
        for t in onnx.load(file).graph.initializer
    }
    twin = archcost.build("lenet5_dense").eval()
    twin.load_state_dict({name: stored[name] for name in twin.state_dict()})
    x = torch.randn(3, 1, 32, 32)
    (found,) = ReferenceEvaluator(str(file)).run(None, {"input": x.numpy()})
    # float32, and the evaluator sums in another order
    numpy.testing.assert_allclose(found, twin(x).detach().numpy(), rtol=1e-4, atol=1e-6)


def test_onnx_wants_a_file() -> None:
    done = export("lenet5", "--to", "onnx")
    assert isinstance(done.exception, ArchcostError)
    assert str(done.exception) == "an ONNX file is not text: say where with --output FILE"


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_without_onnx_one_line_says_how_to_get_it(
    missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None if name == missing else sys)
    done = export("lenet5", "--to", "onnx", "--output", str(tmp_path / "x.onnx"))
    assert isinstance(done.exception, ArchcostError)
    assert str(done.exception) == f"this needs {missing}: pip install 'archcost[onnx]'"
    assert list(tmp_path.iterdir()) == []


def test_what_onnx_cannot_express_is_refused(onnx: Any, tmp_path: Path) -> None:
    network = around(Custom("decides"), ((4,),), "act")
    with pytest.raises(ArchcostError, match=r"^one cannot be written as ONNX: ") as error:
        write_onnx(network, tmp_path / "x.onnx")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
