"""What a reference keeps for backward, draws and leaves out in training, against the spec.

Two implementations that compute the same may keep other tensors. What differs for a reason is
taken away on both sides and named, in bytes; what is left differs without one, and fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from archcost.analysis.training import gradients
from archcost.network import Layer
from archcost.ops.base import OUTPUT
from archcost.proofs import Check, Subject
from archcost.proofs.counterparts import Difference, one_line
from archcost.proofs.observe import (
    DROPS,
    PADS,
    POOLS,
    Call,
    Pass,
    Storage,
    drop_nothing,
    fake_of,
    run,
    work_out_of_place,
)
from archcost.proofs.watch import training_batch
from archcost.shape import numel, show
from archcost.storage.saved import saved_for_backward
from archcost.units import number_of

IN_PLACE = "in place"
REASONS = {
    IN_PLACE: "modules that work in place",
    POOLS: "average pooling of a whole map, or to its own size, that keeps what it reads",
    PADS: "padded copies of what a layer reads",
    DROPS: "dropout",
}

SAVED, DRAWS = "saved bytes in train mode", "random numbers in train mode"
CLOSE = 1e-6
"""Probabilities that are closer are equal: references compute theirs in float32."""
PADDED = "pad"
"""What a layer calls the copy of its input that it pads unevenly."""
POINTWISE_NORMS = ("scale", "grn", "lrn", "frn", "pixelnorm", "normalize")
"""The normalisations that are written as functions of each element."""
WHOLE = ("softmax", "log_softmax", "softmin", "glu")
"""The activations that are no function of each element."""
AVERAGES = ("avgpool", "adaptive_avgpool", "global_avgpool", "mean")


@dataclass(frozen=True)
class _Kept:
    """Both sides' storages, were the calls and layers of some kinds not there."""

    predicted: Sequence[Storage]
    measured: Sequence[Storage]

    @property
    def difference(self) -> int:
        """Bytes that the reference keeps more."""
        ours, theirs = (sum(s.bytes for s in side) for side in (self.predicted, self.measured))
        return theirs - ours

    @property
    def unlike(self) -> tuple[Counter[int], Counter[int]]:
        """The sizes that only the prediction has, and those that only the reference has."""
        ours, theirs = (Counter(s.bytes for s in side) for side in (self.predicted, self.measured))
        return ours - theirs, theirs - ours

    @property
    def count(self) -> int:
        """How many storages have no partner of their size."""
        return sum(side.total() for side in self.unlike)


