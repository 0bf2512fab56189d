"""Why counters disagree on a network."""

from __future__ import annotations

import pytest

from archcost import loads
from archcost.analysis.reconcile import count_operations, reconcile
from archcost.conventions import CONVENTIONS
from archcost.errors import LookupFailed
from archcost.spec.catalog import load

MODELS = ("alexnet", "vgg16", "googlenet_torchvision", "resnet18", "resnet50", "lenet5")


def test_fvcore_counts_normalisation_and_the_last_pooling_of_resnet50() -> None:
    [row] = reconcile(load("resnet50"), ["fvcore"]).rows
    normalised = 11_114_984 - 1000  # what all convolutions put out; the 1000 are the classifier's
    pooled = 2048 * 7 * 7
    assert {c.term: (c.count, c.weight, c.layers) for c in row.contributions} == {
        "batchnorm.in": (normalised, 1, 53),
        "batchnorm.bias": (normalised, 1, 53),
        "global_avgpool2d.in": (pooled, 1, 1),
    }
    assert row.total == 4_111_512_576
    assert row.difference == 2 * normalised + pooled == 22_328_320


def test_a_difference_can_be_taken_from_any_convention() -> None:
    result = reconcile(load("resnet50"), ["torchvision", "torch"], base="torch")
    assert result.base_total == 8_178_368_512
    torchvision, torch = result.rows
    assert [(c.term, c.weight, c.amount) for c in torchvision.contributions] == [
        ("mac", -1, -4_089_184_256)
    ]
    assert (torch.difference, torch.contributions) == (0, ())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("base", ["macs", "thop"])
def test_the_terms_add_up_to_the_difference(model: str, base: str) -> None:
    network = load(model)
    result = reconcile(network, base=base)
    assert [row.convention.name for row in result.rows] == list(CONVENTIONS)
    for row in result.rows:
        amounts = [c.amount for c in row.contributions]
        assert sum(amounts) == row.difference == row.total - result.base_total
        assert amounts == sorted(amounts, key=abs, reverse=True)
        assert 0 not in amounts
        assert row.total == count_operations(network, row.convention)


def test_the_terms_of_a_layer_on_several_rows_add_up() -> None:
    """Each of six channels is a row of the batch, on which the linear layer runs."""
    net = loads("""
name: folded
input: 6x5x4
layers: [to_batch, linear(3), relu, from_batch(6)]
""")
    [row] = reconcile(net, ["torchstat_madd"], base="macs").rows
    assert {part.term: part.count for part in row.contributions} == {
        "mac": 6 * 5 * 4 * 3, "linear.out": 6 * 5 * 3, "relu.in": 6 * 5 * 3,
    }  # fmt: skip
    assert sum(part.amount for part in row.contributions) == row.difference == 360


def test_an_unknown_convention_is_refused_with_the_nearest() -> None:
    with pytest.raises(LookupFailed) as refused:
        reconcile(load("lenet5"), ["thopp"])
    assert str(refused.value) == "unknown convention 'thopp'; did you mean 'thop'?"
