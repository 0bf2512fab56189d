"""Specs out of a git repository's history: ``main:specs/net.yaml``, read without a checkout."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from archcost.errors import ArchcostError, did_you_mean, shorten
from archcost.spec.source import MAX_BYTES, Source, decoded

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".yaml", ".yml", ".txt")
"""How the name of a spec file ends."""


class NotInRevision(ArchcostError):
    """A file that a revision does not have."""


def split_revision(name: str) -> tuple[str, str] | None:
    """Return revision and path of ``main:specs/net.yaml``, or None if the name is another thing."""
    revision, colon, path = name.partition(":")
    if not colon or not revision or not path.endswith(SUFFIXES) or os.path.exists(name):
        return None
    return revision, path


def read_revision(revision: str, path: str, folder: str | Path = ".") -> Source:
    """Return a file as it was at a revision.

    Args:
        revision: what git takes for one: ``main``, ``v1.2``, ``HEAD~3``, a hash.
        path: from the top of the repository, or from ``folder`` if it begins with ``./``.
        folder: a folder inside the repository.

    Raises:
        NotInRevision: the revision has no such file. ArchcostError: no git, no repository, or no
            such revision.
    """
    name = f"{revision}:{path}"
    if not re.fullmatch(r"[^\s:?*\[\\^~-][^\s:?*\[\\]*", revision) or "\n" in path:
        raise ArchcostError(f"{shorten(revision)!r} is not a git revision")
    # by standard input, a name is never taken for an option
    found = git(folder, "cat-file", "--batch", stdin=f"{name}\n".encode())
    header, _, content = found.partition(b"\n")
    kind = header.split(b" ")
    if len(kind) != 3 or kind[1] != b"blob":
        raise _missing(revision, path, folder)
    size = int(kind[2])
    if size > MAX_BYTES:
        raise ArchcostError(f"{name}: the file is larger than {MAX_BYTES:,} bytes")
    try:
        return Source(name, decoded(content[:size]))
    except UnicodeDecodeError:
        raise ArchcostError(f"{name}: not UTF-8") from None


def _missing(revision: str, path: str, folder: str | Path) -> ArchcostError:
    """Return what is wrong: the revision, or the path in it."""
    check = git(folder, "cat-file", "--batch-check", stdin=f"{revision}^{{tree}}\n".encode())
    if b" tree " not in check:
        names = git(folder, "for-each-ref", "--format=%(refname:short)").decode().split()
        hint = did_you_mean(revision, names)
        if git(folder, "rev-parse", "--is-shallow-repository").strip() == b"true":
            hint = f"; this clone is shallow: `{_fetch(revision, folder)}` brings it"
        return ArchcostError(
            f"no git revision, file or model is called {shorten(revision)!r}{hint}"
        )
    whole = [] if path.startswith("./") else ["--full-tree"]
    tree = check.split(b" ")[0].decode()
    listed = git(folder, "ls-tree", "-r", "-z", "--name-only", *whole, tree)
    files = [
        name
        for name in listed.decode(errors="replace").split("\0")
        if name.endswith((*SUFFIXES, os.path.splitext(path)[1]))
    ]
    plain = path.removeprefix("./")
    return NotInRevision(f"{revision} has no file {plain}{did_you_mean(plain, files)}")


def _fetch(revision: str, folder: str | Path) -> str:
    """Return the command that brings a revision into a shallow clone."""
    remotes = git(folder, "remote").decode().split()
    remote, slash, branch = revision.partition("/")
    if any(sign in revision for sign in "~^@") or not remotes:
        return "git fetch --unshallow"  # a place in the history
    if not slash or remote not in remotes:
        remote = "origin" if "origin" in remotes else remotes[0]
        own = "" if re.fullmatch(r"[0-9a-f]{40}", revision) else f":{revision}"
        return f"git fetch --depth=1 {remote} {revision}{own}"
    kept = git(folder, "config", "--get-all", f"remote.{remote}.fetch", allowed=(0, 1)).decode()
    # a clone of a single branch does not name others by itself
    named = "" if "refs/heads/*:" in kept else f":refs/remotes/{revision}"
    return f"git fetch --depth=1 {remote} {branch}{named}"


def git(
    folder: str | Path, *arguments: str, stdin: bytes = b"", allowed: tuple[int, ...] = (0,)
) -> bytes:
    """Run git in a folder and return its output; ``allowed`` exit codes are not a failure."""
    import subprocess  # only revisions need it

    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], input=stdin, capture_output=True, check=False
        )
    except OSError as error:
        raise ArchcostError(f"git cannot be run: {error.strerror}") from None
    if done.returncode not in allowed:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise ArchcostError(f"git: {shorten(words[0] if words else 'failed', 200)}")
    return done.stdout
