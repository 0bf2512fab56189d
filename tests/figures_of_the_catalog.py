"""Every figure of every model of the catalog as JSON, and what differs between two commits.

Write the figures in two checkouts, then compare them::

    PYTHONPATH=. python tests/figures_of_the_catalog.py write after.json
    PYTHONPATH=../before python tests/figures_of_the_catalog.py write before.json
    python tests/figures_of_the_catalog.py compare before.json after.json

It asks the command line, which changes less than the library does.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

DEVICES = ("cpu", "cuda")
UPDATES = ("sgd --foreach", "sgd --for-loop", "adam --foreach", "adam --for-loop")


def questions() -> list[str]:
    """Return what is asked of each model: commands without the model."""
    asked = ["table", "reconcile", "roofline --gpu a100", "roofline --gpu h100 --batch 8"]
    for device in DEVICES:
        memory = f"memory --device {device}"
        for batch in (1, 8):
            asked += [f"{memory} --batch {batch} --optimizer {update}" for update in UPDATES]
        asked += [
            f"{memory} --amp bf16", f"{memory} --amp bf16 --batch 8 --optimizer adam",
            f"{memory} --checkpoint *", f"{memory} --checkpoint * --batch 8",
            f"{memory} --checkpoint *.*", f"{memory} --channels-last --batch 8",
            f"{memory} --freeze *1*",
        ]  # fmt: skip
    return asked


def answer(command: str, model: str) -> Any:
    """Return what a command prints of a model, or in which words it refuses."""
    from archcost.cli import cli

    words = [*command.split(), "--format", "json"]
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            cli.main([words[0], model, *words[1:]], prog_name="archcost", standalone_mode=False)
    except Exception as error:
        return {"refused": str(error)}
    return json.loads(out.getvalue())


def write(file: str) -> None:
    """Write the figures of all models, a line each."""
    from archcost import catalog

    gc.set_threshold(50_000, 20, 50)
    with open(file, "w", encoding="utf-8") as lines:
        for model in catalog():
            found = {command: answer(command, model) for command in questions()}
            lines.write(json.dumps({"model": model, "figures": found}) + "\n")
            lines.flush()


def read(file: str) -> dict[str, Any]:
    """Return the figures of each model."""
    with open(file, encoding="utf-8") as lines:
        return {row["model"]: row["figures"] for row in map(json.loads, lines)}


ABSENT = "absent"


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields that differ, each with what it was and is; of lists by name or place."""
    if isinstance(before, list) and isinstance(after, list):
        before, after = by_name(before), by_name(after)
    if isinstance(before, dict) and isinstance(after, dict):
        if ("refused" in before) != ("refused" in after):
            yield f"{path}/refused", before.get("refused"), after.get("refused")
            return
        for key in [*before, *(key for key in after if key not in before)]:
            own = before.get(key, ABSENT), after.get(key, ABSENT)
            yield from differences(*own, f"{path}/{key}")
    elif before != after:
        yield path, before, after


def by_name(items: list[Any]) -> dict[str, Any]:
    """Return the items of a list by their names, or by their places if they have none."""
    keys = ("name", "convention")
    names = [next((x[k] for k in keys if isinstance(x, dict) and k in x), None) for x in items]
    if None in names or len({*names}) < len(names):
        return {str(place): item for place, item in enumerate(items)}
    return dict(zip(names, items, strict=True))


def compare(one: str, other: str) -> None:
    """Print what differs: each kind of field once, with how many models, and an example."""
    before, after = read(one), read(other)
    both = [model for model in before if model in after]
    print(f"{len(before)} models before, {len(after)} after, {len(both)} in both")
    kinds: dict[str, list[tuple[str, str, Any, Any]]] = {}
    same = Counter[str]()
    for model in both:
        for command in before[model]:
            found = [*differences(before[model][command], after[model].get(command))]
            same[command] += not [row for row in found if row[1] != ABSENT]
            for path, was, now in found:
                kind = re.sub(r"/(layers|groups)/[^/]+", r"/\1/*", path)
                kinds.setdefault(f"{command.split()[0]} {kind}", []).append(
                    (model, command, was, now)
                )
    for command in questions():
        print(f"{same[command]:4} equal: {command}")
    for kind, rows in sorted(kinds.items()):
        models, commands = ({*column} for column in [*zip(*rows, strict=True)][:2])
        model, command, was, now = rows[0]
        print(f"{kind}: {len(rows)}, of {len(models)} models, {len(commands)} commands")
        print(f"    {model}, {command}: {str(was)[:150]} -> {str(now)[:150]}")


if __name__ == "__main__":
    {"write": write, "compare": compare}[sys.argv[1]](*sys.argv[2:])
