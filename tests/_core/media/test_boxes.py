"""Detections against a plain Python version: every layout, its transpose, suppression, what is no box, and the bound of the work."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inferd._core.media.boxes import MAX_CANDIDATES, detect_boxes

Array = np.ndarray[Any, np.dtype[Any]]
Box = tuple[float, float, float, float]
Found = list[tuple[Box, float, int]]

CENTER_CLASSES, CENTER_OBJECTNESS_CLASSES, CORNERS_SCORE_CLASS = range(3)


# ---- the plain version ----------------------------------------------------------------------------------------------


def box_of(row: Array, layout: int) -> Box | None:
    """Corners as FP32; None where that is no box."""
    a, b, c, d = (float(value) for value in row[:4])
    with np.errstate(all="ignore"):
        if layout == CORNERS_SCORE_CLASS:
            corners = (a, b, c, d)
        elif c >= 0 and d >= 0:
            x1, y1, x2, y2 = (float(np.float32(value)) for value in (a - c / 2, b - d / 2, a + c / 2, b + d / 2))
            corners = (x1, y1, x2, y2)
        else:
            return None
    x1, y1, x2, y2 = corners
    return corners if all(map(math.isfinite, corners)) and x2 >= x1 and y2 >= y1 else None


def score_of(row: Array, layout: int) -> tuple[float, int]:
    """Score and class; NaN where there is none."""
    if layout == CORNERS_SCORE_CLASS:
        score, kind = float(row[4]), float(row[5])
        return (score, int(kind)) if 0 <= kind < 2**31 else (math.nan, 0)
    first = 4 if layout == CENTER_CLASSES else 5
    known = [(-float(value), place) for place, value in enumerate(row[first:]) if value > -math.inf]
    if not known:
        return math.nan, 0
    _, kind = min(known)
    score = row[first + kind]
    with np.errstate(all="ignore"):
        return float(score if layout == CENTER_CLASSES else score * row[4]), kind


def overlap(a: Box, b: Box, threshold: float) -> bool:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return False
    common = width * height
    return common > threshold * ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def detect(image: Array, layout: int, score_threshold: float, overlap_threshold: float, max_boxes: int) -> Found:
    """image: FP32 [boxes, values]."""
    candidates = []
    for place, row in enumerate(image):
        box, (score, kind) = box_of(row, layout), score_of(row, layout)
        if box is not None and score > score_threshold:
            candidates.append((-score, place, kind, box))
    kept: Found = []
    for score, _, kind, box in sorted(candidates)[:MAX_CANDIDATES]:
        if len(kept) < max_boxes and not any(kind == other and overlap(better, box, overlap_threshold) for better, _, other in kept):
            kept.append((box, -score, kind))
    return kept


def check(array: Array, layout: int, score_threshold: float = 0.25, overlap_threshold: float = 0.45, max_boxes: int = 20) -> list[Found]:
    """What is found in every image, equal to the plain version's, as it lies and transposed."""
    score_threshold, overlap_threshold = float(np.float32(score_threshold)), float(np.float32(overlap_threshold))
    expected = [detect(image, layout, score_threshold, overlap_threshold, max_boxes) for image in array]
    lying = np.ascontiguousarray(array.transpose(0, 2, 1))
    for given_array, transposed in ((array, False), (lying, True)):
        results = detect_boxes(given_array, layout, transposed, score_threshold, overlap_threshold, max_boxes)
        boxes, scores, classes, counts = results
        assert [result.dtype for result in results] == [np.float32, np.float32, np.int64, np.int32]
        assert boxes.shape == (len(array), max_boxes, 4)
        assert scores.shape == classes.shape == (len(array), max_boxes)
        assert counts.shape == (len(array), 1)
        for image, found in enumerate(expected):
            count = int(counts[image, 0])
            assert count == len(found)
            assert [tuple(box) for box in boxes[image, :count].tolist()] == [box for box, _, _ in found]
            assert scores[image, :count].tolist() == [score for _, score, _ in found]
            assert classes[image, :count].tolist() == [kind for _, _, kind in found]
            assert not boxes[image, count:].any()
            assert not scores[image, count:].any()
            assert not classes[image, count:].any()
    return expected


