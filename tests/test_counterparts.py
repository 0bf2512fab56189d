"""The shipped specs against networks of torchvision, timm and pytorchcv: shapes and MACs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from archcost import Network, analyze, load
from archcost.counterparts import COUNTERPARTS
from archcost.proofs.counterparts import build_reference, counterpart
from archcost.proofs.tools import TOTAL, flop_counter_mode

TORCHVISION = {
    "alexnet_torchvision": "alexnet",
    **{f"vgg{n}": f"vgg{n}" for n in (11, 13, 16, 19)},
    "vgg16_torchvision": "vgg16",
    **{f"vgg{n}_bn": f"vgg{n}_bn" for n in (11, 13, 16, 19)},
    "googlenet_torchvision": "googlenet",
    **{f"resnet{n}": f"resnet{n}" for n in (18, 34, 50, 101, 152)},
    **{f"densenet{n}": f"densenet{n}" for n in (121, 161, 169, 201)},
    "inception_v3": "inception_v3",
}
TIMM = {
    "inception_v4": "inception_v4", "inception_resnet_v2": "inception_resnet_v2",
    "xception": "legacy_xception",
    "nasnet_a_large": "nasnetalarge", "pnasnet5_large": "pnasnet5large",
    # the two tokens are put before the others at once there
    "deit_ti_distilled": "deit_tiny_distilled_patch16_224",
    "deit_s_distilled": "deit_small_distilled_patch16_224",
    "deit_b_distilled": "deit_base_distilled_patch16_224",
}  # fmt: skip
PYTORCHCV = {
    "alexnet": "alexnet", "alexnet_torchvision": "alexnetb",
    "zfnet": "zfnet", "zfnet_wide": "zfnetb",
    "resnet50_v1": "resnet50", "resnet50": "resnet50b",
    **{f"resnet{n}_projection": f"resnet{n}_cifar10" for n in (20, 56, 110)},
    "densenet100_bc_k12": "densenet100_k12_bc_cifar10",
    "densenet190_bc_k40": "densenet190_k40_bc_cifar10",
    "densenet250_bc_k24": "densenet250_k24_bc_cifar10",
    "bn_inception": "bninception", "inception_resnet_v1_facenet": "inceptionresnetv1",
}  # fmt: skip


def assert_same_weights(network: Network, model: Any) -> None:
    """Compare the shapes of parameters and buffers, but for sizes of 1.

    There a linear layer may be a 1x1 convolution, and a factor per channel may be C x 1 x 1.
    """

    def shapes(tensors: Iterable[Any]) -> list[tuple[int, ...]]:
        return sorted(tuple(size for size in shape if size != 1) for shape in tensors)

    for kind in ("params", "buffers"):
        tensors = model.parameters() if kind == "params" else model.buffers()
        buffers = (shape for layer in network for shape in layer.cost.buffers.values())
        ours = network.params.values() if kind == "params" else buffers
        assert shapes(ours) == shapes(tensor.shape for tensor in tensors)


def assert_same_cost(network: Network, model: Any, batch: int = 1) -> None:
    """Compare the shapes of parameters and buffers, and the MACs that PyTorch counts."""
    import torch

    flops = flop_counter_mode(model, [torch.empty(batch, *network.input, device="meta")])[TOTAL]
    assert_same_weights(network, model)
    assert 2 * batch * analyze(network).total.macs == flops


@pytest.mark.sampled
@pytest.mark.reference
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_agrees(name: str, torchvision: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    inception = TORCHVISION[name] in ("googlenet", "inception_v3")
    options = {"aux_logits": False, "init_weights": False} if inception else {}
    with torch.device("meta"):
        model = torchvision.models.get_model(TORCHVISION[name], weights=None, **options)
    assert_same_cost(load(name), model.eval())


@pytest.mark.reference
@pytest.mark.parametrize("name", ["googlenet_torchvision", "inception_v3"])
def test_torchvision_agrees_on_auxiliary_heads(name: str, torchvision: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    with torch.device("meta"):
        make = getattr(torchvision.models, TORCHVISION[name])
        model = make(weights=None, aux_logits=True, init_weights=False)
    assert_same_cost(load(name, aux=True), model.train(), batch=2)


@pytest.mark.sampled
@pytest.mark.reference
@pytest.mark.parametrize("name", TIMM)
def test_timm_agrees(name: str, torchvision: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    timm = pytest.importorskip("timm", reason="timm is not installed")  # it imports torchvision
    with torch.device("meta"):
        model = timm.create_model(TIMM[name], pretrained=False)
    assert_same_cost(load(name), model.eval())


@pytest.mark.sampled
@pytest.mark.reference
@pytest.mark.parametrize("name", PYTORCHCV)
def test_pytorchcv_agrees(name: str, torchvision: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("pytorchcv", reason="pytorchcv is not installed")
    from pytorchcv.model_provider import get_model  # it imports torchvision

    with torch.device("meta"):
        model = get_model(PYTORCHCV[name], pretrained=False)
    assert_same_cost(load(name), model.eval())


LISTED = {"torchvision": TORCHVISION, "timm": TIMM, "pytorchcv": PYTORCHCV}
COUNTERPART_CASES = [
    (name, collection)
    for name, references in COUNTERPARTS.items()
    for collection in references
    if name not in LISTED[collection]
    and not (collection == "timm" and name.startswith("vgg"))  # linear layers as convolutions
    and not (collection == "pytorchcv" and "nasnet" in name)  # pads by a row and drops it later
]


@pytest.mark.sampled
@pytest.mark.reference
@pytest.mark.parametrize(("name", "collection"), COUNTERPART_CASES)
def test_counterparts_agree(
    name: str, collection: str, torchvision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip(collection, reason=f"{collection} is not installed")
    plan = torchvision.models.regnet.BlockParams

    def on_the_cpu(*args: Any, make: Any = plan.from_init_params, **kwargs: Any) -> Any:
        with torch.device("cpu"):  # it computes its widths with tensors
            return make(*args, **kwargs)

    monkeypatch.setattr(plan, "from_init_params", on_the_cpu)
    network = load(name)
    reference = counterpart(collection, network)
    assert reference is not None
    with torch.device("meta"):
        model = build_reference(collection, *reference)
    assert_same_cost(network, model.eval())


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "maker", "options"),
    [
        ("wrn16_8_cifar10", "wrn_cifar:get_wrn_cifar", {"blocks": 16, "width_factor": 8}),
        ("wrn40_4_cifar10", "wrn_cifar:get_wrn_cifar", {"blocks": 40, "width_factor": 4}),
        ("shufflenet_v1_g3_x1.5", "shufflenet:get_shufflenet", {"groups": 3, "width_scale": 1.5}),
        ("shufflenet_v1_g3_x2", "shufflenet:get_shufflenet", {"groups": 3, "width_scale": 2.0}),
    ],
)
def test_sizes_that_pytorchcv_does_not_name(
    name: str, maker: str, options: dict[str, Any], torchvision: Any
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("pytorchcv", reason="pytorchcv is not installed")
    module, function = maker.split(":")
    if "cifar" in name:
        options = {"num_classes": 10, **options}
    with torch.device("meta"):
        model = build_reference(f"pytorchcv.models.{module}", function, options)
    assert_same_cost(load(name), model.eval())


@pytest.mark.reference
def test_resnext152_is_torchvisions_class_with_more_blocks(torchvision: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    resnet = torchvision.models.resnet
    with torch.device("meta"):
        model = resnet.ResNet(resnet.Bottleneck, [3, 8, 36, 3], groups=32, width_per_group=4)
    assert_same_cost(load("resnext152_32x4d"), model.eval())


@pytest.mark.reference
@pytest.mark.parametrize("name", ["nasnet_a_mobile", "nasnet_a_large", "pnasnet5_large"])
def test_pytorchcv_has_the_same_weights_of_searched_cells(name: str, torchvision: Any) -> None:
    """Its odd padding costs more: a row and a column too many, dropped after the convolution."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("pytorchcv", reason="pytorchcv is not installed")
    with torch.device("meta"):
        model = build_reference("pytorchcv", COUNTERPARTS[name]["pytorchcv"])
    assert_same_weights(load(name), model)
