"""Labels of a picture: which find a place, and where."""

from __future__ import annotations

from test_plot import GOLDEN, PICTURES

from archcost.pictures.labels import Bubble, Place, place_labels


def test_labels_that_are_needed_find_a_place() -> None:
    # bubbles all over the frame: no name finds a place beside them, and one gets it on others
    crowd = [
        Bubble(x, y, 9, 60, 8, 2 * (x == y == 64))
        for x in range(10, 130, 18) for y in range(10, 110, 18)
    ]  # fmt: skip
    places = place_labels(crowd, 130, 110)
    assert [b.rank for b, place in zip(crowd, places, strict=True) if place] == [2]


def test_labels_keep_away_from_words() -> None:
    own = [Bubble(20, 50, 3, 40, 8)]
    assert place_labels(own, 200, 100) == [Place(25, 46)]
    [place] = place_labels(own, 200, 100, words=[(24, 40, 90, 60)])
    assert place is not None
    assert place.x + 40 <= 24 or place.y >= 60 or place.y + 8 <= 40


def test_labels_that_find_no_place_are_left_out() -> None:
    assert place_labels([Bubble(50, 50, 3, 180, 8)] * 9, 100, 100) == [None] * 9


if __name__ == "__main__":
    from archcost.pictures.matplotlib_file import save

    for kind, picture in PICTURES.items():
        save(picture(), GOLDEN / f"{kind}.png", "png", dpi=60)
