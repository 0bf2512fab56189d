"""The prose that users read is plain: short sentences, and none of the turns listed here.

Users read the pages, the help of commands, the docstrings of the library, ops and conventions, and
error messages. Many of them read English as their second language: the subject comes first, and a
sentence has one thought.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from examples import PAGES, ROOT

import archcost
from archcost.builder import Builder
from archcost.cli import COMMANDS, cli
from archcost.conventions import ACTIVATIONS, CONVENTIONS
from archcost.conventions.facts import MEASURES, own_facts
from archcost.figures import METRICS
from archcost.ops import OPS, make
from archcost.setting import Setting
from archcost.spec.catalog import load

MOST_WORDS = 30
"""The most words of a sentence; names in a list of code count once."""

PHRASES = {
    r"^(of|compared|counted|proved|refused) (a|an|are|is|it|several|the|this|what)\b": "subject first",
    r"^nor (is|are|do|does)\b": "a sentence with 'not'",
    r"(?<!there )(?<!there also )\b(is|are|was) no (?!longer|more than)": "is not a",
    r"\bof no use\b": "that nothing uses",
    r"\bfor (it|he|they) (could|is|are|has|have|would)\b": "because",
    r"\bfor want of\b": "because ... is missing",
    r"\bwhatever (it|they) (is|are)\b": "in every case",
    r"\b(lie|lies|begin|begins|stand|stands|written|count|counts) so\b|\bso (lie|stand)\b": "in this way",
    r"\bas (it|they) stands?\b": "as it is",
    r"\bstands? (behind|beside|between|under|in|on|at)\b": "is, or follows",
    r"\b(all )?but (the (first|last)|for|of)\b": "except",
    r"\bh(old|olds|eld) (\S+ ){0,4}against\b": "compare with",
    r"\banew\b": "again",
    r"\bsome \d": "about",
    r"\bone's own\b": "your own",
    r"\bexit (status|code) \d says\b": "the exit code is 1 if",
    r"\bwhole or not at all\b": "say what happens on an error, or leave it out",
    r"\bwhat (is|was) \w+ (is|are)\b": "name the thing",
    r"\bthat (is|are) (asked|said|told)\b": "name the thing",
    r"\bgoes? on with\b": "continues",
    r"\bturned round\b": "transposed",
}
"""What is not to be written, and what to write in its place."""


@dataclass(frozen=True)
class Prose:
    """A text that users read, and where it is."""

    place: str
    text: str


# Where prose is.


def of_page(page: Path) -> Iterator[Prose]:
    """Yield the paragraphs, list items and cells of a page in Markdown."""
    name = page.relative_to(ROOT)
    lines: list[str] = []
    start, fence = 1, False

    def paragraph() -> Iterator[Prose]:
        if lines:
            yield Prose(f"{name}:{start}", " ".join(lines))
            lines.clear()

    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        bare = line.strip()
        if bare.startswith("```"):
            fence = not fence
        if fence or not bare or re.match(r"```|<|!\[|#|\[!|- device ", bare):
            yield from paragraph()
        elif bare.startswith("|"):
            for cell in re.split(r"[|;]", bare):
                yield Prose(f"{name}:{number}", cell.strip())
        else:
            item = re.match(r"(?:[-*]|\d+\.) +", bare)
            if item:
                yield from paragraph()
            if not lines:
                start = number
            lines.append(bare[item.end() :] if item else bare)
    yield from paragraph()


def of_help() -> Iterator[Prose]:
    """Yield the help of every command and option."""

    def of_command(command: click.Command, name: str) -> Iterator[Prose]:
        for part in re.sub(r"Example: .*", "", command.help or "", flags=re.DOTALL).split("\n\n"):
            yield Prose(f"archcost {name} --help", part)
        for option in command.params:
            if isinstance(option, click.Option):
                yield Prose(f"archcost {name} {option.opts[0]}", option.help or "")
        if isinstance(command, click.Group):
            context = click.Context(command)
            for inner in command.list_commands(context):
                made = command.get_command(context, inner)
                assert made is not None
                yield from of_command(made, f"{name} {inner}")

    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        yield from of_command(command, name)


def of_docstrings() -> Iterator[Prose]:
    """Yield the docstrings of public names, their methods, ops and facts of conventions."""
    homes = [getattr(archcost, name) for name in archcost.__all__]
    objects: list[Any] = [*homes, Builder, Setting]
    for home in objects[:]:
        if inspect.isclass(home):
            own = (value for name, value in vars(home).items() if not name.startswith("_"))
            objects += [
                getattr(value, "fget", None) or getattr(value, "func", value) for value in own
            ]
    for each in (*objects, *OPS.values(), *own_facts().values()):
        if each.__doc__ and (inspect.isclass(each) or inspect.isfunction(each)):
            name = f"{each.__module__}.{each.__qualname__}"
            for part in parts(inspect.cleandoc(each.__doc__)):
                yield Prose(name, part)


def parts(doc: str) -> Iterator[str]:
    """Yield the paragraphs, items and entries of a docstring without its code and examples."""
    doc = re.sub(r"\n+Examples?:\n.*", "", doc, flags=re.DOTALL)
    for paragraph in doc.split("\n\n"):
        if re.match(r"[\w ]+:\n    \S", paragraph):  # Args, Raises, ...
            yield from re.split(r"\n    (?=\S)", paragraph)[1:]
        elif not paragraph.startswith("  "):  # which would be code
            yield from re.split(r"^[-*├└]\S* ", paragraph, flags=re.MULTILINE)


def of_tables() -> Iterator[Prose]:
    """Yield the titles and notes of conventions, facts and figures."""
    for convention in CONVENTIONS.values():
        yield Prose(f"title of {convention.name}", convention.title)
        yield from (Prose(f"note of {convention.name}", p) for p in convention.note.split(";"))
    for convention in ACTIVATIONS.values():
        yield Prose(f"title of {convention.name}", convention.title)
    for name, (_, meaning) in MEASURES.items():
        yield Prose(f"fact {name}", meaning)
    for name, metric in METRICS.items():
        yield Prose(f"figure {name}", metric.title)


def of_messages() -> Iterator[Prose]:
    """Yield the texts of the errors that archcost raises."""
    for path in sorted((ROOT / "archcost").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                found = [*ast.walk(node.exc)]
                inner = {id(part) for text in found for part in getattr(text, "values", ())}
                for text in found:
                    if isinstance(text, (ast.Constant, ast.JoinedStr)) and id(text) not in inner:
                        shown = "".join(
                            str(part.value) if isinstance(part, ast.Constant) else "`x`"
                            for part in getattr(text, "values", [text])
                        )
                        yield Prose(f"{path.relative_to(ROOT)}:{text.lineno}", shown)


# What is checked.


def sentences(text: str) -> list[str]:
    """Return the sentences of a text. Code is one word, and so is a list of code."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r":\w+:`[^`]*`|``.+?``|`[^`]*`", "`x`", " ".join(text.split()))
    text = re.sub(r"`x`(?:(?:,| and| or|, and|, or)? `x`)+", "`x`", text)
    text = re.sub(r"\b(e\.g|i\.e|et al|vs)\.", r"\1", text)
    return re.split(
        r"(?<=[.!?])[\"')*]*\s+(?=[\"'(*`]*[A-Z`\d]|archcost\b)", text.replace("**", "")
    )


def faults(prose: Iterable[Prose]) -> list[str]:
    """Return a line for each sentence that is too long or has a phrase of the list."""
    found = []
    for each in prose:
        for sentence in sentences(each.text):
            words = len(re.findall(r"[^\s]*\w[^\s]*", sentence))
            if words > MOST_WORDS:
                found.append(f"{each.place}: {words} words: {sentence}")
            for phrase, instead in PHRASES.items():
                if hit := re.search(phrase, sentence, re.IGNORECASE):
                    found.append(f"{each.place}: {hit[0]!r} ({instead}): {sentence}")
    return found


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "docs" / "commands" / "index.md"],
    ids=lambda page: page.stem,
)  # fmt: skip
def test_pages_are_plain(page: Path) -> None:
    found = faults(of_page(page))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("source", [of_help, of_docstrings, of_tables, of_messages])
