"""Which counting a printed number comes from."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from archcost.analysis import identify as public
from archcost.analysis.countings import Match
from archcost.analysis.identify import BUDGET, Tried, try_figures
from archcost.analysis.parameters import parameter_counts
from archcost.analysis.report import analyze
from archcost.cli import cli
from archcost.errors import ArchcostError, LookupFailed
from archcost.report.comparison import compare
from archcost.spec.catalog import load


@cache
def tried(model: str) -> Tried:
    return try_figures(model)


def identify(text: str, model: str, quantity: str | None = None) -> list[Match]:
    """What the public function does, without trying a model's figures again for each number."""
    return list(tried(model).examine(text, quantity).matches)


TWICE = "two operations per MAC"
TRAINING = "forward and backward, three times the forward"
FIRST = [
    ("4.11G", "resnet50", {"fvcore"}, (), "rounds"),
    ("4.11", "resnet50", {"fvcore"}, (), "rounds"),
    ("4.13G", "resnet50", {"ptflops"}, (), "rounds"),
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


def test_resnet50_has_4_12_under_old_ptflops_torchstat_and_old_deepspeed_only() -> None:
    matches = identify("4.12G", "resnet50")
    assert [(m.conventions, m.value, m.changes) for m in matches] == [
        (("ptflops_0.7",), 4_121_925_096, ()),
        (("torchstat_flops",), 4_121_823_744, ()),
        (("deepspeed_0.5",), 4_121_924_096, ()),
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


def test_exact_figures_come_first_then_those_with_the_least_assumed() -> None:
    for text, model in (("4G", "resnet50"), ("15.5G", "vgg16")):
        found = tried(model).examine(text)
        ranks = [(m.how != "exact", m.weight) for m in found.matches]
        assert len(ranks) > 1
        assert ranks == sorted(ranks)
        assert found.matches[0].conventions[0] == "macs"


def test_a_change_that_explains_nothing_is_left_out() -> None:
    # ptflops without biases, 4,132,435,968, rounds to 4.13 as well
    assert all(not m.changes for m in identify("4.13G", "resnet50"))


def test_a_match_is_computed_not_near() -> None:
    assert identify("4.17G", "resnet50") == []


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
        (
            "25,6M",
            "resnet50",
            "a comma separates groups of three digits, which '25,6M' does not have",
        ),
        ("0", "resnet50", "a count is more than 0; got '0'"),
        ("much", "resnet50", "a number is written as 61100840, 61.1M or 4.12G; got 'much'"),
        ("4.12G", "resnet55", "unknown model 'resnet55'; did you mean"),
    ],
)
def test_what_cannot_be_identified_is_refused(text: str, model: str, message: str) -> None:
    with pytest.raises(ArchcostError) as refused:
        identify(text, model)
    assert str(refused.value).startswith(message)


# Chance.

MANY_DIGITS = ("resnet50", "mobilenet_v3_large", "vgg16", "efficientnet_b0")


def near(model: str, draw: random.Random) -> str:
    """Return three random digits within a factor of ten of the model's MACs, to either side."""
    [macs] = [m.value for m in tried(model).figures if "macs" in m.conventions and not m.changes]
    number = macs * 10 ** draw.uniform(-1, 1)
    digits = f"{number:.2e}"
    return f"{float(digits) / 1e9:.4g}G" if number >= 1e9 else f"{float(digits) / 1e6:.4g}M"


DRAWS: list[Callable[[str, random.Random], str]] = [
    near,
    lambda _, draw: f"{draw.randint(100, 999)}M",
    lambda _, draw: f"{draw.randint(100, 999) / 100:.2f}G",
    lambda _, draw: f"{draw.randint(100, 999) / 10:.1f}{draw.choice('MG')}",
]


@pytest.mark.parametrize("model", MANY_DIGITS)
@pytest.mark.parametrize("draw", DRAWS)
def test_of_25_random_numbers_of_three_digits_2_at_most_are_explained(
    model: str, draw: Callable[[str, random.Random], str]
) -> None:
    numbers = random.Random(25)
    texts = [draw(model, numbers) for _ in range(4 * 25)]
    explained = [text for text in texts if tried(model).examine(text).matches]
    assert len(explained) <= 4 * 2, explained


