"""Networks written as specs: the same layers, the same figures, and lines that a person signs."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from random_networks import draw, load_text
from random_specs import to_text

from archcost import Network, analyze, load, loads, to_spec
from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.folding.shared import unnumbered
from archcost.folding.spec import folded_spec, loaded, matched, plain
from archcost.setting import CPU
from archcost.spec.catalog import specs_folder
from archcost.storage.footprint import Footprint

IMAGE = "3x224x224"
PAIRS = {
    "resnet50": "resnet", "vgg16_bn": "vgg", "densenet121": "densenet",
    "mobilenet_v3_large": "mobilenet_v3", "efficientnet_b0": "efficientnet",
    "convnext_tiny": "convnext", "vit_b_16": "vit", "swin_t": "swin",
}  # fmt: skip
"""Networks of torchvision, and the files in which people wrote them."""


def figures(network: Network) -> dict[str, int]:
    total, memory = analyze(network).total, Footprint(network, CPU)
    return {
        "params": total.params, "macs": total.macs, "activations": total.activations,
        "saved": memory.saved.total, "training": memory.training.peak.total,
        "inference": memory.inference.peak.total,
    }  # fmt: skip


def body_lines(family: str) -> int:
    """Return how many lines of a file of the catalog say what the network is."""
    count, inside = 0, False
    for line in (Path(specs_folder()) / f"{family}.yaml").read_text("utf-8").splitlines():
        if line[:1].strip():
            inside = line.split(":")[0] in ("let", "blocks", "layers")
        count += inside and bool(line.strip())
    return count


@pytest.mark.torch
@pytest.mark.parametrize("name", PAIRS)
def test_a_network_of_torchvision_is_written_as_a_person_would(torchvision: Any, name: str) -> None:
    source = load(f"torchvision:{name}", input=IMAGE)
    text = to_spec(source)
    ours, theirs = figures(loads(text)), figures(replace(source, holders={}))
    differ = {key for key in ours if ours[key] != theirs[key]}
    assert differ == ({"activations", "inference"} if name == "swin_t" else set())
    said = [line for line in text.splitlines() if line.startswith("#")]
    assert len(said) == len(differ)
    assert len(text.splitlines()) <= 2 * body_lines(PAIRS[name])
    assert max(map(len, text.splitlines())) <= 110


RESNET = """\
  bottleneck(width, stride=1, downsample=False):
    - add:
        body:
          - conv(width, 1, bias=False) >> batchnorm >> relu
          - conv(width, 3, stride=stride, padding=1, bias=False) >> batchnorm >> relu
          - conv(4 * width, 1, bias=False) >> batchnorm
        downsample: conv(4 * width, 1, stride=stride, bias=False) >> batchnorm if downsample
    - relu
"""


@pytest.mark.torch
def test_blocks_have_parameters_for_what_differs(torchvision: Any) -> None:
    text = to_spec("torchvision:resnet50", input=IMAGE)
    assert RESNET in text
    line = "  - layer2: bottleneck(128, stride=2, downsample=True) >> bottleneck(128) * 3\n"
    assert line in text


POOLING = "name: pooling\ninput: 3x8x8\nlayers:\n  - maxpool(2) >> relu\n"


@pytest.mark.parametrize("source", [load("crnn"), loads(POOLING)], ids=lambda net: net.name)
def test_what_is_not_known_of_a_network_is_not_compared(source: Network) -> None:
    """The peak of a recurrent layer, and a step that trains nothing."""
    text = to_spec(source)
    assert not text.startswith("#")
    assert analyze(loads(text)).total == analyze(source).total


# Every network that a spec says.


def same_again(network: Network) -> str:
    """Return a network as a spec, whose layers are checked to be the same."""
    text = folded_spec(network)
    source = plain(unnumbered(network))
    made = loaded(text)
    names = matched(source, made)
    assert [names[name] for name in source.outputs] == [*made.outputs]
    return text


def drawn(seed: int) -> Network:
    """Return a random network; a spec that is refused is drawn again."""
    rng = random.Random(seed)
    while True:
        try:
            return load_text(to_text(draw(rng)))
        except ArchcostError:
            continue


@pytest.mark.parametrize("seed", range(150))
def test_a_random_network_comes_back(seed: int) -> None:
    same_again(drawn(seed))


@pytest.mark.parametrize(
    "name", ["resnet50", "inception_v3", "unet", "siamese", "crnn", "densenet121"]
)
def test_a_network_of_the_catalog_comes_back(name: str) -> None:
    same_again(load(name))


# Code of one's own.

MODULES = """\
import torch
from torch import nn

