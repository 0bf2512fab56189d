"""What the docs site makes from the code, as a hook of mkdocs.

Commands come from click, ops and conventions from their registries, the library from docstrings
(through mkdocstrings), the front page from the README, the tour from the notebook.
"""

from __future__ import annotations

import base64
import inspect
import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from examples import ROOT, Example, every_example

import archcost
from archcost.analysis.reconcile import reconcile
from archcost.cli import SECTIONS, cli
from archcost.conventions import ACTIVATIONS, CONVENTIONS, MEASURES, Convention, meaning
from archcost.counterparts import COUNTERPARTS
from archcost.manual import about, arguments, op_page, signature
from archcost.network import Layer
from archcost.ops import OPS, Op
from archcost.proofs import MODULES
from archcost.table import Column, Table

KINDS = {
    "conv": "Convolutions", "linear": "Linear layers", "matmul": "Matrix products",
    "attention": "Attention", "recurrent": "Recurrent layers", "embedding": "Embedding",
    "pool": "Pooling",
    "adaptive_pool": "Pooling of whole maps and along dimensions",
    "norm": "Normalisation", "activation": "Activation functions", "dropout": "Dropout",
    "parameter": "Learnt tensors", "merge": "Merging", "resample": "Resizing",
    "transform": "Fourier transforms", "reshape": "Reshaping",
}  # fmt: skip
"""Headings of the kinds of op, in the order of the page."""

SHOWN_MODEL = "resnet50"


# The hook.


def on_config(config: Any) -> Any:
    """Put the commands, by purpose, where the navigation says ``commands/``."""
    commands: list[Any] = ["commands/index.md"]
    for section, names in SECTIONS.items():
        commands.append({section: [f"commands/{name}.md" for name in names]})
    for entry in sections(config["nav"]):
        for title, target in entry.items():
            if target == "commands/":
                entry[title] = commands
    return config


