"""Record what an earlier version of a tool prints, in ``earlier.json`` beside this file.

    pip install --no-deps --target old thop==0.0.31.post2001170342
    PYTHONPATH=old:. python tests/recorded/record_earlier.py thop_2020_01

    pip download --no-deps --no-binary :all: deepspeed==0.9.5 && tar xzf deepspeed-0.9.5.tar.gz
    PYTHONPATH=deepspeed-0.9.5:. python tests/recorded/record_earlier.py deepspeed_0.9

    PYTHONPATH=deepspeed-0.10.0:. python tests/recorded/record_earlier.py boundary

The argument is the convention that the version stands for; after it, names of ops record these only; ``boundary`` records, in
``deepspeed.json``, ops that tell the versions of DeepSpeed's profiler apart. Of DeepSpeed, whose profiler is loaded
without the rest of the package, the MACs are recorded beside the FLOPs. Recorded are torchvision's models and the
twin of every op's examples, for one sample. The version runs under the PyTorch that is installed;
what it imports that Python or PyTorch have since renamed is put back under its old name.
"""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import importlib.util
import inspect
import io
import json
import logging
import sys
import types
import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RECORD = FOLDER / "earlier.json"
BOUNDARIES = FOLDER / "deepspeed.json"
sys.path.insert(0, str(FOLDER))


def exact(count: Any) -> int:
    """Return a count that is a whole number, of whatever type."""
    if int(count) != count:
        raise ValueError(f"{count!r} is not a whole number")
    return int(count)


def count(model: Any, shapes: list[tuple[int, ...]]) -> int:
    """Return the count of a model by the version of thop that is on the path."""
    import torch
    from thop import profile

    with contextlib.redirect_stdout(io.StringIO()):
        if "input_size" in inspect.signature(profile).parameters:
            return exact(profile(model, (1, *shapes[0]))[0])
        return exact(profile(model, inputs=tuple(torch.zeros(1, *s) for s in shapes))[0])


class Anything:
    """Stands for what DeepSpeed's profiler imports and a count does not need."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, _: str) -> Any:
        return Anything()

    def __call__(self, *_: Any, **__: Any) -> Any:
        return Anything()


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an old profiler's function that takes what today's PyTorch says by name.

    Pooling was told all by place; of the rest, an old function is not told what is new.
    """
    names = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in names.values()) or "return_indices" in names:
        return function
    if "ceil_mode" in names:
        return lambda *args, **kwargs: function(*args, *kwargs.values())
    return lambda *args, **kwargs: function(
        *args, **{name: value for name, value in kwargs.items() if name in names}
    )


@cache
def profiler() -> Any:
    """Return the module of DeepSpeed's flops profiler that is on the path."""
    import torch

    stubs: dict[str, dict[str, Any]] = {
        "": {}, ".accelerator": {"get_accelerator": Anything}, ".moe": {},
        ".moe.layer": {"MoE": type("MoE", (), {})}, ".utils": {"logger": logging.getLogger()},
        ".utils.torch": {"required_torch_version": lambda **_: True},
        ".utils.timer": {f"{n}_GLOBAL_TIMER": n for n in ("FORWARD", "BACKWARD", "STEP")},
    }  # fmt: skip
    for name, holds in stubs.items():
        module = types.ModuleType(f"deepspeed{name}")
        vars(module).update(holds)
        sys.modules[module.__name__] = module
    if importlib.util.find_spec("einops") is None:
        sys.modules["einops"] = types.ModuleType("einops")
        sys.modules["einops"].einsum = print  # type: ignore[attr-defined]
    path = Path(sys.path[2], "deepspeed", "profiling", "flops_profiler", "profiler.py")
    spec = importlib.util.spec_from_file_location("profiler", path)
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    for name in ("_pool_flops_compute", "_gelu_flops_compute", "_upsample_flops_compute"):
        if hasattr(loaded, name):
            setattr(loaded, name, told(getattr(loaded, name)))
    torch.cuda.synchronize = lambda *_: None  # some versions wait for a GPU, present or not
    return loaded


def profiled(model: Any, shapes: list[tuple[int, ...]]) -> tuple[int, int] | str:
    """Return a model's FLOPs and MACs by DeepSpeed, 0 where it has no MACs, or that it refuses."""
    import torch

    from archcost.proofs.tools import quiet

    try:
        with torch.no_grad(), quiet():
            run = profiler().FlopsProfiler(model)
            run.start_profile()
            model(*(torch.zeros(1, *s) for s in shapes))
            macs = run.get_total_macs() if hasattr(run, "get_total_macs") else 0
            return exact(run.get_total_flops()), exact(macs)
    except (TypeError, IndexError) as error:
        return f"{type(error).__name__} {error}"


