"""Recurrent layers against PyTorch's: each primitive for itself, and each op."""

from __future__ import annotations

from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from helpers import around
from test_choices import real_inference_peak, real_peaks

from archcost import load, verify
from archcost.analysis.training import training_step
from archcost.builder import Builder
from archcost.errors import ArchcostError, SpecError
from archcost.network import Network
from archcost.ops import make
from archcost.proofs import Subject
from archcost.readings.ledger import INPUTS, SAVED
from archcost.readings.storages import Storages
from archcost.setting import Setting
from archcost.shape import numel
from archcost.spec.catalog import expand
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.storage.peaks import inference_peak, training_peak
from archcost.storage.saved import saved_for_backward

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
Torch: Any = import_module("torch_reading").Torch
pytestmark = pytest.mark.torch

N, F, H, P = 2, 5, 4, 3  # samples, features, hidden features, projected ones


def case(mode: str, steps: int, bias: bool, projects: bool = False) -> list[tuple[int, ...]]:
    """Return the shapes of what a layer of one direction reads."""
    rows, width = {"lstm": 4, "gru": 3, "rnn": 1}[mode] * H, P if projects else H
    states = [(N, width), (N, H)][: 2 if mode == "lstm" else 1]
    shapes = [(steps, N, F), *states, (rows, F), (rows, width)]
    return shapes + [(rows,)] * 2 * bias + [(width, H)] * projects


CASES = [
    *((mode, case(mode, steps, bias), {}) for mode in ("lstm", "gru") for steps in (1, 3) for bias in (True, False)),
    *(("rnn", case("rnn", steps, True), {"nonlinearity": how}) for steps, how in ((1, "relu"), (3, "tanh"))),
    *(("lstm", case("lstm", steps, True, True), {}) for steps in (1, 3)),
]  # fmt: skip


def saved_by_torch(run: Any, *given: Any) -> tuple[Any, int]:
    """Return what PyTorch makes, and the bytes that autograd keeps."""
    sizes: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        kept.append(tensor)  # so that no address is used twice
        return tensor

    kept: list[Any] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made = run(*given)
    return made, sum(sizes.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("mode", "shapes", "options"), CASES)
def test_each_layer_keeps_what_pytorch_keeps(
    mode: str, shapes: list[tuple[int, ...]], options: dict[str, Any], dtype: str
) -> None:
    """Shapes, strides, types and saved bytes, whichever of its tensors need a gradient."""
    width = torch.float64.itemsize if dtype == "float64" else 4
    for wanted in product((True, False), repeat=len(shapes)):
        reading = Storages(Setting(device="cpu", dtype=dtype), exact=False)
        mine = [
            reading.leaf(s, INPUTS, width, needs) for s, needs in zip(shapes, wanted, strict=True)
        ]
        theirs = [
            torch.randn(s, dtype=getattr(torch, dtype), requires_grad=needs)
            for s, needs in zip(shapes, wanted, strict=True)
        ]
        expected = getattr(reading, f"{mode}_layer")(*mine, **options)
        made, size = saved_by_torch(
            lambda *given: getattr(Torch, f"{mode}_layer")(*given, **options), *theirs
        )
        for own, other in zip(expected, made, strict=True):
            assert tuple(other.shape) == own.shape
            assert other.stride() == own.strides
            assert other.element_size() == own.itemsize
        assert made[0].requires_grad == expected[0].needs
        assert size == reading.ledger.kinds[SAVED], wanted


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("steps", "samples", "features", "hidden"),
    [(1, 1, 64, 64), (100, 1, 64, 64), (10, 3, 100, 20), (10, 3, 20, 100), (26, 4, 512, 256),
     (7, 5, 33, 129), (2, 1, 1000, 16), (2, 1, 16, 1000), (50, 16, 200, 512), (3, 64, 16, 1024)],
)  # fmt: skip
def test_the_workspace_of_onednn(
    steps: int, samples: int, features: int, hidden: int, dtype: str
) -> None:
    """Its parts are aligned to lines and pages, those of the gradients in single precision."""
    network = around(make("lstm", hidden), ((steps, features),))
    setting = Setting(samples, dtype=dtype, device="cpu")
    kept = {s.what: s.bytes for s in saved_for_backward(network, setting).storages}
    own = getattr(torch, dtype)
    module = torch.nn.LSTM(features, hidden, batch_first=True, dtype=own)
    sizes: list[int] = []

    def keep(tensor: Any) -> Any:
        sizes.append(tensor.numel() if tensor.dtype == torch.uint8 else 0)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(torch.zeros(samples, steps, features, dtype=own))
    assert kept["workspace"] == max(sizes) > 0