def test_what_the_code_says_is_plain(source: Any) -> None:
    prose = [*source()]
    assert len(prose) > 20
    found = faults(prose)
    assert not found, "\n".join(found)


NOT_PLAIN = (
    "Of a convolution not its MACs count.", "Nor are blocks counted that it does not split.",
    "A loss is no layer of a spec.", "It tells what is of no use.",
    "That name is refused, for it could mean either.", "It does not run for want of a package.",
    "Only a GPU that fails whatever it is asked ends the run.",
    "The inputs that lie so in memory may decide.", "The file is read as it stands.",
    "The stride stands behind a slash.", "A ReLU follows every layer but the last.",
    "Networks are held against their budgets.", "The golden images are drawn anew.",
    "The context takes some 300 MB.", "This is a network of one's own.",
    "Exit code 1 says that a check failed.", "The file is written whole or not at all.",
    "What is kept is a file.", "A setting has all that is asked.", "The next call goes on with it.",
    "PyTorch shares no weight turned round.", "word " * (MOST_WORDS + 1),
)  # fmt: skip


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_the_check_finds_what_is_not_plain(text: str) -> None:
    assert len(faults([Prose("here", text)])) == 1


def test_every_phrase_of_the_list_is_found() -> None:
    unseen = [p for p in PHRASES if not any(re.search(p, t, re.IGNORECASE) for t in NOT_PLAIN)]
    assert unseen == []


