"""Fourier transforms and complex numbers: what they make, keep and take on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import failures
from test_choices import real_inference_peak, real_peaks
from test_kernels_of_a_cpu import spec

from archcost import analyze, load, loads
from archcost.errors import ArchcostError
from archcost.figures import FIGURES
from archcost.figures import Subject as Figured
from archcost.findings.lint import lint
from archcost.proofs import Subject
from archcost.pytorch import build
from archcost.setting import Setting
from archcost.spec.source import Source
from archcost.storage.peaks import training_peak

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")

FILTER = "input: 14x14x6; f: bias >> rfft([0, 1], norm='ortho'); w: buffer([14, 8, 6, 2]); {}"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "lines",
    [
        "input: 6x8; bias >> rfft >> real >> tanh",
        "input: 6x8; bias >> rfft >> irfft >> tanh",
        "input: 6x8; bias >> rfft >> irfft(size=9) >> tanh",
        "input: 4x6x8; bias >> rfft([1, 2]) >> irfft([1, 2]) >> tanh",
        "input: 4x6x8; bias >> rfft([0, 1]) >> irfft([0, 1]) >> tanh",
        "input: 4x6x8; bias >> rfft([0, 1, 2]) >> irfft([0, 1, 2])",
        "input: 4x6x8; bias >> permute([1, 2, 0]) >> rfft([0, 1]) >> imag >> tanh",
        "input: 6x8; bias >> fft >> fft(0) >> real >> tanh",
        "input: 6x8; bias >> fft([0, 1]) >> real >> tanh",
        "input: 6x8; bias >> fft([1, 0]) >> ifft([0, 1]) >> view_as_real >> tanh",
        "input: 6x8; bias >> fft(0) >> abs >> tanh",
        "input: 6x8x2; bias >> view_as_complex >> ifft(0) >> view_as_real",
        "input: 8x6x2; bias >> view_as_complex >> permute([1, 0]) >> fft(1) >> imag",
        "input: 6x8; f: bias >> fft(0); add(f, current) >> real",
        "input: 6x8; f: bias >> fft(0); g: take(f) >> fft; sub(f, g) >> real >> tanh",
        "input: 6x8; f: bias >> fft(0); g: take(f) >> fft; multiply(f, g) >> real >> tanh",
        "input: 6x8; f: bias >> fft(0); slice(0, 3) >> concat(current, f) >> real",
        "input: 6x8; f: bias >> fft(0) >> sum(0) >> abs",
        "input: 6x8; f: bias >> fft; w: parameter([8, 30], dtype='complex'); matmul(f, w) >> abs",
        "input: 5x6x8; f: bias >> fft; w: parameter([5, 8, 40], 'complex'); matmul(f, w) >> abs",
        "input: 5x6x8; f: bias >> fft; w: parameter([5, 6, 8], 'complex'); multiply(f, w) >> abs",
        "input: 5x6x8; f: bias >> fft; w: buffer([5, 8, 30], 'complex'); matmul(f, w) >> abs",
        "input: 5x6x8; f: bias >> fft >> permute([1, 2, 0]); matmul(f, f, transpose_b=True) >> abs",
    ],
)
def test_peaks_are_those_of_the_allocator(lines: str, batch: int) -> None:
    net = spec(lines)
    real_peaks(net, batch)
    real_inference_peak(net, batch)


class Filter(torch.nn.Module):
    """A global filter (Rao et al. 2021): a learnt product of frequencies."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(7, 4, 6, 2))

    def forward(self, x: Any) -> Any:
        y = torch.fft.rfft2(x, dim=(1, 2), norm="ortho") * torch.view_as_complex(self.weight)
        return torch.fft.irfft2(y, s=x.shape[1:3], dim=(1, 2), norm="ortho")


