"""Fourier transforms and complex numbers: what they make, keep and take on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import failures
from test_choices import real_inference_peak, real_peaks
from test_kernels_of_a_cpu import spec

from archcost import analyze, load, loads
from archcost.errors import ArchcostError
from archcost.findings.lint import lint
from archcost.proofs import Subject
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


CODE = {
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


class Modes(torch.nn.Module):
    """A Fourier layer whose parameter holds complex numbers (Li et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, 3, dtype=torch.complex64))

    def forward(self, x: Any) -> Any:
        return torch.einsum("bix,io->box", torch.fft.rfft(x), self.weight).abs()


def test_complex_parameters_are_refused() -> None:
    with pytest.raises(ArchcostError, match="the parameter weight holds complex numbers"):
        load(Modes(), input=(3, 8))


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
