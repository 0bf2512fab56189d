"""Where labels go, so that none covers another or a bubble; and how wide words are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

Box = tuple[float, float, float, float]
"""Left, low, right and high ends; of a line, where it starts and ends."""

NARROW, WIDE = "fijlrtI.,:;'|()[]! ", "mwMWGOQ@%"


def text_width(text: str, size: float) -> float:
    """Return about how wide words are in a sans serif of ``size``, in the same unit.

    The widths are DejaVu Sans's in three classes, a little generous: fonts of a page vary.
    """
    widths = (0.36 if c in NARROW else 0.86 if c in WIDE else 0.64 for c in text)
    return size * sum(widths)


def wrap(text: str, width: float, size: float) -> list[str]:
    """Return text in lines of at most ``width``, in the unit of ``size``."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and text_width(longer, size) > width:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line] if line else lines


@dataclass(frozen=True)
class Bubble:
    """A disc at ``x, y`` (y upwards) with the size of its label, all in one unit.

    Labels of higher ``rank`` are placed before the others; one of :data:`NEEDED` gets a place
    farther away too, or on other bubbles.
    """

    x: float
    y: float
    radius: float
    width: float
    height: float
    rank: int = 0


@dataclass(frozen=True)
class Place:
    """Where a label goes: its lower left corner, and whether a line must lead to its bubble."""

    x: float
    y: float
    led: bool = False


NEAR = 10.0  # a label this near needs no line to its bubble
STEPS = (0.0, 7.0, 14.0, 24.0, 36.0, 50.0)
FAR = (66.0, 84.0, 104.0, 126.0)
NEEDED = 2
SIDES = (
    (1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1),
    (1, 0.5), (1, -0.5), (-1, 0.5), (-1, -0.5),
)  # fmt: skip


def rank(first: bool, ringed: bool) -> int:
    """Return the rank of a bubble."""
    return NEEDED if first else int(ringed)


def place_labels(
    bubbles: Sequence[Bubble], width: float, height: float, lines: Sequence[Box] = (),
    words: Sequence[Box] = (),
) -> list[Place | None]:  # fmt: skip
    """Return a place for each label inside a frame, None for those that find none.

    ``lines`` are drawn lines, from (0, 1) to (2, 3) of each, and ``words`` boxes that no label may
    lie on.

    Crowded bubbles choose first; each takes the nearest free place around it, right side first.
    Beyond a short distance a line leads to the bubble, and no line may cross a label.
    """
    discs: list[Box] = [
        (b.x - b.radius, b.y - b.radius, b.x + b.radius, b.y + b.radius) for b in bubbles
    ]
    taken: list[Box] = [*words]
    leads = [*lines]
    places: list[Place | None] = [None] * len(bubbles)

    def turn(i: int) -> tuple[int, float]:
        own = bubbles[i]
        if own.rank >= NEEDED:  # from the right, where the first side that is tried is free
            return -own.rank, -own.x
        return -own.rank, -sum(
            1 / (1 + hypot(other.x - own.x, other.y - own.y)) for other in bubbles
        )

    def find(i: int, steps: Sequence[float], strict: int) -> tuple[Box, bool] | None:
        """Return the nearest free box, and whether a line must lead to it.

        Without strictness 2 this line may cross bubbles and lines, without 1 the label too.
        """
        own = bubbles[i]
        others = [disc for j, disc in enumerate(discs) if j != i]
        for step in steps:
            for side in SIDES:
                box = _beside(own, side, step)
                inside = box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height
                if not inside or any(_overlap(box, other) for other in taken):
                    continue
                if strict and (
                    any(_overlap(box, disc, 0.8) for disc in others)
                    or any(_crosses(line, box) for line in leads)
                ):
                    continue
                barred = (*taken, *others) if strict == 2 else taken
                if step < NEAR or not any(_crosses(_lead(own, box), other) for other in barred):
                    return box, step >= NEAR
        return None

    for i in sorted(range(len(bubbles)), key=turn):
        found = find(i, STEPS, 2)
        if found is None and bubbles[i].rank >= NEEDED:
            wide = (*STEPS, *FAR)
            found = find(i, FAR, 2) or find(i, wide, 1) or find(i, wide, 0)
        if found:
            box, led = found
            taken.append(box)
            if led:
                leads.append(_lead(bubbles[i], box))
            places[i] = Place(box[0], box[1], led)
    return places


def _beside(b: Bubble, side: tuple[float, float], step: float) -> Box:
    dx, dy = side
    length = hypot(dx, dy)
    reach = b.radius + 2 + step
    x, y = b.x + dx / length * reach, b.y + dy / length * reach
    left = x if dx > 0 else x - b.width if dx < 0 else x - b.width / 2
    low = y - b.height / 2 if abs(dy) < 0.4 else y if dy > 0 else y - b.height
    return (left, low, left + b.width, low + b.height)


def lead_end(box: Box, x: float, y: float) -> tuple[float, float]:
    """Return the point of a label's box that is nearest to ``x, y``."""
    return min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])


def _lead(b: Bubble, box: Box) -> Box:
    x, y = lead_end(box, b.x, b.y)
    return (b.x, b.y, x, y)


def _overlap(a: Box, b: Box, share: float = 1.0) -> bool:
    """Whether two boxes overlap, the second shrunk to ``share`` about its middle."""
    cut = (1 - share) / 2
    w, h = (b[2] - b[0]) * cut, (b[3] - b[1]) * cut
    return a[0] < b[2] - w and b[0] + w < a[2] and a[1] < b[3] - h and b[1] + h < a[3]


def _crosses(line: Box, box: Box) -> bool:
    """Whether a line from (0, 1) to (2, 3) passes through a box; sampled, which is enough here."""
    x0, y0, x1, y1 = line
    steps = max(12, int(hypot(x1 - x0, y1 - y0) / 4))
    return any(
        box[0] < x0 + (x1 - x0) * k / steps < box[2]
        and box[1] < y0 + (y1 - y0) * k / steps < box[3]
        for k in range(1, steps)
    )