class Mixing(torch.nn.Module):
    """FNet's mixing of tokens (Lee-Thorp et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.out = torch.nn.Linear(6, 6)

    def forward(self, x: Any) -> Any:
        return self.out(torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real)


class Convolved(torch.nn.Module):
    """A convolution of real and imaginary parts (Chi et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(6, 6, 1)

    def forward(self, x: Any) -> Any:
        f = torch.fft.rfftn(x, dim=(-2, -1))
        f = self.conv(torch.cat((f.real, f.imag), 1)).relu()
        parts = f.view(len(x), 2, 3, *f.shape[2:]).permute(0, 2, 3, 4, 1).contiguous()
        return torch.fft.irfftn(torch.view_as_complex(parts), s=x.shape[-2:], dim=(-2, -1))


class Turned(torch.nn.Module):
    """Rotary positions as products with complex numbers (Su et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.q = torch.nn.Linear(8, 8)
        self.register_buffer("turns", torch.polar(torch.ones(5, 4), torch.rand(5, 4)))

    def forward(self, x: Any) -> Any:
        pairs = torch.view_as_complex(self.q(x).float().reshape(*x.shape[:-1], 4, 2))
        return torch.view_as_real(pairs * self.turns).flatten(2).type_as(x)


class Shifted(torch.nn.Module):
    """A spectrum that is padded, and moved to the middle."""

    def forward(self, x: Any) -> Any:
        return torch.fft.fftshift(torch.fft.fft2((x * 2).sin(), s=(8, 4)).abs(), dim=(-2, -1))


class Scaled(torch.nn.Module):
    """A learnt real factor of each frequency."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.randn(5))

    def forward(self, x: Any) -> Any:
        return torch.fft.irfft(self.factor * torch.fft.rfft(x))


def test_no_peak_holds_the_batch_of_a_trace() -> None:
    run = training_peak(load(Scaled(), input=(3, 8)), Setting(2, device="cpu"))
    assert run.peak.total < 4096


class SpectralConv(torch.nn.Module):
    """The Fourier layer of Li et al. 2021, whose weights are complex: products of low modes."""

    def __init__(self, channels: int, modes: tuple[int, int]) -> None:
        super().__init__()
        self.modes = modes
        shape = (channels, channels, *modes)
        self.top = torch.nn.Parameter(torch.rand(shape, dtype=torch.cfloat) / channels**2)
        self.bottom = torch.nn.Parameter(torch.rand(shape, dtype=torch.cfloat) / channels**2)

    def forward(self, x: Any) -> Any:
        high, wide = self.modes
        modes = torch.fft.rfft2(x)
        out = torch.zeros(*modes.shape, dtype=torch.cfloat, device=x.device)
        top, bottom = modes[:, :, :high, :wide], modes[:, :, -high:, :wide]
        out[:, :, :high, :wide] = torch.einsum("bixy,ioxy->boxy", top, self.top)
        out[:, :, -high:, :wide] = torch.einsum("bixy,ioxy->boxy", bottom, self.bottom)
        return torch.fft.irfft2(out, s=x.shape[-2:])


class FNO(torch.nn.Module):
    """A Fourier Neural Operator of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = torch.nn.Conv2d(3, 8, 1)
        self.spectral, self.linear = SpectralConv(8, (5, 4)), torch.nn.Conv2d(8, 8, 1)
        self.project = torch.nn.Conv2d(8, 1, 1)

    def forward(self, x: Any) -> Any:
        x = self.lift(x)
        return self.project(torch.nn.functional.gelu(self.spectral(x) + self.linear(x)))


CODE = {
    FNO: (3, 16, 18),
    Filter: (7, 7, 6),
    Mixing: (5, 6),
    Convolved: (3, 7, 7),
    Turned: (5, 8),
    Scaled: (3, 8),
    Shifted: (3, 5, 6),
}


@pytest.mark.parametrize("make", CODE, ids=lambda make: make.__name__)
def test_code_is_read_and_kept_to_the_byte(make: Any) -> None:
    network = load(make(), input=CODE[make])
    assert failures(Subject(network, make()), "module") == []
    assert analyze(network).total.params == sum(p.numel() for p in make().parameters())


LEFT_OUT = "MACs leave out {} Fourier transform{}, which no tool counts"


def test_a_remark_says_that_transforms_count_nothing() -> None:
    text = "name: f\ninput: 6x8\nlayers:\n  - fft >> abs\n"
    net, code = loads(text), load(Mixing(), input=(5, 6))
    [remark] = net.remarks
    assert (remark.kind, remark.text) == ("uncounted", LEFT_OUT.format(1, ""))
    assert [found.text for found in code.remarks] == [LEFT_OUT.format(2, "s")]
    assert analyze(code).table().notes[3:] == (LEFT_OUT.format(2, "s"),)
    assert [found["text"] for found in analyze(net).to_dict()["remarks"]] == [remark.text]
    assert lint(Source("x.yaml", text)) == []  # the spec is as it should be
    assert loads(text.replace("fft >> ", "")).remarks == ()


class Hermitian(torch.nn.Module):
    """Transforms that have no op."""

    def forward(self, x: Any) -> Any:
        return torch.fft.hfft(torch.fft.ihfft(x * 2))


def test_transforms_without_an_op_are_transforms() -> None:
    network = load(Hermitian(), input=(3, 8))
    assert [found.text for found in network.remarks] == [LEFT_OUT.format(2, "s")]
    # the input, its double, 5 frequencies of each row, and what these give
    assert analyze(network).total.activations == 24 + 24 + 15 + 24


FNO_SPEC = """
name: fno
input: 3x16x18
knobs:
  width: 8
  modes: [5, 4]
blocks:
  # a matrix for each mode: x·y·1·in by x·y·in·out
  mixed:
    - x: permute([1, 2, 0]) >> reshape([modes[0], modes[1], 1, width])
    - weight: parameter([modes[0], modes[1], width, width], dtype="complex")
    - matmul(x, weight)
    - flatten(2) >> permute([2, 0, 1])
layers:
  - lift: conv(width, 1)
  - add:
      spectral:
        - low: rfft([-2, -1]) >> slice(2, stop=modes[1])
        - concat(-2):
            top: slice(1, stop=modes[0]) >> mixed >> pad([[0, 16 - 2 * modes[0]], [0, 0]])
            bottom: slice(1, start=16 - modes[0]) >> mixed
        - pad([[0, 0], [0, 10 - modes[1]]]) >> irfft([-2, -1], size=18)
      linear: conv(width, 1)
  - gelu
  - conv(1, 1)
"""
# 3·8 + 8, two times 8·8 complex numbers for each of 5·4 modes, 8·8 + 8, and 8 + 1
FNO_PARAMS = 32 + 2 * 8 * 8 * 20 + 72 + 9
FNO_MACS = 16 * 18 * (3 * 8 + 8 * 8 + 8) + 2 * 8 * 8 * 20


def test_complex_parameters_count_as_pytorch_counts_them() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    module = FNO()
    with FlopCounterMode(display=False) as counter:
        module(torch.randn(1, 3, 16, 18))
    assert FNO_PARAMS == sum(p.numel() for p in module.parameters()) == 2_673
    assert counter.get_total_flops() == 2 * FNO_MACS
    for network in (load(module, input=(3, 16, 18)), loads(FNO_SPEC)):
        total = analyze(network).total
        assert (total.params, total.macs) == (FNO_PARAMS, FNO_MACS)
        # 8 bytes for each of the complex ones, 4 for the others
        assert total.param_bytes == sum(p.nbytes for p in module.parameters())
        shares = FIGURES["size"].shares
        assert shares is not None
        assert sum(shares(Figured(network, Setting()), "").values()) == total.param_bytes


def test_complex_parameters_of_specs_are_proved() -> None:
    groups = ("structure", "counters", "memory", "training", "peaks")
    network = loads(FNO_SPEC)
    assert failures(Subject(network, build(network)), *groups) == []


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", [(3, 16, 18), (3, 40, 30)])
def test_peaks_of_code_with_complex_parameters(shape: Any, batch: int) -> None:
    real_peaks(load(FNO(), input=shape), batch)
    real_inference_peak(load(FNO(), input=shape), batch)


class Product(torch.nn.Module):
    """A product with complex weights, whose memory is the most."""

    def __init__(self, shape: Any, equation: str) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(shape, dtype=torch.cfloat))
        self.bias, self.equation = torch.nn.Parameter(torch.zeros(1)), equation

    def forward(self, x: Any) -> Any:
        modes = torch.fft.rfft(x + self.bias)
        if not self.equation:
            return (modes @ self.weight).abs()
        return torch.einsum(self.equation, modes, self.weight).abs()


@pytest.mark.parametrize("batch", [1, 2, 40])
@pytest.mark.parametrize(
    ("shape", "equation"),
    [
        ((30, 40, 5), "bix,iox->box"),  # matrices that lie apart are copied one by one
        ((30, 300, 5), "bix,iox->box"),
        ((30, 2, 5), "bix,iox->box"),  # small ones are not
        ((5, 50), "bix,xo->bio"),
        ((30, 5), "bix,ix->bix"),
        ((5, 50), ""),
    ],
)
def test_peaks_of_complex_products(shape: Any, equation: str, batch: int) -> None:
    network = load(Product(shape, equation), input=(30, 8))
    real_peaks(network, batch)
    real_inference_peak(network, batch)


@pytest.mark.parametrize("kernel", ["for-loop", "foreach"])
@pytest.mark.parametrize("optimizer", ["sgd", "sgd-momentum", "adam", "adamw"])
@pytest.mark.parametrize("decay", [False, True])
def test_updates_of_complex_parameters(optimizer: str, kernel: str, decay: bool) -> None:
    from archcost.proofs.peaks import tracker

    network = loads(FNO_SPEC)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    options = {"momentum": 0.9} if optimizer == "sgd-momentum" else {}
    params = [*build(network).parameters()]
    update = kinds[optimizer.partition("-")[0]](
        params, lr=0.1, weight_decay=0.1 * decay, foreach=kernel == "foreach", **options
    )
    for parameter in params:
        parameter.grad = torch.ones_like(parameter)
    update.step()
    state = [t for kept in update.state.values() for t in kept.values() if t is not None]
    setting = Setting(device="cpu", optimizer=optimizer, kernel=kernel, weight_decay=decay)
    run = training_peak(network, setting)
    assert run.state == sum(t.nbytes for t in state)
    seen = tracker([*params, *(p.grad for p in params), *state])
    before = seen.live[1]
    with seen:
        update.step()
    counts = 4 if "adam" in optimizer and kernel == "foreach" else 0
    there = run.params + run.gradients + run.state + run.input
    assert max(run.peaks["optimizer"].total - there, counts) == seen.cut()[1] - before


def test_the_fused_kernel_takes_no_complex_parameters() -> None:
    with pytest.raises(ArchcostError, match="fno: the fused kernel takes no complex parameters"):
        training_peak(loads(FNO_SPEC), Setting(device="cpu", kernel="fused"))


class Conjugate(torch.nn.Module):
    """A view that the product copies."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: Any) -> Any:
        modes = torch.fft.rfft(x + self.bias)
        return (modes.transpose(1, 2) @ modes.conj()).abs()


def test_the_peak_of_a_conjugate_that_is_computed_later_is_refused() -> None:
    network = load(Conjugate(), input=(3, 8))
    assert analyze(network).total.macs == 5 * 3 * 5
    with pytest.raises(ArchcostError, match="conj1: the peak of conj is not known"):
        training_peak(network, Setting(device="cpu"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("fft >> relu", "relu takes float; got complex"),
        ("fft >> lt(0.5)", "lt takes no complex numbers, which have no order"),
        ("ifft", "ifft takes complex; got float"),
        ("fft >> rfft", "rfft takes float; got complex"),
        ("rfft([0, 0])", "rfft names a dimension twice: \\[0, 0\\]"),
        ("rfft(2)", "rfft has no dim 2 on 6x8"),
        ("rfft >> irfft(size=10)", "irfft to 10 takes 6, not 5"),
        ("rfft(norm='orto')", "norm 'orto'; did you mean 'ortho'"),
        ("view_as_complex", "view_as_complex takes pairs, not 6x8"),
        ("fft([0, 1, 2, 3])", "dims has at most 3 dimensions; got 4"),
    ],
)
def test_what_is_refused(line: str, reason: str) -> None:
    with pytest.raises(ArchcostError, match=reason):
        spec(f"input: 6x8; {line}")


def test_types_that_differ_are_refused() -> None:
    with pytest.raises(ArchcostError, match="add needs equal types; got complex, float"):
        spec("input: 6x8; f: fft; add(f, input)")