@pytest.mark.parametrize("model", MANY_DIGITS)
def test_what_assumes_something_explains_few_of_all_numbers(model: str) -> None:
    # every number from 1.00 to 9.99, in the place of the model's MACs, and not a sample of them
    [macs] = [m.value for m in tried(model).figures if "macs" in m.conventions and not m.changes]
    place = 10 ** (len(str(macs)) - 1)
    texts = [f"{n * place // 100 / 1e6:.10g}M" for n in range(101, 1000) if n % 10]
    matches = {text: tried(model).examine(text).matches for text in texts}
    assuming = [text for text, found in matches.items() if found and not any(m.free for m in found)]
    explained = [text for text, found in matches.items() if found]
    assert len(explained) / len(texts) < 0.04
    assert len(assuming) / len(texts) <= BUDGET


def test_a_chance_is_the_share_of_numbers_that_as_simple_figures_give(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text("name: two\ninput: 10\nlayers:\n  - linear(100)\n")
    # 1000 MACs and 1000 weights with 100 biases; the plain figures from 505 to 2020 are
    # 1000 MACs, 2000 FLOPs and 1100 parameters; numbers to the place of 1010 are 1515
    found = tried(str(path)).examine("1100", "params")
    assert [(m.value, m.weight) for m in found.matches] == [(1100, 0)]
    assert found.matches[0].chance == pytest.approx(1 / 1650)  # 550 to 2200
    [match] = tried(str(path)).examine("1000", "operations").matches[:1]
    assert match.chance == pytest.approx(2 / 1500)  # 1000 and 2000, of 500 to 2000


def test_chance_alone_is_said_and_is_no_success() -> None:
    done = CliRunner().invoke(cli, ["identify", "resnet50", "5.37G"])
    assert done.exit_code == 1
    assert "nothing beyond chance:" in done.output
    assert "5,3" not in done.output  # none of those that give it
    assert tried("resnet50").examine("5.37G").by_chance
    # and where none at all does
    done = CliRunner().invoke(cli, ["identify", "resnet50", "4.1234567G"])
    assert done.exit_code == 1
    assert "nothing beyond chance: none of" in done.output


def test_all_shows_what_chance_explains() -> None:
    found = tried("resnet50").examine("5.37G")
    assert not found.matches
    done = CliRunner().invoke(cli, ["identify", "resnet50", "5.37G", "--all"])
    assert done.exit_code == 1
    assert all(f"{match.value:,}" in done.output for match in found.by_chance[:5])


def test_a_digit_more_is_beyond_chance() -> None:
    assert tried("resnet50").examine("5.37G").matches == ()
    match = tried("resnet50").examine("5.3695G").matches[0]
    assert match.changes == ("input 3x256x256",)


# What is known of the number.


def test_what_is_known_leaves_fewer_to_try() -> None:
    match = public.identify("5.37G", "resnet50", input="3x256x256")[0]
    assert (match.conventions, match.changes) == (("fvcore",), ())
    assert identify("5.37G", "resnet50") == []
    [match] = public.identify("4.13G", "resnet50", tools=["thop"])
    assert match.conventions == ("thop",)
    assert public.identify("4.13G", "resnet50", tools=["fvcore"]) == []
    [match] = public.identify(str(8 * 4_089_184_256), "resnet50", batch=8, tools=["macs"])
    assert (match.how, match.changes) == ("exact", ())


def test_a_knob_is_set_as_for_reconcile() -> None:
    [match] = public.identify("1258219584", "vit_ti_16", knobs={"classes": 2})
    assert (match.conventions, match.how) == (("timm",), "exact")
    assert identify("1258219584", "vit_ti_16") == []


def test_the_command_takes_what_reconcile_takes() -> None:
    known = ["--set", "classes=2", "--tool", "timm", "--input", "3x224x224", "--batch", "1"]
    done = CliRunner().invoke(cli, ["identify", "vit_ti_16", "1258219584", *known])
    assert done.exit_code == 0 and "timm" in done.output


@pytest.mark.parametrize(
    ("text", "model", "value"),
    [
        ("0.6 GFLOPs", "mobilenet_v2", 601_548_544),
        ("4,112M", "resnet50", 4_111_512_576),
        ("4.1115e9", "resnet50", 4_111_512_576),
        ("4.12 GMac", "resnet50", 4_121_925_096),
        ("15.47 × 10^9", "vgg16", 15_470_264_320),
        ("138.4M params", "vgg16", 138_357_544),
        ("138 357 544", "vgg16", 138_357_544),
        ("13.6M activations", "vgg16", 13_556_712),
    ],
)
def test_a_number_is_read_as_people_write_it(text: str, model: str, value: int) -> None:
    assert identify(text, model)[0].value == value


def test_what_a_word_says_of_a_number_holds() -> None:
    assert {m.quantity for m in identify("25.6M params", "resnet50")} == {"params"}
    assert identify("25.6M FLOPs", "resnet50") == []
    with pytest.raises(ArchcostError, match="is a number of params, not of operations"):
        identify("25.6M params", "resnet50", "operations")


# Whose number it is.

# timm of 2020 writes the head with a convolution, another repository its squeeze-and-excitation with
# linear layers: thop 0.0.31.post1912272122 prints 236,124,800 of the one and 238,854,464 of the other
CALLED = "some ReLUs and poolings are functions, of which its hooks do not know"
OF_TIMM = "of timm 0.1.26's mobilenetv3_large_100"
OF_ANOTHER = "of d-li14/mobilenetv3.pytorch's mobilenetv3_large"

PRINTED = [
    ("densenet121", "8,062,504", ("keras",), (), 7_978_856 + 83_648),
    ("xception", "22,910,480", ("keras",), (), 22_855_952 + 54_528),
    ("resnet50", "25,636,712", ("keras",), ("biases in all convolutions",), 25_557_032 + 79_680),
    ("resnet50", "4142713856", ("thop_2019_03",), ("of torchvision's resnet50",), 4142713856),
    ("resnet50", "4121924096", ("deepspeed_0.5",), (), 4121924096),
    # flops of 2 MACs that read no padding, biases, ReLU and pooling, in single precision
    ("squeezenet1_0", "1613337088", ("xla",), (), 1613337088),
    ("mobilenet_v2_1.4", "603134720", ("thop_2020_01",), (CALLED,), 603134720),
    ("mobilenet_v3_large", "236M", ("thop_2019_10",), (OF_TIMM,), 236124800),
    ("mobilenet_v3_large", "239M", ("thop_2019_10",), (OF_ANOTHER,), 238854464),
    ("resnet50", "3.8G", ("macs",), ("variant resnet50_v1 at 3x224x224",), 3_857_973_248),
]


@pytest.mark.parametrize(("model", "text", "conventions", "changes", "value"), PRINTED)
def test_a_printed_number_has_its_owner_first(
    model: str, text: str, conventions: tuple[str, ...], changes: tuple[str, ...], value: int
) -> None:
    match = identify(text, model)[0]
    assert set(conventions) <= set(match.conventions)
    assert (match.changes, match.value) == (changes, value)


def test_a_way_to_write_a_network_that_nobody_is_known_to_use_is_an_assumption() -> None:
    # 64,550,520 by thop_2019_10 if linear layers are the gates: one of 14 such numbers is as simple
    found = tried("mobilenet_v3_small").examine("64.6M")
    assert found.matches == ()
    [guess] = [m for m in found.by_chance if m.value == 64_550_520]
    assert guess.changes == ("1x1 convolutions of one position are linear layers",)


def test_who_prints_a_number_is_said_where_the_spec_says_it() -> None:
    found = tried("resnet50").examine("3.8G")
    assert found.sources == ["He et al. 2015, tables 1 and 3"]
    # a figure that no count gives is still its source's, with the reason that the spec has
    [match] = public.examine("0.70B", "efficientnet_b1").matches
    assert (match.how, match.printed_by) == ("printed", "Tan & Le 2019, table 2")
    assert match.changes == ("with one operation for each normalised value",)


def test_buffers_are_counted_beside_the_parameters() -> None:
    # a mean and a variance for each of 41,824 channels, and a count for each of 121 normalisations
    report = analyze(load("densenet121"))
    assert report.total.buffers == 83_648 + 121
    assert report.table(["name", "buffers"]).footer[0][1] == 83_769
    assert compare([report]).table().records()[0]["buffers"] == 83_769


KEPT = "an input normalisation that is kept"
KERAS = {  # keras.applications.NAME(weights=None).count_params(), Keras 3.15.1
    "resnet50": (25_636_712, "biases in all convolutions"),
    "resnet101": (44_707_176, "biases in all convolutions"),
    "densenet121": (8_062_504, ""),
    "xception": (22_910_480, ""),
    "mobilenet_v1": (4_253_864, ""),
    "mobilenet_v2": (3_538_984, ""),
    "mobilenet_v3_large": (5_507_432, ""),
    "inception_v3": (23_851_784, "normalisations without scale"),
    "inception_resnet_v2": (55_873_736, "normalisations without scale"),
    "efficientnet_b0": (5_330_571, KEPT),
}


@pytest.mark.parametrize("model", KERAS)
def test_keras_prints_this_as_total_params(model: str) -> None:
    number, change = KERAS[model]
    counts = [c for c in parameter_counts(load(model)) if c.value == number]
    # where a normalisation follows every convolution, biases for its scales change nothing
    simplest = min(counts, key=lambda count: len(count.changes))
    assert (simplest.ways, simplest.changes) == (("keras",), (change,) if change else ())
