"""How far an output's mean is shifted, against numpy on all that was seen."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from inferd.compare.statistics import MeanShift
from inferd.rollout.shift import LEARNED_AFTER, MAX_PLACES, OutputShift, floats_of, worst_of

ALPHA = 0.05


def taught(scale: float = 2.0, center: float = 5.0) -> tuple[OutputShift, list[np.ndarray]]:
    """A shift that has learned its spread, from responses of one to three rows, and these."""
    rng = np.random.default_rng(3)
    shift = OutputShift(ALPHA)
    responses = [rng.normal(center, scale, (1 + i % 3, 4)).astype(np.float32) for i in range(LEARNED_AFTER)]
    for response in responses:
        shift.add(response, response + 1, "FP32")
    return shift, responses


def test_the_spread_is_learned_first_and_then_frozen() -> None:
    shift, responses = taught()
    assert shift.spread == pytest.approx(np.concatenate(responses).astype(np.float64).std())
    assert [each.count for each in shift.places] == [0] * 4, "nothing counts before there is a measure"
    frozen = shift.spread
    shift.add(np.full((1, 4), 1e6, np.float32), np.full((1, 4), 1e6, np.float32), "FP32")
    assert shift.spread == frozen


def test_each_request_adds_the_mean_difference_of_each_place_in_spreads() -> None:
    shift, responses = taught()
    plain = [MeanShift(ALPHA / 4) for _ in range(4)]
    rng = np.random.default_rng(4)
    for expected in responses:
        got = expected + rng.normal([0.4, 0.4, -0.4, 0.0], 0.5, expected.shape).astype(np.float32)
        shift.add(expected, got, "FP32")
        for place, mean in zip(plain, (got.astype(np.float64) - expected).mean(axis=0) / shift.spread, strict=True):
            place.add(float(mean))
    assert [each.band() for each in shift.places] == [pytest.approx(each.band()) for each in plain]
    assert [each.estimate for each in shift.places] == pytest.approx([0.2, 0.2, -0.2, 0.0], abs=0.03)


def test_probabilities_that_sum_to_one_shift() -> None:
    """Their mean over all classes is 1/3 on both sides. 40 requests fall into another class."""
    shift = OutputShift(ALPHA)
    one, other = np.array([[0.8, 0.1, 0.1]], np.float32), np.array([[0.1, 0.1, 0.8]], np.float32)
    for _ in range(LEARNED_AFTER + 40):
        shift.add(one, other, "FP32")
    place, mean = shift.worst(0.1)
    assert (place, mean.band().high < -0.1) == (0, True)


@pytest.mark.parametrize(
    ("shapes", "places"),
    [
        ([(1, MAX_PLACES)], MAX_PLACES),
        ([(1, MAX_PLACES + 1)], 1),
        ([(3,)], 1),
        ([(1, 2, 3)], 3),
        ([(1, 3), (1, 4)], 1),
    ],
)
def test_places_that_have_a_mean(shapes: list[tuple[int, ...]], places: int) -> None:
    shift = OutputShift(ALPHA)
    for _ in range(LEARNED_AFTER):
        for shape in shapes:
            shift.add(np.zeros(shape), np.zeros(shape), "FP64")
    assert len(shift.places) == places
    shift.share(0.02)
    assert {each.alpha for each in shift.places} == {0.02 / places}


def test_a_response_with_other_places_counts_for_each() -> None:
    shift, plain = taught()[0], MeanShift(ALPHA / 4)
    shift.add(np.zeros((1, 5)), np.full((1, 5), shift.spread / 2), "FP64")
    plain.add(0.5)
    assert shift.places == [plain] * 4


@pytest.mark.parametrize(
    ("expected", "got", "added"),
    [
        ([np.nan, np.inf, 1.0], [np.nan, np.inf, 1.0], 0.0),
        ([1.0, 1.0, 1.0], [np.nan, 1.0, 1.0], 1.0),
        ([1.0, 1.0, 1.0], [-np.inf, 1.0, 1.0], -1.0),
        ([1.0, 1.0, 1.0], [1e300, 1.0, 1.0], 1.0),
    ],
)
def test_values_that_are_no_numbers_or_huge(expected: list[float], got: list[float], added: float) -> None:
    shift, plain = OutputShift(ALPHA, [MeanShift(ALPHA)], spread=1.0), MeanShift(ALPHA)
    shift.add(np.array(expected), np.array(got), "FP64")
    plain.add(added)
    assert shift.places == [plain]


def test_a_spread_of_anything_is_a_number_that_a_file_can_keep() -> None:
    shift = OutputShift(ALPHA)
    for value in (1e308, -1e308, np.nan, np.inf):
        for _ in range(LEARNED_AFTER // 4):
            shift.add(np.array([value]), np.array([value]), "FP64")
    assert 0 < shift.spread < np.inf
    assert msgspec.json.decode(msgspec.json.encode(shift), type=OutputShift) == shift


def test_rounding_is_no_shift_where_an_output_never_changes() -> None:
    shift = OutputShift(ALPHA)
    constant = np.full((1, 4), 1000.0, np.float32)
    for _ in range(2 * LEARNED_AFTER):
        shift.add(constant, np.nextafter(constant, np.float32(2000)), "FP32")
    assert all(abs(each.estimate) < 0.01 for each in shift.places)


def test_bits_of_bf16_are_read_as_numbers() -> None:
    shift, plain = OutputShift(ALPHA, [MeanShift(ALPHA)], spread=2.0), MeanShift(ALPHA)
    one, two = (np.array([[bits]], np.uint16) for bits in (0x3F80, 0x4000))
    shift.add(one, two, "BF16")
    plain.add(0.5)
    assert shift.places == [plain]


def test_labels_and_whole_numbers_have_no_mean() -> None:
    outputs = [(word.lower(), word, (-1,)) for word in ("FP16", "INT64", "BYTES", "BF16", "FP64", "UINT8", "FP32", "BOOL")]
    assert floats_of(outputs) == ["fp16", "bf16", "fp64", "fp32"]


def test_the_worst_output_tells() -> None:
    def shift(value: float, requests: int) -> OutputShift:
        mean = MeanShift(ALPHA)
        for _ in range(requests):
            mean.add(value)
        return OutputShift(ALPHA, [mean], spread=1.0)

    shifts = {"equal": shift(0.0, 2000), "small": shift(-0.05, 2000), "moved": shift(-0.4, 2000)}
    assert worst_of(shifts, 0.1) == "moved"
    assert worst_of(shifts | {"unknown": shift(0.0, 0)}, 0.1) == "moved", "one that fails is worse than one that is not known"
    del shifts["moved"]
    assert worst_of(shifts, 0.1) == "small"
    assert worst_of(shifts | {"unknown": shift(0.0, 0)}, 0.1) == "unknown"
    assert worst_of({}, 0.1) == ""
