"""Window arithmetic against PyTorch on the meta device, and shapes as text."""

from __future__ import annotations

import random

import pytest

from archcost.errors import ArchcostError, OpError
from archcost.shape import numel, parse_shape, show, window_count


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("3x224x224", (3, 224, 224)),
        ("3 × 224 × 224", (3, 224, 224)),
        ("[3, 8]", (3, 8)),
        ("784", (784,)),
    ],
)
def test_parse_shape(text: str, shape: tuple[int, ...]) -> None:
    assert parse_shape(text) == shape


@pytest.mark.parametrize(
    "text", ["", "3x", "3x-1", "0x3", "ax3", "3x1e9", "9" * 30, "1x" * 20 + "1"]
)
def test_a_bad_shape_is_refused(text: str) -> None:
    with pytest.raises(ArchcostError, match="a shape"):
        parse_shape(text)


def test_show_and_numel() -> None:
    assert (show((64, 7, 7)), show(())) == ("64x7x7", "scalar")
    assert (numel((64, 7, 7)), numel(())) == (3136, 1)


@pytest.mark.torch
def test_windows_count_as_in_pytorch() -> None:
    """3,000 seeded geometries, with and without ceil_mode; refused ones are refused there too."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = random.Random(20261121)
    refused = 0
    for _ in range(3000):
        n, k, s, d = rng.randint(1, 40), rng.randint(1, 9), rng.randint(1, 6), rng.randint(1, 4)
        p, ceil = rng.randint(0, k // 2), rng.random() < 0.5
        x = torch.empty(1, 1, n, device="meta")
        try:
            out = torch.nn.functional.max_pool1d(x, k, s, p, d, ceil_mode=ceil).shape[-1]
        except RuntimeError:
            out = None
        try:
            ours = window_count(n, k, s, p, p, d, ceil)
        except OpError:
            ours = None
        if ceil and ours is None:
            continue  # PyTorch rounds a negative size up to one window; we refuse the geometry
        assert ours == out, (n, k, s, p, d, ceil)
        refused += ours is None
    assert 100 < refused < 1500
