"""Record what other counters print of torchvision's models, in ``counters.json`` beside this file.

    python tests/recorded/record_counters.py [--tools PACKAGE,...] [MODEL ...]

needs torch, torchvision, fvcore, torchinfo, ptflops and thop; calflops (with transformers),
deepspeed and torchstat are recorded where they are installed. Without names, all models are
recorded; what is recorded replaces its part of the file and leaves the rest. ptflops is recorded
twice, the second time with version 0.7 before the other on the path:

    pip install --no-deps --target old ptflops==0.7
    PYTHONPATH=old python tests/recorded/record_counters.py --tools ptflops

Each pair of tool and model runs in a process of its own, because thop and ptflops change the
models that they count, and calflops, deepspeed and torchstat patch PyTorch.

The numbers are those that the tools return, batch 1, in evaluation mode; keys are the names of
the conventions in ``archcost.conventions``. No trained weights are loaded: counts do not depend
on them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from archcost.verify.packages import import_package

RECORD = Path(__file__).with_name("counters.json")

SIZE = {"inception_v3": 299}
OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
MODELS = (
    "alexnet",
    "vgg11", "vgg13", "vgg16", "vgg19", "vgg16_bn",
    "googlenet", "inception_v3",
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "wide_resnet50_2", "resnext50_32x4d",
    "densenet121", "squeezenet1_0", "squeezenet1_1",
    "mobilenet_v2", "shufflenet_v2_x1_0",
)  # fmt: skip


def build(name: str) -> Any:
    """Return a torchvision model without trained weights, in evaluation mode."""
    import torchvision

    return getattr(torchvision.models, name)(weights=None, **OPTIONS.get(name, {})).eval()


def shape(name: str) -> tuple[int, int, int]:
    """Return the input shape of a model, without batch."""
    size = SIZE.get(name, 224)
    return (3, size, size)


Counts = dict[str, Any]
TOOLS: dict[str, tuple[str, Callable[[Any, tuple[int, ...]], Counts]]] = {}
"""By the name of its package: what is called, and the function that calls it."""


def tool(
    package: str, call: str
) -> Callable[[Callable[[Any, tuple[int, ...]], Counts]], Callable[[Any, tuple[int, ...]], Counts]]:
    """Register the function that runs a tool."""

    def register(
        function: Callable[[Any, tuple[int, ...]], Counts],
    ) -> Callable[[Any, tuple[int, ...]], Counts]:
        TOOLS[package] = (call, function)
        return function

    return register


@tool("fvcore", "FlopCountAnalysis(model, x).total(); ActivationCountAnalysis(model, x).total()")
def fvcore(model: Any, shape: tuple[int, ...]) -> Counts:
    import torch
    from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis

    with torch.no_grad():
        x = torch.zeros(1, *shape)
        return {
            "fvcore": exact(FlopCountAnalysis(model, x).total()),
            "fvcore activations": exact(ActivationCountAnalysis(model, x).total()),
        }


@tool("torch", "with FlopCounterMode() as mode: model.to('meta')(x); mode.get_total_flops()")
def flop_counter_mode(model: Any, shape: tuple[int, ...]) -> Counts:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    mode = FlopCounterMode(display=False)
    with torch.no_grad(), mode:
        model.to("meta")(torch.zeros(1, *shape, device="meta"))
    params = sum(parameter.numel() for parameter in model.parameters())
    return {"torch": exact(mode.get_total_flops()), "params": params}


@tool("torchinfo", "summary(model, (1, 3, 224, 224), verbose=0).total_mult_adds")
def torchinfo(model: Any, shape: tuple[int, ...]) -> Counts:
    from torchinfo import summary

    return {"torchinfo": exact(summary(model, (1, *shape), verbose=0).total_mult_adds)}


@tool("ptflops", "get_model_complexity_info(model, (3, 224, 224), backend=..., as_strings=False)")
def ptflops(model: Any, shape: tuple[int, ...]) -> Counts:
    import copy

    from ptflops import get_model_complexity_info

    def count(**options: str) -> int:
        macs, _ = get_model_complexity_info(
            copy.deepcopy(model), shape, as_strings=False, print_per_layer_stat=False, **options
        )
        return exact(macs)

    if importlib.metadata.version("ptflops") == "0.7":
        return {"ptflops_0.7": count()}
    return {"ptflops": count(backend="pytorch"), "ptflops_aten": count(backend="aten")}


@tool("thop", "profile(model, inputs=(x,), verbose=False)")
def thop(model: Any, shape: tuple[int, ...]) -> Counts:
    import torch
    from thop import profile

    macs, _ = profile(model, inputs=(torch.zeros(1, *shape),), verbose=False)
    return {"thop": exact(macs)}


@tool("calflops", "calculate_flops(model, (1, 3, 224, 224), output_as_string=False)")
def calflops(model: Any, shape: tuple[int, ...]) -> Counts:
    from calflops import calculate_flops

    flops, macs, _ = calculate_flops(
        model, (1, *shape), output_as_string=False, print_results=False, print_detailed=False
    )
    return {"calflops": exact(flops), "calflops_macs": exact(macs)}


@tool("deepspeed", "get_model_profile(model, (1, 3, 224, 224), as_string=False)")
def deepspeed(model: Any, shape: tuple[int, ...]) -> Counts:
    from deepspeed.profiling.flops_profiler import get_model_profile

    flops, macs, _ = get_model_profile(
        model, (1, *shape), print_profile=False, detailed=False, as_string=False
    )
    return {"deepspeed": exact(flops), "deepspeed_macs": exact(macs)}


@tool("torchstat", "ModelHook(model, (3, 224, 224)): sums of Flops and of MAdd")
def torchstat(model: Any, shape: tuple[int, ...]) -> Counts:
    from torchstat import ModelHook  # its report needs DataFrame.append, which pandas dropped

    leaves = ModelHook(model, shape).retrieve_leaf_modules().values()
    return {
        "torchstat_flops": sum(int(leaf.Flops) for leaf in leaves),
        "torchstat_madd": sum(int(leaf.MAdd) for leaf in leaves),
    }


def exact(number: Any) -> int:
    """Return a count as an int; refuse one that is no whole number."""
    if int(number) != number:
        raise ValueError(f"{number!r} is not a whole number")
    return int(number)


def printed_gflops(name: str) -> str:
    """Return the GFLOPS that torchvision's page of the model prints."""
    import torchvision

    weights = torchvision.models.get_model_weights(name)
    return str(next(iter(weights)).meta["_ops"])


