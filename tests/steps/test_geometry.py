"""Folding of steps into passes, against carrying them out one by one on pixels that know their place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.steps.geometry import CenterCrop, Letterbox, Pad, Pass, Resampling, Resize, Sides, Unfit, View, fold

OUTSIDE = -1


def resized(places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """To the nearest: a stand-in that shows where pixels come from."""
    rows = np.arange(size[0]) * places.shape[0] // size[0]
    columns = np.arange(size[1]) * places.shape[1] // size[1]
    return places[rows][:, columns]


def seen(places: np.ndarray, view: View) -> np.ndarray:
    """What a view shows of a picture."""
    whole = resized(places, view.resized)
    out = np.full(view.size, OUTSIDE)
    for y in range(view.size[0]):
        for x in range(view.size[1]):
            at = (y + view.corner[0], x + view.corner[1])
            if 0 <= at[0] < view.resized[0] and 0 <= at[1] < view.resized[1]:
                out[y, x] = whole[at]
    return out


def one_by_one(places: np.ndarray, steps) -> np.ndarray:
    for step in steps:
        places = seen(places, step.see(View.of(places.shape)))
    return places


def folded(places: np.ndarray, steps) -> np.ndarray:
    for each in fold(steps):
        places = seen(places, each.view(places.shape))
    return places


sides = st.integers(1, 20)
sizes = st.tuples(sides, sides)
steps = st.one_of(
    st.builds(Resize, size=sizes),
    st.builds(Resize, shortest=sides),
    st.builds(Resize, longest=sides),
    st.builds(Letterbox, size=sizes, fill=st.just(114)),
    st.builds(CenterCrop, size=sizes, rounded_down=st.booleans()),
    st.builds(Pad, size=sizes, fill=st.sampled_from([0, 114])),
)


@given(sizes, st.lists(steps, max_size=5))
def test_passes_do_what_their_steps_do(size, listed) -> None:
    places = np.arange(size[0] * size[1]).reshape(size)
    try:
        wanted = one_by_one(places, listed)
    except Unfit:
        with pytest.raises(Unfit):
            folded(places, listed)
    else:
        assert np.array_equal(folded(places, listed), wanted)


ANY = Sides((1, 20), (1, 20))  # of the sizes above


@given(sizes, st.lists(steps, max_size=5))
def test_sides_are_within_what_is_known_of_them(size, listed) -> None:
    known = ANY
    for step in listed:
        try:
            size = step.see(View.of(size)).size
        except Unfit:
            return
        known = step.bound(known)  # what goes through for one picture is not rejected for all
        assert known.short[0] <= min(size) <= known.short[1]
        assert known.long[0] <= max(size) <= known.long[1]


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        ([Resize(size=(5, 3))], Sides((3, 3), (5, 5))),
        ([Letterbox((5, 3), 0)], Sides((3, 3), (5, 5))),
        ([Resize(shortest=4)], Sides((4, 4), (4, 80))),
        ([Resize(longest=10)], Sides((1, 10), (10, 10))),
        ([Resize(size=(5, 10)), Resize(shortest=4)], Sides((4, 4), (8, 8))),
        ([Resize(size=(5, 10)), Resize(longest=4)], Sides((2, 2), (4, 4))),
        ([Resize(shortest=4), Resize(longest=40)], Sides((2, 40), (40, 40))),
        ([CenterCrop((20, 3))], Sides((3, 3), (20, 20))),
        ([Pad((1, 1), 0)], Sides((1, 1), (1, 1))),
        ([Resize(shortest=4), CenterCrop((4, 80))], Sides((4, 4), (80, 80))),
        ([Resize(longest=10), Pad((1, 10), 0)], Sides((1, 1), (10, 10))),
    ],
    ids=str,
)
def test_what_is_known_of_sides(listed, wanted) -> None:
    known = ANY
    for step in listed:
        known = step.bound(known)
    assert known == wanted


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ([Resize(shortest=4), CenterCrop((8, 8))], r"the middle 8 x 8 .* at most 4 and 80: none is that large; resize them to more first"),
        ([Resize(shortest=4), CenterCrop((4, 81))], "at most 4 and 80"),
        ([Resize(longest=10), CenterCrop((1, 11))], "at most 10 and 10"),
        ([CenterCrop((1, 21))], "at most 20 and 20"),
        ([Resize(shortest=4), Pad((3, 90), 0)], r"fills up to 3 x 90 .* at least 4 and 4: none is that small; resize or crop them to less"),
        ([Resize(longest=10), Pad((9, 9), 0)], "at least 1 and 10"),
    ],
    ids=str,
)
def test_what_no_picture_can_go_through_is_known_before(listed, why) -> None:
    known = ANY
    for step in listed[:-1]:
        known = step.bound(known)
    with pytest.raises(Unfit, match=why):
        listed[-1].bound(known)


def test_the_usual_lists_are_one_pass() -> None:
    for listed in (
        [],
        [Resize(size=(224, 224))],
        [Resize(shortest=256), CenterCrop((224, 224))],
        [Letterbox((640, 640), 114)],
        [Resize(longest=640), Pad((640, 640), 0)],
        [Pad((300, 300), 0), CenterCrop((224, 224))],
    ):
        assert fold(listed) == (Pass(tuple(listed)),)


@pytest.mark.parametrize(
    "listed",
    [
        [Resize(shortest=256), Resize(size=(224, 224))],
        [CenterCrop((100, 100)), Resize(size=(224, 224))],
        [Letterbox((640, 640), 114), Pad((700, 700), 0)],
        [CenterCrop((100, 100)), Pad((224, 224), 0)],
    ],
    ids=str,
)
def test_what_cannot_be_folded_is_two_passes(listed) -> None:
    assert [each.steps for each in fold(listed)] == [(listed[0],), (listed[1],)]


@pytest.mark.parametrize(
    ("step", "size", "wanted"),
    [
        (Resize(shortest=256), (800, 1280), (256, 409)),  # 409.6, cut off as torchvision does
        (Resize(shortest=256), (1280, 800), (409, 256)),
        (Resize(shortest=7), (7, 7), (7, 7)),
        (Resize(longest=640), (800, 1280), (400, 640)),
        (Resize(longest=10), (3, 4), (8, 10)),  # 7.5
        (Resize(longest=10), (1, 1000), (1, 10)),
        (Resize(size=(5, 6)), (1, 1), (5, 6)),
    ],
)
def test_sizes_of_resize(step, size, wanted) -> None:
    assert step.see(View.of(size)) == View.of(wanted)


def test_letterbox_is_in_the_middle() -> None:
    assert Letterbox((640, 640), 114).see(View.of((800, 1280))) == View((400, 640), (-120, 0), (640, 640))
    assert Letterbox((10, 7), 0).see(View.of((2, 1))) == View((10, 5), (0, -1), (10, 7))
    assert Letterbox((4, 4), 0).see(View.of((1, 1000))).resized == (1, 4)


@pytest.mark.parametrize(("rest", "before", "down"), [(0, 0, 0), (1, 0, 0), (2, 1, 1), (3, 2, 1), (4, 2, 2), (5, 2, 2), (7, 4, 3)])
def test_the_half_of_an_odd_rest_is_rounded_as_torchvision_or_hugging_face_does(rest, before, down) -> None:
    assert CenterCrop((10, 10)).see(View.of((10 + rest, 10))).corner == (before, 0)
    assert CenterCrop((10, 10), rounded_down=True).see(View.of((10, 10 + rest))).corner == (0, down)


def test_says_what_does_not_fit() -> None:
    with pytest.raises(Unfit, match=r"the middle 5 x 6 .* that is 4 x 9: resize it first"):
        CenterCrop((5, 6)).see(View.of((4, 9)))
    with pytest.raises(Unfit, match=r"fills up to 5 x 6 .* that is 4 x 9 already"):
        Pad((5, 6), 0).see(View.of((4, 9)))


def test_a_pass_knows_how_it_resizes_and_fills() -> None:
    cubic = Resampling("BICUBIC", exact=True)
    assert Pass((Resize(cubic, (5, 5)), Pad((7, 7), 9))).resampling == cubic
    assert Pass((Resize(cubic, (5, 5)), Pad((7, 7), 9))).fill == 9
    assert Pass((CenterCrop((5, 5)),)).resampling is None
    assert Pass((CenterCrop((5, 5)),)).fill is None