def network(layers: str, shape: str = "7x6") -> Network:
    text = (
        "name: n\ninput: "
        + shape
        + "\nlayers:\n"
        + "".join(f"  - {line}\n" for line in layers.split("; "))
    )
    return expand(read_document(Source("n.yaml", text)), "")


def failures(net: Network, **setting: Any) -> list[Any]:
    """Return the checks of what is kept that fail."""
    from archcost.proofs.memory import memory
    from archcost.pytorch import build

    subject = Subject(net, build(net), "cpu", Setting(device="cpu", **setting))
    found = list(memory(subject))
    assert found and not any(check.skipped for check in found)
    return [check for check in found if not check.passed]


NETWORKS = {
    "one after another": "lstm(5); gru(4); rnn(3); lstm(6, proj_size=2); lstm(4); linear(2)",
    "behind layers": "linear(8) >> relu; lstm(5, 2, bidirectional=True, dropout=0.3); layernorm; gru(4, bidirectional=True); relu",
    "beside a layer": "x: linear(6); add: {body: lstm(6), other: gru(6)}; multiply(x, current)",
    "an output twice": "x: lstm(6); add: {body: lstm(6), same: identity}; linear(4)",
    "states": "s: lstm(6, 2, return_state=True); concat(s[1], s[2]); linear(3)",
    "states of an encoder": "s: lstm(6, return_state=True); take(input); linear(5); lstm(current, s[1], s[2], 6)",
    "learnt states": "h: parameter([2, 6]); take(input); linear(6); gru(current, h, 6, bidirectional=True); scale(dim=-1)",
    "a learnt state of what needs no gradient": "h: parameter([2, 5]); c: parameter([2, 5]); lstm(input, h, c, 5, 2); rnn(3)",
    "projected states": "h: parameter([1, 2]); c: parameter([1, 5]); lstm(input, h, c, 5, proj_size=2)",
    "last step": "gru(6, return_state=True); slice(0, in_channels - 1); flatten; linear(3)",
    "behind a layer": "linear(6); rnn(4); gru(3); scale(dim=-1)",
    "projected behind a layer": "linear(6); lstm(4, 2, proj_size=3); relu",
    "from maps": "reshape([1, 7, 6]); conv(4, 3, padding=1); permute([1, 0, 2]); flatten(1); lstm(5, bias=False); gru(5, bias=False)",
}  # fmt: skip


@pytest.mark.parametrize("amp", [None, "bf16"])
@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_networks_keep_what_pytorch_keeps(layers: str, amp: str | None) -> None:
    """Also what each layer's storages are, in batches of 1 and 3, frozen and not."""
    net = network(layers)
    frozen = [layer.path for layer in net if layer.op.kind == "recurrent"][:1]
    for batch in (1, 3):
        for freeze in ((), tuple(frozen)):
            assert failures(net, batch=batch, freeze=freeze, amp=amp) == [], (batch, freeze)


def test_what_is_not_known_is_refused_in_a_line() -> None:
    """The peak anywhere; on CUDA, whose cuDNN chooses, also what is kept; and half on a CPU."""
    net = network("linear(8); lstm(5)")
    for device in ("cpu", "cuda"):
        for run in (inference_peak, training_peak):
            with pytest.raises(ArchcostError) as refused:
                run(net, Setting(device=device))
            assert str(refused.value) == "lstm1: the peak of a recurrent layer is not known"
    with pytest.raises(ArchcostError, match=r"^lstm1: what cuDNN keeps of a recurrent layer is"):
        saved_for_backward(net, Setting(device="cuda"))
    with pytest.raises(ArchcostError, match=r"^lstm1: what it keeps in float16 on a CPU is not"):
        saved_for_backward(net, Setting(device="cpu", dtype="float16"))
    assert saved_for_backward(net, Setting(device="cuda", freeze=("*",))).total == 0


