"""Reads the models of timm, torchvision and pytorchcv, and compares each with the module itself.

``make atlas`` reads every model, which takes hours; ``python tests/atlas.py --sample 40`` about 40
of each collection, evenly spread. A model that the record holds already, under the same versions,
is not read again, so that a run that was stopped goes on. The page is written from the record.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from archcost import analyze, load
from archcost.errors import ArchcostError
from archcost.packages import import_package
from archcost.proofs.observe import fake_of, run
from archcost.setting import Setting
from archcost.storage.saved import saved_for_backward

torch: Any = import_module("torch")
ROOT = Path(__file__).resolve().parents[1]
RECORD, PAGE = ROOT / "build" / "atlas.jsonl", ROOT / "docs" / "atlas.md"
FITS = 40_000_000
"""Saved bytes are compared of models with at most so many parameters: they are built in memory."""
CV_MODELS = 100
VERSIONS = {
    name: version(name) for name in ("torch", "timm", "torchvision", "pytorchcv")
}  # fmt: skip
FACTS = ("parameters", "MACs", "MACs in training", "saved bytes")


@dataclass(frozen=True)
class Model:
    """A model of a collection: how it is built, and its input's shape without batch."""

    collection: str
    name: str
    make: Callable[[], Any]
    shape: Callable[[Any], Any]


def _always(shape: Any, _: Any) -> Any:
    return shape


def timm_models() -> Iterator[Model]:
    """Yield every model that timm lists."""
    timm = import_package("timm")

    def shape(module: Any) -> Any:
        return module.default_cfg.get("input_size", (3, 224, 224))

    for name in timm.list_models():
        yield Model("timm", name, partial(timm.create_model, name), shape)


def torchvision_models() -> Iterator[Model]:
    """Yield the models that classify and segment images, and classify videos."""
    models = import_package("torchvision").models
    parts = {"": models, "segmentation": models.segmentation, "video": models.video}
    for part, where in parts.items():
        for name in models.list_models(where):
            size = 299 if name == "inception_v3" else 224
            shape = (3, 16, size, size) if part == "video" else (3, size, size)
            options: dict[str, Any] = {"weights": None}
            if part == "segmentation":
                options["weights_backbone"] = None
            if name in ("googlenet", "inception_v3"):
                options["init_weights"] = False
            yield Model(
                "torchvision", name,
                partial(models.get_model, name, **options),
                partial(_always, shape),
            )  # fmt: skip


def pytorchcv_models() -> Iterator[Model]:
    """Yield a fixed sample of pytorchcv's models, evenly spread over their names."""
    provider: Any = import_module("pytorchcv.model_provider")

    def shape(module: Any) -> Any:
        size = getattr(module, "in_size", (224, 224))
        return (getattr(module, "in_channels", 3), *size)

    for name in spread(sorted(provider._models), CV_MODELS):
        yield Model("pytorchcv", name, partial(provider.get_model, name), shape)


