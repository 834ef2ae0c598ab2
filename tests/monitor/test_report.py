"""A report's sentence, its order of features, and its bins."""

from __future__ import annotations

import numpy as np
import pytest

from inferd._core.monitor.feature_counts import Side
from inferd.monitor.feature import Feature, Kind
from inferd.monitor.judging import Finding
from inferd.monitor.reference import Reference
from inferd.monitor.report import MAX_BINS, bins_of
from inferd.monitor.track import Found, Track, Window
from inferd.monitor.verdict import ranked, verdict
from tests.monitor.profiles import learned

VALUES = np.random.default_rng(0).normal(size=500)
FEATURES = (learned(VALUES, label="age"), learned(VALUES, label="debt"), learned(VALUES, label="paid", side=Side.GIVEN))
REFERENCE = Reference(model="m", rows=500, made_unix_ns=0, inputs=(), outputs=(), features=FEATURES)


def found(place: int, finding: Finding = Finding.DRIFT, share: float = 0.25) -> Found:
    return Found(place, finding, share, 0, "times 10" if finding is Finding.UNITS else "")


@pytest.mark.parametrize(
    ("all_found", "sentence"),
    [
        ([], "Nothing has moved away from the reference, in 3 features and 2,400 rows."),
        ([found(0)], "1 feature has moved away from the reference. First of all: age moved away from the reference (effect 0.25)."),
        (
            [found(1, share=0.2), found(2), found(0, Finding.MISSING)],
            (
                "2 features have moved away from the reference and 1 other feature has something else wrong; predictions have moved, too. "
                "First of all: paid moved away from the reference (effect 0.25)."
            ),
        ),
        (
            [found(0, Finding.STUCK, 0.9), found(1, Finding.UNITS)],
            "2 features have something else wrong. First of all: debt in other units, it seems: times 10.",
        ),
    ],
)
def test_the_sentence(all_found: list[Found], sentence: str) -> None:
    track = Track(windows=[Window(0, 1, 1200, []), Window(1, 2, 1200, [])], found=all_found)
    assert verdict(REFERENCE, track, 0, 1000) == sentence


@pytest.mark.parametrize(("finding", "words"), [(each, each.value) for each in Finding])
def test_each_finding_has_words(finding: Finding, words: str) -> None:
    said = found(0, finding).said(FEATURES[0])
    assert len(said) > len("in 25.0% of rows")
    assert said.endswith(("reference", "rows", "times 10", "(effect 0.25)")), words


def test_units_come_first_for_they_explain_drift() -> None:
    track = Track(found=[found(0, share=0.9), found(1, Finding.MISSING, 1.0), found(2, Finding.UNITS)])
    assert [each.finding for each in ranked(track)] == [Finding.UNITS, Finding.DRIFT, Finding.MISSING]


@pytest.mark.parametrize(
    ("feature", "bins"),
    [
        (learned(np.array([1.0, 2.5])), ["1", "2.5", "others"]),
        (learned(np.array([0.0, 1.0] * 9), texts=["a", "b" * 99], kind=Kind.TEXTS), ["0", "1", "others"]),
    ],
)
def test_bins_as_people_read_them(feature: Feature, bins: list[str]) -> None:
    assert bins_of(feature) == bins


def test_bins_of_ranges_are_all_there() -> None:
    names = bins_of(FEATURES[0])
    assert names[0].startswith("below -")
    assert names[-1].startswith("above ")
    assert len(names) == len(FEATURES[0].shares) <= MAX_BINS + 1