@pytest.mark.parametrize("text", [
    "There is no record of a GPU yet.", "It takes `a`, `b`, `c` and `d`, see [there](far-away).",
    "Krizhevsky et al. (2012) trained on two GPUs. " * 9, "The GPU no longer works.",
])  # fmt: skip
def test_plain_prose_passes(text: str) -> None:
    assert faults([Prose("here", text)]) == []


MANY = {
    "len(nodes)", "len(outs)", "len(rows)", "len(COLOURS)", "len(shapes)", "len(size)", "len(x)",
    "len(op.inputs)", "len(names)", "len(self.names)", "len(cells)", "len(self)", "len(corners)",
}  # fmt: skip
"""What is counted only where it is more than one, or may be followed by a word of several."""


def unequal(source: str) -> Iterator[str]:
    """Yield what texts count without `number_of`, which writes 1 network and 2 networks."""
    for text in ast.walk(ast.parse(source)):
        for number, after in pairwise(text.values if isinstance(text, ast.JoinedStr) else []):
            words = after.value if isinstance(after, ast.Constant) else ""
            if isinstance(number, ast.FormattedValue) and re.match(
                r" (?!is )([a-z]+ )?[a-z]+s\b", words
            ):
                counted = ast.unparse(number.value)
                if counted.startswith("len(") and counted not in MANY:
                    yield f"{counted}{words}"


def test_one_thing_is_not_written_as_several() -> None:
    assert [*unequal('f"{len(a)} less likely networks"')] == ["len(a) less likely networks"]
    files = [*(ROOT / "archcost").rglob("*.py")]
    assert [text for path in files for text in unequal(path.read_text("utf-8"))] == []
    ones = {
        "groupnorm": (1,), "attention": (1,), "embedding": (1, 4), "lstm_cell": (1,), "lstm": (1,),
    }  # fmt: skip
    for name, args in ones.items():
        settings = make(name, *args).settings()
        assert re.match(r"1 [a-z]+\b(?<!s)", settings), settings
    assert repr(load("conv_ordinary")).endswith(", 1 layer>")
