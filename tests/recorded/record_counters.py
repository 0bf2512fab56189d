"""Record what other counters print of torchvision's models, and of every op by itself.

    python tests/recorded/record_counters.py [--tools PACKAGE,...] [MODEL ...]
    python tests/recorded/record_counters.py [--tools PACKAGE,...] --ops [OP ...]

write ``counters.json`` and ``op_counters.json`` beside this file. What is recorded replaces its
part of a file and leaves the rest: a tool that is not installed keeps its counts. `make counters`
installs them all beside the environment of the tests, and records every op; an op or an example
that is new needs that. ptflops is recorded twice, the second time with version 0.7 before the
other on the path.

Each pair of tool and model runs in a process of its own, because thop and ptflops change the
models that they count, and calflops, deepspeed and torchstat patch PyTorch.

The numbers are those that the tools return, batch 1, in evaluation mode; keys are the names of
the conventions in ``archcost.conventions``. No trained weights are loaded: counts do not depend
on them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from archcost.ops import OPS, Example
from archcost.ops.base import example
from archcost.packages import import_package
from archcost.proofs.tools import TOOLS, TOTAL, Counter, quiet
from archcost.readings.recorder import module_of
from archcost.shape import show

RECORD = Path(__file__).with_name("counters.json")
OPS_RECORD = Path(__file__).with_name("op_counters.json")

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


def installed() -> list[Counter]:
    """Return the tools that are installed, in the version that their convention is about."""
    return [tool for tool in TOOLS if tool.version]


def counted(tool: Counter, model: Any, inputs: Sequence[Any]) -> int | str:
    """Return what a tool counts in evaluation mode, or that it refuses, and how."""
    import torch

    if tool.convention == "torch":  # on a CPU it misses fused attention
        model, inputs = model.to("meta"), [x.to("meta") for x in inputs]
    try:
        with torch.no_grad(), quiet():
            return tool.run(model.eval(), inputs)[TOTAL]
    except Exception as error:  # whatever a tool raises: the record says that it does not count
        return f"refused: {type(error).__name__}"


def wrapped(module: Any) -> Any:
    """Return a module that takes inputs by place or by name, for tools that skip a bare leaf."""
    import torch

    class Wrapper(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.op = module

        def forward(self, *inputs: Any, **by_name: Any) -> Any:
            return self.op(*inputs, *by_name.values())

    return Wrapper().eval()


FUNCTIONS = {
    "relu": example(x=(8,)),
    "maxpool": example(3, stride=2, ceil_mode=True, x=(4, 112, 112)),
    "avgpool": example((2, 3), stride=1, x=(4, 9, 9)),
    "adaptive_avgpool": example((2, 3), x=(4, 7, 9)),
    "global_avgpool": example(x=(4, 9)),
}
"""What is recorded as a network counts that calls a function in place of the module."""


def called(module: Any) -> Any:
    """Return a module of no known class that calls the function of another."""
    import torch

    class Function(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return type(module).forward(module, x)

    return Function()


def twin_and_inputs(name: str, example: Example, function: bool = False) -> tuple[Any, list[Any]]:
    """Return the wrapped twin of an op's example, and zeros to call it with."""
    import torch

    op = OPS[name].create(example.args, example.kwargs)
    twin = module_of(torch, op, example.inputs)
    types = {"float": "float32", "complex": "complex64"}
    kinds = [op.takes(place) for place in range(len(example.inputs))]
    inputs = [
        torch.zeros(1, *shape, dtype=getattr(torch, types.get(kind, kind)))
        for kind, shape in zip(kinds, example.inputs, strict=True)
    ]
    return wrapped(called(twin) if function else twin), inputs


def example_key(name: str, example: Example) -> str:
    """Return how the record names an op's example: ``conv(out_channels=8, ...) on 3x8x8``."""
    op = OPS[name].create(example.args, example.kwargs)
    return f"{op.call()} on {' and '.join(map(show, example.inputs))}"


def printed_gflops(name: str) -> str:
    """Return the GFLOPS that torchvision's page of the model prints."""
    import torchvision

    weights = torchvision.models.get_model_weights(name)
    return str(next(iter(weights)).meta["_ops"])


def apart(function: Callable[[], Any]) -> Any:
    """Call a function in a process of its own, and return what it returns."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(function()))
    child.start()
    found = results.get()
    child.join()
    return found


def count_model(tool: Counter, name: str) -> int | str:
    """Return what a tool counts of one of torchvision's models."""
    import torch

    return counted(tool, build(name), [torch.zeros(1, *shape(name))])


def count_example(tool: Counter, name: str, example: Example, function: bool) -> int | str:
    """Return what a tool counts of an op's example."""
    return counted(tool, *twin_and_inputs(name, example, function))


def about(tool: Counter) -> dict[str, str]:
    """Return how a record names a tool."""
    call = (tool.run.__doc__ or "").removeprefix("Count with ").rstrip(".")
    return {"tool": f"{tool.package} {tool.version}", "call": call}


def record_models(tools: Sequence[Counter], names: Sequence[str]) -> None:
    """Record what the tools count of torchvision's models; the file is written after each."""
    torchvision = import_package("torchvision")
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"tools": {}, "models": {}}
    record["models_from"] = f"torchvision {torchvision.__version__}"
    for name in names:
        entry = record["models"].setdefault(name, {"counts": {}})
        entry |= {"options": OPTIONS.get(name, {}), "input": list(shape(name))}
        entry["printed by torchvision"] = printed_gflops(name)
        entry["counts"]["params"] = sum(p.numel() for p in build(name).parameters())
        for tool in tools:
            entry["counts"][tool.convention] = apart(partial(count_model, tool, name))
            record["tools"][tool.convention] = about(tool)
        print(name, entry["counts"], flush=True)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")


def record_ops(tools: Sequence[Counter], chosen: Sequence[str]) -> None:
    """Record what the tools count of every example of the chosen ops, a line for each example.

    An example whose op is no more is dropped.
    """
    known = json.loads(OPS_RECORD.read_text()) if OPS_RECORD.exists() else {}
    record: dict[str, Any] = {"tools": known.get("tools", {}), "ops": {}, "functions": {}}
    record["tools"] |= {tool.convention: about(tool)["tool"] for tool in tools}
    cases = [("ops", name, e) for name, op in OPS.items() for e in op.examples]
    cases += [("functions", name, e) for name, e in FUNCTIONS.items()]
    for part, name, e in cases:
        key = example_key(name, e)
        counts = {
            tool.convention: apart(partial(count_example, tool, name, e, part != "ops"))
            for tool in (tools if name in chosen else ())
        }
        if counts:
            print(key, flush=True)
        if entry := known.get(part, {}).get(key, {}) | counts:
            record[part][key] = entry
    parts = []
    for part, entries in record.items():
        lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in entries.items())
        parts.append(f' "{part}": {{\n{lines}\n }}')
    OPS_RECORD.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def main() -> None:
    """Record models or ops."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tools", help="packages to run, of those that are installed")
    parser.add_argument("--ops", action="store_true", help="record ops by themselves instead")
    parser.add_argument("names", nargs="*", help="models, or ops; all unless given")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    chosen = options.tools and options.tools.split(",")
    tools = [tool for tool in installed() if not chosen or tool.package in chosen]
    for package in dict.fromkeys(tool.package for tool in tools):
        with quiet():
            import_package(package)  # here, so that the children need not load it
    if options.ops:
        record_ops(tools, options.names or list(OPS))
    else:
        models = [tool for tool in tools if tool.convention != "profiler"]
        record_models(models, options.names or MODELS)


if __name__ == "__main__":
    main()
