"""The layout of a spec: one order of keys, one indentation, one way to set spaces.

The text is taken apart at YAML's tokens and put together again with other white space between
them, so that words and comments stay as they are. What lies between is checked in the end: the
same nodes and the same comments, or the spec is refused.
"""

from __future__ import annotations

import io
import re
import tokenize
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from keyword import iskeyword
from typing import Any

import yaml

from archcost.errors import SpecError
from archcost.spec.document import KEYS, read_document
from archcost.spec.source import Source

STEP = 2
EXPRESSIONS = ("let", "blocks", "shared", "layers", "outputs")
"""The keys whose values are written in the language of layers."""
NAME = re.compile(r"(?:[\w+-]|\{[^{}]*\})+")
"""A layer's name, in which - and + are no operators, perhaps with values in it."""
PATH = re.compile(r"[\w+-]+(?:\.[\w+-]+)+")
"""The path of a layer or group."""
_OPEN = (yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken)
_CLOSE = (yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def format_spec(source: Source) -> str:
    """Return the text of a spec in the one layout; a text in that layout comes back as it is.

    Raises:
        SpecError: not a spec, or one that cannot be formatted.
    """
    read_document(source)
    text = source.text.replace("\r\n", "\n")
    try:
        formatted = _Layout(source, text).run()
    except yaml.YAMLError as error:  # refused here, though not by the faster reader
        raise SpecError(str(error), source.name) from None
    if not _same(text, formatted):
        raise SpecError("the spec cannot be formatted; it is left as it is", source.name)
    return formatted


def _same(text: str, formatted: str) -> bool:
    """Whether both hold the same nodes and comments, and the second is in the layout."""
    try:
        again = _Layout(Source("", formatted), formatted).run()
        return _content(text) == _content(formatted) and again == formatted
    except (yaml.YAMLError, SpecError):
        return False


@dataclass
class _Line:
    """A line of output; a comment's indentation is chosen when its neighbours are known."""

    text: str
    column: int
    old_column: int
    comment: bool = False
    inside: bool = False
    """Whether it is inside a text of several lines, whose empty lines count."""

    @property
    def empty(self) -> bool:
        return not self.text and not self.inside


@dataclass
class _Layout:
    source: Source
    text: str
    indents: dict[int, tuple[int, int]] = field(default_factory=dict)
    lines: list[_Line] = field(default_factory=list)
    depth: int = 0
    """How many braces and brackets are open."""
    opened: int | None = None
    """The column of the first of them if its line begins with it."""

    def run(self) -> str:
        tokens = [
            token
            for token in yaml.scan(self.text, Loader=yaml.SafeLoader)
            if token.start_mark.index < token.end_mark.index
        ]
        root: Any = yaml.compose(self.text, Loader=yaml.SafeLoader)
        if any(isinstance(token, yaml.KeyToken) for token in tokens) or root.flow_style:
            raise SpecError("only specs in block style without `?` are formatted", self.source.name)
        dashes = [token for token in tokens if isinstance(token, yaml.BlockEntryToken)]
        self._indent(root, 0, dashes, [dash.start_mark.index for dash in dashes])
        code = [
            (value.start_mark.index, value.end_mark.index)
            for key, value in root.value if key.value in EXPRESSIONS
        ]  # fmt: skip
        tops = {key.start_mark.line: key.value for key, _ in root.value}
        return self._ordered(tokens, code, tops)

    def _indent(self, node: Any, column: int, dashes: list[Any], places: list[int]) -> None:
        """Note the old and the new column of every line that begins with a key or a dash."""
        if getattr(node, "flow_style", True):
            return
        for child in node.value:
            if isinstance(node, yaml.MappingNode):
                mark, value = child[0].start_mark, child[1]
            else:
                dash = dashes[bisect_right(places, child.start_mark.index) - 1]
                mark, value = dash.start_mark, child
            self.indents.setdefault(mark.line, (mark.column, column))
            self._indent(value, column + STEP, dashes, places)

    def _ordered(self, tokens: list[Any], code: list[tuple[int, int]], tops: dict[int, str]) -> str:
        sections: dict[str, int] = {}
        before: Any = None
        for token, after in zip(tokens, [*tokens[1:], None], strict=True):
            line = token.start_mark.line
            gap = self.text[before.end_mark.index if before else 0 : token.start_mark.index]
            if before is not None and isinstance(before, yaml.ScalarToken) and _is_literal(before):
                gap = "\n" + gap
            if before is not None and ("\n" not in gap or self._joins(before, token, gap)):
                self.lines[-1].text += _space(before, token, " " if "\n" in gap else gap)
            else:
                self._break(gap, line, token.start_mark.column, first=before is None)
                if line in tops and tops[line] not in sections:
                    sections[tops[line]] = len(self.lines) - 1
            self._write(
                token,
                any(a <= token.start_mark.index < b for a, b in code),
                isinstance(after, yaml.ValueToken),
            )
            before = token
        self._break(self.text[before.end_mark.index :] + "\n", -1, 0, last=True)
        while self.lines[-1].empty:
            self.lines.pop()
        self._settle_comments()
        return self._join(sections)

    def _write(self, token: Any, is_code: bool, is_key: bool) -> None:
        if isinstance(token, _OPEN):
            if not self.depth:
                self.opened = None if self.lines[-1].text else self.lines[-1].column
            self.depth += 1
        self.depth -= isinstance(token, _CLOSE)
        words = self.text[token.start_mark.index : token.end_mark.index]
        if isinstance(token, yaml.ScalarToken) and "\n" in words:
            first, *rest = words.rstrip(" ").removesuffix("\n").split("\n")
            self.lines[-1].text += first.rstrip()
            shift = self._shift(token.start_mark.line)
            for line in rest:
                old = len(line) - len(line.lstrip())
                new = old + shift if line.strip() else 0
                self.lines.append(_Line(line.strip(), max(new, 0), old, inside=True))
            return
        if is_code and isinstance(token, yaml.ScalarToken) and token.plain:
            words = words if is_key and NAME.fullmatch(words) else space_call(words)
        self.lines[-1].text += words

    def _break(
        self, gap: str, line: int, column: int, first: bool = False, last: bool = False
    ) -> None:
        """Write the text between two tokens on different lines, and begin the next line."""
        trailing, *others = gap.split("\n")
        if first:
            others.insert(0, trailing)
        elif trailing.strip():
            self.lines[-1].text += " " + trailing.strip()
        for other in others[:-1]:
            words = other.strip()
            old = len(other) - len(other.lstrip())
            self.lines.append(_Line(words, 0, old, comment=bool(words)))
        if not last:
            self.lines.append(_Line("", self._column(line), column))

    def _joins(self, before: Any, token: Any, gap: str) -> bool:
        """Whether two tokens of different lines belong on one: a dash or a key and its value."""
        if "#" in gap:
            return False
        if isinstance(before, yaml.BlockEntryToken):
            return not isinstance(token, yaml.BlockEntryToken)
        if not isinstance(before, yaml.ValueToken) or not isinstance(token, yaml.ScalarToken):
            return False
        is_single = token.start_mark.line == token.end_mark.line
        return is_single and token.start_mark.line not in self.indents

    def _shift(self, line: int) -> int:
        """Return by how much the line moves that a text of several lines begins in."""
        old, new = self.indents[self._block_line(line)]
        return new - old

    def _column(self, line: int) -> int:
        """Return the column of a line: of a key or dash, of a value below it, or of more of it."""
        start = self.indents[self._block_line(line)][1]
        if line in self.indents:
            return start
        if not self.depth:
            return start + STEP
        return start + 2 * STEP if self.opened is None else self.opened + 1

    def _block_line(self, line: int) -> int:
        return max(start for start in self.indents if start <= line)

    def _settle_comments(self) -> None:
        """Give each comment the column of its nearer neighbour: of the line below, or above."""
        following = _Line("", 0, 0)
        for i in reversed(range(len(self.lines))):
            line = self.lines[i]
            if not line.comment:
                following = line if line.text else following
                continue
            above = next(
                (other for other in reversed(self.lines[:i]) if other.text and not other.comment),
                following,
            )
            line.column = min(
                (following, above), key=lambda other: abs(other.old_column - line.old_column)
            ).column

    def _join(self, sections: dict[str, int]) -> str:
        """Return the lines with the top-level keys in order, comments above them with them."""
        starts = sorted(sections.values())
        head = starts[0]
        for i, start in enumerate(starts[1:], 1):
            while start > starts[i - 1] + 1 and _goes_with_next(self.lines[start - 1]):
                start -= 1
            starts[i] = start
        ends = [*starts[1:], len(self.lines)]
        names = sorted(sections, key=sections.__getitem__)
        parts = {
            name: self.lines[start:end]
            for name, start, end in zip(names, starts, ends, strict=True)
        }  # fmt: skip
        ordered = sorted(names, key=KEYS.index)
        lines = [*self.lines[:head], *(line for name in ordered for line in parts[name])]
        texts = [
            " " * line.column + line.text if line.text else ""
            for before, line in pairwise([_Line("", 0, 0), *lines])
            if not (line.empty and before.empty)
        ]
        return "\n".join(texts).strip("\n") + "\n"


def _goes_with_next(line: _Line) -> bool:
    return not line.text or (line.comment and line.column == 0)


def _is_literal(token: Any) -> bool:
    return token.style in ("|", ">")


def _space(before: Any, token: Any, gap: str) -> str:
    """Return the space between two tokens of one line."""
    if isinstance(before, _OPEN) or isinstance(token, (*_CLOSE, yaml.ValueToken)):
        return ""
    if isinstance(token, yaml.FlowEntryToken):
        return ""
    if isinstance(before, (yaml.BlockEntryToken, yaml.ValueToken, yaml.FlowEntryToken)):
        return " "
    return gap


# Calls.


def space_call(text: str) -> str:
    """Return a call, an expression or a block's head with the usual spaces between its tokens.

    ``conv( 64,3 ,stride = 2)`` gives ``conv(64, 3, stride=2)``; other text stays.
    """
    words = None if PATH.fullmatch(text) else _words(text)
    if words is None:
        return text
    made = ""
    depth = 0
    for i, word in enumerate(words):
        if i and _has_space(words, i, depth):
            made += " "
        depth += (word in "([{") - (word in ")]}")
        made += word
    return made if _words(made) == words else text


def _words(text: str) -> list[str] | None:
    """Return the tokens of an expression, or None for another text."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return None
    words = [token.string for token in tokens if token.string.strip()]
    bad = any(token.type in (tokenize.ERRORTOKEN, tokenize.COMMENT) for token in tokens) or any(
        a.type == tokenize.NUMBER and b.type == tokenize.NAME and a.end == b.start  # as in 3x3
        for a, b in pairwise(tokens)
    )
    return None if bad or "".join(words) != re.sub(r"\s", "", text) else words


def _has_space(words: list[str], i: int, depth: int) -> bool:
    before, word = words[i - 1], words[i]
    if before in ("(", "[", "{", ".") or word in (")", "]", "}", ",", ".", ":"):
        return False
    if before == "," or before == ":":
        return before == ","
    if "=" in (before, word):
        return depth == 0
    if before in ("+", "-", "~") and _is_unary(words, i - 1):
        return False
    if word in ("(", "["):
        return not (_ends_operand(before))
    return True


def _is_unary(words: list[str], i: int) -> bool:
    return i == 0 or not _ends_operand(words[i - 1])


def _ends_operand(word: str) -> bool:
    """Whether a token can end an operand, so that a bracket after it is a call or an index."""
    return word in (")", "]", "}") or (
        (word[0].isalnum() or word[0] in "_'\"") and not (iskeyword(word) and word[0].islower())
    )


# What must stay.


def _content(text: str) -> tuple[Any, list[str]]:
    """Return the nodes, with top-level keys in any order, and the comments."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    tops = {key.value: _nodes(value, key.value in EXPRESSIONS) for key, value in root.value}
    return tops, sorted(_comments(text))


def _nodes(node: Any, is_code: bool) -> Any:
    if isinstance(node, yaml.ScalarNode):
        words = _words(node.value) if is_code else None
        return (node.style, words or node.value)
    if isinstance(node, yaml.MappingNode):
        return [
            (_nodes(key, is_code and not NAME.fullmatch(key.value)), _nodes(value, is_code))
            for key, value in node.value
        ]
    return [_nodes(item, is_code) for item in node.value], "sequence"


def _comments(text: str) -> Iterator[str]:
    end = 0
    for token in [*yaml.scan(text, Loader=yaml.SafeLoader)]:
        for line in text[end : token.start_mark.index].split("\n"):
            if "#" in line:
                yield line[line.index("#") :].strip()
        end = max(end, token.end_mark.index)