def installed() -> Iterator[str]:
    """Yield the tools that are installed."""
    for package in TOOLS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(package)
            yield package


def _measure(package: str, name: str, results: Any) -> None:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        counts = TOOLS[package][1](build(name), shape(name))
    results.put(counts)


def measure(package: str, name: str) -> Counts:
    """Run one tool on one model in a process of its own."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_measure, args=(package, name, results))
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(f"{package} failed on {name}")
    counts: Counts = results.get()
    return counts


def main() -> None:
    """Record, and write the file after each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tools", default=",".join(installed()), help="packages to run")
    parser.add_argument("models", nargs="*", default=MODELS)
    options = parser.parse_args()
    torchvision = import_package("torchvision")  # here, so that the children need not load it

    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"tools": {}, "models": {}}
    record["models_from"] = f"torchvision {torchvision.__version__}"
    for name in options.models:
        entry = record["models"].setdefault(name, {"counts": {}})
        entry |= {"options": OPTIONS.get(name, {}), "input": list(shape(name))}
        entry["printed by torchvision"] = printed_gflops(name)
        for package in options.tools.split(","):
            counts = measure(package, name)
            entry["counts"] |= counts
            for key in counts:
                record["tools"][key] = {
                    "tool": f"{package} {importlib.metadata.version(package)}",
                    "call": TOOLS[package][0],
                }
        print(name, entry["counts"], flush=True)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
