"""Write docs/verified.md: which proofs hold for each model of the catalog.

    archcost verify --all --against torchvision,timm,pytorchcv --format json --output run.json
    python tests/verified.py run.json [MORE.json ...]

A model's result for a check is taken from the last file that has it, so that a part can be run
again; all must be of the same versions. `make verified` does both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hand_built import HAND_BUILT

from archcost.findings.audit import audit_models
from archcost.proofs import MODULES
from archcost.proofs.results import Outcome, summary_table
from archcost.published import EXACT, ROUNDS
from archcost.spec.catalog import catalog
from archcost.table import Column, Table

PAGE = Path(__file__).parent.parent / "docs" / "verified.md"

COUNTED = {
    "lecun1989": "test_connections_of_the_first_networks",
    "neocognitron": "test_connections_of_the_first_networks",
    "enas_macro": "test_enas_macro_by_its_list_of_layers",
}
"""Models whose figures are derived by hand, from their papers, in a test of tests/test_catalog.py."""

INTRO = """\
# What is verified

`make verified` writes this page from a run of all checks over the whole catalog ([how archcost knows](proofs.md)).
A number is the count of comparisons, all of which passed. `3 of 4` means that one differs. `-` means that the check does not apply;
the reasons are below the table.

- *structure*: modules, names and shapes of parameters and buffers, order of execution, the tensors that flow, the shapes and values
  of every layer.
- *counters*: each tool's number in its own convention, per layer if the tool gives it.
- *memory*: the bytes kept for backward, storage by storage.
- *training*: the FLOPs of forward and backward, as PyTorch dispatches them.
- *peaks*: the memory in use at once.
- *reference*: networks of torchvision, timm and pytorchcv that give the same outputs with the same weights in float64, in evaluation
  and training mode. The spec therefore has the same architecture, not only the same size.
- *by hand*: `module` is a network written out in PyTorch in `tests/hand_built.py`, and `tests/test_hand_built.py` proves it equal in
  the same way. `counts` is a derivation from the paper in `tests/test_catalog.py`.
- *published*: how many figures of papers and model cards agree with the computed ones, to their last digit. `archcost audit` shows
  each figure, and why one differs.

"""


def read(paths: list[str]) -> tuple[list[Outcome], dict[str, str]]:
    """Return the outcomes of runs, in the order of the catalog, and what is known of the runs."""
    found: dict[tuple[str, str], Outcome] = {}
    about: dict[str, str] = {}
    for path in paths:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        for name, value in record["about"].items():
            if about.setdefault(name, value) != value:
                raise SystemExit(f"{path}: {name} {value}, but {about[name]} in another file")
        for result in record["results"]:
            found[result["model"], result["check"]] = outcome(result)
    order = [(model, check) for model in catalog() for check in MODULES]
    missing = [f"{model} {check}" for model, check in order if (model, check) not in found]
    if missing:
        raise SystemExit(f"{len(missing)} results are missing: {', '.join(missing[:5])}, ...")
    return [found[key] for key in order], about


def outcome(result: dict[str, Any]) -> Outcome:
    """Return an outcome from its JSON, without its failures."""
    against = {name: (own["run"], own["passed"]) for name, own in result["against"].items()}
    return Outcome(
        result["model"], result["check"], result["run"], result["passed"], result["residual"],
        result["skipped"], seconds=result["seconds"], against=against,
    )  # fmt: skip


def other_proofs() -> dict[str, tuple[str, str]]:
    """Return for each model what is written by hand, and how many published figures agree."""
    agree: dict[str, list[bool]] = {}
    for finding in audit_models(catalog()):
        if finding.computed:
            agree.setdefault(finding.name, []).append(finding.verdict in (EXACT, ROUNDS))
    proofs = {}
    for model in catalog():
        by_hand = "module" if model in HAND_BUILT else "counts" if model in COUNTED else ""
        own = agree.get(model, [])
        proofs[model] = by_hand, f"{sum(own)} of {len(own)}" if own else ""
    return proofs


def page(outcomes: list[Outcome], about: dict[str, str]) -> str:
    """Return the page as Markdown."""
    summary, proofs = summary_table(outcomes, about), other_proofs()
    columns = (*summary.columns, Column("by_hand", "by hand"), Column("published", "published"))
    rows = tuple((*row, *proofs[str(row[0])]) for row in summary.rows)
    counters = next(o for o in outcomes if o.group == "counters").against
    notes = (f"counters: {', '.join(counters)}", *summary.notes)
    footer = tuple((*row, "", "") for row in summary.footer)
    table = Table(columns, rows, "", footer).render("markdown").rstrip()
    return f"{INTRO}{table}\n\n" + "".join(f"- {note}\n" for note in notes)


def main() -> None:
    """Write the page, or say what a run lacks."""
    outcomes, about = read(sys.argv[1:])
    PAGE.write_text(page(outcomes, about), encoding="utf-8")
    failed = [f"{o.model} {o.group}" for o in outcomes if o.run != o.passed]
    print(f"{PAGE}: {len(catalog())} models, {len(failed)} with differences {failed[:10] or ''}")


if __name__ == "__main__":
    main()