BEFORE = ("x: relu", "x: scale(per_channel=False)", "x: linear(5); tanh", "permute([1, 0])")


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(
    "layers",
    [
        "rnn(4)", "rnn(4, 2, nonlinearity='relu', bidirectional=True)", "gru(4, 2); tanh",
        "gru(2, 2, bias=False, bidirectional=True, dropout=0.5)", "gru(4, return_state=True)",
        "h: parameter([1, 4]); gru(current, h, 4)", "h: buffer([4, 3]); rnn(current, h, 3, 2, "
        "bidirectional=True)", "lstm(5, proj_size=2, bias=False)",
        "lstm(4, 2, proj_size=3, bidirectional=True); linear(3); relu",
    ],
)  # fmt: skip
def test_peaks_of_single_operations(layers: str, before: str, batch: int) -> None:
    """Of training and of inference, as the allocator of a CPU sees them."""
    if before.startswith("x"):
        layers = layers.replace("current", "x")
    net = network(f"{before}; {layers}")
    real_peaks(net, batch)
    real_inference_peak(net, batch)


@pytest.mark.parametrize(
    ("layer", "how", "reason"),
    [
        ("lstm(5)", {}, "the peak of a recurrent layer is not known"),
        ("gru(5)", {"device": "cuda"}, "the peak of a recurrent layer is not known"),
        ("gru(5)", {"amp": "bf16"}, "the peak of a recurrent layer under autocast is not known"),
        ("rnn(1)", {}, "the peak of a recurrent layer is not known"),
    ],
)
def test_peaks_that_are_not_known(layer: str, how: dict[str, str], reason: str) -> None:
    with pytest.raises(ArchcostError, match=f"^{layer.partition('(')[0]}1: {reason}$"):
        inference_peak(network(layer), Setting(**{"device": "cpu", **how}))


def test_counts_by_hand() -> None:
    """An LSTM of 64 units on 64 features: 4·(64 + 64)·64 weights and 8·64 biases, a GRU of 3/4."""
    for name, gates in (("lstm", 4), ("gru", 3), ("rnn", 1)):
        [layer] = network(f"{name}(64)", "100x64")
        assert sum(map(numel, layer.params.values())) == gates * (64 + 64) * 64 + 2 * gates * 64
        assert layer.macs == 100 * gates * 64 * (64 + 64)
    both = network("lstm(256, 2, bidirectional=True)", "26x512")["lstm1"]
    names = [n for n, _ in torch.nn.LSTM(512, 256, 2, bidirectional=True).named_parameters()]
    assert [*both.params] == names
    assert both.cost.output == (26, 512)
    projected = network("lstm(64, proj_size=16)", "100x64")["lstm1"]
    assert projected.macs == 100 * (256 * 64 + 256 * 16 + 16 * 64)