def sections(entries: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield every titled entry of the navigation, inner ones too."""
    for entry in entries:
        if isinstance(entry, dict):
            yield entry
            for inner in entry.values():
                yield from sections(inner) if isinstance(inner, list) else ()


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that have no file in docs/."""
    from mkdocs.structure.files import File

    for name, content in added_pages():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put what is made from the code where a page says ``<!-- insert NAME -->``."""
    return re.sub(
        r"^<!-- insert (\w+) -->$", lambda m: INSERTS[m[1]](), markdown, flags=re.MULTILINE
    )


def added_pages() -> Iterator[tuple[str, str | bytes]]:
    """Yield the name and the text of every page that has no file in docs/, and its pictures."""
    yield "index.md", moved((ROOT / "README.md").read_text("utf-8"))
    yield "contributing.md", moved((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    yield "changelog.md", (ROOT / "CHANGELOG.md").read_text("utf-8")
    shown = first_examples()
    for names in SECTIONS.values():
        for name in names:
            yield f"commands/{name}.md", command_page(name, shown.get(name))
    yield from notebook_pages(ROOT / "docs" / "tour.ipynb")


def moved(text: str) -> str:
    """Return the text of a page at the top of the repository with the links of the site."""
    text = (
        text.replace("](docs/tour.ipynb", "](tour.md")
        .replace("](docs/", "](")
        .replace("](README.md", "](index.md")
    )
    text = text.replace("](CONTRIBUTING.md", "](contributing.md")
    return text.replace("](CHANGELOG.md", "](changelog.md")


# Commands.


def commands_by_purpose() -> str:
    """Return the list of the commands by purpose."""
    lines = []
    for section, names in SECTIONS.items():
        rows = tuple(
            (f"[`{name}`]({name}.md)", find_command(name).get_short_help_str(200)) for name in names
        )
        table = Table((Column("name", "command"), Column("about", "what it does")), rows)
        lines += [f"## {section}", "", table.render("markdown"), ""]
    return "\n".join(lines)


def find_command(name: str) -> click.Command:
    """Return a command of the command line."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def help_text(command: click.Command) -> str:
    """Return the help text of a command without its example."""
    help = inspect.cleandoc(command.help or "")  # an indented paragraph would be code
    return re.sub(r"\n*Example: .*", "", help, flags=re.DOTALL)


def command_page(name: str, shown: Example | None) -> str:
    """Return the page of a command: what it does, its options, an example with output."""
    command = find_command(name)
    context = click.Context(command, info_name=f"archcost {name}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    lines = [f"# {name}", "", help_text(command), "", "```text", " ".join(usage.split()), "```"]
    lines += ["", "## Options", "", option_table(command, context), ""]
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            made = command.get_command(context, inner)
            assert made is not None
            lines += [
                f"## {name} {inner}",
                "",
                help_text(made),
                "",
                option_table(made, context),
                "",
            ]
    lines += ["## Example", ""]
    if shown:
        lines += ["```console", f"$ {shown.command}", shown.output.rstrip("\n"), "```", ""]
    example = re.search(r"Example: (.*)", command.help or "", re.DOTALL)
    if example and not (shown and shown.command == example[1].strip()):
        lines += ["```sh", " ".join(example[1].split()), "```", ""]
    return "\n".join(lines)


def option_table(command: click.Command, context: click.Context) -> str:
    """Return the options of a command as a table."""
    records = [
        param.get_help_record(context)
        for param in command.get_params(context)
        if isinstance(param, click.Option)
    ]
    rows = tuple((code(record[0]), record[1]) for record in records if record)
    columns = (Column("option", "option"), Column("about", "what it does"))
    return Table(columns, rows).render("markdown")


def code(text: str) -> str:
    """Return text as code in a cell of a table, where a bar would end the cell."""
    return f"<code>{escape(text).replace('|', '&#124;')}</code>"


def first_examples() -> Mapping[str, Example]:
    """Return the first example of each command in the README and the pages."""
    found: dict[str, Example] = {}
    for example in every_example():
        if called := re.match(r"archcost (\w+)", example.command):
            found.setdefault(called[1], example)
    return found


# Ops.


def ops_by_kind() -> str:
    """Return every op by kind: call, arguments, examples, and what it keeps for backward."""
    lines = []
    for kind, heading in KINDS.items():
        lines += [f"## {heading}", ""]
        for name, op in sorted(OPS.items()):
            if op.kind == kind:
                lines += [f"### {name}", "", *op_lines(op), ""]
    return "\n".join(lines)


def op_lines(op: type[Op]) -> Iterator[str]:
    """Yield the lines about one op."""
    yield from ("```yaml", signature(op), "```", "", about(op), "")
    for line in arguments(op):
        name, _, accepts = line.partition(": ")
        yield f"- `{name}`: {accepts}"
    examples = op_page(op.name)
    yield from ("", Table(examples.columns, examples.rows).render("markdown"))


# Conventions.


def conventions_table() -> str:
    """Return the counting conventions with the total of each for one network."""
    totals = {row.convention.name: row for row in reconcile(archcost.load(SHOWN_MODEL)).rows}
    columns = (
        Column("name", "convention"), Column("version", "version"), Column("unit", "unit"),
        Column("total", SHOWN_MODEL, True), Column("title", "what it counts"),
    )  # fmt: skip
    rows = tuple(
        (f"[`{c.name}`](#{c.name})", c.tool_version, c.unit, totals[c.name].total, c.title)
        for c in CONVENTIONS.values()
    )
    return Table(columns, rows).render("markdown")


def measures_table() -> str:
    """Return the facts that every layer has."""
    columns = (Column("fact", "fact"), Column("of", "what it is, for one sample"))
    rows = tuple((f"`{name}`", meaning(name)) for name in MEASURES)
    return Table(columns, rows).render("markdown")


def conventions_one_by_one() -> str:
    """Return what each convention counts, what it skips, its weights and its source."""
    lines = []
    for convention in CONVENTIONS.values():
        lines += [
            f"### {convention.name} {{#{convention.name}}}",
            "",
            *convention_lines(convention),
        ]
    return "\n".join(lines)


def convention_lines(convention: Convention) -> Iterator[str]:
    """Yield what one convention counts and skips."""
    yield from (f"{convention.title}.", "")
    if convention.tool_version:
        when = f", {convention.dates}" if convention.dates else ""
        yield f"- Version: {convention.tool_version}{when}"
    yield f"- Source: {convention.source}"
    if convention.note:
        yield f"- Note: {convention.note}"
    skipped = skipped_ops(convention)
    yield f"- Counts 0 for: {', '.join(f'[{name}](ops.md#{name})' for name in skipped)}"
    columns = (
        Column("weight", "weight", True), Column("fact", "fact"), Column("of", "of"),
        Column("about", "what it is"),
    )  # fmt: skip
    facts: dict[tuple[int, str, str], list[str]] = {}
    for term, weight in convention.weights.items():
        subject, _, fact = term.rpartition(".")
        facts.setdefault((weight, fact, meaning(term)), []).append(subject or "every layer")
    rows = tuple((w, f"`{fact}`", ", ".join(of), about) for (w, fact, about), of in facts.items())
    yield from ("", Table(columns, rows).render("markdown"), "")


def skipped_ops(convention: Convention) -> list[str]:
    """Return the ops that compute something, all of which counts 0 on their examples."""
    return [
        name
        for name, op in sorted(OPS.items())
        if op.kind != "reshape"
        and not any(
            convention.count(Layer.alone(op.create(e.args, e.kwargs), *e.inputs))
            for e in op.examples
        )
    ]


def activations_table() -> str:
    """Return the activation conventions."""
    columns = (
        Column("name", "convention"), Column("title", "what it counts"),
        Column("kinds", "kinds of op"), Column("source", "source"),
    )  # fmt: skip
    rows = tuple(
        (f"`{a.name}`", a.title, ", ".join(k for k in KINDS if k in a.kinds), a.source)
        for a in ACTIVATIONS.values()
    )
    return Table(columns, rows).render("markdown")


# The library.


def public_names() -> str:
    """Return directives that draw the public names of the package from their docstrings."""
    homes = [getattr(archcost, name) for name in archcost.__all__]
    return "\n\n".join(f"::: {home.__module__}.{home.__qualname__}" for home in homes)


# The proofs.


def checks_table() -> str:
    """Return the checks of ``archcost verify`` with the first line of their documentation."""
    rows = []
    for name in MODULES:
        first, _, _ = (import_module(f"archcost.proofs.{name}").__doc__ or "").partition("\n")
        rows.append((f"`{name}`", first.partition(": ")[2]))
    return Table((Column("name", "check"), Column("about", "compares")), tuple(rows)).render(
        "markdown"
    )


def counterparts_table() -> str:
    """Return how many models of the catalog each collection of reference models has."""
    columns = (Column("collection", "collection"), Column("models", "models", True))
    counts = Counter(collection for found in COUNTERPARTS.values() for collection in found)
    rows = (*counts.most_common(), ("any of them", len(COUNTERPARTS)))
    total = (("the catalog", len(archcost.catalog())),)
    return Table(columns, rows, footer=total).render("markdown")


# The notebook.


def notebook_pages(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """Yield the page of a notebook, and its pictures beside it."""
    parts = [f"[The notebook]({path.name}), run with the outputs below.\n"]
    for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"], 1):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(f"{source}\n")
            continue
        parts.append(f"```python\n{source}\n```\n")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                picture = f"{path.stem}{number}.png"
                yield picture, base64.b64decode("".join(data["image/png"]))
                parts.append(f"![{''.join(data['text/plain'])}]({picture})\n")
            elif "text/html" in data:
                parts.append("".join(data["text/html"]) + "\n")
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```\n")
    title, *rest = parts[1:]  # the notebook's own heading comes first
    yield f"{path.stem}.md", "\n".join([title, parts[0], *rest])


# The engine.

SHOWN_OPS = {"grn": 62, "lrn": 42, "window_attention": 219}
"""Composite ops that the page shows, with the lines of the class when it had no program."""


def programs() -> str:
    """Return the programs of the shown ops, as they stand in the code."""
    blocks = []
    for name in SHOWN_OPS:
        source = textwrap.dedent(inspect.getsource(OPS[name].forward)).rstrip()
        blocks += [f"### {name}", "", "```py", source, "```", ""]
    return "\n".join(blocks)


def lengths() -> str:
    """Return how many lines each of the shown ops takes, before and now."""
    rows = tuple(
        (code(name), before, len(inspect.getsource(OPS[name]).splitlines()))
        for name, before in SHOWN_OPS.items()
    )
    columns = Column("op", "op"), Column("before", "lines before", True), Column("now", "now", True)
    return Table(columns, rows).render("markdown")


INSERTS: Mapping[str, Callable[[], str]] = {
    "commands": commands_by_purpose,
    "ops": ops_by_kind,
    "conventions_table": conventions_table,
    "measures": measures_table,
    "conventions": conventions_one_by_one,
    "activations": activations_table,
    "library": public_names,
    "checks": checks_table,
    "counterparts": counterparts_table,
    "programs": programs,
    "lengths": lengths,
}
"""What pages insert, by name."""