class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
        self.fc = nn.Linear(4, 1)
    def forward(self, left, right):
        return self.fc(self.tower(left) * self.tower(right))

class Placed(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.positions, self.norm = nn.Embedding(50, 8), nn.Embedding(6, 8), nn.LayerNorm(8)
        self.register_buffer("ids", torch.arange(6).expand((1, -1)))
    def forward(self, x):
        return self.norm(self.words(x) + self.positions(self.ids[:, :x.size(1)]))

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.hidden = nn.Embedding(50, 8), nn.Linear(8, 8)
        self.out = nn.Linear(8, 50, bias=False)
        self.out.weight = self.table.weight
    def forward(self, words):
        return self.out(self.hidden(self.table(words)).relu())

class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.text = nn.Conv2d(3, 4, 8), nn.Linear(5, 4)
    def forward(self, picture, words):
        seen, said = self.image(picture).flatten(1), self.text(words)
        return {"sum": seen + said, "both": torch.cat([seen, said], 1)}

class Summed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.shortcut = nn.Linear(8, 8), nn.Linear(8, 8)
    def forward(self, x):
        return sum([self.body(x), self.shortcut(x)])

class Folded(nn.Module):
    def forward(self, x):
        return x.unfold(1, 3, 2)
"""
SPECS = {
    "Tower": ({"left": "1x8x8", "right": "1x8x8"}, """\
inputs:
  left: 1x8x8
  right: 1x8x8
shared:
  tower: conv(8, 3) >> relu >> flatten >> linear(4)
layers:
  - tower2: tower
  - take(right) >> tower >> multiply(tower2, current) >> linear(1)
"""),
    "Tied": ({"words": "7:int64"}, """\
inputs:
  words: 7 int64
layers:
  - table: embedding(50, 8)
  - linear(8) >> relu >> linear(50, bias=False, weight=table)
"""),
    "Summed": ({"x": "5x8"}, """\
input: 5x8
layers:
  - add:
      body: linear(8)
      shortcut: linear(8)
"""),
    "Placed": ({"x": "6:int64"}, """\
inputs:
  x: 6 int64
layers:
  - embedding(50, 8) >> position_embedding >> layernorm
"""),
    "Several": ({"picture": "3x8x8", "words": "5"}, """\
inputs:
  picture: 3x8x8
  words: 5
layers:
  - conv(4, 8)
  - x: flatten
  - text: linear(words, 4)
  - add(x, current) >> concat(x, text)
outputs:
  - add1
  - concat1
"""),
}  # fmt: skip


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    (tmp_path / "modules_of_mine.py").write_text(MODULES)
    monkeypatch.chdir(tmp_path)
    return "modules_of_mine.py"


@pytest.mark.torch
@pytest.mark.parametrize("name", SPECS)
def test_what_is_shared_tied_and_several(modules: str, name: str) -> None:
    inputs, wanted = SPECS[name]
    source = load(f"{modules}:{name}", input=inputs)
    text = to_spec(source)
    assert wanted == text[text.index("input") :]
    assert analyze(loads(text)).total.params == analyze(source).total.params
    assert analyze(loads(text)).total.macs == analyze(source).total.macs


@pytest.mark.torch
def test_an_onnx_file_is_written_in_blocks(tmp_path: Path) -> None:
    pytest.importorskip("onnx_ir", reason="onnx-ir is not installed")
    from test_onnx import exported, nn

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self, inside: int, outside: int) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU()

        def forward(self, x: Any) -> Any:
            return x + self.relu(self.conv(x)) if x.shape[1] > 3 else self.relu(self.conv(x))

    net = nn.Sequential(Block(3, 8), Block(8, 8), Block(8, 8), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1))
    source = load(exported(net, tmp_path / "net.onnx", (3, 16, 16), dynamo=False))
    text = to_spec(source)
    assert figures(loads(text)) == figures(source)
    assert (
        text[text.index("blocks:") :]
        == """\
blocks:
  stage:
    - add:
        shortcut: identity
        body: conv_relu
  conv_relu: conv(8, 3, padding=1) >> relu
layers:
  - 0: conv_relu
  - stage * 2 >> maxpool(2) >> conv(4, 1)
"""
    )


@pytest.mark.torch
def test_what_no_spec_can_say_is_refused_with_the_layer(modules: str) -> None:
    done = CliRunner().invoke(cli, ["import", f"{modules}:Folded", "--input", "12"])
    assert str(done.exception).startswith("unfold1: unfold(")
    assert str(done.exception).endswith(" is a function that no op of specs says")
    assert isinstance(done.exception, ArchcostError)


@pytest.mark.torch
def test_a_network_of_no_layer_is_refused() -> None:
    done = CliRunner().invoke(cli, ["import", "torch.nn:Identity", "--input", "12"])
    assert str(done.exception) == "torch.nn:Identity has no layer, and a spec has at least one"


@pytest.mark.torch
def test_the_command_writes_what_the_function_returns(modules: str) -> None:
    done = CliRunner().invoke(
        cli, ["import", f"{modules}:Tied", "--input", "words=7:int64", "-o", "net.yaml"]
    )
    assert done.exit_code == 0, done.output
    source = load(f"{modules}:Tied", input={"words": "7:int64"})
    assert Path("net.yaml").read_text("utf-8") == to_spec(source)


@pytest.mark.torch
@pytest.mark.parametrize(
    "name", ["regnety_002", "mobilenetv2_100", "mixer_b16_224", "vit_tiny_patch16_224", "dla34"]
)
def test_networks_of_timm(torchvision: Any, name: str) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    source = load(f"timm:{name}", input=IMAGE)
    text = to_spec(source)
    ours, theirs = figures(loads(text)), figures(replace(source, holders={}))
    for key in ("params", "macs", "saved", "training", "inference"):
        assert ours[key] == theirs[key], key
    assert len(text.splitlines()) <= 55


@pytest.mark.torch
def test_branches_of_attention_have_the_names_of_their_modules() -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    nn, F = torch.nn, torch.nn.functional

    class ViTBlock(nn.Module):
        """Attention of separate projections, and a scale for each channel, as many packages write it."""

        def __init__(self) -> None:
            super().__init__()
            self.q_proj, self.k_proj = nn.Linear(8, 8), nn.Linear(8, 4)
            self.v_proj, self.out = nn.Linear(8, 4), nn.Linear(8, 8)
            self.gamma = nn.Parameter(torch.ones(8))

        def forward(self, x: Any) -> Any:
            q, k, v = (
                part(x).unflatten(-1, (-1, 2)).transpose(1, 2)
                for part in (self.q_proj, self.k_proj, self.v_proj)
            )
            found = F.scaled_dot_product_attention(
                q, k, v, is_causal=True, scale=0.5, enable_gqa=True
            )
            return self.out(found.transpose(1, 2).flatten(2)) * self.gamma.reshape(1, 1, -1)

    source = load(nn.Sequential(ViTBlock(), ViTBlock()), input=(5, 8))
    text = to_spec(source)
    assert [line.strip() for line in text.partition("blocks:")[2].splitlines()] == [
        "",
        "vit_block:",
        "- attention(4, kv_heads=2, causal=True, scale=0.5):",
        "q_proj: linear(8)",
        "k_proj: linear(4)",
        "v_proj: linear(4)",
        "- linear(8) >> scale(bias=False, dim=-1)",
        "layers:",
        "- vit_block * 2",
    ]
    ours, theirs = figures(loads(text)), figures(replace(source, holders={}))
    for key in ("params", "macs", "saved", "training"):
        assert ours[key] == theirs[key], key


@pytest.mark.torch
def test_a_group_that_some_blocks_lack_has_one_condition() -> None:
    """As the stages of timm's ConvNeXt, of which the first does not halve the map."""
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    nn = torch.nn

    class Stage(nn.Module):
        def __init__(self, before: int, width: int) -> None:
            super().__init__()
            halves = nn.Sequential(nn.BatchNorm2d(before), nn.Conv2d(before, width, 1))
            self.down = nn.Identity() if before == width else halves
            self.blocks = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())

        def forward(self, x: Any) -> Any:
            return self.blocks(self.down(x))

    source = load(nn.Sequential(Stage(3, 3), Stage(3, 8), Stage(8, 16)), input=(3, 8, 8))
    text = to_spec(source)
    assert [line.strip() for line in text.partition("blocks:")[2].splitlines()] == [
        "",
        "stage(width):",
        "- if width != in_channels:",
        "- down: batchnorm >> conv(width, 1)",
        "- blocks: conv(width, 3, padding=1) >> relu",
        "layers:",
        "- stage(3) >> stage(8) >> stage(16)",
    ]
    assert figures(loads(text)) == figures(replace(source, holders={}))
