"""Record what tools print of other collections' modules, in ``written.json`` beside this file.

    PYTHONPATH=. python tests/recorded/record_written.py
    PYTHONPATH=old:. python tests/recorded/record_written.py thop_2020_01
    PYTHONPATH=deepspeed-0.19.8:. python tests/recorded/record_written.py deepspeed

The first counts by the tools that are installed. The argument is the convention of a tool that needs a process of its own: an earlier version of
thop or ptflops, DeepSpeed's profiler (see ``record_earlier.py`` for the paths). One
module of each family of each collection is counted, in each of the ways in which the family is
written, for one sample, in evaluation mode, on a small input where the module takes one. What is
recorded replaces its part of the file.
"""

from __future__ import annotations

import collections
import collections.abc
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from archcost.network import Network
from archcost.packages import import_package
from archcost.proofs.counterparts import build_reference, counterpart
from archcost.proofs.reference import without_initialisation
from archcost.proofs.tools import TOOLS, TOTAL, Counter, quiet
from archcost.spec.catalog import load

RECORD = Path(__file__).with_name("written.json")

MODELS: dict[str, Sequence[str]] = {
    "torchvision": (
        "alexnet_torchvision", "convnext_tiny", "densenet121", "efficientnet_b0",
        "efficientnet_v2_s", "googlenet_torchvision", "inception_v3", "mnasnet0_5", "mobilenet_v2",
        "mobilenet_v3_small", "regnet_x_400mf_torchvision", "regnet_y_400mf", "resnet18",
        "resnext50_32x4d", "shufflenet_v2_x0.5", "squeezenet1_1", "swin_t", "vgg11", "vgg11_bn",
        "vit_b_32",
    ),
    "timm": (
        "convnext_tiny", "convnextv2_atto", "convnextv2_tiny", "deit_ti", "deit_ti_distilled",
        "densenet121", "inception_resnet_v2", "inception_v3", "inception_v4", "mobilenet_v2_0.5",
        "pnasnet5_large", "regnet_x_400mf", "regnet_y_800mf", "resnet18", "resnext50_32x4d",
        "se_resnet50", "se_resnext50_32x4d", "senet154", "vgg11", "vgg11_bn", "vit_ti_32",
        "xception",
    ),
    "pytorchcv": (
        "alexnet_torchvision", "bn_inception", "densenet100_bc_k12", "densenet121",
        "inception_resnet_v1_facenet", "inception_resnet_v2", "inception_v3", "inception_v4",
        "mobilenet_v1_0.25", "nin_cifar10", "preresnet110_cifar10", "preresnet164_cifar10",
        "preresnet18", "preresnet50", "resnet18", "resnet20_projection", "resnet50",
        "resnet50_v1", "shufflenet_v1_g3_x0.5", "squeezenet1_1", "vgg11", "vgg11_bn",
        "wrn40_4_cifar10", "xception",
    ),
}  # fmt: skip
"""Models of the catalog whose counterparts are counted, by collection."""

_FIXED = ("alexnet", "googlenet", "swin", "vgg", "vit")
_LARGE = ("inception_v3", "inception_v4", "inception_resnet", "xception", "pnasnet")


def small(collection: str, model: str) -> Network:
    """Return a network at the smallest usual input that its counterpart takes."""
    network = load(model)
    if collection == "pytorchcv" or network.family in _FIXED:
        return network
    size = 139 if network.family in _LARGE else 64
    return load(model, input=(3, size, size))


def build(collection: str, model: str) -> Any:
    """Return the counterpart in evaluation mode; its matrices and kernels are one zero, expanded."""
    reference = counterpart(collection, load(model))
    assert reference
    with without_initialisation():
        module = build_reference(collection, *reference).eval()
    for weight in module.parameters():
        zero = weight.new_zeros(() if weight.dim() > 1 else weight.shape)
        weight.data = zero.expand(weight.shape)
    return module


def run(tool: Counter, module: Any, network: Network) -> int:
    """Return what a tool counts of a module, on the meta device where it can."""
    import torch

    by_values = tool.not_on_meta or tool.convention == "ptflops_aten"
    device = "cpu" if by_values else "meta"
    inputs = [torch.zeros(1, *network.input, device=device)]
    return tool.run(module.to(device), inputs)[TOTAL]


def on_the_path(name: str) -> Callable[[Any, Network], int | str]:
    """Return what counts by the tool of a convention whose version is on the path."""
    import record_earlier
    import torch

    if name.startswith("deepspeed"):
        record_earlier.profiler()

        def profiled(module: Any, network: Network) -> int | str:
            counts = record_earlier.profiled(module, [network.input])
            return counts if isinstance(counts, str) else counts[name.endswith("_macs")]

        return profiled
    if name.startswith("thop_"):
        collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]
        return lambda module, network: record_earlier.count(module, [network.input])
    [tool] = [tool for tool in TOOLS if tool.convention == name]
    return lambda module, network: tool.run(module, [torch.zeros(1, *network.input)])[TOTAL]


def counted(count: Callable[[Any, Network], int | str], collection: str, model: str) -> int | str:
    """Return what a tool counts of a counterpart, or that it refuses, and how."""
    import torch

    torch.backends.mha.set_fastpath_enabled(False)  # as where gradients are asked for
    try:
        with quiet(), torch.no_grad():
            return count(build(collection, model), small(collection, model))
    except Exception as error:  # whatever a tool raises: the record says that it does not count
        return f"refused: {type(error).__name__}"


def main(names: Sequence[str]) -> None:
    """Record the tools of these conventions, or else those that are installed."""
    from record_counters import apart

    warnings.simplefilter("ignore")
    import_package("torchvision")
    installed = {tool.convention: tool for tool in TOOLS if tool.version and not tool.apart}
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for name in names or installed:
        count = on_the_path(name) if names else partial(run, installed[name])
        for collection, models in MODELS.items():
            for model in models:
                found = apart(partial(counted, count, collection, model))
                record.setdefault(f"{collection}:{model}", {})[name] = found
                print(collection, model, name, found, flush=True)
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