def merged(
    record: dict[str, Any], name: str, entry: dict[str, Any], chosen: list[str]
) -> dict[str, Any]:
    """Return a version's entry, and where only some ops were chosen what is known of all others."""
    if not chosen:
        return entry
    known = record[name]
    assert known["version"] == entry["version"]
    others = {key: n for key, n in known["ops"].items() if key.split()[0] not in chosen}
    return {**known, "ops": others | entry["ops"]}


def record_deepspeed(name: str, chosen: list[str]) -> None:
    """Record the version of DeepSpeed on the path: each count in a process of its own."""
    import torch
    from record_counters import MODELS, apart, build, shape, wrapped

    from archcost.conventions import CONVENTIONS
    from archcost.ops import OPS
    from archcost.readings.recorder import module_of

    [version] = {d.version for d in distributions(path=[sys.path[2]]) if d.name == "deepspeed"}
    found: dict[str, dict[str, Any]] = {"models": {}, "ops": {}}
    profiler()
    for model in () if chosen else MODELS:
        with torch.device("meta"):
            empty = build(model)
        filled = empty.to_empty(device="cpu")
        found["models"][model] = apart(partial(profiled, filled, [shape(model)]))
    for op in [OPS[own] for own in chosen or OPS]:
        for number, e in enumerate(op.examples):
            twin = wrapped(module_of(torch, op.create(e.args, e.kwargs), e.inputs))
            found["ops"][f"{op.name} {number}"] = apart(partial(profiled, twin, list(e.inputs)))
    record = json.loads(RECORD.read_text())
    for place, convention in enumerate((name, f"{name}_macs")):
        entry: dict[str, Any] = {"version": f"deepspeed {version}"}
        for part, counts in found.items():
            entry[part] = {k: c[place] for k, c in counts.items() if not isinstance(c, str)}
        if convention in CONVENTIONS:
            record[convention] = merged(record, convention, entry, chosen)
    refused = {key: c for key, c in found["ops"].items() if isinstance(c, str)}
    print(name, refused)
    RECORD.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")


DIFFERENT = (
    "conv",
    "conv_transpose",
    "linear",
    "batchnorm",
    "leaky_relu",
    "interpolate",
    "attention",
)
"""The ops that versions of DeepSpeed's profiler count in different ways."""


def record_boundary() -> None:
    """Record what the version of DeepSpeed on the path counts of the ops that tell them apart."""
    import torch
    from record_counters import apart, wrapped

    from archcost.ops import OPS
    from archcost.readings.recorder import module_of

    [version] = {d.version for d in distributions(path=[sys.path[2]]) if d.name == "deepspeed"}
    profiler()
    entry = {}
    for name in DIFFERENT:
        for number, e in enumerate(OPS[name].examples):
            twin = wrapped(module_of(torch, OPS[name].create(e.args, e.kwargs), e.inputs))
            entry[f"{name} {number}"] = apart(partial(profiled, twin, list(e.inputs)))
    record = json.loads(BOUNDARIES.read_text()) if BOUNDARIES.exists() else {}
    record[version] = {key: c for key, c in entry.items() if not isinstance(c, str)}
    BOUNDARIES.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    print(version, {key: c for key, c in entry.items() if isinstance(c, str)})


def main() -> None:
    """Record the version on the path under the name of its convention."""
    name, *chosen = sys.argv[1:]
    if name == "boundary":
        record_boundary()
        return
    if name.startswith("deepspeed"):
        from archcost.packages import import_package

        warnings.simplefilter("ignore")
        import_package("torchvision")
        record_deepspeed(name, chosen)
        return
    collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import torch
    from record_counters import MODELS, build, shape, wrapped

    from archcost.conventions import find_convention
    from archcost.ops import OPS
    from archcost.packages import import_package
    from archcost.readings.recorder import module_of

    torch.set_num_threads(1)
    import_package("torchvision")
    package = find_convention(name).tool_version.split()[0]
    [version] = {d.version for d in distributions(path=[sys.path[2]]) if d.name == package}
    entry: dict[str, Any] = {"version": f"{package} {version}", "models": {}, "ops": {}}
    for model in () if chosen else MODELS:
        entry["models"][model] = count(build(model), [shape(model)])
    for op in [OPS[own] for own in chosen or OPS]:
        for number, e in enumerate(op.examples):
            try:
                twin = wrapped(module_of(torch, op.create(e.args, e.kwargs), e.inputs))
                entry["ops"][f"{op.name} {number}"] = count(twin, list(e.inputs))
            except (TypeError, StopIteration, AttributeError, ValueError) as error:
                print(op.name, number, type(error).__name__, error)
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record[name] = merged(record, name, entry, chosen)
    RECORD.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
