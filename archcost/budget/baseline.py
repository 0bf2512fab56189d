"""What a network is compared with: a git revision of its own file, another file, or a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from archcost.counterparts import COLLECTIONS
from archcost.errors import ArchcostError, did_you_mean
from archcost.network import Network
from archcost.spec.catalog import expand, find_model, is_known, origin, read_spec
from archcost.spec.document import Document
from archcost.spec.kinds import is_code, is_onnx, split_code
from archcost.spec.revision import SUFFIXES, NotInRevision, read_revision, split_revision
from archcost.spec.source import Source


@dataclass(frozen=True)
class Request:
    """A network as somebody asks for it, so that the same can be asked of a baseline.

    Attributes:
        model: a catalog name or a file, as it was written.
        document: what was read for it.
        variant: the variant of it, empty for none.
        folder: the folder to which file names refer.
        options: how it is expanded: ``input``, ``knobs``, ``aux``, ``bias``.
    """

    model: str
    document: Document
    variant: str = ""
    folder: Path = Path()
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def name(self) -> str:
        """How results call the network: the file or name, and the variant."""
        plain = self.model.partition("::")[0]
        if not self.variant or self.variant == plain:
            return plain
        return f"{plain}::{self.variant}" if is_file(plain) else self.variant

    @property
    def origin(self) -> tuple[str, str]:
        """The file and the network in it, however it was asked for."""
        return origin(self.document), self.variant or self.document.name

    def network(self) -> Network:
        """Return the network."""
        return expand(self.document, self.variant, **self.options)

    def baseline(self, reference: str) -> Request:
        """Return what a reference names, with the same input; with the same knobs if it has them.

        A reference is a file, a model of the catalog, ``REVISION:path``, or a revision: then the
        baseline is this file as it was.

        Raises:
            ArchcostError: none of these, or a revision in which the file is not.
        """
        options = dict(self.options)
        plain = reference.partition("::")[0]
        named = is_file(plain) or is_code(plain) or is_known(reference)
        if split_revision(plain) or named:
            document, variant = find_model(within(self.folder, reference))
            if document.name != self.document.name and not _is_then(document, self.document):
                options["knobs"] = {}
        else:
            document, variant = self._at_revision(reference), ""
        return Request(reference, document, variant, self.folder, options)

    def baseline_network(self, reference: str) -> Network:
        """Return the network that a reference names: there, the same variant unless it names one.

        Raises:
            NotInRevision: the file or the variant is not there. ArchcostError: as :meth:`baseline`.
        """
        found = self.baseline(reference)
        if self.variant and not found.variant and found.document.variants:
            if self.variant not in found.document.variants:
                name, known = found.document.source.name, found.document.variants
                hint = did_you_mean(self.variant, known)
                raise NotInRevision(f"{name} has no variant {self.variant!r}{hint}")
            found = replace(found, variant=self.variant)
        return found.network()

    def _at_revision(self, revision: str) -> Document:
        path = self.model.partition("::")[0]
        if is_code(path) and ".py:" in path:
            file = self.folder / path.partition(":")[0]
            _, _, name = path.partition(":")
            return find_model(f"{revision}:{_from_here(file)}:{name}")[0]
        if is_code(path):
            if is_onnx(path) or path.partition(":")[0] in COLLECTIONS:
                raise ArchcostError(f"{path} has no git revision {revision!r}")
            return find_model(f"{revision}:{path}")[0]
        if not is_file(path):
            raise ArchcostError(
                f"{path} is a model of the catalog, which has no git revision {revision!r}; "
                "compare it with a model, or name a file"
            )
        file = self.folder / path
        try:
            found = read_revision(revision, f"./{file.name}", file.parent)
        except NotInRevision as error:
            raise NotInRevision(f"{path}: {error}") from None
        return read_spec(Source(f"{revision}:{path}", found.text))


def _from_here(file: Path) -> str:
    """Return the path of a file as one that begins at the current folder."""
    return f"./{os.path.relpath(file)}"


def _is_then(document: Document, now: Document) -> bool:
    """Whether a document is the same code at a revision."""
    then = split_code(document.code) if document.code else None
    return then is not None and f"{then[1].removeprefix('./')}:{then[2]}" == now.code


def is_file(model: str) -> bool:
    """Whether a model is asked for as a file, not by a name of the catalog."""
    return model.endswith(SUFFIXES)


def within(folder: Path, model: str) -> str:
    """Return a model whose file is named from ``folder``."""
    plain = model.partition("::")[0]
    from_here = is_file(plain) or (is_code(plain) and plain.endswith(".onnx")) or ".py:" in plain
    then = split_revision(plain) or split_code(plain)
    return str(folder / model) if from_here and not then else model
