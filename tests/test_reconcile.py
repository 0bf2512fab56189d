"""Why counters disagree, and which counting a printed number comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from archcost.analysis.reconcile import identify, reconcile, total_work
from archcost.conventions import CONVENTIONS
from archcost.errors import ArchcostError, LookupFailed
from archcost.spec.catalog import load

MODELS = ("alexnet", "vgg16", "googlenet_torchvision", "resnet18", "resnet50", "lenet5")


def test_fvcore_counts_normalisation_and_the_last_pooling_of_resnet50() -> None:
    [row] = reconcile(load("resnet50"), ["fvcore"]).rows
    normalised = 11_114_984 - 1000  # what all convolutions put out; the 1000 are the classifier's
    pooled = 2048 * 7 * 7
    assert {c.term: (c.count, c.weight, c.layers) for c in row.contributions} == {
        "batchnorm": (normalised, 1, 53),
        "batchnorm_affine": (normalised, 1, 53),
        "adaptive_avgpool_2d_in": (pooled, 1, 1),
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
        assert row.total == row.convention.count(total_work(network))


def test_an_unknown_convention_is_refused_with_the_nearest() -> None:
    with pytest.raises(LookupFailed) as refused:
        reconcile(load("lenet5"), ["thopp"])
    assert str(refused.value) == "unknown convention 'thopp'; did you mean 'thop'?"


TWICE = "two operations per MAC"
TRAINING = "forward and backward, three times the forward"
FIRST = [
    ("4.11G", "resnet50", {"fvcore"}, (), "rounds"),
    ("4.11", "resnet50", {"fvcore"}, (), "rounds"),
    ("4.13G", "resnet50", {"thop"}, (), "rounds"),
    ("8.18G", "resnet50", {"flops", "torch"}, (), "rounds"),
    ("15.2M", "vgg16", {"lecture"}, (), "rounds"),
    ("28,793,320", "vgg16", {"all"}, (), "exact"),
    ("25557032", "resnet50", set(), (), "exact"),
    ("62.3M", "alexnet", set(), (), "truncates"),  # 62,378,344
    ("13.38M", "googlenet", set(), ("with auxiliary heads",), "rounds"),
    # 138,357,544 less one bias per output channel: 4224 of convolutions, 9192 of linear layers
    ("138344128", "vgg16", set(), ("biases left out",), "exact"),
    ("8223025152", "resnet50", {"fvcore"}, (TWICE,), "exact"),
    # 1,814,073,344 in three passes
    ("5442220032", "resnet18", {"macs", "torchvision"}, (TRAINING,), "exact"),
]


@pytest.mark.parametrize(("text", "model", "conventions", "changes", "how"), FIRST)
def test_the_likeliest_counting_comes_first(
    text: str, model: str, conventions: set[str], changes: tuple[str, ...], how: str
) -> None:
    match = identify(text, model)[0]
    assert conventions <= set(match.conventions)
    assert (match.changes, match.how) == (changes, how)
    assert bool(match.conventions) == (match.quantity != "params")


def test_resnet50_has_4_12_under_old_ptflops_and_torchstat_only() -> None:
    matches = identify("4.12G", "resnet50")
    assert [(m.conventions, m.value, m.changes) for m in matches] == [
        (("ptflops_0.7",), 4_121_925_096, ()),
        (("torchstat_flops",), 4_121_823_744, ()),
    ]


def test_the_paper_counts_its_own_variant() -> None:
    match = identify("3.86G", "resnet50")[0]
    assert match.value == 3_857_973_248
    assert (match.model, match.input) == ("resnet50_v1", (3, 224, 224))
    assert match.changes == ("variant resnet50_v1 at 3x224x224",)
    assert identify("3.8G", "resnet50")[0].how == "truncates"


def test_another_input_size_is_found() -> None:
    # all maps of the 53 convolutions grow by (256/224)**2 = 64/49, the classifier does not
    macs = (4_089_184_256 - 2_048_000) * 64 // 49 + 2_048_000
    match = identify(str(macs), "resnet50")[0]
    assert (match.how, match.input) == ("exact", (3, 256, 256))
    assert match.changes == ("input 3x256x256",)


def test_exact_figures_come_first_then_fewest_changes() -> None:
    for text, model in (("4G", "resnet50"), ("12.3G", "resnet50"), ("1.5G", "googlenet")):
        matches = identify(text, model)
        ranks = [(m.how != "exact", len(m.changes)) for m in matches]
        assert len(matches) > 2
        assert ranks == sorted(ranks)
    # 1,582,671,872 of the paper's network is cut to 1.5G, 1,498,376,192 of torchvision's rounds
    ways = [m.how for m in matches]
    assert ways[0] == "truncates" and "rounds" in ways


def test_a_change_that_explains_nothing_is_left_out() -> None:
    # ptflops without biases, 4,132,435,968, rounds to 4.13 as well
    assert all(not m.changes for m in identify("4.13G", "resnet50"))


def test_a_match_is_computed_not_near() -> None:
    assert identify("4.14G", "resnet50") == []


def test_a_quantity_can_be_asked_for() -> None:
    assert identify("25.6M", "resnet50", "operations") == []
    assert identify("25.6M", "resnet50", "params")[0].value == 25_557_032
    with pytest.raises(LookupFailed) as refused:
        identify("25.6M", "resnet50", "parms")
    assert str(refused.value) == "unknown quantity 'parms'; did you mean 'params'?"


def test_a_file_is_identified_too(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("name: one\ninput: 3x8x8\nlayers:\n  - conv(4, 3)\n")
    assert identify("3888", str(path))[0].value == 6 * 6 * 4 * 27


@pytest.mark.parametrize(
    ("text", "model", "message"),
    [
        ("4.12G", "-", "identify loads the model several times; give a name or a file, not -"),
        ("much", "resnet50", "a number is written as 61100840, 61.1M or 4.12G; got 'much'"),
        ("4.12G", "resnet55", "unknown model 'resnet55'; did you mean"),
    ],
)
def test_what_cannot_be_identified_is_refused(text: str, model: str, message: str) -> None:
    with pytest.raises(ArchcostError) as refused:
        identify(text, model)
    assert str(refused.value).startswith(message)
