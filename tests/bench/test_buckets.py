"""What of a configuration pads, which lengths requests have, and the sets of buckets that are made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from inferd.bench.buckets import MOST, Lengths, buckets_of, lengths_of, sets, write_buckets
from inferd.protocol import inference

TOKENIZE = "preprocess { steps { tokenize { max_tokens: 100 %s } } }"
FRAMES = 'padding { input: "frames" axis: 1 %s }'


def config(*parts: str, rows: int = 8) -> Any:
    return text_format.Parse(f"max_batch_size: {rows} inferd {{ {' '.join(parts)} }}", inference.ModelConfig())


def texts(*rows: bytes) -> Any:
    return {"text": np.array([[row] for row in rows], dtype=object)}


# ---- the configuration ----


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], None),
        (["preprocess { steps { resize {} } steps { scale {} } }"], None),
        ([TOKENIZE % ""], ()),
        ([TOKENIZE % "buckets: [8, 16]"], (8, 16)),
        ([FRAMES % "buckets: [9]"], (9,)),
        ([FRAMES % "buckets: [9]", 'padding { input: "ids" buckets: [9] }'], (9,)),
        ([FRAMES % "buckets: [9]", 'padding { input: "ids" }'], None),
        ([TOKENIZE % "buckets: [9]", 'padding { input: "input_ids" cut { output: "y" } }'], (9,)),
        ([TOKENIZE % 'buckets: [9] input_ids: "ids"', 'padding { input: "ids" cut { output: "y" } }'], (9,)),
    ],
)
def test_what_is_padded_to_which_buckets(parts: list[str], expected: tuple[int, ...] | None) -> None:
    assert buckets_of(config(*parts)) == expected
    assert buckets_of(config(*parts, rows=0)) is None, "without a batch axis nothing shares a batch"


def test_all_that_pads_gets_the_same_buckets_and_what_only_cuts_gets_none() -> None:
    written = config(TOKENIZE % "buckets: 8", 'padding { input: "input_ids" cut { output: "y" } }', FRAMES % "")
    write_buckets(written, (16, 32))
    assert buckets_of(written) == (16, 32)
    assert [list(entry.buckets) for entry in written.inferd.padding] == [[], [16, 32]]
    write_buckets(written, ())
    assert written == config(TOKENIZE % "", 'padding { input: "input_ids" cut { output: "y" } }', FRAMES % "")


# ---- lengths ----


def frames(*lengths: int) -> list[Any]:
    return [{"frames": np.zeros((1, 3, length), np.float32)} for length in lengths]


@pytest.mark.parametrize(
    ("part", "requests", "expected"),
    [
        (TOKENIZE, [texts(b"one"), texts(b"one two", b"")], Lengths(16, 100)),
        (TOKENIZE, [texts(b"0a1b2c3d"), texts(b"4e5f6a7b")], None),
        (TOKENIZE, [texts(b"one", b"one two three")], None),  # one request, again and again
        (TOKENIZE, [{"other": np.zeros((1, 2))}], None),
        (FRAMES, frames(300, 120, 250), Lengths(120, 300)),
        (FRAMES, frames(300, 300), None),
        (FRAMES, [{"frames": np.zeros(3)}, {"frames": np.zeros((1, 2, 3))}], None),
        (FRAMES, [{"sound": np.zeros((1, 2, 3))}], None),  # made of it by steps: nobody knows here
    ],
)
def test_how_long_requests_are(part: str, requests: list[Any], expected: Lengths | None) -> None:
    assert lengths_of(config(part % ""), requests) == expected


# ---- sets ----


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        (Lengths(16, 128), [(16, 32, 64, 128), (16, 24, 32, 48, 64, 96, 128), (128,)]),
        (Lengths(100, 1000), [(128, 256, 512, 1000), (128, 192, 256, 384, 512, 768, 1000), (1000,)]),
        (Lengths(90, 100), [(100,), (96, 100)]),
        (Lengths(16, 12), [(12,)]),
    ],
)
def test_sets(lengths: Lengths, expected: list[tuple[int, ...]]) -> None:
    assert sets(lengths) == expected


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 30))
def test_every_set_is_one_that_a_server_takes(shortest: int, longest: int) -> None:
    for found in sets(Lengths(shortest, longest)):
        assert list(found) == sorted(set(found))
        assert found[-1] == longest
        assert len(found) <= MOST