def test_gradients_of_states_by_hand() -> None:
    """A state that needs a gradient has one more product of each layer; the first input none."""
    plain, learnt = "gru(4, 2)", "h: parameter([2, 4]); gru(input, h, 4, 2)"
    step = 7 * 12 * 4 + 2 * 7 * 12 * 4  # of the second layer's input, and of states, for each step
    weights = 7 * (12 * 6 + 12 * 4 * 3)
    for layers, first in ((plain, 0), (learnt, 2 * 12 * 4)):
        done = training_step(network(layers)).layers[-1]
        assert done.input_gradient == 2 * (step - 2 * 12 * 4 + first)
        assert done.weight_gradient == 2 * weights


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ("lstm(4, proj_size=4)", "proj_size 4 is not less than hidden_size 4"),
        ("rnn(4, nonlinearity='sigmoid')", "nonlinearity 'sigmoid'"),
        ("gru(4, num_layers=2**40)", "num_layers 1099511627776 is more than 1,000"),
        ("x: relu; lstm(x, x, 4)", "lstm begins with states 1x4 and 1x4; got 7x6"),
        ("x: relu; gru(x, x, 4, 2, bidirectional=True)", "gru begins with states 4x4; got 7x6"),
        ("gru(4, proj_size=2)", "gru has no argument 'proj_size'"),
        ("reshape([1, 7, 6]); gru(4)", "gru takes steps x features, not 1x7x6; its columns are steps after reshape([7, 6]) >> permute([1, 0])"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(layers: str, reason: str) -> None:
    with pytest.raises(SpecError) as refused:
        network(layers)
    assert reason in str(refused.value)


def test_two_steps_of_a_cell_are_two_steps_of_a_layer() -> None:
    from archcost.pytorch import build

    builder, cell = Builder(), make("lstm_cell", 4)
    x, *states = [builder.input((n,), name) for n, name in ((6, "x"), (4, "h"), (4, "c"))]
    after = builder.add_all(cell, x, *states, name="s")
    net = builder.network("steps", builder.add(cell, x, *after, name="t", params="s"))
    assert [layer.macs for layer in net] == [4 * 4 * (6 + 4)] * 2
    given, h, c = torch.randn(2, 6), torch.randn(2, 4), torch.randn(2, 4)
    twin, lstm = build(net), torch.nn.LSTM(6, 4, batch_first=True)
    for name, parameter in twin.named_parameters():
        getattr(lstm, f"{name.rpartition('.')[2]}_l0").data = parameter.data
    steps, _ = lstm(torch.stack([given, given], 1), (h[None], c[None]))
    assert torch.allclose(twin(given, h, c), steps[:, 1])
    assert failures(net, batch=3) == []


@pytest.mark.parametrize(
    "layers",
    ["lstm_cell(5)", "gru_cell(5)", "rnn_cell(5, nonlinearity='relu')", "h: linear(5); rnn_cell(x, h, 5)",
     "h: linear(5); gru_cell(x, h, 5, bias=False)", "h: linear(5); lstm_cell(x, h, tanh(h), 5)"],
)  # fmt: skip
def test_what_a_cell_keeps_and_takes(layers: str) -> None:
    """Saved bytes under autocast, frozen and not; and the peaks of PyTorch's allocator."""
    net = network(f"x: scale; {layers}", "6")
    for amp, freeze in ((None, ()), ("bf16", ()), ("bf16", (net.layers[-1].path,))):
        assert failures(net, batch=3, freeze=freeze, amp=amp) == [], (amp, freeze)
    real_peaks(net)


def test_cells_that_are_refused() -> None:
    with pytest.raises(SpecError, match="lstm_cell takes the features of one step, not 7x6"):
        network("lstm_cell(4)")
    with pytest.raises(SpecError, match="gru_cell begins with states 4; got 6"):
        network("x: relu; gru_cell(x, x, 4)", "6")
    with pytest.raises(ArchcostError, match="what CUDA keeps of a recurrent cell is not known"):
        saved_for_backward(network("lstm_cell(4)", "6"), Setting(device="cuda"))


CODE = """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.{call}

    def forward(self, x):
        return self.steps(x)[0]
"""


@pytest.mark.parametrize(
    "call",
    ["LSTM(6, 4, batch_first=True)", "LSTM(6, 4, 2, proj_size=3, bidirectional=True, batch_first=True)",
     "GRU(6, 4, 2, bias=False, batch_first=True)", "RNN(6, 4, bidirectional=True, batch_first=True)"],
)  # fmt: skip
def test_what_tools_count_of_recurrent_modules_of_code(tmp_path: Path, call: str) -> None:
    (tmp_path / "net.py").write_text(CODE.format(call=call))
    net = load(f"{tmp_path}/net.py:Net", input="5x6")
    [found] = verify(net, checks=["counters"], batch=2).outcomes
    assert found.passed == found.run > 4
