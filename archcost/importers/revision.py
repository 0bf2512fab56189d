"""Code as it was at a git revision: read in a process of its own, in a worktree of its own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from archcost.errors import ArchcostError, shorten
from archcost.network import Network, Remark, no_remarks
from archcost.spec.kinds import split_code
from archcost.spec.revision import NotInRevision, git, read_revision

ROOT = Path(__file__).resolve().parents[2]
"""The folder from which archcost itself is imported, in the other process too."""

_START = (
    "import sys; sys.path[0] = sys.argv[1]; from archcost.importers import revision as r; r.main()"
)


def read(model: str, **options: Any) -> Network:
    """Return the network of code at a git revision.

    The revision is checked out into a temporary worktree, in which a process of its own runs the
    code. Both are gone afterwards. What the code imports must be in the worktree, or be installed.

    Args:
        model: ``REVISION:path/file.py:callable``, the path from the top of the repository, or from
            the current folder if it begins with ``./``. Or ``REVISION:package.module:callable``,
            the package in the current folder or in ``src`` there.
        options: as :func:`archcost.importers.source.read` takes them.

    Raises:
        NotInRevision: the revision has no such file or module. ArchcostError: there is no such
            revision, or the code cannot be read.
    """
    found = split_code(model)
    assert found is not None  # the caller has seen to it
    revision, path, name = found
    top = Path(git(".", "rev-parse", "--show-toplevel").decode().strip())
    folder = "."
    if path.endswith(".py"):
        read_revision(revision, path)  # says what is missing
        if Path(path).is_absolute() or path.startswith("./"):
            path = os.path.relpath(Path(path).resolve(), top)
    else:
        _require_module(revision, path)
        folder = os.path.relpath(Path.cwd(), top)
    with _worktree(top, revision) as tree:
        made = _run_apart(tree / folder, top, f"{path}:{name}", options)
    if isinstance(made, ArchcostError):
        raise ArchcostError(f"{revision}: {made}")
    network, remarks, training = made

    def again(**other: Any) -> Network:
        given = {key: value for key, value in other.items() if key in options}
        return read(model, **{**options, **given})

    def here(network: Network, remarks: list[Remark], **more: Any) -> Network:
        return replace(
            network, name=model, family=model, source=model, find_remarks=lambda _: remarks,
            remake=again, **more,
        )  # fmt: skip

    def trains() -> Network:
        if isinstance(training, ArchcostError):
            raise ArchcostError(f"{revision}: {training}")
        return here(*training)

    return here(network, remarks, trains=trains if training else None)


def _require_module(revision: str, module: str) -> None:
    """Refuse a module that the current folder does not have at a revision, nor ``src`` in it."""
    file = module.replace(".", "/")
    for path in (f"{own}/{file}{end}" for own in (".", "./src") for end in (".py", "/__init__.py")):
        try:
            read_revision(revision, path)
        except NotInRevision:
            continue
        return
    raise NotInRevision(f"{revision} has no module {module}")


@contextmanager
def _worktree(top: Path, revision: str) -> Iterator[Path]:
    """Check a revision out into a temporary folder, which goes whatever happens."""
    with tempfile.TemporaryDirectory(prefix="archcost-") as folder:
        tree = Path(folder) / "tree"
        no_hooks = ("-c", "core.hooksPath=/dev/null")
        try:
            git(top, *no_hooks, "worktree", "add", "--quiet", "--detach", str(tree), revision)
            yield tree
        finally:
            git(top, "worktree", "remove", "--force", str(tree), allowed=(0, 128))
            git(top, "worktree", "prune", allowed=(0, 128))


def _run_apart(tree: Path, top: Path, model: str, options: Mapping[str, Any]) -> Any:
    """Return what another process reads in a folder, or the error that it has met."""
    with tempfile.TemporaryDirectory(prefix="archcost-") as folder:
        request, answer = Path(folder) / "request", Path(folder) / "answer"
        request.write_bytes(pickle.dumps((model, dict(options), str(top))))
        done = subprocess.run(
            [sys.executable, "-c", _START, str(ROOT), str(request), str(answer)],
            cwd=tree, capture_output=True, check=False, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        if not answer.is_file():
            words = done.stderr.decode(errors="replace").strip().splitlines()
            return ArchcostError(f"{model} ends its process: {shorten(''.join(words[-1:]), 200)}")
        return pickle.loads(answer.read_bytes())  # what our own process has written


def main() -> None:
    """Read what another process asks for in the current folder, and write what it is."""
    from archcost.importers.source import read as read_here

    request, answer = map(Path, sys.argv[2:4])
    model, options, top = pickle.loads(request.read_bytes())
    sys.path[1:1] = [os.getcwd(), str(Path.cwd() / "src")]
    made: Any
    try:
        network = read_here(model, **options)
        _check_modules(top)
        made = (*_plain(network), _in_training(network))
    except ArchcostError as error:
        made = ArchcostError(str(error))
    answer.write_bytes(pickle.dumps(made))


def _plain(network: Network) -> tuple[Network, list[Remark]]:
    """Return what can be sent to another process: a network without functions, and its remarks."""
    remarks = list(network.find_remarks(network))
    plain = replace(network, find_remarks=no_remarks, remake=None, module=None, trains=None)
    return plain, remarks


def _in_training(network: Network) -> tuple[Network, list[Remark]] | ArchcostError | None:
    """Return the network in training mode, read at once: it would take another process later."""
    if not network.trains:
        return None
    try:
        return _plain(network.in_training)
    except ArchcostError as error:
        return ArchcostError(str(error))


def _check_modules(top: str) -> None:
    """Refuse a module of the repository itself that is not in the revision's worktree."""
    ours, tree = Path(top).resolve(), Path.cwd().resolve()
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name.partition(".")[0] == "archcost":
            continue
        path = Path(file).resolve()
        installed = "site-packages" in path.parts or not path.is_relative_to(ours)
        if not installed and not path.is_relative_to(tree):
            raise ArchcostError(f"it imports {name} from {file}, which is not of that revision")
