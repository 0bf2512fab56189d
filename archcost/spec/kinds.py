"""The kinds of names and files that are not specs: code, an ONNX file, or unreadable."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from archcost.errors import SpecError
from archcost.spec.revision import SUFFIXES, split_revision
from archcost.spec.source import Source, read_source

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = "holds weights, not layers; write the layers as a spec"
ENDINGS = {
    ".onnx": "is an ONNX graph, not a spec",
    ".py": "is Python, not a spec; to read a network that is code, add the name of a class or "
    "function, as in net.py:Net",
    ".ipynb": "is a notebook; write the layers as a spec",
    ".csv": "is a table of values, not a spec",
    ".json": "is JSON, not a spec",
    ".toml": "is TOML; `archcost check --budgets FILE` reads budgets",
    ".prototxt": "is a Caffe network, which archcost does not read; write the layers as a spec",
    ".md": "is Markdown; save its table as .txt",
    ".pdf": "is a PDF; save its table as .txt",
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".safetensors", ".caffemodel", ".npz"), WEIGHTS),
    **dict.fromkeys(
        (".h5", ".hdf5", ".keras", ".pb", ".tflite", ".mlmodel", ".engine"),
        "is a saved network, which archcost does not read; write the layers as a spec",
    ),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".svg"), "is a picture, not a spec"),
    **dict.fromkeys((".zip", ".gz", ".tar", ".xlsx", ".docx"), "is packed, not a spec"),
}
"""What files of other kinds are, by how their names end."""


_CODE = re.compile(r"(?:[A-Za-z_][\w.]*|.+\.py):(?!:)[A-Za-z_][\w.]*")


_CODE_THEN = re.compile(
    r"(?P<revision>[^:]+):(?P<path>[^:]+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][\w.]*)"
)


def is_code(model: str) -> bool:
    """Whether a model is code (``package.module:callable``, ``file.py:callable``) or ONNX."""
    named = _CODE.fullmatch(model) or _CODE_THEN.fullmatch(model)
    return not model.endswith(SUFFIXES) and (named is not None or is_onnx(model))


def split_code(model: str) -> tuple[str, str, str] | None:
    """Return the revision, what is there, and a name in it, or None for other names.

    There is a path, of ``main:path/file.py:callable``, or a module, of ``main:package:callable``.
    """
    found = _CODE_THEN.fullmatch(model)
    if found is None or os.path.exists(f"{found['revision']}:{found['path']}"):
        return None
    return found["revision"], found["path"], found["name"]


def is_onnx(model: Any) -> bool:
    """Whether a model is an ONNX file, by its ending."""
    named = isinstance(model, (str, os.PathLike))
    return named and os.fspath(model).lower().endswith(".onnx") and not split_revision(str(model))


def reader_of(model: Any) -> str:
    """Return what reads a model that is code; a run that meets none does not load it."""
    if isinstance(model, str) and split_code(model):
        return "archcost.importers.revision"
    return f"archcost.importers.{'onnx_network' if is_onnx(model) else 'source'}"


def other_kind(path: str | Path) -> str:
    """Return what a file or folder is that cannot be a spec, or nothing if it may be one."""
    from pathlib import Path  # only the path of a file needs it

    path = Path(path)
    try:
        if path.is_dir():
            specs = sorted(path.glob("[!.]*.yaml"))
            return "is a folder" + (f"; name a file in it, as {specs[0]}" if specs else "")
        if not path.is_file():
            return ""
        if path.suffix.lower() in ENDINGS:
            return ENDINGS[path.suffix.lower()]
        with path.open("rb") as file:
            return "is binary, not a spec" if b"\0" in file.read(4096) else ""
    except (OSError, ValueError):
        return ""


def is_there(path: str) -> bool:
    """Whether there is a file or folder of that name."""
    return os.path.exists(path)


def read_spec_source(path: str | Path) -> Source:
    """Read the file of a spec or a lecture's table, or standard input for ``-``.

    Raises:
        SpecError: a file of another kind, with what it is, or one that cannot be read.
    """
    reason = "" if str(path) == "-" else other_kind(path)
    if reason:
        raise SpecError(reason, str(path))
    return read_source(path)