class Training:
    """A reference as it was built, copied on fake tensors, in training mode.

    Attributes:
        subject: what it is compared with.
        frozen: the names of the twin's parameters that are not to be trained.
        trained: names of the reference's parameters that get a gradient, None if it does not run.
        error: why it does not run, on one line; empty if it does.
    """

    def __init__(self, subject: Subject, reference: Any) -> None:
        self.subject = subject
        self.batch, _ = training_batch(subject.network, subject.batch)
        self.trained: frozenset[str] | None = None
        self.error = ""
        known = gradients(subject.network, subject.setting.freeze)
        reached = [layer for layer in subject.network if layer.path in known.reached]
        used = {name for layer in reached for name in layer.param_names}
        self.frozen = frozenset(subject.network.params) - (used & known.learns)
        try:
            self._copy, self._fake = fake_of(reference)
        except Exception as error:  # whatever a foreign module raises when it is copied
            self.error = one_line(error)

    def freeze(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Freeze what takes the place of frozen parameters, and run."""
        if self.error:
            return
        names = {other for own, other in pairs if own in self.frozen}
        for name, parameter in self._copy.named_parameters(remove_duplicate=False):
            if name in names:
                parameter.requires_grad_(False)
        try:
            self.run = self._run(True)
            self.trained = self.run.trained
        except Exception as error:  # whatever a foreign module raises
            self.error = one_line(error)

    def _run(self, in_place: bool) -> Pass:
        if not in_place:
            work_out_of_place(self._copy)
        return run(self._copy, self._fake, self.subject.network.inputs, self.batch)

    def checks(
        self, check: Callable[..., Check], known: Difference | None = None
    ) -> Iterator[Check]:
        """Yield the comparisons of what is drawn and of what is kept; ``known`` may differ."""
        if self.error:
            for what in (DRAWS, SAVED):
                yield replace(check(what, None, None), skipped=self.error)
            return
        twin, fake = fake_of(self.subject.twin)
        ours = run(twin, fake, self.subject.network.inputs, self.batch)
        yield compare_draws(check, ours, self.run, known)
        yield self._saved(check, known)

    def is_random(self) -> bool:
        """Return whether it draws random numbers though no module drops anything any more."""
        if self.error:
            return False
        drop_nothing(self._copy)
        return bool(self._run(True).draws)

    def _saved(self, check: Callable[..., Check], known: Difference | None) -> Check:
        run = self.run
        kinds: tuple[str, ...] = ()
        now = self._kept(run, kinds)
        total = sum(storage.bytes for storage in now.predicted)
        measured = total + now.difference
        if known and known.bytes:
            if self.subject.network.input != known.input:
                reason = f"known on {show(known.input)} only, because {known.reason}"
                return replace(check(SAVED, None, None), skipped=reason)
            if now.difference == known.bytes * self.batch:
                return check(SAVED, measured, measured, named=((known.reason, now.difference),))
        named: list[tuple[str, int]] = []
        for kind in (IN_PLACE, POOLS, PADS, *(known.kinds if known else ())):
            if not now.count:
                break
            other = self._run(False) if kind == IN_PLACE else run
            more = kinds if kind == IN_PLACE else (*kinds, kind)
            after = self._kept(other, more)
            if after.count < now.count:
                named.append((REASONS[kind], now.difference - after.difference))
                now, run, kinds = after, other, more
        if now.count:
            written = _written_out(now)
            if not written:
                layer, text = _unexplained(now)
                return check(SAVED, total, f"{measured:,}: {text}", layer)
            named.append((f"functions written out: {written}", now.difference))
        return check(SAVED, measured, measured, named=tuple(named))

    def _kept(self, run: Pass, kinds: tuple[str, ...]) -> _Kept:
        predicted = _predicted(self.subject, self.batch, kinds)
        return _Kept(list(predicted), list(run.storages(kinds).values()))


def _predicted(subject: Subject, batch: int, kinds: Collection[str]) -> Iterator[Storage]:
    """Yield what a network keeps, were its layers of some kinds not there."""
    network = subject.network
    saved = saved_for_backward(network, replace(subject.setting, batch=batch))
    places = saved.places
    found: dict[tuple[str, int], Storage] = {}
    for number, kept in enumerate(saved.storages, 1):
        savers = [network[path] for path in kept.savers]
        savers = [layer for layer in savers if _kind(layer) not in kinds]
        owner, what = kept.owner, kept.what
        if what == PADDED and PADS in kinds:
            owner, what = places[network[owner].inputs[0]].owner, OUTPUT
        while what == OUTPUT and owner in network.by_path and _hands_on(network[owner], kinds):
            owner = places[network[owner].inputs[0]].owner
        place = places[owner]
        moved = (owner, what) != (kept.owner, kept.what)
        size = numel(place.layout.shape) * place.itemsize if moved else kept.bytes
        if savers:
            shape = place.layout.shape if what == OUTPUT else ()
            # a layer has one output, and may keep two others of one name, as copies of two parts
            key = (owner, 0 if what == OUTPUT else number)
            storage = found.setdefault(key, Storage(size, shape, False))
            storage.calls += [
                Call(layer.op.name, layer.path, pointwise=_is_pointwise(layer)) for layer in savers
            ]
    yield from found.values()


def _kind(layer: Layer) -> str:
    """Return of which kind of calls a layer is, empty if of none."""
    x, out = layer.shapes[0], layer.cost.output
    if layer.op.name == "pad":
        return PADS
    if layer.op.kind == "dropout":
        return DROPS
    if layer.op.name in AVERAGES and (out == x or set(out[1:]) == {1}):
        return POOLS
    return ""


def _is_pointwise(layer: Layer) -> bool:
    op = layer.op
    return op.name in POINTWISE_NORMS or (
        op.kind in ("activation", "merge") and op.name not in WHOLE
    )


def _hands_on(layer: Layer, kinds: Collection[str]) -> bool:
    """Return whether a layer's output is what it reads, were layers of some kinds not there."""
    kind = _kind(layer)
    return kind in kinds and (kind != POOLS or layer.cost.output == layer.shapes[0])


def _written_out(now: _Kept) -> str:
    """Return which functions of each element keep what differs; empty unless they keep it all."""
    names: list[str] = []
    for sizes, side in zip(now.unlike, (now.predicted, now.measured), strict=True):
        for size, count in sizes.items():
            alike = [
                storage
                for storage in side
                if storage.bytes == size
                and not storage.drawn
                and all(call.pointwise for call in storage.calls)
            ]
            if len(alike) < count:
                return ""
            names += [call.name for storage in alike for call in storage.calls]
    common = {call.name for storage in now.predicted for call in storage.calls}
    return some([n for n in dict.fromkeys(names) if n not in common] or list(dict.fromkeys(names)))


def _unexplained(now: _Kept) -> tuple[str, str]:
    """Return the first layer whose tensors the reference lacks, and what differs in words."""
    texts, layer = [], ""
    ours, theirs = now.unlike
    for sizes, side, what in ((theirs, now.measured, "beside"), (ours, now.predicted, "without")):
        for size, count in sizes.items():
            alike = sorted(
                (storage for storage in side if storage.bytes == size), key=lambda s: s.drawn
            )
            last = alike[-1]
            layer = layer or (last.calls[-1].module if what == "without" else "")
            shape = f" ({show(last.shape)})" if last.shape else ""
            times = f"{count:,} x " if count > 1 else ""
            texts.append(f"{what} {times}{number_of(size, 'byte')}{shape} for {last.calls[-1]}")
    return layer, some(texts, "; ")


def compare_draws(
    check: Callable[..., Check], ours: Pass, theirs: Pass, known: Difference | None = None
) -> Check:
    """Return the comparison of the random numbers that both draw, in any order.

    For a draw of zeros and ones, both must have the same number and the same probability. For
    another draw, which dropout may be written with, only the number counts.
    """
    left = sorted(ours.draws, key=str)
    more = []
    for count, p in sorted(theirs.draws, key=lambda draw: (draw[1] is None, str(draw))):
        partner = next(
            (
                own
                for own in left
                if own[0] == count and (p is None or own[1] is None or abs(own[1] - p) <= CLOSE)
            ),
            None,
        )
        if partner is None:
            more.append((count, p))
        else:
            left.remove(partner)
    if (left or more) and known and DROPS in known.kinds:
        return check(DRAWS, len(theirs.draws), len(theirs.draws), named=((known.reason, 0),))
    if left or more:
        return check(DRAWS, _shown(left), _shown(more))
    return check(DRAWS, len(ours.draws), len(theirs.draws))


def _shown(draws: Sequence[tuple[int, float | None]]) -> str:
    texts = [
        f"{number_of(count, 'number')}" + ("" if p is None else f", zero with {1 - p:.4g}")
        for count, p in draws
    ]
    return some(texts, "; ") or "no more"


def some(texts: Sequence[str], between: str = ", ", most: int = 3) -> str:
    """Join the first texts, and say how many more there are."""
    rest = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return between.join([*texts[:most], *rest])