# ---- against it -----------------------------------------------------------------------------------------------------

COORDINATES = st.integers(-4, 40).map(float) | st.floats(width=32)
SCORES = st.sampled_from([0.0, 0.2, 0.25, 0.3, 0.5, 0.5, 0.9, 1.0, math.nan, math.inf, -math.inf]) | st.floats(0, 1, width=32)


@st.composite
def images(draw: st.DrawFn, layout: int) -> Array:
    count, boxes = draw(st.integers(0, 3)), draw(st.integers(0, 30))
    classes = draw(st.integers(1, 20))
    values = 6 if layout == CORNERS_SCORE_CLASS else classes + (4 if layout == CENTER_CLASSES else 5)
    array = draw(arrays.arrays(np.float32, (count, boxes, values), elements=SCORES, fill=SCORES))
    array[:, :, :4] = draw(arrays.arrays(np.float32, (count, boxes, 4), elements=COORDINATES, fill=COORDINATES))
    if layout == CORNERS_SCORE_CLASS:
        kinds = st.integers(-1, 3).map(float) | st.sampled_from([math.nan, math.inf, 2.0**31, 1.5])
        array[:, :, 5] = draw(arrays.arrays(np.float32, (count, boxes), elements=kinds))
    return array


@pytest.mark.parametrize("layout", range(3))
@settings(max_examples=60)
@given(st.data())
def test_every_layout_is_as_the_plain_version_has_it(layout: int, data: st.DataObject) -> None:
    array = data.draw(images(layout))
    threshold = data.draw(st.sampled_from([0.1, 0.45, 0.5, 1.0]))
    check(array, layout, data.draw(st.sampled_from([0.25, 0.0, 0.5])), threshold, data.draw(st.integers(1, 12)))


@pytest.mark.parametrize(("layout", "values"), [(CENTER_CLASSES, 84), (CENTER_OBJECTNESS_CLASSES, 85), (CORNERS_SCORE_CLASS, 6)])
def test_a_real_size(layout: int, values: int) -> None:
    rng = np.random.default_rng(layout)
    array = rng.random((2, 2100, values), np.float32)
    array[:, :, :4] *= 600
    if layout == CORNERS_SCORE_CLASS:
        array[:, :, 2:4] += array[:, :, :2]
        array[:, :, 5] = rng.integers(0, 80, (2, 2100))
    assert all(len(found) == 100 for found in check(array, layout, 0.5, 0.45, 100))


def test_duplicates_are_one_object_in_each_class() -> None:
    same = [[10, 10, 4, 4, 0.9, 0.1], [10.2, 10, 4, 4, 0.8, 0.1], [10, 10, 4, 4, 0.1, 0.7], [30, 30, 4, 4, 0.6, 0.1]]
    (found,) = check(np.array([same], np.float32), CENTER_CLASSES)
    assert [(kind, round(score, 3)) for _, score, kind in found] == [(0, 0.9), (1, 0.7), (0, 0.6)]
    assert found[0][0] == (8, 8, 12, 12)


def test_ties_go_to_the_first_box_and_the_first_class() -> None:
    array = np.array([[[5, 5, 2, 2, 0.5, 0.5], [25, 5, 2, 2, 0.5, 0.5], [5, 5, 2, 2, 0.5, 0.5]]], np.float32)
    (found,) = check(array, CENTER_CLASSES)
    assert found == [((4, 4, 6, 6), 0.5, 0), ((24, 4, 26, 6), 0.5, 0)]


def test_a_threshold_is_not_enough_when_it_is_just_reached() -> None:
    assert check(np.array([[[0, 0, 2, 2, 0.25]]], np.float32), CENTER_CLASSES, 0.25) == [[]]
    half = np.array([[[0, 0, 4, 4, 0.9, 0], [0, 0, 4, 2, 0.8, 0]]], np.float32)
    assert len(check(half, CORNERS_SCORE_CLASS, 0.25, 0.5)[0]) == 2  # they overlap by exactly one half


