"""Specs in which a label is set again: sums and lists that a loop makes."""

from __future__ import annotations

from typing import Any

import pytest
from test_wiring import told

from archcost import Network, analyze, load, loads
from archcost.spec.catalog import documents
from archcost.spec.template import Template

WAVES = """name: waves
input: 256x160
knobs: {width: 32, skips: 256, stacks: 3, depth: 4}
blocks:
  causal(out, kernel, dilation): conv(out, kernel, dilation=dilation, padding=[[(kernel - 1) * dilation, 0]])
layers:
  - causal(width, 2, 1)
  - for k in range(stacks):
      - for i in range(depth):
          - x: identity
          - gated:
              - multiply:
                  filter: causal(width, 2, 2 ** i) >> tanh
                  gate: causal(width, 2, 2 ** i) >> sigmoid
          - total: conv(skips, 1) >> add(current, total) if k + i > 0 else conv(skips, 1)
          - take(gated)
          - conv(width, 1)
          - add(current, x)
  - take(total)
  - relu >> conv(skips, 1) >> relu >> conv(256, 1)
"""


def test_a_loop_adds_to_one_sum() -> None:
    network = loads(WAVES)
    layer = 2 * (32 * 32 * 2 + 32) + (32 * 256 + 256) + (32 * 32 + 32)
    own = (256 * 32 * 2 + 32) + 12 * layer + 2 * (256 * 256 + 256)
    total = analyze(network).total
    assert total.params == own
    weights = 256 * 32 * 2 + 12 * (2 * 32 * 32 * 2 + 32 * 256 + 32 * 32) + 2 * 256 * 256
    assert total.macs == 160 * weights
    assert network["total3.add1"].inputs == ("total3.conv1", "total2.add1")
    assert network["relu1"].inputs == ("total12.add1",)


def test_what_a_loop_collects() -> None:
    text = """name: t
input: 4x8x8
layers:
  - let: {maps: '[]'}
  - for width in [2, 3, 4]:
      - x: conv(width, 1)
      - let: {maps: 'maps + [x]'}
  - concat(maps)
"""
    network = loads(text)
    assert [layer.path for layer in network] == ["x", "x2", "x3", "concat1"]
    assert network["concat1"].inputs == ("x", "x2", "x3") and network.output == (9, 8, 8)


def test_only_a_loop_sets_a_name_again() -> None:
    head = "name: t\ninput: 4x8x8\nlayers:\n"
    assert told(head + "  - x: relu\n  - x: relu\n") == (
        "net.yaml:5:5: duplicate name 'x'; first in line 4"
    )
    loop = head + "  - for i in [1, 2]:\n      - x: relu\n      - x: tanh\n"
    assert told(loop) == "net.yaml:6:9: duplicate name 'x'; first in line 5"
    again = head + "  - x: relu\n  - for i in [1, 2]:\n      - x: add(x, current)\n  - take(x)\n"
    assert [layer.path for layer in loads(again)] == ["x", "x2", "x3"]


def unnamed(network: Network) -> list[Any]:
    """Return the arguments that each layer's call has without their names, and their types."""
    return [[(type(arg), arg) for arg in layer.op.unnamed] for layer in network]


def test_a_block_made_again_is_as_if_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a template gives, for a second model of a file or a second time, is what is written."""
    names = [name for doc in documents() for name in doc.models()]
    made = [[load(name) for name in names] for _ in range(2)]
    monkeypatch.setattr(Template, "fits", lambda *_: False)
    for name, *again in zip(names, *made, strict=True):
        anew = load(name)
        for network in again:
            assert (network.layers, network.outputs) == (anew.layers, anew.outputs), name
            places, noted = (n.find_remarks.keywords for n in (network, anew))  # type: ignore[attr-defined]
            assert [*places["places"].items()] == [*noted["places"].items()], name
            assert unnamed(network) == unnamed(anew), name


def test_a_block_that_reads_what_changes_is_expanded_anew() -> None:
    text = (
        "name: net\ninput: 3x8x8\nblocks:\n  own:\n    - a: conv(3, k, padding='same')\nlayers:\n"
    )
    text += "".join(f"  - let: {{k: {k}}}\n  - own\n" for k in (3, 5, 3))
    assert [layer.op.kernel_size for layer in loads(text)] == [3, 5, 3]  # type: ignore[attr-defined]


def test_a_block_is_told_apart_by_the_names_of_its_arguments() -> None:
    text = "name: net\ninput: 8x16x16\nblocks:\n  own(a, b):\n    - x: conv(a, b, padding='same')\n"
    text += "layers: ['own(a=8, b=3)', 'own(b=8, a=3)', 'own(3, 8)']\n"
    assert [layer.op.values[:2] for layer in loads(text)] == [(8, 3), (3, 8), (3, 8)]
