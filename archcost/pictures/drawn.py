"""What pictures and diagrams can do, however they are drawn."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any


class Drawn:
    """A picture: a notebook shows it, printed it is text."""

    __slots__ = ()

    def save(self, path: str | os.PathLike[str], *, dpi: int = 200) -> None:
        """Write a ``.png``, ``.svg`` or ``.pdf`` file; ``dpi`` are dots per inch of a PNG.

        Raises:
            ArchcostError: another suffix, a file that cannot be written, or no matplotlib.
        """
        from archcost.errors import ArchcostError
        from archcost.pictures.matplotlib_file import check_suffix, save

        suffix = check_suffix(Path(path))
        try:
            save(self, Path(path), suffix, dpi)  # type: ignore[arg-type]
        except OSError as error:
            raise ArchcostError(f"cannot write {path}: {error.strerror}") from None

    def text(self, width: int = 100) -> str:
        """Return it drawn as text, in lines of at most ``width`` characters."""
        from archcost.pictures.terminal import text

        return text(self, width)  # type: ignore[arg-type]

    def figure(self) -> Any:
        """Return a matplotlib ``Figure``, which belongs to no window.

        Raises:
            ArchcostError: matplotlib is not installed.
        """
        from archcost.pictures.matplotlib_file import figure

        return figure(self)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """Return it drawn as text."""
        return self.text()

    def __repr__(self) -> str:
        """Return a line: what it is, and its title."""
        title: str = getattr(self, "title")  # noqa: B009
        return f"<{type(self).__name__}: {title}>"

    def _repr_png_(self) -> bytes:
        from archcost.pictures.matplotlib_file import save

        drawn = io.BytesIO()
        save(self, drawn, "png", 150)  # type: ignore[arg-type]
        return drawn.getvalue()