def spread(items: Iterable[Any], number: int) -> list[Any]:
    """Return so many items, evenly spread; all if number is 0."""
    every = list(items)
    if not number or number >= len(every):
        return every
    return [every[i * len(every) // number] for i in range(number)]


class _NoModules:
    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def counted(module: Any, shape: Any, training: bool) -> int:
    """Return what PyTorch's own counter counts for one sample, in MACs.

    A batch of 1 does not run in training everywhere, and what is computed of parameters alone runs
    once for any batch: twice the count of a batch of 2 less that of 3 is the count of 1.
    """
    module.train(training)
    counts = []
    for batch in (2, 3):
        counter: Any = import_module("torch.utils.flop_counter").FlopCounterMode(display=False)
        counter.mod_tracker = _NoModules()  # its own refuses a parameter that goes into a module
        with torch.no_grad(), counter:
            module(torch.empty(batch, *shape, device="meta"))
        counts.append(int(counter.get_total_flops()) // 2)
    return 2 * counts[0] - counts[1]


def built(model: Model) -> Any:
    """Return the module without weights."""
    with suppress(Exception), torch.device("meta"):
        return model.make().to("meta")
    return model.make().to("meta")


def look(model: Model) -> dict[str, Any]:
    """Return what is read of a model, and what is measured, by fact."""
    row: dict[str, Any] = {"collection": model.collection, "model": model.name, **VERSIONS}
    try:
        module = built(model)
        shape = model.shape(module)
        start = time.perf_counter()
        network = load(module, input=shape)
        total = analyze(network).total
        row["seconds"] = round(time.perf_counter() - start, 3)
        training = network.in_training
        trained = analyze(training).total
        params = sum(p.numel() for p in module.parameters())
        row["parameters"] = [trained.params, params]
        row["MACs"] = [total.macs, counted(module, shape, training=False)]
        row["MACs in training"] = [trained.macs, counted(module, shape, training=True)]
        if params <= FITS:
            copy, fake = fake_of(model.make())
            found = run(copy.train(), fake, training.inputs, 2).storages(())
            said = saved_for_backward(training, Setting(batch=2, device="cpu")).total
            row["saved bytes"] = [said, sum(storage.bytes for storage in found.values())]
    except ArchcostError as error:
        row["refused"] = str(error)
    except Exception as error:  # whatever a foreign module raises
        row["failed"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return row


def page(rows: list[dict[str, Any]], listed: dict[str, int]) -> str:
    """Return the page that the rows make."""
    lines = [
        "# Atlas of models", "",
        "archcost reads the modules of three collections. Each number is compared with the module "
        "itself and must be equal. Parameters are compared, and MACs in evaluation and in training: "
        "half the FLOPs of `torch.utils.flop_counter`, on tensors without content. The bytes that "
        "training keeps for backward are compared too: hooks on fake tensors, batch 2, models of at "
        f"most {FITS / 1e6:.0f} M parameters. `make atlas` writes this page.", "",
        f"This page holds {len(rows):,} of {sum(listed.values()):,} models. The column *looked at* "
        "has the number for each collection, evenly spread over the sorted names. Versions: "
        + ", ".join(f"{name} {number}" for name, number in VERSIONS.items()) + ".", "",
        "| collection | models | looked at | read | refused or failed | "
        + " | ".join(f"{fact}: equal" for fact in FACTS) + " | median seconds |",
        "|---" + "|--:" * (5 + len(FACTS)) + "|",
    ]  # fmt: skip
    for name, number in listed.items():
        own = [row for row in rows if row["collection"] == name]
        read = [row for row in own if "seconds" in row]
        bad = sum("refused" in row or "failed" in row for row in own)
        equal = []
        for fact in FACTS:
            pairs = [row[fact] for row in own if fact in row]
            equal.append(f"{sum(a == b for a, b in pairs)} of {len(pairs)}")
        median = f"{statistics.median(row['seconds'] for row in read):.2f}" if read else ""
        cells = (name, number, len(own), len(read), bad, *equal, median)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += [
        "", "The models of torchvision are those that classify or segment images and classify "
        "videos; in its detectors, the layers that run depend on the data. The models of pytorchcv "
        f"are a fixed sample of {CV_MODELS}. A model that is refused or failed may have been read; "
        "a later measurement then stopped.",
    ]  # fmt: skip
    reasons = Counter(row.get("refused") or row.get("failed") for row in rows)
    del reasons[None]
    if reasons:
        lines += ["", "## Refused or failed", "", "| models | first | reason |", "|--:|---|---|"]
    for reason, number in reasons.most_common():
        first = next(r["model"] for r in rows if reason in (r.get("refused"), r.get("failed")))
        lines.append(f"| {number} | {first} | {str(reason).replace('|', chr(92) + '|')} |")
    other = [
        (row["model"], fact, *row[fact])
        for row in rows for fact in FACTS if fact in row and row[fact][0] != row[fact][1]
    ]  # fmt: skip
    if other:
        lines += [
            "",
            "## Different",
            "",
            "| model | fact | archcost | module |",
            "|---|---|--:|--:|",
        ]
    lines += [f"| {model} | {fact} | {a:,} | {b:,} |" for model, fact, a, b in other]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Read the models that the record lacks, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="models of each collection; 0: all")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    options = parser.parse_args()
    RECORD.parent.mkdir(exist_ok=True)
    lines = RECORD.read_text("utf-8").splitlines() if RECORD.exists() else []
    known = [row for row in map(json.loads, lines) if VERSIONS.items() <= row.items()]
    seen = {(row["collection"], row["model"]): row for row in known}
    listed, rows, start = {}, [], time.monotonic()
    for models in (timm_models, torchvision_models, pytorchcv_models):
        every = list(models())
        listed[every[0].collection] = len(every)
        for model in spread(every, options.sample):
            key = (model.collection, model.name)
            if key not in seen:
                if time.monotonic() - start > options.seconds:
                    continue
                seen[key] = look(model)
                with RECORD.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(seen[key]) + "\n")
                print(json.dumps(seen[key]), flush=True)
            rows.append(seen[key])
    PAGE.write_text(page(rows, listed), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