@pytest.mark.parametrize(
    "corners", [(5, 5, 4, 9), (5, 5, 9, 4), (math.nan, 0, 1, 1), (0, 0, math.inf, 1), (0, -math.inf, 1, 1), (0, 0, 1, math.nan)]
)
def test_what_is_no_box_is_ignored_and_hides_none(corners: Box) -> None:
    array = np.array([[[*corners, 0.99, 0], [4, 4, 9, 9, 0.5, 0]]], np.float32)
    assert check(array, CORNERS_SCORE_CLASS) == [[((4, 4, 9, 9), 0.5, 0)]]


def test_a_box_without_area_is_a_box_that_hides_none() -> None:
    array = np.array([[[5, 5, 0, 0, 0.9], [5, 5, 0, 0, 0.8], [5, 5, 2, 2, 0.7]]], np.float32)
    assert len(check(array, CENTER_CLASSES)[0]) == 3


def test_the_largest_numbers_do_not_overflow() -> None:
    most = float(np.finfo(np.float32).max)
    array = np.array([[[-most, -most, most, most, 0.9, 0], [-most, -most, most, most, 0.8, 0]]], np.float32)
    assert len(check(array, CORNERS_SCORE_CLASS)[0]) == 1
    assert check(np.array([[[most, 0, most, 1, 0.9]]], np.float32), CENTER_CLASSES) == [[]]


def test_at_most_so_many_candidates_enter_the_suppression() -> None:
    """All but the last are the same object; that one is a candidate too many."""
    array = np.zeros((1, MAX_CANDIDATES + 1, 5), np.float32)
    array[0, :, :4] = 5, 5, 2, 2
    array[0, :, 4] = 0.9
    array[0, -1] = 50, 50, 2, 2, 0.8
    assert len(check(array, CENTER_CLASSES)[0]) == 1
    assert len(check(array[:, 1:].copy(), CENTER_CLASSES)[0]) == 2


def test_images_have_nothing_to_do_with_each_other() -> None:
    array = np.zeros((3, 4, 7), np.float32)
    array[1, 2] = 5, 5, 2, 2, 0, 0, 0.9
    assert check(array, CENTER_CLASSES) == [[], [((4, 4, 6, 6), float(np.float32(0.9)), 2)], []]


# ---- what is rejected ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 4), CENTER_CLASSES),
        ((1, 9, 4), CENTER_CLASSES),
        ((1, 9, 5), CENTER_OBJECTNESS_CLASSES),
        ((1, 9, 7), CORNERS_SCORE_CLASS),
        ((1, 2, 9, 6), CORNERS_SCORE_CLASS),
    ],
)
def test_a_shape_of_another_layout(shape: tuple[int, ...], layout: int) -> None:
    with pytest.raises(ValueError, match=f"no boxes of layout {layout} are in an array of shape"):
        detect_boxes(np.zeros(shape, np.float32), layout, False, 0.25, 0.45, 10)


def test_other_arguments_that_mean_nothing() -> None:
    array = np.zeros((1, 9, 6), np.float32)
    with pytest.raises(ValueError, match="expected a layout from 0 to 2, got 3"):
        detect_boxes(array, 3, False, 0.25, 0.45, 10)
    for most in (0, -1, MAX_CANDIDATES + 1):
        with pytest.raises(ValueError, match=f"expected max_boxes from 1 to {MAX_CANDIDATES}, got {most}"):
            detect_boxes(array, 0, False, 0.25, 0.45, most)
    with pytest.raises(TypeError, match="struct format 'f'"):
        detect_boxes(array.astype(np.float64), 0, False, 0.25, 0.45, 10)
    with pytest.raises(ValueError, match="contiguous"):
        detect_boxes(array[:, :, ::-1], 0, False, 0.25, 0.45, 10)


def test_what_is_given_is_not_written_to() -> None:
    array = np.random.default_rng(0).random((2, 50, 9), np.float32)
    array.flags.writeable = False
    check(array, CENTER_CLASSES)
