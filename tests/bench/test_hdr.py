"""A histogram's text, read and written by the hdrhistogram package as well."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from inferd.bench import hdr
from inferd.bench.measurement import BUCKETS, HIGHEST_NS, Histogram
from inferd.errors import ConfigError

DURATIONS = st.dictionaries(st.integers(0, HIGHEST_NS), st.integers(1, 1 << 40), max_size=40)


def histogram_of(durations: dict[int, int]) -> Histogram:
    made = Histogram()
    for duration, times in durations.items():
        made.record(duration, times)
    return made


@given(DURATIONS)
def test_what_is_encoded_is_decoded(durations) -> None:
    made = histogram_of(durations)
    read = hdr.decode(hdr.encode(made))
    assert np.array_equal(read.counts, made.counts)
    if durations:
        assert made.max_ns <= read.max_ns <= made.max_ns * 1.001
        assert read.min_ns <= made.min_ns <= read.min_ns * 1.001
        assert read.sum_ns == pytest.approx(made.sum_ns, rel=1e-3)
    else:
        assert (read.count, read.max_ns, read.quantile_ns(0.5)) == (0, 0, 0)


def test_the_hdrhistogram_package_reads_the_same() -> None:
    made = Histogram()
    for value in (1, 1023, 1024, 2047, 2048, 50_000, 1_234_567, 987_654_321, HIGHEST_NS):
        made.record(value, 1 + value % 300)
    theirs = HdrHistogram.decode(hdr.encode(made))
    assert theirs.get_total_count() == made.count
    for percent in (1, 50, 90, 99, 99.9, 100):
        assert theirs.get_value_at_percentile(percent) == pytest.approx(made.quantile_ns(percent / 100), rel=1e-3)


def test_what_the_hdrhistogram_package_wrote_is_read() -> None:
    theirs = HdrHistogram(1, 3_600_000_000_000, 3)
    for value in (5, 1500, 3000, 70_000, 70_001, 123_456_789):
        theirs.record_value(value, 7)
    read = hdr.decode(theirs.encode().decode())
    assert read.count == 42
    assert read.quantile_ns(0.5) == pytest.approx(3000, rel=1e-3)
    assert read.quantile_ns(1) == pytest.approx(123_456_789, rel=1e-3)


def packed(payload: bytes, digits: int = 3, lowest: int = 1, cookie: int = hdr.COOKIE, length: int | None = None) -> str:
    header = hdr.HEADER.pack(cookie, len(payload) if length is None else length, 0, digits, lowest, HIGHEST_NS, 1.0)
    inner = zlib.compress(header + payload)
    return base64.b64encode(struct.pack(">ii", hdr.COMPRESSED_COOKIE, len(inner)) + inner).decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "base64"),
        ("no base64!", "base64"),
        ("AAAAAAAAAAAA", "cookie 0x0"),
        (packed(b"")[:-8], "compressed bytes"),
        (packed(b"", cookie=0x1C849301), "cookie 0x1c849301"),
        (packed(b"", digits=2), "2 digits"),
        (packed(b"", lowest=1000), "from 1000"),
        (packed(b"\x02", length=5), "5 bytes of counts"),
        (packed(b"\x82"), "ends within a count"),
        (packed(bytes([0xFF, 0xFF, 0x7F, 0x02])), "longer times"),
        (packed(bytes(hdr.LARGEST_PAYLOAD * 2)), "at most"),
    ],
)
def test_what_is_no_histogram_is_refused(text, says) -> None:
    with pytest.raises(ConfigError, match=f"^histogram: .*{says}"):
        hdr.decode(text)


@given(st.one_of(st.binary(max_size=200).map(packed), st.text(max_size=60)))
def test_any_bytes_are_read_or_refused(text) -> None:
    try:
        read = hdr.decode(text)
    except ConfigError:
        return
    assert len(read.counts) == BUCKETS
